//! Deletes the routes of a tenant: finds them by their labels, deletes them, waits for CF.
//!
//! Invariant: only routes that belong to the tenant at that moment are deleted. Each is marked
//! first, so that no instance uses it. Callers: [`super::TenantRoutes`].

use super::{
    OperationContext, RouteError, RouteRequest, RouteView,
    audit::Audit,
    error::NotDeleted,
    legacy, list,
    operation::Operation,
    resolve::{ResolvedSpace, require_visible_space, resolve_space},
    route_deletion::{DeletionResult, RouteDeletion},
};
use crate::capi::{Guid, model::Route};
use std::{collections::BTreeSet, sync::Arc, time::Duration};
use tokio::time::Instant;

/// How long a request waits for all delete jobs together.
const JOB_WAIT: Duration = Duration::from_secs(25);
/// Time that is kept for the answer, before the deadline.
const RESERVE: Duration = Duration::from_secs(3);

/// Whether the caller waits for CF's jobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitMode {
    /// It waits for a limited time.
    Wait,
    /// It does not wait (`Prefer: respond-async`).
    DontWait,
}

/// Which routes of a tenant to delete.
#[derive(Clone, Debug)]
pub(super) enum DeleteScope {
    /// All routes with its labels.
    All,
    /// All routes with its labels, and the unlabelled route at the host that this request gives.
    AndLegacy(Box<RouteRequest>),
    /// Only the routes that a reconcile found.
    Observed(ObservedRoutes),
}

/// What a reconcile found of a tenant that is not listed.
#[derive(Clone, Debug)]
pub struct ObservedRoutes {
    /// Its routes. A route that was created later is not deleted.
    pub routes: BTreeSet<Guid>,
    /// When the reconcile began to read. A tenant that was requested since then keeps its routes.
    pub at: Instant,
}

/// The result of a delete.
#[derive(Clone, Debug)]
pub enum Deleted {
    /// The tenant has no route, or has none any more.
    Done,
    /// CF is still deleting. [`super::TenantRoutes::seal`] makes the id.
    Running {
        /// The delete that runs.
        operation: Operation,
    },
}

impl DeleteScope {
    fn covers(&self, route: &Route) -> bool {
        match self {
            Self::All | Self::AndLegacy(_) => true,
            Self::Observed(observed) => observed.routes.contains(&route.guid),
        }
    }
}

impl Deleted {
    /// Returns its name in audit lines and metrics.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Done => "removed",
            Self::Running { .. } => "running",
        }
    }
}

/// Deletes the tenant's routes.
pub(super) async fn delete(
    op: &OperationContext,
    scope: &DeleteScope,
    wait_mode: WaitMode,
    audit: &Arc<Audit>,
) -> Result<Deleted, RouteError> {
    let _tenant = op.lock_tenant().await?;
    match scope {
        DeleteScope::All => {}
        DeleteScope::AndLegacy(request) => Box::pin(legacy::label_route(op, request)).await?,
        DeleteScope::Observed(observed) => {
            if op.locks().was_requested_since(&op.tenant_key(), observed.at).await {
                return Err(RouteError::SubscribedAgain);
            }
        }
    }
    let (space, listed, routes) = listed(op).await?;
    let routes: Vec<_> = routes.into_iter().filter(|route| scope.covers(route)).collect();
    op.location.update(|location| {
        location.space = Some(space.guid.to_string());
        // With several routes, each has a step line of its own.
        let only = if let [only] = routes.as_slice() { Some(only) } else { None };
        location.domain = only.map(|route| route.domain_name().to_owned());
        location.host = only.map(|route| route.host.clone());
        location.route = only.map(|route| route.guid.to_string());
    });
    let deletion = RouteDeletion::waiting(op, audit, space, (listed, job_deadline(op)));
    let deletion = RouteDeletion { wait_mode, ..deletion };
    finish(op, deletion.all(routes).await)
}

/// Returns until when a request waits for CF's jobs.
pub(super) fn job_deadline(op: &OperationContext) -> Instant {
    let now = Instant::now();
    let latest = op.request_context.deadline.checked_sub(RESERVE).unwrap_or(now);
    (now + JOB_WAIT).min(latest).max(now)
}

/// Returns the routes that a real run would delete.
///
/// # Errors
/// [`RouteError::NotDeleted`] with the routes that a real run could not delete.
pub(super) async fn preview(op: &OperationContext) -> Result<Vec<RouteView>, RouteError> {
    let views = match list::of_tenant(&op.owner, &op.ownership).await {
        Err(RouteError::NotFound) => Vec::new(),
        other => other?,
    };
    let failures = views.iter().filter_map(|view| {
        let error = Box::new(view.blocks_delete(&op.owner.provider.terms.apps)?);
        Some(NotDeleted { guid: view.route.clone()?, host: view.host.clone(), error })
    });
    let failures = failures.collect::<Vec<_>>();
    if failures.is_empty() { Ok(views) } else { Err(RouteError::NotDeleted(failures)) }
}

/// Combines the results of all routes.
fn finish(op: &OperationContext, results: Vec<DeletionResult>) -> Result<Deleted, RouteError> {
    let (mut running, mut failures) = (Vec::new(), Vec::new());
    for end in results {
        match end {
            DeletionResult::Gone => {}
            DeletionResult::Running(deleting) => running.push(deleting),
            DeletionResult::Failed(failure) => failures.push(failure),
        }
    }
    if !failures.is_empty() {
        return Err(RouteError::NotDeleted(failures));
    }
    if running.is_empty() {
        return Ok(Deleted::Done);
    }
    let (owner, tenant) = (op.owner.provider.owner.clone(), op.tenant.to_string());
    Ok(Deleted::Running { operation: Operation { owner, tenant, routes: running } })
}

/// Lists the tenant's routes. If the space is named, was resolved before this request and has no
/// routes, the name is resolved again: the space may have been recreated, and another instance may
/// already use the new one.
async fn listed(op: &OperationContext) -> Result<(ResolvedSpace, Instant, Vec<Route>), RouteError> {
    loop {
        let space = resolve_space(&op.owner).await?;
        let since = Instant::now();
        let routes = op.cf().labelled_routes(&space.guid, &op.ownership.selector()).await?;
        if routes.is_empty() && op.forget_named_space().await {
            continue;
        }
        // CF shows a user without a role an empty list. A named space was read in this request.
        if routes.is_empty() && !op.owner.has_named_space() {
            require_visible_space(&op.owner).await?;
        }
        return Ok((space, since, routes));
    }
}
