//! CC's rate limiter: one counter for each user, and one for all requests without a good token, in
//! a fixed window. It is off until a lever turns it on.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

/// The owner of a counter.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum RateKey {
    /// The user with this guid.
    User(String),
    /// Requests without a good token.
    Address,
}

/// The limits and the counters.
#[derive(Debug, Default)]
pub(crate) struct RateLimiter {
    users: RateLimit,
    addresses: RateLimit,
    counters: HashMap<RateKey, (u64, Instant)>,
}

/// A number of requests in a window; `None` = no limit.
#[derive(Clone, Copy, Debug, Default)]
struct RateLimit {
    requests: Option<u64>,
    window: Duration,
}

/// The state of a counter after one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RateUsage {
    pub(crate) limit: u64,
    pub(crate) remaining: u64,
    /// Seconds until the next window starts.
    pub(crate) resets_in: u64,
    pub(crate) exceeded: bool,
}

impl RateLimiter {
    /// Starts new windows of all users. `None` turns the limit off.
    pub(crate) fn limit_users(&mut self, requests: Option<u64>, window: Duration) {
        self.users = RateLimit { requests, window };
        self.counters.retain(|who, _| *who == RateKey::Address);
    }

    /// Starts a new window of requests without a good token. `None` turns the limit off.
    pub(crate) fn limit_addresses(&mut self, requests: Option<u64>, window: Duration) {
        self.addresses = RateLimit { requests, window };
        self.counters.remove(&RateKey::Address);
    }

    /// Counts one request. `None` if no limit applies.
    pub(crate) fn count(&mut self, who: RateKey, now: Instant) -> Option<RateUsage> {
        let RateLimit { requests, window } = match who {
            RateKey::User(_) => self.users,
            RateKey::Address => self.addresses,
        };
        let limit = requests?;
        let entry = self.counters.entry(who).or_insert((0, now + window));
        if entry.1 <= now {
            *entry = (0, now + window);
        }
        entry.0 += 1;
        let (used, end) = *entry;
        let left = limit.saturating_sub(used);
        // CC rounds its estimate down to tenths of the limit (recorded: 100, then 90, 80 …).
        let tenths = (left * 10).checked_div(limit).unwrap_or(0);
        let rest = end.saturating_duration_since(now);
        Some(RateUsage {
            limit,
            remaining: tenths * limit / 10,
            resets_in: rest.as_secs() + u64::from(rest.subsec_nanos() > 0),
            exceeded: used > limit,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;

    use super::{RateKey, RateLimiter};

    #[test]
    fn remaining_is_floored_to_tenths_and_a_new_window_starts_at_zero() {
        let (mut rate, start) = (RateLimiter::default(), Instant::now());
        rate.limit_users(Some(100), Duration::from_secs(60));
        let user = || RateKey::User("u".to_owned());
        let seen: Vec<u64> = (0..12)
            .filter_map(|_| rate.count(user(), start))
            .map(|count| count.remaining)
            .collect();
        assert_eq!(seen, [90, 90, 90, 90, 90, 90, 90, 90, 90, 90, 80, 80]);
        for _ in 12..100 {
            assert!(!rate.count(user(), start).unwrap().exceeded);
        }
        let over = rate.count(user(), start).unwrap();
        assert!(over.exceeded && over.resets_in == 60 && over.remaining == 0);
        let later = start + Duration::from_secs(60);
        assert!(!rate.count(user(), later).unwrap().exceeded);
        assert_eq!(rate.count(RateKey::Address, start), None);
    }
}
