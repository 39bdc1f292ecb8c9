//! Classifies refusals of UAA and XSUAA: status, code and (nested) description → [`Fault`].
//!
//! Invariant: fails closed. After an unknown refusal the password is not sent again either. Only
//! known temporary failures are transient. Table: `docs/reference/uaa-faults.md`. [`TokenEndpoint`]
//! classifies; `token` decides what follows.
//!
//! [`TokenEndpoint`]: crate::oauth::TokenEndpoint

use crate::{
    oauth::{
        dialect::{ErrorAnswer, kind_of, unescaped},
        grant::GrantKind,
    },
    telemetry::foreign::strike,
    upstream::retry::{RETRY_AFTER_CAP, asked_pause},
};
use http::{HeaderMap, StatusCode};
use std::time::Duration;
use zeroize::Zeroizing;

pub use crate::oauth::dialect::{ActionCode, IdTokenFault};

/// Header of an answer that the gorouter gave itself (F24).
const ROUTER_ERROR: &str = "x-cf-routererror";

/// Values of that header with which the request did not reach a UAA (deduced, not seen).
const NOT_REACHED: [&str; 3] = ["no_endpoints", "unknown_route", "connection limit reached"];

/// Beginning of the value when the router got no connection to the UAA.
const NOT_CONNECTED: &[u8] = b"endpoint_failure (dial ";

/// F21: the only 5xx that UAA itself gives before it checks the credentials.
const LIMITED_MODE: &str = "uaa_unavailable";

/// Longest excerpt of a description for the log: enough to add a row to the table.
const LONGEST_EXCERPT: usize = 200;

/// Longest code for the log. RFC codes have up to 25 characters; UAA's rate limiter puts a whole
/// sentence into this member.
const LONGEST_CODE: usize = 64;

/// Codes that are shown as they are: RFC 6749 (5.2, 4.1.2.1), RFC 6750, RFC 7009 and UAA's own.
const STABLE_CODES: [&str; 18] = [
    "access_denied",
    "insufficient_scope",
    "invalid_client",
    "invalid_grant",
    "invalid_request",
    "invalid_scope",
    "invalid_token",
    "method_not_allowed",
    "query_string_not_allowed",
    "redirect_uri_mismatch",
    "server_error",
    "temporarily_unavailable",
    "uaa_unavailable",
    "unauthorized",
    "unauthorized_client",
    "unsupported_grant_type",
    "unsupported_response_type",
    "unsupported_token_type",
];

/// A classified refusal of a token endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The kind of fault.
    pub kind: FaultKind,
    /// As received.
    pub status: StatusCode,
    /// `error` member for the log, at most 64 characters, without control characters.
    pub error: Option<String>,
    /// At most 200 characters of the description (the inner one if nested), without control
    /// characters; for the log only. For an unreadable success: what was wrong, in our words.
    pub excerpt: Option<String>,
    /// The wait that the endpoint asked for, at most 60 s; only if waiting may help.
    pub retry_after: Option<Duration>,
}

impl Fault {
    /// Classifies an answer that is no usable success: first by status, then by text. `sent` is
    /// struck from what the log may show.
    pub(super) fn classify(
        status: StatusCode,
        headers: &HeaderMap,
        body: &[u8],
        grant: GrantKind,
        sent: &[&str],
    ) -> Self {
        let answer = ErrorAnswer::read(body);
        let kind = for_grant(by_status(status, headers, &answer), &answer, grant);
        // One layer of escapes is gone from the description, and so from a secret in it.
        let bare: Vec<_> =
            sent.iter().map(|secret| Zeroizing::new(unescaped(secret).into_owned())).collect();
        let sent: Vec<&str> =
            sent.iter().copied().chain(bare.iter().map(|secret| secret.as_str())).collect();
        Self {
            kind,
            status,
            error: answer.code.as_deref().map(|code| shown_code(code, &sent)),
            excerpt: answer.description().map(|text| strike(text, &sent, LONGEST_EXCERPT)),
            retry_after: wait(kind, headers),
        }
    }

    /// A 200 without a usable token (F26).
    pub(super) fn unreadable(status: StatusCode, why: &str) -> Self {
        Self {
            kind: FaultKind::Unreadable,
            status,
            error: None,
            excerpt: Some(strike(why, &[], LONGEST_EXCERPT)),
            retry_after: None,
        }
    }
}

/// A code of a standard tells nothing about what was sent, even if a password is a word of it.
fn shown_code(code: &str, sent: &[&str]) -> String {
    if STABLE_CODES.contains(&code) { code.to_owned() } else { strike(code, sent, LONGEST_CODE) }
}

