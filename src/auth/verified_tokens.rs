//! Verified tokens of the last minute. A caller that repeats its token costs no RSA operation.
//!
//! Invariant: only verified tokens are kept: not longer than their `exp`, not after the keys have
//! changed, and at most [`CAPACITY`] of them. The token itself is not kept, only its SHA-256. For
//! [`Verifier`](super::Verifier) only.

use super::{
    Caller,
    bearer::{FingerprintHashBuilder, TokenFingerprint},
    issuer::{KeySetId, VerifiedToken},
    time::since_epoch,
};
use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};
use tokio::time::Instant;

/// How long a verified token is accepted without a new check, at most.
const LIFETIME: Duration = Duration::from_secs(60);

/// Most entries: a few megabytes. Each caller beyond that costs an RSA operation.
const CAPACITY: usize = 4096;

/// Shortest time between two removals of expired entries. One pass over all of them takes as long
/// as an RSA operation.
const SWEEP: Duration = Duration::from_secs(1);

/// The callers of tokens that were verified within the last minute.
pub(super) struct VerifiedTokens(Mutex<CachedCallers>);

struct CachedCallers {
    callers: HashMap<TokenFingerprint, CachedCaller, FingerprintHashBuilder>,
    swept: Instant,
}

/// A verified caller, and how long the entry is valid.
#[derive(Clone)]
struct CachedCaller {
    caller: Caller,
    expires: Duration,
    until: Instant,
    keys: KeySetId,
    generation: u64,
}

impl VerifiedTokens {
    /// Makes an empty cache.
    pub(super) fn new() -> Self {
        Self(Mutex::new(CachedCallers { callers: HashMap::default(), swept: Instant::now() }))
    }

    /// Returns the caller of a token that was verified within the last minute. `generation` returns
    /// which keys are in use for that caller now: an entry made with other keys is void.
    pub(super) fn find(
        &self,
        token: &TokenFingerprint,
        now: SystemTime,
        generation: impl Fn(&Caller, &KeySetId) -> Option<u64>,
    ) -> Option<Caller> {
        // Nothing else is done while the table is locked.
        let cached = self.callers().callers.get(token).cloned()?;
        let is_valid = Instant::now() < cached.until
            && since_epoch(now) < cached.expires
            && generation(&cached.caller, &cached.keys) == Some(cached.generation);
        is_valid.then_some(cached.caller)
    }

    /// Adds an entry. In a full table it replaces another one. A token that is valid only because
    /// of the clock leeway expires from the table at once.
    pub(super) fn keep(&self, token: TokenFingerprint, verified: &VerifiedToken, now: SystemTime) {
        let left = verified.expires.saturating_sub(since_epoch(now));
        let now = Instant::now();
        let cached = CachedCaller {
            caller: verified.caller.clone(),
            expires: verified.expires,
            until: now + left.min(LIFETIME),
            keys: verified.keys.clone(),
            generation: verified.generation,
        };
        self.callers().insert(token, cached, now);
    }

    fn callers(&self) -> MutexGuard<'_, CachedCallers> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl CachedCallers {
    fn insert(&mut self, token: TokenFingerprint, cached: CachedCaller, now: Instant) {
        if now >= self.swept + SWEEP {
            self.callers.retain(|_, cached| now < cached.until);
            self.swept = now;
        }
        // The newest entry is always stored, so a steady caller is known again whatever the number
        // of other callers. The order of the hash decides which one is removed.
        if self.callers.len() >= CAPACITY
            && !self.callers.contains_key(&token)
            && let Some(other) = self.callers.keys().next().copied()
        {
            self.callers.remove(&other);
        }
        self.callers.insert(token, cached);
    }
}

#[cfg(test)]
mod tests {
    use super::{CAPACITY, KeySetId, LIFETIME, SWEEP, VerifiedTokens};
    use crate::auth::{Caller, bearer::TokenFingerprint, bearer::bearer, issuer::VerifiedToken};
    use http::{HeaderMap, HeaderValue, header};
    use rstest::rstest;
    use std::time::{Duration, SystemTime};
    use tokio::time;

    const NOW: Duration = Duration::from_secs(1_800_000_000);

    fn at(now: Duration) -> SystemTime {
        SystemTime::UNIX_EPOCH + now
    }

    fn fingerprint(token: &str) -> TokenFingerprint {
        let value = HeaderValue::try_from(format!("Bearer {token}")).unwrap();
        let headers = HeaderMap::from_iter([(header::AUTHORIZATION, value)]);
        bearer(&headers).unwrap().fingerprint().unwrap()
    }

