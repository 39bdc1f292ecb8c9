//! Creates the tenant's route, or finds out why that is not possible.
//!
//! Invariant: `POST /v3/routes` is never repeated blindly. Unless CF reports success or a plain
//! refusal, the host is looked up before the next attempt. Each reason allows one more attempt.
//! Callers: `ensure`, `reconcile`.

use super::{
    OperationContext, RouteError, RouteRequest, adoption,
    audit::{Audit, SharedLocation},
    label::{Claim, DeletionState, Provenance},
    locks::KeyGuard,
    request::Adoption,
    resolve::ResolvedRoute,
};
use crate::capi::{
    CapiError, Guid, Unavailability,
    jobs::{Pace, Turn},
    model::{Route, RouteMetadata},
    routes::RouteSpec,
};
use std::time::Duration;
use tokio::time::Instant;

/// How long a create waits until a former route is deleted. CF's job takes 0 to 2 s, and the caller
/// gives up at 60 s.
const DELETE_WAIT: Duration = Duration::from_secs(25);
/// A delete usually takes CF 0 to 2 s. After this time its job may have failed, or the delete was
/// never sent.
const SLOW_JOB: Duration = Duration::from_secs(2);
/// Time that is kept for the answer, before the deadline.
const RESERVE: Duration = Duration::from_millis(500);
/// `Retry-After` when the host was taken, then free, then taken again.
const HOST_RACE_PAUSE: Duration = Duration::from_secs(5);

/// A route that is now the tenant's.
#[derive(Debug)]
pub(super) struct AcquiredRoute {
    pub(super) route: Route,
    pub(super) acquisition: Acquisition,
}

/// How the route became the tenant's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Acquisition {
    /// This request created it.
    Created,
    /// It already was the tenant's.
    Found,
    /// It was the tenant's, but still had the mark of a delete that failed.
    Relabelled,
    /// It had no labels, and this request set them.
    Adopted,
}

/// When the app was mapped to the route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mapped {
    /// Before this request.
    Before,
    /// By this request.
    ByUs,
}

/// Creates or finds one tenant's route.
pub(super) struct Creator<'a> {
    pub(super) op: &'a OperationContext,
    pub(super) request: &'a RouteRequest,
    pub(super) target: ResolvedRoute,
    /// The lock of the target's host. A dry run has none.
    pub(super) host_guard: Option<KeyGuard>,
    /// The patch that takes back the adoption of this request.
    pub(super) undo: Option<RouteMetadata>,
}

/// Why a create has no result yet. The conflict must be examined before another attempt.
#[derive(Debug)]
enum Conflict {
    /// "Route already exists".
    Exists,
    /// The host has path routes in another space.
    OtherSpace,
    /// The quota is used up. CF also says so when the host already exists.
    Quota,
    /// CF may have created it.
    Ambiguous(CapiError),
    /// The cached domain is gone.
    StaleDomain,
}

/// The reasons that were already used for another attempt. Each may be used once.
#[derive(Debug, Default)]
struct RetriesUsed {
    vanished: bool,
    ambiguous: bool,
    domain: bool,
}

