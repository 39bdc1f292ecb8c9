//! Source of the technical user: a destination file, the variable `destinations`, a user-provided
//! service, or the bound Destination service.
//!
//! Invariant: what `find` returns has passed every rule, the host pin included, so its password may
//! be sent to its token URL. Called by `token`, `http` and `app`.

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
mod renewal;
mod report;
mod service_token;
mod settings;
mod setup;
mod source;
mod validate;

pub use error::{DestinationError, DestinationFileError, DestinationSetupError};
pub use model::{CachePolicy, Destination, DestinationName, SourceKind};
pub use settings::{DestinationLevel, Settings};
pub use setup::{DestinationDependencies, DestinationsConfig};

use setup::ConfiguredDestination;
use std::sync::Arc;

/// All configured destinations; a clone is shallow.
#[derive(Clone, Debug)]
pub struct Destinations(Arc<DestinationsInner>);

#[derive(Debug)]
struct DestinationsInner {
    /// The default name is first.
    names: Vec<DestinationName>,
    /// One per name, in the same order.
    entries: Vec<ConfiguredDestination>,
}

impl Destinations {
    /// Decides where each configured destination comes from. Makes no call.
    ///
    /// # Errors
    /// A local source that cannot be read, several user-provided services of one name, an X.509
    /// credential that cannot be used. A missing or invalid destination is not an error here:
    /// `find` returns it.
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
    /// service does not answer and nothing usable is cached. With `Confirmed` and `PastCache` an
    /// error may come although older content is in service; [`Self::known`] returns that content.
    ///
    /// # Cancel safety
    /// Safe: the call to the service runs in its own task.
    pub async fn find(
        &self,
        name: &DestinationName,
        cache_policy: CachePolicy,
    ) -> Result<Arc<Destination>, DestinationError> {
        match self.entry(name) {
            Some(ConfiguredDestination::Fixed(_, outcome)) => outcome.clone(),
            Some(ConfiguredDestination::File(cached)) => cached.find(cache_policy).await,
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
            ConfiguredDestination::Fixed(_, outcome) => outcome.clone().ok(),
            ConfiguredDestination::File(cached) => cached.known(),
            ConfiguredDestination::Service(cached) => cached.known(),
        }
    }

    /// Returns where a destination is read from, also while it is missing or invalid; `None` if no
    /// source holds it and only a restart looks for one.
    pub fn source(&self, name: &DestinationName) -> Option<SourceKind> {
        match self.entry(name)? {
            ConfiguredDestination::Fixed(source, _) => *source,
            ConfiguredDestination::File(_) => Some(SourceKind::File),
            ConfiguredDestination::Service(cached) => {
                let known = cached.known().map(|known| known.source);
                Some(known.unwrap_or(SourceKind::SubaccountLevel))
            }
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
