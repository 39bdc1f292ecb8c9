//! Memory for heads that are larger than most and not complete yet, shared by all connections.
//!
//! Invariant: what is taken is given back when the head is complete or its connection ends. Only `server` uses it.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

/// What a head may have without asking: most are below it, tokens included.
const FREE: usize = 8 * 1024;
/// Bytes beyond [`FREE`] of all heads together that are not complete. Nobody knows yet who sends them: without a bound,
/// 4096 connections would hold 64 KiB each; half would still serve 70 callers with the largest head at the same moment.
const SHARED: usize = 8 * 1024 * 1024;

/// The bytes that are left; a clone is shallow.
#[derive(Clone, Debug)]
pub(in crate::server) struct HeaderBudget(Arc<AtomicUsize>);

impl Default for HeaderBudget {
    fn default() -> Self {
        Self(Arc::new(AtomicUsize::new(SHARED)))
    }
}

/// What one connection has taken.
#[derive(Debug)]
pub(super) struct HeaderReservation {
    budget: HeaderBudget,
    taken: usize,
}

impl HeaderReservation {
    pub(super) fn of(budget: HeaderBudget) -> Self {
        Self { budget, taken: 0 }
    }

    /// Reserves bytes for a head of so many bytes; false if there is none.
    pub(super) fn grow(&mut self, head: usize) -> bool {
        let more = head.saturating_sub(FREE).saturating_sub(self.taken);
        if more == 0 {
            return true;
        }
        let left = |left: usize| left.checked_sub(more);
        let granted =
            self.budget.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, left).is_ok();
        if granted {
            self.taken += more;
        }
        granted
    }

    /// Gives everything back.
    pub(super) fn release(&mut self) {
        if self.taken > 0 {
            self.budget.0.fetch_add(std::mem::take(&mut self.taken), Ordering::Relaxed);
        }
    }
}

impl Drop for HeaderReservation {
    fn drop(&mut self) {
        self.release();
    }
}

#[cfg(test)]
mod tests {
    use super::{FREE, HeaderBudget, HeaderReservation, SHARED};

    #[test]
    fn an_ordinary_head_takes_nothing_of_the_shared_room() {
        let budget = HeaderBudget::default();
        let mut all = HeaderReservation::of(budget.clone());
        assert!(all.grow(FREE + SHARED));
        assert!(HeaderReservation::of(budget).grow(FREE));
    }

    #[test]
    fn what_is_taken_is_refused_to_others_until_it_is_given_back() {
        let budget = HeaderBudget::default();
        let (mut all, mut other) =
            (HeaderReservation::of(budget.clone()), HeaderReservation::of(budget.clone()));
        assert!(all.grow(FREE + SHARED));
        assert!(!other.grow(FREE + 1));
        all.release();
        assert!(other.grow(FREE + SHARED));
        drop(other);
        assert!(all.grow(FREE + SHARED));
    }

    #[test]
    fn a_head_that_grows_pays_for_the_difference_only() {
        let mut share = HeaderReservation::of(HeaderBudget::default());
        assert!(share.grow(FREE + SHARED - 1) && share.grow(FREE + SHARED));
        assert!(!share.grow(FREE + SHARED + 1));
    }
}
