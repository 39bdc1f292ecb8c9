//! Deletes one route: sends the delete, waits for CF's job, marks the route if that takes
//! long.
//!
//! Invariant: only a route that belongs to the tenant at that moment is deleted. A route whose job
//! takes longer than two seconds is marked, independent of the tenant's other routes. Callers:
//! `delete`.

use super::{
    OperationContext, RouteError, WaitMode, adoption,
    audit::{Audit, StepLine},
    error::{Fqdn, NotDeleted},
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

/// A job usually takes CF 0 to 2 s. After this time other instances must know of the delete.
const SLOW_JOB: Duration = Duration::from_secs(2);
/// A route from an older list is read again before its delete.
const MAX_LIST_AGE: Duration = Duration::from_secs(1);
/// Most deletes of one tenant that are sent to CF at the same time.
const MAX_DELETES: usize = 4;

/// A route whose delete job runs. Its host stays locked while this exists.
struct PendingDeletion {
    deleting: DeletingRoute,
    /// From this time on the job is slow.
    slow_after: Instant,
    pace: Pace,
    /// CF's request id of the delete.
    request_id: Option<String>,
    _host_guard: KeyGuard,
}

/// The result for one route.
pub(super) enum DeletionResult {
    /// It is deleted, no longer the tenant's, or given up.
    Gone,
    /// Its job runs.
    Running(DeletingRoute),
    /// It was not deleted.
    Failed(NotDeleted),
}

/// What all routes of one delete share. A clone is cheap.
#[derive(Clone)]
pub(super) struct RouteDeletion {
    pub(super) op: OperationContext,
    pub(super) audit: Arc<Audit>,
    pub(super) space: ResolvedSpace,
    /// When the list of routes was read.
    pub(super) listed: Instant,
    pub(super) wait_mode: WaitMode,
    /// Until when it waits for jobs.
    pub(super) end: Instant,
    pub(super) send_permits: Arc<Semaphore>,
}

impl RouteDeletion {
    /// Makes a delete that waits for CF. `listed` is when the routes were read, `end` until when
    /// it waits.
    pub(super) fn waiting(
        op: &OperationContext,
        audit: &Arc<Audit>,
        space: ResolvedSpace,
        (listed, end): (Instant, Instant),
    ) -> Self {
        Self {
            op: op.clone(),
            audit: Arc::clone(audit),
            send_permits: Arc::new(Semaphore::new(MAX_DELETES)),
            wait_mode: WaitMode::Wait,
            space,
            listed,
            end,
        }
    }

    /// Deletes all routes in parallel. Each route has its own two seconds before it is marked.
    pub(super) async fn all(self, routes: Vec<Route>) -> Vec<DeletionResult> {
        if let [_] = routes.as_slice() {
            let mut results = Vec::new();
            for route in routes {
                results.push(self.one(route).await);
            }
            return results;
        }
        let (mut set, places) = (JoinSet::new(), self.op.request_context.places.clone());
        let _idle = places.idle();
        let names: Vec<_> =
            routes.iter().map(|route| (route.guid.clone(), route.host.clone())).collect();
        for (index, route) in routes.into_iter().enumerate() {
            let mut part = self.clone();
            part.op.owner.cf = part.op.owner.cf.with_own_request_id();
            let working = places.part();
            let task = async move {
                let result = part.one(route).await;
                drop(working);
                (index, result)
            };
            set.spawn(task.in_current_span());
        }
        let mut results = BTreeMap::new();
        while let Some(ended) = set.join_next().await {
            results.extend(ended);
        }
        let results = names.into_iter().enumerate().map(|(index, (guid, host))| {
            let panicked = Box::new(RouteError::Internal("removal_panicked"));
            let lost = || DeletionResult::Failed(NotDeleted { guid, host, error: panicked });
            results.remove(&index).unwrap_or_else(lost)
        });
        results.collect()
    }

    async fn one(&self, route: Route) -> DeletionResult {
        let (guid, host) = (route.guid.clone(), route.host.clone());
        match self.start(route).await {
            Ok(None) => DeletionResult::Gone,
            Ok(Some(pending)) => self.wait(pending).await,
            Err(error) => self.failed(guid, host, error, self.op.cf().last_request_id()),
        }
    }

    /// Sends the delete of one route; `None` if it is gone, no longer the tenant's, or given up
    /// instead.
    async fn start(&self, listed_route: Route) -> Result<Option<PendingDeletion>, RouteError> {
        let domain = listed_route.domain().cloned();
        let domain = domain.unwrap_or_else(|| listed_route.guid.clone());
        let host_guard = self.op.lock(LockKey::host(domain, &listed_route.host)).await?;
        // The semaphore is never closed.
        let _send = self.send_permits.acquire().await;
        let read = match self.listed.elapsed() {
            age if age > MAX_LIST_AGE => self.op.cf().route(&listed_route.guid).await?,
            _ => Some(listed_route),
        };
        let Some(route) = read.filter(|route| self.is_ours(route)) else {
            return Ok(None);
        };
        if let Some(foreign) = self.foreign(&route).await? {
            self.give_up(&route, &foreign).await?;
            self.log_step("given_up", &route.host, &route.guid, self.op.cf().last_request_id());
            return Ok(None);
        }
        let sent = Instant::now();
        let deletion = match self.op.cf().delete_route(&route.guid).await {
            Err(error) if error.may_have_been_executed() => {
                // CF may be deleting it, so no instance may use it. The next request for the host
                // finishes the delete.
                self.mark(&route.guid).await;
                return Err(error.into());
            }
            other => other?,
        };
        let request_id = self.op.cf().last_request_id();
        let Deletion::Job(job) = deletion else {
            self.log_step("gone", &route.host, &route.guid, request_id);
            return Ok(None);
        };
        let deleting = DeletingRoute { guid: route.guid, host: route.host, job };
        let (pace, slow_after) = (Pace::default(), sent + SLOW_JOB);
        Ok(Some(PendingDeletion {
            deleting,
            slow_after,
            pace,
            request_id,
            _host_guard: host_guard,
        }))
    }

    fn is_ours(&self, route: &Route) -> bool {
        let claim = self.op.ownership.claim(route, &self.space.guid, self.op.request_context.now);
        matches!(claim, Claim::Ours(_))
    }

    /// Returns the guids of our apps if the route also serves another app.
    async fn foreign(&self, route: &Route) -> Result<Option<BTreeSet<Guid>>, RouteError> {
        // If the provider entry allows any app of the space, no app is foreign.
        let Apps::Listed(names) = &self.op.owner.provider.terms.apps else {
            return Ok(None);
        };
        let apps = mapped_apps::of_route(&self.op, &self.space, names, route).await?;
        Ok((!apps.foreign.is_empty()).then_some(apps.ours))
    }

    /// Gives up a route to the foreign app that it serves: our destinations and labels are removed.
    async fn give_up(&self, route: &Route, ours: &BTreeSet<Guid>) -> Result<(), RouteError> {
        let fqdn = || Fqdn(format!("{}.{}", route.host, route.domain_name()));
        if route.is_weighted() && !ours.is_empty() {
            return Err(RouteError::WeightedDestinations(fqdn()));
        }
        let targets = route
            .destinations
            .iter()
            .filter(|target| target.app.guid.as_ref().is_some_and(|app| ours.contains(app)));
        for target in targets.filter_map(|target| target.guid.as_ref()) {
            let unmapped = self.op.cf().unmap_route(&route.guid, target).await;
            unmapped.map_err(|error| adoption::explain(error, fqdn()))?;
        }
        self.op.cf().label_route(&route.guid, &self.op.ownership.released()).await?;
        Ok(())
    }

    /// Waits for the job of a route. Marks the route if the job is slow.
    async fn wait(&self, mut pending: PendingDeletion) -> DeletionResult {
        // `None` as well if as many requests of the caller wait as may.
        let waits = match self.wait_mode {
            WaitMode::Wait => self.op.request_context.places.begin_wait(),
            WaitMode::DontWait => None,
        };
        if waits.is_some() {
            let slow_after = pending.slow_after.min(self.end);
            if let Some(end) = self.poll(&mut pending, slow_after).await {
                return end;
            }
        }
        self.mark(&pending.deleting.guid).await;
        if waits.is_some() {
            let end = self.end;
            if let Some(end) = self.poll(&mut pending, end).await {
                return end;
            }
        }
        let PendingDeletion { deleting, request_id, .. } = pending;
        self.log_step("running", &deleting.host, &deleting.guid, request_id);
        DeletionResult::Running(deleting)
    }

    /// Polls a job until it ends or `until` is reached; `None` if it still runs.
    async fn poll(&self, one: &mut PendingDeletion, until: Instant) -> Option<DeletionResult> {
        let outcome = self.job_outcome(one, until).await;
        let (guid, host) = (one.deleting.guid.clone(), one.deleting.host.clone());
        match outcome {
            Ok(JobOutcome::Complete) => {
                self.op.locks().forget_deleting(&guid).await;
                self.log_step("deleted", &host, &guid, one.request_id.take());
                Some(DeletionResult::Gone)
            }
            Ok(JobOutcome::Running | JobOutcome::Gone) => None,
            Ok(JobOutcome::Failed(errors)) => {
                self.unmark(&one.deleting).await;
                let error = RouteError::JobFailed { cf_errors: errors.errors };
                Some(self.failed(guid, host, error, one.request_id.take()))
            }
            Err(error) => {
                // CF is deleting it anyway, so no instance may use it.
                self.mark(&guid).await;
                Some(self.failed(guid, host, error.into(), one.request_id.take()))
            }
        }
    }

    /// Waits for one job. A job that CF no longer knows is complete if the route is gone.
    async fn job_outcome(
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

    /// Sets the label that the route is being deleted.
    async fn mark(&self, deleting: &Guid) {
        if let Err(error) = self.op.mark_deleting(deleting).await {
            tracing::warn!(route = %deleting, %error, "a route that is being deleted could not be marked");
        }
    }

    /// Removes the mark from a route whose job failed.
    async fn unmark(&self, deleting: &DeletingRoute) {
        self.op.locks().forget_deleting(&deleting.guid).await;
        let patch = self.op.ownership.not_deleting();
        if let Err(error) = self.op.cf().label_route(&deleting.guid, &patch).await {
            tracing::warn!(route = %deleting.guid, %error, "the delete mark of a route could not be removed");
        }
    }

    fn log_step(&self, word: &str, host: &str, route: &Guid, request_id: Option<String>) {
        self.audit.stepped(&StepLine { word, host, route: route.as_str(), request_id });
    }

    fn failed(
        &self,
        guid: Guid,
        host: String,
        error: RouteError,
        request_id: Option<String>,
    ) -> DeletionResult {
        self.log_step(error.as_str(), &host, &guid, request_id);
        DeletionResult::Failed(NotDeleted { guid, host, error: Box::new(error) })
    }
}
