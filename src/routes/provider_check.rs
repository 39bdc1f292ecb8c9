//! Checks after the start that everything exists that the provider entries name.
//!
//! Invariant: it only reads, no request waits for it, and it ends with the process. Its public
//! result is one word; the names are in the log. Callers: [`super::TenantRoutes`].

use super::{
    provider::{Apps, ProviderTable, ProviderTerms},
    view::RouteView,
};
use crate::{
    capi::{CapiClient, CapiError, CfRequestClient, Guid, spaces::SpaceRef},
    telemetry::trace::CorrelationId,
    upstream::retry::Backoff,
};
use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

/// Pauses while CF cannot be reached: at last each instance makes a dozen attempts in an hour.
const PAUSES: Backoff = Backoff::doubling(Duration::from_secs(5), Duration::from_secs(300));
/// Longest time for all calls for one entry.
const ENTRY_TIME: Duration = Duration::from_secs(60);

/// The result of the check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProviderStatus {
    /// Not all entries are checked.
    Unknown,
    /// Everything that they name exists, or there are no entries.
    Resolved,
    /// Something that they name does not exist, or the technical user does not see it.
    Unresolved,
}

/// Something that an entry names but CF does not show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct MissingResource {
    entry: usize,
    kind: MissingKind,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum MissingKind {
    Organization(String),
    Space(String),
    App(String),
    /// `None`: the organization's default one.
    Domain(Option<String>),
    InternalDomain(String),
    /// CF refuses the request; the word of its refusal.
    Refused(&'static str),
}

/// The check and its result; a clone is shallow.
#[derive(Clone, Debug, Default)]
pub(super) struct ProviderCheck(Arc<Mutex<CheckState>>);

#[derive(Debug, Default)]
struct CheckState {
    done: bool,
    missing: Vec<MissingResource>,
}

impl ProviderCheck {
    /// Returns the result so far.
    pub(super) fn status(&self, providers: &ProviderTable) -> ProviderStatus {
        let state = self.state();
        if providers.entries().is_empty() {
            ProviderStatus::Resolved
        } else if !state.missing.is_empty() {
            ProviderStatus::Unresolved
        } else if state.done {
            ProviderStatus::Resolved
        } else {
            ProviderStatus::Unknown
        }
    }

    /// Checks each entry once, after `delay`. Repeats while CF cannot be reached, until `stop`.
    pub(super) async fn run(
        self,
        providers: ProviderTable,
        capi: CapiClient,
        delay: Duration,
        stop: CancellationToken,
    ) {
        let checking = async {
            sleep(delay).await;
            self.check_all(&providers, &capi).await;
        };
        tokio::select! {
            () = stop.cancelled() => {}
            () = Box::pin(checking) => {}
        }
    }

    /// Removes what a created route proves to exist: it was missing when its entry was checked.
    pub(super) fn clear_proven(
        &self,
        providers: &ProviderTable,
        terms: &Arc<ProviderTerms>,
        view: &RouteView,
    ) {
        let entry = providers.entries().iter().position(|entry| Arc::ptr_eq(entry, terms));
        let served = |app: &String| view.apps.iter().any(|seen| seen.name.as_ref() == Some(app));
        self.state().missing.retain(|missing| {
            Some(missing.entry) != entry
                || match &missing.kind {
                    MissingKind::Organization(_)
                    | MissingKind::Space(_)
                    | MissingKind::Refused(_)
                    | MissingKind::Domain(None) => false,
                    MissingKind::App(app) => !served(app),
                    MissingKind::Domain(Some(domain)) | MissingKind::InternalDomain(domain) => {
                        *domain != view.domain
                    }
                }
        });
    }

    async fn check_all(&self, providers: &ProviderTable, capi: &CapiClient) {
        let mut open = providers.entries().iter().enumerate().collect::<Vec<_>>();
        for rounds in 0.. {
            let mut later = Vec::new();
            for (entry, terms) in open {
                match check_entry(terms, capi).await {
                    Some(kinds) => self.add_missing(entry, kinds),
                    // If one technical user is locked, the other entries are still checked.
                    None => later.push((entry, terms)),
                }
            }
            if later.is_empty() {
                break;
            }
            open = later;
            sleep(PAUSES.wait(rounds)).await;
        }
        let mut state = self.state();
        state.done = true;
        tracing::info!(
            entries = providers.entries().len(),
            gaps = state.missing.len(),
            "provider entries checked"
        );
    }

    fn add_missing(&self, entry: usize, kinds: Vec<MissingKind>) {
        let missing =
            kinds.into_iter().map(|kind| MissingResource { entry, kind }).collect::<Vec<_>>();
        missing.iter().for_each(MissingResource::log);
        self.state().missing.extend(missing);
    }

    fn state(&self) -> MutexGuard<'_, CheckState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Checks one entry; `None` if CF cannot be called now.
async fn check_entry(terms: &ProviderTerms, capi: &CapiClient) -> Option<Vec<MissingKind>> {
    let deadline = Instant::now() + ENTRY_TIME;
    let cf = capi.for_request(&terms.destination, &CorrelationId::random(), deadline);
    match missing_resources(terms, &cf).await {
        Ok(kinds) => Some(kinds),
        // Without a token CF was not called. The lockout guard decides when there is one again.
        Err(error) if error.is_transient() || matches!(error, CapiError::Token(_)) => None,
        Err(error) => Some(vec![MissingKind::Refused(error.as_str())]),
    }
}

/// Returns what an entry names and CF does not show. The CF client caches what is found, so the
/// first subscriptions need fewer calls.
async fn missing_resources(
    terms: &ProviderTerms,
    cf: &CfRequestClient,
) -> Result<Vec<MissingKind>, CapiError> {
    let read = cf.space(&terms.space).await?;
    let Some(read) = read else {
        return Ok(vec![unknown_name(&terms.space, cf).await?]);
    };
    let mut kinds = Vec::new();
    if let Apps::Listed(apps) = &terms.apps {
        for app in apps {
            let found = cf.app(&read.space.guid, app).await?;
            kinds.extend(found.is_none().then(|| MissingKind::App(app.clone())));
        }
    }
    let Some(organization) = read.space.organization() else {
        return Ok(kinds);
    };
    if terms.domains.is_empty() {
        kinds.extend(missing_domain(cf, organization, None).await?);
    }
    for name in &terms.domains {
        kinds.extend(missing_domain(cf, organization, Some(name)).await?);
    }
    Ok(kinds)
}

/// Finds out which name of the entry is unknown: the organization or the space.
async fn unknown_name(space: &SpaceRef, cf: &CfRequestClient) -> Result<MissingKind, CapiError> {
    Ok(match space {
        SpaceRef::Guid(guid) => MissingKind::Space(guid.to_string()),
        SpaceRef::Named { organization, space } => match cf.organization_named(organization).await?
        {
            None => MissingKind::Organization(organization.clone()),
            Some(_) => MissingKind::Space(space.clone()),
        },
    })
}

async fn missing_domain(
    cf: &CfRequestClient,
    organization: &Guid,
    name: Option<&str>,
) -> Result<Option<MissingKind>, CapiError> {
    Ok(match cf.domain(organization, name).await? {
        None => Some(MissingKind::Domain(name.map(ToOwned::to_owned))),
        Some(domain) if domain.internal => Some(MissingKind::InternalDomain(domain.name)),
        Some(_) => None,
    })
}

impl MissingResource {
    /// Writes the log line: key and name in the entry, and what to do. Without its space an entry
    /// cannot be used.
    fn log(&self) {
        let key = format!("providers[{}].{}", self.entry, self.kind.key());
        let (name, hint) = (self.kind.to_string(), self.kind.hint());
        match &self.kind {
            MissingKind::Organization(_) | MissingKind::Space(_) | MissingKind::Refused(_) => {
                tracing::error!(key, name, hint, "a provider entry cannot be used");
            }
            MissingKind::App(_) | MissingKind::Domain(_) | MissingKind::InternalDomain(_) => {
                tracing::warn!(
                    key,
                    name,
                    hint,
                    "a provider entry names something that does not exist"
                );
            }
        }
    }
}

impl MissingKind {
    fn key(&self) -> &'static str {
        match self {
            Self::Organization(_) => "organization",
            Self::Space(_) | Self::Refused(_) => "space",
            Self::App(_) => "apps",
            Self::Domain(_) | Self::InternalDomain(_) => "domains",
        }
    }

    fn hint(&self) -> &'static str {
        match self {
            Self::Organization(_) => {
                "correct the name, or add the technical user to the organization"
            }
            Self::Space(_) => {
                "correct it, or make the technical user Space Supporter or Space Developer there"
            }
            Self::App(_) => "correct the name, or deploy the app to the entry's space",
            Self::Domain(Some(_)) => {
                "correct the name, or create the domain and share it with the organization"
            }
            Self::Domain(None) => "name a domain: the organization has no default one",
            Self::InternalDomain(_) => "name another domain: an internal domain has no public URL",
            Self::Refused(_) => "check the roles of the technical user",
        }
    }
}

impl fmt::Display for MissingKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Organization(name)
            | Self::Space(name)
            | Self::App(name)
            | Self::Domain(Some(name))
            | Self::InternalDomain(name) => f.write_str(name),
            Self::Domain(None) => f.write_str("(default)"),
            Self::Refused(word) => f.write_str(word),
        }
    }
}
