//! Where a tenant's route is to be: space, domain, app and host, from the policy and the wish.
//!
//! Invariant: everything that can be judged without CF is judged before its first call. Callers: this
//! room.

use super::{
    Grounds, RouteError, Wish, Work,
    error::Fqdn,
    host::{Host, HostFault, HostNames, MAX_NAME, Variable},
    order::Key,
    provider::Home,
};
use crate::capi::{
    Foundation, Guid,
    model::{App, Domain},
    spaces::{SpaceInOrganization, SpaceRef},
};

/// Longest label, for the message.
const MAX_LABEL: usize = 63;

/// The policy's space.
#[derive(Clone, Debug)]
pub(super) struct Site {
    pub(super) space: Guid,
    pub(super) organization: Guid,
    pub(super) names: SiteNames,
}

/// Names of the policy's space and organization, as far as they are known.
#[derive(Clone, Debug, Default)]
pub(super) struct SiteNames {
    pub(super) space: Option<String>,
    pub(super) organization: Option<String>,
}

/// What was chosen within the policy, before CF is asked.
#[derive(Clone, Debug)]
pub(super) struct Choice {
    pub(super) app: String,
    /// `None`: the organization's default domain.
    pub(super) domain: Option<String>,
    host: Option<Host>,
}

/// A route's place, resolved.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub(super) site: Site,
    pub(super) choice: Choice,
    pub(super) domain: Domain,
    pub(super) app: App,
    pub(super) host: Host,
}

impl Choice {
    /// Chooses app, domain and host.
    pub(super) fn of(work: &Work, wish: &Wish) -> Result<Self, RouteError> {
        let terms = &work.grounds.policy.terms;
        let app = terms.app(wish.app.as_deref())?;
        let domain = terms.domain(wish.domain.as_deref())?;
        let names = known_names(&terms.space, work.grounds.routes.policies().home());
        let host = host(work, wish, &app, &names).transpose()?;
        if let (Some(host), Some(domain)) = (&host, &domain) {
            fits(host, domain)?;
            matches(work, wish, host, domain)?;
        }
        work.place.learn(|facts| {
            facts.domain.clone_from(&domain);
            facts.host = host.as_ref().map(ToString::to_string);
        });
        Ok(Self { app, domain, host })
    }

    /// Returns the host, asking CF for the names that its template still needs.
    pub(super) async fn host(&self, work: &Work, wish: &Wish) -> Result<Host, RouteError> {
        if let Some(host) = &self.host {
            return Ok(host.clone());
        }
        let names = site(&work.grounds).await?.names;
        host(work, wish, &self.app, &names).unwrap_or(Err(RouteError::SpaceInvisible))
    }

    /// Returns the host as far as these names give it, for a domain that it must fit.
    pub(super) fn host_by(
        &self,
        work: &Work,
        wish: &Wish,
        names: &SiteNames,
        domain: &str,
    ) -> Option<Result<Host, RouteError>> {
        let host = match &self.host {
            Some(host) => Ok(host.clone()),
            None => host(work, wish, &self.app, names)?,
        };
        Some(host.and_then(|host| {
            fits(&host, domain)?;
            matches(work, wish, &host, domain)?;
            Ok(host)
        }))
    }
}

impl Target {
    /// Resolves a choice.
    pub(super) async fn resolve(
        work: &Work,
        wish: &Wish,
        choice: Choice,
    ) -> Result<Self, RouteError> {
        match Self::resolved(work, wish, choice.clone()).await {
            Err(RouteError::AppNotFound { .. } | RouteError::DomainNotFound)
                if work.forget_named_space().await =>
            {
                Self::resolved(work, wish, choice).await
            }
            other => other,
        }
    }

    async fn resolved(work: &Work, wish: &Wish, choice: Choice) -> Result<Self, RouteError> {
        let site = site(&work.grounds).await?;
        let domain = domain(work, wish, &site, &choice);
        let app = app(work.cf(), &site, &choice.app);
        let (domain, app) = tokio::try_join!(domain, app)?;
        // By whatever name: a loop through the broker serves nobody.
        if work.grounds.routes.policies().home().app_guid.as_ref() == Some(&app.guid) {
            return Err(RouteError::ForbiddenApp);
        }
        let host = choice.host(work, wish).await?;
        fits(&host, &domain.name)?;
        matches(work, wish, &host, &domain.name)?;
        work.place.learn(|facts| {
            facts.space = Some(site.space.to_string());
            facts.domain = Some(domain.name.clone());
            facts.host = Some(host.to_string());
        });
        Ok(Self { site, choice, domain, app, host })
    }

    /// Looks the app up again after CF refused its guid.
    pub(super) async fn refresh_app(&mut self, work: &Work, wish: &Wish) -> Result<(), RouteError> {
        work.cf().forget_app(&self.site.space, &self.choice.app).await;
        self.renew(work, wish).await
    }

    /// Looks the domain up again after CF refused its guid.
    pub(super) async fn refresh_domain(
        &mut self,
        work: &Work,
        wish: &Wish,
    ) -> Result<(), RouteError> {
        let name = self.choice.domain.as_deref();
        work.cf().forget_domain(&self.site.organization, name).await;
        self.renew(work, wish).await
    }

    /// Resolves once more what was forgotten.
    pub(super) async fn renew(&mut self, work: &Work, wish: &Wish) -> Result<(), RouteError> {
        *self = Box::pin(Self::resolve(work, wish, self.choice.clone())).await?;
        Ok(())
    }

