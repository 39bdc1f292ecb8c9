//! Remembers verified tokens for a minute, so that a steady caller costs no RSA operation (rule
//! A15).
//!
//! Invariant: only verified tokens are kept, never longer than their `exp`, never across a change
//! of the keys. The token itself is not kept, only its SHA-256. For [`Verifier`](super::Verifier)
//! only.

use super::{
    Caller,
    bearer::TokenFingerprint,
    issuer::{KeysOf, Verified},
    time::since_epoch,
};
use moka::future::Cache;
use std::time::{Duration, SystemTime};
use tokio::time::Instant;

/// Longest memory (A15): bounds how long a decision outlives a reason to change it.
const MEMORY: Duration = Duration::from_secs(60);

/// Most decisions kept: a few megabytes; callers beyond that cost an RSA operation each.
const CAPACITY: u64 = 4096;

/// The decisions of the last minute.
pub(super) struct DecisionCache {
    /// moka's own clock cannot be paused, so `until` rules; its time to live only frees memory.
    decisions: Cache<TokenFingerprint, Decision>,
}

/// A caller that was verified, and how long that counts.
#[derive(Clone)]
struct Decision {
    caller: Caller,
    expires: Duration,
    until: Instant,
    keys: KeysOf,
    generation: u64,
}

impl DecisionCache {
    /// Makes an empty cache.
    pub(super) fn new() -> Self {
        let decisions = Cache::builder().max_capacity(CAPACITY).time_to_live(MEMORY).build();
        Self { decisions }
    }

    /// Returns the caller of a token that was verified within the last minute. `generation` tells
    /// which keys are in use for that caller: a decision made with others is void.
    pub(super) async fn find(
        &self,
        token: TokenFingerprint,
        now: SystemTime,
        generation: impl Fn(&Caller, &KeysOf) -> Option<u64>,
    ) -> Option<Caller> {
        let decision = self.decisions.get(&token).await?;
        let counts = Instant::now() < decision.until
            && since_epoch(now) < decision.expires
            && generation(&decision.caller, &decision.keys) == Some(decision.generation);
        counts.then_some(decision.caller)
    }

    /// Keeps a decision; that about a token which lives on clock leeway alone is over at once.
    pub(super) async fn keep(&self, token: TokenFingerprint, verified: &Verified, now: SystemTime) {
        let left = verified.expires.saturating_sub(since_epoch(now));
        let decision = Decision {
            caller: verified.caller.clone(),
            expires: verified.expires,
            until: Instant::now() + left.min(MEMORY),
            keys: verified.keys.clone(),
            generation: verified.generation,
        };
        self.decisions.insert(token, decision).await;
    }
}

#[cfg(test)]
mod tests {
    use super::{DecisionCache, KeysOf, MEMORY};
    use crate::auth::{Caller, bearer::TokenFingerprint, bearer::bearer, issuer::Verified};
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

    /// A cache that keeps a decision about `AAAA.AAAA.AAAA`, made now with generation 7.
    async fn keep(lives: Duration) -> DecisionCache {
        let cache = DecisionCache::new();
        let verified = Verified {
            caller: Caller::for_tests("caller", &[]),
            expires: NOW + lives,
            keys: KeysOf::Zone,
            generation: 7,
        };
        cache.keep(fingerprint("AAAA.AAAA.AAAA"), &verified, at(NOW)).await;
        cache
    }

    async fn knows(cache: &DecisionCache, now: Duration, generation: Option<u64>) -> bool {
        let token = fingerprint("AAAA.AAAA.AAAA");
        cache.find(token, at(now), |_, _| generation).await.is_some()
    }

    #[rstest]
    #[case::at_once(Duration::ZERO, true)]
    #[case::within_a_minute(Duration::from_millis(59_999), true)]
    #[case::after_a_minute(MEMORY, false)]
    #[tokio::test(start_paused = true)]
    async fn a_decision_lives_a_minute(#[case] age: Duration, #[case] expected: bool) {
        let cache = keep(Duration::from_secs(3600)).await;
        time::advance(age).await;
        assert_eq!(knows(&cache, NOW + age, Some(7)).await, expected);
    }

    #[tokio::test(start_paused = true)]
    async fn a_decision_ends_with_its_token_on_either_clock() {
        let cache = keep(Duration::from_secs(10)).await;
        assert!(!knows(&cache, NOW + Duration::from_secs(10), Some(7)).await);
        time::advance(Duration::from_secs(9)).await;
        assert!(knows(&cache, NOW + Duration::from_secs(9), Some(7)).await);
        time::advance(Duration::from_secs(1)).await;
        assert!(!knows(&cache, NOW + Duration::from_secs(9), Some(7)).await);
    }

    #[tokio::test(start_paused = true)]
    async fn a_decision_ends_when_the_keys_change_or_are_gone() {
        let cache = keep(Duration::from_secs(3600)).await;
        assert!(knows(&cache, NOW, Some(7)).await);
        assert!(!knows(&cache, NOW, Some(8)).await);
        assert!(!knows(&cache, NOW, None).await);
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_that_lives_on_leeway_is_not_kept() {
        let cache = keep(Duration::ZERO).await;
        assert!(!knows(&cache, Duration::from_secs(1_799_999_999), Some(7)).await);
    }

    #[tokio::test(start_paused = true)]
    async fn another_token_is_unknown() {
        let cache = keep(Duration::from_secs(3600)).await;
        let other = fingerprint("AAAA.AAAA.AAAE");
        assert!(cache.find(other, at(NOW), |_, _| Some(7)).await.is_none());
    }
}
