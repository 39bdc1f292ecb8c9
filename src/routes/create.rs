//! Getting hold of the route: create it, or find out what stands in the way.
//!
//! Invariant: `POST /v3/routes` is never repeated blindly. Whatever CF says but success or a plain refusal,
//! the host is looked up before the next attempt, and each reason for one is good for one. Callers:
//! `ensure`.

use super::{
    OperationContext, RouteError, RouteRequest,
    audit::{Audit, SharedLocation},
    label::{Claim, Life, Provenance},
    locks::KeyGuard,
    request::Adoption,
    resolve::ResolvedRoute,
};
use crate::capi::{
    CapiError, Guid, Unavailability,
    jobs::{Pace, Turn},
    model::Route,
    routes::RouteSpec,
};
use std::time::Duration;
use tokio::time::Instant;

/// How long a create waits for a former route to go (`routes.md` 7): CF's job takes 0 to 2 s, and the
/// caller gives up at 60 s.
const DELETE_WAIT: Duration = Duration::from_secs(25);
/// After this a delete is unusual (CF needs 0 to 2 s): its job may have failed, or it was never sent.
const SLOW_JOB: Duration = Duration::from_secs(2);
/// What is kept of the deadline for the answer.
const RESERVE: Duration = Duration::from_millis(500);
/// What a caller is told when a host was taken and free in turns.
const FLICKER_PAUSE: Duration = Duration::from_secs(5);

/// A route in hand.
#[derive(Debug)]
pub(super) struct AcquiredRoute {
    pub(super) route: Route,
    pub(super) acquisition: Acquisition,
}

/// How it came into our hands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Acquisition {
    /// This request made it.
    Created,
    /// It was ours.
    CheckState,
    /// It was ours, and its labels needed mending.
    Relabelled,
    /// It was nobody's.
    Adopted,
}

/// Who mapped the app.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mapped {
    /// It was behind the route already.
    Before,
    /// This request.
    ByUs,
}

/// One attempt to get hold of a tenant's route.
pub(super) struct Creator<'a> {
    pub(super) op: &'a OperationContext,
    pub(super) request: &'a RouteRequest,
    pub(super) target: ResolvedRoute,
    /// The right to the target's host; a dry run has none.
    pub(super) host_guard: Option<KeyGuard>,
}

/// Why a create did not succeed although it may, or may have.
#[derive(Debug)]
enum Conflict {
    /// "Route already exists".
    Exists,
    /// The host has path routes in another space.
    OtherSpace,
    /// The quota is used up; CF says so for existing hosts, too.
    Quota,
    /// CF may have created it.
    Ambiguous(CapiError),
    /// The cached domain is gone.
    StaleDomain,
}

