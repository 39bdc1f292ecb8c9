//! Failed refreshes in a row, and when a logon is the other road.
//!
//! Invariant: only what reached the server counts for the other road. A refresh that works, or a
//! refresh token that is refused, ends the row. Used by `refresh`; shown by `vault`.

use super::backoff::RetryClass;
use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::time::Instant;

/// A second failure tells a disturbance from a refresh that does not work.
const FAILURES_BEFORE_LOGON: u32 = 2;

/// The failed refreshes of one credential.
#[derive(Debug, Default)]
pub(super) struct RefreshFailures(Mutex<FailureCounts>);

#[derive(Debug, Default)]
struct FailureCounts {
    /// Since the last refresh that worked.
    in_row: u32,
    /// Since the last new token: those that reached the server.
    reached: u32,
    /// The server asked for a pause until then.
    limited_until: Option<Instant>,
}

impl RefreshFailures {
    /// Returns the number of failures since the last refresh that worked.
    pub(super) fn in_row(&self) -> u32 {
        self.counts().in_row
    }

    /// Counts a failure that is followed by `pause`.
    pub(super) fn note(&self, retry_class: RetryClass, has_reached: Reached, pause: Duration) {
        let mut counts = self.counts();
        counts.in_row = counts.in_row.saturating_add(1);
        if has_reached == Reached::Yes {
            counts.reached = counts.reached.saturating_add(1);
        }
        counts.limited_until = is_limited(retry_class).then(|| Instant::now() + pause);
    }

    /// Returns until when the server wants no further request.
    pub(super) fn limited_until(&self, now: Instant) -> Option<Instant> {
        self.counts().limited_until.filter(|until| now < *until)
    }

    /// Returns whether refreshing has failed often enough for one logon.
    pub(super) fn suffice(&self) -> bool {
        self.counts().reached >= FAILURES_BEFORE_LOGON
    }

    /// A refresh worked, or there is nothing to refresh with.
    pub(super) fn clear(&self) {
        *self.counts() = FailureCounts::default();
    }

    /// A logon brought a new token. That refreshing does not work stays visible.
    pub(super) fn start_again(&self) {
        let mut counts = self.counts();
        counts.reached = 0;
        counts.limited_until = None;
    }

    fn counts(&self) -> MutexGuard<'_, FailureCounts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a request may have reached the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reached {
    No,
    Yes,
}

/// Returns whether the server has asked for a pause.
pub(super) fn is_limited(retry_class: RetryClass) -> bool {
    match retry_class {
        RetryClass::RateLimited | RetryClass::Asked(_) => true,
        RetryClass::NoAnswer | RetryClass::BadAnswer | RetryClass::NoTokenEndpoint => false,
    }
}
