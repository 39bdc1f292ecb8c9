//! Deletes one route: marks it, sends the delete, waits for CF's job.
//!
//! Invariant: only a route that belongs to the tenant at that moment is deleted. The mark comes
//! first: it keeps other instances from using the route, and a label that is written while CF's job
//! runs lets that job fail. A job that fails is repeated once. Callers: `delete`, `operation`,
//! `replace`.

use super::{
    OperationContext, RouteError, WaitMode, adoption,
    audit::{Audit, SharedLocation, StepLine},
    error::{Fqdn, NotDeleted},
    label::{Claim, DeletionState},
    locks::{KeyGuard, LockKey},
    mapped_apps,
    operation::DeletingRoute,
    provider::Apps,
    resolve::ResolvedSpace,
};
use crate::{
    auth::{IdlePart, RequestPlaces},
    capi::{
        CapiError, CfError, Guid,
        jobs::{JobOutcome, Pace, Turn},
        model::Route,
        routes::Deletion,
    },
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};
use tokio::{sync::Semaphore, task::JoinSet, time::Instant};
use tracing::Instrument as _;

/// How long a job is followed after its request was answered.
const FOLLOW_TIME: Duration = Duration::from_secs(30);
/// How long a broker that follows a job has to repeat its delete, before another broker does.
const FOLLOWER_GRACE: Duration = Duration::from_secs(4);
/// A route from an older list is read again before its delete.
const MAX_LIST_AGE: Duration = Duration::from_secs(1);
/// Most deletes of one tenant that are sent to CF at the same time.
const MAX_DELETES: usize = 4;

/// A route whose delete job runs. Its host stays locked while the request waits.
struct PendingDeletion {
    deleting: DeletingRoute,
    pace: Pace,
    attempt: DeleteAttempt,
    /// CF's request id of the delete.
    request_id: Option<String>,
    host_guard: Option<KeyGuard>,
    /// While a request waits for the job.
    wait: Option<IdlePart>,
}

/// Which delete of the route the job is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum DeleteAttempt {
    First,
    /// The first job failed.
    Last,
}

