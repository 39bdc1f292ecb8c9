//! The keys of one XSUAA zone or of one IAS tenant and client. They are refreshed in the background
//! and kept through an outage; the ages are in [`cached_key_set`](super::cached_key_set).
//!
//! Invariant: at most one fetch is under way, and none during the pause after a failed one. A
//! caller that goes away never cancels a fetch. There is no timer: an idle broker makes no call.
//! For the issuers of this module.

use super::{
    cached_key_set::{CachedKeySet, Fetched, FoundKey},
    missing_keys::{MissingKeys, MissingKidStep},
    source::{KeyError, KeySource, RETRY_TIME},
};
use crate::{
    telemetry::metrics::Metrics,
    upstream::{
        ConnectFault,
        refresh::{Refreshed, Renew, RenewalAttempt, RenewalFailure, RenewalResult, ValueAge},
        retry::Backoff,
    },
};
use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

/// Shortest pause after a failed fetch: at most one fetch per second.
const SHORTEST_PAUSE: Duration = Duration::from_secs(1);

/// Pauses after failed fetches. The longest one bounds how long callers are still refused after the
/// issuer is back.
const PAUSES: Backoff = Backoff::doubling(SHORTEST_PAUSE, Duration::from_secs(16));

/// A single answer "no keys" may be a mistake of the issuer. After this time it is believed.
const DENIAL_TIME: Duration = Duration::from_secs(60);

/// The cache of one address; a clone is shallow.
pub(super) struct KeyCache<S: KeySource>(Refreshed<KeyFetcher<S>>);

/// Fetches the key set of one address.
struct KeyFetcher<S> {
    source: S,
    /// The generation of the first set.
    first_generation: u64,
    missing: Mutex<MissingKeys>,
    metrics: Metrics,
}

/// A failed fetch.
#[derive(Clone, Copy, Debug, Default)]
struct FetchFailure {
    /// Why no connection was made; `None` if one was made.
    cause: Option<ConnectFault>,
    /// Since when the issuer answers that it has no keys, although some are in use.
    denied_since: Option<Instant>,
}

impl<S: KeySource> Clone for KeyCache<S> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<S: KeySource> KeyCache<S> {
    /// Makes an empty cache. The first lookup fetches.
    pub(super) fn new(source: S, tasks: TaskTracker, metrics: Metrics) -> Self {
        Self::with_first_generation(0, source, tasks, metrics)
    }

    /// As [`KeyCache::new`], but generations count from `first_generation`. A cache that is made
    /// again must not repeat the generations of the one that was dropped.
    pub(super) fn with_first_generation(
        first_generation: u64,
        source: S,
        tasks: TaskTracker,
        metrics: Metrics,
    ) -> Self {
        let missing = Mutex::default();
        let fetcher = KeyFetcher { source, first_generation, missing, metrics };
        Self(Refreshed::new(fetcher, tasks))
    }

    /// Returns the key with exactly this `kid`. Fetches if the cached set does not have it or is
    /// too old.
    ///
    /// # Errors
    /// [`KeyError`].
    ///
    /// # Cancel safety
    /// A fetch that has begun goes on without the caller.
    pub(super) async fn key(&self, kid: &str) -> Result<FoundKey, KeyError> {
        let now = Instant::now();
        let before = self.0.latest();
        if before.and_then(|cached| cached.find_without_fetch(kid, now)).is_none() {
            self.missing().note(kid, now);
        }
        let cached = self.0.get().await.map_err(|failure| unavailable(&failure))?;
        match cached.find(kid) {
            Some(found) => Ok(found),
            None => self.refetch(kid, cached).await,
        }
    }

    /// Returns the key with exactly this `kid` from the cached set, if it is usable. Never fetches.
    pub(super) fn peek(&self, kid: &str) -> Option<FoundKey> {
        self.0.usable(Instant::now())?.find(kid)
    }

    /// Returns the generation of the usable set; `None` without one.
    pub(super) fn generation(&self) -> Option<u64> {
        self.0.usable(Instant::now()).map(|cached| cached.generation())
    }

    /// Fetches for a `kid` that `cached` does not have: the issuer may have a new key. A fetch that
    /// was under way before may have been answered earlier, so it does not decide.
    async fn refetch(
        &self,
        kid: &str,
        mut cached: Arc<CachedKeySet>,
    ) -> Result<FoundKey, KeyError> {
        loop {
            let step = self.missing().decide(kid, Instant::now());
            match step {
                MissingKidStep::Fetch => {}
                MissingKidStep::WaitUntil(until) => {
                    // The fetch that has begun the cooldown may not have landed yet.
                    self.0.join().await;
                    let undecided = || KeyError::Undecided { retry_after: rest(until) };
                    return self.peek(kid).ok_or_else(undecided);
                }
                MissingKidStep::Unknown => return Err(KeyError::Unknown),
            }
            let fetched = self.0.renew(Some(&cached)).await;
            if let Some(found) = self.peek(kid) {
                return Ok(found);
            }
            cached = fetched.map_err(|failure| unavailable(&failure))?;
        }
    }

