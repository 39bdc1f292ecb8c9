//! A lease: which token is sent, to which API, and until when.
//!
//! Invariant: no `Debug` shows a token. A revoked token is expired for everyone who holds it. A
//! refused refresh token is gone from memory. Made by `exchange`; read by `refresher`, `capi` and
//! `http`.

use super::schedule::Window;
use crate::oauth::{GrantKind, TokenResponse};
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
