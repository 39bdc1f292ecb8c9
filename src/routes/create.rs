//! Getting hold of the route: create it, or find out what stands in the way.
//!
//! Invariant: `POST /v3/routes` is never repeated blindly. Whatever CF says but success or a plain refusal,
//! the host is looked up before the next attempt, and each reason for one is good for one. Callers:
//! `ensure`.

use super::{
    RouteError, Wish, Work,
    audit::{Audit, Place},
    label::{Claim, Life, Provenance},
    order::Ticket,
    target::Target,
    wish::Adoption,
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
const UNUSUAL: Duration = Duration::from_secs(2);
/// What is kept of the deadline for the answer.
const RESERVE: Duration = Duration::from_millis(500);
/// What a caller is told when a host was taken and free in turns.
const FLICKER_PAUSE: Duration = Duration::from_secs(5);

/// A route in hand.
#[derive(Debug)]
pub(super) struct Taken {
    pub(super) route: Route,
    pub(super) origin: Origin,
}

/// How it came into our hands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// This request made it.
    Created,
    /// It was ours.
    Found,
    /// It was ours, and its labels needed mending.
    Mended,
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
pub(super) struct Builder<'a> {
    pub(super) work: &'a Work,
    pub(super) wish: &'a Wish,
    pub(super) target: Target,
    /// The right to the target's host; a dry run has none.
    pub(super) ticket: Option<Ticket>,
}

/// Why a create did not succeed although it may, or may have.
#[derive(Debug)]
enum Obstacle {
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
struct Spent {
    vanished: bool,
    ambiguous: bool,
    domain: bool,
}

impl Builder<'_> {
    /// Creates the route, or finds the one that is ours.
    pub(super) async fn take(&mut self) -> Result<Taken, RouteError> {
        let mut spent = Spent::default();
        loop {
            let error = match self.work.cf().create_route(&self.spec()).await {
                Ok(route) => {
                    self.work.place.learn(|facts| facts.route = Some(route.guid.to_string()));
                    return Ok(Taken { route, origin: Origin::Created });
                }
                Err(error) => error,
            };
            if error.is_unprocessable("Invalid space.") && self.work.forget_named_space().await {
                self.target.renew(self.work, self.wish).await?;
                self.follow().await?;
                continue;
            }
            let obstacle = Obstacle::of(error)?;
            if let Obstacle::StaleDomain = obstacle {
                self.target.refresh_domain(self.work, self.wish).await?;
                self.follow().await?;
            } else if let Some(taken) = self.look(&obstacle).await? {
                return Ok(taken);
            }
            spent.spend(obstacle)?;
        }
    }

    /// Lets the right to the host follow the target: a domain that was made anew has hosts of its own.
    async fn follow(&mut self) -> Result<(), RouteError> {
        let key = self.target.key();
        if self.ticket.as_ref().is_some_and(|ticket| !ticket.is_for(&key)) {
            self.ticket = None;
            self.ticket = Some(self.work.take(key).await?);
        }
        Ok(())
    }

    /// Looks the host up; `None` when it is free.
    pub(super) async fn found(&self) -> Result<Option<Taken>, RouteError> {
        let (domain, host) = (&self.target.domain.guid, self.target.host.as_str());
        let Some(route) = self.work.cf().find_route(domain, host).await? else {
            return Ok(None);
        };
        self.judge(route).await
    }

    /// Returns whether policy and body let unlabelled routes be taken over.
    pub(super) fn consents(&self) -> bool {
        self.work.grounds.policy.terms.adopt && self.wish.adoption == Adoption::Allowed
    }

    fn spec(&self) -> RouteSpec {
        RouteSpec {
            host: self.target.host.to_string(),
            space: self.target.site.space.clone(),
            domain: self.target.domain.guid.clone(),
            metadata: self.work.ownership.metadata(self.provenance()),
        }
    }

