//! The refusal of the last flight and how long it counts.
//!
//! Invariant: a remembered refusal is returned without a flight until its time is over. Otherwise a
//! wrong password would be sent at request rate. Pure. Used by `refresher`.

use super::error::LeaseRefusal;
use std::{sync::Arc, time::Duration};
use tokio::time::Instant;

/// How long a refusal without a retry time is remembered. An earlier attempt would only repeat it,
/// at request rate. A repair from outside (new credentials, an operator's release) does not wait
/// for this: it uses a new refresher or its own flight.
const DEFINITE_PAUSE: Duration = Duration::from_secs(30);

/// The same for a flight that panicked: long enough to prevent a storm, short enough for a short
/// disturbance.
const PANIC_PAUSE: Duration = Duration::from_secs(5);

/// After this many transient refusals in a row callers no longer wait for the next flight. They get
/// the last refusal at once, as behind an open breaker.
const OUTAGE: u32 = 2;

/// The refusal of the last flight.
#[derive(Debug, Default)]
pub(super) struct NegativeCache {
    refusal: Option<CachedRefusal>,
    /// Transient refusals in a row.
    rounds: u32,
}

#[derive(Debug)]
struct CachedRefusal {
    refusal: LeaseRefusal,
    until: Instant,
    flight: Flight,
}

/// Whom a flight was started for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flight {
    /// The lease was alive.
    Background,
    ForCallers,
}

impl NegativeCache {
    /// Returns the refusal that counts for a caller without a lease. A caller that has waited for a
    /// flight shares its refusal even if its time is already over. The refusal of a flight that
    /// began while the lease was alive holds no caller: the end of the lease has opened other ways.
    pub(super) fn refusal(&self, now: Instant, has_waited: bool) -> Option<LeaseRefusal> {
        let remembered = self.refusal.as_ref()?;
        let holds = now < remembered.until && remembered.flight == Flight::ForCallers;
        (has_waited || holds).then(|| remembered.refusal.clone())
    }

    /// Returns whether a renewal in the background must wait.
    pub(super) fn holds_background(&self, now: Instant) -> bool {
        self.refusal.as_ref().is_some_and(|remembered| now < remembered.until)
    }

    /// Returns the last refusal, whether it still counts or not.
    pub(super) fn last(&self) -> Option<LeaseRefusal> {
        let remembered = self.refusal.as_ref()?;
        Some(remembered.refusal.clone())
    }

    /// Remembers the refusal of a flight.
    pub(super) fn remember(&mut self, refusal: LeaseRefusal, flight: Flight, now: Instant) {
        let until = refusal.retry_at.unwrap_or(now + DEFINITE_PAUSE);
        let counts = refusal.is_transient() && flight == Flight::ForCallers;
        self.rounds = if counts { self.rounds.saturating_add(1) } else { 0 };
        self.refusal = Some(CachedRefusal { refusal, until, flight });
    }

    /// Remembers a panic.
    pub(super) fn remember_panic(&mut self, refusal: LeaseRefusal, now: Instant) {
        let until = now + PANIC_PAUSE;
        self.refusal = Some(CachedRefusal { refusal, until, flight: Flight::ForCallers });
    }

    /// Returns the refusal for callers during the next flight, if they must not wait for it.
    pub(super) fn outage(&self) -> Option<Arc<LeaseRefusal>> {
        let is_lasting = self.rounds >= OUTAGE;
        self.last().filter(|_| is_lasting).map(Arc::new)
    }
}
