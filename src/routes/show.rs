//! Showing routes as they are: of one tenant, and of an owner with what is left of the quotas.
//!
//! Invariant: a route is shown to its owner only. Callers: [`super::TenantRoutes`].

use super::{
    Grounds, RouteError,
    error::Field,
    host::HostNames,
    label::{Claim, Life, Ownership, owner_selector},
    provider::Apps,
    target::{Site, site},
    view::{AppView, ListQuery, Listing, QuotaView, RouteView, State, Usage},
};
use crate::capi::{
    CapiError, Foundation, Guid,
    model::{Quota, Route},
};
use std::collections::{BTreeSet, HashMap};

/// Shows the routes of a tenant.
pub(super) async fn of_tenant(
    grounds: &Grounds,
    ownership: &Ownership,
) -> Result<Vec<RouteView>, RouteError> {
    let site = site(grounds).await?;
    let routes = grounds.cf.labelled_routes(&site.space, &ownership.selector()).await?;
    let views = views(grounds, &site, routes).await?;
    if views.is_empty() { Err(RouteError::NotFound) } else { Ok(views) }
}

/// Shows all routes of the owner.
pub(super) async fn all(grounds: &Grounds) -> Result<Vec<RouteView>, RouteError> {
    let site = site(grounds).await?;
    let prefix = grounds.routes.policies().prefix();
    let selector = owner_selector(prefix, &grounds.policy.owner);
    let routes = grounds.cf.labelled_routes(&site.space, &selector).await?;
    views(grounds, &site, routes).await
}

/// Lists the owner's routes.
pub(super) async fn list(grounds: &Grounds, query: &ListQuery) -> Result<Listing, RouteError> {
    if query.page == 0 || query.per_page == 0 {
        return Err(RouteError::BadRequest(Field::Page));
    }
    let site = site(grounds).await?;
    let prefix = grounds.routes.policies().prefix();
    let owner = &grounds.policy.owner;
    let selector = match &query.tenant {
        Some(tenant) => Ownership::new(prefix.clone(), owner, tenant).selector(),
        None => owner_selector(prefix, owner),
    };
    let routes = grounds.cf.labelled_routes(&site.space, &selector).await?;
    let mut views = views(grounds, &site, routes).await?;
    views.retain(|view| query.state.is_none_or(|state| view.state == state));
    views.sort_by(|one, other| one.url.cmp(&other.url));
    let total = views.len();
    let first = (query.page - 1).saturating_mul(query.per_page);
    let resources = views.into_iter().skip(first).take(query.per_page).collect();
    Ok(Listing { resources, total, quota: quotas(grounds, &site).await? })
}

/// Shows those routes that are the owner's.
async fn views(
    grounds: &Grounds,
    site: &Site,
    routes: Vec<Route>,
) -> Result<Vec<RouteView>, RouteError> {
    let prefix = grounds.routes.policies().prefix();
    let owned = routes.into_iter().filter_map(|route| {
        let tenant = prefix.annotation(&route, "tenant-id")?.to_owned();
        let ownership = Ownership::new(prefix.clone(), &grounds.policy.owner, &tenant);
        match ownership.claim(&route, &site.space, grounds.now) {
            Claim::Ours(life) => Some((route, tenant, life)),
            Claim::OtherTenant | Claim::Unclaimed | Claim::Foreign => None,
        }
    });
    let owned = owned.collect::<Vec<_>>();
    let guids = owned.iter().flat_map(|(route, ..)| route.apps().cloned());
    let guids = guids.collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>();
    let apps = grounds.cf.apps_by_guid(&guids).await?.into_iter();
    let apps = apps.map(|app| (app.guid, app.name)).collect::<HashMap<_, _>>();
    let domains = domains(grounds, site).await?;
    let viewer = Viewer { grounds, site, apps, domains };
    Ok(owned.into_iter().map(|(route, tenant, life)| viewer.view(&route, tenant, life)).collect())
}

/// The names of the domains that the policy gives today.
async fn domains(grounds: &Grounds, site: &Site) -> Result<Vec<String>, RouteError> {
    let terms = &grounds.policy.terms;
    if !terms.domains.is_empty() {
        return Ok(terms.domains.clone());
    }
    let default = grounds.cf.domain(&site.organization, None).await?;
    Ok(default.into_iter().map(|domain| domain.name).collect())
}

