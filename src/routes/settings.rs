//! The settings of tenant routes, and their validation.
//!
//! Invariant: all findings are reported together. Callers:
//! [`super::provider`]; `config` for the types.

use super::{
    host::HostTemplate,
    label::is_domain,
    pattern::TenantPattern,
    provider::{Apps, BrokerIdentity, ProviderTerms},
};
use crate::{
    auth::is_client_id,
    capi::{DestinationName, Guid, spaces::SpaceRef},
};
use serde::Deserialize;
use std::fmt;

/// Default of `max_routes_per_app`: SAP documents about 1000 routes per app, others need some too.
pub(super) const MAX_ROUTES_PER_APP: u64 = 900;
/// Template of the samples and of the CAP documentation.
pub(super) const TEMPLATE: &str = "{subdomain}-{app}";
/// Default of `label_prefix`.
const PREFIX: &str = "cfapi-broker.internal";
/// Default of `max_orphan_percent`: a list that misses more tenants is probably wrong.
const MAX_ORPHAN_PERCENT: u8 = 20;

/// `[routes]` of the settings.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Prefix of the labels on our routes: a DNS name with at least one dot.
    pub label_prefix: String,
    /// Share of an owner's routes that one reconcile may delete without force, in percent.
    pub max_orphan_percent: u8,
}

/// One `[[providers]]` entry of the settings.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ProviderSettings {
    /// Verified client ids that this entry serves.
    pub client_ids: Vec<String>,
    /// Owner of the routes; the client id by default.
    pub owner: Option<String>,
    /// Destination of the technical user; the default one by default.
    pub destination: Option<String>,
    /// Guid of the space, or its name where `organization` is given.
    pub space: String,
    /// Name of the organization.
    pub organization: Option<String>,
    /// Names of the apps.
    pub apps: Vec<String>,
    /// Names of the domains, the first is the default; none: the organization's default domain.
    pub domains: Vec<String>,
    /// How hosts are built.
    pub host_template: Option<String>,
    /// `route`, `wildcard` or `auto`.
    pub mode: Mode,
    /// The approuter's `TENANT_HOST_PATTERN`.
    pub tenant_host_pattern: Option<String>,
    /// Whether unlabelled routes may be adopted; yes by default.
    pub adopt: Option<bool>,
    /// Whether unlabelled routes may be deleted by host.
    pub allow_legacy_delete: bool,
    /// Whether a tenant's routes under former host names are removed, unless a request says
    /// otherwise.
    pub replace: bool,
    /// Routes that an app may have at most.
    pub max_routes_per_app: Option<u64>,
}

/// How a tenant gets its URL.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// A route for each tenant.
    #[default]
    Route,
    /// The wildcard route of the provider's own domain.
    Wildcard,
    /// The wildcard route if it is mapped, otherwise a route.
    Auto,
}

/// A mistake in the settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The key.
    pub key: String,
    /// What is wrong.
    pub problem: String,
    /// How to fix it.
    pub hint: &'static str,
}

/// The validation of one entry.
pub(super) struct EntryValidation<'a> {
    pub(super) index: usize,
    pub(super) findings: &'a mut Vec<Finding>,
}