/// The rows of the fault table that are treated differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FaultKind {
    /// F1, F15: refused by UAA itself. The client may be the cause as well as the user.
    BadCredentials,
    /// F2: refused by an identity provider behind UAA, which has accepted the client before.
    RejectedByProvider,
    /// A 4xx that no row knows, such as an HTML page inside a 401 (fail closed).
    UnknownRefusal,
    /// UAA refuses the client, before it looks at the user.
    ClientRejected,
    /// F3: locked by the identity provider.
    ProviderLocked,
    /// F4: locked by UAA.
    UaaLocked,
    /// F5, F6: the user must do something. The code is safe to print.
    ActionRequired(ActionCode),
    /// F7.
    SecondFactor,
    /// F8.
    OriginUnknown,
    /// F9.
    ProviderNotAllowed,
    /// F10: several identity providers may be asked.
    OriginMissing,
    /// F10: the client may ask none.
    NoProvider,
    /// F11.
    TrustIncomplete,
    /// F11: user or password did not arrive.
    FieldMissing,
    /// UAA refuses a token of the identity provider: the assertion of the JWT bearer grant, or the
    /// id token that the provider gave for the password.
    IdTokenRejected(IdTokenFault),
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
    /// A scope was requested that UAA does not know or does not give to this client.
    ScopeUnknown,
    /// F18: a bug in the broker.
    BadRequest,
    /// F19.
    QueryNotAllowed,
    /// F20.
    RateLimited,
    /// F21, and 404 or 5xx with a value of `X-Cf-RouterError` that says so: the request did not
    /// reach a UAA that counts failures.
    Unavailable,
    /// A 401 in which the identity provider says that it does not work now: may hide a counted
    /// failure.
    ProviderUnavailable,
    /// F22, F23, other 5xx, 408, other router errors: may hide a counted failure.
    ServerError,
    /// F24: UAA itself answers, at another path than that of its token endpoint.
    WrongPath,
    /// F24 without router header.
    NotFound,
    /// F25.
    Redirect,
    /// F26.
    Unreadable,
    /// Refresh grant only: a 4xx with an OAuth error, which ends the refresh token.
    RefreshTokenRejected,
}

impl FaultKind {
    /// Returns whether waiting may help (F20–F23, F24 with router header, F26).
    pub fn is_transient(self) -> bool {
        matches!(self, Self::RateLimited | Self::Unavailable) || self.is_ambiguous()
    }

    /// Returns whether the failure may have been counted.
    pub fn is_ambiguous(self) -> bool {
        matches!(self, Self::ProviderUnavailable | Self::ServerError | Self::Unreadable)
    }
}

/// Classifies by status; 400, 401 and 403 by text as well.
fn by_status(status: StatusCode, headers: &HeaderMap, answer: &ErrorAnswer) -> FaultKind {
    match status.as_u16() {
        429 => FaultKind::RateLimited,
        500..=599 if is_not_reached(headers) || is_limited_mode(status, answer) => {
            FaultKind::Unavailable
        }
        // 408 is transient, but the request was sent.
        408 | 500..=599 => FaultKind::ServerError,
        300..=399 => FaultKind::Redirect,
        404 => not_found(headers),
        405 | 406 | 415 => FaultKind::QueryNotAllowed,
        200..=299 => FaultKind::Unreadable,
        // UAA protects its pages so. Its token endpoint needs no such token.
        403 if answer.misses_csrf_token() => FaultKind::WrongPath,
        400 | 401 | 403 => kind_of(answer),
        400..=499 => FaultKind::UnknownRefusal,
        // Informational answers never get here; a status above 599 has no meaning.
        _ => FaultKind::ServerError,
    }
}

/// With a router error the gorouter has answered, for example because UAA is down. Without one UAA
/// itself answers: it knows no such zone or path.
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
        let value = value.as_bytes();
        NOT_REACHED.iter().any(|word| value.eq_ignore_ascii_case(word.as_bytes()))
            || value.starts_with(NOT_CONNECTED)
    })
}

fn is_limited_mode(status: StatusCode, answer: &ErrorAnswer) -> bool {
    status == StatusCode::SERVICE_UNAVAILABLE && answer.code.as_deref() == Some(LIMITED_MODE)
}

/// For a refresh grant every refusal by a token endpoint means the same: the refresh token has
/// ended. The password is next, through the lockout guard. Anything else that answers 4xx does not
/// know the token.
fn for_grant(kind: FaultKind, answer: &ErrorAnswer, grant: GrantKind) -> FaultKind {
    let is_elsewhere = matches!(
        kind,
        FaultKind::WrongPath
            | FaultKind::NotFound
            | FaultKind::QueryNotAllowed
            | FaultKind::Redirect
    );
    let is_of_token_endpoint =
        !is_elsewhere && !kind.is_transient() && answer.code.as_deref().is_some_and(is_error_code);
    match grant {
        GrantKind::RefreshToken | GrantKind::Probe if is_of_token_endpoint => {
            FaultKind::RefreshTokenRejected
        }
        GrantKind::RefreshToken
        | GrantKind::Probe
        | GrantKind::Password
        | GrantKind::JwtBearer
        | GrantKind::ClientCredentials
        | GrantKind::AuthorizationCode => kind,
    }
}

/// Error codes of token endpoints are single words in lower case. Other answers put a sentence into
/// the same member, such as UAA's about a missing CSRF token, or `Forbidden`, as servers do that
/// know nothing of OAuth.
fn is_error_code(code: &str) -> bool {
    !code.is_empty()
        && code.bytes().all(|byte| matches!(byte, b'!'..=b'~') && !byte.is_ascii_uppercase())
}

/// Reads `Retry-After` if waiting may help.
fn wait(kind: FaultKind, headers: &HeaderMap) -> Option<Duration> {
    kind.is_transient().then(|| asked_pause(headers, RETRY_AFTER_CAP)).flatten()
}

#[cfg(test)]
mod tests;
