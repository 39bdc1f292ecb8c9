//! State of the cache for one destination, and the times that follow from it.
//!
//! Invariant: makes no call and takes no lock; `cache` does. Used by `cache` and `cache::apply`.

use super::FindResult;
use crate::destination::{Destination, DestinationError, fault::Transient, pin::DestinationHosts};
use http::HeaderValue;
use std::{sync::Arc, time::Duration};
use tokio::{sync::watch, time::Instant};

/// First pause after a failed fetch; it doubles with each further failure …
pub(super) const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// … up to this where no connection was made …
const CONNECT_PAUSE: Duration = Duration::from_secs(5);

/// … and up to this where something answered.
const ANSWER_PAUSE: Duration = Duration::from_secs(60);

/// After this many revalidations one is sent without entity tag: it is not known whether the tag
/// changes when only the password changes.
const UNCONDITIONAL_EVERY: u32 = 12;

#[derive(Default)]
pub(super) struct CacheState {
    pub(super) held: Option<CachedContent>,
    pub(super) last_failure: Option<LastFailure>,
    /// When the first of two 404s came.
    pub(super) absent_since: Option<Instant>,
    pub(super) revalidations: u32,
    /// Hosts of the first content in service. They outlive it: deleting and re-creating a
    /// destination must not get round the rule about changed hosts.
    pub(super) hosts: Option<DestinationHosts>,
    /// Digest of the content whose findings and warnings have been logged.
    pub(super) logged: Option<u64>,
    pub(super) in_flight: Option<InFlightFetch>,
    /// Whether it was logged that content stays although its source cannot be read.
    pub(super) has_complained: bool,
}

pub(super) struct CachedContent {
    pub(super) destination: Arc<Destination>,
    pub(super) tag: Option<HeaderValue>,
    pub(super) digest: u64,
    pub(super) confirmed_at: Instant,
}

/// Why the last fetch failed, and until when no other one is started on demand.
pub(super) struct LastFailure {
    pub(super) error: DestinationError,
    pub(super) until: Instant,
    pub(super) rounds: u32,
}

pub(super) struct InFlightFetch {
    pub(super) condition: Condition,
    pub(super) outcome: watch::Receiver<Option<FindResult>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Condition {
    /// With the entity tag, where there is one.
    IfChanged,
    /// Without the entity tag.
    Always,
}

impl CacheState {
    /// Counts a revalidation and returns the entity tag to send.
    pub(super) fn tag(&mut self, condition: Condition) -> Option<HeaderValue> {
        let held = self.held.as_ref()?;
        self.revalidations = self.revalidations.wrapping_add(1);
        let is_due = self.revalidations.is_multiple_of(UNCONDITIONAL_EVERY);
        match condition {
            Condition::IfChanged if !is_due => held.tag.clone(),
            Condition::IfChanged | Condition::Always => None,
        }
    }

    /// The held content counts as confirmed now; the last failure is over.
    pub(super) fn confirm(&mut self) -> Option<Arc<Destination>> {
        let held = self.held.as_mut()?;
        held.confirmed_at = Instant::now();
        self.last_failure = None;
        self.absent_since = None;
        Some(Arc::clone(&held.destination))
    }

    pub(super) fn record_failure(
        &mut self,
        error: DestinationError,
        pause: Duration,
    ) -> FindResult {
        let until = Instant::now() + pause;
        let rounds = self.rounds().saturating_add(1);
        self.last_failure = Some(LastFailure { error: error.clone(), until, rounds });
        if !matches!(error, DestinationError::Missing { .. }) {
            self.absent_since = None;
        }
        Err(error)
    }

    pub(super) fn rounds(&self) -> u32 {
        self.last_failure.as_ref().map_or(0, |last_failure| last_failure.rounds)
    }

    /// Returns the error for callers while no new fetch may start.
    pub(super) fn pause(&self) -> Option<DestinationError> {
        let last_failure = self.last_failure.as_ref()?;
        let left = last_failure.until.checked_duration_since(Instant::now())?;
        if left.is_zero() {
            return None;
        }
        Some(match last_failure.error.clone() {
            DestinationError::Unavailable { name, advice, .. } => {
                DestinationError::Unavailable { name, advice, retry_after: left }
            }
            error @ (DestinationError::Missing { .. }
            | DestinationError::Invalid { .. }
            | DestinationError::Untrusted { .. }) => error,
        })
    }
}

impl CachedContent {
    pub(super) fn age(&self) -> Duration {
        self.confirmed_at.elapsed()
    }
}

impl InFlightFetch {
    /// Also false when its task is gone.
    pub(super) fn is_running(&self) -> bool {
        self.outcome.borrow().is_none() && self.outcome.has_changed().is_ok()
    }
}

/// Returns the pause after a failed fetch; `rounds` have failed before it.
pub(super) fn pause(kind: Transient, rounds: u32) -> Duration {
    let longest = match kind {
        Transient::Connect | Transient::Name | Transient::Closed => CONNECT_PAUSE,
        Transient::Certificate
        | Transient::NoAnswer
        | Transient::Server
        | Transient::RateLimited
        | Transient::Unreadable => ANSWER_PAUSE,
    };
    FIRST_PAUSE.saturating_mul(1 << rounds.min(10)).min(longest)
}