    fn missing(&self) -> MutexGuard<'_, MissingKeys> {
        self.0.renewer().missing()
    }
}

/// The error while the keys cannot be fetched.
fn unavailable(failure: &RenewalFailure<FetchFailure>) -> KeyError {
    KeyError::Unavailable { retry_after: rest(failure.retry_at), cause: failure.error.cause }
}

/// The time until `until`, at least the shortest pause.
fn rest(until: Instant) -> Duration {
    until.saturating_duration_since(Instant::now()).max(SHORTEST_PAUSE)
}

impl<S: KeySource> Renew for KeyFetcher<S> {
    type Value = CachedKeySet;
    type Error = FetchFailure;

    async fn renew(
        &self,
        attempt: RenewalAttempt<Self>,
    ) -> RenewalResult<CachedKeySet, FetchFailure> {
        let fetch = self.missing().begin(Instant::now());
        let cached = attempt.previous.as_deref();
        let etag = cached.and_then(CachedKeySet::etag);
        let fetched = self.source.fetch(etag, self.retry_until(&attempt)).await;
        let now = Instant::now();
        let has_keys = cached.is_some_and(|cached| cached.has_usable_keys(now));
        let denied_since = attempt.last_error.and_then(|last| last.denied_since);
        let denied_first = denied_since.unwrap_or(now);
        match fetched {
            // One such answer must not end keys that are in use.
            Ok(Fetched::NoKeys) if has_keys && now < denied_first + DENIAL_TIME => {
                let failure = FetchFailure { cause: None, denied_since: Some(denied_first) };
                Err(self.failed(&attempt, &"no keys", Duration::ZERO, failure))
            }
            Ok(fetched) => {
                let next = self.next_set(cached, fetched);
                let withdrawn = cached.into_iter().flat_map(|cached| cached.withdrawn_in(&next));
                self.missing().end(&fetch, withdrawn, |kid| next.find(kid).is_some());
                Ok(next)
            }
            Err(fault) => {
                let asked_pause = S::asked_pause(&fault).unwrap_or_default();
                let failure = FetchFailure { cause: S::connect_fault(&fault), denied_since };
                Err(self.failed(&attempt, &fault, asked_pause, failure))
            }
        }
    }

    fn age(&self, cached: &CachedKeySet, now: Instant) -> ValueAge {
        cached.age(now)
    }

    fn broken_off(&self, now: Instant) -> RenewalFailure<FetchFailure> {
        RenewalFailure::new(FetchFailure::default(), now + SHORTEST_PAUSE)
    }

    fn log_panic(&self) {
        tracing::error!("fetch of caller keys panicked");
    }
}

impl<S: KeySource> KeyFetcher<S> {
    /// Until when a fetch may be repeated. Not at all while the last one has failed: then the
    /// pauses count. Nor for an issuer that only an unverified token has named.
    fn retry_until(&self, attempt: &RenewalAttempt<Self>) -> Instant {
        let now = Instant::now();
        let is_needed = attempt.previous.is_some() || self.source.is_needed();
        if attempt.failures == 0 && is_needed { now + RETRY_TIME } else { now }
    }

    fn next_set(&self, cached: Option<&CachedKeySet>, fetched: Fetched) -> CachedKeySet {
        let next = CachedKeySet::after(cached, fetched, self.first_generation, Instant::now());
        let is_changed = cached.is_none_or(|cached| cached.generation() != next.generation());
        if is_changed {
            tracing::info!(keys = next.len(), "caller keys changed");
        }
        self.metrics.jwks_fetched(if is_changed { "changed" } else { "unchanged" });
        next
    }

    /// Logs a failed fetch. The pause is not shorter than the issuer asked for.
    fn failed(
        &self,
        attempt: &RenewalAttempt<Self>,
        fault: &dyn fmt::Display,
        asked_pause: Duration,
        failure: FetchFailure,
    ) -> RenewalFailure<FetchFailure> {
        let now = Instant::now();
        self.metrics.jwks_fetched("error");
        if attempt.previous.as_ref().is_some_and(|cached| cached.is_usable(now)) {
            tracing::warn!(error = %fault, "caller keys not fetched, the old ones stay in use");
        } else if !self.source.is_needed() {
            tracing::warn!(error = %fault, "caller keys not fetched, an unverified token is not checked");
        } else {
            tracing::error!(error = %fault, "caller keys not fetched, no caller can be verified");
        }
        RenewalFailure::new(failure, now + PAUSES.wait(attempt.failures).max(asked_pause))
    }

    /// Locks the missing key ids. The lock is never held across an await.
    fn missing(&self) -> MutexGuard<'_, MissingKeys> {
        self.missing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
