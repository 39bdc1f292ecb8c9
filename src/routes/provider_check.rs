//! A look at the provider entries after the start: does what they name exist?
//!
//! Invariant: it reads only, nothing waits for it, and it ends with the process; what it says in public is one
//! word, names stand in the log. Callers: [`super::TenantRoutes`].

use super::{
    provider::{Apps, Policies, ProviderTerms},
    view::RouteView,
};
use crate::{
    capi::{CapiClient, CapiError, CfRequestClient, Guid, spaces::SpaceRef},
    telemetry::trace::CorrelationId,
};
use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

/// First pause after a CF that cannot be reached; doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_secs(5);
/// Longest pause: an outage of hours costs each instance a dozen calls an hour.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);
/// Longest time for all calls about one entry.
const ENTRY_TIME: Duration = Duration::from_secs(60);

/// How the provider entries stand, as far as is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProviderStatus {
    /// Not all were looked at.
    Unknown,
    /// All that they name is there, or there are none.
    Resolved,
    /// Something that they name is not there, or not visible for the technical user.
    Unresolved,
}

/// Something that an entry names and CF does not show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct MissingResource {
    entry: usize,
    thing: MissingKind,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum MissingKind {
    Organization(String),
    Space(String),
    App(String),
    /// `None`: the organization's default one.
    Domain(Option<String>),
    InternalDomain(String),
    /// CF refuses to tell, by the word of its refusal.
    Refused(&'static str),
}

/// What was found; a clone is shallow.
#[derive(Clone, Debug, Default)]
pub(super) struct ProviderCheck(Arc<Mutex<CheckState>>);

#[derive(Debug, Default)]
struct CheckState {
    done: bool,
    missing: Vec<MissingResource>,
}

impl ProviderCheck {
    /// Returns how the entries stand.
    pub(super) fn status(&self, policies: &Policies) -> ProviderStatus {
        let found = self.found();
        if policies.entries().is_empty() {
            ProviderStatus::Resolved
        } else if !found.missing.is_empty() {
            ProviderStatus::Unresolved
        } else if found.done {
            ProviderStatus::Resolved
        } else {
            ProviderStatus::Unknown
        }
    }

    /// Looks at each entry once, after `delay`, repeating where CF cannot be reached, until `stop`.
    pub(super) async fn run(
        self,
        policies: Policies,
        capi: CapiClient,
        delay: Duration,
        stop: CancellationToken,
    ) {
        let looking = async {
            sleep(delay).await;
            self.look(&policies, &capi).await;
        };
        tokio::select! {
            () = stop.cancelled() => {}
            () = Box::pin(looking) => {}
        }
    }

    /// Forgets the gaps that a route which was made under an entry proves closed.
    pub(super) fn proven(&self, policies: &Policies, terms: &Arc<ProviderTerms>, view: &RouteView) {
        let entry = policies.entries().iter().position(|entry| Arc::ptr_eq(entry, terms));
        let served = |app: &String| view.apps.iter().any(|seen| seen.name.as_ref() == Some(app));
        self.found().missing.retain(|missing| {
            Some(missing.entry) != entry
                || match &missing.thing {
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

    async fn look(&self, policies: &Policies, capi: &CapiClient) {
        let mut open = policies.entries().iter().enumerate().collect::<Vec<_>>();
        let mut pause = FIRST_PAUSE;
        loop {
            let mut later = Vec::new();
            for (entry, terms) in open {
                match one(terms, capi).await {
                    Some(things) => self.found_missing(entry, things),
                    // One technical user that is locked keeps nobody from learning of the other entries.
                    None => later.push((entry, terms)),
                }
            }
            if later.is_empty() {
                break;
            }
            open = later;
            sleep(pause).await;
            pause = pause.saturating_mul(2).min(LONGEST_PAUSE);
        }
        let mut found = self.found();
        found.done = true;
        tracing::info!(
            entries = policies.entries().len(),
            gaps = found.missing.len(),
            "provider entries looked up"
        );
    }

    fn found_missing(&self, entry: usize, things: Vec<MissingKind>) {
        let missing =
            things.into_iter().map(|thing| MissingResource { entry, thing }).collect::<Vec<_>>();
        missing.iter().for_each(MissingResource::tell);
        self.found().missing.extend(missing);
    }

    fn found(&self) -> MutexGuard<'_, CheckState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Looks at one entry; `None` when CF cannot be asked now.
async fn one(terms: &ProviderTerms, capi: &CapiClient) -> Option<Vec<MissingKind>> {
    let deadline = Instant::now() + ENTRY_TIME;
    let cf = capi.for_request(&terms.destination, &CorrelationId::random(), deadline);
    match missing(terms, &cf).await {
        Ok(things) => Some(things),
        // Without a token nothing was asked: the gate decides when there is one.
        Err(error) if error.is_transient() || matches!(error, CapiError::Token(_)) => None,
        Err(error) => Some(vec![MissingKind::Refused(error.word())]),
    }
}

/// Returns what an entry names and CF does not show. What is found is remembered by the client for a while,
/// so that the first subscriptions need not ask again.
async fn missing(
    terms: &ProviderTerms,
    cf: &CfRequestClient,
) -> Result<Vec<MissingKind>, CapiError> {
    let read = cf.space(&terms.space).await?;
    let Some(read) = read else {
        return Ok(vec![unseen(&terms.space, cf).await?]);
    };
    let mut things = Vec::new();
    if let Apps::Listed(apps) = &terms.apps {
        for app in apps {
            let found = cf.app(&read.space.guid, app).await?;
            things.extend(found.is_none().then(|| MissingKind::App(app.clone())));
        }
    }
    let Some(organization) = read.space.organization() else {
        return Ok(things);
    };
    if terms.domains.is_empty() {
        things.extend(without_domain(cf, organization, None).await?);
    }
    for name in &terms.domains {
        things.extend(without_domain(cf, organization, Some(name)).await?);
    }
    Ok(things)
}

/// Tells which of an entry's two names is the unknown one.
async fn unseen(space: &SpaceRef, cf: &CfRequestClient) -> Result<MissingKind, CapiError> {
    Ok(match space {
        SpaceRef::Guid(guid) => MissingKind::Space(guid.to_string()),
        SpaceRef::Named { organization, space } => match cf.organization_named(organization).await?
        {
            None => MissingKind::Organization(organization.clone()),
            Some(_) => MissingKind::Space(space.clone()),
        },
    })
}

async fn without_domain(
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
    /// Writes the line: which key of which entry, which name, what to do. Without its space an entry serves nobody.
    fn tell(&self) {
        let key = format!("providers[{}].{}", self.entry, self.thing.key());
        let (name, hint) = (self.thing.to_string(), self.thing.hint());
        match &self.thing {
            MissingKind::Organization(_) | MissingKind::Space(_) | MissingKind::Refused(_) => {
                tracing::error!(key, name, hint, "a provider entry cannot be served");
            }
            MissingKind::App(_) | MissingKind::Domain(_) | MissingKind::InternalDomain(_) => {
                tracing::warn!(key, name, hint, "a provider entry names what is not there");
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
            Self::InternalDomain(_) => "name another domain: no URL leads to an internal one",
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
