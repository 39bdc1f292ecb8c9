//! Resolves a request within the provider entry: space, domain, app and host.
//!
//! Invariant: everything that can be checked without CF is checked before the first call. Callers:
//! this module.

use super::{
    OperationContext, OwnerContext, RouteError, RouteRequest,
    error::Fqdn,
    host::{Host, HostFault, HostNames, MAX_LABEL, MAX_NAME, Variable},
    locks::LockKey,
    provider::BrokerIdentity,
};
use crate::capi::{
    CfRequestClient, Guid,
    model::{CfApp, Domain},
    spaces::{SpaceInOrganization, SpaceRef},
};

/// The provider entry's space.
#[derive(Clone, Debug)]
pub(super) struct ResolvedSpace {
    pub(super) guid: Guid,
    pub(super) organization: Guid,
    pub(super) names: SpaceNames,
}

/// Names of the provider entry's space and organization, as far as they are known.
#[derive(Clone, Debug, Default)]
pub(super) struct SpaceNames {
    pub(super) space: Option<String>,
    pub(super) organization: Option<String>,
}

/// App, domain and host, chosen within the provider entry before a call to CF.
#[derive(Clone, Debug)]
pub(super) struct Choice {
    pub(super) app: String,
    /// `None`: the organization's default domain.
    pub(super) domain: Option<String>,
    host: Option<Host>,
}

/// The resolved space, domain, app and host of a tenant's route.
#[derive(Clone, Debug)]
pub(super) struct ResolvedRoute {
    pub(super) space: ResolvedSpace,
    pub(super) choice: Choice,
    pub(super) domain: Domain,
    pub(super) app: CfApp,
    pub(super) host: Host,
}

impl Choice {
    /// Chooses app, domain and host.
    pub(super) fn of(op: &OperationContext, request: &RouteRequest) -> Result<Self, RouteError> {
        let terms = &op.owner.provider.terms;
        let app = terms.app(request.app.as_deref())?;
        let domain = terms.domain(request.domain.as_deref())?;
        let names = known_names(&terms.space, op.owner.routes.providers().broker());
        let host = host(op, request, &app, &names).transpose()?;
        if let (Some(host), Some(domain)) = (&host, &domain) {
            check_length(host, domain)?;
            matches_pattern(op, request, host, domain)?;
        }
        op.location.update(|location| {
            location.domain.clone_from(&domain);
            location.host = host.as_ref().map(ToString::to_string);
        });
        Ok(Self { app, domain, host })
    }

    /// Returns the host. Reads the names that its template needs from CF, if they are not known.
    pub(super) async fn host(
        &self,
        op: &OperationContext,
        request: &RouteRequest,
    ) -> Result<Host, RouteError> {
        if let Some(host) = &self.host {
            return Ok(host.clone());
        }
        let names = resolve_space(&op.owner).await?.names;
        host(op, request, &self.app, &names).unwrap_or(Err(RouteError::SpaceInvisible))
    }

    /// Returns the host if these names are enough for it, checked against a domain.
    pub(super) fn host_from(
        &self,
        op: &OperationContext,
        request: &RouteRequest,
        names: &SpaceNames,
        domain: &str,
    ) -> Option<Result<Host, RouteError>> {
        let host = match &self.host {
            Some(host) => Ok(host.clone()),
            None => host(op, request, &self.app, names)?,
        };
        Some(host.and_then(|host| {
            check_length(&host, domain)?;
            matches_pattern(op, request, &host, domain)?;
            Ok(host)
        }))
    }
}

impl ResolvedRoute {
    /// Resolves a choice.
    pub(super) async fn resolve(
        op: &OperationContext,
        request: &RouteRequest,
        choice: Choice,
    ) -> Result<Self, RouteError> {
        let resolved = match Self::resolve_once(op, request, choice.clone()).await {
            Err(error) if error.is_absence() && op.forget_named_space().await => {
                Self::resolve_once(op, request, choice).await
            }
            other => other,
        };
        match resolved {
            // A named space was read in this request, so the user sees it.
            Err(error) if error.is_absence() && !op.owner.has_named_space() => {
                Err(explain_absence(&op.owner, error).await)
            }
            other => other,
        }
    }

