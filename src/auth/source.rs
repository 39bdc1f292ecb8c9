//! The interface between the key cache and the HTTP call. Tests replace it to control time and
//! failures.
//!
//! Invariant: a source fetches and reads the answer. The cache decides when to fetch. For
//! [`key_cache`](super::key_cache) and its endpoints.

use super::cached_key_set::Fetched;
use crate::upstream::ConnectFault;
use http::HeaderValue;
use std::{error::Error, time::Duration};
use tokio::time::Instant;

/// Time for the repeats of one fetch. Callers wait for it, and have 55 s for everything.
pub(super) const RETRY_TIME: Duration = Duration::from_secs(10);

/// Fetches a key set.
pub(super) trait KeySource: Send + Sync + 'static {
    /// Why a fetch failed; its text goes to the log.
    type Fault: Error + Send;

    /// Fetches the key set, or finds out that the one with this `ETag` is still current. Repeats
    /// by the retry table, but begins no wait that ends after `retry_until`.
    fn fetch(
        &self,
        etag: Option<HeaderValue>,
        retry_until: Instant,
    ) -> impl Future<Output = Result<Fetched, Self::Fault>> + Send;

    /// The pause that the issuer asked for.
    fn asked_pause(_fault: &Self::Fault) -> Option<Duration> {
        None
    }

    /// Why no connection was made; `None` if one was made.
    fn connect_fault(_fault: &Self::Fault) -> Option<ConnectFault> {
        None
    }

    /// Whether callers may depend on these keys. `false` if only an unverified token, which anyone
    /// can write, has asked for them.
    fn is_needed(&self) -> bool {
        true
    }
}

/// Why there is no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum KeyError {
    /// The issuer does not know this `kid`.
    Unknown,
    /// The issuer does not answer, so the key may exist.
    Unavailable {
        /// Time until the next fetch is allowed, at least.
        retry_after: Duration,
        /// Why there is no connection, if there is none.
        cause: Option<ConnectFault>,
    },
    /// The last fetch was before the question and too recent for another one. The key may exist.
    Undecided {
        /// Time until the next fetch is allowed, at least.
        retry_after: Duration,
    },
}
