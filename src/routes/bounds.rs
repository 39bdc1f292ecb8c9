//! What a caller may do through `/v3`: its provider entry, as the bounds that `policy` checks.
//!
//! Invariant: the terms are the same as for `/routes`. Nothing that the caller sends changes them.
//! Callers: `http`, by way of [`TenantRoutes`].

use super::{
    OwnerContext, RequestContext, RouteError, TenantRoutes,
    host::RESERVED,
    label,
    provider::{Apps, ProviderTerms},
    resolve::{ResolvedSpace, SpaceNames, explain_absence, known_names, resolve_space},
    transfer::TransferRefusal,
};
use crate::{
    capi::{CfRequestClient, Guid, model::Route, spaces::SpaceRef},
    policy::{AppBounds, Bounds, HostShape, Legacy, Outline},
};

impl TenantRoutes {
    /// Returns the limits of a caller, as far as they are known without a call to CF.
    ///
    /// # Errors
    /// [`RouteError::ForbiddenProvider`] for a caller without an entry.
    pub fn outline(&self, request_context: &RequestContext) -> Result<Outline, RouteError> {
        let owner = self.owner_context(request_context)?;
        let space = &owner.provider.terms.space;
        let names = known_names(space, self.providers().broker());
        let guid = match space {
            SpaceRef::Guid(guid) => Some(guid.to_string()),
            SpaceRef::Named { .. } => None,
        };
        Ok(outline(&owner, guid, &names))
    }

    /// Returns the limits of a caller with all names resolved, and the CF client for them.
    ///
    /// # Errors
    /// As [`TenantRoutes::outline`]; [`RouteError::SpaceInvisible`], [`RouteError::DomainNotFound`]
    /// and [`RouteError::AppNotFound`] if CF shows nothing of that name, [`RouteError::Capi`].
    pub async fn bounds(
        &self,
        request_context: &RequestContext,
    ) -> Result<(Bounds, CfRequestClient), RouteError> {
        let mut owner = self.owner_context(request_context)?;
        // A caller of this function is about to write.
        owner.cf = owner.cf.for_write();
        let space = resolve_space(&owner).await?;
        let terms = &owner.provider.terms;
        let guid = space.guid.to_string();
        let (domains, apps) = match names(&owner, &space).await {
            Err(error) if error.is_absence() => return Err(explain_absence(&owner, error).await),
            found => found?,
        };
        let provenance = [request_context.caller.client_id(), request_context.correlation.as_str()];
        let bounds = Bounds {
            domains,
            apps,
            outline: outline(&owner, Some(guid.clone()), &space.names),
            marks: label::marks(self.providers().prefix(), &owner.provider.owner, provenance),
            legacy: Legacy { map: terms.adopt, delete: terms.legacy_delete },
            space: guid,
        };
        Ok((bounds, owner.cf))
    }
}

impl TenantRoutes {
    /// Forgets the guids of the entry's apps that were looked up before this request began. Returns
    /// whether one was forgotten: then a refusal that rests on them must be checked again.
    ///
    /// # Errors
    /// As [`TenantRoutes::bounds`].
    pub async fn forget_apps(&self, request_context: &RequestContext) -> Result<bool, RouteError> {
        let owner = self.owner_context(request_context)?;
        let Apps::Listed(names) = &owner.provider.terms.apps else {
            return Ok(false);
        };
        let space = resolve_space(&owner).await?.guid;
        let mut forgotten = false;
        for name in names {
            forgotten |= owner.cf.forget_app_before(&space, name, request_context.started).await;
        }
        Ok(forgotten)
    }
}

/// What the provider entry of an owner allows for a route that exists.
#[derive(Clone, Debug)]
pub(super) struct RouteBounds {
    space: Guid,
    domains: Vec<String>,
    apps: AppBounds,
    outline: Outline,
}

impl RouteBounds {
    /// Resolves the entry.
    pub(super) async fn of(owner: &OwnerContext) -> Result<Self, RouteError> {
        let space = resolve_space(owner).await?;
        let (domains, apps) = match names(owner, &space).await {
            Err(error) if error.is_absence() => return Err(explain_absence(owner, error).await),
            found => found?,
        };
        let outline = outline(owner, Some(space.guid.to_string()), &space.names);
        Ok(Self { space: space.guid, domains, apps, outline })
    }

