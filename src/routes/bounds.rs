//! What a caller may do through `/v3`: its provider entry, as the bounds that `policy` judges by.
//!
//! Invariant: the same terms as for `/routes`; nothing that a caller sends takes part. Callers: `http`, by way of
//! [`TenantRoutes`].

use super::{
    Errand, Grounds, RouteError, TenantRoutes,
    host::RESERVED,
    label,
    provider::{Apps, Terms},
    target::{SiteNames, known_names, site},
};
use crate::{
    capi::{Foundation, Guid, spaces::SpaceRef},
    policy::{AppBounds, Bounds, HostShape, Legacy, Outline},
};

impl TenantRoutes {
    /// Returns a caller's limits as far as they are known without asking CF.
    ///
    /// # Errors
    /// [`RouteError::ForbiddenProvider`] for a caller without an entry.
    pub fn outline(&self, errand: &Errand) -> Result<Outline, RouteError> {
        let grounds = self.grounds(errand)?;
        let space = &grounds.policy.terms.space;
        let names = known_names(space, self.policies().home());
        let guid = match space {
            SpaceRef::Guid(guid) => Some(guid.to_string()),
            SpaceRef::Named { .. } => None,
        };
        Ok(outline(&grounds, guid, &names))
    }

    /// Returns a caller's limits with all names resolved, and the CF API that they are for.
    ///
    /// # Errors
    /// As [`TenantRoutes::outline`]; [`RouteError::SpaceInvisible`], [`RouteError::DomainNotFound`] and
    /// [`RouteError::AppNotFound`] where CF shows nothing of that name, [`RouteError::Capi`].
    pub async fn bounds(&self, errand: &Errand) -> Result<(Bounds, Foundation), RouteError> {
        let mut grounds = self.grounds(errand)?;
        // Whoever asks is about to write.
        grounds.cf = grounds.cf.for_write();
        let site = site(&grounds).await?;
        let terms = &grounds.policy.terms;
        let space = site.space.to_string();
        let provenance = [errand.caller.client_id(), errand.correlation.as_str()];
        let bounds = Bounds {
            domains: domains(&grounds, &site.organization).await?,
            apps: apps(&grounds, &site.space).await?,
            outline: outline(&grounds, Some(space.clone()), &site.names),
            marks: label::marks(self.policies().prefix(), &grounds.policy.owner, provenance),
            legacy: Legacy { map: terms.adopt, delete: terms.legacy_delete },
            space,
        };
        Ok((bounds, grounds.cf))
    }
}

impl TenantRoutes {
    /// Forgets what the names of the entry's apps resolved to before the errand began; returns whether there was
    /// something, so that a refusal which rests on it is worth a second look.
    ///
    /// # Errors
    /// As [`TenantRoutes::bounds`].
    pub async fn forget_apps(&self, errand: &Errand) -> Result<bool, RouteError> {
        let grounds = self.grounds(errand)?;
        let Apps::Listed(names) = &grounds.policy.terms.apps else {
            return Ok(false);
        };
        let space = site(&grounds).await?.space;
        let mut forgotten = false;
        for name in names {
            forgotten |= grounds.cf.forget_app_before(&space, name, errand.begun).await;
        }
        Ok(forgotten)
    }
}

fn outline(grounds: &Grounds, space: Option<String>, names: &SiteNames) -> Outline {
    let terms = &grounds.policy.terms;
    let own = grounds.routes.policies().own_hosts().iter().cloned();
    Outline {
        space,
        hosts: shapes(terms, names),
        refused_hosts: own.chain(RESERVED.map(str::to_owned)).collect(),
        reserved_prefix: grounds.routes.policies().prefix().as_str().to_owned(),
    }
}

fn shapes(terms: &Terms, names: &SiteNames) -> Vec<HostShape> {
    let (org, space) = (names.organization.as_deref(), names.space.as_deref());
    let shape = |app: Option<&str>| terms.template.shape(app, org, space);
    match &terms.apps {
        Apps::Listed(apps) => apps.iter().map(|app| shape(Some(app))).collect(),
        Apps::AnyBut(_) => vec![shape(None)],
    }
}

/// Domains that CF does not show are left out; none at all is an error.
async fn domains(grounds: &Grounds, organization: &Guid) -> Result<Vec<String>, RouteError> {
    let listed = grounds.policy.terms.domains.iter().map(|name| Some(name.as_str()));
    let names: Vec<_> = listed.collect();
    let names = if names.is_empty() { vec![None] } else { names };
    let mut guids = Vec::new();
    for name in names {
        let found = grounds.cf.domain(organization, name).await?;
        guids.extend(found.filter(|domain| !domain.internal).map(|domain| domain.guid.to_string()));
    }
    if guids.is_empty() { Err(RouteError::DomainNotFound) } else { Ok(guids) }
}

async fn apps(grounds: &Grounds, space: &Guid) -> Result<AppBounds, RouteError> {
    let names = match &grounds.policy.terms.apps {
        Apps::AnyBut(broker) => {
            let guid = grounds.routes.policies().home().app_guid.as_ref();
            let guid = guid.map(ToString::to_string);
            return Ok(AppBounds::AnyBut { name: broker.clone(), guid });
        }
        Apps::Listed(names) => names,
    };
    let mut guids = Vec::new();
    for name in names {
        let found = grounds.cf.app(space, name).await?;
        guids.extend(found.map(|app| app.guid.to_string()));
    }
    match names.first() {
        Some(name) if guids.is_empty() => Err(RouteError::AppNotFound { app: name.clone() }),
        Some(_) | None => Ok(AppBounds::Listed(guids)),
    }
}
