//! What each provider may use: client id → space, apps, domains, host template, mode.
//!
//! Invariant: a caller chooses only within its entry. A caller without a entry gets nothing.
//! Callers: this module; `config` and `app` for the settings.

use super::{
    error::RouteError,
    host::HostTemplate,
    label::LabelPrefix,
    pattern::TenantPattern,
    settings::{
        EntryValidation, Finding, MAX_ROUTES_PER_APP, Mode, ProviderSettings, Settings, TEMPLATE,
        owners,
    },
};
use crate::{
    auth::{Caller, Scope},
    capi::{DestinationName, Guid, spaces::SpaceRef},
};
use std::{collections::HashMap, sync::Arc};

/// What the broker knows about itself. The built-in provider entry uses it.
#[derive(Clone, Debug)]
pub struct BrokerIdentity {
    /// The default destination.
    pub destination: DestinationName,
    /// The broker's space.
    pub space: Option<Guid>,
    /// Its name.
    pub space_name: Option<String>,
    /// The broker's organization.
    pub organization: Option<Guid>,
    /// Its name.
    pub organization_name: Option<String>,
    /// The broker's app name: never a provider's app.
    pub app: Option<String>,
    /// The broker's app guid; the name may have changed.
    pub app_guid: Option<Guid>,
    /// The broker's host names, as in `application_uris`: never a tenant's host.
    pub uris: Vec<String>,
}

/// All provider entries; a clone is shallow.
#[derive(Clone, Debug)]
pub struct ProviderTable(Arc<ValidEntries>);

#[derive(Debug)]
struct ValidEntries {
    broker: BrokerIdentity,
    prefix: LabelPrefix,
    max_orphan_percent: u8,
    own_hosts: Vec<String>,
    entries: Vec<Arc<ProviderTerms>>,
    by_client: HashMap<String, Arc<ProviderTerms>>,
}

/// The provider entry of one owner.
#[derive(Clone, Debug)]
pub struct Provider {
    /// The owner of the routes.
    pub owner: String,
    /// The terms of its entry.
    pub terms: Arc<ProviderTerms>,
}

/// The terms of one valid `[[providers]]` entry.
#[derive(Debug)]
pub struct ProviderTerms {
    /// Owner of all routes under this entry.
    pub owner: Option<String>,
    /// Destination of the technical user.
    pub destination: DestinationName,
    /// The space.
    pub space: SpaceRef,
    /// The apps.
    pub apps: Apps,
    /// The domains; empty: the organization's default domain.
    pub domains: Vec<String>,
    /// How hosts are built.
    pub template: HostTemplate,
    /// The approuter's tenant host pattern.
    pub pattern: Option<TenantPattern>,
    /// How tenants get URLs.
    pub mode: Mode,
    /// Whether unlabelled routes may be adopted.
    pub adopt: bool,
    /// Whether unlabelled routes may be deleted by host.
    pub legacy_delete: bool,
    /// Whether former routes of a tenant are removed by default.
    pub replace: bool,
    /// Routes that an app may have at most.
    pub max_routes_per_app: u64,
    pub(super) client_ids: Vec<String>,
}

/// Which apps a provider entry covers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Apps {
    /// These.
    Listed(Vec<String>),
    /// Any app of the space except the broker itself. The broker's name is here, if known.
    AnyBut(Option<String>),
}

impl ProviderTable {
    /// Validates the settings. `destinations` are the configured ones.
    ///
    /// # Errors
    /// All findings together.
    pub fn validate(
        settings: &Settings,
        providers: &[ProviderSettings],
        broker: BrokerIdentity,
        destinations: &[DestinationName],
    ) -> Result<Self, Vec<Finding>> {
        let mut findings = Vec::new();
        let prefix = LabelPrefix::parse(&settings.label_prefix);
        if prefix.is_none() {
            findings.push(Finding {
                key: "routes.label_prefix".to_owned(),
                problem: "it is no DNS name with a dot, or it is CF's own".to_owned(),
                hint: "use a name such as cfapi-broker.internal",
            });
        }
        let max_orphan_percent = settings.max_orphan_percent;
        if max_orphan_percent > 100 {
            findings.push(Finding {
                key: "routes.max_orphan_percent".to_owned(),
                problem: "it is above 100".to_owned(),
                hint: "give 0 to 100",
            });
        }
        let mut entries = Vec::new();
        for (index, provider) in providers.iter().enumerate() {
            let mut validation = EntryValidation { index, findings: &mut findings };
            entries.extend(validation.terms(provider, &broker, destinations).map(Arc::new));
        }
        owners(providers, &mut findings);
        let by_client = clients(&entries, &mut findings);
        let Some(prefix) = prefix.filter(|_| findings.is_empty()) else {
            return Err(findings);
        };
        let label = |uri: &String| uri.split('.').next().unwrap_or_default().to_ascii_lowercase();
        let own_hosts = broker.uris.iter().map(label).filter(|host| !host.is_empty()).collect();
        let table =
            ValidEntries { broker, prefix, max_orphan_percent, own_hosts, entries, by_client };
        Ok(Self(Arc::new(table)))
    }

    /// Returns the provider entry of a caller.
    ///
    /// # Errors
    /// [`RouteError::ForbiddenProvider`] if no entry names it, or if there are no entries and the
    /// broker does not know its own space.
    pub fn of(&self, caller: &Caller) -> Result<Provider, RouteError> {
        self.of_client(caller.client_id())
    }

    /// Returns the destination that a caller's entry names; `None` without an entry of its own.
    pub fn destination_of(&self, caller: &Caller) -> Option<&DestinationName> {
        self.0.by_client.get(caller.client_id()).map(|terms| &terms.destination)
    }

