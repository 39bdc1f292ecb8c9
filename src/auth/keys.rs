//! The keys of one issuer's zone or tenant: fresh, revalidated in the background, kept through an outage
//! (`callers.md` 5).
//!
//! Invariant: at most one fetch is under way, and after a failed one none before its back-off ends.
//! A caller that goes away never cancels a fetch. No timer: an idle broker makes no call. For the
//! issuers of this room.

use super::{
    book::{Book, Flight, Step},
    held::{Age, Fetched, FoundKey, Held},
    source::{KeyError, KeySource},
};
use crate::telemetry::metrics::Metrics;
use arc_swap::ArcSwapOption;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::{sync::watch, time::Instant};
use tokio_util::task::TaskTracker;

/// The cache of one address; a clone is shallow.
pub(super) struct KeyCache<S> {
    shared: Arc<Shared<S>>,
}

struct Shared<S> {
    source: S,
    held: ArcSwapOption<Held>,
    book: Mutex<Book>,
    /// The generation of the first set.
    first: u64,
    tasks: TaskTracker,
    metrics: Metrics,
}

impl<S> Clone for KeyCache<S> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<S: KeySource> KeyCache<S> {
    /// Makes an empty cache; the first question fetches.
    pub(super) fn new(source: S, tasks: TaskTracker, metrics: Metrics) -> Self {
        Self::numbered_from(0, source, tasks, metrics)
    }

    /// As [`KeyCache::new`]; generations count from `first`, so that those of a cache that was
    /// dropped do not come again.
    pub(super) fn numbered_from(
        first: u64,
        source: S,
        tasks: TaskTracker,
        metrics: Metrics,
    ) -> Self {
        let shared = Shared {
            source,
            held: ArcSwapOption::empty(),
            book: Mutex::new(Book::default()),
            first,
            tasks,
            metrics,
        };
        Self { shared: Arc::new(shared) }
    }

    /// Returns the key of exactly this name; fetches where the held set cannot say.
    ///
    /// # Errors
    /// [`KeyError`].
    ///
    /// # Cancel safety
    /// A fetch that was begun goes on without the caller.
    pub(super) async fn key(&self, kid: &str) -> Result<FoundKey, KeyError> {
        let before = self.shared.held.load_full();
        let held = self.current(before.as_ref()).await?;
        if let Some(found) = held.find(kid) {
            return Ok(found);
        }
        if !is_same(before.as_ref(), &held) {
            // The fetch of this very call did not bring it: asking again would not either.
            self.shared.book().remember_unknown(kid, Instant::now());
            return Err(KeyError::Unknown);
        }
        self.refetch(kid, &held).await
    }

    /// Returns the key of exactly this name if it is held and usable; asks nobody.
    pub(super) fn peek(&self, kid: &str) -> Option<FoundKey> {
        let held = self.shared.held.load();
        held.as_ref().filter(|held| held.is_alive(Instant::now()))?.find(kid)
    }

    /// Fetches or revalidates as a token would cause it, and returns how many keys are usable.
    ///
    /// # Errors
    /// [`KeyError::Unavailable`].
    pub(super) async fn probe(&self) -> Result<usize, KeyError> {
        let before = self.shared.held.load_full();
        self.current(before.as_ref()).await.map(|held| held.len())
    }

    /// The generation of the usable set; `None` without one.
    pub(super) fn generation(&self) -> Option<u64> {
        let held = self.shared.held.load();
        held.as_ref().filter(|held| held.is_alive(Instant::now())).map(|held| held.generation())
    }

    /// The set to look in, fetched or revalidated as its age wants it.
    async fn current(&self, held: Option<&Arc<Held>>) -> Result<Arc<Held>, KeyError> {
        let now = Instant::now();
        let age = held.map_or(Age::Dead, |held| held.age(now));
        let flight = match age {
            Age::Fresh => None,
            Age::Ageing => {
                self.flight(now);
                None
            }
            // The first one after an idle time waits; in a known outage nobody does.
            Age::Stale if self.shared.book().is_failing() => {
                self.flight(now);
                None
            }
            Age::Stale | Age::Dead => self.flight(now),
        };
        if let Some(flight) = flight {
            flight.landed().await;
        }
        let now = Instant::now();
        let held = self.shared.held.load_full().filter(|held| held.is_alive(now));
        held.ok_or_else(|| self.shared.book().unavailable(now))
    }

    /// Asks once more for a `kid` that the held set does not know: the issuer may have a new key.
    async fn refetch(&self, kid: &str, before: &Arc<Held>) -> Result<FoundKey, KeyError> {
        let now = Instant::now();
        let step = self.shared.book().step(kid, now);
        let flight = match step {
            Step::Refuse(error) => return Err(error),
            Step::Join(flight) => flight,
            Step::Fetch(landing) => self.depart(landing),
        };
        flight.landed().await;
        let now = Instant::now();
        let Some(held) = self.shared.held.load_full().filter(|held| !Arc::ptr_eq(held, before))
        else {
            return Err(self.shared.book().unavailable(now));
        };
        if let Some(found) = held.find(kid) {
            return Ok(found);
        }
        self.shared.book().remember_unknown(kid, now);
        Err(KeyError::Unknown)
    }

    /// The fetch that is under way, or a new one; `None` while the back-off forbids one.
    fn flight(&self, now: Instant) -> Option<Flight> {
        let step = self.shared.book().board(now)?;
        match step {
            Step::Join(flight) => Some(flight),
            Step::Fetch(landing) => Some(self.depart(landing)),
            Step::Refuse(_) => None,
        }
    }

    /// Starts the fetch in a task of its own.
    fn depart(&self, landing: watch::Sender<()>) -> Flight {
        let flight = Flight::to(&landing);
        let shared = Arc::clone(&self.shared);
        self.shared.tasks.spawn(async move {
            shared.fetch().await;
            drop(landing);
        });
        flight
    }
}

impl<S: KeySource> Shared<S> {
    /// One fetch, from request to bookkeeping.
    async fn fetch(&self) {
        let held = self.held.load_full();
        let etag = held.as_ref().and_then(|held| held.etag());
        match self.source.fetch(etag).await {
            Ok(fetched) => self.settle(held.as_deref(), fetched),
            Err(fault) => self.fail(held.as_deref(), &fault),
        }
    }

    fn settle(&self, held: Option<&Held>, fetched: Fetched) {
        let now = Instant::now();
        let next = Held::after(held, fetched, self.first, now);
        let is_changed = held.is_none_or(|held| held.generation() != next.generation());
        if is_changed {
            tracing::info!(keys = next.len(), "caller keys changed");
        }
        self.metrics.jwks_fetched(if is_changed { "changed" } else { "unchanged" });
        self.held.store(Some(Arc::new(next)));
        self.book().succeed();
    }

    fn fail(&self, held: Option<&Held>, fault: &S::Fault) {
        let now = Instant::now();
        self.book().fail(now);
        self.metrics.jwks_fetched("error");
        if held.is_some_and(|held| held.is_alive(now)) {
            tracing::warn!(error = %fault, "caller keys not fetched, the old ones stay in use");
        } else if !self.source.is_needed() {
            tracing::warn!(error = %fault, "caller keys not fetched, an unproven token is not judged");
        } else {
            tracing::error!(error = %fault, "caller keys not fetched, no caller can be verified");
        }
    }

    /// The bookkeeping; never held across an await. A panic elsewhere leaves it consistent enough
    /// to go on.
    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_same(before: Option<&Arc<Held>>, held: &Arc<Held>) -> bool {
    before.is_some_and(|before| Arc::ptr_eq(before, held))
}

#[cfg(test)]
mod tests;
