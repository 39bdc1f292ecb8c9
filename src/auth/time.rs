//! When a token is valid, for all issuers.
//!
//! Invariant: what is accepted here is accepted by both of SAP's verifiers too, those for Node and
//! for Java. Pure. For the issuers of this module.

use super::{claims::NumericDate, error::AuthRejection};
use std::time::{Duration, SystemTime};

/// `exp` must be less than this ago. SAP's verifier for Node refuses a token that ended 59 s ago,
/// the one for Java a second later.
const LEEWAY_AFTER_END: Duration = Duration::from_secs(59);

/// `nbf` and `iat` must be less than this ahead. SAP's verifier for Java refuses 60 s, and reads
/// `iat` where `nbf` is absent; the one for Node accepts 60 s.
const LEEWAY_BEFORE_START: Duration = Duration::from_secs(60);

/// Longest lifetime of a token: XSUAA's `token-validity` is at most one day, plus the difference of
/// the clocks.
const LONGEST_LIFE: Duration = Duration::from_secs(86_400 + 600);

/// Suffix of the `jti` of a UAA refresh token. UAA itself uses it to tell the two kinds apart.
const REFRESH_MARK: &str = "-r";

/// The claims about the time in which a token is valid.
pub(super) struct Lifetime<'c> {
    /// Time from which the token is no longer valid.
    pub(super) exp: Option<NumericDate>,
    /// Time from which the token is valid.
    pub(super) nbf: Option<NumericDate>,
    /// Issued at.
    pub(super) iat: Option<NumericDate>,
    /// Token id.
    pub(super) jti: Option<&'c str>,
}

impl Lifetime<'_> {
    /// Checks the times and refuses refresh tokens. Returns when the token ends. Times are compared
    /// in whole seconds: within the second of a limit the stricter side applies.
    ///
    /// # Errors
    /// The [`AuthRejection`] of the first broken rule.
    pub(super) fn check(&self, now: SystemTime) -> Result<Duration, AuthRejection> {
        let now = since_epoch(now);
        let second = Duration::from_secs(now.as_secs());
        let exp = self.exp.ok_or(AuthRejection::Expiry)?.0;
        if exp.is_zero()
            || now >= exp.saturating_add(LEEWAY_AFTER_END)
            || exp > second.saturating_add(LONGEST_LIFE)
        {
            return Err(AuthRejection::Expiry);
        }
        let is_ahead = |start: Duration| start >= second.saturating_add(LEEWAY_BEFORE_START);
        if self.nbf.is_some_and(|nbf| nbf.0.is_zero() || is_ahead(nbf.0)) {
            return Err(AuthRejection::NotBefore);
        }
        if self.iat.is_some_and(|iat| is_ahead(iat.0)) {
            return Err(AuthRejection::IssuedAt);
        }
        if self.jti.is_some_and(|jti| jti.ends_with(REFRESH_MARK)) {
            return Err(AuthRejection::RefreshToken);
        }
        Ok(exp)
    }
}

/// The time since 1970. If the clock is before 1970, every token seems to be from the future.
pub(super) fn since_epoch(now: SystemTime) -> Duration {
    now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}
