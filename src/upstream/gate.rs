//! Gate: concurrency limit and circuit breaker, one per upstream (`docs/reference/limits.md`).
//!
//! Invariant: while the breaker is open, no call waits and nothing is sent. After the pause exactly
//! one call is admitted as a probe. Every call of an upstream enters here first and reports its
//! outcome to the [`CallPermit`]. A breaker starts closed, opens by [`FailureKind`]s, and forgets
//! them when a probe succeeds.

use crate::{
    telemetry::metrics::Metrics,
    upstream::{
        breaker::{Breaker, BreakerChange, CallOutcome},
        fair_semaphore::{FairPermit, FairSemaphore},
        retry::RetryBudget,
    },
};
use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::time::Instant;

/// Longest wait for a permit. Callers have 55 s for everything, and a longer queue only hides that
/// the upstream is too slow.
const LONGEST_QUEUE: Duration = Duration::from_secs(1);

/// Limits the calls to one upstream and stops them while it is down. A clone is shallow.
#[derive(Clone)]
pub struct Gate {
    inner: Arc<GateInner>,
}

struct GateInner {
    upstream: &'static str,
    permits: FairSemaphore,
    breaker: Mutex<Breaker>,
    budget: RetryBudget,
    metrics: Metrics,
}

impl Gate {
    /// Makes a closed gate. `upstream` names it in metrics; `limit` is the number of parallel
    /// calls.
    pub fn new(upstream: &'static str, limit: usize, metrics: Metrics) -> Self {
        Self {
            inner: Arc::new(GateInner {
                upstream,
                permits: FairSemaphore::new(limit),
                breaker: Mutex::new(Breaker::default()),
                budget: RetryBudget::default(),
                metrics,
            }),
        }
    }

    /// Waits at most 1 s for a permit.
    ///
    /// # Errors
    /// [`GateError::Open`] at once while the breaker is open, [`GateError::Full`] after the wait.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the queue and holds nothing.
    pub async fn enter(&self) -> Result<CallPermit, GateError> {
        self.enter_for(None).await
    }

    /// As [`Gate::enter`], on behalf of a caller that gets its share of the permits only.
    ///
    /// # Errors
    /// As [`Gate::enter`].
    ///
    /// # Cancel safety
    /// As [`Gate::enter`].
    pub async fn enter_for(&self, caller: Option<&Arc<str>>) -> Result<CallPermit, GateError> {
        let (mut now, permits) = (Instant::now(), &self.inner.permits);
        let permit = if let Some(permit) = permits.try_acquire(caller) {
            permit
        } else {
            self.inner.breaker().check(now)?;
            let permit = permits.acquire(caller, LONGEST_QUEUE).await;
            now = Instant::now();
            permit.ok_or(GateError::Full)?
        };
        // The breaker may have opened while the call was in the queue.
        let epoch = self.inner.breaker().admit(now)?;
        self.inner.budget.deposit(now);
        Ok(CallPermit {
            inner: Arc::clone(&self.inner),
            epoch,
            is_reported: false,
            _permit: permit,
        })
    }

    /// Returns whether a call may be repeated now, within 20 % of the traffic, and counts the
    /// retry.
    pub fn may_retry(&self) -> bool {
        let allowed = self.inner.budget.withdraw(Instant::now());
        if allowed {
            self.inner.metrics.upstream_retried(self.inner.upstream);
        }
        allowed
    }
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gate")
            .field("upstream", &self.inner.upstream)
            .field("free", &self.inner.permits.available_permits())
            .finish_non_exhaustive()
    }
}

impl GateInner {
    /// Not held across an `await`; the code under it cannot panic half-way.
    fn breaker(&self) -> MutexGuard<'_, Breaker> {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn settle(&self, epoch: u64, outcome: CallOutcome) {
        let change = self.breaker().settle(epoch, outcome, Instant::now());
        match change {
            Some(BreakerChange::Opened) => self.metrics.breaker_opened(self.upstream),
            Some(BreakerChange::Closed) => self.metrics.breaker_closed(self.upstream),
            None => {}
        }
    }
}

/// Permission for one call. Report the outcome to it; a drop without one counts as neither success
/// nor failure.
#[must_use = "the breaker learns from the outcome"]
pub struct CallPermit {
    inner: Arc<GateInner>,
    epoch: u64,
    is_reported: bool,
    _permit: FairPermit,
}

impl CallPermit {
    /// The upstream did its work. Also for 4xx and 429: they are about the request, not about the
    /// upstream's health.
    pub fn succeeded(mut self) {
        self.report(CallOutcome::Succeeded);
    }

    /// The upstream did not do its work.
    pub fn failed(mut self, how: FailureKind) {
        self.report(CallOutcome::Failed(how));
    }

