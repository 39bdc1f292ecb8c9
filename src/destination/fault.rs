//! Faults of calls to the Destination service and its XSUAA, and whether a call is retried.
//!
//! Invariant: 401, 403 and other 4xx except 408 and 429 are never retried, and no 4xx counts
//! against the upstream. Used by `client`, `service_token` and `cache`.

use crate::upstream::{
    CERTIFICATE_ADVICE, ConnectFault, TransportError,
    gate::{CallPermit, FailureKind, GateError},
    retry::{PassingStatus, RETRY_AFTER_CAP, RetryDecision, asked_pause},
};
use http::{HeaderMap, StatusCode};
use std::{fmt, time::Duration};

/// A call that returned neither a token nor a destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum FindFault {
    /// Waiting may help.
    Transient {
        /// What happened.
        kind: Transient,
        /// Which system was called.
        asked: AskedSystem,
        /// The pause that the other side asked for.
        retry_after: Option<Duration>,
        /// Whether and when the call is repeated.
        again: RetryDecision,
    },
    /// Waiting does not help; the text is for an administrator.
    Refused(&'static str),
    /// A file that somebody is writing, or that has a mistake. What was read before stays in use.
    Unfinished(&'static str),
}

/// The two systems that are called for a destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AskedSystem {
    /// The Destination service.
    DestinationService,
    /// XSUAA, for the token of the Destination service.
    Xsuaa,
}

impl fmt::Display for AskedSystem {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::DestinationService => "the Destination service",
            Self::Xsuaa => "XSUAA, which gives the token for the Destination service,",
        })
    }
}

/// Kinds of transient failures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Transient {
    /// The connection was never made.
    Connect,
    /// The name of the host has no address.
    Name,
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
    /// The answer cannot be read.
    pub(super) fn unreadable(asked: AskedSystem) -> Self {
        Self::transient(Transient::Unreadable, asked, RetryDecision::UNREADABLE)
    }

    pub(super) fn transient(kind: Transient, asked: AskedSystem, again: RetryDecision) -> Self {
        Self::Transient { kind, asked, retry_after: None, again }
    }

    /// Classifies a call without an answer.
    pub(super) fn transport(error: &TransportError, asked: AskedSystem) -> Self {
        let kind = match error {
            TransportError::Connect { kind: ConnectFault::TlsCertificate, .. } => {
                Transient::Certificate
            }
            TransportError::Connect { kind: ConnectFault::Dns, .. } => Transient::Name,
            TransportError::Connect { .. } => Transient::Connect,
            TransportError::Timeout { .. } | TransportError::Interrupted { .. } => {
                Transient::NoAnswer
            }
            TransportError::TooLarge | TransportError::Unreadable { .. } => Transient::Unreadable,
            TransportError::Refused => return Self::Refused("its address is not allowed"),
        };
        Self::transient(kind, asked, RetryDecision::after_error(error))
    }

    /// A call that the gate held back.
    pub(super) fn held_back(error: &GateError, asked: AskedSystem) -> Self {
        let retry_after = match error {
            GateError::Open { retry_after } => Some(*retry_after),
            GateError::Full => None,
        };
        let (kind, again) = (Transient::Closed, RetryDecision::No);
        Self::Transient { kind, asked, retry_after, again }
    }

    /// Classifies a transient status; `None` for all others.
    pub(super) fn passing(
        status: StatusCode,
        asked: AskedSystem,
        retry_after: Option<Duration>,
    ) -> Option<Self> {
        let kind = match PassingStatus::of(status)? {
            PassingStatus::RateLimited => Transient::RateLimited,
            PassingStatus::NoAnswer => Transient::NoAnswer,
            PassingStatus::ServerError => Transient::Server,
        };
        let again = RetryDecision::after_status(status, retry_after);
        Some(Self::Transient { kind, asked, retry_after, again })
    }

    /// Returns what happened, for the log.
    pub(super) fn cause(&self) -> &'static str {
        match self {
            Self::Refused(finding) | Self::Unfinished(finding) => finding,
            Self::Transient { kind, .. } => match kind {
                Transient::Connect => "no connection",
                Transient::Name => "the name of its host has no address",
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
            Self::Refused(_) | Self::Unfinished(_) => RetryDecision::No,
            Self::Transient { again, .. } => *again,
        }
    }
}

/// What an administrator reads about a transient failure.
pub(super) fn advice(kind: Transient, asked: AskedSystem) -> String {
    match kind {
        Transient::Connect => format!("{asked} cannot be reached"),
        Transient::Name => {
            let member = match asked {
                AskedSystem::DestinationService => "uri",
                AskedSystem::Xsuaa => "url",
            };
            format!(
                "{asked} cannot be reached: the name of its host has no address; the host is that of the member \
                 {member} of the destination binding, so check the DNS, and the binding if it lasts"
            )
        }
        Transient::Certificate => format!("{asked} cannot be reached: {CERTIFICATE_ADVICE}"),
        Transient::NoAnswer => format!("{asked} has not answered in time"),
        Transient::Server => format!("{asked} answers with an error"),
        Transient::RateLimited => format!("{asked} limits the calls of the broker"),
        Transient::Unreadable => format!("{asked} gave an answer that cannot be read"),
        Transient::Closed => format!("{asked} is not called for a moment, after failures"),
    }
}

/// Returns whether this status counts against the upstream: 4xx never does.
pub(super) fn is_failure(status: StatusCode) -> bool {
    status.is_server_error()
}

/// Reports a call without an answer to its gate. A refused certificate counts as nothing there: an
/// open breaker would hide what must be repaired.
pub(super) fn report(permit: CallPermit, error: &TransportError) {
    match error.connect_fault() {
        Some(ConnectFault::TlsCertificate) => drop(permit),
        None if error.may_have_been_sent() => permit.failed(FailureKind::Response),
        Some(_) | None => permit.failed(FailureKind::Connect),
    }
}

/// Reads `Retry-After`.
pub(super) fn pause(headers: &HeaderMap) -> Option<Duration> {
    asked_pause(headers, RETRY_AFTER_CAP)
}