    /// Returns why the entry does not allow a route; `None` if it does.
    pub(super) fn refusal(&self, route: &Route) -> Option<TransferRefusal> {
        let is_listed = |app: &Guid| match &self.apps {
            AppBounds::Listed(guids) => guids.iter().any(|guid| guid == app.as_str()),
            AppBounds::AnyBut { guid, .. } => guid.as_deref() != Some(app.as_str()),
        };
        let has_domain = |domain: &Guid| self.domains.iter().any(|guid| guid == domain.as_str());
        if route.space() != Some(&self.space) {
            Some(TransferRefusal::Space)
        } else if !route.domain().is_some_and(has_domain) {
            Some(TransferRefusal::Domain)
        } else if !route.path.is_empty()
            || !self.outline.admits_host(&route.host.to_ascii_lowercase())
        {
            Some(TransferRefusal::Host)
        } else {
            (!route.apps().all(is_listed)).then_some(TransferRefusal::App)
        }
    }
}

fn outline(owner: &OwnerContext, space: Option<String>, names: &SpaceNames) -> Outline {
    let terms = &owner.provider.terms;
    let own = owner.routes.providers().own_hosts().iter().cloned();
    Outline {
        space,
        hosts: shapes(terms, names),
        refused_hosts: own.chain(RESERVED.map(str::to_owned)).collect(),
        reserved_prefix: owner.routes.providers().prefix().as_str().to_owned(),
    }
}

fn shapes(terms: &ProviderTerms, names: &SpaceNames) -> Vec<HostShape> {
    let (org, space) = (names.organization.as_deref(), names.space.as_deref());
    let shape = |app: Option<&str>| terms.template.shape(app, org, space);
    match &terms.apps {
        Apps::Listed(apps) => apps.iter().map(|app| shape(Some(app))).collect(),
        Apps::AnyBut(_) => vec![shape(None)],
    }
}

/// Returns the domains and the apps of the entry.
async fn names(
    owner: &OwnerContext,
    space: &ResolvedSpace,
) -> Result<(Vec<String>, AppBounds), RouteError> {
    Ok((domains(owner, &space.organization).await?, apps(owner, &space.guid).await?))
}

/// Returns the guids of the domains. A domain that CF does not show is left out; if none is left,
/// that is an error.
async fn domains(owner: &OwnerContext, organization: &Guid) -> Result<Vec<String>, RouteError> {
    let listed = owner.provider.terms.domains.iter().map(|name| Some(name.as_str()));
    let names: Vec<_> = listed.collect();
    let names = if names.is_empty() { vec![None] } else { names };
    let (mut guids, mut internal) = (Vec::new(), None);
    for name in names {
        match owner.cf.domain(organization, name).await? {
            Some(domain) if domain.internal => internal = Some(domain.name),
            Some(domain) => guids.push(domain.guid.to_string()),
            None => {}
        }
    }
    match internal {
        _ if !guids.is_empty() => Ok(guids),
        Some(domain) => Err(RouteError::InternalDomain { domain }),
        None => Err(RouteError::DomainNotFound),
    }
}

async fn apps(owner: &OwnerContext, space: &Guid) -> Result<AppBounds, RouteError> {
    let names = match &owner.provider.terms.apps {
        Apps::AnyBut(broker) => {
            let guid = owner.routes.providers().broker().app_guid.as_ref();
            let guid = guid.map(ToString::to_string);
            return Ok(AppBounds::AnyBut { name: broker.clone(), guid });
        }
        Apps::Listed(names) => names,
    };
    let mut guids = Vec::new();
    for name in names {
        let found = owner.cf.app(space, name).await?;
        guids.extend(found.map(|app| app.guid.to_string()));
    }
    match names.first() {
        Some(name) if guids.is_empty() => Err(RouteError::AppNotFound { app: name.clone() }),
        Some(_) | None => Ok(AppBounds::Listed(guids)),
    }
}
