//! Dialects of UAA and XSUAA: status, code and (nested) description → [`Fault`] (`uaa.md` 6, 7, 8).
//!
//! Invariant: fails closed. A refusal that no row knows is a refused credential, so that it is not
//! tried again; only what is known to be passing is transient. [`TokenEndpoint`] classifies, `token`
//! decides what follows from it.
//!
//! [`TokenEndpoint`]: crate::oauth::TokenEndpoint

use crate::{
    oauth::{
        dialect::{Told, kind_of},
        grant::GrantKind,
    },
    upstream::retry::{RETRY_AFTER_CAP, retry_after},
};
use http::{HeaderMap, StatusCode, header::DATE};
use std::time::{Duration, SystemTime};

pub use crate::oauth::dialect::ActionCode;

/// How gorouter says that it answered itself (`uaa.md` F24).
const ROUTER_ERROR: &str = "x-cf-routererror";

/// Values of that header with which the request reached no UAA at all (deduced).
const NOT_REACHED: [&str; 2] = ["no_endpoints", "unknown_route"];

/// F21: the only 5xx of UAA itself that it gives before it looks at the credentials.
const LIMITED_MODE: &str = "uaa_unavailable";

/// Longest excerpt of a description for the log (`uaa.md` 7): enough to add a row by.
const LONGEST_EXCERPT: usize = 200;

/// Longest code for the log. RFC codes have up to 25 characters; UAA's rate limiter puts a sentence
/// into this member.
const LONGEST_CODE: usize = 64;

/// A classified refusal of a token endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The row.
    pub kind: FaultKind,
    /// As received.
    pub status: StatusCode,
    /// `error` member, at most 64 characters, control characters stripped; for the log.
    pub error: Option<String>,
    /// At most 200 characters of the description (inner one where nested), control characters
    /// stripped; for the log only. For an unreadable success: what was wrong, in our words.
    pub excerpt: Option<String>,
    /// What the endpoint asked for, at most 60 s; only where waiting may help.
    pub retry_after: Option<Duration>,
}

impl Fault {
    /// Sorts an answer that is no usable success, in the order of `uaa.md` 8.
    pub(super) fn classify(
        status: StatusCode,
        headers: &HeaderMap,
        body: &[u8],
        grant: GrantKind,
    ) -> Self {
        let told = Told::read(body);
        let kind = for_grant(by_status(status, headers, &told), status, grant);
        Self {
            kind,
            status,
            error: told.code.as_deref().map(|code| clean(code, LONGEST_CODE)),
            excerpt: told.description().map(|description| clean(description, LONGEST_EXCERPT)),
            retry_after: wait(kind, headers),
        }
    }

    /// A 200 that is none (F26).
    pub(super) fn unreadable(status: StatusCode, why: &str) -> Self {
        Self {
            kind: FaultKind::Unreadable,
            status,
            error: None,
            excerpt: Some(clean(why, LONGEST_EXCERPT)),
            retry_after: None,
        }
    }
}

/// The rows of the fault table (`uaa.md` 7) that need telling apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FaultKind {
    /// F1, F2, F15 and any unknown 4xx (fail closed).
    BadCredentials,
    /// F3: the identity provider's lock.
    ProviderLocked,
    /// F4: UAA's own lock.
    UaaLocked,
    /// F5, F6: the user must do something; the code (ours to print).
    ActionRequired(ActionCode),
    /// F7.
    SecondFactor,
    /// F8.
    OriginUnknown,
    /// F9.
    ProviderNotAllowed,
    /// F10.
    OriginMissing,
    /// F11.
    TrustIncomplete,
    /// F12.
    UserNotCreated,
    /// F13.
    IssuerMismatch,
    /// F14.
    NotVerified,
    /// F16.
    GrantNotAllowed,
    /// F17.
    NoScopes,
    /// F18: our bug.
    BadRequest,
    /// F19.
    QueryNotAllowed,
    /// F20.
    RateLimited,
    /// F21, and 404 or 5xx with `X-Cf-RouterError` `no_endpoints` or `unknown_route`: did not reach
    /// a UAA that counts.
    Unavailable,
    /// F22, F23, other 5xx, 408, other router errors: may hide a counted failure.
    ServerError,
    /// F24 without router header.
    NotFound,
    /// F25.
    Redirect,
    /// F26.
    Unreadable,
    /// Refresh grant only: 400, 401 or another 4xx that ends the refresh token (`uaa.md` 6).
    RefreshTokenRejected,
}

