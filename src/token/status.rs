//! What an operator may see of a destination's token: states, times, causes; never a secret.
//!
//! Invariant: no text of an upstream gets in. Filled by `provider`, `exchange` and `vault`; read by
//! `http`.

use super::{
    attempt_budget::FAILURE_WINDOW,
    error::{LeaseRefusal, Reason},
    lease::Freshness,
    state::GuardState,
};
use crate::destination::{DestinationName, SourceKind};
use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::time::Instant;

/// Status of a destination.
#[derive(Clone, Debug)]
pub struct DestinationStatus {
    /// Its name.
    pub name: DestinationName,
    /// Where it was found; `None` if it was not found or not looked for yet.
    pub source: Option<SourceKind>,
    /// The user that logs on; only for answers that need a scope.
    pub user: Option<String>,
    /// Key of the identity provider; `None`: UAA's default, or no destination was found.
    pub origin: Option<String>,
    /// Whether a password may be sent.
    pub guard: GuardState,
    /// When the lockout guard opens by itself: the end of a pause, or the next probe of a lock.
    pub guard_opens_in: Option<Duration>,
    /// Why no password is sent now, and what to do; `None` if one may be sent.
    pub guard_hint: Option<String>,
    /// Age of the token; `None` if there is none.
    pub freshness: Option<Freshness>,
    /// How long CF accepts the token; `None` if there is none.
    pub expires_in: Option<Duration>,
    /// Refreshes that failed since the last one that worked.
    pub failed_refreshes: u32,
    /// What is odd about the token of the last grant.
    pub warning: Option<String>,
    /// The last grant that succeeded.
    pub last_renewal: Option<Renewal>,
    /// The last refusal, also one that is over.
    pub last_refusal: Option<PastRefusal>,
}

/// A grant that succeeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Renewal {
    /// Its OAuth name.
    pub grant: &'static str,
    /// How long the token endpoint took.
    pub took: Duration,
    /// How long ago.
    pub ago: Duration,
}

/// A refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PastRefusal {
    /// Why; the public code follows from it.
    pub reason: Reason,
    /// What to do.
    pub hint: String,
    /// How long ago.
    pub ago: Duration,
}

/// An attempt of this destination was released before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RepeatedRelease {
    /// How many were released in the last 65 min.
    pub earlier: usize,
    /// Passwords of the user that this instance sent without success in the last 65 min.
    pub unsuccessful: usize,
    /// From when on `force` is not needed.
    pub free_at: Instant,
}

/// The last events of one destination name, across changes of its credentials.
#[derive(Debug, Default)]
pub(super) struct RenewalHistory(Mutex<PastEvents>);

#[derive(Debug, Default)]
struct PastEvents {
    renewal: Option<(&'static str, Duration, Instant)>,
    warning: Option<String>,
    refusal: Option<(LeaseRefusal, Instant)>,
    has_warned_of_no_refresh: bool,
    /// Attempts that an operator released and that were sent, oldest first.
    releases: VecDeque<Instant>,
}

impl RenewalHistory {
    pub(super) fn renewed(&self, grant: &'static str, took: Duration, now: Instant) {
        self.past().renewal = Some((grant, took, now));
    }

    /// Replaces the warning about the token of the last grant.
    pub(super) fn warn(&self, warning: Option<String>) {
        self.past().warning = warning;
    }

    pub(super) fn warning(&self) -> Option<String> {
        self.past().warning.clone()
    }

    pub(super) fn refused(&self, refusal: &LeaseRefusal, now: Instant) {
        self.past().refusal = Some((refusal.clone(), now));
    }

    pub(super) fn last_renewal(&self, now: Instant) -> Option<Renewal> {
        let (grant, took, at) = self.past().renewal?;
        let ago = now.saturating_duration_since(at);
        Some(Renewal { grant, took, ago })
    }

    pub(super) fn last_refusal(&self, now: Instant) -> Option<PastRefusal> {
        let (refusal, at) = self.past().refusal.clone()?;
        let hint = refusal.hint();
        let ago = now.saturating_duration_since(at);
        Some(PastRefusal { reason: refusal.reason, hint, ago })
    }

    /// Takes note of a released attempt that was sent.
    pub(super) fn released(&self, now: Instant) {
        self.past().releases.push_back(now);
    }

    /// Returns how many released attempts were sent in the last 65 min.
    pub(super) fn releases(&self, now: Instant) -> usize {
        self.past().recent_releases(now).len()
    }

    /// Returns when the last released attempt is 65 min old; `None` if there was none.
    pub(super) fn release_free_at(&self, now: Instant) -> Option<Instant> {
        let mut past = self.past();
        past.recent_releases(now).back().map(|last| *last + FAILURE_WINDOW)
    }

    /// Returns `true` the first time only: the missing refresh token is logged once.
    pub(super) fn warns_of_no_refresh(&self) -> bool {
        !std::mem::replace(&mut self.past().has_warned_of_no_refresh, true)
    }

    fn past(&self) -> MutexGuard<'_, PastEvents> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PastEvents {
    fn recent_releases(&mut self, now: Instant) -> &VecDeque<Instant> {
        while self.releases.front().is_some_and(|oldest| now >= *oldest + FAILURE_WINDOW) {
            self.releases.pop_front();
        }
        &self.releases
    }
}

#[cfg(test)]
mod tests {
    use super::RenewalHistory;

    #[test]
    fn a_missing_refresh_token_is_logged_once() {
        let history = RenewalHistory::default();
        assert!(history.warns_of_no_refresh());
        assert!(!history.warns_of_no_refresh());
    }
}