/// Who marked a route before its delete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum MarkedBy {
    /// An earlier delete.
    Others,
    Us,
    /// CF did not take the mark.
    Nobody,
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

    /// Deletes all routes in parallel.
    pub(super) async fn all(self, routes: Vec<Route>) -> Vec<DeletionResult> {
        if routes.len() < 2 {
            let mut results = Vec::new();
            for route in routes {
                results.push(self.one(route).await);
            }
            return results;
        }
        let (mut set, places) = (JoinSet::new(), self.op.request_context.places.clone());
        let names: Vec<_> =
            routes.iter().map(|route| (route.guid.clone(), route.host.clone())).collect();
        // All parts are made before this one is idle: without a working part, the places are lost.
        let routes: Vec<_> = routes.into_iter().map(|route| (route, places.part())).collect();
        let _idle = places.idle();
        for (index, (route, working)) in routes.into_iter().enumerate() {
            let mut part = self.clone();
            part.op.owner.cf = part.op.owner.cf.with_own_request_id();
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
            Err(error) => self.failed(&DeletedName { guid, host }, error, None),
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
        let Some(route) = read else { return Ok(None) };
        let Some(job) = self.send(&route).await? else { return Ok(None) };
        Ok(Some(PendingDeletion {
            deleting: DeletingRoute { guid: route.guid, host: route.host, job },
            pace: Pace::default(),
            attempt: DeleteAttempt::First,
            request_id: self.op.cf().last_request_id(),
            host_guard: Some(host_guard),
            wait: None,
        }))
    }

    /// Marks a route, then deletes it. Returns CF's job; `None` if the route is gone, no longer the
    /// tenant's, or given up instead.
    async fn send(&self, route: &Route) -> Result<Option<Guid>, RouteError> {
        let Claim::Ours(state) = self.claim(route) else { return Ok(None) };
        if let Some(foreign) = self.foreign(route).await? {
            self.give_up(route, &foreign).await?;
            self.log_step("given_up", &route.host, &route.guid, self.op.cf().last_request_id());
            return Ok(None);
        }
        let Some(marked_by) = self.mark(route, state).await else { return Ok(None) };
        match self.op.cf().delete_route(&route.guid).await {
            Ok(Deletion::Job(job)) => Ok(Some(job)),
            Ok(Deletion::Gone) => {
                self.op.locks().forget_deleting(&route.guid).await;
                self.log_step("gone", &route.host, &route.guid, self.op.cf().last_request_id());
                Ok(None)
            }
            // CF may be deleting it, or does not serve now. The mark stays, and the next request
            // for the host finishes the delete.
            Err(error) if error.may_have_been_executed() || error.is_transient() => {
                Err(error.into())
            }
            Err(error) => {
                match marked_by {
                    MarkedBy::Us => self.unmark(&route.guid).await,
                    MarkedBy::Nobody => self.op.locks().forget_deleting(&route.guid).await,
                    MarkedBy::Others => {}
                }
                Err(error.into())
            }
        }
    }

    /// Marks a route as being deleted; `None` if it is no longer the tenant's. A refused mark does
    /// not stop the delete: the tenant's URL must not stay. A route that is already marked is not
    /// written to: another delete may be running.
    async fn mark(&self, route: &Route, state: DeletionState) -> Option<MarkedBy> {
        if state == DeletionState::Deleting {
            return Some(MarkedBy::Others);
        }
        match self.op.mark_deleting(&route.guid).await {
            Ok(Some(marked)) if !self.is_ours(&marked) => {
                self.unmark(&route.guid).await;
                None
            }
            Ok(_) => Some(MarkedBy::Us),
            Err(error) => {
                tracing::warn!(route = %route.guid, %error, "a route that is being deleted could not be marked");
                let unclear = error.may_have_been_executed();
                Some(if unclear { MarkedBy::Us } else { MarkedBy::Nobody })
            }
        }
    }

    fn claim(&self, route: &Route) -> Claim {
        self.op.ownership.claim(route, &self.space.guid, self.op.request_context.now)
    }

    fn is_ours(&self, route: &Route) -> bool {
        matches!(self.claim(route), Claim::Ours(_))
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

    /// Waits for the job of a route, if the caller does. A job that still runs is followed after
    /// the answer.
    async fn wait(&self, mut pending: PendingDeletion) -> DeletionResult {
        // `None` as well if as many requests of the caller wait as may.
        pending.wait = match self.wait_mode {
            WaitMode::Wait => self.op.begin_wait_for_job(),
            WaitMode::DontWait => None,
        };
        if pending.wait.is_some()
            && let Some(end) = self.poll(&mut pending, self.end).await
        {
            return end;
        }
        pending.wait = None;
        let deleting = pending.deleting.clone();
        let request_id = pending.request_id.clone();
        self.log_step("running", &deleting.host, &deleting.guid, request_id);
        self.follow(pending);
        DeletionResult::Running(deleting)
    }

    /// Polls the job in a task of its own, so that a job that fails is repeated although no
    /// caller waits. The mark keeps the route from being used meanwhile, so the host is not locked.
    /// If the process stops, the next request for the route or its operation finishes the delete.
    fn follow(&self, mut pending: PendingDeletion) {
        pending.host_guard = None;
        let part = self.detached();
        let following = async move { part.follow_job(&mut pending).await };
        self.op.owner.routes.0.tasks.spawn(following.in_current_span());
    }

    /// Makes a copy that goes on for [`FOLLOW_TIME`] after its request.
    fn detached(&self) -> Self {
        let mut part = self.clone();
        part.end = Instant::now() + FOLLOW_TIME;
        part.op.owner.cf = part.op.owner.cf.with_deadline(part.end);
        // Nobody waits for it, so it holds no place of its request.
        part.op.request_context.places = RequestPlaces::default();
        part
    }

    async fn follow_job(&self, pending: &mut PendingDeletion) -> Option<DeletionResult> {
        let tasks = &self.op.owner.routes.0.tasks;
        // A broker that stops does not wait for CF.
        while pending.pace.pause(self.end).await == Turn::Next && !tasks.is_closed() {
            let result = self.poll(pending, Instant::now()).await;
            if result.is_some() {
                return result;
            }
        }
        None
    }

    /// Goes on, in a task of its own, with a delete whose job failed although its route is still
    /// marked: the broker that followed the job may be gone.
    pub(super) fn resume(op: &OperationContext, space: ResolvedSpace, deleting: &DeletingRoute) {
        let key = LockKey::Repeat(deleting.job.clone());
        let Some(guard) = op.locks().try_lock(&key) else { return };
        let (op, deleting) = (op.clone(), deleting.clone());
        let tasks = op.owner.routes.0.tasks.clone();
        let stopping = tasks.clone();
        let resuming = async move {
            let _guard = guard;
            let (end, mut pace) = (Instant::now() + FOLLOWER_GRACE, Pace::default());
            while pace.pause(end).await == Turn::Next {
                if stopping.is_closed() {
                    return;
                }
            }
            Self::resume_now(op, space, deleting).await;
        };
        tasks.spawn(resuming.in_current_span());
    }

    async fn resume_now(mut op: OperationContext, space: ResolvedSpace, deleting: DeletingRoute) {
        let now = Instant::now();
        op.owner.cf = op.owner.cf.with_deadline(now + FOLLOW_TIME);
        let Ok(Some(route)) = op.cf().route(&deleting.guid).await else { return };
        let claim = op.ownership.claim(&route, &space.guid, op.request_context.now);
        if claim != Claim::Ours(DeletionState::Deleting) {
            return;
        }
        let location = SharedLocation::of(&route);
        let audit = Audit::begin_at(location, "remove", &op.request_context, op.tenant.as_str());
        let audit = Arc::new(audit);
        let op = op.for_write(&audit);
        let deletion = Self::waiting(&op, &audit, space, (now, now)).detached();
        let mut pending = PendingDeletion {
            deleting: DeletingRoute { host: route.host, ..deleting },
            pace: Pace::default(),
            attempt: DeleteAttempt::First,
            request_id: None,
            host_guard: None,
            wait: None,
        };
        match deletion.follow_job(&mut pending).await {
            Some(DeletionResult::Gone) => audit.settled("removed", None),
            Some(DeletionResult::Failed(failure)) => audit.refused(&failure.error),
            Some(DeletionResult::Running(_)) | None => audit.settled("running", None),
        }
    }

    /// Polls a job until it ends or `until` is reached; `None` if it still runs, as far as is
    /// known. An error that a repeat mends does not end it: CF goes on with the delete.
    async fn poll(&self, one: &mut PendingDeletion, until: Instant) -> Option<DeletionResult> {
        loop {
            let name = DeletedName::of(&one.deleting);
            let error = match self.job_outcome(one, until).await {
                Ok(JobOutcome::Running | JobOutcome::Gone) => return None,
                Ok(JobOutcome::Complete) => {
                    self.op.locks().forget_deleting(&name.guid).await;
                    self.log_step("deleted", &name.host, &name.guid, one.request_id.take());
                    return Some(DeletionResult::Gone);
                }
                Ok(JobOutcome::Failed(errors)) => match self.send_again(one, errors.errors).await {
                    Ok(Some(job)) => {
                        one.request_id = self.op.cf().last_request_id();
                        (one.deleting.job, one.pace) = (job, Pace::default());
                        continue;
                    }
                    Ok(None) => return Some(DeletionResult::Gone),
                    // It was not sent yet.
                    Err(RouteError::Capi(error))
                        if error.is_transient() && one.attempt == DeleteAttempt::First =>
                    {
                        match one.pace.pause(until).await {
                            Turn::Next => continue,
                            Turn::Over => return None,
                        }
                    }
                    Err(error) => error,
                },
                Err(error) if error.is_transient() => match one.pace.pause(until).await {
                    Turn::Next => continue,
                    Turn::Over => return None,
                },
                // CF is deleting it anyway, so the mark stays.
                Err(error) => error.into(),
            };
            return Some(self.failed(&name, error, one.request_id.take()));
        }
    }

    /// Repeats a delete. The request does not only wait then, so it takes its places again.
    async fn send_again(
        &self,
        one: &mut PendingDeletion,
        cf_errors: Vec<CfError>,
    ) -> Result<Option<Guid>, RouteError> {
        let Some(wait) = one.wait.take() else { return self.repeat(one, cf_errors).await };
        wait.resume().await;
        let repeated = self.repeat(one, cf_errors).await;
        one.wait = self.op.begin_wait_for_job();
        repeated
    }

    /// Deletes a route once more whose job failed. Usually another request wrote to the route while
    /// the job ran. Returns CF's new job; `None` if the route is gone or no longer the tenant's.
    ///
    /// # Errors
    /// [`RouteError::JobFailed`] if it was the last attempt. The mark is removed then.
    async fn repeat(
        &self,
        one: &mut PendingDeletion,
        cf_errors: Vec<CfError>,
    ) -> Result<Option<Guid>, RouteError> {
        let (guid, host) = (&one.deleting.guid, &one.deleting.host);
        let Some(current) = self.op.cf().route(guid).await? else {
            self.op.locks().forget_deleting(guid).await;
            self.log_step("gone", host, guid, one.request_id.take());
            return Ok(None);
        };
        if one.attempt == DeleteAttempt::First {
            let sent = self.send(&current).await;
            if !matches!(&sent, Err(RouteError::Capi(error)) if is_before_sending(error)) {
                self.log_step("deleted_again", host, guid, one.request_id.take());
                one.attempt = DeleteAttempt::Last;
            }
            return sent;
        }
        if self.is_ours(&current) {
            self.unmark(guid).await;
        }
        Err(RouteError::JobFailed { cf_errors })
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

    /// Removes the mark from a route that CF does not delete.
    async fn unmark(&self, guid: &Guid) {
        self.op.locks().forget_deleting(guid).await;
        let patch = self.op.ownership.not_deleting();
        if let Err(error) = self.op.cf().label_route(guid, &patch).await {
            tracing::warn!(route = %guid, %error, "the delete mark of a route could not be removed");
        }
    }

    fn log_step(&self, word: &str, host: &str, route: &Guid, request_id: Option<String>) {
        self.audit.stepped(&StepLine { word, host, route: route.as_str(), request_id });
    }

    fn failed(
        &self,
        name: &DeletedName,
        error: RouteError,
        request_id: Option<String>,
    ) -> DeletionResult {
        let request_id = request_id.or_else(|| self.op.cf().last_request_id());
        let DeletedName { guid, host } = name.clone();
        self.log_step(error.as_str(), &host, &guid, request_id);
        DeletionResult::Failed(NotDeleted { guid, host, error: Box::new(error) })
    }
}

/// Returns whether the call may be sent again: CF did not get it, and a repeat mends the error.
fn is_before_sending(error: &CapiError) -> bool {
    error.is_transient() && !error.may_have_been_executed()
}

/// A route in results and audit lines.
#[derive(Clone, Debug)]
struct DeletedName {
    guid: Guid,
    host: String,
}

impl DeletedName {
    fn of(deleting: &DeletingRoute) -> Self {
        Self { guid: deleting.guid.clone(), host: deleting.host.clone() }
    }
}
