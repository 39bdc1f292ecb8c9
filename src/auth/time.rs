//! When a token counts (rule A7), whichever issuer it came from.
//!
//! Invariant: the clocks of issuer and broker may differ by [`LEEWAY`], and by nothing more. Pure. For the issuers of this
//! room.

use super::{claims::NumericDate, error::AuthRejection};
use std::time::{Duration, SystemTime};

/// How far clocks may differ (A7); SAP's libraries allow the same.
const LEEWAY: Duration = Duration::from_secs(60);

/// Longest life of a token: XSUAA's `token-validity` ends at one day, plus what clocks differ (A7).
const LONGEST_LIFE: Duration = Duration::from_secs(86_400 + 600);

/// What a UAA refresh token's `jti` ends in; UAA itself tells them apart that way.
const REFRESH_MARK: &str = "-r";

/// The claims that say when a token counts.
pub(super) struct Lifetime<'c> {
    /// End.
    pub(super) exp: Option<NumericDate>,
    /// Begin.
    pub(super) nbf: Option<NumericDate>,
    /// Issued at.
    pub(super) iat: Option<NumericDate>,
    /// Token id.
    pub(super) jti: Option<&'c str>,
}

impl Lifetime<'_> {
    /// Judges time, and the mark of a refresh token; returns when the token ends. Whole seconds: within the second of an
    /// edge the stricter side counts.
    ///
    /// # Errors
    /// The [`AuthRejection`] of the first broken rule.
    pub(super) fn check(&self, now: SystemTime) -> Result<Duration, AuthRejection> {
        let now = since_epoch(now);
        let second = Duration::from_secs(now.as_secs());
        let exp = self.exp.ok_or(AuthRejection::Expiry)?.0;
        if exp.is_zero()
            || now >= exp.saturating_add(LEEWAY)
            || exp > second.saturating_add(LONGEST_LIFE)
        {
            return Err(AuthRejection::Expiry);
        }
        if self.nbf.is_some_and(|nbf| nbf.0.is_zero() || second.saturating_add(LEEWAY) <= nbf.0) {
            return Err(AuthRejection::NotBefore);
        }
        if self.iat.is_some_and(|iat| iat.0 > second.saturating_add(LEEWAY)) {
            return Err(AuthRejection::IssuedAt);
        }
        if self.jti.is_some_and(|jti| jti.ends_with(REFRESH_MARK)) {
            return Err(AuthRejection::RefreshToken);
        }
        Ok(exp)
    }
}

/// The wall clock as claims count it; a clock before 1970 makes every token one of the future.
pub(super) fn since_epoch(now: SystemTime) -> Duration {
    now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}
