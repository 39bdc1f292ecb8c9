//! A token for the Destination service and its renewal window. The numbers are explained in
//! `docs/explanation/tokens.md`.
//!
//! Invariant: times count from the moment of the request; makes no call. Used by `service_token`
//! and `client`.

use crate::oauth::TokenResponse;
use http::HeaderValue;
use std::time::Duration;
use tokio::time::Instant;

/// Assumed lifetime of a token without a stated lifetime.
const UNKNOWN_LIFETIME: Duration = Duration::from_secs(60);

/// Longest lifetime that is accepted.
const LONGEST_LIFETIME: Duration = Duration::from_secs(86_400);

/// Bounds of the margin before the end in which a token is no longer used.
const MARGIN: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(60));

/// A token with its renewal time and the end of its use.
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

    /// Makes a lease from a fresh answer.
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

/// Times of a token's life, counted from when it was requested.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct LeaseWindows {
    /// Earliest time of a background renewal.
    renew_earliest: Duration,
    /// Latest time. The real one is drawn at random between the two, so that instances do not renew
    /// at the same time.
    renew_latest: Duration,
    /// From here on a new token is required.
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
    fn the_windows_follow_the_lifetime(
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
