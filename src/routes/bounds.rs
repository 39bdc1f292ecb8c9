//! What a caller may do through `/v3`: its provider entry, as the bounds that `policy` judges by.
//!
//! Invariant: the same terms as for `/routes`; nothing that a caller sends takes part. Callers: `http`, by way of
//! [`TenantRoutes`].

use super::{
    OwnerContext, RequestContext, RouteError, TenantRoutes,
    host::RESERVED,
    label,
    provider::{Apps, ProviderTerms},
    resolve::{SpaceNames, known_names, resolve_space},
};
use crate::{
    capi::{CfRequestClient, Guid, spaces::SpaceRef},
    policy::{AppBounds, Bounds, HostShape, Legacy, Outline},
};

impl TenantRoutes {
    /// Returns a caller's limits as far as they are known without asking CF.
    ///
    /// # Errors
    /// [`RouteError::ForbiddenProvider`] for a caller without an entry.
    pub fn outline(&self, request_context: &RequestContext) -> Result<Outline, RouteError> {
        let owner = self.owner_context(request_context)?;
        let space = &owner.policy.terms.space;
        let names = known_names(space, self.policies().broker());
        let guid = match space {
            SpaceRef::Guid(guid) => Some(guid.to_string()),
            SpaceRef::Named { .. } => None,
        };
        Ok(outline(&owner, guid, &names))
    }

    /// Returns a caller's limits with all names resolved, and the CF API that they are for.
    ///
    /// # Errors
    /// As [`TenantRoutes::outline`]; [`RouteError::SpaceInvisible`], [`RouteError::DomainNotFound`] and
    /// [`RouteError::AppNotFound`] where CF shows nothing of that name, [`RouteError::Capi`].
    pub async fn bounds(
        &self,
        request_context: &RequestContext,
    ) -> Result<(Bounds, CfRequestClient), RouteError> {
        let mut owner = self.owner_context(request_context)?;
        // Whoever asks is about to write.
        owner.cf = owner.cf.for_write();
        let space = resolve_space(&owner).await?;
        let terms = &owner.policy.terms;
        let guid = space.guid.to_string();
        let provenance = [request_context.caller.client_id(), request_context.correlation.as_str()];
        let bounds = Bounds {
            domains: domains(&owner, &space.organization).await?,
            apps: apps(&owner, &space.guid).await?,
            outline: outline(&owner, Some(guid.clone()), &space.names),
            marks: label::marks(self.policies().prefix(), &owner.policy.owner, provenance),
            legacy: Legacy { map: terms.adopt, delete: terms.legacy_delete },
            space: guid,
        };
        Ok((bounds, owner.cf))
    }
}

impl TenantRoutes {
    /// Forgets what the names of the entry's apps resolved to before the errand began; returns whether there was
    /// something, so that a refusal which rests on it is worth a second look.
    ///
    /// # Errors
    /// As [`TenantRoutes::bounds`].
    pub async fn forget_apps(&self, request_context: &RequestContext) -> Result<bool, RouteError> {
        let owner = self.owner_context(request_context)?;
        let Apps::Listed(names) = &owner.policy.terms.apps else {
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

fn outline(owner: &OwnerContext, space: Option<String>, names: &SpaceNames) -> Outline {
    let terms = &owner.policy.terms;
    let own = owner.routes.policies().own_hosts().iter().cloned();
    Outline {
        space,
        hosts: shapes(terms, names),
        refused_hosts: own.chain(RESERVED.map(str::to_owned)).collect(),
        reserved_prefix: owner.routes.policies().prefix().as_str().to_owned(),
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

/// Domains that CF does not show are left out; none at all is an error.
async fn domains(owner: &OwnerContext, organization: &Guid) -> Result<Vec<String>, RouteError> {
    let listed = owner.policy.terms.domains.iter().map(|name| Some(name.as_str()));
    let names: Vec<_> = listed.collect();
    let names = if names.is_empty() { vec![None] } else { names };
    let mut guids = Vec::new();
    for name in names {
        let found = owner.cf.domain(organization, name).await?;
        guids.extend(found.filter(|domain| !domain.internal).map(|domain| domain.guid.to_string()));
    }
    if guids.is_empty() { Err(RouteError::DomainNotFound) } else { Ok(guids) }
}

async fn apps(owner: &OwnerContext, space: &Guid) -> Result<AppBounds, RouteError> {
    let names = match &owner.policy.terms.apps {
        Apps::AnyBut(broker) => {
            let guid = owner.routes.policies().broker().app_guid.as_ref();
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
