//! Password posts without a clear end: a time-out, a reset or a 5xx may each hide a counted failure.
//!
//! Invariant: at most three of them in 65 min and process, and two while the credential never worked (uaa.md 9); posts
//! in the air count until they have landed. Used by `gate`.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{sync::Notify, time::Instant};

/// Identity providers forget failures after 60 min; five minutes more for clocks and delays.
const WINDOW: Duration = Duration::from_secs(65 * 60);

/// Together with one definite refusal this stays below the five failures that lock.
const MOST_IN_PROCESS: usize = 3;

/// A credential that never worked is likely wrong: the first post and one retry.
const MOST_UNPROVEN: usize = 2;

/// Moments of posts without a clear end, oldest first.
#[derive(Debug, Default)]
pub(super) struct Used(VecDeque<Instant>);

/// What the process has left.
#[derive(Debug, Default)]
pub(super) struct Budget {
    books: Mutex<Books>,
    landed: Notify,
}

#[derive(Debug, Default)]
struct Books {
    used: Used,
    flying: usize,
}

/// The right to send one password; tell it the end. Dropped untold, the post counts as one without a clear end.
#[derive(Debug)]
pub(super) struct Place {
    budget: Arc<Budget>,
    is_clear: bool,
}

impl Used {
    /// Judges whether one more may be risked with this credential.
    ///
    /// # Errors
    /// When the oldest one is forgotten.
    pub(super) fn admit(&mut self, is_proven: bool, now: Instant) -> Result<(), Instant> {
        let most = if is_proven { MOST_IN_PROCESS } else { MOST_UNPROVEN };
        self.free_at(most, now).map_or(Ok(()), Err)
    }

    pub(super) fn note(&mut self, now: Instant) {
        self.0.push_back(now);
    }

    /// Returns when there is room again, if there is none among `most`.
    fn free_at(&mut self, most: usize, now: Instant) -> Option<Instant> {
        while self.0.front().is_some_and(|oldest| now >= *oldest + WINDOW) {
            self.0.pop_front();
        }
        let is_full = self.0.len() >= most;
        is_full.then(|| self.0.front().map(|oldest| *oldest + WINDOW))?
    }
}

impl Budget {
    /// Takes a place; waits for posts in the air if they hold the last ones.
    ///
    /// # Errors
    /// When the oldest of the posts that used the budget up is forgotten.
    pub(super) async fn reserve(self: Arc<Self>) -> Result<Place, Instant> {
        loop {
            let landed = self.landed.notified();
            tokio::pin!(landed);
            // Told before the look, so that no landing is missed between look and wait.
            landed.as_mut().enable();
            if let Some(place) = self.try_reserve()? {
                return Ok(place);
            }
            landed.await;
        }
    }

    /// Takes a place although there may be none: an operator's decision. It counts like any other.
    pub(super) fn overdraw(self: Arc<Self>) -> Place {
        self.books().flying += 1;
        Place { budget: self, is_clear: false }
    }

    fn try_reserve(self: &Arc<Self>) -> Result<Option<Place>, Instant> {
        let mut books = self.books();
        if let Some(at) = books.used.free_at(MOST_IN_PROCESS, Instant::now()) {
            return Err(at);
        }
        if books.used.0.len() + books.flying >= MOST_IN_PROCESS {
            return Ok(None);
        }
        books.flying += 1;
        Ok(Some(Place { budget: Arc::clone(self), is_clear: false }))
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// The answer was clear, or nothing was sent.
    pub(super) fn clear(mut self) {
        self.is_clear = true;
    }

    /// The post may hide a counted failure.
    pub(super) fn spend(self) {
        drop(self);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        {
            let mut books = self.budget.books();
            books.flying = books.flying.saturating_sub(1);
            if !self.is_clear {
                books.used.note(Instant::now());
            }
        }
        self.budget.landed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::{Budget, Used, WINDOW};
    use std::{sync::Arc, time::Duration};
    use tokio::time::{Instant, advance};

    #[tokio::test(start_paused = true)]
    async fn three_unclear_posts_use_the_process_up_until_the_oldest_is_forgotten() {
        let budget = Arc::new(Budget::default());
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
    async fn a_clear_end_gives_the_place_back() {
        let budget = Arc::new(Budget::default());
        for _ in 0..10 {
            Arc::clone(&budget).reserve().await.unwrap().clear();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_finds_every_place_in_the_air_waits_for_a_landing() {
        let budget = Arc::new(Budget::default());
        let mut places = Vec::new();
        for _ in 0..3 {
            places.push(Arc::clone(&budget).reserve().await.unwrap());
        }
        let waiting = tokio::time::timeout(Duration::from_secs(1), Arc::clone(&budget).reserve());
        assert!(waiting.await.is_err());
        places.pop().unwrap().clear();
        assert!(Arc::clone(&budget).reserve().await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_post_that_is_lost_counts_as_unclear() {
        let budget = Arc::new(Budget::default());
        for _ in 0..3 {
            drop(Arc::clone(&budget).reserve().await.unwrap());
        }
        assert!(budget.reserve().await.is_err());
    }

    #[test]
    fn a_credential_that_never_worked_gets_one_retry() {
        let now = Instant::now();
        let mut used = Used::default();
        used.note(now);
        assert!(used.admit(false, now).is_ok());
        used.note(now);
        assert_eq!(used.admit(false, now), Err(now + WINDOW));
        assert!(used.admit(true, now).is_ok());
    }
}
