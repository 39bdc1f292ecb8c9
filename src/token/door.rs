//! One destination name: the slot in service, and looking after changes of the destination.
//!
//! Invariant: the slot in service belongs to the credentials that the destination holds; changed credentials are a new
//! slot, and the old one goes at once with its refresh token (UAA revokes none; source). Used by `vault`, `source`.

use super::{
    front::Front,
    gate::CredentialGate,
    house::{House, RealSlot},
    lease::Lease,
    ports::Ports,
    slot::{Berth, Slot},
    source::Source,
    status::Record,
};
use crate::{
    destination::{CachePolicy, Destination, DestinationError, DestinationName},
    oauth::Fingerprint,
};
use arc_swap::ArcSwapOption;
use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::time::{Instant, sleep};

/// How often a request in passing asks whether the destination has changed. The destination's own cache decides
/// whether that is a call; a second is what a changed credential may cost on top of its 5 min.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// While the credentials are refused or there are none, the destination is re-read at most this far apart, and at
/// least nine tenths of it (destination.md 9): "within 60 s" is promised, and instances should not ask together.
const POLL_EVERY: Duration = Duration::from_secs(60);

/// Part of [`POLL_EVERY`] that is drawn by lot.
const POLL_JITTER: f64 = 0.1;

/// One destination name.
pub(super) struct Door<P: Ports> {
    name: DestinationName,
    house: Arc<House<P>>,
    seat: ArcSwapOption<Slot<Source<P>>>,
    front: Front,
    /// Held while the seat changes: the newest content wins.
    turn: tokio::sync::Mutex<()>,
    looked: AtomicU64,
    is_polling: AtomicBool,
    record: Arc<Record>,
}

impl<P: Ports> Door<P> {
    pub(super) fn new(name: DestinationName, house: Arc<House<P>>) -> Self {
        Self {
            name,
            house,
            seat: ArcSwapOption::empty(),
            front: Front::default(),
            turn: tokio::sync::Mutex::new(()),
            looked: AtomicU64::new(0),
            is_polling: AtomicBool::new(false),
            record: Arc::default(),
        }
    }

    pub(super) fn name(&self) -> &DestinationName {
        &self.name
    }

    pub(super) fn record(&self) -> &Record {
        &self.record
    }

    /// Returns the slot in service, without a lock.
    pub(super) fn seat(&self) -> arc_swap::Guard<Option<RealSlot<P>>> {
        self.seat.load()
    }

    /// Returns whether `slot` is the one in service.
    pub(super) fn is_seated(&self, slot: &RealSlot<P>) -> bool {
        let seat = self.seat.load();
        seat.as_ref().is_some_and(|seated| Arc::ptr_eq(seated, slot))
    }

    /// Returns the gate of the credentials in service.
    pub(super) fn gate(&self) -> Option<Arc<CredentialGate>> {
        let seat = self.seat.load();
        seat.as_ref().map(|slot| Arc::clone(&slot.source().gate))
    }

    /// Returns the lease that may be handed out without a thought.
    pub(super) fn look_at_front(&self, now: Instant) -> Option<Arc<Lease>> {
        self.front.look(now)
    }

    /// Puts a fresh lease of `slot` on show, until the next look at the destination is due.
    pub(super) fn show(&self, slot: &RealSlot<P>, lease: &Arc<Lease>, now: Instant) {
        let until = lease.renew_at().min(now + LOOK_EVERY);
        self.front.show(lease, until, || self.is_seated(slot));
    }

