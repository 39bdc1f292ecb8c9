//! Ensure: create or repair a tenant's route, or foretell it (`routes.md` 7).
//!
//! Invariant: at the end the route is ours, labelled and mapped, or the caller gets an error and a route
//! that this request made is taken back. Callers: [`super::TenantRoutes`].

use super::{
    RouteError, Wish, Work,
    create::{Builder, Mapped, Origin, Taken},
    label::{Claim, Life},
    settings::Mode,
    take_back::take_back,
    target::{Choice, Target},
    unchecked::unchecked,
    view::{Ensured, Outcome, RouteView, State, Step, Warning},
};
use crate::capi::{CapiError, model::Route};

/// Creates or repairs.
pub(super) async fn ensure(work: &Work, wish: &Wish) -> Result<Ensured, RouteError> {
    let choice = Choice::of(work, wish)?;
    let _tenant = work.take_tenant().await?;
    // A reconcile that looked before this moment must not remove what is found or made here.
    work.order().remember_wanted(work.tenant_key()).await;
    let mut target = Box::pin(Target::resolve(work, wish, choice)).await?;
    if let Some(served) = wildcard(work, wish, &mut target).await? {
        return Ok(served);
    }
    let ticket = Some(work.take(target.key()).await?);
    Builder { work, wish, target, ticket }.run().await
}

/// Foretells, with one read of the host.
pub(super) async fn preview(work: &Work, wish: &Wish) -> Result<Ensured, RouteError> {
    let choice = Choice::of(work, wish)?;
    let resolved = Box::pin(Target::resolve(work, wish, choice.clone())).await;
    let mut target = match resolved {
        Ok(target) => target,
        Err(RouteError::Capi(error)) if error.is_transient() => {
            return Box::pin(unchecked(work, wish, &choice, None, error)).await;
        }
        Err(error) => return Err(error),
    };
    match foretell(work, wish, &mut target).await {
        Err(RouteError::Capi(error)) if error.is_transient() => {
            unchecked(work, wish, &choice, Some(&target), error).await
        }
        other => other,
    }
}

impl Builder<'_> {
    async fn run(&mut self) -> Result<Ensured, RouteError> {
        let mut warnings = Vec::new();
        let limited = self.check_limit(&mut warnings).await?;
        let taken = match limited {
            Some(taken) => taken,
            None => self.take().await?,
        };
        let mut outcome = outcome(taken.origin);
        let mut route = taken.route;
        let mut mapped = Mapped::Before;
        if !self.target.is_served_by(self.work, self.wish, &route).await? {
            if let Err(error) = self.map(&mut route).await {
                if taken.origin == Origin::Created {
                    take_back(self.work, route, self.ticket.take());
                }
                return Err(error);
            }
            (mapped, outcome) = (Mapped::ByUs, repaired(outcome));
        }
        if taken.origin == Origin::Adopted {
            self.verify_adoption(&route.guid, mapped).await?;
        }
        outcome = self.mend_subdomain(&route, outcome).await?;
        warnings.extend(self.warnings(&route));
        let view = RouteView::at(self.work, &self.wish.subdomain, &self.target, Some(&route));
        Ok(Ensured { view, outcome, warnings, plan: None })
    }

    /// Counts the app's routes; at the limit only a route that is ours already will do.
    async fn check_limit(
        &mut self,
        warnings: &mut Vec<Warning>,
    ) -> Result<Option<Taken>, RouteError> {
        let limit = self.work.grounds.policy.terms.max_routes_per_app;
        let count = match self.work.cf().routes_of_app(&self.target.app.guid).await {
            Err(CapiError::NotFound(_)) => {
                self.target.refresh_app(self.work, self.wish).await?;
                self.work.cf().routes_of_app(&self.target.app.guid).await?
            }
            other => other?,
        };
        // 90 % of the limit (`routes.md` 4).
        if count.saturating_mul(10) >= limit.saturating_mul(9) {
            warnings.push(Warning::AppRouteLimitNear);
        }
        if count < limit {
            return Ok(None);
        }
        self.found().await?.map(Some).ok_or(RouteError::AppRouteLimit { limit })
    }

    async fn map(&mut self, route: &mut Route) -> Result<(), RouteError> {
        let cf = self.work.cf();
        let mut mapped = cf.map_route(&route.guid, &self.target.app.guid).await;
        if mapped.as_ref().is_err_and(|error| error.is_unprocessable("App(s) with guid(s)")) {
            self.target.refresh_app(self.work, self.wish).await?;
            mapped = cf.map_route(&route.guid, &self.target.app.guid).await;
        }
        route.destinations = match mapped {
            Ok(targets) => targets,
            // Somebody deletes it at this moment.
            Err(CapiError::NotFound(_)) => return Err(RouteError::BeingDeleted),
            Err(error) if error.is_unprocessable("App(s) with guid(s)") => {
                return Err(RouteError::AppNotFound { app: self.target.choice.app.clone() });
            }
            Err(error) => return Err(error.into()),
        };
        Ok(())
    }

    /// Corrects the annotation that tells the subdomain; `drifted` is judged by it, but the route is as good without.
    async fn mend_subdomain(&self, route: &Route, outcome: Outcome) -> Result<Outcome, RouteError> {
        let ownership = &self.work.ownership;
        let annotated = ownership.prefix().annotation(route, "subdomain").unwrap_or_default();
        // Hosts ignore case.
        if annotated.eq_ignore_ascii_case(&self.wish.subdomain) {
            return Ok(outcome);
        }
        let patch = ownership.subdomain(&self.wish.subdomain);
        match self.work.cf().label_route(&route.guid, &patch).await {
            Ok(Some(_)) => Ok(repaired(outcome)),
            Ok(None) => Err(RouteError::BeingDeleted),
            Err(error) => {
                tracing::warn!(route = %route.guid, %error, "the subdomain of a route could not be annotated");
                Ok(outcome)
            }
        }
    }

    fn warnings(&self, route: &Route) -> impl Iterator<Item = Warning> {
        let app = &self.target.app;
        let stopped = app.is_stopped().then_some(Warning::AppStopped);
        let extra = route.serves_more_than(&app.guid);
        stopped.into_iter().chain(extra.then_some(Warning::ExtraDestinations))
    }
}

