//! Ensure: creates or repairs a tenant's route, or predicts what that would do.
//!
//! Invariant: at the end the route belongs to the tenant, is labelled and mapped. Otherwise the
//! caller gets an error, and a route that this request created is deleted again. Callers:
//! [`super::TenantRoutes`].

use super::{
    OperationContext, RouteError, RouteRequest, adoption,
    audit::Audit,
    create::{AcquiredRoute, Acquisition, Creator, Mapped},
    label::{Claim, DeletionState},
    offline_preview::offline_preview,
    replace,
    resolve::{Choice, ResolvedRoute},
    rollback::roll_back,
    route_counts::{Admission, RoutePlace, Wanted},
    settings::Mode,
    view::{EnsureOutcome, Ensured, PlanStep, RouteState, RouteView, Warning},
};
use crate::capi::{CapiError, model::Route};
use std::sync::Arc;
use tokio::time::Instant;

/// Creates or repairs.
pub(super) async fn ensure(
    op: &OperationContext,
    request: &RouteRequest,
    audit: &Arc<Audit>,
) -> Result<Ensured, RouteError> {
    let choice = Choice::of(op, request)?;
    let _tenant = op.lock_tenant().await?;
    // A reconcile that read the routes before this moment must not delete what is found or created
    // here.
    op.locks().remember_requested(op.tenant_key()).await;
    let mut target = Box::pin(ResolvedRoute::resolve(op, request, choice)).await?;
    let mut done = if let Some(served) = wildcard(op, request, &mut target).await? {
        served
    } else {
        let host_guard = Some(op.lock(target.key()).await?);
        // The host is free again before a former route is locked: two tenants may exchange
        // their hosts.
        Creator { op, request, target, host_guard, undo: None }.run().await?
    };
    if op.replaces(request) {
        Box::pin(replace::remove(op, &mut done, audit)).await;
    }
    Ok(done)
}

/// Predicts the result, with one read of the host.
pub(super) async fn preview(
    op: &OperationContext,
    request: &RouteRequest,
) -> Result<Ensured, RouteError> {
    let choice = Choice::of(op, request)?;
    let resolved = Box::pin(ResolvedRoute::resolve(op, request, choice.clone())).await;
    let mut target = match resolved {
        Ok(target) => target,
        Err(RouteError::Capi(error)) if error.is_transient() => {
            return Box::pin(offline_preview(op, request, &choice, None, error)).await;
        }
        Err(error) => return Err(error),
    };
    let predicted = match predict(op, request, &mut target).await {
        Ok(mut done) if op.replaces(request) => {
            Box::pin(replace::predict(op, &mut done)).await.map(|()| done)
        }
        other => other,
    };
    match predicted {
        Err(RouteError::Capi(error)) if error.is_transient() => {
            offline_preview(op, request, &choice, Some(&target), error).await
        }
        other => other,
    }
}