impl FaultKind {
    /// Returns whether waiting may help (F20–F24 with router header, F26).
    pub fn is_transient(self) -> bool {
        matches!(self, Self::RateLimited | Self::Unavailable) || self.is_ambiguous()
    }

    /// Returns whether a counted failure may hide behind it.
    pub fn is_ambiguous(self) -> bool {
        matches!(self, Self::ServerError | Self::Unreadable)
    }
}

/// Steps 2 to 5.
fn by_status(status: StatusCode, headers: &HeaderMap, told: &Told) -> FaultKind {
    match status.as_u16() {
        429 => FaultKind::RateLimited,
        500..=599 if is_not_reached(headers) || is_limited_mode(status, told) => {
            FaultKind::Unavailable
        }
        // 408 is among the passing ones in reliability.md T5; the request was sent.
        408 | 500..=599 => FaultKind::ServerError,
        300..=399 => FaultKind::Redirect,
        404 => not_found(headers),
        405 | 406 | 415 => FaultKind::QueryNotAllowed,
        200..=299 => FaultKind::Unreadable,
        400 | 401 | 403 => kind_of(told),
        400..=499 => FaultKind::BadCredentials,
        // Informational answers never get here, and above 599 there is nothing to rely on.
        _ => FaultKind::ServerError,
    }
}

/// A UAA that is down looks like this in front of the router; one that answers itself knows no such
/// zone or path.
fn not_found(headers: &HeaderMap) -> FaultKind {
    if is_not_reached(headers) {
        FaultKind::Unavailable
    } else if headers.contains_key(ROUTER_ERROR) {
        FaultKind::ServerError
    } else {
        FaultKind::NotFound
    }
}

fn is_not_reached(headers: &HeaderMap) -> bool {
    headers.get(ROUTER_ERROR).is_some_and(|value| {
        NOT_REACHED.iter().any(|word| value.as_bytes().eq_ignore_ascii_case(word.as_bytes()))
    })
}

fn is_limited_mode(status: StatusCode, told: &Told) -> bool {
    status == StatusCode::SERVICE_UNAVAILABLE && told.code.as_deref() == Some(LIMITED_MODE)
}

/// A refresh grant knows one refusal only: each 4xx that is not passing ends the refresh token, and
/// the password goes next, through the gate (`uaa.md` 6).
fn for_grant(kind: FaultKind, status: StatusCode, grant: GrantKind) -> FaultKind {
    match grant {
        GrantKind::RefreshToken if status.is_client_error() && !kind.is_transient() => {
            FaultKind::RefreshTokenRejected
        }
        GrantKind::RefreshToken
        | GrantKind::Password
        | GrantKind::JwtBearer
        | GrantKind::ClientCredentials
        | GrantKind::AuthorizationCode => kind,
    }
}

/// Reads `Retry-After` where waiting may help. A date is measured against the answer's own `Date`,
/// which needs no agreement of two clocks; without one it yields the cap.
fn wait(kind: FaultKind, headers: &HeaderMap) -> Option<Duration> {
    if !kind.is_transient() {
        return None;
    }
    let date = headers.get(DATE).and_then(|value| value.to_str().ok());
    let now = date
        .and_then(|text| httpdate::parse_http_date(text).ok())
        .unwrap_or(SystemTime::UNIX_EPOCH);
    retry_after(headers, now, RETRY_AFTER_CAP)
}

/// Makes a text of the other side fit for one line of the log.
fn clean(text: &str, longest: usize) -> String {
    text.chars().filter(|character| !character.is_control()).take(longest).collect()
}

#[cfg(test)]
mod tests;
