//! Remove: find a tenant's routes by their labels, delete them, wait for CF (`routes.md` 8).
//!
//! Invariant: nothing is deleted that is not ours at that moment, and a route that outlives the request is
//! marked, so that no instance hands it out. Callers: [`super::TenantRoutes`].

use super::{
    OperationContext, RouteError, RouteRequest,
    audit::Audit,
    legacy,
    operation::Operation,
    resolve::{ResolvedSpace, resolve_space},
    route_deletion::{DeletionResult, MAX_DELETES, RouteDeletion},
};
use crate::capi::{Guid, model::Route};
use std::{collections::BTreeSet, sync::Arc, time::Duration};
use tokio::{sync::Semaphore, time::Instant};

/// How long all jobs together are waited for (`routes.md` 8).
const JOB_WAIT: Duration = Duration::from_secs(25);
/// What is kept of the deadline for the mark and the answer.
const RESERVE: Duration = Duration::from_secs(3);

/// Whether the caller waits for CF's jobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitMode {
    /// It waits, within bounds.
    Wait,
    /// It does not (`Prefer: respond-async`).
    DontWait,
}

/// Which routes of a tenant a removal is about.
#[derive(Clone, Debug)]
pub(super) enum DeleteScope {
    /// All that carry its labels.
    All,
    /// All, and the one without labels at the place that this wish names.
    AndLegacy(Box<RouteRequest>),
    /// None but those that a reconcile saw.
    Observed(ObservedRoutes),
}

/// What a reconcile saw of a tenant that is not listed.
#[derive(Clone, Debug)]
pub struct ObservedRoutes {
    /// Its routes; one that came later is not meant.
    pub routes: BTreeSet<Guid>,
    /// When the reconcile began to look; a tenant that was wanted since keeps its routes.
    pub at: Instant,
}

/// What a removal came to.
#[derive(Clone, Debug)]
pub enum Deleted {
    /// No route of the tenant is left, or there was none.
    Done,
    /// CF is still deleting; [`super::TenantRoutes::seal`] makes the id.
    Running {
        /// What runs.
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
    pub fn word(&self) -> &'static str {
        match self {
            Self::Done => "removed",
            Self::Running { .. } => "running",
        }
    }
}

/// Removes the tenant's routes.
pub(super) async fn delete(
    op: &OperationContext,
    scope: &DeleteScope,
    wait_mode: WaitMode,
    audit: &Arc<Audit>,
) -> Result<Deleted, RouteError> {
    let _tenant = op.lock_tenant().await?;
    match scope {
        DeleteScope::All => {}
        DeleteScope::AndLegacy(request) => Box::pin(legacy::claim(op, request)).await?,
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
        // Several are told step by step.
        let only = if let [only] = routes.as_slice() { Some(only) } else { None };
        location.domain = only.map(|route| route.domain_name().to_owned());
        location.host = only.map(|route| route.host.clone());
        location.route = only.map(|route| route.guid.to_string());
    });
    let now = Instant::now();
    let latest = op.request_context.deadline.checked_sub(RESERVE).unwrap_or(now);
    let deletion = RouteDeletion {
        op: op.clone(),
        audit: Arc::clone(audit),
        sends: Arc::new(Semaphore::new(MAX_DELETES)),
        end: (now + JOB_WAIT).min(latest).max(now),
        space,
        listed,
        wait_mode,
    };
    finish(op, deletion.all(routes).await)
}

/// Sums up.
fn finish(op: &OperationContext, ends: Vec<DeletionResult>) -> Result<Deleted, RouteError> {
    let (mut running, mut failures) = (Vec::new(), Vec::new());
    for end in ends {
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
    let (owner, tenant) = (op.owner.policy.owner.clone(), op.tenant.to_string());
    Ok(Deleted::Running { operation: Operation { owner, tenant, routes: running } })
}

/// Lists the tenant's routes. None in a space that a name stood for before this request says nothing: the space may
/// have been made anew, and another instance may know.
async fn listed(op: &OperationContext) -> Result<(ResolvedSpace, Instant, Vec<Route>), RouteError> {
    loop {
        let space = resolve_space(&op.owner).await?;
        let since = Instant::now();
        let routes = op.cf().labelled_routes(&space.guid, &op.ownership.selector()).await?;
        if !routes.is_empty() || !op.forget_named_space().await {
            return Ok((space, since, routes));
        }
    }
}
