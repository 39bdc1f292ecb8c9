//! Budget for password attempts without a clear result: a time-out, a reset or a 5xx may each hide
//! a counted failure.
//!
//! Invariant: at most two of them per process and user in 65 min, and the second not soon after
//! the first. One password of a user is in flight at a time, so that the second cannot be sent
//! before the first has a result. See `docs/explanation/lockout-guard.md`. Used by `lockout_guard`.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{sync::Notify, time::Instant};

/// Identity providers forget failures after 60 min. Five minutes more for clocks and delays.
pub(super) const FAILURE_WINDOW: Duration = Duration::from_secs(65 * 60);

/// Two instances with two attempts each stay below the five failures that lock a user.
const MOST: usize = 2;

/// Wait between the two on the first instance: a restart of the login server or of an identity
/// provider is over by then.
const SPREAD_FIRST: Duration = Duration::from_secs(60);

/// The same on the other instances: what lasts longer is over by then, and the first instance has
/// tried meanwhile.
const SPREAD_OTHERS: Duration = Duration::from_secs(10 * 60);

/// What the process has left.
#[derive(Debug)]
pub(super) struct AttemptBudget {
    spread: Duration,
    state: Mutex<BudgetState>,
    finished: Notify,
}

#[derive(Debug, Default)]
struct BudgetState {
    /// Times of attempts without a clear result, oldest first.
    unclear: VecDeque<Instant>,
    /// Times of attempts that were refused, oldest first. They hold nothing back here.
    refused: VecDeque<Instant>,
    in_flight: usize,
}

/// The permit to send one password. Report the result with `clear`, `refuse` or `spend`. A permit
/// that is only dropped counts as an attempt without a clear result.
#[derive(Debug)]
pub(super) struct AttemptPermit {
    budget: Arc<AttemptBudget>,
    result: AttemptResult,
}

/// What an attempt may have cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AttemptResult {
    /// Perhaps a wrong logon.
    Unclear,
    /// A refused logon.
    Refused,
    /// Nothing: it succeeded, or nothing was sent.
    Clear,
}

impl AttemptBudget {
    /// Makes the budget of an instance. Without a number it counts as the first.
    pub(super) fn new(instance_index: Option<u32>) -> Self {
        let is_first = instance_index.unwrap_or(0) == 0;
        let spread = if is_first { SPREAD_FIRST } else { SPREAD_OTHERS };
        Self { spread, state: Mutex::default(), finished: Notify::new() }
    }

    /// Takes a permit. Waits while another attempt is in flight.
    ///
    /// # Errors
    /// When the next attempt may be sent.
    pub(super) async fn reserve(self: Arc<Self>) -> Result<AttemptPermit, Instant> {
        loop {
            let finished = self.finished.notified();
            tokio::pin!(finished);
            // Registered before the check, so that no end of an attempt is missed between check and
            // wait.
            finished.as_mut().enable();
            if let Some(permit) = self.try_reserve()? {
                return Ok(permit);
            }
            finished.await;
        }
    }

    /// Takes a permit even if the budget is used up: an operator's decision. It counts like any
    /// other.
    pub(super) fn overdraw(self: Arc<Self>) -> AttemptPermit {
        self.state().in_flight += 1;
        AttemptPermit::of(self)
    }

    /// Returns when the next attempt may be sent; `None` if it may be sent now.
    pub(super) fn held_until(&self, now: Instant) -> Option<Instant> {
        self.state().held_until(self.spread, now)
    }

    /// Returns how many attempts of the window were refused or had no clear result.
    pub(super) fn unsuccessful(&self, now: Instant) -> usize {
        let mut state = self.state();
        state.forget(now);
        state.unclear.len().saturating_add(state.refused.len())
    }

    fn try_reserve(self: &Arc<Self>) -> Result<Option<AttemptPermit>, Instant> {
        let mut state = self.state();
        if let Some(at) = state.held_until(self.spread, Instant::now()) {
            return Err(at);
        }
        if state.in_flight > 0 {
            return Ok(None);
        }
        state.in_flight += 1;
        Ok(Some(AttemptPermit::of(Arc::clone(self))))
    }