fn outcome(origin: Origin) -> Outcome {
    match origin {
        Origin::Created => Outcome::Created,
        Origin::Found => Outcome::Unchanged,
        Origin::Mended => Outcome::Repaired,
        Origin::Adopted => Outcome::Adopted,
    }
}

/// Mapping a new or adopted route is no repair.
fn repaired(outcome: Outcome) -> Outcome {
    if outcome == Outcome::Unchanged { Outcome::Repaired } else { outcome }
}

/// Looks for the domain's wildcard route where the mode asks for it.
pub(super) async fn wildcard(
    work: &Work,
    wish: &Wish,
    target: &mut Target,
) -> Result<Option<Ensured>, RouteError> {
    let mode = work.grounds.policy.terms.mode;
    if mode == Mode::Route {
        return Ok(None);
    }
    let route = work.cf().find_route(&target.domain.guid, "*").await?;
    let serving = match route {
        Some(route) if target.is_served_by(work, wish, &route).await? => Some(route),
        Some(_) | None => None,
    };
    match (serving, mode) {
        (Some(route), _) => {
            let view = RouteView::at(work, &wish.subdomain, target, Some(&route));
            let stopped = target.app.is_stopped().then_some(Warning::AppStopped);
            let warnings = stopped.into_iter().collect();
            Ok(Some(Ensured { view, outcome: Outcome::Wildcard, warnings, plan: None }))
        }
        (None, Mode::Wildcard) => {
            Err(RouteError::WildcardNotMapped { domain: target.domain.name.clone() })
        }
        (None, Mode::Route | Mode::Auto) => Ok(None),
    }
}

/// Predicts what a real run would do.
async fn foretell(work: &Work, wish: &Wish, target: &mut Target) -> Result<Ensured, RouteError> {
    if let Some(served) = wildcard(work, wish, target).await? {
        return Ok(Ensured { plan: Some(Vec::new()), ..served });
    }
    let host = target.host.as_str();
    let route = work.cf().find_route(&target.domain.guid, host).await?;
    let mut builder = Builder { work, wish, target: target.clone(), ticket: None };
    let (outcome, plan) = match &route {
        None => (Outcome::Created, vec![Step::Create, Step::Map]),
        Some(route) => builder.prediction(route).await?,
    };
    let stays = route.as_ref().filter(|_| outcome != Outcome::Created);
    let mut view = RouteView::at(work, &wish.subdomain, &builder.target, stays);
    if route.is_some() && stays.is_none() {
        view.state = State::Deleting;
    }
    let warnings = stays.map(|route| builder.warnings(route).collect()).unwrap_or_default();
    Ok(Ensured { view, outcome, warnings, plan: Some(plan) })
}

impl Builder<'_> {
    /// What a real run would make of the route that has the host.
    pub(super) async fn prediction(
        &mut self,
        route: &Route,
    ) -> Result<(Outcome, Vec<Step>), RouteError> {
        let fqdn = self.target.fqdn();
        let dying = self.work.order().is_dying(&route.guid);
        let claim = self.work.ownership.claim(route, &self.target.site.space, self.work.errand.now);
        let map = match claim {
            Claim::Ours(_) | Claim::Unclaimed => {
                let served = self.target.is_served_by(self.work, self.wish, route).await?;
                (!served).then_some(Step::Map)
            }
            Claim::OtherTenant | Claim::Foreign => None,
        };
        Ok(match claim {
            Claim::Ours(Life::Live) if !dying => {
                let outcome = if map.is_some() { Outcome::Repaired } else { Outcome::Unchanged };
                (outcome, map.into_iter().collect())
            }
            Claim::Ours(Life::Live | Life::Dying) => {
                (Outcome::Created, vec![Step::AwaitDelete, Step::Create, Step::Map])
            }
            Claim::Ours(Life::Survived) => {
                (Outcome::Repaired, [Step::Label].into_iter().chain(map).collect())
            }
            Claim::Unclaimed if self.is_adoptable(route).await? => {
                (Outcome::Adopted, [Step::Label].into_iter().chain(map).collect())
            }
            Claim::OtherTenant => return Err(RouteError::HostOfOtherTenant(fqdn)),
            Claim::Unclaimed | Claim::Foreign => return Err(RouteError::HostTaken(fqdn)),
        })
    }
}
