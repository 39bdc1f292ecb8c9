//! All routes of a space, for people: those of tenants with their state, and the others.
//!
//! Invariant: each tenant route is compared with the provider entry of its own owner. The state is
//! the one that its owner sees. Callers: `overview`.

use super::{
    OwnerContext, TenantRoutes,
    label::{
        Claim, DeletionState, LabelPrefix, Ownership, deletion_state, is_of_tenant,
        tenants_selector,
    },
    list::{Known, OwnedRoute, compared, domains, plain_view},
    provider::Provider,
    resolve::ResolvedSpace,
    view::{RouteState, StateReason},
};
use crate::capi::{
    CapiError, CfRequestClient, Guid,
    model::{CfApp, Route},
    spaces::{SpaceInOrganization, SpaceRef},
};
use std::{
    collections::{BTreeMap, HashMap},
    time::SystemTime,
};

/// What CF shows of a space.
#[derive(Debug)]
pub struct SpaceContent {
    /// The space.
    pub space: SpaceInOrganization,
    /// All its routes.
    pub routes: Vec<Route>,
    /// All its apps.
    pub apps: Vec<CfApp>,
    /// When it was read.
    pub now: SystemTime,
}

/// A route of a space.
#[derive(Clone, Debug)]
pub struct RouteOfSpace {
    /// Its guid.
    pub guid: Guid,
    /// Its host; empty for the domain itself.
    pub host: String,
    /// The name of its domain.
    pub domain: String,
    /// Host, domain and path in one.
    pub url: String,
    /// When it was created, as CF writes it.
    pub created_at: String,
    /// Its apps: their names, or guids where the name is not known.
    pub apps: Vec<String>,
    /// Whose it is, if it is a tenant's.
    pub tenant: Option<RouteTenant>,
}

/// Whose a tenant route is, and its state.
#[derive(Clone, Debug)]
pub struct RouteTenant {
    /// The tenant's id.
    pub id: Option<String>,
    /// The owner.
    pub owner: Option<String>,
    /// The state.
    pub state: RouteState,
    /// Why it is not [`RouteState::Ok`].
    pub reason: Option<StateReason>,
}

impl TenantRoutes {
    /// Returns the label selector for the tenant routes of all owners.
    pub fn selector(&self) -> String {
        tenants_selector(self.providers().prefix())
    }

    /// Returns all routes of a space, sorted by URL.
    ///
    /// # Errors
    /// Any [`CapiError`] of the call for the organization's default domain.
    pub async fn of_space(
        &self,
        cf: &CfRequestClient,
        content: SpaceContent,
    ) -> Result<Vec<RouteOfSpace>, CapiError> {
        let SpaceContent { space, routes, apps, now } = content;
        let apps = apps.into_iter().map(|app| (app.guid.clone(), app)).collect::<HashMap<_, _>>();
        let prefix = self.providers().prefix();
        let (of_tenants, others): (Vec<_>, Vec<_>) =
            routes.into_iter().partition(|route| is_of_tenant(prefix, route));
        let mut owners = BTreeMap::<_, Vec<Route>>::new();
        for route in of_tenants {
            let owner = prefix.annotation(&route, "owner-id").map(ToOwned::to_owned);
            owners.entry(owner).or_default().push(route);
        }
        let space = ResolvedSpace::of(space);
        let mut all = others.iter().map(|route| row(prefix, route, &apps)).collect::<Vec<_>>();
        for (owner, routes) in owners {
            let found = match self.entry(owner.as_deref(), space.as_ref()) {
                Ok((provider, space)) => {
                    let owner =
                        OwnerContext { routes: self.clone(), provider, cf: cf.clone(), now };
                    compare(&owner, space, &apps, routes).await?
                }
                Err(reason) => routes.into_iter().map(|route| (route, Some(reason))).collect(),
            };
            all.extend(found.into_iter().map(|(route, reason)| {
                let id = prefix.annotation(&route, "tenant-id").map(ToOwned::to_owned);
                let reason = if self.is_deleting(&route, now) {
                    Some(StateReason::Deleting)
                } else {
                    reason
                };
                let state = reason.map_or(RouteState::Ok, StateReason::state);
                let tenant = RouteTenant { id, owner: owner.clone(), state, reason };
                RouteOfSpace { tenant: Some(tenant), ..row(prefix, &route, &apps) }
            }));
        }
        all.sort_by(|one, other| one.url.cmp(&other.url));
        Ok(all)
    }

    /// Returns the provider entry of an owner, if it is for this space.
    fn entry<'a>(
        &self,
        owner: Option<&str>,
        space: Option<&'a ResolvedSpace>,
    ) -> Result<(Provider, &'a ResolvedSpace), StateReason> {
        let provider = self.providers().of_owner(owner.ok_or(StateReason::Labels)?);
        let provider = provider.map_err(|_| StateReason::NoEntry)?;
        let space = space.filter(|space| is_same(&provider.terms.space, space));
        space.map(|space| (provider, space)).ok_or(StateReason::OtherSpace)
    }

    fn is_deleting(&self, route: &Route, now: SystemTime) -> bool {
        deletion_state(self.providers().prefix(), route, now) == DeletionState::Deleting
            || self.0.locks.is_deleting(&route.guid)
    }
}

/// Returns whether an entry means this space. CF's names ignore case.
fn is_same(wanted: &SpaceRef, space: &ResolvedSpace) -> bool {
    let is = |name: &str, known: Option<&String>| {
        known.is_none_or(|known| known.eq_ignore_ascii_case(name))
    };
    match wanted {
        SpaceRef::Guid(guid) => *guid == space.guid,
        SpaceRef::Named { organization, space: name } => {
            is(name, space.names.space.as_ref())
                && is(organization, space.names.organization.as_ref())
        }
    }
}

/// Compares the routes that name an owner with its provider entry.
async fn compare(
    owner: &OwnerContext,
    space: &ResolvedSpace,
    apps: &HashMap<Guid, CfApp>,
    routes: Vec<Route>,
) -> Result<Vec<(Route, Option<StateReason>)>, CapiError> {
    let prefix = owner.routes.providers().prefix();
    let (mut ours, mut odd) = (Vec::<OwnedRoute>::new(), Vec::new());
    for route in routes {
        let tenant = prefix.annotation(&route, "tenant-id").map(ToOwned::to_owned);
        let claim = tenant.as_deref().map(|tenant| {
            let ownership = Ownership::new(prefix.clone(), &owner.provider.owner, tenant);
            ownership.claim(&route, &space.guid, owner.now)
        });
        match (tenant, claim) {
            (Some(tenant), Some(Claim::Ours(state))) => ours.push((route, tenant, state)),
            _ => odd.push((route, Some(StateReason::Labels))),
        }
    }
    let domains = domains(owner, space).await?;
    let views = compared(owner, space, Known { apps, domains: &domains }, &ours);
    let compared = ours.into_iter().zip(views).map(|((route, ..), view)| (route, view.reason));
    Ok(compared.chain(odd).collect())
}

fn row(prefix: &LabelPrefix, route: &Route, apps: &HashMap<Guid, CfApp>) -> RouteOfSpace {
    let view = plain_view(prefix, route, apps);
    let shown = view.apps.into_iter().filter_map(|app| {
        app.name.filter(|name| !name.is_empty()).or_else(|| app.guid.map(|guid| guid.to_string()))
    });
    RouteOfSpace {
        guid: route.guid.clone(),
        host: view.host,
        domain: view.domain,
        url: route.url.clone(),
        created_at: route.created_at.clone(),
        apps: shown.collect(),
        tenant: None,
    }
}
