//! Deletes a route that a request created but could not map.
//!
//! Invariant: only a route that is marked is deleted. One that cannot be marked stays, unmapped,
//! for the tenant's next request: another instance may have found it unmarked and be about to map
//! it. Callers: `ensure`.

use super::{
    OperationContext,
    audit::{Audit, SharedLocation},
    locks::KeyGuard,
};
use crate::capi::{
    CapiError, Guid,
    jobs::{JobOutcome, Pace},
    model::Route,
    routes::Deletion,
};
use std::time::Duration;
use tokio::time::Instant;
use tracing::Instrument as _;

/// How long it may continue after the caller has its answer.
const ROLLBACK_TIME: Duration = Duration::from_secs(30);

/// Deletes the route in a task of its own. The host stays locked until CF is done, and the mark
/// keeps other instances from using the route.
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
        match delete(&op, &route.guid, end).await {
            Ok(outcome) => audit.settled(outcome, op.cf().last_request_id().as_deref()),
            Err(error) => audit.settled("not_taken_back", error.request_id()),
        }
    };
    tasks.spawn(deleting.in_current_span());
}

async fn delete(
    op: &OperationContext,
    route: &Guid,
    end: Instant,
) -> Result<&'static str, CapiError> {
    let cf = op.cf();
    let Some(current) = cf.route(route).await? else {
        return Ok("gone");
    };
    // Another instance may have found and mapped it in the meantime.
    if !current.destinations.is_empty() {
        return Ok("kept");
    }
    op.mark_deleting(route).await?;
    // It may have been found just before the mark was set.
    let Some(current) = cf.route(route).await? else {
        return Ok("gone");
    };
    if !current.destinations.is_empty() {
        cf.label_route(route, &op.ownership.not_deleting()).await?;
        return Ok("kept");
    }
    // A job fails if another request writes to the route while it runs.
    for _attempt in 0..2 {
        let Deletion::Job(job) = cf.delete_route(route).await? else {
            return Ok("gone");
        };
        match cf.await_job(&job, &mut Pace::default(), end).await? {
            JobOutcome::Failed(_) => {}
            JobOutcome::Complete | JobOutcome::Gone | JobOutcome::Running => {
                return Ok("taken_back");
            }
        }
    }
    Ok("not_taken_back")
}
