//! The port between the key cache and the wire, so that tests own time and refusals.
//!
//! Invariant: a source fetches and judges nothing; when to fetch is the cache's affair. For [`key_cache`](super::key_cache) and the
//! endpoints behind it.

use super::cached_key_set::Fetched;
use http::HeaderValue;
use std::{error::Error, time::Duration};

/// Where keys come from.
pub(super) trait KeySource: Send + Sync + 'static {
    /// Why a fetch failed; its text goes to the log.
    type Fault: Error + Send;

    /// Fetches the key set, or learns that the one with this `ETag` is still the current one.
    fn fetch(
        &self,
        etag: Option<HeaderValue>,
    ) -> impl Future<Output = Result<Fetched, Self::Fault>> + Send;

    /// Whether callers may depend on these keys, or only a token that anybody could have written
    /// asked for them.
    fn is_needed(&self) -> bool {
        true
    }
}

/// Why there is no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum KeyError {
    /// The issuer does not know this `kid`.
    Unknown,
    /// The issuer does not answer, so nobody can say.
    Unavailable {
        /// When the next fetch may be made, at least.
        retry_after: Duration,
    },
}
