//! Which apps of a route belong to the provider entry.
//!
//! Invariant: before an app counts as foreign, or a wildcard route as another app's, the guids are
//! looked up in this request. A deployment may have recreated the app under its name. Callers:
//! `create`, `ensure`, `legacy`, `route_deletion`.

use super::{
    OperationContext, RouteError, RouteRequest, create::Creator, provider::Apps,
    resolve::ResolvedRoute, resolve::ResolvedSpace,
};
use crate::capi::{CapiError, Guid, model::Route};
use std::collections::BTreeSet;

/// The apps of a route.
#[derive(Clone, Debug, Default)]
pub(super) struct MappedApps {
    /// The provider entry's apps.
    pub(super) ours: BTreeSet<Guid>,
    /// All other apps.
    pub(super) foreign: BTreeSet<Guid>,
}

/// Sorts the apps of a route. `names` are the provider entry's apps.
pub(super) async fn of_route(
    op: &OperationContext,
    space: &ResolvedSpace,
    names: &[String],
    route: &Route,
) -> Result<MappedApps, CapiError> {
    let apps = route.apps().cloned().collect::<BTreeSet<_>>();
    if apps.is_empty() {
        return Ok(MappedApps::default());
    }
    let sorted = MappedApps::of(&apps, &existing_guids(op, space, names).await?);
    if sorted.foreign.is_empty() {
        return Ok(sorted);
    }
    for name in names {
        op.cf().forget_app_before(&space.guid, name, op.request_context.started).await;
    }
    Ok(MappedApps::of(&apps, &existing_guids(op, space, names).await?))
}

/// Returns the names of the entry's apps. If the entry allows any app of the space, only the
/// chosen app counts: the other apps have their own routes, which are not the tenant's.
pub(super) fn provider_app_names(op: &OperationContext, target: &ResolvedRoute) -> Vec<String> {
    match &op.owner.provider.terms.apps {
        Apps::Listed(names) => names.clone(),
        Apps::AnyBut(_) => vec![target.choice.app.clone()],
    }
}

/// Returns the guids of the apps that exist.
async fn existing_guids(
    op: &OperationContext,
    space: &ResolvedSpace,
    names: &[String],
) -> Result<BTreeSet<Guid>, CapiError> {
    let mut guids = BTreeSet::new();
    for name in names {
        guids.extend(op.cf().app(&space.guid, name).await?.map(|app| app.guid));
    }
    Ok(guids)
}

impl MappedApps {
    fn of(apps: &BTreeSet<Guid>, known: &BTreeSet<Guid>) -> Self {
        let (ours, foreign) = apps.iter().cloned().partition(|app| known.contains(app));
        Self { ours, foreign }
    }
}

impl ResolvedRoute {
    /// Returns whether the route serves the app. If it serves only other apps, the app is looked up
    /// again first, once in a request.
    pub(super) async fn is_served_by(
        &mut self,
        op: &OperationContext,
        request: &RouteRequest,
        route: &Route,
    ) -> Result<bool, RouteError> {
        if route.serves(&self.app.guid) || route.apps().next().is_none() {
            return Ok(route.serves(&self.app.guid));
        }
        let (cf, name) = (op.cf(), self.choice.app.as_str());
        cf.forget_app_before(&self.space.guid, name, op.request_context.started).await;
        self.resolve_again(op, request).await?;
        Ok(route.serves(&self.app.guid))
    }
}

impl Creator<'_> {
    /// Returns whether a route may be adopted: entry and request allow it, and it serves only the
    /// provider entry's apps.
    pub(super) async fn is_adoptable(&self, route: &Route) -> Result<bool, RouteError> {
        if !self.allows_adoption() {
            return Ok(false);
        }
        let names = provider_app_names(self.op, &self.target);
        let apps = of_route(self.op, &self.target.space, &names, route).await?;
        Ok(apps.foreign.is_empty())
    }
}
