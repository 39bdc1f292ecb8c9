//! What the last flight of a slot left: a refusal, and for how long it counts.
//!
//! Invariant: a refusal is repeated without a flight until its time is over; else a wrong password would be sent at
//! request rate. Pure. Used by `slot`.

use super::error::Refusal;
use std::{sync::Arc, time::Duration};
use tokio::time::Instant;

/// How long a refusal is remembered that names no moment. Asking earlier could only repeat it, and a request rate of
/// flights would be the price; what heals it from outside (new credentials, a release) comes with a slot or a flight
/// of its own.
const DEFINITE_PAUSE: Duration = Duration::from_secs(30);

/// Likewise for a flight that crashed: long enough for no storm, short enough for a hiccup.
const CRASH_PAUSE: Duration = Duration::from_secs(5);

/// From so many transient refusals in a row on, callers no longer wait for the next flight: they get the last refusal
/// at once, as behind an open breaker (reliability.md U4, R2).
const OUTAGE: u32 = 2;

/// What the last flight left.
#[derive(Debug, Default)]
pub(super) struct Memory {
    refusal: Option<Remembered>,
    /// Transient refusals in a row.
    rounds: u32,
}

#[derive(Debug)]
struct Remembered {
    refusal: Refusal,
    until: Instant,
}

impl Memory {
    /// Returns the refusal that counts for a caller: who has waited for a flight shares its refusal even if its time
    /// is already over.
    pub(super) fn refusal(&self, now: Instant, has_waited: bool) -> Option<Refusal> {
        let remembered = self.refusal.as_ref()?;
        let counts = has_waited || now < remembered.until;
        counts.then(|| remembered.refusal.clone())
    }

    /// Returns the last refusal, whether it still counts or not.
    pub(super) fn last(&self) -> Option<Refusal> {
        let remembered = self.refusal.as_ref()?;
        Some(remembered.refusal.clone())
    }

    /// Remembers a refusal.
    pub(super) fn refuse(&mut self, refusal: Refusal, now: Instant) {
        let until = refusal.retry_at.unwrap_or(now + DEFINITE_PAUSE);
        self.rounds = if refusal.is_transient() { self.rounds.saturating_add(1) } else { 0 };
        self.refusal = Some(Remembered { refusal, until });
    }

    /// Remembers a crash.
    pub(super) fn crash(&mut self, refusal: Refusal, now: Instant) {
        let until = now + CRASH_PAUSE;
        self.refusal = Some(Remembered { refusal, until });
    }

    /// Returns the refusal for callers who come while the next flight is in the air, if they shall not wait for it.
    pub(super) fn outage(&self) -> Option<Arc<Refusal>> {
        let is_lasting = self.rounds >= OUTAGE;
        self.last().filter(|_| is_lasting).map(Arc::new)
    }
}
