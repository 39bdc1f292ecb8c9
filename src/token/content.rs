//! The destination content for a grant: as known for a refresh, confirmed for a password.
//!
//! Invariant: a password is sent only with confirmed content. The one exception: the Destination
//! service is unavailable and this credential has worked before. Used by `provider`.

use super::{
    backend::Backend,
    error::{LeaseRefusal, Reason, UaaOutage},
    provider::UaaTokenProvider,
};
use crate::destination::{CachePolicy, Destination, DestinationError};
use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};
use tokio::time::Instant;

/// When new credentials were found, their refresher is next at once. The refusal of the old one
/// lives no longer than this.
const HAND_OVER_PAUSE: Duration = Duration::from_secs(1);

impl<B: Backend> UaaTokenProvider<B> {
    /// Returns the content as it is known, for a grant that cannot lock a user.
    pub(super) async fn content(&self) -> Result<Arc<Destination>, LeaseRefusal> {
        let found = match self.backend.known(&self.name) {
            Some(known) => Ok(known),
            None => self.find(CachePolicy::Cached).await,
        };
        let found = found.map_err(|error| self.no_destination(error))?;
        self.require_same_credentials(found).await
    }

    /// Returns the confirmed content: a stale password would cost a failed logon.
    pub(super) async fn confirmed(&self) -> Result<Arc<Destination>, LeaseRefusal> {
        match self.find(CachePolicy::Confirmed).await {
            Ok(found) => self.require_same_credentials(found).await,
            Err(error) if error.tells_nothing() && self.guard.is_proven() => {
                // The service cannot be asked: only a credential that has worked may be used.
                let known = self.backend.known(&self.name);
                let known = known.ok_or_else(|| self.no_destination(error))?;
                self.require_same_credentials(known).await
            }
            Err(error) => Err(self.no_destination(error)),
        }
    }

    async fn find(&self, wanted: CachePolicy) -> Result<Arc<Destination>, DestinationError> {
        self.is_reading.store(true, Ordering::Relaxed);
        let found = self.backend.find(&self.name, wanted).await;
        self.is_reading.store(false, Ordering::Relaxed);
        found
    }

    async fn require_same_credentials(
        &self,
        found: Arc<Destination>,
    ) -> Result<Arc<Destination>, LeaseRefusal> {
        if found.fingerprint == self.fingerprint {
            return Ok(found);
        }
        Err(self.hand_over().await)
    }

    /// Reads the destination past the cache. A failed read counts as "unchanged".
    pub(super) async fn has_changed(&self) -> bool {
        let found = self.find(CachePolicy::PastCache).await;
        found.is_ok_and(|found| found.fingerprint != self.fingerprint)
    }

    /// Returns whether other credentials are in service by now.
    pub(super) fn is_superseded(&self) -> bool {
        let known = self.backend.known(&self.name);
        known.is_some_and(|known| known.fingerprint != self.fingerprint)
    }

    /// Puts the refresher of the new credentials in service. Returns the refusal of this one.
    pub(super) async fn hand_over(&self) -> LeaseRefusal {
        if let Some(entry) = self.entry.upgrade() {
            // The next caller reads again and gets the error.
            drop(entry.read_destination(CachePolicy::Cached).await);
        }
        let soon = Instant::now() + HAND_OVER_PAUSE;
        LeaseRefusal::new(&self.name, Reason::UaaUnavailable(UaaOutage::Changing), Some(soon))
    }

    fn no_destination(&self, error: DestinationError) -> LeaseRefusal {
        LeaseRefusal::of_destination(&self.name, error, Instant::now())
    }
}
