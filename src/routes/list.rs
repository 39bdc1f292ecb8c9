//! Reads the routes of a tenant, and of an owner with the usage of the quotas.
//!
//! Invariant: a route is shown only to its owner. Callers: [`super::TenantRoutes`], `reconcile`.

use super::{
    OwnerContext, RouteError,
    error::RequestField,
    host::HostNames,
    label::{Claim, DeletionState, LabelPrefix, Ownership, owner_selector},
    provider::Apps,
    resolve::{ResolvedSpace, require_visible_space, resolve_space},
    view::{
        AppView, ListQuery, QuotaView, RoutePage, RouteState, RouteView, StateReason, Usage,
        Warning,
    },
};
use crate::capi::{
    CapiError, Guid,
    model::{CfApp, Quota, Route},
};
use std::collections::{BTreeSet, HashMap};

/// Most apps whose routes are counted if the entry names no apps: each costs one call.
const MAX_COUNTED_APPS: usize = 5;

/// Returns the routes of a tenant.
pub(super) async fn of_tenant(
    owner: &OwnerContext,
    ownership: &Ownership,
) -> Result<Vec<RouteView>, RouteError> {
    let space = resolve_space(owner).await?;
    let routes = labelled(owner, &space, &ownership.selector()).await?;
    let views = views(owner, &space, routes).await?;
    if views.is_empty() { Err(RouteError::NotFound) } else { Ok(views) }
}

/// Returns all routes of the owner.
pub(super) async fn all(owner: &OwnerContext) -> Result<Vec<RouteView>, RouteError> {
    let space = resolve_space(owner).await?;
    let prefix = owner.routes.providers().prefix();
    let selector = owner_selector(prefix, &owner.provider.owner);
    let routes = labelled(owner, &space, &selector).await?;
    views(owner, &space, routes).await
}

/// Returns one page of the owner's routes.
pub(super) async fn list(owner: &OwnerContext, query: &ListQuery) -> Result<RoutePage, RouteError> {
    if query.page == 0 || query.per_page == 0 {
        return Err(RouteError::BadRequest(RequestField::Page));
    }
    let space = resolve_space(owner).await?;
    let prefix = owner.routes.providers().prefix();
    let selector = match &query.tenant {
        Some(tenant) => Ownership::new(prefix.clone(), &owner.provider.owner, tenant).selector(),
        None => owner_selector(prefix, &owner.provider.owner),
    };
    let routes = labelled(owner, &space, &selector).await?;
    let mut views = views(owner, &space, routes).await?;
    let quota = quotas(owner, &space, &views).await?;
    views.retain(|view| query.state.is_none_or(|state| view.state == state));
    views.sort_by(|one, other| one.url.cmp(&other.url));
    let total = views.len();
    let first = (query.page - 1).saturating_mul(query.per_page);
    let resources = views.into_iter().skip(first).take(query.per_page).collect();
    Ok(RoutePage { resources, total, quota })
}

/// Lists routes by their labels. CF shows a user without a role an empty list, so an empty one is
/// believed only if the user sees the space.
async fn labelled(
    owner: &OwnerContext,
    space: &ResolvedSpace,
    selector: &str,
) -> Result<Vec<Route>, RouteError> {
    let routes = owner.cf.labelled_routes(&space.guid, selector).await?;
    if routes.is_empty() {
        require_visible_space(owner).await?;
    }
    Ok(routes)
}

/// Converts the routes that belong to the owner.
async fn views(
    owner: &OwnerContext,
    space: &ResolvedSpace,
    routes: Vec<Route>,
) -> Result<Vec<RouteView>, RouteError> {
    let prefix = owner.routes.providers().prefix();
    let found = routes.into_iter().filter_map(|route| {
        let tenant = prefix.annotation(&route, "tenant-id")?.to_owned();
        let ownership = Ownership::new(prefix.clone(), &owner.provider.owner, &tenant);
        match ownership.claim(&route, &space.guid, owner.now) {
            Claim::Ours(deletion_state) => Some((route, tenant, deletion_state)),
            Claim::OtherTenant | Claim::Unclaimed | Claim::Foreign => None,
        }
    });
    let found = found.collect::<Vec<_>>();
    let guids = found.iter().flat_map(|(route, ..)| route.apps().cloned());
    let guids = guids.collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>();
    let apps = owner.cf.apps_by_guid(&guids).await?.into_iter();
    let apps = apps.map(|app| (app.guid.clone(), app)).collect::<HashMap<_, _>>();
    let domains = domains(owner, space).await?;
    Ok(compared(owner, space, Known { apps: &apps, domains: &domains }, &found))
}

