//! The times of a token: when it is renewed, and until when it is used. The numbers are explained
//! in `docs/explanation/tokens.md`.
//!
//! Invariant: times count from the moment of the request. Sent ≤ `renew_at` < `serve_until` <
//! `expires_at` for every lifetime. Makes no call. Used by `token` and `destination`.

use super::TokenResponse;
use crate::upstream::refresh::ValueAge;
use std::time::Duration;
use tokio::time::Instant;

/// Lifetime if none is given or it makes no sense: short enough to notice soon that it was wrong.
const UNKNOWN: Duration = Duration::from_secs(60);

/// Longer lifetimes are cut. A day is longer than UAA's default, and a wrong number must not stop
/// renewals.
const LONGEST: Duration = Duration::from_secs(86_400);

/// Margin for a server that accepts no token after `exp`, and for slow calls: at least this …
const LEAST_MARGIN: Duration = Duration::from_secs(30);

/// … and at most this.
const MOST_MARGIN: Duration = Duration::from_secs(60);

/// Renewal starts at a random time from this part of the lifetime on …
const RENEW_FROM: f64 = 0.6;

/// … within this part, so that instances do not renew together (60–70 %) …
const RENEW_SPREAD: f64 = 0.1;

/// … and at the latest at this part of the serving time, so that short tokens leave time for a
/// second attempt.
const RENEW_LATEST: f64 = 0.8;

/// The times of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenWindow {
    /// From here on the next request starts a renewal.
    pub renew_at: Instant,
    /// From here on requests need a new token.
    pub serve_until: Instant,
    /// From here on the token is refused.
    pub expires_at: Instant,
}

/// Age of a token, in the words of RFC 9111.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// Nothing to do.
    Fresh,
    /// Still served; a new token should be fetched.
    Ageing,
    /// No longer served: too close to its end, or revoked.
    Expired,
}

impl TokenWindow {
    /// Returns the times of a new token.
    pub fn of(response: &TokenResponse) -> Self {
        Self::new(response.sent_at, response.expires_in, fastrand::f64())
    }

    /// Returns the age class.
    pub fn freshness(&self, now: Instant) -> Freshness {
        if now >= self.serve_until {
            Freshness::Expired
        } else if now >= self.renew_at {
            Freshness::Ageing
        } else {
            Freshness::Fresh
        }
    }

    /// `draw` is random in 0..1.
    fn new(sent_at: Instant, expires_in: Option<Duration>, draw: f64) -> Self {
        let lifetime = expires_in.filter(|given| !given.is_zero());
        let lifetime = lifetime.unwrap_or(UNKNOWN).min(LONGEST);
        let margin = (lifetime / 10).clamp(LEAST_MARGIN, MOST_MARGIN);
        let serve = lifetime.saturating_sub(margin).max(lifetime / 2);
        let renew = lifetime.mul_f64(RENEW_FROM + RENEW_SPREAD * draw);
        let renew = renew.min(serve.mul_f64(RENEW_LATEST));
        Self {
            renew_at: sent_at + renew,
            serve_until: sent_at + serve,
            expires_at: sent_at + lifetime,
        }
    }
}

impl From<Freshness> for ValueAge {
    fn from(freshness: Freshness) -> Self {
        match freshness {
            Freshness::Fresh => Self::Fresh,
            Freshness::Ageing => Self::Ageing,
            Freshness::Expired => Self::Expired,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Freshness, TokenWindow};
    use proptest::{prop_assert, proptest};
    use rstest::rstest;
    use std::time::Duration;
    use tokio::time::Instant;

    fn at(lifetime: Option<u64>, draw: f64) -> (u64, u64) {
        let sent = Instant::now();
        let window = TokenWindow::new(sent, lifetime.map(Duration::from_secs), draw);
        let seconds = |moment: Instant| (moment - sent + Duration::from_micros(999_999)).as_secs();
        (seconds(window.renew_at), seconds(window.serve_until))
    }

    #[rstest]
    #[case(Some(1199), (720, 840), 1139)]
    #[case(Some(599), (360, 420), 540)]
    #[case(Some(43_199), (25_920, 30_240), 43_139)]
    #[case(Some(300), (180, 210), 270)]
    #[case(Some(60), (24, 24), 30)]
    #[case(None, (24, 24), 30)]
    #[case(Some(0), (24, 24), 30)]
    #[case(Some(1_000_000_000_000), (51_840, 60_480), 86_340)]
    fn a_lifetime_gives_these_times(
        #[case] lifetime: Option<u64>,
        #[case] renew: (u64, u64),
        #[case] serve: u64,
    ) {
        assert_eq!(at(lifetime, 0.0), (renew.0, serve));
        assert_eq!(at(lifetime, 1.0), (renew.1, serve));
    }

    #[test]
    fn each_age_begins_at_its_moment() {
        let window = TokenWindow::new(Instant::now(), Some(Duration::from_secs(1199)), 0.5);
        let before = Duration::from_nanos(1);
        assert_eq!(window.freshness(window.renew_at - before), Freshness::Fresh);
        assert_eq!(window.freshness(window.renew_at), Freshness::Ageing);
        assert_eq!(window.freshness(window.serve_until - before), Freshness::Ageing);
        assert_eq!(window.freshness(window.serve_until), Freshness::Expired);
    }

    proptest! {
        #[test]
        fn the_moments_keep_their_order(millis in 1_u64..200_000_000, draw in 0.0_f64..1.0) {
            let sent = Instant::now();
            let window = TokenWindow::new(sent, Some(Duration::from_millis(millis)), draw);
            prop_assert!(sent <= window.renew_at);
            prop_assert!(window.renew_at < window.serve_until);
            prop_assert!(window.serve_until < window.expires_at);
            prop_assert!(window.expires_at <= sent + Duration::from_secs(86_400));
            let serve = window.serve_until - sent;
            prop_assert!(window.renew_at - sent <= serve.mul_f64(0.8) + Duration::from_nanos(1));
        }
    }
}