    fn state(&self) -> MutexGuard<'_, BudgetState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl BudgetState {
    fn held_until(&mut self, spread: Duration, now: Instant) -> Option<Instant> {
        self.forget(now);
        let is_spread = self.unclear.back().map(|last| *last + spread);
        // An operator's releases may have made more than the budget allows.
        let surplus = self.unclear.len().checked_sub(MOST);
        let is_left =
            surplus.and_then(|index| self.unclear.get(index)).map(|at| *at + FAILURE_WINDOW);
        is_spread.max(is_left).filter(|at| now < *at)
    }

    fn forget(&mut self, now: Instant) {
        for attempts in [&mut self.unclear, &mut self.refused] {
            while attempts.front().is_some_and(|oldest| now >= *oldest + FAILURE_WINDOW) {
                attempts.pop_front();
            }
        }
    }
}

impl AttemptPermit {
    fn of(budget: Arc<AttemptBudget>) -> Self {
        Self { budget, result: AttemptResult::Unclear }
    }

    /// The logon succeeded, or nothing was sent.
    pub(super) fn clear(mut self) {
        self.result = AttemptResult::Clear;
    }

    /// The logon was refused.
    pub(super) fn refuse(mut self) {
        self.result = AttemptResult::Refused;
    }

    /// The attempt may hide a counted failure.
    pub(super) fn spend(self) {
        drop(self);
    }
}

impl Drop for AttemptPermit {
    fn drop(&mut self) {
        {
            let mut state = self.budget.state();
            state.in_flight = state.in_flight.saturating_sub(1);
            match self.result {
                AttemptResult::Unclear => state.unclear.push_back(Instant::now()),
                AttemptResult::Refused => state.refused.push_back(Instant::now()),
                AttemptResult::Clear => {}
            }
        }
        self.budget.finished.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::{AttemptBudget, FAILURE_WINDOW};
    use rstest::rstest;
    use std::{sync::Arc, time::Duration};
    use tokio::time::{Instant, advance};

    fn budget() -> Arc<AttemptBudget> {
        Arc::new(AttemptBudget::new(Some(0)))
    }

    #[rstest]
    #[case::unknown(None, 60)]
    #[case::first(Some(0), 60)]
    #[case::second(Some(1), 600)]
    #[case::last(Some(9), 600)]
    #[tokio::test(start_paused = true)]
    async fn two_unclear_attempts_are_spread_and_use_up_the_budget(
        #[case] index: Option<u32>,
        #[case] spread: u64,
    ) {
        let budget = Arc::new(AttemptBudget::new(index));
        let (start, spread) = (Instant::now(), Duration::from_secs(spread));
        Arc::clone(&budget).reserve().await.unwrap().spend();
        assert_eq!(Arc::clone(&budget).reserve().await.unwrap_err(), start + spread);
        advance(spread).await;
        Arc::clone(&budget).reserve().await.unwrap().spend();
        assert_eq!(Arc::clone(&budget).reserve().await.unwrap_err(), start + FAILURE_WINDOW);
        advance(start + FAILURE_WINDOW - Instant::now()).await;
        Arc::clone(&budget).reserve().await.unwrap().spend();
        assert_eq!(budget.reserve().await.unwrap_err(), start + spread + FAILURE_WINDOW);
    }

    #[tokio::test(start_paused = true)]
    async fn a_clear_result_returns_the_permit() {
        for _ in 0..10 {
            budget().reserve().await.unwrap().clear();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_caller_waits_while_another_attempt_is_in_flight() {
        let budget = budget();
        let permit = Arc::clone(&budget).reserve().await.unwrap();
        let waiting = tokio::time::timeout(Duration::from_secs(1), Arc::clone(&budget).reserve());
        assert!(waiting.await.is_err());
        permit.clear();
        assert!(Arc::clone(&budget).reserve().await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_dropped_permit_counts_as_unclear() {
        let budget = budget();
        drop(Arc::clone(&budget).reserve().await.unwrap());
        assert!(budget.reserve().await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn released_attempts_count_and_two_must_be_forgotten_before_the_next() {
        let (budget, start) = (budget(), Instant::now());
        for _ in 0..3 {
            Arc::clone(&budget).overdraw().spend();
            advance(Duration::from_secs(10)).await;
        }
        assert_eq!(
            budget.held_until(Instant::now()),
            Some(start + FAILURE_WINDOW + Duration::from_secs(10))
        );
    }
}
