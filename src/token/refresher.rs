//! Keeps the lease of one credential and renews it in one flight.
//!
//! Invariant: at most one flight per refresher, in its own task, and only the flight changes the
//! negative cache. A refusal never removes a live lease. A caller that goes away cancels nothing.
//! The read path takes no lock. Used by `entry` and `vault`. See
//! `docs/explanation/token-renewal.md`.

use super::{
    cooldown::{Cooldown, Revoked},
    error::{LeaseRefusal, Reason},
    lease::{Freshness, Lease},
    negative_cache::{Flight, NegativeCache},
    provider::TokenProvider,
};
use crate::destination::DestinationName;
use arc_swap::ArcSwapOption;
use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};
use tokio::{
    sync::{Mutex, OwnedMutexGuard},
    time::Instant,
};
use tokio_util::task::TaskTracker;
use url::Url;

/// What a refresher needs.
pub(super) struct RefresherDeps {
    pub(super) name: DestinationName,
    pub(super) tasks: TaskTracker,
    pub(super) forced_renewals: Arc<Cooldown>,
}

/// The lease of one credential, renewed by `S`.
pub(super) struct Refresher<S> {
    provider: S,
    deps: RefresherDeps,
    live: ArcSwapOption<Lease>,
    /// Held during a renewal. The flight owns the guard, so that the lock is released when the
    /// flight ends.
    renewal: Arc<Mutex<NegativeCache>>,
    /// Number of flights that have ended.
    finished_flights: AtomicU64,
    outage: ArcSwapOption<LeaseRefusal>,
}

impl<S: TokenProvider> Refresher<S> {
    pub(super) fn new(provider: S, deps: RefresherDeps) -> Self {
        Self {
            provider,
            deps,
            live: ArcSwapOption::empty(),
            renewal: Arc::default(),
            finished_flights: AtomicU64::new(0),
            outage: ArcSwapOption::empty(),
        }
    }

    pub(super) fn provider(&self) -> &S {
        &self.provider
    }

    /// Returns the lease that is or was last in service, expired or not.
    pub(super) fn live(&self) -> Option<Arc<Lease>> {
        self.live.load_full()
    }

    /// Returns the lease while it is fresh. Starts nothing.
    pub(super) fn fresh(&self, now: Instant) -> Option<Arc<Lease>> {
        let live = self.live.load();
        let lease = live.as_ref()?;
        (lease.freshness(now) == Freshness::Fresh).then(|| Arc::clone(lease))
    }

    /// Returns the lease if it can be served. An ageing lease starts its renewal in the background.
    pub(super) fn serve(self: &Arc<Self>, now: Instant) -> Option<(Arc<Lease>, Freshness)> {
        let lease = self.live.load_full()?;
        let freshness = lease.freshness(now);
        match freshness {
            Freshness::Expired => return None,
            Freshness::Fresh => {}
            Freshness::Ageing => self.renew_in_background(now),
        }
        Some((lease, freshness))
    }

    /// Returns a lease that can be served; fetches one if there is none.
    ///
    /// # Errors
    /// The refusal of the flight, or a remembered one.
    ///
    /// # Cancel safety
    /// The flight is its own task: a caller that goes away neither stops nor repeats it.
    pub(super) async fn lease(self: &Arc<Self>) -> Result<Arc<Lease>, LeaseRefusal> {
        let finished_before = self.finished_flights.load(Ordering::Acquire);
        if let Some((lease, _)) = self.serve(Instant::now()) {
            return Ok(lease);
        }
        if let Some(refusal) = self.refusal_of_outage() {
            return Err(refusal);
        }
        loop {
            let negative_cache = Arc::clone(&self.renewal).lock_owned().await;
            let has_waited = self.finished_flights.load(Ordering::Acquire) != finished_before;
            if let Some(refusal) = negative_cache.refusal(Instant::now(), has_waited) {
                return self.servable().ok_or(refusal);
            }
            // A new token with almost no lifetime is shared as well; otherwise each waiter would
            // fetch one.
            let lease = if has_waited { self.unrevoked() } else { self.servable() };
            if let Some(lease) = lease {
                return Ok(lease);
            }
            self.start_flight(negative_cache);
        }
    }

    /// Starts one flight regardless of the negative cache. `prepare` runs when no other renewal
    /// runs.
    ///
    /// # Errors
    /// The refusal of this flight.
    ///
    /// # Cancel safety
    /// As [`Self::lease`].
    pub(super) async fn attempt(
        self: &Arc<Self>,
        prepare: impl FnOnce(&S),
    ) -> Result<Arc<Lease>, LeaseRefusal> {
        let negative_cache = Arc::clone(&self.renewal).lock_owned().await;
        prepare(&self.provider);
        self.start_flight(negative_cache);
        match self.renewal.lock().await.last() {
            Some(refusal) => Err(refusal),
            None => self.unrevoked().ok_or_else(|| self.panic_refusal()),
        }
    }

