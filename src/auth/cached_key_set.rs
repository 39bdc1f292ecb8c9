//! A fetched key set, and how long it may be used.
//!
//! Invariant: a set never changes; each fetch makes a new one. Pure. For
//! [`key_cache`](super::key_cache) only.

use super::jwks::{KeySet, RsaKey};
use crate::upstream::refresh::ValueAge;
use http::HeaderValue;
use std::{sync::Arc, time::Duration};
use tokio::time::Instant;

/// From this age on a set is refreshed in the background while it is still served. A third of
/// [`FRESH_AGE`] is left for that.
const REFRESH_AGE: Duration = Duration::from_secs(10 * 60);

/// Until this age a set is served without waiting. pysec and SAP's libraries choose 10 to 30 min.
const FRESH_AGE: Duration = Duration::from_secs(15 * 60);

/// Until this age a set is served while the issuer does not answer. XSUAA keeps an old key valid
/// for as long.
const OUTAGE_AGE: Duration = Duration::from_secs(2 * 60 * 60);

/// The result of a fetch.
pub(super) enum Fetched {
    /// The set with the `ETag` that was sent is still the current one.
    Unchanged,
    /// The issuer answers that it has no keys for this address.
    NoKeys,
    /// The current set.
    Keys {
        /// The usable keys.
        keys: KeySet,
        /// As received. XSUAA's is a bare number without quotes and must be sent back unchanged.
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

/// The last set, and when it was last confirmed to be current.
pub(super) struct CachedKeySet {
    keys: Arc<KeySet>,
    etag: Option<HeaderValue>,
    confirmed_at: Instant,
    generation: u64,
}

impl CachedKeySet {
    /// The set after a successful fetch. The first one has the generation `first_generation`. An
    /// equal set keeps its generation, so that verified tokens stay valid.
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
            (Fetched::Unchanged, None) | (Fetched::NoKeys, _) => (Arc::default(), None),
        };
        let generation = match previous {
            Some(previous) if previous.keys == keys => previous.generation,
            Some(previous) => previous.generation + 1,
            None => first_generation,
        };
        Self { keys, etag, confirmed_at: now, generation }
    }

    /// How the set may be used, by the time since it was last confirmed.
    pub(super) fn age(&self, now: Instant) -> ValueAge {
        let age = now.saturating_duration_since(self.confirmed_at);
        if age < REFRESH_AGE {
            ValueAge::Fresh
        } else if age < FRESH_AGE {
            ValueAge::Ageing
        } else if age < OUTAGE_AGE {
            ValueAge::Stale
        } else {
            ValueAge::Expired
        }
    }

    /// Whether the set may be served at all.
    pub(super) fn is_usable(&self, now: Instant) -> bool {
        self.age(now) != ValueAge::Expired
    }

    /// Whether it has keys that may be served.
    pub(super) fn has_usable_keys(&self, now: Instant) -> bool {
        self.len() > 0 && self.is_usable(now)
    }

    /// Returns the key with exactly this `kid`.
    pub(super) fn find(&self, kid: &str) -> Option<FoundKey> {
        let key = Arc::clone(self.keys.find(kid)?);
        Some(FoundKey { key, generation: self.generation })
    }

    /// As [`CachedKeySet::find`], if the set is young enough to be served without a fetch.
    pub(super) fn find_without_fetch(&self, kid: &str, now: Instant) -> Option<FoundKey> {
        match self.age(now) {
            ValueAge::Fresh | ValueAge::Ageing => self.find(kid),
            ValueAge::Stale | ValueAge::Expired => None,
        }
    }

    /// The names of keys that this set has and `next` has not.
    pub(super) fn withdrawn_in(&self, next: &Self) -> impl Iterator<Item = &str> {
        self.keys.names().filter(|name| next.keys.find(name).is_none())
    }

    /// The `ETag` for the next fetch.
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