    /// A table with an entry for `AAAA.AAAA.AAAA`, made now with generation 7.
    fn keep(lives: Duration) -> VerifiedTokens {
        let cache = VerifiedTokens::new();
        cache.keep(fingerprint("AAAA.AAAA.AAAA"), &verified(lives), at(NOW));
        cache
    }

    fn verified(lives: Duration) -> VerifiedToken {
        VerifiedToken {
            caller: Caller::for_tests("caller", &[]),
            expires: NOW + lives,
            keys: KeySetId::Zone,
            generation: 7,
        }
    }

    fn knows(cache: &VerifiedTokens, now: Duration, generation: Option<u64>) -> bool {
        let token = fingerprint("AAAA.AAAA.AAAA");
        cache.find(&token, at(now), |_, _| generation).is_some()
    }

    #[rstest]
    #[case::at_once(Duration::ZERO, true)]
    #[case::within_a_minute(Duration::from_millis(59_999), true)]
    #[case::after_a_minute(LIFETIME, false)]
    #[tokio::test(start_paused = true)]
    async fn an_entry_is_valid_for_a_minute(#[case] age: Duration, #[case] expected: bool) {
        let cache = keep(Duration::from_secs(3600));
        time::advance(age).await;
        assert_eq!(knows(&cache, NOW + age, Some(7)), expected);
    }

    #[tokio::test(start_paused = true)]
    async fn an_entry_ends_with_its_token_on_either_clock() {
        let cache = keep(Duration::from_secs(10));
        assert!(!knows(&cache, NOW + Duration::from_secs(10), Some(7)));
        time::advance(Duration::from_secs(9)).await;
        assert!(knows(&cache, NOW + Duration::from_secs(9), Some(7)));
        time::advance(Duration::from_secs(1)).await;
        assert!(!knows(&cache, NOW + Duration::from_secs(9), Some(7)));
    }

    #[tokio::test(start_paused = true)]
    async fn an_entry_ends_when_the_keys_change_or_are_gone() {
        let cache = keep(Duration::from_secs(3600));
        assert!(knows(&cache, NOW, Some(7)));
        assert!(!knows(&cache, NOW, Some(8)));
        assert!(!knows(&cache, NOW, None));
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_that_is_valid_by_leeway_only_is_not_kept() {
        let cache = keep(Duration::ZERO);
        assert!(!knows(&cache, Duration::from_secs(1_799_999_999), Some(7)));
    }

    #[tokio::test(start_paused = true)]
    async fn another_token_is_unknown() {
        let cache = keep(Duration::from_secs(3600));
        let other = fingerprint("AAAA.AAAA.AAAE");
        assert!(cache.find(&other, at(NOW), |_, _| Some(7)).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn the_table_is_bounded_and_expired_entries_are_removed() {
        let cache = VerifiedTokens::new();
        let (short, long) = (Duration::from_secs(10), Duration::from_secs(3600));
        cache.keep(fingerprint("AAAA.AAAA.AAAA"), &verified(long), at(NOW));
        for number in 1..CAPACITY {
            cache.keep(fingerprint(&format!("other-{number}")), &verified(short), at(NOW));
        }
        let late = fingerprint("late");
        time::advance(SWEEP).await;
        cache.keep(late, &verified(long), at(NOW));
        assert!(cache.find(&late, at(NOW), |_, _| Some(7)).is_some(), "it replaced another one");
        assert_eq!(cache.callers().callers.len(), CAPACITY);
        time::advance(short).await;
        cache.keep(late, &verified(long), at(NOW));
        assert!(cache.callers().callers.len() <= 2, "all others had expired");
    }

    #[tokio::test(start_paused = true)]
    async fn an_entry_of_a_known_token_is_replaced_in_a_full_table() {
        let cache = keep(Duration::from_secs(3600));
        for number in 1..CAPACITY {
            let other = fingerprint(&format!("other-{number}"));
            cache.keep(other, &verified(Duration::from_secs(3600)), at(NOW));
        }
        let anew = VerifiedToken { generation: 8, ..verified(Duration::from_secs(3600)) };
        cache.keep(fingerprint("AAAA.AAAA.AAAA"), &anew, at(NOW));
        assert!(knows(&cache, NOW, Some(8)) && !knows(&cache, NOW, Some(7)));
        assert_eq!(cache.callers().callers.len(), CAPACITY);
    }
}
