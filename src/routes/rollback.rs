//! Taking back a route that a request made and could not map.
//!
//! Invariant: it is gone, or it is marked, or somebody else has mapped it meanwhile. Callers: `ensure`.

use super::{
    OperationContext,
    audit::{Audit, SharedLocation},
    locks::KeyGuard,
};
use crate::capi::{CapiError, Guid, jobs::Pace, model::Route, routes::Deletion};
use std::time::Duration;
use tokio::time::Instant;
use tracing::Instrument as _;

/// How long it may go on after the caller has its answer.
const ROLLBACK_TIME: Duration = Duration::from_secs(30);

/// Deletes the route in a task of its own; the host stays taken until CF is done, and the mark keeps other instances from
/// handing the route out.
pub(super) fn roll_back(op: &OperationContext, route: Route, host_guard: Option<KeyGuard>) {
    let tasks = op.owner.routes.0.tasks.clone();
    let end = Instant::now() + ROLLBACK_TIME;
    let mut op = op.clone();
    op.owner.cf = op.owner.cf.with_deadline(end);
    let deleting = async move {
        let _host_guard = host_guard;
        let audit = Audit::begin_at(
            SharedLocation::of(&route),
            "take_back",
            &op.request_context,
            op.tenant.as_str(),
        );
        match deleted(&op, &route.guid, end).await {
            Ok(ending) => audit.settled(ending, op.cf().last_request_id().as_deref()),
            Err(error) => audit.settled("not_taken_back", error.request_id()),
        }
    };
    tasks.spawn(deleting.in_current_span());
}

async fn deleted(
    op: &OperationContext,
    route: &Guid,
    end: Instant,
) -> Result<&'static str, CapiError> {
    let cf = op.cf();
    let Some(seen) = cf.route(route).await? else {
        return Ok("gone");
    };
    // Another instance may have found it and mapped it meanwhile.
    if !seen.destinations.is_empty() {
        return Ok("kept");
    }
    op.mark_deleting(route).await?;
    // It may have been found just before the mark.
    let Some(seen) = cf.route(route).await? else {
        return Ok("gone");
    };
    if !seen.destinations.is_empty() {
        cf.label_route(route, &op.ownership.living()).await?;
        return Ok("kept");
    }
    let Deletion::Job(job) = cf.delete_route(route).await? else {
        return Ok("gone");
    };
    cf.await_job(&job, &mut Pace::default(), end).await?;
    Ok("taken_back")
}
