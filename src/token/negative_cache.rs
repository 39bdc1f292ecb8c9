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
}

impl NegativeCache {
    /// Returns the refusal that counts for a caller. A caller that has waited for a flight shares
    /// its refusal even if its time is already over.
    pub(super) fn refusal(&self, now: Instant, has_waited: bool) -> Option<LeaseRefusal> {
        let remembered = self.refusal.as_ref()?;
        let counts = has_waited || now < remembered.until;
        counts.then(|| remembered.refusal.clone())
    }

    /// Returns the last refusal, whether it still counts or not.
    pub(super) fn last(&self) -> Option<LeaseRefusal> {
        let remembered = self.refusal.as_ref()?;
        Some(remembered.refusal.clone())
    }

    /// Remembers a refusal.
    pub(super) fn remember(&mut self, refusal: LeaseRefusal, now: Instant) {
        let until = refusal.retry_at.unwrap_or(now + DEFINITE_PAUSE);
        self.rounds = if refusal.is_transient() { self.rounds.saturating_add(1) } else { 0 };
        self.refusal = Some(CachedRefusal { refusal, until });
    }

    /// Remembers a panic.
    pub(super) fn remember_panic(&mut self, refusal: LeaseRefusal, now: Instant) {
        let until = now + PANIC_PAUSE;
        self.refusal = Some(CachedRefusal { refusal, until });
    }

    /// Returns the refusal for callers during the next flight, if they must not wait for it.
    pub(super) fn outage(&self) -> Option<Arc<LeaseRefusal>> {
        let is_lasting = self.rounds >= OUTAGE;
        self.last().filter(|_| is_lasting).map(Arc::new)
    }
}
