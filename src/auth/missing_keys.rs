//! When keys may be fetched: one fetch at a time, a pause after a failure, and a cooldown after a
//! fetch for an unknown key id.
//!
//! Invariant: every fetch begins with a [`FetchDecision::Fetch`] of this schedule, which records
//! it. A key id counts as unknown only if a fetch that began after the question did not bring it.
//! Pure except for the handle of the fetch under way. For [`key_cache`](super::key_cache) only.

use super::source::KeyError;
use crate::upstream::ConnectFault;
use std::{collections::VecDeque, time::Duration};
use tokio::{sync::watch, time::Instant};

/// Shortest pause after a failed fetch: at most one fetch per second.
const SHORTEST_PAUSE: Duration = Duration::from_secs(1);

/// Longest pause: bounds how long callers are still refused after the issuer is back.
const LONGEST_PAUSE: Duration = Duration::from_secs(16);

/// Time between two fetches for unknown key ids, and how long a key id counts as unknown. A flood
/// of invented key ids must not become a flood of fetches, and a new key must work soon.
const COOLDOWN: Duration = Duration::from_secs(5);

/// A single answer "no keys" may be a mistake of the issuer. After this time it is believed.
const DENIAL_TIME: Duration = Duration::from_secs(60);

/// Most key ids that are remembered as missing: 256 KiB with the longest `kid`.
const MISSING_LIMIT: usize = 1024;

/// The schedule of one address.
#[derive(Default)]
pub(super) struct FetchSchedule {
    pending: Option<watch::Receiver<()>>,
    /// When the last fetch began.
    begun_at: Option<Instant>,
    /// Whether the last fetch was begun for an unknown key id.
    is_for_unknown: bool,
    failures: u32,
    /// Since when the issuer answers that it has no keys, although some are in use.
    denied_since: Option<Instant>,
    /// Why the last fetch made no connection.
    cause: Option<ConnectFault>,
    /// No fetch before this moment.
    pause_until: Option<Instant>,
    /// No fetch for an unknown key id before this moment. Only a successful fetch sets it.
    cooldown_until: Option<Instant>,
    /// Key ids that no fetched set had, oldest first. When the list is full, the oldest one is
    /// removed.
    missing: VecDeque<MissingKid>,
}

/// A key id that the cached set did not have.
struct MissingKid {
    kid: String,
    /// When it was first asked for.
    asked_at: Instant,
    /// Set by a successful fetch that began after the question and did not bring it.
    unknown_until: Option<Instant>,
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

/// What the schedule learns of a failed fetch.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct FailedFetch {
    /// The pause that the issuer asked for.
    pub(super) asked_pause: Option<Duration>,
    /// Why no connection was made; `None` if one was made.
    pub(super) cause: Option<ConnectFault>,
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
        self.begun_at = Some(now);
        self.is_for_unknown = false;
        // Valid until the outcome is recorded: a fetch that ends without one is not repeated at
        // once.
        self.pause_until = Some(now + SHORTEST_PAUSE);
        Some(FetchDecision::Fetch(done))
    }

    /// Records that the cached set does not have `kid`.
    pub(super) fn note_missing(&mut self, kid: &str, now: Instant) {
        self.missing.retain(|missing| missing.unknown_until.is_none_or(|until| now < until));
        if self.missing.iter().any(|missing| missing.kid == kid) {
            return;
        }
        if self.missing.len() == MISSING_LIMIT {
            self.missing.pop_front();
        }
        let kid = kid.to_owned();
        self.missing.push_back(MissingKid { kid, asked_at: now, unknown_until: None });
    }

    /// Records that the fetch did not bring a key of the set before: the issuer has ended it.
    pub(super) fn note_withdrawn(&mut self, kid: &str, now: Instant) {
        self.note_missing(kid, self.begun_at.unwrap_or(now));
    }

    /// Decides about a key id that was noted as missing.
    pub(super) fn decide_missing(&mut self, kid: &str, now: Instant) -> FetchDecision {
        if self.is_unknown(kid, now) {
            return FetchDecision::Refuse(KeyError::Unknown);
        }
        if let Some(pending) = self.pending_fetch() {
            return FetchDecision::Join(pending);
        }
        if self.cooldown_until.is_some_and(|until| now < until) {
            return FetchDecision::Refuse(self.undecided(now));
        }
        let Some(decision) = self.join_or_begin(now) else {
            return FetchDecision::Refuse(self.undecided(now));
        };
        self.is_for_unknown = true;
        decision
    }

    /// Records a successful fetch; `has` tells whether the new set has a key id. A missing key id
    /// that was asked for before the fetch began is decided now.
    pub(super) fn record_success(&mut self, now: Instant, has: impl Fn(&str) -> bool) {
        self.failures = 0;
        self.denied_since = None;
        self.cause = None;
        self.pause_until = None;
        let until = now + COOLDOWN;
        self.missing.retain(|missing| !has(&missing.kid));
        let begun_at = self.begun_at;
        let decided = self.missing.iter_mut().filter(|missing| Some(missing.asked_at) <= begun_at);
        let mut is_for_unknown = self.is_for_unknown;
        for missing in decided {
            missing.unknown_until = Some(until);
            is_for_unknown = true;
        }
        if is_for_unknown {
            self.cooldown_until = Some(until);
        }
    }

    /// Records that the issuer denies its keys. Returns whether it has done so for long enough to
    /// believe it.
    pub(super) fn record_denial(&mut self, now: Instant) -> bool {
        now >= *self.denied_since.get_or_insert(now) + DENIAL_TIME
    }

    /// Each pause is twice as long as the one before, and not shorter than the issuer asked for.
    pub(super) fn record_failure(&mut self, now: Instant, failed: FailedFetch) {
        let factor = 2_u32.saturating_pow(self.failures);
        self.failures = self.failures.saturating_add(1);
        let pause = SHORTEST_PAUSE.saturating_mul(factor).min(LONGEST_PAUSE);
        self.pause_until = Some(now + pause.max(failed.asked_pause.unwrap_or_default()));
        self.cause = failed.cause;
    }

    /// Whether the last fetch failed.
    pub(super) fn is_failing(&self) -> bool {
        self.failures > 0
    }

    /// The error while the keys cannot be fetched.
    pub(super) fn unavailable(&self, now: Instant) -> KeyError {
        KeyError::Unavailable { retry_after: rest(self.pause_until, now), cause: self.cause }
    }

    /// The error for a key id that may be a new key: the next fetch decides.
    fn undecided(&self, now: Instant) -> KeyError {
        let retry_after = rest(self.pause_until.max(self.cooldown_until), now);
        if self.is_failing() {
            KeyError::Unavailable { retry_after, cause: self.cause }
        } else {
            KeyError::Undecided { retry_after }
        }
    }

    /// The fetch under way. Its sender exists exactly as long as the fetch.
    fn pending_fetch(&self) -> Option<PendingFetch> {
        let pending = self.pending.as_ref()?;
        pending.has_changed().ok().map(|_| PendingFetch(pending.clone()))
    }

    fn is_unknown(&self, kid: &str, now: Instant) -> bool {
        let is_decided = |missing: &MissingKid| missing.unknown_until.is_some_and(|end| now < end);
        self.missing.iter().any(|missing| missing.kid == kid && is_decided(missing))
    }
}

