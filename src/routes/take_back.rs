//! Taking back a route that a request made and could not map.
//!
//! Invariant: it is gone, or it is marked, or somebody else has mapped it meanwhile. Callers: `ensure`.

use super::{
    Work,
    audit::{Audit, Place},
    order::Ticket,
};
use crate::capi::{CapiError, Guid, jobs::Pace, model::Route, routes::Deletion};
use std::time::Duration;
use tokio::time::Instant;
use tracing::Instrument as _;

/// How long it may go on after the caller has its answer.
const TAKE_BACK: Duration = Duration::from_secs(30);

/// Deletes the route in a task of its own; the host stays taken until CF is done, and the mark keeps other instances from
/// handing the route out.
pub(super) fn take_back(work: &Work, route: Route, ticket: Option<Ticket>) {
    let tasks = work.grounds.routes.0.tasks.clone();
    let end = Instant::now() + TAKE_BACK;
    let mut work = work.clone();
    work.grounds.cf = work.grounds.cf.until(end);
    let removing = async move {
        let _ticket = ticket;
        let audit =
            Audit::begin_at(Place::of(&route), "take_back", &work.errand, work.tenant.as_str());
        match deleted(&work, &route.guid, end).await {
            Ok(ending) => audit.settled(ending, work.cf().last_request_id().as_deref()),
            Err(error) => audit.settled("not_taken_back", error.request_id()),
        }
    };
    tasks.spawn(removing.in_current_span());
}

async fn deleted(work: &Work, route: &Guid, end: Instant) -> Result<&'static str, CapiError> {
    let cf = work.cf();
    let Some(seen) = cf.route(route).await? else {
        return Ok("gone");
    };
    // Another instance may have found it and mapped it meanwhile.
    if !seen.destinations.is_empty() {
        return Ok("kept");
    }
    work.mark_dying(route).await?;
    // It may have been found just before the mark.
    let Some(seen) = cf.route(route).await? else {
        return Ok("gone");
    };
    if !seen.destinations.is_empty() {
        cf.label_route(route, &work.ownership.living()).await?;
        return Ok("kept");
    }
    let Deletion::Job(job) = cf.delete_route(route).await? else {
        return Ok("gone");
    };
    cf.await_job(&job, &mut Pace::default(), end).await?;
    Ok("taken_back")
}