    /// Returns what is locked while its host is worked on.
    pub(super) fn key(&self) -> Key {
        Key::host(self.domain.guid.clone(), self.host.as_str())
    }

    /// Returns host and domain in one.
    pub(super) fn fqdn(&self) -> Fqdn {
        Fqdn(format!("{}.{}", self.host, self.domain.name))
    }
}

impl Work {
    /// Forgets what a space's name resolved to before this request; returns whether there was something.
    pub(super) async fn forget_named_space(&self) -> bool {
        let space = &self.grounds.policy.terms.space;
        let named = matches!(space, SpaceRef::Named { .. });
        named && self.cf().forget_space_before(space, self.errand.begun).await
    }
}

/// Finds the policy's space; the broker's own one is known without asking.
pub(super) async fn site(grounds: &Grounds) -> Result<Site, RouteError> {
    if let Some(site) = known_site(grounds) {
        return Ok(site);
    }
    let read = grounds.cf.space(&grounds.policy.terms.space).await?;
    read.and_then(Site::of).ok_or(RouteError::SpaceInvisible)
}

/// Returns the policy's space as it was when CF last showed it.
pub(super) async fn last_site(grounds: &Grounds) -> Option<Site> {
    match known_site(grounds) {
        Some(site) => Some(site),
        None => Site::of(grounds.cf.last_known_space(&grounds.policy.terms.space).await?),
    }
}

impl Site {
    fn of(read: SpaceInOrganization) -> Option<Self> {
        let organization = read.space.organization().cloned()?;
        let names = SiteNames {
            space: Some(read.space.name.clone()),
            organization: read.organization.map(|organization| organization.name),
        };
        Some(Self { space: read.space.guid, organization, names })
    }
}

/// Returns the policy's space where it is the broker's own and the template needs no name that is not known.
fn known_site(grounds: &Grounds) -> Option<Site> {
    let home = grounds.routes.policies().home();
    let terms = &grounds.policy.terms;
    let names = known_names(&terms.space, home);
    let template = &terms.template;
    let complete = (names.space.is_some() || !template.names(Variable::Space))
        && (names.organization.is_some() || !template.names(Variable::Org));
    own_site(&terms.space, home, names).filter(|_| complete)
}

fn own_site(space: &SpaceRef, home: &Home, names: SiteNames) -> Option<Site> {
    let SpaceRef::Guid(space) = space else {
        return None;
    };
    let organization = home.organization.clone()?;
    (home.space.as_ref() == Some(space)).then(|| Site { space: space.clone(), organization, names })
}

/// Returns the names of organization and space that are known without asking.
pub(super) fn known_names(space: &SpaceRef, home: &Home) -> SiteNames {
    match space {
        SpaceRef::Named { organization, space } => {
            SiteNames { space: Some(space.clone()), organization: Some(organization.clone()) }
        }
        SpaceRef::Guid(guid) if home.space.as_ref() == Some(guid) => SiteNames {
            space: home.space_name.clone(),
            organization: home.organization_name.clone(),
        },
        SpaceRef::Guid(_) => SiteNames::default(),
    }
}

fn host(
    work: &Work,
    wish: &Wish,
    app: &str,
    names: &SiteNames,
) -> Option<Result<Host, RouteError>> {
    let names = HostNames {
        subdomain: &wish.subdomain,
        tenant: work.tenant.as_str(),
        app,
        org: names.organization.as_deref(),
        space: names.space.as_deref(),
    };
    let own_hosts = work.grounds.routes.policies().own_hosts();
    let rendered = work.grounds.policy.terms.template.render(&names, own_hosts)?;
    Some(rendered.map_err(|fault| match fault {
        HostFault::Form => RouteError::HostInvalid,
        HostFault::Length(length) => RouteError::HostTooLong { length, limit: MAX_LABEL },
        HostFault::Reserved => RouteError::HostReserved,
    }))
}

fn fits(host: &Host, domain: &str) -> Result<(), RouteError> {
    let length = host.as_str().len() + 1 + domain.len();
    if length <= MAX_NAME {
        return Ok(());
    }
    Err(RouteError::HostTooLong { length, limit: MAX_NAME })
}

/// Refuses a host in which the approuter would not find the tenant.
fn matches(work: &Work, wish: &Wish, host: &Host, domain: &str) -> Result<(), RouteError> {
    let Some(pattern) = &work.grounds.policy.terms.pattern else {
        return Ok(());
    };
    let found = pattern.finds(&format!("{host}.{domain}"), &wish.subdomain);
    if found { Ok(()) } else { Err(RouteError::HostPatternMismatch) }
}

async fn domain(
    work: &Work,
    wish: &Wish,
    site: &Site,
    choice: &Choice,
) -> Result<Domain, RouteError> {
    let found = work.cf().domain(&site.organization, choice.domain.as_deref()).await?;
    // An internal domain leads to no URL.
    let domain = found.filter(|domain| !domain.internal).ok_or(RouteError::DomainNotFound)?;
    let wanted = wish.domain.as_deref().filter(|_| choice.domain.is_none());
    if wanted.is_some_and(|wanted| !wanted.eq_ignore_ascii_case(&domain.name)) {
        return Err(RouteError::ForbiddenDomain);
    }
    Ok(domain)
}

async fn app(cf: &Foundation, site: &Site, name: &str) -> Result<App, RouteError> {
    let found = cf.app(&site.space, name).await?;
    found.ok_or_else(|| RouteError::AppNotFound { app: name.to_owned() })
}
