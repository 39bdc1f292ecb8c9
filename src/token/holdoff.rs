//! Spaces renewals that CF's refusals force (reliability.md T7). One per credential; used by `slot`.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};
use tokio::time::Instant;

/// At most one forced renewal in this time, so that a CF that refuses every token causes no storm of grants.
const FORCED_EVERY: Duration = Duration::from_secs(30);

/// When the last one was forced.
#[derive(Debug, Default)]
pub(super) struct HoldOff(Mutex<Option<Instant>>);

/// Whether CF's refusal of a lease led to a renewal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Revoked {
    /// Ask for a new lease and replay.
    Renewing,
    /// A forced renewal within the last 30 s did not help: no other one, answer 502.
    HoldOff,
}

impl HoldOff {
    /// Takes the one forced renewal of this time; `false` if it was taken already.
    pub(super) fn take(&self, now: Instant) -> bool {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_free = last.is_none_or(|last| now >= last + FORCED_EVERY);
        if is_free {
            *last = Some(now);
        }
        is_free
    }
}
