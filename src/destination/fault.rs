//! What can go wrong between the broker and the Destination service or its XSUAA, and whether to
//! ask again.
//!
//! Invariant: 401, 403 and other 4xx are never repeated, and none of them counts against the
//! upstream (destination.md 3, 4). Used by `client`, `service_token` and `cache`.

use crate::upstream::{
    ConnectFault, TransportError,
    gate::{FailureKind, GateError},
    retry::{Backoff, RETRY_AFTER_CAP, RetryDecision, retry_after},
};
use http::{HeaderMap, StatusCode, header};
use std::time::{Duration, SystemTime};

/// A call that brought neither a token nor a destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum FindFault {
    /// Waiting may help.
    Transient {
        /// What happened.
        kind: Transient,
        /// What the other side asked for.
        retry_after: Option<Duration>,
    },
    /// Waiting does not help: what an administrator must know.
    Refused(&'static str),
}

/// Kinds of failures that may pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Transient {
    /// The connection was never made.
    Connect,
    /// The certificate of the other side is not trusted; asking again at once is in vain.
    Certificate,
    /// Sent, but no whole answer; or a gateway's answer in its place (408, 502, 504).
    NoAnswer,
    /// 500, 503.
    Server,
    /// 429.
    RateLimited,
    /// Something answered that is not the service, or not readable, or too large.
    Unreadable,
    /// Our own breaker or limit: nothing was sent.
    Closed,
}

impl FindFault {
    pub(super) fn transient(kind: Transient) -> Self {
        Self::Transient { kind, retry_after: None }
    }

    /// Classifies a call without answer.
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

    /// Classifies a status that may pass; `None` for every other one.
    pub(super) fn passing(status: StatusCode, retry_after: Option<Duration>) -> Option<Self> {
        let kind = match status.as_u16() {
            429 => Transient::RateLimited,
            408 | 502 | 504 => Transient::NoAnswer,
            code if code >= 500 => Transient::Server,
            _ => return None,
        };
        Some(Self::Transient { kind, retry_after })
    }

    /// Says what happened, for the log.
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

    /// Says whether and when the call is repeated (SAP's table, destination.md 3).
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

/// Whether an answer with that status speaks against the upstream: 4xx and 429 never do.
pub(super) fn is_failure(status: StatusCode) -> bool {
    status.is_server_error()
}

/// How a call without answer counts.
pub(super) fn failure(error: &TransportError) -> FailureKind {
    if error.may_have_been_sent() { FailureKind::Response } else { FailureKind::Connect }
}

/// Reads `Retry-After`. A date counts from the `Date` of the same answer, so that no clock but the
/// sender's matters.
pub(super) fn pause(headers: &HeaderMap) -> Option<Duration> {
    let date = headers.get(header::DATE).and_then(|value| value.to_str().ok());
    let sent = date.and_then(|text| httpdate::parse_http_date(text).ok());
    retry_after(headers, sent.unwrap_or(SystemTime::UNIX_EPOCH), RETRY_AFTER_CAP)
}
