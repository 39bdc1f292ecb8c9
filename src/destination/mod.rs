//! Where the technical user comes from: a destination file, the variable `destinations`, a
//! user-provided service, or the bound Destination service.
//!
//! Invariant: what `find` returns has passed every rule, the pin included, so that its password may
//! be sent where it points. Doors: `token`, `http` (readiness), `cli` (doctor), `app`.

mod address;
mod cache;
mod client;
mod error;
mod fault;
mod local;
pub mod model;
mod origin;
mod parameter;
mod pin;
mod properties;
mod service_lease;
mod service_token;
mod settings;
mod setup;
mod validate;

pub use error::{DestinationError, DestinationFileError, DestinationSetupError};
pub use model::{Destination, DestinationName, SourceKind};
pub use settings::{DestinationLevel, Settings};
pub use setup::{DestinationDependencies, DestinationsConfig};

use cache::CachedDestination;
use client::DestinationClient;
use std::sync::Arc;

/// All configured destinations behind one door; a clone is shallow.
#[derive(Clone, Debug)]
pub struct Destinations(Arc<DestinationsInner>);

#[derive(Debug)]
struct DestinationsInner {
    /// The default first.
    names: Vec<DestinationName>,
    /// One per name, in the same order.
    entries: Vec<ConfiguredDestination>,
}

/// Where one destination comes from; settled at start.
#[derive(Debug)]
enum ConfiguredDestination {
    /// Read once from a local source or a user-provided service.
    Fixed(Result<Arc<Destination>, DestinationError>),
    /// Asked for at the Destination service.
    Service(CachedDestination<DestinationClient>),
}

/// How sure the content must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CachePolicy {
    /// From the cache if there is one; older than the TTL: served, one revalidation in the
    /// background.
    Cached,
    /// Confirmed within the TTL (revalidated first if older): before a password is sent.
    Confirmed,
    /// Past the cache, unconditional GET: after a refusal, on polls, on SIGHUP.
    PastCache,
}

impl Destinations {
    /// Settles where each configured destination comes from. Makes no call.
    ///
    /// # Errors
    /// A local source that cannot be read, several user-provided services of one name, an X.509
    /// credential that cannot be used. A destination that is missing or invalid is no error here:
    /// `find` tells.
    pub fn new(
        config: &DestinationsConfig<'_>,
        deps: &DestinationDependencies,
    ) -> Result<Self, DestinationSetupError> {
        let names = config.settings.all_names();
        let entries = setup::resolve_all(&names, config, deps)?;
        Ok(Self(Arc::new(DestinationsInner { names, entries })))
    }

    /// Finds a destination, as fresh as `cache_policy` asks.
    ///
    /// # Errors
    /// [`DestinationError::Missing`], also for a name that is not configured;
    /// [`DestinationError::Invalid`] with every finding; [`DestinationError::Unavailable`] if the
    /// service cannot say and nothing usable is cached. With `Confirmed` and `PastCache` also while
    /// older content is in service: [`Self::known`] has it.
    ///
    /// # Cancel safety
    /// Safe: the call to the service is a task of its own.
    pub async fn find(
        &self,
        name: &DestinationName,
        cache_policy: CachePolicy,
    ) -> Result<Arc<Destination>, DestinationError> {
        match self.entry(name) {
            Some(ConfiguredDestination::Fixed(outcome)) => outcome.clone(),
            Some(ConfiguredDestination::Service(cached)) => cached.find(cache_policy).await,
            None => Err(DestinationError::Missing {
                name: name.to_string(),
                tried: "destination.name and destination.names".to_owned(),
            }),
        }
    }

    /// Returns the names that may be used; the first is the default.
    pub fn names(&self) -> &[DestinationName] {
        &self.0.names
    }

    /// Returns the content in service without any call; it may be unconfirmed for up to 24 h.
    pub fn known(&self, name: &DestinationName) -> Option<Arc<Destination>> {
        match self.entry(name)? {
            ConfiguredDestination::Fixed(outcome) => outcome.clone().ok(),
            ConfiguredDestination::Service(cached) => cached.known(),
        }
    }

    fn entry(&self, name: &DestinationName) -> Option<&ConfiguredDestination> {
        let index = self.0.names.iter().position(|configured| configured == name)?;
        self.0.entries.get(index)
    }
}

#[cfg(test)]
mod test_credential;
#[cfg(test)]
mod tests;
