//! How long to stay silent after a grant that may succeed later; pure.
//!
//! Invariant: 1–60 s (uaa.md 9, Waiting), at most 5 s where no answer came. Used by `gate` and `source`.

use std::time::Duration;

/// Pauses start here: a caller's retry should find the next attempt done.
const FIRST: Duration = Duration::from_secs(1);

/// A rate limiter asks for more patience (F20).
const FIRST_RATE_LIMITED: Duration = Duration::from_secs(30);

/// Service is promised again within 5 s of the login server's return (R2), so no pause may be longer.
const LONGEST_WITHOUT_ANSWER: Duration = Duration::from_secs(5);

/// Longest pause after an answer, and longest `Retry-After` that is honoured (uaa.md 9).
const LONGEST: Duration = Duration::from_secs(60);

/// Jitter adds up to a quarter; the longest pause is reached with it, never passed.
const JITTER: f64 = 0.25;

/// What kind of failure the pause follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// No connection, or it broke, or silence.
    NoAnswer,
    /// 5xx or an unreadable answer.
    BadAnswer,
    /// 429 without `Retry-After`.
    RateLimited,
    /// `Retry-After` said so.
    Asked(Duration),
}

/// Returns the pause after `rounds` earlier failures in a row. `draw` is random in 0..1.
pub(super) fn pause(trouble: Trouble, rounds: u32, draw: f64) -> Duration {
    let (first, longest) = match trouble {
        Trouble::NoAnswer => (FIRST, LONGEST_WITHOUT_ANSWER),
        Trouble::BadAnswer => (FIRST, LONGEST),
        Trouble::RateLimited => (FIRST_RATE_LIMITED, LONGEST),
        Trouble::Asked(wait) => {
            let wait = wait.clamp(FIRST, LONGEST);
            return wait.mul_f64(1.0 + 0.1 * draw).min(LONGEST);
        }
    };
    let edge = first.saturating_mul(2_u32.saturating_pow(rounds));
    edge.min(longest.div_f64(1.0 + JITTER)).mul_f64(1.0 + JITTER * draw)
}

#[cfg(test)]
mod tests {
    use super::{Trouble, pause};
    use proptest::{prop_assert, proptest};
    use rstest::rstest;
    use std::time::Duration;

    #[rstest]
    #[case(Trouble::NoAnswer, 0, 1.0, 1.25)]
    #[case(Trouble::NoAnswer, 1, 2.0, 2.5)]
    #[case(Trouble::NoAnswer, 9, 4.0, 5.0)]
    #[case(Trouble::BadAnswer, 3, 8.0, 10.0)]
    #[case(Trouble::BadAnswer, 40, 48.0, 60.0)]
    #[case(Trouble::RateLimited, 0, 30.0, 37.5)]
    #[case(Trouble::RateLimited, 5, 48.0, 60.0)]
    #[case(Trouble::Asked(Duration::from_secs(7)), 4, 7.0, 7.7)]
    #[case(Trouble::Asked(Duration::from_secs(1_000_000_000)), 0, 60.0, 60.0)]
    #[case(Trouble::Asked(Duration::ZERO), 0, 1.0, 1.1)]
    fn pauses_grow_to_their_limit(
        #[case] trouble: Trouble,
        #[case] rounds: u32,
        #[case] least: f64,
        #[case] most: f64,
    ) {
        let close = |a: Duration, b: f64| (a.as_secs_f64() - b).abs() < 1e-6;
        assert!(close(pause(trouble, rounds, 0.0), least));
        assert!(close(pause(trouble, rounds, 1.0), most));
    }

    proptest! {
        #[test]
        fn no_pause_leaves_its_bounds(rounds in 0_u32..100, draw in 0.0_f64..1.0, asked in 0_u64..1_000_000) {
            for trouble in [
                Trouble::NoAnswer,
                Trouble::BadAnswer,
                Trouble::RateLimited,
                Trouble::Asked(Duration::from_secs(asked)),
            ] {
                let pause = pause(trouble, rounds, draw);
                prop_assert!(pause >= Duration::from_secs(1));
                prop_assert!(pause <= Duration::from_secs(60));
            }
        }
    }
}