    /// Asks for changes behind the caller's back, if it is time.
    pub(super) fn look_behind(self: &Arc<Self>, now: Instant) {
        let (tick, looked) = (self.tick(now), self.looked.load(Ordering::Relaxed));
        let is_mine = tick > looked
            && self
                .looked
                .compare_exchange(looked, tick, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok();
        if is_mine {
            let door = Arc::clone(self);
            self.house.tasks.spawn(async move {
                // Who needs the destination meets the error; nobody does here.
                drop(door.look(CachePolicy::Confirmed).await);
            });
        }
    }

    /// Reads the destination, as sure as wanted, and seats the slot of its credentials.
    ///
    /// # Errors
    /// There is no content in service.
    ///
    /// # Cancel safety
    /// Safe: a change that is not seated now is seated by the next look.
    pub(super) async fn look(
        self: &Arc<Self>,
        wanted: CachePolicy,
    ) -> Result<RealSlot<P>, DestinationError> {
        let found = self.house.ports.find(&self.name, wanted).await;
        let _turn = self.turn.lock().await;
        match (self.house.ports.known(&self.name), found) {
            (Some(content), _) | (None, Ok(content)) => Ok(self.take_seat(&content).await),
            (None, Err(error)) => {
                if let DestinationError::Missing { .. } = error {
                    self.vacate().await;
                }
                if !error.is_transient() {
                    self.poll();
                }
                Err(error)
            }
        }
    }

    /// Re-reads the destination each minute until the credentials are no longer refused; one task at most.
    pub(super) fn poll(self: &Arc<Self>) {
        if self.is_polling.swap(true, Ordering::AcqRel) {
            return;
        }
        let door = Arc::clone(self);
        self.house.tasks.spawn(async move {
            loop {
                let is_stopped = door.poll_while_needed().await;
                door.is_polling.store(false, Ordering::Release);
                // A refusal may have come between the last look and this line.
                if is_stopped || !door.needs_poll() || door.is_polling.swap(true, Ordering::AcqRel)
                {
                    return;
                }
            }
        });
    }

    /// Returns whether the broker stops.
    async fn poll_while_needed(self: &Arc<Self>) -> bool {
        while self.needs_poll() {
            let pause = POLL_EVERY.mul_f64(1.0 - POLL_JITTER * fastrand::f64());
            tokio::select! {
                () = self.house.stop.cancelled() => return true,
                () = sleep(pause) => self.poll_once().await,
            }
        }
        false
    }

    async fn poll_once(self: &Arc<Self>) {
        let before = self.seat.load_full();
        let Ok(slot) = self.look(CachePolicy::PastCache).await else {
            return;
        };
        let is_new = before.is_none_or(|before| !Arc::ptr_eq(&before, &slot));
        if is_new {
            // Healed, or refused again: either way the gate says so, without waiting for a caller.
            drop(slot.lease().await);
        }
    }

    fn needs_poll(&self) -> bool {
        self.gate().is_none_or(|gate| gate.is_closed())
    }

    async fn take_seat(self: &Arc<Self>, content: &Destination) -> RealSlot<P> {
        let key = (self.name.clone(), content.fingerprint);
        // Asked each time, so that the cache knows what is in use; the init does no I/O.
        let slots = &self.house.slots;
        let slot = slots.get_with(key, async { self.make(content) }).await;
        slot.readdress(&content.api);
        let seated = self.seat.load_full();
        if let Some(seated) = seated.filter(|seated| !Arc::ptr_eq(seated, &slot)) {
            self.dismiss(&seated, Some(content.fingerprint)).await;
        }
        if !self.is_seated(&slot) {
            self.seat.store(Some(Arc::clone(&slot)));
            let state = slot.source().gate.state(Instant::now());
            let metrics = &self.house.metrics;
            metrics.gate_state(self.name.as_str(), state.name());
        }
        // Shown were another slot's lease, or another API.
        self.front.clear();
        slot
    }

    async fn vacate(&self) {
        let seated = self.seat.swap(None);
        self.front.clear();
        if let Some(seated) = seated {
            self.dismiss(&seated, None).await;
        }
    }

    async fn dismiss(&self, seated: &RealSlot<P>, successor: Option<Fingerprint>) {
        let fingerprint = seated.source().fingerprint;
        seated.retire();
        // Evicted ones have the same key as their successor.
        if successor != Some(fingerprint) {
            let destination = self.name.as_str();
            tracing::info!(destination, "credentials changed, their tokens are dropped");
            let key = (self.name.clone(), fingerprint);
            self.house.slots.invalidate(&key).await;
        }
    }

    fn make(self: &Arc<Self>, content: &Destination) -> RealSlot<P> {
        let house = &self.house;
        let gate = house.gates.of(content.fingerprint);
        let berth =
            Berth { name: self.name.clone(), tasks: house.tasks.clone(), forced: gate.forced() };
        let source = Source {
            ports: Arc::clone(&house.ports),
            name: self.name.clone(),
            fingerprint: content.fingerprint,
            grant: house.grant,
            gate,
            record: Arc::clone(&self.record),
            metrics: house.metrics.clone(),
            door: Arc::downgrade(self),
            rounds: AtomicU32::new(0),
        };
        Arc::new(Slot::new(source, berth))
    }

    fn tick(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.house.born).as_secs() / LOOK_EVERY.as_secs()
    }
}

impl<P: Ports> fmt::Debug for Door<P> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Door")
            .field("name", &self.name)
            .field("seat", &*self.seat.load())
            .finish_non_exhaustive()
    }
}