    async fn resolve_once(
        op: &OperationContext,
        request: &RouteRequest,
        choice: Choice,
    ) -> Result<Self, RouteError> {
        let space = resolve_space(&op.owner).await?;
        let domain = domain(op, request, &space, &choice);
        let app = app(op.cf(), &space, &choice.app);
        // Both end before one is reported: the answer must not depend on which one is faster.
        let (domain, app) = tokio::join!(domain, app);
        let (domain, app) = (domain?, app?);
        // The name may be different: the broker itself cannot serve a tenant, because the requests
        // would loop.
        if op.owner.routes.providers().broker().app_guid.as_ref() == Some(&app.guid) {
            return Err(RouteError::ForbiddenApp);
        }
        let host = choice.host(op, request).await?;
        check_length(&host, &domain.name)?;
        matches_pattern(op, request, &host, &domain.name)?;
        op.location.update(|location| {
            location.space = Some(space.guid.to_string());
            location.domain = Some(domain.name.clone());
            location.host = Some(host.to_string());
        });
        Ok(Self { space, choice, domain, app, host })
    }

    /// Looks the app up again, after CF refused its guid.
    pub(super) async fn refresh_app(
        &mut self,
        op: &OperationContext,
        request: &RouteRequest,
    ) -> Result<(), RouteError> {
        op.cf().forget_app(&self.space.guid, &self.choice.app).await;
        self.resolve_again(op, request).await
    }

    /// Looks the domain up again, after CF refused its guid.
    pub(super) async fn refresh_domain(
        &mut self,
        op: &OperationContext,
        request: &RouteRequest,
    ) -> Result<(), RouteError> {
        let name = self.choice.domain.as_deref();
        op.cf().forget_domain(&self.space.organization, name).await;
        self.resolve_again(op, request).await
    }

    /// Resolves the choice again, after a cached value was removed.
    pub(super) async fn resolve_again(
        &mut self,
        op: &OperationContext,
        request: &RouteRequest,
    ) -> Result<(), RouteError> {
        *self = Box::pin(Self::resolve(op, request, self.choice.clone())).await?;
        Ok(())
    }

    /// Returns the lock key of its host.
    pub(super) fn key(&self) -> LockKey {
        LockKey::host(self.domain.guid.clone(), self.host.as_str())
    }

    /// Returns host and domain as one name.
    pub(super) fn fqdn(&self) -> Fqdn {
        Fqdn(format!("{}.{}", self.host, self.domain.name))
    }
}

impl OperationContext {
    /// Removes the cached guid of a named space if it was read before this request. Returns whether
    /// there was one.
    pub(super) async fn forget_named_space(&self) -> bool {
        let space = &self.owner.provider.terms.space;
        self.owner.has_named_space()
            && self.cf().forget_space_before(space, self.request_context.started).await
    }
}

impl OwnerContext {
    /// Returns whether the provider entry names its space; else it gives the guid.
    pub(super) fn has_named_space(&self) -> bool {
        matches!(self.provider.terms.space, SpaceRef::Named { .. })
    }
}

/// Resolves the provider entry's space. The broker's own space is known without a call.
pub(super) async fn resolve_space(owner: &OwnerContext) -> Result<ResolvedSpace, RouteError> {
    if let Some(space) = known_space(owner) {
        return Ok(space);
    }
    let read = owner.cf.space(&owner.provider.terms.space).await?;
    read.and_then(ResolvedSpace::of).ok_or(RouteError::SpaceInvisible)
}

/// CF shows a user without a role in the space an empty list. Returns the reason why something was
/// not found: it does not exist, or the technical user does not see the space.
pub(super) async fn explain_absence(owner: &OwnerContext, error: RouteError) -> RouteError {
    require_visible_space(owner).await.err().unwrap_or(error)
}

/// Checks that the technical user sees the entry's space now: an empty list proves nothing else.
pub(super) async fn require_visible_space(owner: &OwnerContext) -> Result<(), RouteError> {
    let is_seen = owner.cf.sees_space(&owner.provider.terms.space).await?;
    if is_seen { Ok(()) } else { Err(RouteError::SpaceInvisible) }
}

/// Returns the provider entry's space as CF last showed it.
pub(super) async fn last_known_space(owner: &OwnerContext) -> Option<ResolvedSpace> {
    match known_space(owner) {
        Some(space) => Some(space),
        None => ResolvedSpace::of(owner.cf.last_known_space(&owner.provider.terms.space).await?),
    }
}

