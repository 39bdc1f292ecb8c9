//! The destination as the source needs it: as known for a refresh, confirmed for a password.
//!
//! Invariant: a password never goes out by content that was not confirmed, unless it has worked before and the service
//! cannot say (destination.md 9). Used by `source`.

use super::{
    error::{Reason, Refusal},
    ports::Ports,
    source::Source,
};
use crate::destination::{CachePolicy, Destination, DestinationError};
use std::{sync::Arc, time::Duration};
use tokio::time::Instant;

/// After new credentials were found, their slot's turn comes at once; the old one's refusal lives no longer than this.
const MOVED_PAUSE: Duration = Duration::from_secs(1);

impl<P: Ports> Source<P> {
    /// Returns the content as it is known, for a grant that cannot lock anybody.
    pub(super) async fn content(&self) -> Result<Arc<Destination>, Refusal> {
        let found = match self.ports.known(&self.name) {
            Some(known) => Ok(known),
            None => self.ports.find(&self.name, CachePolicy::Cached).await,
        };
        let found = found.map_err(|error| self.nowhere(error))?;
        self.ours(found).await
    }

    /// Returns the content confirmed: a stale password would cost a logon attempt (destination.md 9).
    pub(super) async fn confirmed(&self) -> Result<Arc<Destination>, Refusal> {
        match self.ports.find(&self.name, CachePolicy::Confirmed).await {
            Ok(found) => self.ours(found).await,
            Err(error) if error.is_transient() && self.gate.is_proven() => {
                // The service is down: only a credential that has worked may be used.
                let known = self.ports.known(&self.name);
                let known = known.ok_or_else(|| self.nowhere(error))?;
                self.ours(known).await
            }
            Err(error) => Err(self.nowhere(error)),
        }
    }

    async fn ours(&self, found: Arc<Destination>) -> Result<Arc<Destination>, Refusal> {
        if found.fingerprint == self.fingerprint {
            return Ok(found);
        }
        Err(self.moved().await)
    }

    /// Reads the destination past the cache; "unchanged" if that does not work.
    pub(super) async fn has_changed(&self) -> bool {
        let found = self.ports.find(&self.name, CachePolicy::PastCache).await;
        found.is_ok_and(|found| found.fingerprint != self.fingerprint)
    }

    /// Returns whether other credentials are in service by now.
    pub(super) fn is_superseded(&self) -> bool {
        let known = self.ports.known(&self.name);
        known.is_some_and(|known| known.fingerprint != self.fingerprint)
    }

    /// Hands over to the slot of the new credentials.
    pub(super) async fn moved(&self) -> Refusal {
        if let Some(door) = self.door.upgrade() {
            // A failure here shows to the next caller, who looks again.
            drop(door.look(CachePolicy::Cached).await);
        }
        let soon = Instant::now() + MOVED_PAUSE;
        Refusal::new(&self.name, Reason::UaaUnavailable, Some(soon))
    }

    fn nowhere(&self, error: DestinationError) -> Refusal {
        Refusal::of_destination(&self.name, error, Instant::now())
    }
}
