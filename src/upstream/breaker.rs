//! The circuit breaker's states and numbers (`docs/reference/limits.md`). Pure: time is an
//! argument.
//!
//! Invariant: an outcome counts only in the epoch in which its call was admitted. A late failure of
//! a call that began before the breaker opened can neither close it nor keep it open. Only
//! [`Gate`](crate::upstream::gate::Gate) has one.

use crate::upstream::{
    gate::{FailureKind, GateError},
    retry::Backoff,
};
use std::{collections::VecDeque, time::Duration};
use tokio::time::Instant;

/// How far back outcomes count. With half of it, 20 calls a second would be needed to see that half
/// of the calls fail. Double would count old failures against an upstream that has recovered.
const WINDOW: Duration = Duration::from_secs(10);

/// Outcomes are counted per second: about ten numbers in memory at any rate.
const BUCKET_SPAN: Duration = Duration::from_secs(1);

/// Fewer calls in the window prove nothing.
const ENOUGH_CALLS: u32 = 10;

/// This many failed connections in a row open the breaker at once: no server listens.
const CONNECT_ERRORS: u32 = 5;

/// How long it stays open. Recovery must be noticed within 5 s at first.
const PAUSES: Backoff = Backoff::doubling(Duration::from_secs(5), Duration::from_secs(60));

/// Pauses are shortened by up to this share, never lengthened: the documented times are upper
/// bounds.
const JITTER: f64 = 0.2;

/// `retry_after` while a probe is running: most calls end within a second.
const PROBE_TIME: Duration = Duration::from_secs(1);

/// How a call went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CallOutcome {
    Succeeded,
    Failed(FailureKind),
    /// The call was dropped without an outcome.
    Unknown,
}

/// What an outcome changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BreakerChange {
    Opened,
    Closed,
}

#[derive(Debug, Default)]
pub(super) struct Breaker {
    state: BreakerState,
    /// Grows with each change of state.
    epoch: u64,
    /// Openings since the breaker was last closed.
    openings: u32,
}

#[derive(Debug)]
enum BreakerState {
    Closed(Tally),
    Open { until: Instant },
    Probing,
}

impl Default for BreakerState {
    fn default() -> Self {
        Self::Closed(Tally::default())
    }
}

impl Breaker {
    /// Says whether a call would be admitted now, without admitting it.
    pub(super) fn check(&self, now: Instant) -> Result<(), GateError> {
        let retry_after = match &self.state {
            BreakerState::Closed(_) => return Ok(()),
            BreakerState::Open { until } if *until <= now => return Ok(()),
            BreakerState::Open { until } => *until - now,
            BreakerState::Probing => PROBE_TIME,
        };
        Err(GateError::Open { retry_after })
    }

    /// Admits a call and returns its epoch; the first one after a pause is the probe.
    pub(super) fn admit(&mut self, now: Instant) -> Result<u64, GateError> {
        self.check(now)?;
        if let BreakerState::Open { .. } = self.state {
            self.enter(BreakerState::Probing);
        }
        Ok(self.epoch)
    }

    pub(super) fn settle(
        &mut self,
        epoch: u64,
        outcome: CallOutcome,
        now: Instant,
    ) -> Option<BreakerChange> {
        if epoch != self.epoch {
            return None;
        }
        match (&mut self.state, outcome) {
            (BreakerState::Closed(tally), CallOutcome::Succeeded) => {
                tally.succeeded(now);
                None
            }
            (BreakerState::Closed(tally), CallOutcome::Failed(how)) => {
                tally.failed(how, now);
                tally.is_bad().then(|| self.open(now))
            }
            (BreakerState::Probing, CallOutcome::Succeeded) => {
                self.openings = 0;
                self.enter(BreakerState::Closed(Tally::default()));
                Some(BreakerChange::Closed)
            }
            (BreakerState::Probing, CallOutcome::Failed(_)) => Some(self.open(now)),
            (BreakerState::Probing, CallOutcome::Unknown) => {
                // The next call is the probe.
                self.enter(BreakerState::Open { until: now });
                None
            }
            (BreakerState::Closed(_), CallOutcome::Unknown)
            | (
                BreakerState::Open { .. },
                CallOutcome::Succeeded | CallOutcome::Failed(_) | CallOutcome::Unknown,
            ) => None,
        }
    }

    fn open(&mut self, now: Instant) -> BreakerChange {
        let pause = PAUSES.wait(self.openings);
        self.openings = self.openings.saturating_add(1);
        let until = now + pause.mul_f64(1.0 - JITTER * fastrand::f64());
        self.enter(BreakerState::Open { until });
        BreakerChange::Opened
    }

    fn enter(&mut self, state: BreakerState) {
        self.state = state;
        self.epoch += 1;
    }
}

/// Outcomes of the last ten seconds.
#[derive(Debug, Default)]
struct Tally {
    buckets: VecDeque<Bucket>,
    connect_errors_in_a_row: u32,
}

#[derive(Debug)]
struct Bucket {
    since: Instant,
    calls: u32,
    failures: u32,
}

impl Tally {
    fn succeeded(&mut self, now: Instant) {
        self.connect_errors_in_a_row = 0;
        self.count(now, 0);
    }

    fn failed(&mut self, how: FailureKind, now: Instant) {
        self.connect_errors_in_a_row = match how {
            FailureKind::Connect => self.connect_errors_in_a_row.saturating_add(1),
            // There was a response, or at least a connection.
            FailureKind::Response => 0,
        };
        self.count(now, 1);
    }

