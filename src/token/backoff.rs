//! How long to pause after a transient failure of a grant. Pure.
//!
//! Invariant: 1–60 s; at most 5 s if no answer came; 1–10.5 min after an answer of something that
//! is no token endpoint. Used by `lockout` and `provider`.

use std::time::Duration;

/// First pause: short, so that the next attempt is done when a caller retries.
const FIRST: Duration = Duration::from_secs(1);

/// A rate limiter asks for a longer pause (F20).
const FIRST_RATE_LIMITED: Duration = Duration::from_secs(30);

/// The broker promises service within 5 s after the login server is back, so no pause may be
/// longer.
const LONGEST_WITHOUT_ANSWER: Duration = Duration::from_secs(5);

/// Longest pause after an answer, and longest `Retry-After` that is honoured.
const LONGEST: Duration = Duration::from_secs(60);

/// First pause after an answer that did not come from a token endpoint: such a mistake in a router
/// or a path lasts minutes or until somebody acts …
const FIRST_PROBE: Duration = Duration::from_secs(60);

/// … and the longest one.
const LONGEST_PROBE: Duration = Duration::from_secs(600);

/// Jitter of these two.
const PROBE_JITTER: f64 = 0.05;

/// Jitter adds up to a quarter. The longest pause includes it.
const JITTER: f64 = 0.25;

/// What kind of failure the pause follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RetryClass {
    /// No connection, a broken one, or a time-out.
    NoAnswer,
    /// 5xx or an unreadable answer.
    BadAnswer,
    /// 429 without `Retry-After`.
    RateLimited,
    /// The answer had `Retry-After`.
    Asked(Duration),
    /// The answer did not come from a token endpoint.
    NoTokenEndpoint,
}

/// Returns the pause after `rounds` earlier failures in a row. `draw` is random in 0..1.
pub(super) fn pause(retry_class: RetryClass, rounds: u32, draw: f64) -> Duration {
    let (first, longest) = match retry_class {
        RetryClass::NoAnswer => (FIRST, LONGEST_WITHOUT_ANSWER),
        RetryClass::BadAnswer => (FIRST, LONGEST),
        RetryClass::RateLimited => (FIRST_RATE_LIMITED, LONGEST),
        RetryClass::Asked(wait) => {
            let wait = wait.clamp(FIRST, LONGEST);
            return wait.mul_f64(1.0 + 0.1 * draw).min(LONGEST);
        }
        RetryClass::NoTokenEndpoint => {
            let edge = FIRST_PROBE.saturating_mul(2_u32.saturating_pow(rounds));
            return edge.min(LONGEST_PROBE).mul_f64(1.0 + PROBE_JITTER * draw);
        }
    };
    let edge = first.saturating_mul(2_u32.saturating_pow(rounds));
    edge.min(longest.div_f64(1.0 + JITTER)).mul_f64(1.0 + JITTER * draw)
}

#[cfg(test)]
mod tests {
    use super::{RetryClass, pause};
    use proptest::{prop_assert, proptest};
    use rstest::rstest;
    use std::time::Duration;

    #[rstest]
    #[case(RetryClass::NoAnswer, 0, 1.0, 1.25)]
    #[case(RetryClass::NoAnswer, 1, 2.0, 2.5)]
    #[case(RetryClass::NoAnswer, 9, 4.0, 5.0)]
    #[case(RetryClass::BadAnswer, 3, 8.0, 10.0)]
    #[case(RetryClass::BadAnswer, 40, 48.0, 60.0)]
    #[case(RetryClass::RateLimited, 0, 30.0, 37.5)]
    #[case(RetryClass::RateLimited, 5, 48.0, 60.0)]
    #[case(RetryClass::Asked(Duration::from_secs(7)), 4, 7.0, 7.7)]
    #[case(RetryClass::Asked(Duration::from_secs(1_000_000_000)), 0, 60.0, 60.0)]
    #[case(RetryClass::Asked(Duration::ZERO), 0, 1.0, 1.1)]
    #[case(RetryClass::NoTokenEndpoint, 0, 60.0, 63.0)]
    #[case(RetryClass::NoTokenEndpoint, 1, 120.0, 126.0)]
    #[case(RetryClass::NoTokenEndpoint, 9, 600.0, 630.0)]
    fn pauses_grow_to_their_limit(
        #[case] retry_class: RetryClass,
        #[case] rounds: u32,
        #[case] least: f64,
        #[case] most: f64,
    ) {
        let close = |a: Duration, b: f64| (a.as_secs_f64() - b).abs() < 1e-6;
        assert!(close(pause(retry_class, rounds, 0.0), least));
        assert!(close(pause(retry_class, rounds, 1.0), most));
    }

    proptest! {
        #[test]
        fn no_pause_leaves_its_bounds(rounds in 0_u32..100, draw in 0.0_f64..1.0, asked in 0_u64..1_000_000) {
            for retry_class in [
                RetryClass::NoAnswer,
                RetryClass::BadAnswer,
                RetryClass::RateLimited,
                RetryClass::Asked(Duration::from_secs(asked)),
            ] {
                let pause = pause(retry_class, rounds, draw);
                prop_assert!(pause >= Duration::from_secs(1));
                prop_assert!(pause <= Duration::from_secs(60));
            }
        }
    }
}