impl ResolvedSpace {
    pub(super) fn of(read: SpaceInOrganization) -> Option<Self> {
        let organization = read.space.organization().cloned()?;
        let names = SpaceNames {
            space: Some(read.space.name.clone()),
            organization: read.organization.map(|organization| organization.name),
        };
        Some(Self { guid: read.space.guid, organization, names })
    }
}

/// Returns the entry's space without a call, if it is the broker's own and all names that the
/// template needs are known.
fn known_space(owner: &OwnerContext) -> Option<ResolvedSpace> {
    let broker = owner.routes.providers().broker();
    let terms = &owner.provider.terms;
    let names = known_names(&terms.space, broker);
    let template = &terms.template;
    let complete = (names.space.is_some() || !template.names(Variable::Space))
        && (names.organization.is_some() || !template.names(Variable::Org));
    own_space(&terms.space, broker, names).filter(|_| complete)
}

fn own_space(
    space: &SpaceRef,
    broker: &BrokerIdentity,
    names: SpaceNames,
) -> Option<ResolvedSpace> {
    let SpaceRef::Guid(space) = space else {
        return None;
    };
    let organization = broker.organization.clone()?;
    (broker.space.as_ref() == Some(space)).then(|| ResolvedSpace {
        guid: space.clone(),
        organization,
        names,
    })
}

/// Returns the names of organization and space that are known without a call.
pub(super) fn known_names(space: &SpaceRef, broker: &BrokerIdentity) -> SpaceNames {
    match space {
        SpaceRef::Named { organization, space } => {
            SpaceNames { space: Some(space.clone()), organization: Some(organization.clone()) }
        }
        SpaceRef::Guid(guid) if broker.space.as_ref() == Some(guid) => SpaceNames {
            space: broker.space_name.clone(),
            organization: broker.organization_name.clone(),
        },
        SpaceRef::Guid(_) => SpaceNames::default(),
    }
}

fn host(
    op: &OperationContext,
    request: &RouteRequest,
    app: &str,
    names: &SpaceNames,
) -> Option<Result<Host, RouteError>> {
    let names = HostNames {
        subdomain: &request.subdomain,
        tenant: op.tenant.as_str(),
        app,
        org: names.organization.as_deref(),
        space: names.space.as_deref(),
    };
    let own_hosts = op.owner.routes.providers().own_hosts();
    let rendered = op.owner.provider.terms.template.render(&names, own_hosts)?;
    Some(rendered.map_err(|fault| match fault {
        HostFault::Form => RouteError::HostInvalid,
        HostFault::Length(length) => RouteError::HostTooLong { length, limit: MAX_LABEL },
        HostFault::Reserved => RouteError::HostReserved,
    }))
}

fn check_length(host: &Host, domain: &str) -> Result<(), RouteError> {
    let length = host.as_str().len() + 1 + domain.len();
    if length <= MAX_NAME {
        return Ok(());
    }
    Err(RouteError::HostTooLong { length, limit: MAX_NAME })
}

/// Refuses a host in which the approuter would not find the tenant.
fn matches_pattern(
    op: &OperationContext,
    request: &RouteRequest,
    host: &Host,
    domain: &str,
) -> Result<(), RouteError> {
    let Some(pattern) = &op.owner.provider.terms.pattern else {
        return Ok(());
    };
    let fqdn = format!("{host}.{domain}");
    if pattern.finds(&fqdn, &request.subdomain) {
        return Ok(());
    }
    Err(RouteError::HostPatternMismatch { host: Fqdn(fqdn), pattern: pattern.to_string() })
}

async fn domain(
    op: &OperationContext,
    request: &RouteRequest,
    space: &ResolvedSpace,
    choice: &Choice,
) -> Result<Domain, RouteError> {
    let found = op.cf().domain(&space.organization, choice.domain.as_deref()).await?;
    let domain = found.ok_or(RouteError::DomainNotFound)?;
    if domain.internal {
        return Err(RouteError::InternalDomain { domain: domain.name });
    }
    let wanted = request.domain.as_deref().filter(|_| choice.domain.is_none());
    if wanted.is_some_and(|wanted| !wanted.eq_ignore_ascii_case(&domain.name)) {
        return Err(RouteError::ForbiddenDomain);
    }
    Ok(domain)
}

async fn app(cf: &CfRequestClient, space: &ResolvedSpace, name: &str) -> Result<CfApp, RouteError> {
    let found = cf.app(&space.guid, name).await?;
    found.ok_or_else(|| RouteError::AppNotFound { app: name.to_owned() })
}