impl EntryValidation<'_> {
    /// Validates the entry; `None` if it has a mistake.
    pub(super) fn terms(
        &mut self,
        from: &ProviderSettings,
        broker: &BrokerIdentity,
        destinations: &[DestinationName],
    ) -> Option<ProviderTerms> {
        let before = self.findings.len();
        self.require(!from.client_ids.is_empty(), "client_ids", "it is empty", "name a client id");
        self.require(
            !from.apps.is_empty(),
            "apps",
            "it is empty",
            "name the app behind the routes",
        );
        self.names(from);
        let limit = from.max_routes_per_app;
        let hint = "leave it out for 900, or give a number that CF allows";
        self.require(limit != Some(0), "max_routes_per_app", "no route fits into 0", hint);
        let pattern = self.pattern(from);
        let template = HostTemplate::parse(from.host_template.as_deref().unwrap_or(TEMPLATE));
        if let Err(error) = &template {
            let problem = error.to_string();
            self.add_finding("host_template", problem, "use a form such as {subdomain}-{app}");
        }
        let space = self.space(from);
        let destination = self.destination(from, broker, destinations);
        let is_invalid = self.findings.len() > before;
        let terms = ProviderTerms {
            owner: from.owner.clone(),
            destination: destination?,
            space: space?,
            apps: Apps::Listed(from.apps.clone()),
            domains: from.domains.iter().map(|name| name.to_ascii_lowercase()).collect(),
            template: template.ok()?,
            pattern,
            mode: from.mode,
            adopt: from.adopt.unwrap_or(true),
            legacy_delete: from.allow_legacy_delete,
            replace: from.replace,
            max_routes_per_app: from.max_routes_per_app.unwrap_or(MAX_ROUTES_PER_APP),
            client_ids: from.client_ids.clone(),
        };
        (!is_invalid).then_some(terms)
    }

    /// Checks the form of each name.
    fn names(&mut self, from: &ProviderSettings) {
        let one = |text: &Option<String>| text.iter().cloned().collect::<Vec<_>>();
        let lists = [
            ("client_ids", from.client_ids.clone(), NameForm::ClientId),
            ("owner", one(&from.owner), NameForm::Plain),
            ("apps", from.apps.clone(), NameForm::Plain),
            ("domains", from.domains.clone(), NameForm::Domain),
            ("organization", one(&from.organization), NameForm::Plain),
        ];
        for (key, names, form) in lists {
            if names.iter().any(|name| name.trim().is_empty()) {
                let hint = "give the name, or leave it out";
                self.add_finding(key, "a name in it is empty".to_owned(), hint);
            } else if let Some(wrong) = names.iter().find(|name| !form.fits(name)) {
                let (what, hint) = form.words();
                self.add_finding(key, format!("{wrong:?} is not {what}"), hint);
            }
        }
    }

    fn pattern(&mut self, from: &ProviderSettings) -> Option<TenantPattern> {
        match TenantPattern::parse(from.tenant_host_pattern.as_deref()?) {
            Ok(pattern) => Some(pattern),
            Err(error) => {
                let hint = "use a pattern without look-around whose first group is the subdomain";
                self.add_finding("tenant_host_pattern", error.to_string(), hint);
                None
            }
        }
    }

    fn space(&mut self, from: &ProviderSettings) -> Option<SpaceRef> {
        if let Some(organization) = &from.organization {
            self.require(!from.space.is_empty(), "space", "it is empty", "name the space");
            let (organization, space) = (organization.clone(), from.space.clone());
            return Some(SpaceRef::Named { organization, space });
        }
        let guid = Guid::parse(&from.space);
        self.require(
            guid.is_some(),
            "space",
            "it is not a guid",
            "give the guid, or organization and name",
        );
        guid.map(SpaceRef::Guid)
    }

    fn destination(
        &mut self,
        from: &ProviderSettings,
        broker: &BrokerIdentity,
        destinations: &[DestinationName],
    ) -> Option<DestinationName> {
        let Some(wanted) = &from.destination else {
            return Some(broker.destination.clone());
        };
        let found = destinations.iter().find(|name| name.as_str() == wanted).cloned();
        let hint = "add it to destination.names";
        self.require(found.is_some(), "destination", "it is not configured", hint);
        found
    }

    fn require(&mut self, holds: bool, key: &str, problem: &str, hint: &'static str) {
        if !holds {
            self.add_finding(key, problem.to_owned(), hint);
        }
    }

    fn add_finding(&mut self, key: &str, problem: String, hint: &'static str) {
        let key = format!("providers[{}].{key}", self.index);
        self.findings.push(Finding { key, problem, hint });
    }
}

/// The form that a name in an entry must have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum NameForm {
    /// A verified client id.
    ClientId,
    /// A DNS name.
    Domain,
    /// Any name of CF.
    Plain,
}

impl NameForm {
    fn fits(self, text: &str) -> bool {
        match self {
            Self::ClientId => is_client_id(text),
            Self::Domain => is_domain(&text.to_ascii_lowercase()),
            Self::Plain => text.trim() == text && !text.contains(char::is_control),
        }
    }

    /// What the name must be, and how it is written.
    fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::ClientId => ("a client id", "write cid of the token, such as sb-bookshop!t4711"),
            Self::Domain => ("a domain", "write a DNS name, such as cfapps.eu10.hana.ondemand.com"),
            Self::Plain => ("a name", "remove line breaks and the blanks at the ends"),
        }
    }
}

/// Refuses an owner that is also the owner or a client id of another entry: each would manage the
/// other's routes.
pub(super) fn owners(providers: &[ProviderSettings], findings: &mut Vec<Finding>) {
    for (index, one) in providers.iter().enumerate() {
        let Some(owner) = &one.owner else { continue };
        let mut others = providers.iter().enumerate().filter(|(other, _)| *other != index);
        let shared = others.any(|(_, other)| {
            other.owner.as_ref() == Some(owner) || other.client_ids.contains(owner)
        });
        if shared {
            findings.push(Finding {
                key: format!("providers[{index}].owner"),
                problem: "another entry has it as its owner or client id".to_owned(),
                hint: "put clients that share routes into one entry, or name another owner",
            });
        }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self { label_prefix: PREFIX.to_owned(), max_orphan_percent: MAX_ORPHAN_PERCENT }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}; {}", self.key, self.problem, self.hint)
    }
}