    fn count(&mut self, now: Instant, failures: u32) {
        while self.buckets.front().is_some_and(|bucket| now.duration_since(bucket.since) >= WINDOW)
        {
            self.buckets.pop_front();
        }
        match self.buckets.back_mut() {
            Some(bucket) if now.duration_since(bucket.since) < BUCKET_SPAN => {
                bucket.calls = bucket.calls.saturating_add(1);
                bucket.failures = bucket.failures.saturating_add(failures);
            }
            Some(_) | None => self.buckets.push_back(Bucket { since: now, calls: 1, failures }),
        }
    }

    fn is_bad(&self) -> bool {
        let calls: u32 = self.buckets.iter().map(|bucket| bucket.calls).sum();
        let failures: u32 = self.buckets.iter().map(|bucket| bucket.failures).sum();
        self.connect_errors_in_a_row >= CONNECT_ERRORS
            || (calls >= ENOUGH_CALLS && failures >= calls.div_ceil(2))
    }
}

#[cfg(test)]
mod tests {
    use super::{Breaker, BreakerChange, CallOutcome};
    use crate::upstream::gate::{FailureKind, GateError};
    use rstest::rstest;
    use std::time::Duration;
    use tokio::time::Instant;

    const OK: CallOutcome = CallOutcome::Succeeded;
    const DOWN: CallOutcome = CallOutcome::Failed(FailureKind::Connect);
    const BAD: CallOutcome = CallOutcome::Failed(FailureKind::Response);

    fn breaker() -> Breaker {
        Breaker::default()
    }

    /// Runs one call per outcome and returns what the last one changed.
    fn run(breaker: &mut Breaker, now: Instant, outcomes: &[CallOutcome]) -> Option<BreakerChange> {
        let mut change = None;
        for outcome in outcomes {
            let epoch = breaker.admit(now).unwrap();
            change = breaker.settle(epoch, *outcome, now);
        }
        change
    }

    #[rstest]
    #[case::five_refused_in_a_row(&[DOWN, DOWN, DOWN, DOWN, DOWN], Some(BreakerChange::Opened))]
    #[case::four_refused(&[DOWN, DOWN, DOWN, DOWN], None)]
    #[case::a_success_between(&[DOWN, DOWN, DOWN, DOWN, OK, DOWN], None)]
    #[case::an_answer_between(&[DOWN, DOWN, DOWN, DOWN, BAD, DOWN], None)]
    #[case::half_of_ten(&[OK, OK, OK, OK, OK, BAD, BAD, BAD, BAD, BAD], Some(BreakerChange::Opened))]
    #[case::less_than_half(&[OK, OK, OK, OK, OK, OK, BAD, BAD, BAD, BAD], None)]
    #[case::all_of_nine(&[BAD; 9], None)]
    #[case::all_of_ten(&[BAD; 10], Some(BreakerChange::Opened))]
    fn it_opens_at_half_of_ten_calls_or_five_refused_connections(
        #[case] outcomes: &[CallOutcome],
        #[case] change: Option<BreakerChange>,
    ) {
        assert_eq!(run(&mut breaker(), Instant::now(), outcomes), change);
    }

    #[test]
    fn failures_older_than_ten_seconds_are_forgotten() {
        let mut breaker = breaker();
        let now = Instant::now();
        run(&mut breaker, now, &[BAD; 9]);
        let later = now + Duration::from_secs(10);
        assert_eq!(run(&mut breaker, later, &[BAD; 9]), None);
    }

    #[test]
    fn pauses_double_up_to_sixty_seconds_and_are_shortened_by_at_most_a_fifth() {
        let mut breaker = breaker();
        let mut now = Instant::now();
        run(&mut breaker, now, &[DOWN; 5]);
        for seconds in [5, 10, 20, 40, 60, 60] {
            let Err(GateError::Open { retry_after }) = breaker.check(now) else {
                panic!("closed");
            };
            let full = Duration::from_secs(seconds);
            assert!((full.mul_f64(0.8)..=full).contains(&retry_after));
            now += retry_after;
            assert_eq!(run(&mut breaker, now, &[DOWN]), Some(BreakerChange::Opened));
        }
    }

    #[test]
    fn a_closed_breaker_starts_again_with_the_short_pause() {
        let mut breaker = breaker();
        let now = Instant::now();
        run(&mut breaker, now, &[DOWN; 5]);
        let later = now + Duration::from_secs(5);
        run(&mut breaker, later, &[DOWN]);
        let later = later + Duration::from_secs(10);
        assert_eq!(run(&mut breaker, later, &[OK]), Some(BreakerChange::Closed));
        run(&mut breaker, later, &[DOWN; 5]);
        assert!(breaker.check(later + Duration::from_secs(5)).is_ok());
    }

    #[test]
    fn an_outcome_from_before_the_opening_changes_nothing() {
        let mut breaker = breaker();
        let now = Instant::now();
        let early = breaker.admit(now).unwrap();
        run(&mut breaker, now, &[DOWN; 5]);
        let later = now + Duration::from_secs(5);
        let probe = breaker.admit(later).unwrap();
        assert_eq!(breaker.settle(early, OK, later), None);
        assert_eq!(breaker.settle(probe, OK, later), Some(BreakerChange::Closed));
        assert_eq!(breaker.settle(early, DOWN, later), None);
    }
}