/// The time until `until`, at least the shortest pause.
fn rest(until: Option<Instant>, now: Instant) -> Duration {
    let rest = until.map(|until| until.saturating_duration_since(now));
    rest.unwrap_or_default().max(SHORTEST_PAUSE)
}

#[cfg(test)]
mod tests {
    use super::{
        COOLDOWN, FailedFetch, FetchDecision, FetchSchedule, LONGEST_PAUSE, MISSING_LIMIT,
    };
    use crate::auth::source::KeyError;
    use std::time::Duration;
    use tokio::time::{self, Instant};

    #[tokio::test(start_paused = true)]
    async fn the_list_of_missing_key_ids_is_bounded_and_drops_the_oldest() {
        let mut schedule = FetchSchedule::default();
        let now = Instant::now();
        for number in 0..=MISSING_LIMIT {
            schedule.note_missing(&format!("kid-{number}"), now);
        }
        assert!(matches!(schedule.join_or_begin(now), Some(FetchDecision::Fetch(_))));
        schedule.record_success(now, |_| false);
        assert_eq!(schedule.missing.len(), MISSING_LIMIT);
        assert!(!schedule.is_unknown("kid-0", now));
        assert!(schedule.is_unknown("kid-1", now));
        assert!(!schedule.is_unknown("kid-1", now + COOLDOWN));
        schedule.note_missing("kid-1", now + COOLDOWN);
        assert_eq!(schedule.missing.len(), 1, "what is over is dropped");
    }

    #[tokio::test(start_paused = true)]
    async fn pauses_double_up_to_the_longest_and_end_with_a_success() {
        let mut schedule = FetchSchedule::default();
        let pauses: Vec<u64> = (0..7)
            .map(|_| {
                let now = Instant::now();
                schedule.record_failure(now, FailedFetch::default());
                (schedule.pause_until.unwrap() - now).as_secs()
            })
            .collect();
        assert_eq!(pauses, [1, 2, 4, 8, 16, 16, 16]);
        assert_eq!(LONGEST_PAUSE, Duration::from_secs(16));
        schedule.record_success(Instant::now(), |_| false);
        assert!(!schedule.is_failing() && schedule.pause_until.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_is_not_shorter_than_the_issuer_asked_for() {
        let mut schedule = FetchSchedule::default();
        let asked = Duration::from_secs(30);
        schedule
            .record_failure(Instant::now(), FailedFetch { asked_pause: Some(asked), cause: None });
        let error = schedule.unavailable(Instant::now());
        assert_eq!(error, KeyError::Unavailable { retry_after: asked, cause: None });
    }

    #[tokio::test(start_paused = true)]
    async fn many_failures_do_not_overflow() {
        let mut schedule = FetchSchedule { failures: u32::MAX, ..FetchSchedule::default() };
        schedule.record_failure(Instant::now(), FailedFetch::default());
        assert_eq!(
            schedule.unavailable(Instant::now()),
            KeyError::Unavailable { retry_after: LONGEST_PAUSE, cause: None }
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
        assert!(matches!(schedule.decide_missing("kid", now), FetchDecision::Join(_)));
        drop(done);
        schedule.record_success(now, |_| false);
        time::advance(Duration::from_millis(1)).await;
        assert!(matches!(schedule.join_or_begin(Instant::now()), Some(FetchDecision::Fetch(_))));
    }
}
