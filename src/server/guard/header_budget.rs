//! Memory budget for large, incomplete heads, shared by all connections.
//!
//! Invariant: reserved bytes are released when the head is complete or its connection ends. Only
//! `server` uses this.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

/// Bytes of a head that need no reservation; most heads are smaller, tokens included.
const FREE: usize = 8 * 1024;
/// Bytes beyond [`FREE`] of all incomplete heads together. Their senders are not authenticated yet:
/// without a bound, 4096 connections would hold 64 KiB each. Half of this budget would still serve
/// 70 callers with the largest head at the same moment.
const SHARED: usize = 8 * 1024 * 1024;

/// The remaining bytes; a clone is shallow.
#[derive(Clone, Debug)]
pub(in crate::server) struct HeaderBudget(Arc<AtomicUsize>);

impl Default for HeaderBudget {
    fn default() -> Self {
        Self(Arc::new(AtomicUsize::new(SHARED)))
    }
}

/// The reserved bytes of one connection.
#[derive(Debug)]
pub(super) struct HeaderReservation {
    budget: HeaderBudget,
    taken: usize,
}

impl HeaderReservation {
    pub(super) fn of(budget: HeaderBudget) -> Self {
        Self { budget, taken: 0 }
    }

    /// Reserves memory for a head of this size; false if the budget is used up.
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

    /// Releases the reserved bytes.
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
    fn an_ordinary_head_needs_no_reservation() {
        let budget = HeaderBudget::default();
        let mut all = HeaderReservation::of(budget.clone());
        assert!(all.grow(FREE + SHARED));
        assert!(HeaderReservation::of(budget).grow(FREE));
    }

    #[test]
    fn reserved_bytes_are_not_available_to_others_until_released() {
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
    fn a_growing_head_reserves_only_the_difference() {
        let mut share = HeaderReservation::of(HeaderBudget::default());
        assert!(share.grow(FREE + SHARED - 1) && share.grow(FREE + SHARED));
        assert!(!share.grow(FREE + SHARED + 1));
    }
}
