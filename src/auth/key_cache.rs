//! The keys of one XSUAA zone or of one IAS tenant and client. They are refreshed in the background
//! and kept through an outage; the ages are in [`cached_key_set`](super::cached_key_set).
//!
//! Invariant: at most one fetch is under way, and none during the pause after a failed one. A
//! caller that goes away never cancels a fetch. There is no timer: an idle broker makes no call.
//! For the issuers of this module.

use super::{
    cached_key_set::{Age, CachedKeySet, Fetched, FoundKey},
    fetch_schedule::{FailedFetch, FetchDecision, FetchSchedule, PendingFetch},
    source::{KeyError, KeySource},
};
use crate::telemetry::metrics::Metrics;
use arc_swap::ArcSwapOption;
use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{sync::watch, time::Instant};
use tokio_util::task::TaskTracker;

/// Time for the repeats of one fetch. Callers wait for it, and have 55 s for everything.
const RETRY_TIME: Duration = Duration::from_secs(10);

/// The cache of one address; a clone is shallow.
pub(super) struct KeyCache<S> {
    inner: Arc<KeyCacheInner<S>>,
}

struct KeyCacheInner<S> {
    source: S,
    cached: ArcSwapOption<CachedKeySet>,
    schedule: Mutex<FetchSchedule>,
    /// The generation of the first set.
    first_generation: u64,
    tasks: TaskTracker,
    metrics: Metrics,
}

impl<S> Clone for KeyCache<S> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner) }
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
        let inner = KeyCacheInner {
            source,
            cached: ArcSwapOption::empty(),
            schedule: Mutex::new(FetchSchedule::default()),
            first_generation,
            tasks,
            metrics,
        };
        Self { inner: Arc::new(inner) }
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
        let before = self.inner.cached.load_full();
        if before.as_ref().and_then(|cached| cached.find_without_fetch(kid, now)).is_none() {
            self.inner.schedule().note_missing(kid, now);
        }
        let cached = self.current(before.as_ref()).await?;
        match cached.find(kid) {
            Some(found) => Ok(found),
            None => self.refetch(kid).await,
        }
    }

    /// Returns the key with exactly this `kid` from the cached set, if it is usable. Never fetches.
    pub(super) fn peek(&self, kid: &str) -> Option<FoundKey> {
        let cached = self.inner.cached.load();
        cached.as_ref().filter(|cached| cached.is_usable(Instant::now()))?.find(kid)
    }

    /// Returns the generation of the usable set; `None` without one.
    pub(super) fn generation(&self) -> Option<u64> {
        let cached = self.inner.cached.load();
        cached
            .as_ref()
            .filter(|cached| cached.is_usable(Instant::now()))
            .map(|cached| cached.generation())
    }

    /// Returns a usable set, fetched or revalidated as its age requires.
    async fn current(
        &self,
        cached: Option<&Arc<CachedKeySet>>,
    ) -> Result<Arc<CachedKeySet>, KeyError> {
        let now = Instant::now();
        let age = cached.map_or(Age::Expired, |cached| cached.age(now));
        let pending = match age {
            Age::Fresh => None,
            Age::Ageing => {
                self.join_or_begin(now);
                None
            }
            // The first call after an idle time waits. During a known outage no call waits.
            Age::Stale if self.inner.schedule().is_failing() => {
                self.join_or_begin(now);
                None
            }
            Age::Stale | Age::Expired => self.join_or_begin(now),
        };
        if let Some(pending) = pending {
            pending.finished().await;
        }
        let now = Instant::now();
        let cached = self.inner.cached.load_full().filter(|cached| cached.is_usable(now));
        cached.ok_or_else(|| self.inner.schedule().unavailable(now))
    }

    /// Fetches for a `kid` that the cached set does not have: the issuer may have a new key. A
    /// fetch that was under way before may have been answered earlier, so it does not decide.
    async fn refetch(&self, kid: &str) -> Result<FoundKey, KeyError> {
        loop {
            let decision = self.inner.schedule().decide_missing(kid, Instant::now());
            let pending = match decision {
                FetchDecision::Refuse(error) => return Err(error),
                FetchDecision::Join(pending) => pending,
                FetchDecision::Fetch(done) => self.spawn_fetch(done),
            };
            pending.finished().await;
            if let Some(found) = self.peek(kid) {
                return Ok(found);
            }
        }
    }

    /// Joins the fetch that is under way, or starts one; `None` during a pause.
    fn join_or_begin(&self, now: Instant) -> Option<PendingFetch> {
        let decision = self.inner.schedule().join_or_begin(now)?;
        match decision {
            FetchDecision::Join(pending) => Some(pending),
            FetchDecision::Fetch(done) => Some(self.spawn_fetch(done)),
            FetchDecision::Refuse(_) => None,
        }
    }

    /// Starts the fetch in its own task.
    fn spawn_fetch(&self, done: watch::Sender<()>) -> PendingFetch {
        let pending = PendingFetch::until_dropped(&done);
        let inner = Arc::clone(&self.inner);
        self.inner.tasks.spawn(async move {
            inner.fetch().await;
            drop(done);
        });
        pending
    }
}

