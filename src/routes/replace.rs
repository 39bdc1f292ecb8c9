//! Replace: removes the tenant's routes under former host names, after its route of today is
//! mapped.
//!
//! Invariant: only routes of the same owner, tenant, domain and app are removed, and never the
//! tenant's route of today. A failure is reported; the new route stays. Callers: `ensure`,
//! `reconcile`.

use super::{
    OperationContext, RouteError, RouteRequest,
    audit::Audit,
    delete::job_deadline,
    error::Fqdn,
    host::HostNames,
    label::Claim,
    mapped_apps::{self, MappedApps},
    provider::Apps,
    request::Replacement,
    resolve::{ResolvedSpace, resolve_space},
    route_deletion::{DeletionResult, RouteDeletion},
    view::{Ensured, PlanStep, Replaced, ReplacedState, RouteView, Warning},
};
use crate::capi::{Guid, model::Route};
use std::sync::Arc;
use tokio::time::Instant;

impl OperationContext {
    /// Returns whether a request replaces the tenant's former routes.
    pub(super) fn replaces(&self, request: &RouteRequest) -> bool {
        match request.replacement {
            Replacement::ByEntry => self.owner.provider.terms.replace,
            Replacement::Replace => true,
            Replacement::Keep => false,
        }
    }
}

/// The tenant's routes under former host names.
struct FormerRoutes {
    space: ResolvedSpace,
    listed: Instant,
    routes: Vec<Route>,
    /// The guids of routes that CF does not let go.
    stuck: Vec<Guid>,
}

/// Removes the former routes and adds them to the answer.
pub(super) async fn remove(op: &OperationContext, done: &mut Ensured, audit: &Arc<Audit>) {
    match removed(op, &done.view, audit).await {
        Ok(replaced) => {
            let failed = |one: &Replaced| matches!(one.state, ReplacedState::Failed(_));
            if replaced.iter().any(failed) {
                done.warnings.push(Warning::ReplaceIncomplete);
            }
            done.replaced = Some(replaced);
        }
        Err(error) => {
            tracing::warn!(%error, "the former routes of a tenant could not be read");
            done.warnings.push(Warning::ReplaceIncomplete);
            done.replaced = Some(Vec::new());
        }
    }
}

/// Adds the former routes that a real run would remove to the answer of a dry run.
pub(super) async fn predict(op: &OperationContext, done: &mut Ensured) -> Result<(), RouteError> {
    let former = FormerRoutes::find(op, &done.view).await?;
    let planned = former.routes.iter().map(|route| {
        let is_stuck = former.stuck.contains(&route.guid);
        let error = || RouteError::WeightedDestinations(fqdn(route));
        let state = if is_stuck { ReplacedState::Failed(error()) } else { ReplacedState::Planned };
        replaced(route, state)
    });
    let planned = planned.collect::<Vec<_>>();
    if let Some(plan) = &mut done.plan
        && planned.iter().any(|one| matches!(one.state, ReplacedState::Planned))
    {
        plan.push(PlanStep::Remove);
    }
    if !former.stuck.is_empty() {
        done.warnings.push(Warning::ReplaceIncomplete);
    }
    done.replaced = Some(planned);
    Ok(())
}

async fn removed(
    op: &OperationContext,
    view: &RouteView,
    audit: &Arc<Audit>,
) -> Result<Vec<Replaced>, RouteError> {
    let former = FormerRoutes::find(op, view).await?;
    let deletion =
        RouteDeletion::waiting(op, audit, former.space, (former.listed, job_deadline(op)));
    let results = deletion.all(former.routes.clone()).await;
    let states = results.into_iter().map(|result| match result {
        DeletionResult::Gone => ReplacedState::Removed,
        DeletionResult::Running(_) => ReplacedState::Deleting,
        DeletionResult::Failed(failure) => ReplacedState::Failed(*failure.error),
    });
    Ok(former.routes.iter().zip(states).map(|(route, state)| replaced(route, state)).collect())
}

impl FormerRoutes {
    async fn find(op: &OperationContext, view: &RouteView) -> Result<Self, RouteError> {
        let space = resolve_space(&op.owner).await?;
        let listed = Instant::now();
        let all = op.cf().labelled_routes(&space.guid, &op.ownership.selector()).await?;
        let mut former = Self { space, listed, routes: Vec::new(), stuck: Vec::new() };
        for route in all {
            let is_current = route.host.eq_ignore_ascii_case(&view.host);
            let claim = op.ownership.claim(&route, &former.space.guid, op.request_context.now);
            // Also a marked route: the broker may have been killed before its delete.
            let is_ours = matches!(claim, Claim::Ours(_));
            let same_domain = route.domain_name().eq_ignore_ascii_case(&view.domain);
            if is_current || !is_ours || !same_domain || !former.is_of_app(op, view, &route).await?
            {
                continue;
            }
            former.routes.push(route);
        }
        Ok(former)
    }

    /// Returns whether a route is for the app of the view and for no other app of the entry. An
    /// unmapped route is, if the host template gives its host for the app.
    async fn is_of_app(
        &mut self,
        op: &OperationContext,
        view: &RouteView,
        route: &Route,
    ) -> Result<bool, RouteError> {
        let Some([app]) = view.apps.first_chunk::<1>() else { return Ok(false) };
        let apps = match &op.owner.provider.terms.apps {
            Apps::Listed(names) => mapped_apps::of_route(op, &self.space, names, route).await?,
            Apps::AnyBut(_) => {
                MappedApps { ours: route.apps().cloned().collect(), ..MappedApps::default() }
            }
        };
        if apps.ours.is_empty() {
            let name = app.name.as_deref().unwrap_or_default();
            return Ok(apps.foreign.is_empty() && self.is_built_for(op, name, route));
        }
        let only = apps.ours.iter().all(|guid| Some(guid) == app.guid.as_ref());
        if only && !apps.foreign.is_empty() && route.is_weighted() {
            self.stuck.push(route.guid.clone());
        }
        Ok(only)
    }

    fn is_built_for(&self, op: &OperationContext, app: &str, route: &Route) -> bool {
        let names = HostNames {
            subdomain: op.ownership.prefix().annotation(route, "subdomain").unwrap_or_default(),
            tenant: op.tenant.as_str(),
            app,
            org: self.space.names.organization.as_deref(),
            space: self.space.names.space.as_deref(),
        };
        let host = op.owner.provider.terms.template.render(&names, &[]);
        host.and_then(Result::ok)
            .is_some_and(|host| host.as_str().eq_ignore_ascii_case(&route.host))
    }
}

fn replaced(route: &Route, state: ReplacedState) -> Replaced {
    let url = format!("https://{}", route.url);
    Replaced { url, host: route.host.clone(), route: route.guid.clone(), state }
}

fn fqdn(route: &Route) -> Fqdn {
    Fqdn(format!("{}.{}", route.host, route.domain_name()))
}
