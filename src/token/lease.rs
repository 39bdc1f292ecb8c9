//! A lease: which token is sent, to which API, and until when.
//!
//! Invariant: no `Debug` shows a token. A revoked token is expired for everyone who holds it. A
//! refused refresh token is gone from memory. Made by `exchange` and `provider`; read by `entry`,
//! `capi` and `http`.

use crate::{
    destination::Destination,
    oauth::{Freshness, GrantKind, TokenResponse, TokenWindow},
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

/// An access token with its times and the API that it is for.
pub struct Lease {
    token: Arc<GrantedToken>,
    api: Url,
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
        self.token.freshness(now)
    }

    /// Returns how long CF will accept the token; zero if it is expired or revoked.
    pub fn expires_in(&self, now: Instant) -> Duration {
        if self.token.is_revoked() {
            return Duration::ZERO;
        }
        self.token.window.expires_at.saturating_duration_since(now)
    }

    pub(super) fn new(token: Arc<GrantedToken>, api: Url) -> Self {
        Self { token, api }
    }

    pub(super) fn token(&self) -> &Arc<GrantedToken> {
        &self.token
    }

    /// Returns from when on a new token should be fetched.
    pub(super) fn renew_at(&self) -> Instant {
        self.token.window.renew_at
    }

    /// Returns whether requests need another token.
    pub(super) fn has_ended(&self, now: Instant) -> bool {
        self.freshness(now) == Freshness::Expired
    }

    /// Returns how long requests may still be served with it.
    pub(super) fn serves_for(&self, now: Instant) -> Duration {
        if self.has_ended(now) { Duration::ZERO } else { self.token.window.serve_until - now }
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Lease")
            .field("api", &self.api.as_str())
            .field("window", &self.token.window)
            .finish_non_exhaustive()
    }
}

/// The result of a grant. Several leases may share it: two destinations with one credential, or one
/// destination whose API changed.
pub(super) struct GrantedToken {
    authorization: HeaderValue,
    refresh: ArcSwapOption<SecretString>,
    grant: GrantKind,
    pub(super) window: TokenWindow,
    revoked: AtomicBool,
}

impl GrantedToken {
    /// Keeps the answer of the token endpoint to `grant`. `kept` is the refresh token to continue
    /// with if the answer has none.
    pub(super) fn new(
        grant: GrantKind,
        response: TokenResponse,
        kept: Option<Arc<SecretString>>,
    ) -> Self {
        let window = TokenWindow::of(&response);
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

    /// Returns the age class. A revoked token has expired.
    pub(super) fn freshness(&self, now: Instant) -> Freshness {
        if self.is_revoked() { Freshness::Expired } else { self.window.freshness(now) }
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

#[cfg(test)]
mod tests {
    use crate::token::fake::lease;
    use tokio::time::Instant;

    #[test]
    fn no_debug_shows_a_token() {
        let lease = lease(Instant::now(), 1199);
        let text = format!("{lease:?} {:?}", lease.token());
        assert!(text.contains("Lease") && !text.contains("canary"), "{text}");
    }
}
