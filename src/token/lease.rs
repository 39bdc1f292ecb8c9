//! A lease: which token is sent, to which API, and until when.
//!
//! Invariant: no `Debug` shows a token. A revoked token is expired for everyone who holds it. A
//! refused refresh token is gone from memory. Sent ≤ `renew_at` < `serve_until` < `expires_at` for
//! every lifetime (`docs/explanation/tokens.md`). Made by `exchange` and `provider`; read by
//! `entry`, `capi` and `http`.

use crate::{
    destination::Destination,
    oauth::{GrantKind, TokenResponse},
};
use arc_swap::ArcSwapOption;
use http::HeaderValue;
use secrecy::SecretString;
use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::time::Instant;
use url::Url;

/// Lifetime if none is given or it makes no sense: short enough to notice soon that it was wrong.
const UNKNOWN: Duration = Duration::from_secs(60);

/// Longer lifetimes are cut. A day is longer than UAA's default, and a wrong number must not stop
/// renewals.
const LONGEST: Duration = Duration::from_secs(86_400);

/// Margin for CF, which accepts no token after `exp`, and for slow calls: at least this …
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

/// An access token with its times and the API that it is for.
pub struct Lease {
    token: Arc<GrantedToken>,
    api: Url,
    window: Window,
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

/// The times of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Window {
    /// From here on the next request starts a renewal.
    pub(super) renew_at: Instant,
    /// From here on requests need a new token.
    pub(super) serve_until: Instant,
    /// From here on CF refuses the token.
    pub(super) expires_at: Instant,
}

/// Whether CF's refusal of a lease led to a renewal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Revoked {
    /// Get a new lease and repeat the request.
    Renewing,
    /// A forced renewal a short time ago did not help. There is no other one yet; answer 502.
    Cooldown,
}

/// What a token was requested with besides the credential. A token is shared only if these are
/// equal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TokenParameters {
    scope: Option<String>,
    /// Further fields or headers were sent. Their values are not compared.
    has_extras: bool,
}

impl Lease {
    /// Returns `bearer <token>`, marked sensitive. Clone it into a request.
    pub fn authorization(&self) -> &HeaderValue {
        &self.token.authorization
    }

    /// Returns the CF API base of the destination that this token was made for.
    pub fn api(&self) -> &Url {
        &self.api
    }

    /// Returns the age class of the token.
    pub fn freshness(&self, now: Instant) -> Freshness {
        if now >= self.window.serve_until || self.token.is_revoked() {
            Freshness::Expired
        } else if now >= self.window.renew_at {
            Freshness::Ageing
        } else {
            Freshness::Fresh
        }
    }

    /// Returns how long CF will accept the token; zero if it is expired or revoked.
    pub fn expires_in(&self, now: Instant) -> Duration {
        if self.token.is_revoked() {
            return Duration::ZERO;
        }
        self.window.expires_at.saturating_duration_since(now)
    }

    pub(super) fn new(token: Arc<GrantedToken>, api: Url) -> Self {
        let window = token.window;
        Self { token, api, window }
    }

    pub(super) fn token(&self) -> &Arc<GrantedToken> {
        &self.token
    }

    /// Returns from when on a new token should be fetched.
    pub(super) fn renew_at(&self) -> Instant {
        self.window.renew_at
    }

    /// Returns how long requests may still be served with it.
    pub(super) fn serves_for(&self, now: Instant) -> Duration {
        match self.freshness(now) {
            Freshness::Expired => Duration::ZERO,
            Freshness::Fresh | Freshness::Ageing => self.window.serve_until - now,
        }
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Lease")
            .field("api", &self.api.as_str())
            .field("window", &self.window)
            .finish_non_exhaustive()
    }
}

/// The result of a grant. Several leases may share it: two destinations with one credential, or one
/// destination whose API changed.
pub(super) struct GrantedToken {
    authorization: HeaderValue,
    refresh: ArcSwapOption<SecretString>,
    grant: GrantKind,
    window: Window,
    revoked: AtomicBool,
}

impl GrantedToken {
    /// Keeps the answer of the token endpoint to `grant`. `kept` is the refresh token to continue
    /// with if the answer has none.
    pub(super) fn new(
        grant: GrantKind,
        response: TokenResponse,
        kept: Option<Arc<SecretString>>,
        window: Window,
    ) -> Self {
        let refresh = response.refresh_token.map(Arc::new).or(kept);
        Self {
            authorization: response.authorization,
            refresh: ArcSwapOption::new(refresh),
            grant,
            window,
            revoked: AtomicBool::new(false),
        }
    }

    /// Returns whether a logon has brought it.
    pub(super) fn is_from_logon(&self) -> bool {
        matches!(self.grant, GrantKind::Password | GrantKind::JwtBearer)
    }

    pub(super) fn refresh_token(&self) -> Option<Arc<SecretString>> {
        self.refresh.load_full()
    }

    /// Forgets the refresh token; the access token stays.
    pub(super) fn drop_refresh_token(&self) {
        self.refresh.store(None);
    }

    /// Ends the access token. The refresh token stays: the renewal uses it.
    pub(super) fn revoke(&self) {
        self.revoked.store(true, Ordering::Release);
    }

    pub(super) fn is_revoked(&self) -> bool {
        self.revoked.load(Ordering::Acquire)
    }

    /// Returns whether requests may be served with it.
    pub(super) fn is_alive(&self, now: Instant) -> bool {
        now < self.window.serve_until && !self.is_revoked()
    }
}

impl fmt::Debug for GrantedToken {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("GrantedToken")
            .field("window", &self.window)
            .field("revoked", &self.revoked)
            .finish_non_exhaustive()
    }
}

impl TokenParameters {
    /// Returns whether a token that was requested with `other` can be used for this.
    pub(super) fn are_like(&self, other: &Self) -> bool {
        self == other && !self.has_extras
    }

    /// Returns what a token of this destination is requested with.
    pub(super) fn of(destination: &Destination) -> Self {
        Self {
            scope: destination.scope.clone(),
            has_extras: !destination.extra.is_empty() || !destination.headers.is_empty(),
        }
    }
}

impl Window {
    /// Counts from the moment the request was sent. `draw` is random in 0..1.
    pub(super) fn new(sent_at: Instant, expires_in: Option<Duration>, draw: f64) -> Self {
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

#[cfg(test)]
mod tests {
    use super::Window;
    use crate::token::fake::lease;
    use proptest::{prop_assert, proptest};
    use rstest::rstest;
    use std::time::Duration;
    use tokio::time::Instant;

    fn at(lifetime: Option<u64>, draw: f64) -> (u64, u64) {
        let sent = Instant::now();
        let window = Window::new(sent, lifetime.map(Duration::from_secs), draw);
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
    fn no_debug_shows_a_token() {
        let lease = lease(Instant::now(), 1199);
        let text = format!("{lease:?} {:?}", lease.token());
        assert!(text.contains("Lease") && !text.contains("canary"), "{text}");
    }

    proptest! {
        #[test]
        fn the_moments_keep_their_order(millis in 1_u64..200_000_000, draw in 0.0_f64..1.0) {
            let sent = Instant::now();
            let window = Window::new(sent, Some(Duration::from_millis(millis)), draw);
            prop_assert!(sent <= window.renew_at);
            prop_assert!(window.renew_at < window.serve_until);
            prop_assert!(window.serve_until < window.expires_at);
            prop_assert!(window.expires_at <= sent + Duration::from_secs(86_400));
            let serve = window.serve_until - sent;
            prop_assert!(window.renew_at - sent <= serve.mul_f64(0.8) + Duration::from_nanos(1));
        }
    }
}