/// A route of the owner, with its tenant.
pub(super) type OwnedRoute = (Route, String, DeletionState);

/// What is known of CF for a comparison.
#[derive(Clone, Copy)]
pub(super) struct Known<'a> {
    /// The apps by guid.
    pub(super) apps: &'a HashMap<Guid, CfApp>,
    /// The domains of the provider entry.
    pub(super) domains: &'a [String],
}

/// Compares the owner's routes with its provider entry.
pub(super) fn compared(
    owner: &OwnerContext,
    space: &ResolvedSpace,
    known: Known<'_>,
    found: &[OwnedRoute],
) -> Vec<RouteView> {
    let viewer = ViewContext { owner, space, known, replaced: replaced(found) };
    found.iter().map(|(route, tenant, state)| viewer.view(route, tenant, *state)).collect()
}

/// Returns the names of the domains of the current provider entry.
pub(super) async fn domains(
    owner: &OwnerContext,
    space: &ResolvedSpace,
) -> Result<Vec<String>, CapiError> {
    let terms = &owner.provider.terms;
    if !terms.domains.is_empty() {
        return Ok(terms.domains.clone());
    }
    let default = owner.cf.domain(&space.organization, None).await?;
    Ok(default.into_iter().map(|domain| domain.name).collect())
}

/// Finds the routes that a newer route of the same tenant, app and domain replaced: the tenant
/// still has a route under an older host name. CF lists the older of two routes of the same second
/// first.
fn replaced(owned: &[OwnedRoute]) -> BTreeSet<Guid> {
    let mut newest = HashMap::<_, &Route>::new();
    let mut replaced = BTreeSet::new();
    let living =
        owned.iter().filter(|(.., deletion_state)| *deletion_state != DeletionState::Deleting);
    for (route, tenant, _) in living {
        let Some(app) = route.apps().next() else { continue };
        let former = newest.entry((tenant, route.domain(), app)).or_insert(route);
        if former.guid == route.guid {
            continue;
        }
        let older = if former.created_at <= route.created_at {
            std::mem::replace(former, route)
        } else {
            route
        };
        replaced.insert(older.guid.clone());
    }
    replaced
}

/// What is needed to compare a route with its provider entry.
struct ViewContext<'a> {
    owner: &'a OwnerContext,
    space: &'a ResolvedSpace,
    known: Known<'a>,
    replaced: BTreeSet<Guid>,
}

/// Makes the view of a route that is not compared with an entry.
pub(super) fn plain_view(
    prefix: &LabelPrefix,
    route: &Route,
    apps: &HashMap<Guid, CfApp>,
) -> RouteView {
    let text = |name: &str| prefix.annotation(route, name).unwrap_or_default().to_owned();
    let guids = route.apps().collect::<BTreeSet<_>>().into_iter();
    let name = |guid: &Guid| apps.get(guid).map(|app| app.name.clone());
    RouteView {
        // A route that was created through `/v3` has no tenant.
        tenant: text("tenant-id"),
        subdomain: text("subdomain"),
        url: format!("https://{}", route.url),
        host: route.host.clone(),
        domain: route.domain_name().to_owned(),
        route: Some(route.guid.clone()),
        space: route.space().cloned(),
        apps: guids.map(|guid| AppView { name: name(guid), guid: Some(guid.clone()) }).collect(),
        weighted: route.is_weighted(),
        state: RouteState::Ok,
        reason: None,
        warnings: Vec::new(),
    }
}