    /// Returns the provider entry of another owner, for an administrator that acts for it.
    ///
    /// # Errors
    /// [`RouteError::ForbiddenScope`] without `Routes.Admin`; as [`ProviderTable::of`].
    pub fn on_behalf_of(&self, caller: &Caller, owner: &str) -> Result<Provider, RouteError> {
        if !caller.has(Scope::RoutesAdmin) {
            return Err(RouteError::ForbiddenScope);
        }
        self.of_owner(owner)
    }

    /// Returns the provider entry of an owner.
    ///
    /// # Errors
    /// As [`ProviderTable::of`].
    pub(super) fn of_owner(&self, owner: &str) -> Result<Provider, RouteError> {
        let entry = self.0.entries.iter().find(|terms| terms.owner.as_deref() == Some(owner));
        match entry {
            Some(terms) => Ok(Provider { owner: owner.to_owned(), terms: Arc::clone(terms) }),
            None => self.of_client(owner),
        }
    }

    /// Returns all entries, for checks at start.
    pub fn entries(&self) -> &[Arc<ProviderTerms>] {
        &self.0.entries
    }

    /// Returns what the broker knows about itself.
    pub fn broker(&self) -> &BrokerIdentity {
        &self.0.broker
    }

    pub(super) fn prefix(&self) -> &LabelPrefix {
        &self.0.prefix
    }

    /// Share of an owner's routes that one reconcile may delete without force, in percent.
    pub(super) fn max_orphan_percent(&self) -> usize {
        usize::from(self.0.max_orphan_percent)
    }

    pub(super) fn own_hosts(&self) -> &[String] {
        &self.0.own_hosts
    }

    fn of_client(&self, client_id: &str) -> Result<Provider, RouteError> {
        let terms = match self.0.by_client.get(client_id) {
            Some(terms) => Arc::clone(terms),
            None if self.0.entries.is_empty() => Arc::new(self.built_in()?),
            None => return Err(RouteError::ForbiddenProvider),
        };
        let owner = terms.owner.clone().unwrap_or_else(|| client_id.to_owned());
        Ok(Provider { owner, terms })
    }

    /// Returns the provider entry that applies without entries: the broker's own space.
    fn built_in(&self) -> Result<ProviderTerms, RouteError> {
        let broker = &self.0.broker;
        let space = broker.space.clone().ok_or(RouteError::ForbiddenProvider)?;
        let template =
            HostTemplate::parse(TEMPLATE).map_err(|_| RouteError::Internal("default_template"))?;
        Ok(ProviderTerms {
            owner: None,
            destination: broker.destination.clone(),
            space: SpaceRef::Guid(space),
            apps: Apps::AnyBut(broker.app.clone()),
            domains: Vec::new(),
            template,
            pattern: None,
            mode: Mode::Route,
            adopt: true,
            legacy_delete: false,
            replace: false,
            max_routes_per_app: MAX_ROUTES_PER_APP,
            client_ids: Vec::new(),
        })
    }
}

impl ProviderTerms {
    /// Returns the app that a caller chose within the provider entry.
    ///
    /// # Errors
    /// [`RouteError::AppRequired`] and [`RouteError::ForbiddenApp`].
    pub fn app(&self, wanted: Option<&str>) -> Result<String, RouteError> {
        match (&self.apps, wanted) {
            (Apps::Listed(apps), None) => match apps.as_slice() {
                [only] => Ok(only.clone()),
                several => Err(RouteError::AppRequired { apps: several.to_vec() }),
            },
            (Apps::AnyBut(_), None) => Err(RouteError::AppRequired { apps: Vec::new() }),
            (Apps::Listed(apps), Some(wanted)) => {
                let listed = apps.iter().find(|listed| listed.eq_ignore_ascii_case(wanted));
                listed.cloned().ok_or(RouteError::ForbiddenApp)
            }
            (apps, Some(wanted)) if apps.covers(wanted) => Ok(wanted.to_owned()),
            (Apps::AnyBut(_), Some(_)) => Err(RouteError::ForbiddenApp),
        }
    }

    /// Returns the domain that a caller chose within the entry; `None` for the organization's
    /// default one.
    ///
    /// # Errors
    /// [`RouteError::ForbiddenDomain`].
    pub fn domain(&self, wanted: Option<&str>) -> Result<Option<String>, RouteError> {
        let same = |name: &&String| wanted.is_none_or(|wanted| name.eq_ignore_ascii_case(wanted));
        match self.domains.iter().find(same) {
            Some(name) => Ok(Some(name.clone())),
            // The name of the default domain is known only later.
            None if self.domains.is_empty() => Ok(None),
            None => Err(RouteError::ForbiddenDomain),
        }
    }
}

impl Apps {
    /// Returns whether an app is covered. CF's app names ignore case.
    pub fn covers(&self, app: &str) -> bool {
        match self {
            Self::Listed(apps) => apps.iter().any(|listed| listed.eq_ignore_ascii_case(app)),
            Self::AnyBut(broker) => {
                !broker.as_deref().is_some_and(|broker| broker.eq_ignore_ascii_case(app))
            }
        }
    }
}

/// Maps each client id to its entry. A client id in two entries is a finding.
fn clients(
    entries: &[Arc<ProviderTerms>],
    findings: &mut Vec<Finding>,
) -> HashMap<String, Arc<ProviderTerms>> {
    let mut by_client = HashMap::new();
    for terms in entries {
        for client in &terms.client_ids {
            if by_client.insert(client.clone(), Arc::clone(terms)).is_some() {
                findings.push(Finding {
                    key: "providers".to_owned(),
                    problem: "a client id occurs twice".to_owned(),
                    hint: "name each client id in one entry",
                });
            }
        }
    }
    by_client
}

#[cfg(test)]
mod tests;
