//! The wall clock of the landscape: the clock of the machine plus an offset that a lever changes.
//! All parts of one landscape share it, so a test can let a token expire or a lock end without
//! waiting. Used by every part that writes or checks a time.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// A wall clock that can be moved. Clones show the same time.
#[derive(Clone, Debug, Default)]
pub struct Clock(Arc<AtomicI64>);

impl Clock {
    /// Returns the seconds since 1970, including the offset of [`Clock::advance`].
    pub fn seconds(&self) -> i64 {
        self.millis().div_euclid(1000)
    }

    /// Returns the milliseconds since 1970, including the offset.
    pub fn millis(&self) -> i64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let moved = self.0.load(Ordering::Relaxed).saturating_mul(1000);
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX).saturating_add(moved)
    }

    /// Moves the clock forward by these seconds, or backward if they are negative.
    pub fn advance(&self, seconds: i64) {
        self.0.fetch_add(seconds, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::Clock;

    #[test]
    fn clones_move_together() {
        let clock = Clock::default();
        let other = clock.clone();
        let before = other.seconds();
        clock.advance(3600);
        assert!(other.seconds() >= before + 3600);
        assert!(other.seconds() < before + 3700);
    }
}