    fn report(&mut self, outcome: CallOutcome) {
        self.is_reported = true;
        self.inner.settle(self.epoch, outcome);
    }
}

impl Drop for CallPermit {
    fn drop(&mut self) {
        if !self.is_reported {
            self.report(CallOutcome::Unknown);
        }
    }
}

impl fmt::Debug for CallPermit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallPermit").field("upstream", &self.inner.upstream).finish_non_exhaustive()
    }
}

/// How an upstream failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureKind {
    /// The connection was never made.
    Connect,
    /// 5xx, time-out, or a connection that broke.
    Response,
}

/// Why a call may not be made now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GateError {
    /// The upstream is down.
    #[error("breaker open")]
    Open {
        /// Time until the next probe.
        retry_after: Duration,
    },
    /// All permits are taken, or all that the caller may have, and none became free within 1 s.
    #[error("too many calls at once")]
    Full,
}

#[cfg(test)]
mod tests {
    use super::{FailureKind, Gate, GateError};
    use crate::telemetry::metrics::Metrics;
    use std::time::Duration;
    use tokio::time::{Instant, advance};

    const SECOND: Duration = Duration::from_secs(1);

    fn gate() -> Gate {
        Gate::new("test", 2, Metrics::default())
    }

    async fn fail(gate: &Gate, how: FailureKind, times: u32) {
        for _ in 0..times {
            gate.enter().await.unwrap().failed(how);
        }
    }

    fn is_open<T>(entered: &Result<T, GateError>) -> bool {
        matches!(entered, Err(GateError::Open { .. }))
    }

    #[tokio::test(start_paused = true)]
    async fn a_released_permit_goes_to_the_next_call() {
        let gate = gate();
        let _first = gate.enter().await.unwrap();
        let second = gate.enter().await.unwrap();
        let (third, ()) = tokio::join!(gate.enter(), async {
            advance(SECOND / 2).await;
            second.succeeded();
        });
        assert!(third.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_gate_refuses_after_one_second() {
        let gate = gate();
        let _held = (gate.enter().await.unwrap(), gate.enter().await.unwrap());
        let begun = Instant::now();
        assert_eq!(gate.enter().await.unwrap_err(), GateError::Full);
        assert_eq!(begun.elapsed().as_secs(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn an_open_breaker_refuses_at_once_and_says_when_to_come_back() {
        let gate = gate();
        fail(&gate, FailureKind::Connect, 5).await;
        let begun = Instant::now();
        let Err(GateError::Open { retry_after }) = gate.enter().await else {
            panic!("the breaker is closed");
        };
        assert!((4 * SECOND..=5 * SECOND).contains(&retry_after));
        assert_eq!(begun.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn a_breaker_that_opens_while_a_call_queues_refuses_it() {
        let gate = Gate::new("test", 1, Metrics::default());
        fail(&gate, FailureKind::Connect, 4).await;
        let last = gate.enter().await.unwrap();
        let (queued, ()) = tokio::join!(gate.enter(), async {
            advance(SECOND / 2).await;
            last.failed(FailureKind::Connect);
        });
        assert!(is_open(&queued));
    }

    #[tokio::test(start_paused = true)]
    async fn one_probe_is_let_through_and_its_success_closes_the_breaker() {
        let gate = gate();
        fail(&gate, FailureKind::Connect, 5).await;
        advance(5 * SECOND).await;
        let probe = gate.enter().await.unwrap();
        assert!(is_open(&gate.enter().await));
        probe.succeeded();
        assert!(gate.enter().await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_probe_that_is_dropped_makes_room_for_another() {
        let gate = gate();
        fail(&gate, FailureKind::Connect, 5).await;
        advance(5 * SECOND).await;
        drop(gate.enter().await.unwrap());
        assert!(gate.enter().await.is_ok());
        assert!(gate.enter().await.is_ok(), "the probe above was dropped, too");
    }

    #[tokio::test(start_paused = true)]
    async fn a_dropped_permit_counts_as_neither() {
        let gate = gate();
        fail(&gate, FailureKind::Connect, 4).await;
        drop(gate.enter().await.unwrap());
        fail(&gate, FailureKind::Connect, 1).await;
        assert!(is_open(&gate.enter().await));
    }

    #[tokio::test(start_paused = true)]
    async fn retries_stay_within_the_budget_of_the_calls() {
        let gate = gate();
        let all = (0..100).take_while(|_| gate.may_retry()).count();
        for _ in 0..10 {
            gate.enter().await.unwrap().succeeded();
        }
        let more = (0..100).take_while(|_| gate.may_retry()).count();
        assert_eq!((all, more), (10, 2));
    }
}
