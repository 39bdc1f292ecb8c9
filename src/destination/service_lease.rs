//! The token for the Destination service on loan, and its moments (reliability.md T2).
//!
//! Invariant: moments count from when the token was asked for; makes no call. Used by
//! `service_token` and `client`.

use crate::oauth::TokenResponse;
use http::HeaderValue;
use std::time::Duration;
use tokio::time::Instant;

/// Lifetime of a token that does not say how long it lives (reliability.md T2).
const UNKNOWN_LIFETIME: Duration = Duration::from_secs(60);

/// Longest lifetime that is believed (reliability.md T2).
const LONGEST_LIFETIME: Duration = Duration::from_secs(86_400);

/// Bounds of the margin before the end in which a token is no longer served (reliability.md T2).
const MARGIN: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(60));

/// A token on loan with its two moments.
#[derive(Debug)]
pub(super) struct ServiceLease {
    authorization: HeaderValue,
    pub(super) renew_at: Instant,
    pub(super) serve_until: Instant,
}

impl ServiceLease {
    /// `bearer <token>`, marked sensitive.
    pub(super) fn authorization(&self) -> &HeaderValue {
        &self.authorization
    }

    /// Takes a fresh answer.
    pub(super) fn of(answer: &TokenResponse) -> Self {
        let windows = LeaseWindows::of(answer.expires_in);
        let early = windows.renew_earliest.as_secs_f64();
        let late = windows.renew_latest.as_secs_f64();
        let renew = Duration::from_secs_f64(early + (late - early) * fastrand::f64());
        Self {
            authorization: answer.authorization.clone(),
            renew_at: answer.sent_at + renew,
            serve_until: answer.sent_at + windows.serve,
        }
    }
}

/// Moments of a token's life, counted from when it was asked for (reliability.md T2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct LeaseWindows {
    /// Earliest moment of a renewal in the background.
    renew_earliest: Duration,
    /// Latest moment; the real one is drawn between the two, so that instances do not renew
    /// together.
    renew_latest: Duration,
    /// From here on a new token is needed.
    serve: Duration,
}

impl LeaseWindows {
    /// `None` and zero count as 60 s.
    fn of(expires_in: Option<Duration>) -> Self {
        let life = expires_in.filter(|life| !life.is_zero()).unwrap_or(UNKNOWN_LIFETIME);
        let life = life.min(LONGEST_LIFETIME);
        let margin = (life / 10).clamp(MARGIN.0, MARGIN.1);
        let serve = life.saturating_sub(margin).max(life / 2);
        let latest = serve * 4 / 5;
        Self {
            renew_earliest: (life * 3 / 5).min(latest),
            renew_latest: (life * 7 / 10).min(latest),
            serve,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::LeaseWindows;
    use rstest::rstest;
    use std::time::Duration;

    #[rstest]
    #[case(Some(1199), 719, 839, 1139)]
    #[case(Some(599), 359, 419, 539)]
    #[case(Some(43_199), 25_919, 30_239, 43_139)]
    #[case(Some(300), 180, 210, 270)]
    #[case(Some(60), 24, 24, 30)]
    #[case(None, 24, 24, 30)]
    #[case(Some(0), 24, 24, 30)]
    #[case(Some(1_000_000_000), 51_840, 60_480, 86_340)]
    fn the_windows_are_those_of_the_contract(
        #[case] lifetime: Option<u64>,
        #[case] earliest: u64,
        #[case] latest: u64,
        #[case] serve: u64,
    ) {
        let windows = LeaseWindows::of(lifetime.map(Duration::from_secs));
        let whole = [windows.renew_earliest, windows.renew_latest, windows.serve];
        assert_eq!(whole.map(|moment| moment.as_secs()), [earliest, latest, serve]);
    }
}
