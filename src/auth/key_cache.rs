//! The keys of one issuer's zone or tenant: fresh, revalidated in the background, kept through an outage
//! (`callers.md` 5).
//!
//! Invariant: at most one fetch is under way, and after a failed one none before its back-off ends.
//! A caller that goes away never cancels a fetch. No timer: an idle broker makes no call. For the
//! issuers of this room.

use super::{
    cached_key_set::{Age, CachedKeySet, Fetched, FoundKey},
    fetch_schedule::{FetchDecision, FetchSchedule, PendingFetch},
    source::{KeyError, KeySource},
};
use crate::telemetry::metrics::Metrics;
use arc_swap::ArcSwapOption;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::{sync::watch, time::Instant};
use tokio_util::task::TaskTracker;

/// The cache of one address; a clone is shallow.
pub(super) struct KeyCache<S> {
    inner: Arc<KeyCacheInner<S>>,
}

struct KeyCacheInner<S> {
    source: S,
    held: ArcSwapOption<CachedKeySet>,
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
    /// Makes an empty cache; the first question fetches.
    pub(super) fn new(source: S, tasks: TaskTracker, metrics: Metrics) -> Self {
        Self::with_first_generation(0, source, tasks, metrics)
    }

    /// As [`KeyCache::new`]; generations count from `first_generation`, so that those of a cache that was
    /// dropped do not come again.
    pub(super) fn with_first_generation(
        first_generation: u64,
        source: S,
        tasks: TaskTracker,
        metrics: Metrics,
    ) -> Self {
        let inner = KeyCacheInner {
            source,
            held: ArcSwapOption::empty(),
            schedule: Mutex::new(FetchSchedule::default()),
            first_generation,
            tasks,
            metrics,
        };
        Self { inner: Arc::new(inner) }
    }

    /// Returns the key of exactly this name; fetches where the held set cannot say.
    ///
    /// # Errors
    /// [`KeyError`].
    ///
    /// # Cancel safety
    /// A fetch that was begun goes on without the caller.
    pub(super) async fn key(&self, kid: &str) -> Result<FoundKey, KeyError> {
        let before = self.inner.held.load_full();
        let held = self.current(before.as_ref()).await?;
        if let Some(found) = held.find(kid) {
            return Ok(found);
        }
        if !is_same(before.as_ref(), &held) {
            // The fetch of this very call did not bring it: asking again would not either.
            self.inner.schedule().remember_unknown(kid, Instant::now());
            return Err(KeyError::Unknown);
        }
        self.refetch(kid, &held).await
    }

    /// Returns the key of exactly this name if it is held and usable; asks nobody.
    pub(super) fn peek(&self, kid: &str) -> Option<FoundKey> {
        let held = self.inner.held.load();
        held.as_ref().filter(|held| held.is_usable(Instant::now()))?.find(kid)
    }

    /// The generation of the usable set; `None` without one.
    pub(super) fn generation(&self) -> Option<u64> {
        let held = self.inner.held.load();
        held.as_ref().filter(|held| held.is_usable(Instant::now())).map(|held| held.generation())
    }

    /// The set to look in, fetched or revalidated as its age wants it.
    async fn current(
        &self,
        held: Option<&Arc<CachedKeySet>>,
    ) -> Result<Arc<CachedKeySet>, KeyError> {
        let now = Instant::now();
        let age = held.map_or(Age::Expired, |held| held.age(now));
        let pending = match age {
            Age::Fresh => None,
            Age::Ageing => {
                self.join_or_begin(now);
                None
            }
            // The first one after an idle time waits; in a known outage nobody does.
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
        let held = self.inner.held.load_full().filter(|held| held.is_usable(now));
        held.ok_or_else(|| self.inner.schedule().unavailable(now))
    }

    /// Asks once more for a `kid` that the held set does not know: the issuer may have a new key.
    async fn refetch(&self, kid: &str, before: &Arc<CachedKeySet>) -> Result<FoundKey, KeyError> {
        let now = Instant::now();
        let decision = self.inner.schedule().decide_unknown(kid, now);
        let pending = match decision {
            FetchDecision::Refuse(error) => return Err(error),
            FetchDecision::Join(pending) => pending,
            FetchDecision::Fetch(done) => self.spawn_fetch(done),
        };
        pending.finished().await;
        let now = Instant::now();
        let Some(held) = self.inner.held.load_full().filter(|held| !Arc::ptr_eq(held, before))
        else {
            return Err(self.inner.schedule().unavailable(now));
        };
        if let Some(found) = held.find(kid) {
            return Ok(found);
        }
        self.inner.schedule().remember_unknown(kid, now);
        Err(KeyError::Unknown)
    }

    /// The fetch that is under way, or a new one; `None` while the back-off forbids one.
    fn join_or_begin(&self, now: Instant) -> Option<PendingFetch> {
        let decision = self.inner.schedule().join_or_begin(now)?;
        match decision {
            FetchDecision::Join(pending) => Some(pending),
            FetchDecision::Fetch(done) => Some(self.spawn_fetch(done)),
            FetchDecision::Refuse(_) => None,
        }
    }

    /// Starts the fetch in a task of its own.
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
    /// One fetch, from request to bookkeeping.
    async fn fetch(&self) {
        let held = self.held.load_full();
        let etag = held.as_ref().and_then(|held| held.etag());
        match self.source.fetch(etag).await {
            Ok(fetched) => self.store(held.as_deref(), fetched),
            Err(fault) => self.record_failure(held.as_deref(), &fault),
        }
    }

    fn store(&self, held: Option<&CachedKeySet>, fetched: Fetched) {
        let now = Instant::now();
        let next = CachedKeySet::after(held, fetched, self.first_generation, now);
        let is_changed = held.is_none_or(|held| held.generation() != next.generation());
        if is_changed {
            tracing::info!(keys = next.len(), "caller keys changed");
        }
        self.metrics.jwks_fetched(if is_changed { "changed" } else { "unchanged" });
        self.held.store(Some(Arc::new(next)));
        self.schedule().record_success();
    }

    fn record_failure(&self, held: Option<&CachedKeySet>, fault: &S::Fault) {
        let now = Instant::now();
        self.schedule().record_failure(now);
        self.metrics.jwks_fetched("error");
        if held.is_some_and(|held| held.is_usable(now)) {
            tracing::warn!(error = %fault, "caller keys not fetched, the old ones stay in use");
        } else if !self.source.is_needed() {
            tracing::warn!(error = %fault, "caller keys not fetched, an unproven token is not judged");
        } else {
            tracing::error!(error = %fault, "caller keys not fetched, no caller can be verified");
        }
    }

    /// The bookkeeping; never held across an await. A panic elsewhere leaves it consistent enough
    /// to go on.
    fn schedule(&self) -> MutexGuard<'_, FetchSchedule> {
        self.schedule.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_same(before: Option<&Arc<CachedKeySet>>, held: &Arc<CachedKeySet>) -> bool {
    before.is_some_and(|before| Arc::ptr_eq(before, held))
}

#[cfg(test)]
mod tests;
