//! When keys may be fetched: one fetch at a time, a pause after a failure, and a cooldown for
//! unknown key ids.
//!
//! Invariant: every fetch begins with a [`FetchDecision::Fetch`] of this schedule, which records
//! it. Pure except for the handle of the fetch under way. For [`key_cache`](super::key_cache) only.

use super::source::KeyError;
use std::{collections::VecDeque, time::Duration};
use tokio::{sync::watch, time::Instant};

/// Shortest pause after a failed fetch: at most one fetch per second.
const SHORTEST_PAUSE: Duration = Duration::from_secs(1);

/// Longest pause: bounds how long callers are still refused after the issuer is back.
const LONGEST_PAUSE: Duration = Duration::from_secs(16);

/// Time between two fetches for unknown key ids, and how long a key id counts as unknown. A flood
/// of invented key ids must not become a flood of fetches.
const COOLDOWN: Duration = Duration::from_secs(60);

/// Most key ids remembered as unknown: 256 KiB with the longest `kid`.
const UNKNOWN_LIMIT: usize = 1024;

/// The schedule of one address.
#[derive(Default)]
pub(super) struct FetchSchedule {
    pending: Option<watch::Receiver<()>>,
    failures: u32,
    /// No fetch before this moment.
    pause_until: Option<Instant>,
    /// When a fetch was last made for an unknown key id.
    last_unknown_fetch: Option<Instant>,
    /// Key ids that the issuer did not know, oldest first, each with the time until which it
    /// counts. When the list is full, the oldest one is removed.
    unknown: VecDeque<(String, Instant)>,
}

/// What to do next.
pub(super) enum FetchDecision {
    /// Fetch, and drop the sender when the fetch is finished.
    Fetch(watch::Sender<()>),
    /// Wait for the fetch that is under way.
    Join(PendingFetch),
    /// Do not fetch.
    Refuse(KeyError),
}

/// A fetch under way.
pub(super) struct PendingFetch(watch::Receiver<()>);

impl PendingFetch {
    /// The fetch that is finished when `done` is dropped.
    pub(super) fn until_dropped(done: &watch::Sender<()>) -> Self {
        Self(done.subscribe())
    }

    /// Waits until the fetch has succeeded or failed. A panic in the fetch counts as failed.
    pub(super) async fn finished(mut self) {
        while self.0.changed().await.is_ok() {}
    }
}

impl FetchSchedule {
    /// Joins the fetch under way or begins one; `None` during a pause.
    pub(super) fn join_or_begin(&mut self, now: Instant) -> Option<FetchDecision> {
        if let Some(pending) = self.pending_fetch() {
            return Some(FetchDecision::Join(pending));
        }
        if self.pause_until.is_some_and(|until| now < until) {
            return None;
        }
        let (done, pending) = watch::channel(());
        self.pending = Some(pending);
        // Valid until the outcome is recorded: a fetch that ends without one is not repeated at
        // once.
        self.pause_until = Some(now + SHORTEST_PAUSE);
        Some(FetchDecision::Fetch(done))
    }

    /// Decides about a key id that the cached set does not have.
    pub(super) fn decide_unknown(&mut self, kid: &str, now: Instant) -> FetchDecision {
        if self.is_known_unknown(kid, now) {
            return FetchDecision::Refuse(self.unknown_key_error(now));
        }
        if let Some(pending) = self.pending_fetch() {
            return FetchDecision::Join(pending);
        }
        if self.last_unknown_fetch.is_some_and(|asked| now < asked + COOLDOWN) {
            return FetchDecision::Refuse(self.unknown_key_error(now));
        }
        let Some(decision) = self.join_or_begin(now) else {
            return FetchDecision::Refuse(self.unavailable(now));
        };
        self.last_unknown_fetch = Some(now);
        decision
    }

    /// Records that a fetch did not bring `kid`. The fetch counts as made for it.
    pub(super) fn remember_unknown(&mut self, kid: &str, now: Instant) {
        self.last_unknown_fetch = Some(now);
        if self.unknown.len() == UNKNOWN_LIMIT {
            self.unknown.pop_front();
        }
        self.unknown.push_back((kid.to_owned(), now + COOLDOWN));
    }

    pub(super) fn record_success(&mut self) {
        self.failures = 0;
        self.pause_until = None;
    }

    /// Each pause is twice as long as the one before.
    pub(super) fn record_failure(&mut self, now: Instant) {
        let factor = 2_u32.saturating_pow(self.failures);
        self.failures = self.failures.saturating_add(1);
        self.pause_until = Some(now + SHORTEST_PAUSE.saturating_mul(factor).min(LONGEST_PAUSE));
    }