impl<S: KeySource> KeyCacheInner<S> {
    /// One fetch, from the request to the recorded outcome.
    async fn fetch(&self) {
        let cached = self.cached.load_full();
        let etag = cached.as_ref().and_then(|cached| cached.etag());
        let fetched = self.source.fetch(etag, self.retry_until(cached.as_deref())).await;
        let has_keys = cached.as_ref().is_some_and(|cached| cached.has_usable_keys(Instant::now()));
        match fetched {
            // One such answer must not end keys that are in use.
            Ok(Fetched::NoKeys) if has_keys && !self.schedule().record_denial(Instant::now()) => {
                self.record_failure(cached.as_deref(), &"no keys", FailedFetch::default());
            }
            Ok(fetched) => self.store(cached.as_deref(), fetched),
            Err(fault) => {
                let failed = FailedFetch {
                    asked_pause: S::asked_pause(&fault),
                    cause: S::connect_fault(&fault),
                };
                self.record_failure(cached.as_deref(), &fault, failed);
            }
        }
    }

    /// Until when a fetch may be repeated. Not at all while the last one has failed: then the
    /// pauses of the schedule count. Nor for an issuer that only an unverified token has named.
    fn retry_until(&self, cached: Option<&CachedKeySet>) -> Instant {
        let now = Instant::now();
        if self.schedule().is_failing() || !(cached.is_some() || self.source.is_needed()) {
            return now;
        }
        now + RETRY_TIME
    }

    fn store(&self, cached: Option<&CachedKeySet>, fetched: Fetched) {
        let now = Instant::now();
        let next = CachedKeySet::after(cached, fetched, self.first_generation, now);
        let is_changed = cached.is_none_or(|cached| cached.generation() != next.generation());
        if is_changed {
            tracing::info!(keys = next.len(), "caller keys changed");
        }
        self.metrics.jwks_fetched(if is_changed { "changed" } else { "unchanged" });
        let next = Arc::new(next);
        self.cached.store(Some(Arc::clone(&next)));
        let mut schedule = self.schedule();
        for kid in cached.into_iter().flat_map(|cached| cached.withdrawn_in(&next)) {
            schedule.note_withdrawn(kid, now);
        }
        schedule.record_success(now, |kid| next.find(kid).is_some());
    }

    fn record_failure(
        &self,
        cached: Option<&CachedKeySet>,
        fault: &dyn fmt::Display,
        failed: FailedFetch,
    ) {
        let now = Instant::now();
        self.schedule().record_failure(now, failed);
        self.metrics.jwks_fetched("error");
        if cached.is_some_and(|cached| cached.is_usable(now)) {
            tracing::warn!(error = %fault, "caller keys not fetched, the old ones stay in use");
        } else if !self.source.is_needed() {
            tracing::warn!(error = %fault, "caller keys not fetched, an unverified token is not checked");
        } else {
            tracing::error!(error = %fault, "caller keys not fetched, no caller can be verified");
        }
    }

    /// Locks the schedule. The lock is never held across an await. A panic elsewhere leaves the
    /// schedule consistent enough to continue.
    fn schedule(&self) -> MutexGuard<'_, FetchSchedule> {
        self.schedule.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