impl Creator<'_> {
    async fn run(&mut self) -> Result<Ensured, RouteError> {
        let (mut reservation, found) = self.reserve().await?;
        let mut warnings = self.limit_warning(&reservation).into_iter().collect::<Vec<_>>();
        let acquired = match found {
            Some(acquired) => acquired,
            None => self.acquire().await?,
        };
        let mut outcome = outcome(acquired.acquisition);
        let mut route = acquired.route;
        let mut mapped = Mapped::Before;
        if !self.target.is_served_by(self.op, self.request, &route).await? {
            reservation.mapped();
            if let Err(error) = self.map(&mut route).await {
                match acquired.acquisition {
                    Acquisition::Created => roll_back(self.op, route, self.host_guard.take()),
                    // A repeat of the request finishes it.
                    Acquisition::Adopted if error.is_transient() => {}
                    Acquisition::Adopted => self.undo_adoption(&route.guid).await,
                    Acquisition::Found | Acquisition::Relabelled => {}
                }
                return Err(error);
            }
            (mapped, outcome) = (Mapped::ByUs, repaired(outcome));
        }
        drop(reservation);
        if acquired.acquisition == Acquisition::Adopted {
            self.verify_adoption(&route.guid, mapped).await?;
        }
        outcome = self.repair_subdomain(&route, outcome).await?;
        warnings.extend(self.warnings(&route));
        let view = RouteView::at(self.op, &self.request.subdomain, &self.target, Some(&route));
        Ok(Ensured { view, outcome, warnings, plan: None, replaced: None })
    }

    /// Reserves one of the app's routes. At the limit only a route that is already the tenant's, or
    /// may be adopted, passes.
    async fn reserve(&mut self) -> Result<(RoutePlace, Option<AcquiredRoute>), RouteError> {
        let (op, limit) = (self.op, self.op.owner.provider.terms.max_routes_per_app);
        let mut since = op.request_context.started;
        let mut is_looked_up = false;
        loop {
            let admission = self.admission(limit, since).await?;
            if let Admission::Reserved(reservation) = admission {
                return Ok((reservation, None));
            }
            if !std::mem::replace(&mut is_looked_up, true)
                && let Some(acquired) = self.find_existing().await?
            {
                return Ok((op.counts().exceed(&self.target.app.guid).await, Some(acquired)));
            }
            if let Admission::Full = admission {
                return Err(RouteError::AppRouteLimit { limit });
            }
            op.counts().changed(&self.target.app.guid, op.request_context.deadline).await?;
            since = Instant::now();
        }
    }

    /// Asks for one more route of the app. If CF does not know its guid, the app is looked up
    /// again.
    async fn admission(&mut self, limit: u64, since: Instant) -> Result<Admission, RouteError> {
        let (cf, counts) = (self.op.cf(), self.op.counts());
        let wanted = Wanted { app: &self.target.app.guid, limit, since };
        match counts.reserve(cf, wanted).await {
            Err(CapiError::NotFound(_)) => {
                self.target.refresh_app(self.op, self.request).await?;
                let wanted = Wanted { app: &self.target.app.guid, limit, since };
                Ok(counts.reserve(cf, wanted).await?)
            }
            other => Ok(other?),
        }
    }

    async fn map(&mut self, route: &mut Route) -> Result<(), RouteError> {
        if route.is_weighted() {
            return Err(RouteError::WeightedDestinations(self.target.fqdn()));
        }
        let cf = self.op.cf();
        let mut mapped = cf.map_route(&route.guid, &self.target.app.guid).await;
        if mapped.as_ref().is_err_and(|error| error.is_unprocessable("App(s) with guid(s)")) {
            self.target.refresh_app(self.op, self.request).await?;
            mapped = cf.map_route(&route.guid, &self.target.app.guid).await;
        }
        route.destinations = match mapped {
            Ok(targets) => targets,
            // The route was deleted in the meantime.
            Err(CapiError::NotFound(_)) => return Err(RouteError::BeingDeleted),
            Err(error) if error.is_unprocessable("App(s) with guid(s)") => {
                return Err(RouteError::AppNotFound { app: self.target.choice.app.clone() });
            }
            Err(error) => return Err(adoption::explain(error, self.target.fqdn())),
        };
        Ok(())
    }

    /// Corrects the annotated subdomain. The state `drifted` depends on it, but the route works
    /// without it, so a failure is only logged.
    async fn repair_subdomain(
        &self,
        route: &Route,
        outcome: EnsureOutcome,
    ) -> Result<EnsureOutcome, RouteError> {
        let ownership = &self.op.ownership;
        let annotated = ownership.prefix().annotation(route, "subdomain").unwrap_or_default();
        // Hosts ignore case.
        if annotated.eq_ignore_ascii_case(&self.request.subdomain) {
            return Ok(outcome);
        }
        let patch = ownership.subdomain(&self.request.subdomain);
        match self.op.cf().label_route(&route.guid, &patch).await {
            Ok(Some(_)) => Ok(repaired(outcome)),
            Ok(None) => Err(RouteError::BeingDeleted),
            Err(error) => {
                tracing::warn!(route = %route.guid, %error, "the subdomain of a route could not be annotated");
                Ok(outcome)
            }
        }
    }

    /// Warns from 90 % of the limit on.
    fn limit_warning(&self, reservation: &RoutePlace) -> Option<Warning> {
        let limit = self.op.owner.provider.terms.max_routes_per_app;
        let near = reservation.known().saturating_mul(10) >= limit.saturating_mul(9);
        near.then_some(Warning::AppRouteLimitNear)
    }

    fn warnings(&self, route: &Route) -> impl Iterator<Item = Warning> {
        let app = &self.target.app;
        let stopped = app.is_stopped().then_some(Warning::AppStopped);
        let extra = route.serves_more_than(&app.guid);
        stopped.into_iter().chain(extra.then_some(Warning::ExtraDestinations))
    }
}

fn outcome(acquisition: Acquisition) -> EnsureOutcome {
    match acquisition {
        Acquisition::Created => EnsureOutcome::Created,
        Acquisition::Found => EnsureOutcome::Unchanged,
        Acquisition::Relabelled => EnsureOutcome::Repaired,
        Acquisition::Adopted => EnsureOutcome::Adopted,
    }
}

/// Mapping a new or adopted route does not make it `repaired`.
fn repaired(outcome: EnsureOutcome) -> EnsureOutcome {
    if outcome == EnsureOutcome::Unchanged { EnsureOutcome::Repaired } else { outcome }
}