    fn provenance(&self) -> Provenance<'_> {
        Provenance {
            subdomain: &self.wish.subdomain,
            created_by: self.work.errand.caller.client_id(),
            correlation: self.work.errand.correlation.as_str(),
        }
    }

    /// Finds out what an obstacle means; `None` when another create is in order.
    async fn look(&self, obstacle: &Obstacle) -> Result<Option<Taken>, RouteError> {
        let (domain, host) = (&self.target.domain.guid, self.target.host.as_str());
        if let Some(route) = self.work.cf().find_route(domain, host).await? {
            let taken = self.judge(route).await?;
            return Ok(taken.map(|taken| self.credited(taken, obstacle)));
        }
        let elsewhere = match obstacle {
            Obstacle::Ambiguous(_) | Obstacle::StaleDomain => false,
            Obstacle::OtherSpace => true,
            Obstacle::Exists | Obstacle::Quota => self.work.cf().is_reserved(domain, host).await?,
        };
        match obstacle {
            _ if elsewhere => Err(RouteError::HostTakenElsewhere(self.target.fqdn())),
            Obstacle::Quota => Err(RouteError::RouteQuotaExceeded),
            Obstacle::Exists
            | Obstacle::OtherSpace
            | Obstacle::Ambiguous(_)
            | Obstacle::StaleDomain => Ok(None),
        }
    }

    /// Judges the route that has the host; `None` when it goes, or has gone.
    async fn judge(&self, route: Route) -> Result<Option<Taken>, RouteError> {
        let space = &self.target.site.space;
        self.work.place.learn(|facts| facts.route = Some(route.guid.to_string()));
        match self.work.ownership.claim(&route, space, self.work.errand.now) {
            Claim::Ours(Life::Survived) => self.revive(&route.guid).await,
            Claim::Ours(Life::Dying) => {
                // The label tells it from now on, and so does its end.
                self.work.order().forget_dying(&route.guid).await;
                self.outlive(&route.guid).await
            }
            // It could not be marked.
            Claim::Ours(Life::Live) if self.work.order().is_dying(&route.guid) => {
                self.outlive(&route.guid).await
            }
            Claim::Ours(Life::Live) => Ok(Some(Taken { route, origin: Origin::Found })),
            Claim::OtherTenant => Err(RouteError::HostOfOtherTenant(self.target.fqdn())),
            Claim::Unclaimed if self.is_adoptable(&route).await? => self.adopt(&route.guid).await,
            Claim::Unclaimed | Claim::Foreign => Err(RouteError::HostTaken(self.target.fqdn())),
        }
    }

    /// Counts a route as created that this very request made without hearing of it.
    fn credited(&self, taken: Taken, obstacle: &Obstacle) -> Taken {
        let correlation = self.work.errand.correlation.as_str();
        let unheard = matches!(obstacle, Obstacle::Ambiguous(_)) && taken.origin == Origin::Found;
        if unheard && self.work.ownership.was_made_by(&taken.route, correlation) {
            return Taken { origin: Origin::Created, ..taken };
        }
        taken
    }

    async fn adopt(&self, route: &Guid) -> Result<Option<Taken>, RouteError> {
        let metadata = self.work.ownership.metadata(self.provenance());
        let labelled = self.work.cf().label_route(route, &metadata).await?;
        Ok(labelled.map(|route| Taken { route, origin: Origin::Adopted }))
    }

    /// Looks whose an adopted route is in the end: CF lets two owners label it one after the other, and the last one
    /// has it.
    pub(super) async fn verify_adoption(
        &self,
        route: &Guid,
        mapped: Mapped,
    ) -> Result<(), RouteError> {
        let Some(seen) = self.work.cf().route(route).await? else {
            return Err(RouteError::BeingDeleted);
        };
        let space = &self.target.site.space;
        let claim = self.work.ownership.claim(&seen, space, self.work.errand.now);
        if matches!(claim, Claim::Ours(_)) {
            return Ok(());
        }
        // Our app must not answer for another owner's tenant; where it is the only one, it is the other's, too.
        let app = &self.target.app.guid;
        if mapped == Mapped::ByUs && seen.apps().any(|other| other != app) {
            let ours = seen.destinations.iter().filter(|one| one.app.guid.as_ref() == Some(app));
            for target in ours.filter_map(|one| one.guid.as_ref()) {
                self.work.cf().unmap_route(route, target).await?;
            }
        }
        Err(RouteError::HostTaken(self.target.fqdn()))
    }

    async fn revive(&self, route: &Guid) -> Result<Option<Taken>, RouteError> {
        self.work.order().forget_dying(route).await;
        let metadata = self.work.ownership.living();
        let labelled = self.work.cf().label_route(route, &metadata).await?;
        Ok(labelled.map(|route| Taken { route, origin: Origin::Mended }))
    }

    /// Waits until a dying route is gone; `Some` when its mark was taken away instead. One that does not
    /// go is deleted once more: whoever marked it may have been killed before, and a job that failed after
    /// its request had ended is heard of by nobody.
    async fn outlive(&self, route: &Guid) -> Result<Option<Taken>, RouteError> {
        let now = Instant::now();
        let latest = self.work.errand.deadline.checked_sub(RESERVE).unwrap_or(now);
        let end = (now + DELETE_WAIT).min(latest);
        let mut overdue = Some(now + UNUSUAL);
        let mut pace = Pace::default();
        while pace.pause(end).await == Turn::Next {
            let Some(seen) = self.work.cf().route(route).await? else {
                self.work.order().forget_dying(route).await;
                return Ok(None);
            };
            let claim =
                self.work.ownership.claim(&seen, &self.target.site.space, self.work.errand.now);
            let remembered = self.work.order().is_dying(route);
            let late = overdue.is_some_and(|since| since <= Instant::now());
            match claim {
                Claim::Ours(Life::Live) if !remembered => {
                    return Ok(Some(Taken { route: seen, origin: Origin::Found }));
                }
                Claim::Ours(Life::Live) if late && !self.mark(route).await => {}
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
    async fn mark(&self, route: &Guid) -> bool {
        match self.work.mark_dying(route).await {
            Ok(marked) => marked.is_some(),
            Err(error) => {
                tracing::warn!(route = %route, %error, "a dying route could not be marked");
                false
            }
        }
    }

    /// Asks for a delete that was asked for before; where one is pending, CF ends both (`reliability.md` U3).
    async fn delete_again(&self, route: &Route) -> Result<(), RouteError> {
        let (work, place) = (self.work, Place::of(route));
        let audit = Audit::begin_at(place, "remove", &work.errand, work.tenant.as_str());
        let deleted = work.cf().delete_route(&route.guid).await;
        match &deleted {
            Ok(_) => audit.settled("deleted_again", work.cf().last_request_id().as_deref()),
            Err(error) => audit.settled(error.word(), error.request_id()),
        }
        deleted?;
        Ok(())
    }
}

impl Obstacle {
    /// Tells an obstacle from a plain refusal (`routes.md` 7).
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

impl Spent {
    fn spend(&mut self, obstacle: Obstacle) -> Result<(), RouteError> {
        let spent = match obstacle {
            Obstacle::Exists | Obstacle::OtherSpace | Obstacle::Quota => &mut self.vanished,
            Obstacle::Ambiguous(_) => &mut self.ambiguous,
            Obstacle::StaleDomain => &mut self.domain,
        };
        if std::mem::replace(spent, true) { Err(obstacle.final_error()) } else { Ok(()) }
    }
}