impl Creator<'_> {
    /// Creates the route, or finds the one that is ours.
    pub(super) async fn acquire(&mut self) -> Result<AcquiredRoute, RouteError> {
        let mut retries = RetriesUsed::default();
        loop {
            let error = match self.op.cf().create_route(&self.spec()).await {
                Ok(route) => {
                    self.op
                        .location
                        .update(|location| location.route = Some(route.guid.to_string()));
                    return Ok(AcquiredRoute { route, acquisition: Acquisition::Created });
                }
                Err(error) => error,
            };
            if error.is_unprocessable("Invalid space.") && self.op.forget_named_space().await {
                self.target.resolve_again(self.op, self.request).await?;
                self.relock().await?;
                continue;
            }
            let conflict = Conflict::of(error)?;
            if let Conflict::StaleDomain = conflict {
                self.target.refresh_domain(self.op, self.request).await?;
                self.relock().await?;
            } else if let Some(acquired) = self.resolve_conflict(&conflict).await? {
                let unanswered = retries.ambiguous || matches!(conflict, Conflict::Ambiguous(_));
                return Ok(if unanswered { self.credit_create(acquired) } else { acquired });
            }
            retries.use_for(conflict)?;
        }
    }

    /// Takes the lock of the new host key if the domain has a new guid: its hosts are other keys.
    async fn relock(&mut self) -> Result<(), RouteError> {
        let key = self.target.key();
        if self.host_guard.as_ref().is_some_and(|host_guard| !host_guard.is_for(&key)) {
            self.host_guard = None;
            self.host_guard = Some(self.op.lock(key).await?);
        }
        Ok(())
    }

    /// Looks the host up; `None` if it is free.
    pub(super) async fn find_existing(&mut self) -> Result<Option<AcquiredRoute>, RouteError> {
        let (domain, host) = (&self.target.domain.guid, self.target.host.as_str());
        let Some(route) = self.op.cf().find_route(domain, host).await? else {
            return Ok(None);
        };
        self.classify(route).await
    }

    /// Returns whether provider entry and request allow to adopt unlabelled routes.
    pub(super) fn allows_adoption(&self) -> bool {
        self.op.owner.provider.terms.adopt && self.request.adoption == Adoption::Allowed
    }

    fn spec(&self) -> RouteSpec {
        RouteSpec {
            host: self.target.host.to_string(),
            space: self.target.space.guid.clone(),
            domain: self.target.domain.guid.clone(),
            metadata: self.op.ownership.metadata(self.provenance()),
        }
    }

    pub(super) fn provenance(&self) -> Provenance<'_> {
        Provenance {
            subdomain: &self.request.subdomain,
            created_by: self.op.request_context.caller.client_id(),
            correlation: self.op.request_context.correlation.as_str(),
        }
    }

    /// Finds out what a conflict means; `None` if another attempt makes sense.
    async fn resolve_conflict(
        &mut self,
        conflict: &Conflict,
    ) -> Result<Option<AcquiredRoute>, RouteError> {
        let (domain, host) = (&self.target.domain.guid, self.target.host.as_str());
        if let Some(route) = self.op.cf().find_route(domain, host).await? {
            return self.classify(route).await;
        }
        let elsewhere = match conflict {
            Conflict::Ambiguous(_) | Conflict::StaleDomain => false,
            Conflict::OtherSpace => true,
            Conflict::Exists | Conflict::Quota => self.op.cf().is_reserved(domain, host).await?,
        };
        match conflict {
            _ if elsewhere => match self.op.cf().find_route(domain, host).await? {
                // Another instance has just created it.
                Some(route) => self.classify(route).await,
                None => Err(RouteError::HostTakenElsewhere(self.target.fqdn())),
            },
            Conflict::Quota => Err(RouteError::RouteQuotaExceeded),
            Conflict::Exists
            | Conflict::OtherSpace
            | Conflict::Ambiguous(_)
            | Conflict::StaleDomain => Ok(None),
        }
    }

    /// Decides what to do with the route that has the host; `None` if it is or will be deleted.
    async fn classify(&mut self, route: Route) -> Result<Option<AcquiredRoute>, RouteError> {
        let space = &self.target.space.guid;
        self.op.location.update(|location| location.route = Some(route.guid.to_string()));
        match self.op.ownership.claim(&route, space, self.op.request_context.now) {
            Claim::Ours(DeletionState::DeleteFailed) => {
                self.require_mappable(&route).await?;
                self.clear_mark(&route.guid).await
            }
            Claim::Ours(DeletionState::Deleting) => {
                // From now on the label says so.
                self.op.locks().forget_deleting(&route.guid).await;
                self.await_deletion(&route.guid).await
            }
            // It is being deleted but has no label, because the label could not be set.
            Claim::Ours(DeletionState::Live) if self.op.locks().is_deleting(&route.guid) => {
                self.await_deletion(&route.guid).await
            }
            Claim::Ours(DeletionState::Live) => {
                Ok(Some(AcquiredRoute { route, acquisition: Acquisition::Found }))
            }
            Claim::OtherTenant => Err(RouteError::HostOfOtherTenant(self.target.fqdn())),
            Claim::Unclaimed if self.is_adoptable(&route).await? => self.adopt(&route).await,
            Claim::Unclaimed | Claim::Foreign => Err(RouteError::HostTaken(self.target.fqdn())),
        }
    }

    /// Counts a route as created if this request created it but did not get CF's answer. CF may
    /// have executed the first create after the second one was sent.
    fn credit_create(&self, acquired: AcquiredRoute) -> AcquiredRoute {
        let correlation = self.op.request_context.correlation.as_str();
        let found = acquired.acquisition == Acquisition::Found;
        if found && self.op.ownership.was_created_by(&acquired.route, correlation) {
            return AcquiredRoute { acquisition: Acquisition::Created, ..acquired };
        }
        acquired
    }

    /// Checks who owns an adopted route now. CF lets two owners label it one after the other; the
    /// last label wins.
    pub(super) async fn verify_adoption(
        &self,
        route: &Guid,
        mapped: Mapped,
    ) -> Result<(), RouteError> {
        let Some(current) = self.op.cf().route(route).await? else {
            return Err(RouteError::BeingDeleted);
        };
        let space = &self.target.space.guid;
        let claim = self.op.ownership.claim(&current, space, self.op.request_context.now);
        if matches!(claim, Claim::Ours(_)) {
            return Ok(());
        }
        // Our app must not answer for another owner's tenant. If it is the only app, it is the
        // other owner's app too.
        let app = &self.target.app.guid;
        if mapped == Mapped::ByUs && current.apps().any(|other| other != app) {
            let ours = current.destinations.iter().filter(|one| one.app.guid.as_ref() == Some(app));
            for target in ours.filter_map(|one| one.guid.as_ref()) {
                let unmapped = self.op.cf().unmap_route(route, target).await;
                unmapped.map_err(|error| adoption::explain(error, self.target.fqdn()))?;
            }
        }
        Err(RouteError::HostTaken(self.target.fqdn()))
    }

    async fn clear_mark(&self, route: &Guid) -> Result<Option<AcquiredRoute>, RouteError> {
        self.op.locks().forget_deleting(route).await;
        let metadata = self.op.ownership.not_deleting();
        let labelled = self.op.cf().label_route(route, &metadata).await?;
        Ok(labelled.map(|route| AcquiredRoute { route, acquisition: Acquisition::Relabelled }))
    }

    /// Waits until a route is deleted; `Some` if its mark was removed instead. A route that stays
    /// is deleted once more. The instance that marked it may have stopped before the delete, or the
    /// job failed after the request had ended.
    async fn await_deletion(&self, route: &Guid) -> Result<Option<AcquiredRoute>, RouteError> {
        let wait = self.op.begin_wait_for_job();
        let outcome = self.watch_deletion(route).await?;
        if let Some(wait) = wait {
            wait.resume().await;
        }
        Ok(outcome)
    }

    async fn watch_deletion(&self, route: &Guid) -> Result<Option<AcquiredRoute>, RouteError> {
        let now = Instant::now();
        let latest = self.op.request_context.deadline.checked_sub(RESERVE).unwrap_or(now);
        let end = (now + DELETE_WAIT).min(latest);
        let mut overdue = Some(now + SLOW_JOB);
        let mut pace = Pace::default();
        while pace.pause(end).await == Turn::Next {
            let Some(current) = self.op.cf().route(route).await? else {
                self.op.locks().forget_deleting(route).await;
                return Ok(None);
            };
            let claim = self.op.ownership.claim(
                &current,
                &self.target.space.guid,
                self.op.request_context.now,
            );
            let remembered = self.op.locks().is_deleting(route);
            let late = overdue.is_some_and(|since| since <= Instant::now());
            match claim {
                // Unless this request has sent a delete of its own, which then still runs.
                Claim::Ours(DeletionState::Live) if !remembered && overdue.is_some() => {
                    return Ok(Some(AcquiredRoute {
                        route: current,
                        acquisition: Acquisition::Found,
                    }));
                }
                Claim::Ours(DeletionState::Live) if late && !self.try_mark(route).await => {}
                Claim::Ours(_) if late => {
                    overdue = None;
                    self.delete_again(&current).await?;
                }
                Claim::Ours(_) => {}
                // Its labels were removed. The next attempt finds out whose it is.
                Claim::Unclaimed | Claim::OtherTenant | Claim::Foreign => return Ok(None),
            }
        }
        Err(RouteError::BeingDeleted)
    }

    /// Marks a route that could not be marked before. Without the mark it is not deleted: another
    /// instance may have found it unmarked and used it.
    async fn try_mark(&self, route: &Guid) -> bool {
        match self.op.set_mark(route).await {
            Ok(marked) => marked.is_some(),
            Err(error) => {
                tracing::warn!(route = %route, %error, "a route that is being deleted could not be marked");
                false
            }
        }
    }

    /// Repeats a delete. CF accepts it while an earlier delete is pending, and both end.
    async fn delete_again(&self, route: &Route) -> Result<(), RouteError> {
        let (op, location) = (self.op, SharedLocation::of(route));
        let audit = Audit::begin_at(location, "remove", &op.request_context, op.tenant.as_str());
        let deleted = op.cf().delete_route(&route.guid).await;
        match &deleted {
            Ok(_) => audit.settled("deleted_again", op.cf().last_request_id().as_deref()),
            Err(error) => audit.settled(error.as_str(), error.request_id()),
        }
        deleted?;
        Ok(())
    }
}