/// What is needed to judge a route against its policy.
struct Viewer<'a> {
    grounds: &'a Grounds,
    site: &'a Site,
    apps: HashMap<Guid, String>,
    domains: Vec<String>,
}

impl Viewer<'_> {
    fn view(&self, route: &Route, tenant: String, life: Life) -> RouteView {
        let prefix = self.grounds.routes.policies().prefix();
        let subdomain = prefix.annotation(route, "subdomain").unwrap_or_default().to_owned();
        let domain = domain_of(route).to_owned();
        let view = RouteView {
            url: format!("https://{}", route.url),
            host: route.host.clone(),
            route: Some(route.guid.clone()),
            space: self.site.space.clone(),
            apps: self.apps_behind(route),
            state: State::Ok,
            tenant,
            subdomain,
            domain,
        };
        let state = self.state(route, &view, life);
        RouteView { state, ..view }
    }

    fn apps_behind(&self, route: &Route) -> Vec<AppView> {
        let guids = route.apps().collect::<BTreeSet<_>>().into_iter();
        let named = guids
            .map(|guid| AppView { name: self.apps.get(guid).cloned(), guid: Some(guid.clone()) });
        named.collect()
    }

    fn state(&self, route: &Route, view: &RouteView, life: Life) -> State {
        let dying = self.grounds.routes.0.order.is_dying(&route.guid);
        if life == Life::Dying || dying {
            return State::Deleting;
        }
        let covers = |app: &&AppView| {
            app.name.as_deref().is_some_and(|name| self.grounds.policy.terms.apps.covers(name))
        };
        let covered = view.apps.iter().filter(covers).collect::<Vec<_>>();
        if covered.is_empty() {
            return State::Unmapped;
        }
        let extra = covered.len() < view.apps.len();
        let placed = self.domains.contains(&view.domain)
            && covered.iter().any(|app| self.expected(view, app) == Some(view.host.clone()));
        if extra || !placed { State::Drifted } else { State::Ok }
    }

    /// The host that the policy gives today.
    fn expected(&self, view: &RouteView, app: &AppView) -> Option<String> {
        let names = HostNames {
            subdomain: &view.subdomain,
            tenant: &view.tenant,
            app: app.name.as_deref()?,
            org: self.site.names.organization.as_deref(),
            space: self.site.names.space.as_deref(),
        };
        let host = self.grounds.policy.terms.template.render(&names, &[])?.ok()?;
        Some(host.to_string())
    }
}

/// A route's domain, out of its URL without scheme: no call is needed.
fn domain_of(route: &Route) -> &str {
    let name = route.url.split('/').next().unwrap_or_default();
    let rest = name.strip_prefix(route.host.as_str()).unwrap_or(name);
    rest.strip_prefix('.').unwrap_or(rest)
}

/// Reads the limits; what the technical user may not see is left out.
async fn quotas(grounds: &Grounds, site: &Site) -> Result<QuotaView, RouteError> {
    let cf = &grounds.cf;
    let limit = |quota: Option<Quota>| quota.and_then(|quota| quota.routes.total_routes);
    let mut view = QuotaView::default();
    if let Some(limit) = limit(cf.organization_quota(&site.organization).await?) {
        let used = cf.count_routes("organization_guids", &site.organization).await?;
        view.organization = Some(Usage { limit, used });
    }
    if let Some(limit) = limit(cf.space_quota(&site.space).await?) {
        let used = cf.count_routes("space_guids", &site.space).await?;
        view.space = Some(Usage { limit, used });
    }
    if let Apps::Listed(names) = &grounds.policy.terms.apps
        && let [only] = names.as_slice()
        && let Some(used) = routes_of_app(cf, &site.space, only).await?
    {
        view.app = Some(Usage { limit: grounds.policy.terms.max_routes_per_app, used });
    }
    Ok(view)
}

/// Counts the routes of an app by its name; one that was made anew since it was looked up is found. `None` where
/// there is none that the technical user sees.
async fn routes_of_app(
    cf: &Foundation,
    space: &Guid,
    name: &str,
) -> Result<Option<u64>, CapiError> {
    for _ in 0..2 {
        let Some(app) = cf.app(space, name).await? else { break };
        match cf.routes_of_app(&app.guid).await {
            Err(CapiError::NotFound(_)) => cf.forget_app(space, name).await,
            counted => return counted.map(Some),
        }
    }
    Ok(None)
}
