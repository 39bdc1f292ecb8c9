//! Faults of calls to the Destination service and its XSUAA, and whether a call is retried.
//!
//! Invariant: 401, 403 and other 4xx except 408 and 429 are never retried, and no 4xx counts
//! against the upstream. Used by `client`, `service_token` and `cache`.

use crate::upstream::{
    ConnectFault, TransportError,
    gate::{FailureKind, GateError},
    retry::{Backoff, RETRY_AFTER_CAP, RetryDecision, retry_after},
};
use http::{HeaderMap, StatusCode, header};
use std::time::{Duration, SystemTime};

/// A call that returned neither a token nor a destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum FindFault {
    /// Waiting may help.
    Transient {
        /// What happened.
        kind: Transient,
        /// The pause that the other side asked for.
        retry_after: Option<Duration>,
    },
    /// Waiting does not help; the text is for an administrator.
    Refused(&'static str),
}

/// Kinds of transient failures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Transient {
    /// The connection was never made.
    Connect,
    /// The certificate of the other side is not trusted; an immediate retry is useless.
    Certificate,
    /// Sent, but no complete answer; or a gateway's answer instead (408, 502, 504).
    NoAnswer,
    /// 500, 503.
    Server,
    /// 429.
    RateLimited,
    /// The answer is not from the service, not readable, or too large.
    Unreadable,
    /// The broker's own breaker or concurrency limit: nothing was sent.
    Closed,
}

impl FindFault {
    pub(super) fn transient(kind: Transient) -> Self {
        Self::Transient { kind, retry_after: None }
    }

    /// Classifies a call without an answer.
    pub(super) fn transport(error: &TransportError) -> Self {
        Self::transient(match error {
            TransportError::Connect { kind: ConnectFault::TlsCertificate, .. } => {
                Transient::Certificate
            }
            TransportError::Connect { .. } => Transient::Connect,
            TransportError::Timeout { .. } | TransportError::Interrupted { .. } => {
                Transient::NoAnswer
            }
            TransportError::TooLarge | TransportError::Unreadable { .. } => Transient::Unreadable,
            TransportError::Refused => return Self::Refused("its address is not allowed"),
        })
    }

    /// Classifies a transient status; `None` for all others.
    pub(super) fn passing(status: StatusCode, retry_after: Option<Duration>) -> Option<Self> {
        let kind = match status.as_u16() {
            429 => Transient::RateLimited,
            408 | 502 | 504 => Transient::NoAnswer,
            code if code >= 500 => Transient::Server,
            _ => return None,
        };
        Some(Self::Transient { kind, retry_after })
    }

    /// Returns what happened, for the log.
    pub(super) fn cause(&self) -> &'static str {
        match self {
            Self::Refused(finding) => finding,
            Self::Transient { kind, .. } => match kind {
                Transient::Connect => "no connection",
                Transient::Certificate => "certificate not trusted",
                Transient::NoAnswer => "no answer",
                Transient::Server => "error of the service",
                Transient::RateLimited => "rate limited",
                Transient::Unreadable => "unreadable answer",
                Transient::Closed => "held back after failures",
            },
        }
    }

    /// Returns whether and when the call is retried; see `docs/reference/limits.md`.
    pub(super) fn again(&self) -> RetryDecision {
        match self {
            Self::Refused(_) => RetryDecision::No,
            Self::Transient { kind, retry_after } => match kind {
                Transient::Connect | Transient::NoAnswer | Transient::Unreadable => {
                    RetryDecision::WithBackoff(Backoff::CONNECTION)
                }
                Transient::Server => RetryDecision::WithBackoff(Backoff::OVERLOADED),
                Transient::RateLimited => retry_after
                    .map_or(RetryDecision::WithBackoff(Backoff::OVERLOADED), RetryDecision::After),
                Transient::Certificate | Transient::Closed => RetryDecision::No,
            },
        }
    }
}

impl From<GateError> for FindFault {
    fn from(error: GateError) -> Self {
        let retry_after = match error {
            GateError::Open { retry_after } => Some(retry_after),
            GateError::Full => None,
        };
        Self::Transient { kind: Transient::Closed, retry_after }
    }
}

/// Returns whether this status counts against the upstream: 4xx never does.
pub(super) fn is_failure(status: StatusCode) -> bool {
    status.is_server_error()
}

/// Returns how a call without an answer counts.
pub(super) fn failure(error: &TransportError) -> FailureKind {
    if error.may_have_been_sent() { FailureKind::Response } else { FailureKind::Connect }
}

/// Reads `Retry-After`. A date counts from the `Date` of the same answer, so that only the sender's
/// clock matters.
pub(super) fn pause(headers: &HeaderMap) -> Option<Duration> {
    let date = headers.get(header::DATE).and_then(|value| value.to_str().ok());
    let sent = date.and_then(|text| httpdate::parse_http_date(text).ok());
    retry_after(headers, sent.unwrap_or(SystemTime::UNIX_EPOCH), RETRY_AFTER_CAP)
}
