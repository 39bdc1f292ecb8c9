//! One credential's lease and the one flight that renews it.
//!
//! Invariant: at most one flight per slot, in a task of its own, and it alone changes what is remembered; a refusal
//! never removes a live lease; who hangs up cancels nothing. The read path takes no lock. Used by `door` and `vault`.

use super::{
    error::{Reason, Refusal},
    holdoff::{HoldOff, Revoked},
    lease::{Freshness, Lease},
    memory::Memory,
    source::TokenSource,
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

/// What a slot belongs to and runs on.
pub(super) struct Berth {
    pub(super) name: DestinationName,
    pub(super) tasks: TaskTracker,
    pub(super) forced: Arc<HoldOff>,
}

/// A credential's lease, renewed by `S`.
pub(super) struct Slot<S> {
    source: S,
    berth: Berth,
    live: ArcSwapOption<Lease>,
    /// Held by whoever renews; the guard travels into the flight on purpose, so that it is freed when the flight ends.
    renewal: Arc<Mutex<Memory>>,
    /// Flights that have ended.
    landed: AtomicU64,
    outage: ArcSwapOption<Refusal>,
}

impl<S: TokenSource> Slot<S> {
    pub(super) fn new(source: S, berth: Berth) -> Self {
        Self {
            source,
            berth,
            live: ArcSwapOption::empty(),
            renewal: Arc::default(),
            landed: AtomicU64::new(0),
            outage: ArcSwapOption::empty(),
        }
    }

    pub(super) fn source(&self) -> &S {
        &self.source
    }

    /// Returns what is in service or was last, expired or not.
    pub(super) fn live(&self) -> Option<Arc<Lease>> {
        self.live.load_full()
    }

    /// Returns the lease while it is fresh; nothing else is done.
    pub(super) fn fresh(&self, now: Instant) -> Option<Arc<Lease>> {
        let live = self.live.load();
        let lease = live.as_ref()?;
        (lease.freshness(now) == Freshness::Fresh).then(|| Arc::clone(lease))
    }

    /// Returns the lease if it can be served; an ageing one starts its renewal, and nobody waits for that.
    pub(super) fn serve(self: &Arc<Self>, now: Instant) -> Option<(Arc<Lease>, Freshness)> {
        let lease = self.live.load_full()?;
        let freshness = lease.freshness(now);
        match freshness {
            Freshness::Expired => return None,
            Freshness::Fresh => {}
            Freshness::Ageing => self.renew_behind(now),
        }
        Some((lease, freshness))
    }

    /// Returns a lease that can be served, fetched if need be.
    ///
    /// # Errors
    /// The refusal that the flight met, or a remembered one.
    ///
    /// # Cancel safety
    /// The flight is a task of its own: a caller who goes away neither stops nor repeats it.
    pub(super) async fn lease(self: &Arc<Self>) -> Result<Arc<Lease>, Refusal> {
        let arrival = self.landed.load(Ordering::Acquire);
        if let Some((lease, _)) = self.serve(Instant::now()) {
            return Ok(lease);
        }
        if let Some(refusal) = self.refusal_of_outage() {
            return Err(refusal);
        }
        loop {
            let memory = Arc::clone(&self.renewal).lock_owned().await;
            let has_waited = self.landed.load(Ordering::Acquire) != arrival;
            if let Some(refusal) = memory.refusal(Instant::now(), has_waited) {
                return self.alive().ok_or(refusal);
            }
            // A successor with next to no lifetime is shared all the same, or each waiter would fetch one.
            let lease = if has_waited { self.unrevoked() } else { self.alive() };
            if let Some(lease) = lease {
                return Ok(lease);
            }
            self.fly(memory);
        }
    }

    /// Lets one flight happen whatever is remembered; `prepare` runs when nobody else renews.
    ///
    /// # Errors
    /// The refusal that this flight met.
    ///
    /// # Cancel safety
    /// As [`Self::lease`].
    pub(super) async fn attempt(
        self: &Arc<Self>,
        prepare: impl FnOnce(&S),
    ) -> Result<Arc<Lease>, Refusal> {
        let memory = Arc::clone(&self.renewal).lock_owned().await;
        prepare(&self.source);
        self.fly(memory);
        match self.renewal.lock().await.last() {
            Some(refusal) => Err(refusal),
            None => self.unrevoked().ok_or_else(|| self.crash()),
        }
    }

    /// CF refused `used`: ends it if it is the one in service; at most one forced renewal in 30 s per credential.
    pub(super) fn revoke(&self, used: &Lease, now: Instant) -> Revoked {
        let live = self.live.load();
        let Some(live) = live.as_ref() else {
            return Revoked::Renewing;
        };
        if !Arc::ptr_eq(live.token(), used.token()) || used.token().is_revoked() {
            return Revoked::Renewing;
        }
        if !self.berth.forced.take(now) {
            return Revoked::HoldOff;
        }
        used.token().revoke();
        Revoked::Renewing
    }

    /// Goes on with the same token at another API.
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

    /// Lets go of the token, refresh token included.
    pub(super) fn retire(&self) {
        self.live.store(None);
    }

    fn renew_behind(self: &Arc<Self>, now: Instant) {
        let Ok(memory) = Arc::clone(&self.renewal).try_lock_owned() else {
            return;
        };
        let is_renewed = self.fresh(now).is_some();
        if !is_renewed && memory.refusal(now, false).is_none() {
            self.fly(memory);
        }
    }

    fn fly(self: &Arc<Self>, memory: OwnedMutexGuard<Memory>) {
        let landing = Landing { slot: Arc::clone(self), memory, outcome: None };
        self.berth.tasks.spawn(async move {
            let previous = landing.slot.live();
            let outcome = landing.slot.source.obtain(previous.as_deref()).await;
            landing.land(outcome);
        });
    }

    fn alive(&self) -> Option<Arc<Lease>> {
        let now = Instant::now();
        let lease = self.live.load_full();
        lease.filter(|lease| lease.freshness(now) != Freshness::Expired)
    }

    fn unrevoked(&self) -> Option<Arc<Lease>> {
        let lease = self.live.load_full();
        lease.filter(|lease| !lease.token().is_revoked())
    }

    fn refusal_of_outage(&self) -> Option<Refusal> {
        let outage = self.outage.load();
        let refusal = outage.as_ref()?;
        // Nobody in the air: the caller may be the one who probes.
        let is_flying = self.renewal.try_lock().is_err();
        is_flying.then(|| Refusal::clone(refusal))
    }

    fn crash(&self) -> Refusal {
        Refusal::new(&self.berth.name, Reason::Internal, None)
    }
}

impl<S> fmt::Debug for Slot<S> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Slot").field("live", &*self.live.load()).finish_non_exhaustive()
    }
}

/// A flight's end. Dropping it stores the outcome and then frees the guard, also when the flight crashed.
struct Landing<S: TokenSource> {
    slot: Arc<Slot<S>>,
    memory: OwnedMutexGuard<Memory>,
    outcome: Option<Result<Lease, Refusal>>,
}

impl<S: TokenSource> Landing<S> {
    fn land(mut self, outcome: Result<Lease, Refusal>) {
        self.outcome = Some(outcome);
    }
}

impl<S: TokenSource> Drop for Landing<S> {
    fn drop(&mut self) {
        let now = Instant::now();
        match self.outcome.take() {
            Some(Ok(lease)) => {
                self.slot.live.store(Some(Arc::new(lease)));
                *self.memory = Memory::default();
            }
            Some(Err(refusal)) => self.memory.refuse(refusal, now),
            None => {
                let destination = self.slot.berth.name.as_str();
                tracing::error!(destination, "renewal crashed");
                self.memory.crash(self.slot.crash(), now);
            }
        }
        self.slot.outage.store(self.memory.outage());
        self.slot.landed.fetch_add(1, Ordering::Release);
    }
}

#[cfg(test)]
mod tests;
