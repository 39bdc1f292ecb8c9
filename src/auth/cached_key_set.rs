//! A key set in use and how long it may be trusted (`callers.md` 5).
//!
//! Invariant: a set never changes; what a fetch brings is a new one. Pure. For
//! [`key_cache`](super::key_cache) only.

use super::jwks::{KeySet, RsaKey};
use http::HeaderValue;
use std::{sync::Arc, time::Duration};
use tokio::time::Instant;

/// From this age on keys are revalidated while they are still served: a third of the fresh time is
/// left for it.
const REFRESH_AGE: Duration = Duration::from_secs(10 * 60);

/// Until this age keys are served without a question; pysec and SAP's libraries choose 10 to 30
/// min.
const FRESH_AGE: Duration = Duration::from_secs(15 * 60);

/// Until this age keys are served while the issuer does not answer: as long as XSUAA keeps an old
/// key valid.
const OUTAGE_AGE: Duration = Duration::from_secs(2 * 60 * 60);

/// What a fetch brought.
pub(super) enum Fetched {
    /// The set that was asked about is unchanged.
    Unchanged,
    /// The current set.
    Keys {
        /// The usable keys.
        keys: KeySet,
        /// As received: XSUAA's is a bare number without quotes, which only goes back verbatim.
        etag: Option<HeaderValue>,
    },
}

/// A key, and the generation of the set that it is in.
pub(super) struct FoundKey {
    /// The key.
    pub(super) key: Arc<RsaKey>,
    /// Changes with every change of the set.
    pub(super) generation: u64,
}

/// The last set, and since when it is known to be current.
pub(super) struct CachedKeySet {
    keys: Arc<KeySet>,
    etag: Option<HeaderValue>,
    confirmed_at: Instant,
    generation: u64,
}

/// How far a held set may be trusted.
pub(super) enum Age {
    /// Served without a question.
    Fresh,
    /// Served while it is revalidated.
    Ageing,
    /// Served only if revalidating fails.
    Stale,
    /// Not served.
    Expired,
}

impl CachedKeySet {
    /// The set after a successful fetch; the first one has the generation `first_generation`. An equal set keeps
    /// its generation, so that decisions made with it stay.
    pub(super) fn after(
        previous: Option<&Self>,
        fetched: Fetched,
        first_generation: u64,
        now: Instant,
    ) -> Self {
        let (keys, etag) = match (fetched, previous) {
            (Fetched::Keys { keys, etag }, _) => (Arc::new(keys), etag),
            (Fetched::Unchanged, Some(previous)) => {
                (Arc::clone(&previous.keys), previous.etag.clone())
            }
            (Fetched::Unchanged, None) => (Arc::default(), None),
        };
        let generation = match previous {
            Some(previous) if previous.keys == keys => previous.generation,
            Some(previous) => previous.generation + 1,
            None => first_generation,
        };
        Self { keys, etag, confirmed_at: now, generation }
    }

    /// How old the set is, since it was last confirmed.
    pub(super) fn age(&self, now: Instant) -> Age {
        let age = now.saturating_duration_since(self.confirmed_at);
        if age < REFRESH_AGE {
            Age::Fresh
        } else if age < FRESH_AGE {
            Age::Ageing
        } else if age < OUTAGE_AGE {
            Age::Stale
        } else {
            Age::Expired
        }
    }

    /// Whether the set may be served at all.
    pub(super) fn is_usable(&self, now: Instant) -> bool {
        !matches!(self.age(now), Age::Expired)
    }

    /// The key of exactly this name.
    pub(super) fn find(&self, kid: &str) -> Option<FoundKey> {
        let key = Arc::clone(self.keys.find(kid)?);
        Some(FoundKey { key, generation: self.generation })
    }

    /// The `ETag` to revalidate with.
    pub(super) fn etag(&self) -> Option<HeaderValue> {
        self.etag.clone()
    }

    /// Changes with every change of the keys.
    pub(super) fn generation(&self) -> u64 {
        self.generation
    }

    /// How many keys are usable.
    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }
}