impl ViewContext<'_> {
    fn view(&self, route: &Route, tenant: &str, deletion_state: DeletionState) -> RouteView {
        let prefix = self.owner.routes.providers().prefix();
        let mut view = plain_view(prefix, route, self.known.apps);
        tenant.clone_into(&mut view.tenant);
        view.space = Some(self.space.guid.clone());
        let own = self.own_app(&view);
        let reason = self.reason(route, &view, (deletion_state, own));
        let warnings = own.map(|app| warnings(route, app)).unwrap_or_default();
        let state = reason.map_or(RouteState::Ok, StateReason::state);
        RouteView { state, reason, warnings, ..view }
    }

    /// Returns the app that the route is for: of the entry's apps that are mapped, the one that
    /// gives this host, otherwise any.
    fn own_app(&self, view: &RouteView) -> Option<&CfApp> {
        let mapped = view.apps.iter().filter_map(|app| self.known.apps.get(app.guid.as_ref()?));
        let covered = mapped.filter(|app| self.owner.provider.terms.apps.covers(&app.name));
        let covered = covered.collect::<Vec<_>>();
        let by_host = covered.iter().find(|app| self.expects(view, app));
        by_host.or(covered.first()).copied()
    }

    fn reason(
        &self,
        route: &Route,
        view: &RouteView,
        (deletion_state, own): (DeletionState, Option<&CfApp>),
    ) -> Option<StateReason> {
        let deleting = self.owner.routes.0.locks.is_deleting(&route.guid);
        if deletion_state == DeletionState::Deleting || deleting {
            return Some(StateReason::Deleting);
        }
        let Some(app) = own else {
            let none = view.apps.is_empty();
            return Some(if none { StateReason::NoApp } else { StateReason::OtherApp });
        };
        if !self.known.domains.contains(&view.domain) {
            Some(StateReason::OtherDomain)
        } else if !self.expects(view, app) {
            Some(StateReason::OtherHost)
        } else if route.serves_more_than(&app.guid) {
            Some(StateReason::MoreThanApp)
        } else {
            self.replaced.contains(&route.guid).then_some(StateReason::Replaced)
        }
    }

    /// Returns whether the current provider entry gives this host.
    fn expects(&self, view: &RouteView, app: &CfApp) -> bool {
        let names = HostNames {
            subdomain: &view.subdomain,
            tenant: &view.tenant,
            app: &app.name,
            org: self.space.names.organization.as_deref(),
            space: self.space.names.space.as_deref(),
        };
        let host = self.owner.provider.terms.template.render(&names, &[]);
        host.and_then(Result::ok).is_some_and(|host| host.to_string() == view.host)
    }
}

/// Returns the warnings for a route and its app.
fn warnings(route: &Route, app: &CfApp) -> Vec<Warning> {
    let stopped = app.is_stopped().then_some(Warning::AppStopped);
    let extra = route.serves_more_than(&app.guid).then_some(Warning::ExtraDestinations);
    stopped.into_iter().chain(extra).collect()
}

/// Reads limits and usage. What the technical user may not see is left out. `views` has all routes
/// of the owner.
async fn quotas(
    owner: &OwnerContext,
    space: &ResolvedSpace,
    views: &[RouteView],
) -> Result<QuotaView, RouteError> {
    let cf = &owner.cf;
    let limit = |quota: Option<Quota>| quota.and_then(|quota| quota.routes.total_routes);
    let mut view = QuotaView::default();
    // Routes in spaces that the technical user does not see count too, so a list of routes is not
    // enough.
    if let Some(limit) = limit(cf.organization_quota(&space.organization).await?)
        && let Some(used) = cf.routes_of_organization(&space.organization).await?
    {
        view.organization = Some(Usage { limit, used });
    }
    if let Some(limit) = limit(cf.space_quota(&space.guid).await?) {
        let used = cf.count_routes("space_guids", &space.guid).await?;
        view.space = Some(Usage { limit, used });
    }
    let limit = owner.provider.terms.max_routes_per_app;
    view.app = most_of_an_app(owner, space, views).await?.map(|used| Usage { limit, used });
    Ok(view)
}

/// Counts the routes of the app that has the most.
async fn most_of_an_app(
    owner: &OwnerContext,
    space: &ResolvedSpace,
    views: &[RouteView],
) -> Result<Option<u64>, CapiError> {
    let mut most = None;
    if let Apps::Listed(names) = &owner.provider.terms.apps {
        for name in names {
            most = most.max(routes_of_app(owner, &space.guid, name).await?);
        }
        return Ok(most);
    }
    let apps = views.iter().flat_map(|view| &view.apps);
    let known = apps.filter(|app| app.name.is_some()).filter_map(|app| app.guid.as_ref());
    for app in known.collect::<BTreeSet<_>>().into_iter().take(MAX_COUNTED_APPS) {
        match owner.routes.0.counts.now(&owner.cf, app).await {
            Err(CapiError::NotFound(_)) => {}
            counted => most = most.max(Some(counted?)),
        }
    }
    Ok(most)
}

/// Counts the routes of an app by its name. If the app was recreated since it was looked up, it is
/// looked up again. `None` if the technical user sees no such app.
async fn routes_of_app(
    owner: &OwnerContext,
    space: &Guid,
    name: &str,
) -> Result<Option<u64>, CapiError> {
    let (cf, counts) = (&owner.cf, &owner.routes.0.counts);
    for _ in 0..2 {
        let Some(app) = cf.app(space, name).await? else { break };
        match counts.now(cf, &app.guid).await {
            Err(CapiError::NotFound(_)) => cf.forget_app(space, name).await,
            counted => return counted.map(Some),
        }
    }
    Ok(None)
}
