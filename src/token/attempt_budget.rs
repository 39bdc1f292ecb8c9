//! Budget for password attempts without a clear result: a time-out, a reset or a 5xx may each hide
//! a counted failure.
//!
//! Invariant: at most three of them per process in 65 min, and at most two for a credential that
//! never worked. Attempts in flight count until they end. See `docs/explanation/lockout-guard.md`.
//! Used by `lockout_guard` and `lockout`.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{sync::Notify, time::Instant};

/// Identity providers forget failures after 60 min. Five minutes more for clocks and delays.
const WINDOW: Duration = Duration::from_secs(65 * 60);

/// Together with one definite refusal this stays below the five failures that lock a user.
const MOST_IN_PROCESS: usize = 3;

/// A credential that never worked is probably wrong: the first attempt and one retry.
const MOST_UNPROVEN: usize = 2;

/// Times of attempts without a clear result, oldest first.
#[derive(Debug, Default)]
pub(super) struct UnclearAttempts(VecDeque<Instant>);

/// What the process has left.
#[derive(Debug, Default)]
pub(super) struct AttemptBudget {
    state: Mutex<BudgetState>,
    finished: Notify,
}

#[derive(Debug, Default)]
struct BudgetState {
    used: UnclearAttempts,
    in_flight: usize,
}

/// The permit to send one password. Report the result with `clear` or `spend`. A permit that is
/// only dropped counts as an attempt without a clear result.
#[derive(Debug)]
pub(super) struct AttemptPermit {
    budget: Arc<AttemptBudget>,
    is_clear: bool,
}

impl UnclearAttempts {
    /// Checks whether one more attempt may be risked with this credential.
    ///
    /// # Errors
    /// When the oldest attempt no longer counts.
    pub(super) fn admit(&mut self, is_proven: bool, now: Instant) -> Result<(), Instant> {
        let most = if is_proven { MOST_IN_PROCESS } else { MOST_UNPROVEN };
        self.free_at(most, now).map_or(Ok(()), Err)
    }

    pub(super) fn note(&mut self, now: Instant) {
        self.0.push_back(now);
    }

    /// Returns when there is room again, if `most` attempts count now.
    fn free_at(&mut self, most: usize, now: Instant) -> Option<Instant> {
        while self.0.front().is_some_and(|oldest| now >= *oldest + WINDOW) {
            self.0.pop_front();
        }
        let is_full = self.0.len() >= most;
        is_full.then(|| self.0.front().map(|oldest| *oldest + WINDOW))?
    }
}

impl AttemptBudget {
    /// Takes a permit. Waits if attempts in flight hold the last ones.
    ///
    /// # Errors
    /// When the oldest counted attempt no longer counts.
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
        AttemptPermit { budget: self, is_clear: false }
    }

    fn try_reserve(self: &Arc<Self>) -> Result<Option<AttemptPermit>, Instant> {
        let mut state = self.state();
        if let Some(at) = state.used.free_at(MOST_IN_PROCESS, Instant::now()) {
            return Err(at);
        }
        if state.used.0.len() + state.in_flight >= MOST_IN_PROCESS {
            return Ok(None);
        }
        state.in_flight += 1;
        Ok(Some(AttemptPermit { budget: Arc::clone(self), is_clear: false }))
    }

    fn state(&self) -> MutexGuard<'_, BudgetState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AttemptPermit {
    /// The result was clear, or nothing was sent.
    pub(super) fn clear(mut self) {
        self.is_clear = true;
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
            if !self.is_clear {
                state.used.note(Instant::now());
            }
        }
        self.budget.finished.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::{AttemptBudget, UnclearAttempts, WINDOW};
    use std::{sync::Arc, time::Duration};
    use tokio::time::{Instant, advance};

    #[tokio::test(start_paused = true)]
    async fn three_unclear_attempts_use_up_the_budget_until_the_oldest_is_forgotten() {
        let budget = Arc::new(AttemptBudget::default());
        let start = Instant::now();
        for _ in 0..3 {
            Arc::clone(&budget).reserve().await.unwrap().spend();
            advance(Duration::from_secs(60)).await;
        }
        let until = Arc::clone(&budget).reserve().await.unwrap_err();
        assert_eq!(until, start + WINDOW);
        advance(until - Instant::now()).await;
        Arc::clone(&budget).reserve().await.unwrap().spend();
        assert_eq!(budget.reserve().await.unwrap_err(), start + WINDOW + Duration::from_secs(60));
    }

    #[tokio::test(start_paused = true)]
    async fn a_clear_result_returns_the_permit() {
        let budget = Arc::new(AttemptBudget::default());
        for _ in 0..10 {
            Arc::clone(&budget).reserve().await.unwrap().clear();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_caller_waits_while_all_permits_are_in_flight() {
        let budget = Arc::new(AttemptBudget::default());
        let mut permits = Vec::new();
        for _ in 0..3 {
            permits.push(Arc::clone(&budget).reserve().await.unwrap());
        }
        let waiting = tokio::time::timeout(Duration::from_secs(1), Arc::clone(&budget).reserve());
        assert!(waiting.await.is_err());
        permits.pop().unwrap().clear();
        assert!(Arc::clone(&budget).reserve().await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_dropped_permit_counts_as_unclear() {
        let budget = Arc::new(AttemptBudget::default());
        for _ in 0..3 {
            drop(Arc::clone(&budget).reserve().await.unwrap());
        }
        assert!(budget.reserve().await.is_err());
    }

    #[test]
    fn a_credential_that_never_worked_gets_one_retry() {
        let now = Instant::now();
        let mut used = UnclearAttempts::default();
        used.note(now);
        assert!(used.admit(false, now).is_ok());
        used.note(now);
        assert_eq!(used.admit(false, now), Err(now + WINDOW));
        assert!(used.admit(true, now).is_ok());
    }
}