/// Looks for the domain's wildcard route if the mode asks for it.
pub(super) async fn wildcard(
    op: &OperationContext,
    request: &RouteRequest,
    target: &mut ResolvedRoute,
) -> Result<Option<Ensured>, RouteError> {
    let mode = op.owner.provider.terms.mode;
    if mode == Mode::Route {
        return Ok(None);
    }
    let route = op.cf().find_route(&target.domain.guid, "*").await?;
    let serving = match route {
        Some(route) if target.is_served_by(op, request, &route).await? => Some(route),
        Some(_) | None => None,
    };
    match (serving, mode) {
        (Some(route), _) => {
            let view = RouteView::at(op, &request.subdomain, target, Some(&route));
            let stopped = target.app.is_stopped().then_some(Warning::AppStopped);
            let warnings = stopped.into_iter().collect();
            let (outcome, plan, replaced) = (EnsureOutcome::Wildcard, None, None);
            Ok(Some(Ensured { view, outcome, warnings, plan, replaced }))
        }
        (None, Mode::Wildcard) => {
            Err(RouteError::WildcardNotMapped { domain: target.domain.name.clone() })
        }
        (None, Mode::Route | Mode::Auto) => Ok(None),
    }
}

/// Predicts what a real run would do.
async fn predict(
    op: &OperationContext,
    request: &RouteRequest,
    target: &mut ResolvedRoute,
) -> Result<Ensured, RouteError> {
    if let Some(served) = wildcard(op, request, target).await? {
        return Ok(Ensured { plan: Some(Vec::new()), ..served });
    }
    let host = target.host.as_str();
    let route = op.cf().find_route(&target.domain.guid, host).await?;
    let mut creator = Creator { op, request, target: target.clone(), host_guard: None, undo: None };
    let (outcome, plan) = match &route {
        None => {
            creator.predict_limit().await?;
            (EnsureOutcome::Created, vec![PlanStep::Create, PlanStep::Map])
        }
        Some(route) => creator.predict_for(route).await?,
    };
    let stays = route.as_ref().filter(|_| outcome != EnsureOutcome::Created);
    let mut view = RouteView::at(op, &request.subdomain, &creator.target, stays);
    if route.is_some() && stays.is_none() {
        view.state = RouteState::Deleting;
    }
    let warnings = stays.map(|route| creator.warnings(route).collect()).unwrap_or_default();
    Ok(Ensured { view, outcome, warnings, plan: Some(plan), replaced: None })
}

impl Creator<'_> {
    /// Refuses what the app's limit would refuse.
    async fn predict_limit(&mut self) -> Result<(), RouteError> {
        let limit = self.op.owner.provider.terms.max_routes_per_app;
        match self.admission(limit, self.op.request_context.started).await? {
            Admission::Full => Err(RouteError::AppRouteLimit { limit }),
            Admission::Reserved(_) | Admission::Pending => Ok(()),
        }
    }

    /// Predicts what a real run would do with the route that has the host.
    pub(super) async fn predict_for(
        &mut self,
        route: &Route,
    ) -> Result<(EnsureOutcome, Vec<PlanStep>), RouteError> {
        let fqdn = self.target.fqdn();
        let deleting = self.op.locks().is_deleting(&route.guid);
        let claim =
            self.op.ownership.claim(route, &self.target.space.guid, self.op.request_context.now);
        let map = match claim {
            Claim::Ours(_) | Claim::Unclaimed => {
                let served = self.target.is_served_by(self.op, self.request, route).await?;
                (!served).then_some(PlanStep::Map)
            }
            Claim::OtherTenant | Claim::Foreign => None,
        };
        match claim {
            Claim::Ours(DeletionState::Live) if !deleting => self.require_mappable(route).await?,
            Claim::Ours(DeletionState::DeleteFailed) => self.require_mappable(route).await?,
            Claim::Ours(_) | Claim::Unclaimed | Claim::OtherTenant | Claim::Foreign => {}
        }
        Ok(match claim {
            Claim::Ours(DeletionState::Live) if !deleting => {
                let outcome =
                    if map.is_some() { EnsureOutcome::Repaired } else { EnsureOutcome::Unchanged };
                (outcome, map.into_iter().collect())
            }
            Claim::Ours(DeletionState::Live | DeletionState::Deleting) => (
                EnsureOutcome::Created,
                vec![PlanStep::AwaitDelete, PlanStep::Create, PlanStep::Map],
            ),
            Claim::Ours(DeletionState::DeleteFailed) => {
                (EnsureOutcome::Repaired, [PlanStep::Label].into_iter().chain(map).collect())
            }
            Claim::Unclaimed if self.is_adoptable(route).await? => {
                self.adoption_of(route).await?;
                (EnsureOutcome::Adopted, [PlanStep::Label].into_iter().chain(map).collect())
            }
            Claim::OtherTenant => return Err(RouteError::HostOfOtherTenant(fqdn)),
            Claim::Unclaimed | Claim::Foreign => return Err(RouteError::HostTaken(fqdn)),
        })
    }
}
