//! The end of one route: delete it, wait for CF's job, mark it where that takes long (`routes.md` 8).
//!
//! Invariant: nothing is deleted that is not ours at that moment, and a route whose job outlives two seconds is marked,
//! whatever the tenant's other routes do. Callers: `remove`.

use super::{
    OperationContext, RouteError, WaitMode,
    audit::{Audit, StepLine},
    error::NotDeleted,
    label::Claim,
    locks::{KeyGuard, LockKey},
    mapped_apps,
    operation::DeletingRoute,
    provider::Apps,
    resolve::ResolvedSpace,
};
use crate::capi::{
    CapiError, Guid,
    jobs::{JobOutcome, Pace},
    model::Route,
    routes::Deletion,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};
use tokio::{sync::Semaphore, task::JoinSet, time::Instant};
use tracing::Instrument as _;

/// After this a job is unusual (CF needs 0 to 2 s), and other instances must know of it.
const SLOW_JOB: Duration = Duration::from_secs(2);
/// A list older than this is read again before a delete.
const FRESH: Duration = Duration::from_secs(1);
/// Most deletes of one tenant that are on their way to CF at once.
pub(super) const MAX_DELETES: usize = 4;

/// A route whose delete job runs; its host stays taken while this lives.
struct PendingDeletion {
    deleting: DeletingRoute,
    /// From when on the job is unusual.
    unusual: Instant,
    pace: Pace,
    /// CF's id of the answer to the delete.
    request_id: Option<String>,
    _host_guard: KeyGuard,
}

/// What became of one route.
pub(super) enum DeletionResult {
    /// It is gone, no longer ours, or given up.
    Gone,
    /// Its job runs.
    Running(DeletingRoute),
    /// It stayed.
    Failed(NotDeleted),
}

/// What all routes of one removal share; a clone is cheap.
#[derive(Clone)]
pub(super) struct RouteDeletion {
    pub(super) op: OperationContext,
    pub(super) audit: Arc<Audit>,
    pub(super) space: ResolvedSpace,
    /// When the list was read.
    pub(super) listed: Instant,
    pub(super) wait_mode: WaitMode,
    /// Until when jobs are waited for.
    pub(super) end: Instant,
    pub(super) sends: Arc<Semaphore>,
}

impl RouteDeletion {
    /// Removes all routes side by side: each has its own two seconds before it is marked.
    pub(super) async fn all(self, routes: Vec<Route>) -> Vec<DeletionResult> {
        if let [_] = routes.as_slice() {
            let mut ends = Vec::new();
            for route in routes {
                ends.push(self.one(route).await);
            }
            return ends;
        }
        let mut set = JoinSet::new();
        let names: Vec<_> =
            routes.iter().map(|route| (route.guid.clone(), route.host.clone())).collect();
        for (index, route) in routes.into_iter().enumerate() {
            let mut part = self.clone();
            part.op.owner.cf = part.op.owner.cf.with_own_request_id();
            let deleting = async move { (index, part.one(route).await) };
            set.spawn(deleting.in_current_span());
        }
        let mut ends = BTreeMap::new();
        while let Some(ended) = set.join_next().await {
            ends.extend(ended);
        }
        let ends = names.into_iter().enumerate().map(|(index, (guid, host))| {
            let panicked = Box::new(RouteError::Internal("removal_panicked"));
            let lost = || DeletionResult::Failed(NotDeleted { guid, host, error: panicked });
            ends.remove(&index).unwrap_or_else(lost)
        });
        ends.collect()
    }

    async fn one(&self, route: Route) -> DeletionResult {
        let (guid, host) = (route.guid.clone(), route.host.clone());
        match self.start(route).await {
            Ok(None) => DeletionResult::Gone,
            Ok(Some(pending)) => self.wait(pending).await,
            Err(error) => self.failed(guid, host, error, self.op.cf().last_request_id()),
        }
    }

    /// Asks CF to delete one route; `None` when it is gone, no longer ours, or given up instead.
    async fn start(&self, listed_route: Route) -> Result<Option<PendingDeletion>, RouteError> {
        let domain = listed_route.domain().cloned();
        let domain = domain.unwrap_or_else(|| listed_route.guid.clone());
        let host_guard = self.op.lock(LockKey::host(domain, &listed_route.host)).await?;
        // It is never closed.
        let _send = self.sends.acquire().await;
        let read = match self.listed.elapsed() {
            age if age > FRESH => self.op.cf().route(&listed_route.guid).await?,
            _ => Some(listed_route),
        };
        let Some(route) = read.filter(|route| self.is_ours(route)) else {
            return Ok(None);
        };
        if let Some(foreign) = self.foreign(&route).await? {
            self.give_up(&route, &foreign).await?;
            self.told("given_up", &route.host, &route.guid, self.op.cf().last_request_id());
            return Ok(None);
        }
        let sent = Instant::now();
        let deletion = match self.op.cf().delete_route(&route.guid).await {
            Err(error) if error.may_have_been_executed() => {
                // It may be dying: nobody may hand it out. Whoever wants the host finishes the delete.
                self.mark(&route.guid).await;
                return Err(error.into());
            }
            other => other?,
        };
        let request_id = self.op.cf().last_request_id();
        let Deletion::Job(job) = deletion else {
            self.told("gone", &route.host, &route.guid, request_id);
            return Ok(None);
        };
        let deleting = DeletingRoute { guid: route.guid, host: route.host, job };
        let (pace, unusual) = (Pace::default(), sent + SLOW_JOB);
        Ok(Some(PendingDeletion { deleting, unusual, pace, request_id, _host_guard: host_guard }))
    }