    /// Whether the last fetch failed.
    pub(super) fn is_failing(&self) -> bool {
        self.failures > 0
    }

    /// The error while the keys cannot be fetched.
    pub(super) fn unavailable(&self, now: Instant) -> KeyError {
        KeyError::Unavailable { retry_after: self.pause(now) }
    }

    /// The rest of the pause, at least the shortest one.
    fn pause(&self, now: Instant) -> Duration {
        let pause = self.pause_until.map(|until| until.saturating_duration_since(now));
        pause.unwrap_or_default().max(SHORTEST_PAUSE)
    }

    /// The error for an unknown key id. In an outage it may be a new key, so it cannot be refused.
    fn unknown_key_error(&self, now: Instant) -> KeyError {
        if !self.is_failing() {
            return KeyError::Unknown;
        }
        let cooldown =
            self.last_unknown_fetch.map(|asked| (asked + COOLDOWN).saturating_duration_since(now));
        KeyError::Unavailable { retry_after: self.pause(now).max(cooldown.unwrap_or_default()) }
    }

    /// The fetch under way. Its sender exists exactly as long as the fetch.
    fn pending_fetch(&self) -> Option<PendingFetch> {
        let pending = self.pending.as_ref()?;
        pending.has_changed().ok().map(|_| PendingFetch(pending.clone()))
    }

    fn is_known_unknown(&self, kid: &str, now: Instant) -> bool {
        self.unknown.iter().any(|(name, until)| name == kid && now < *until)
    }
}

#[cfg(test)]
mod tests {
    use super::{COOLDOWN, FetchDecision, FetchSchedule, LONGEST_PAUSE, UNKNOWN_LIMIT};
    use crate::auth::source::KeyError;
    use std::time::Duration;
    use tokio::time::{self, Instant};

    #[tokio::test(start_paused = true)]
    async fn the_list_of_unknown_key_ids_is_bounded_and_drops_the_oldest() {
        let mut schedule = FetchSchedule::default();
        let now = Instant::now();
        for number in 0..=UNKNOWN_LIMIT {
            schedule.remember_unknown(&format!("kid-{number}"), now);
        }
        assert_eq!(schedule.unknown.len(), UNKNOWN_LIMIT);
        assert!(!schedule.is_known_unknown("kid-0", now));
        assert!(schedule.is_known_unknown("kid-1", now));
        assert!(!schedule.is_known_unknown("kid-1", now + COOLDOWN));
    }

    #[tokio::test(start_paused = true)]
    async fn a_remembered_key_id_is_refused_even_when_a_fetch_is_allowed() {
        let mut schedule = FetchSchedule::default();
        schedule.remember_unknown("kid", Instant::now());
        schedule.last_unknown_fetch = None;
        let decision = schedule.decide_unknown("kid", Instant::now());
        assert!(matches!(decision, FetchDecision::Refuse(KeyError::Unknown)));
        assert!(matches!(
            schedule.decide_unknown("other", Instant::now()),
            FetchDecision::Fetch(_)
        ));
    }

    #[tokio::test(start_paused = true)]
    async fn pauses_double_up_to_the_longest_and_end_with_a_success() {
        let mut schedule = FetchSchedule::default();
        let pauses: Vec<u64> = (0..7)
            .map(|_| {
                let now = Instant::now();
                schedule.record_failure(now);
                (schedule.pause_until.unwrap() - now).as_secs()
            })
            .collect();
        assert_eq!(pauses, [1, 2, 4, 8, 16, 16, 16]);
        assert_eq!(LONGEST_PAUSE, Duration::from_secs(16));
        schedule.record_success();
        assert!(!schedule.is_failing() && schedule.pause_until.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn many_failures_do_not_overflow() {
        let mut schedule = FetchSchedule { failures: u32::MAX, ..FetchSchedule::default() };
        schedule.record_failure(Instant::now());
        assert_eq!(
            schedule.unavailable(Instant::now()),
            KeyError::Unavailable { retry_after: LONGEST_PAUSE }
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_fetch_is_joined_until_its_sender_is_dropped() {
        let mut schedule = FetchSchedule::default();
        let now = Instant::now();
        let Some(FetchDecision::Fetch(done)) = schedule.join_or_begin(now) else {
            panic!("no first fetch");
        };
        assert!(matches!(schedule.join_or_begin(now), Some(FetchDecision::Join(_))));
        assert!(matches!(schedule.decide_unknown("kid", now), FetchDecision::Join(_)));
        drop(done);
        schedule.record_success();
        time::advance(Duration::from_millis(1)).await;
        assert!(matches!(schedule.join_or_begin(Instant::now()), Some(FetchDecision::Fetch(_))));
    }
}