impl Conflict {
    /// Separates a conflict from a plain refusal.
    fn of(error: CapiError) -> Result<Self, RouteError> {
        if error.is_unprocessable("Route already exists") {
            return Ok(Self::Exists);
        }
        if error.is_unprocessable("host_and_domain_taken") {
            return Ok(Self::OtherSpace);
        }
        if error.is_unprocessable("Routes quota exceeded") {
            return Ok(Self::Quota);
        }
        if error.is_unprocessable("Invalid domain.") {
            return Ok(Self::StaleDomain);
        }
        // A named space has been resolved again before.
        if error.is_unprocessable("Invalid space.") {
            return Err(RouteError::SpaceInvisible);
        }
        if error.is_unprocessable("Route conflicts with") {
            return Err(RouteError::HostReserved);
        }
        if error.may_have_been_executed() || error.is_race() {
            return Ok(Self::Ambiguous(error));
        }
        Err(error.into())
    }

    /// Returns the error when the second attempt fails for the same reason. Only a missing answer
    /// is unclear. If CF answers "failed" twice and no route exists after either, the caller gets
    /// the code of that answer (`docs/reference/problems.md`).
    fn final_error(self) -> RouteError {
        match self {
            Self::Exists | Self::OtherSpace | Self::Quota => {
                let (cause, source) = (Unavailability::Answered, None);
                CapiError::Unavailable { cause, retry_after: HOST_RACE_PAUSE, source }.into()
            }
            Self::Ambiguous(
                CapiError::Timeout { .. }
                | CapiError::Unavailable { cause: Unavailability::ConnectionTerminated, .. },
            ) => RouteError::Unclear,
            Self::Ambiguous(error) => error.into(),
            Self::StaleDomain => RouteError::DomainNotFound,
        }
    }
}

impl RetriesUsed {
    fn use_for(&mut self, conflict: Conflict) -> Result<(), RouteError> {
        let used = match conflict {
            Conflict::Exists | Conflict::OtherSpace | Conflict::Quota => &mut self.vanished,
            Conflict::Ambiguous(_) => &mut self.ambiguous,
            Conflict::StaleDomain => &mut self.domain,
        };
        if std::mem::replace(used, true) { Err(conflict.final_error()) } else { Ok(()) }
    }
}