    fn is_ours(&self, route: &Route) -> bool {
        let claim = self.op.ownership.claim(route, &self.space.guid, self.op.request_context.now);
        matches!(claim, Claim::Ours(_))
    }

    /// Returns the guids of our apps when the route serves an app besides them.
    async fn foreign(&self, route: &Route) -> Result<Option<BTreeSet<Guid>>, RouteError> {
        // Where the policy takes any app of the space, none is foreign.
        let Apps::Listed(names) = &self.op.owner.policy.terms.apps else {
            return Ok(None);
        };
        let behind = mapped_apps::of_route(&self.op, &self.space, names, route).await?;
        Ok((!behind.foreign.is_empty()).then_some(behind.ours))
    }

    /// Leaves a route to the foreign app that it serves: our targets and labels go.
    async fn give_up(&self, route: &Route, ours: &BTreeSet<Guid>) -> Result<(), RouteError> {
        let targets = route
            .destinations
            .iter()
            .filter(|target| target.app.guid.as_ref().is_some_and(|app| ours.contains(app)));
        for target in targets.filter_map(|target| target.guid.as_ref()) {
            self.op.cf().unmap_route(&route.guid, target).await?;
        }
        self.op.cf().label_route(&route.guid, &self.op.ownership.released()).await?;
        Ok(())
    }

    /// Waits for the job of a route; one that takes longer than usual is marked.
    async fn wait(&self, mut pending: PendingDeletion) -> DeletionResult {
        if self.wait_mode == WaitMode::Wait {
            let unusual = pending.unusual.min(self.end);
            if let Some(end) = self.ended(&mut pending, unusual).await {
                return end;
            }
        }
        self.mark(&pending.deleting.guid).await;
        if self.wait_mode == WaitMode::Wait {
            let end = self.end;
            if let Some(end) = self.ended(&mut pending, end).await {
                return end;
            }
        }
        let PendingDeletion { deleting, request_id, .. } = pending;
        self.told("running", &deleting.host, &deleting.guid, request_id);
        DeletionResult::Running(deleting)
    }

    /// Polls a job until it ends or `until` is reached; `None` when it runs on.
    async fn ended(&self, one: &mut PendingDeletion, until: Instant) -> Option<DeletionResult> {
        let outcome = self.settled(one, until).await;
        let (guid, host) = (one.deleting.guid.clone(), one.deleting.host.clone());
        match outcome {
            Ok(JobOutcome::Complete) => {
                self.op.locks().forget_deleting(&guid).await;
                self.told("deleted", &host, &guid, one.request_id.take());
                Some(DeletionResult::Gone)
            }
            Ok(JobOutcome::Running | JobOutcome::Gone) => None,
            Ok(JobOutcome::Failed(errors)) => {
                self.unmark(&one.deleting).await;
                let error = RouteError::JobFailed { cf_errors: errors.errors };
                Some(self.failed(guid, host, error, one.request_id.take()))
            }
            Err(error) => {
                // It is dying all the same: nobody may hand it out.
                self.mark(&guid).await;
                Some(self.failed(guid, host, error.into(), one.request_id.take()))
            }
        }
    }

    /// Waits for one job; one that CF has forgotten is complete when the route is gone.
    async fn settled(
        &self,
        one: &mut PendingDeletion,
        end: Instant,
    ) -> Result<JobOutcome, CapiError> {
        let cf = self.op.cf();
        let outcome = cf.await_job(&one.deleting.job, &mut one.pace, end).await?;
        if outcome != JobOutcome::Gone {
            return Ok(outcome);
        }
        let route = cf.route(&one.deleting.guid).await?;
        Ok(if route.is_some() { JobOutcome::Gone } else { JobOutcome::Complete })
    }

    /// Tells by the label that a route is dying.
    async fn mark(&self, deleting: &Guid) {
        if let Err(error) = self.op.mark_deleting(deleting).await {
            tracing::warn!(route = %deleting, %error, "a dying route could not be marked");
        }
    }

    /// Takes the mark from a route whose job failed.
    async fn unmark(&self, deleting: &DeletingRoute) {
        self.op.locks().forget_deleting(&deleting.guid).await;
        let patch = self.op.ownership.living();
        if let Err(error) = self.op.cf().label_route(&deleting.guid, &patch).await {
            tracing::warn!(route = %deleting.guid, %error, "the mark of a living route stayed");
        }
    }

    fn told(&self, word: &str, host: &str, route: &Guid, request_id: Option<String>) {
        self.audit.stepped(&StepLine { word, host, route: route.as_str(), request_id });
    }

    fn failed(
        &self,
        guid: Guid,
        host: String,
        error: RouteError,
        request_id: Option<String>,
    ) -> DeletionResult {
        self.told(error.word(), &host, &guid, request_id);
        DeletionResult::Failed(NotDeleted { guid, host, error: Box::new(error) })
    }
}