/// What each reason for another create was good for, once.
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
                return Ok(acquired);
            }
            retries.use_for(conflict)?;
        }
    }

    /// Lets the right to the host follow the target: a domain that was made anew has hosts of its own.
    async fn relock(&mut self) -> Result<(), RouteError> {
        let key = self.target.key();
        if self.host_guard.as_ref().is_some_and(|host_guard| !host_guard.is_for(&key)) {
            self.host_guard = None;
            self.host_guard = Some(self.op.lock(key).await?);
        }
        Ok(())
    }

    /// Looks the host up; `None` when it is free.
    pub(super) async fn find_existing(&self) -> Result<Option<AcquiredRoute>, RouteError> {
        let (domain, host) = (&self.target.domain.guid, self.target.host.as_str());
        let Some(route) = self.op.cf().find_route(domain, host).await? else {
            return Ok(None);
        };
        self.classify(route).await
    }

    /// Returns whether policy and body let unlabelled routes be taken over.
    pub(super) fn allows_adoption(&self) -> bool {
        self.op.owner.policy.terms.adopt && self.request.adoption == Adoption::Allowed
    }

    fn spec(&self) -> RouteSpec {
        RouteSpec {
            host: self.target.host.to_string(),
            space: self.target.space.guid.clone(),
            domain: self.target.domain.guid.clone(),
            metadata: self.op.ownership.metadata(self.provenance()),
        }
    }

    fn provenance(&self) -> Provenance<'_> {
        Provenance {
            subdomain: &self.request.subdomain,
            created_by: self.op.request_context.caller.client_id(),
            correlation: self.op.request_context.correlation.as_str(),
        }
    }

    /// Finds out what an conflict means; `None` when another create is in order.
    async fn resolve_conflict(
        &self,
        conflict: &Conflict,
    ) -> Result<Option<AcquiredRoute>, RouteError> {
        let (domain, host) = (&self.target.domain.guid, self.target.host.as_str());
        if let Some(route) = self.op.cf().find_route(domain, host).await? {
            let acquired = self.classify(route).await?;
            return Ok(acquired.map(|acquired| self.credit_create(acquired, conflict)));
        }
        let elsewhere = match conflict {
            Conflict::Ambiguous(_) | Conflict::StaleDomain => false,
            Conflict::OtherSpace => true,
            Conflict::Exists | Conflict::Quota => self.op.cf().is_reserved(domain, host).await?,
        };
        match conflict {
            _ if elsewhere => Err(RouteError::HostTakenElsewhere(self.target.fqdn())),
            Conflict::Quota => Err(RouteError::RouteQuotaExceeded),
            Conflict::Exists
            | Conflict::OtherSpace
            | Conflict::Ambiguous(_)
            | Conflict::StaleDomain => Ok(None),
        }
    }

    /// Judges the route that has the host; `None` when it goes, or has gone.
    async fn classify(&self, route: Route) -> Result<Option<AcquiredRoute>, RouteError> {
        let space = &self.target.space.guid;
        self.op.location.update(|location| location.route = Some(route.guid.to_string()));
        match self.op.ownership.claim(&route, space, self.op.request_context.now) {
            Claim::Ours(Life::Survived) => self.clear_mark(&route.guid).await,
            Claim::Ours(Life::Deleting) => {
                // The label tells it from now on, and so does its end.
                self.op.locks().forget_deleting(&route.guid).await;
                self.await_deletion(&route.guid).await
            }
            // It could not be marked.
            Claim::Ours(Life::Live) if self.op.locks().is_deleting(&route.guid) => {
                self.await_deletion(&route.guid).await
            }
            Claim::Ours(Life::Live) => {
                Ok(Some(AcquiredRoute { route, acquisition: Acquisition::CheckState }))
            }
            Claim::OtherTenant => Err(RouteError::HostOfOtherTenant(self.target.fqdn())),
            Claim::Unclaimed if self.is_adoptable(&route).await? => self.adopt(&route.guid).await,
            Claim::Unclaimed | Claim::Foreign => Err(RouteError::HostTaken(self.target.fqdn())),
        }
    }

    /// Counts a route as created that this very request made without hearing of it.
    fn credit_create(&self, acquired: AcquiredRoute, conflict: &Conflict) -> AcquiredRoute {
        let correlation = self.op.request_context.correlation.as_str();
        let unheard = matches!(conflict, Conflict::Ambiguous(_))
            && acquired.acquisition == Acquisition::CheckState;
        if unheard && self.op.ownership.was_made_by(&acquired.route, correlation) {
            return AcquiredRoute { acquisition: Acquisition::Created, ..acquired };
        }
        acquired
    }

    async fn adopt(&self, route: &Guid) -> Result<Option<AcquiredRoute>, RouteError> {
        let metadata = self.op.ownership.metadata(self.provenance());
        let labelled = self.op.cf().label_route(route, &metadata).await?;
        Ok(labelled.map(|route| AcquiredRoute { route, acquisition: Acquisition::Adopted }))
    }

    /// Looks whose an adopted route is in the end: CF lets two owners label it one after the other, and the last one
    /// has it.
    pub(super) async fn verify_adoption(
        &self,
        route: &Guid,
        mapped: Mapped,
    ) -> Result<(), RouteError> {
        let Some(seen) = self.op.cf().route(route).await? else {
            return Err(RouteError::BeingDeleted);
        };
        let space = &self.target.space.guid;
        let claim = self.op.ownership.claim(&seen, space, self.op.request_context.now);
        if matches!(claim, Claim::Ours(_)) {
            return Ok(());
        }
        // Our app must not answer for another owner's tenant; where it is the only one, it is the other's, too.
        let app = &self.target.app.guid;
        if mapped == Mapped::ByUs && seen.apps().any(|other| other != app) {
            let ours = seen.destinations.iter().filter(|one| one.app.guid.as_ref() == Some(app));
            for target in ours.filter_map(|one| one.guid.as_ref()) {
                self.op.cf().unmap_route(route, target).await?;
            }
        }
        Err(RouteError::HostTaken(self.target.fqdn()))
    }

    async fn clear_mark(&self, route: &Guid) -> Result<Option<AcquiredRoute>, RouteError> {
        self.op.locks().forget_deleting(route).await;
        let metadata = self.op.ownership.living();
        let labelled = self.op.cf().label_route(route, &metadata).await?;
        Ok(labelled.map(|route| AcquiredRoute { route, acquisition: Acquisition::Relabelled }))
    }

    /// Waits until a dying route is gone; `Some` when its mark was taken away instead. One that does not
    /// go is deleted once more: whoever marked it may have been killed before, and a job that failed after
    /// its request had ended is heard of by nobody.
    async fn await_deletion(&self, route: &Guid) -> Result<Option<AcquiredRoute>, RouteError> {
        let now = Instant::now();
        let latest = self.op.request_context.deadline.checked_sub(RESERVE).unwrap_or(now);
        let end = (now + DELETE_WAIT).min(latest);
        let mut overdue = Some(now + SLOW_JOB);
        let mut pace = Pace::default();
        while pace.pause(end).await == Turn::Next {
            let Some(seen) = self.op.cf().route(route).await? else {
                self.op.locks().forget_deleting(route).await;
                return Ok(None);
            };
            let claim = self.op.ownership.claim(
                &seen,
                &self.target.space.guid,
                self.op.request_context.now,
            );
            let remembered = self.op.locks().is_deleting(route);
            let late = overdue.is_some_and(|since| since <= Instant::now());
            match claim {
                Claim::Ours(Life::Live) if !remembered => {
                    return Ok(Some(AcquiredRoute {
                        route: seen,
                        acquisition: Acquisition::CheckState,
                    }));
                }
                Claim::Ours(Life::Live) if late && !self.try_mark(route).await => {}
                Claim::Ours(_) if late => {
                    overdue = None;
                    self.delete_again(&seen).await?;
                }
                Claim::Ours(_) => {}
                // It was given up: the next create tells whose it is.
                Claim::Unclaimed | Claim::OtherTenant | Claim::Foreign => return Ok(None),
            }
        }
        Err(RouteError::BeingDeleted)
    }

    /// Marks a route that could not be marked before. Without the mark it is not deleted: another instance may
    /// have found it alive.
    async fn try_mark(&self, route: &Guid) -> bool {
        match self.op.mark_deleting(route).await {
            Ok(marked) => marked.is_some(),
            Err(error) => {
                tracing::warn!(route = %route, %error, "a dying route could not be marked");
                false
            }
        }
    }

    /// Asks for a delete that was asked for before; where one is pending, CF ends both (`reliability.md` U3).
    async fn delete_again(&self, route: &Route) -> Result<(), RouteError> {
        let (op, location) = (self.op, SharedLocation::of(route));
        let audit = Audit::begin_at(location, "remove", &op.request_context, op.tenant.as_str());
        let deleted = op.cf().delete_route(&route.guid).await;
        match &deleted {
            Ok(_) => audit.settled("deleted_again", op.cf().last_request_id().as_deref()),
            Err(error) => audit.settled(error.word(), error.request_id()),
        }
        deleted?;
        Ok(())
    }
}

impl Conflict {
    /// Tells an conflict from a plain refusal (`routes.md` 7).
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
        if error.is_unprocessable("Route conflicts with") {
            return Err(RouteError::HostReserved);
        }
        if error.may_have_been_executed() || error.is_race() {
            return Ok(Self::Ambiguous(error));
        }
        Err(error.into())
    }

    /// What it means when another create did not help. Only silence is unclear: a CF that answers "failed" twice, with
    /// nothing there after each, has been heard, and its answer has a code of its own (`capi.md` 5, rows 15 to 21).
    fn final_error(self) -> RouteError {
        match self {
            Self::Exists | Self::OtherSpace | Self::Quota => {
                let (cause, source) = (Unavailability::Answered, None);
                CapiError::Unavailable { cause, retry_after: FLICKER_PAUSE, source }.into()
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
