//! Cache of one destination of the Destination service or of a file.
//!
//! Invariant: a caller that can be served never waits for a revalidation; there is one read at a
//! time. `renewal` decides what an answer does to the content. Used by `Destinations`.

use super::{
    error::DestinationError,
    model::{CachePolicy, Destination, DestinationName},
    renewal::DestinationRenewal,
    source::{Content, DestinationSource},
};
use crate::upstream::refresh::{Refreshed, RenewalFailure};
use std::{fmt, sync::Arc};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

/// One destination of the service; a clone is shallow.
pub(super) struct CachedDestination<S: DestinationSource>(Refreshed<DestinationRenewal<S>>);

type FindResult = Result<Arc<Destination>, DestinationError>;

impl<S: DestinationSource> CachedDestination<S> {
    /// Starts empty; makes no call.
    pub(super) fn new(renewal: DestinationRenewal<S>, tasks: TaskTracker) -> Self {
        Self(Refreshed::new(renewal, tasks))
    }

    /// Applies content that was read before the first find.
    pub(super) fn prime(&self, content: &Content) {
        self.0.prime(self.0.renewer().first_content(content));
    }

    /// Finds the destination, as fresh as `cache_policy` asks.
    ///
    /// # Errors
    /// Missing, invalid, or the service is unavailable and nothing usable is cached.
    ///
    /// # Cancel safety
    /// The fetch runs in its own task: a caller that goes away neither stops nor repeats it.
    pub(super) async fn find(&self, cache_policy: CachePolicy) -> FindResult {
        let found = match cache_policy {
            CachePolicy::Cached => self.0.get().await,
            CachePolicy::Confirmed => {
                let last = self.0.latest();
                match last.as_ref().filter(|content| content.age() <= S::SOFT_TTL) {
                    Some(content) => Ok(Arc::clone(content)),
                    None => self.0.renew(last.as_ref()).await,
                }
            }
            CachePolicy::PastCache => self.0.force().await,
        };
        found.map(|content| Arc::clone(&content.destination)).map_err(error_of)
    }

    /// Returns the cached content without any call.
    pub(super) fn known(&self) -> Option<Arc<Destination>> {
        let content = self.0.usable(Instant::now())?;
        Some(Arc::clone(&content.destination))
    }

    fn name(&self) -> &DestinationName {
        self.0.renewer().name()
    }
}

/// Tells the caller how long the pause still lasts.
fn error_of(failure: RenewalFailure<DestinationError>) -> DestinationError {
    let left = failure.retry_at.saturating_duration_since(Instant::now());
    let mut error = failure.error;
    if let DestinationError::Unavailable { retry_after, .. } = &mut error
        && !left.is_zero()
    {
        *retry_after = left;
    }
    error
}

impl<S: DestinationSource> Clone for CachedDestination<S> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<S: DestinationSource> fmt::Debug for CachedDestination<S> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_tuple("CachedDestination").field(self.name()).finish()
    }
}

#[cfg(test)]
mod tests;