    /// CF refused `used`: ends it if it is in service. At most one forced renewal in 30 s per
    /// credential, in 10 min if the last one was a logon.
    pub(super) fn revoke(&self, used: &Lease, now: Instant) -> Revoked {
        let live = self.live.load();
        let Some(live) = live.as_ref() else {
            return Revoked::Renewing;
        };
        if !Arc::ptr_eq(live.token(), used.token()) || used.token().is_revoked() {
            return Revoked::Renewing;
        }
        if !self.deps.forced_renewals.take(used.token(), now) {
            return Revoked::Cooldown;
        }
        used.token().revoke();
        Revoked::Renewing
    }

    /// Continues with the same token at another API.
    pub(super) fn readdress(&self, api: &Url) {
        self.live.rcu(|live| {
            live.as_ref().map(|lease| {
                if lease.api() == api {
                    Arc::clone(lease)
                } else {
                    Arc::new(Lease::new(Arc::clone(lease.token()), api.clone()))
                }
            })
        });
    }

    /// Drops the token, including the refresh token.
    pub(super) fn retire(&self) {
        self.live.store(None);
    }

    fn renew_in_background(self: &Arc<Self>, now: Instant) {
        let Ok(negative_cache) = Arc::clone(&self.renewal).try_lock_owned() else {
            return;
        };
        let is_renewed = self.fresh(now).is_some();
        if !is_renewed && !negative_cache.holds_background(now) {
            self.start_flight(negative_cache);
        }
    }

    fn start_flight(self: &Arc<Self>, negative_cache: OwnedMutexGuard<NegativeCache>) {
        let kind = if self.servable().is_some() { Flight::Background } else { Flight::ForCallers };
        let refresher = Arc::clone(self);
        let flight = InFlightGuard { refresher, negative_cache, kind, outcome: None };
        self.deps.tasks.spawn(async move {
            let previous = flight.refresher.live();
            let outcome = flight.refresher.provider.obtain(previous.as_deref()).await;
            flight.finish(outcome);
        });
    }

    fn servable(&self) -> Option<Arc<Lease>> {
        let now = Instant::now();
        let lease = self.live.load_full();
        lease.filter(|lease| lease.freshness(now) != Freshness::Expired)
    }

    fn unrevoked(&self) -> Option<Arc<Lease>> {
        let lease = self.live.load_full();
        lease.filter(|lease| !lease.token().is_revoked())
    }

    fn refusal_of_outage(&self) -> Option<LeaseRefusal> {
        let outage = self.outage.load();
        let refusal = outage.as_ref()?;
        // No flight is running: this caller may start the next one.
        let is_flying = self.renewal.try_lock().is_err();
        is_flying.then(|| LeaseRefusal::clone(refusal))
    }

    fn panic_refusal(&self) -> LeaseRefusal {
        LeaseRefusal::new(&self.deps.name, Reason::Internal, None)
    }
}

impl<S> fmt::Debug for Refresher<S> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Refresher").field("live", &*self.live.load()).finish_non_exhaustive()
    }
}

/// The end of a flight. Dropping it stores the outcome and then releases the lock, also after a
/// panic.
struct InFlightGuard<S: TokenProvider> {
    refresher: Arc<Refresher<S>>,
    negative_cache: OwnedMutexGuard<NegativeCache>,
    kind: Flight,
    outcome: Option<Result<Lease, LeaseRefusal>>,
}

impl<S: TokenProvider> InFlightGuard<S> {
    fn finish(mut self, outcome: Result<Lease, LeaseRefusal>) {
        self.outcome = Some(outcome);
    }
}

impl<S: TokenProvider> Drop for InFlightGuard<S> {
    fn drop(&mut self) {
        let now = Instant::now();
        match self.outcome.take() {
            Some(Ok(lease)) => {
                self.refresher.live.store(Some(Arc::new(lease)));
                *self.negative_cache = NegativeCache::default();
            }
            Some(Err(refusal)) => self.negative_cache.remember(refusal, self.kind, now),
            None => {
                let destination = self.refresher.deps.name.as_str();
                tracing::error!(destination, "renewal panicked");
                self.negative_cache.remember_panic(self.refresher.panic_refusal(), now);
            }
        }
        self.refresher.outage.store(self.negative_cache.outage());
        self.refresher.finished_flights.fetch_add(1, Ordering::Release);
    }
}

#[cfg(test)]
mod tests;
