//! Why a call to the CF API failed, and whether waiting would help.
//!
//! Invariant: an error never holds a request or a response body, only CF's own error entries.
//! Callers: all modules that call this one.

use super::model::{CapiErrors, CfError};
use crate::{
    token::LeaseRefusal,
    upstream::{ConnectFault, TransportError, body::DecodeError},
};
use http::StatusCode;
use std::{sync::Arc, time::Duration};
use tokio::time::Instant;

/// CF-UniquenessError: two writers at once; a read shows who won.
const UNIQUENESS: u32 = 10016;
/// CF-LabelLimitExceeded and CF-AnnotationLimitExceeded.
const METADATA_LIMITS: [u32; 2] = [390_020, 390_023];
/// What CF says when a destination is added beside weighted ones, or a weighted one is removed.
const WEIGHTED: [&str; 2] = [
    "there are weighted destinations already configured",
    "Weighted destinations cannot be deleted individually",
];

/// `retry_after` when the CF API is not available; the breaker probes again after 5 s.
const UNAVAILABLE_PAUSE: Duration = Duration::from_secs(5);

/// Why a call to the CF API failed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CapiError {
    /// There is no token for the technical user; nothing was sent.
    #[error("no token for the technical user")]
    Token(#[source] LeaseRefusal),
    /// CF refused the technical user's token, also after a renewal.
    #[error("the cf api refused the token")]
    Unauthorized {
        /// 10002 is a bug of the broker: no usable header arrived.
        code: Option<u32>,
        /// CF's request id of the last response.
        request_id: Option<String>,
    },
    /// 403 with code 10003: the technical user lacks a role or its token a scope.
    #[error("the technical user lacks a role")]
    LacksRole(ErrorResponse),
    /// 404 with code 10010: gone, or invisible for the technical user.
    #[error("resource not found")]
    NotFound(ErrorResponse),
    /// Any other 4xx: CF understood and refused.
    #[error("the cf api refused with status {}", .0.status.as_u16())]
    Refused(ErrorResponse),
    /// 5xx that is not about availability: the outcome of a mutation is unknown.
    #[error("the cf api failed with status {}", .0.status.as_u16())]
    Failed(ErrorResponse),
    /// The rate limit of the technical user is used up.
    #[error("the cf api limits the technical user")]
    RateLimited {
        /// Time until the limit opens again.
        retry_after: Duration,
    },
    /// The CF API cannot be reached, or does not serve.
    #[error("the cf api is unavailable: {cause}")]
    Unavailable {
        /// The reason.
        cause: Unavailability,
        /// Time until the next attempt makes sense.
        retry_after: Duration,
        /// The transport error.
        #[source]
        source: Option<Arc<TransportError>>,
    },
    /// No response in time.
    #[error("no response from the cf api in time")]
    Timeout {
        /// Whether the request may have been executed.
        sent: RequestSent,
    },
    /// The response is not what was expected.
    #[error("unreadable response of the cf api")]
    Unreadable {
        /// Its status.
        status: StatusCode,
        /// CF's request id of the response.
        request_id: Option<String>,
        /// Where decoding stopped.
        #[source]
        source: Option<DecodeError>,
    },
    /// A bug of the broker, by its constant name.
    #[error("internal fault: {0}")]
    Internal(&'static str),
}

/// A response with an error status.
#[derive(Clone, Debug)]
pub struct ErrorResponse {
    /// CF's status.
    pub status: StatusCode,
    /// CF's errors; empty if the body had none.
    pub errors: CapiErrors,
    /// CF's request id of the response.
    pub request_id: Option<String>,
}

/// Whether a request without a response may have been executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestSent {
    /// Nothing left the process.
    No,
    /// It was sent, at least in part.
    Maybe,
}

/// Why the CF API did not serve. The names follow the error types of RFC 9209.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unavailability {
    /// The name did not resolve.
    Dns,
    /// The connection was refused.
    ConnectionRefused,
    /// The connection was not made in time.
    ConnectionTimeout,
    /// The certificate is not acceptable.
    TlsCertificate,
    /// The TLS handshake failed.
    TlsProtocol,
    /// No connection for another reason.
    Connection,
    /// The connection broke after the request was sent.
    ConnectionTerminated,
    /// Too many calls are in flight.
    Busy,
    /// The breaker is open.
    BreakerOpen,
    /// A page of the CF router or of a proxy in front of the Cloud Controller.
    RouterPage,
    /// The Cloud Controller itself answered 502, 503 or 504.
    Answered,
}

impl CapiError {
    /// Returns whether the same call may succeed later without any change.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Token(refusal) => refusal.is_transient(),
            Self::RateLimited { .. }
            | Self::Unavailable { .. }
            | Self::Timeout { .. }
            | Self::Failed(_) => true,
            Self::Unreadable { status, .. } => status.is_server_error(),
            Self::Unauthorized { .. }
            | Self::LacksRole(_)
            | Self::NotFound(_)
            | Self::Refused(_)
            | Self::Internal(_) => false,
        }
    }

    /// Returns how long to wait before the next attempt, if that is known.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Token(refusal) => refusal.retry_after(Instant::now()),
            Self::RateLimited { retry_after } | Self::Unavailable { retry_after, .. } => {
                Some(*retry_after)
            }
            Self::Unauthorized { .. }
            | Self::LacksRole(_)
            | Self::NotFound(_)
            | Self::Refused(_)
            | Self::Failed(_)
            | Self::Timeout { .. }
            | Self::Unreadable { .. }
            | Self::Internal(_) => None,
        }
    }

    /// Returns whether CF may have executed the call although it did not confirm it.
    pub fn may_have_been_executed(&self) -> bool {
        match self {
            Self::Failed(_) => true,
            Self::Timeout { sent } => *sent == RequestSent::Maybe,
            Self::Unavailable { cause, .. } => !cause.is_before_sending(),
            Self::Unreadable { status, .. } => !status.is_client_error(),
            Self::Token(_)
            | Self::Unauthorized { .. }
            | Self::LacksRole(_)
            | Self::NotFound(_)
            | Self::Refused(_)
            | Self::RateLimited { .. }
            | Self::Internal(_) => false,
        }
    }

    /// Returns a constant word for audit lines and metrics.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Token(_) => "no_token",
            Self::Unauthorized { .. } => "upstream_auth_failed",
            Self::LacksRole(_) => "technical_user_lacks_role",
            Self::NotFound(_) => "cf_not_found",
            Self::Refused(_) => "cf_refused",
            Self::Failed(_) | Self::Unreadable { .. } => "cf_error",
            Self::RateLimited { .. } => "cf_rate_limited",
            Self::Unavailable { cause: Unavailability::TlsCertificate, .. } => {
                "certificate_refused"
            }
            Self::Unavailable { .. } => "cf_unavailable",
            Self::Timeout { .. } => "cf_timeout",
            Self::Internal(_) => "internal",
        }
    }

    /// Returns CF's own errors, if it gave any.
    pub fn cf_errors(&self) -> &[CfError] {
        self.answered().map_or(&[], |answered| &answered.errors.errors)
    }

    /// Returns CF's code of a refusal.
    pub fn code(&self) -> Option<u32> {
        match self {
            Self::Unauthorized { code, .. } => *code,
            Self::Token(_)
            | Self::LacksRole(_)
            | Self::NotFound(_)
            | Self::Refused(_)
            | Self::Failed(_)
            | Self::RateLimited { .. }
            | Self::Unavailable { .. }
            | Self::Timeout { .. }
            | Self::Unreadable { .. }
            | Self::Internal(_) => self.answered()?.errors.code(),
        }
    }

    /// Returns whether CF found the call malformed (400): a bug of the broker.
    pub fn is_bad_request(&self) -> bool {
        self.answered().is_some_and(|answered| answered.status == StatusCode::BAD_REQUEST)
    }

    /// Returns whether another writer changed the same resource at the same moment. (With a 429 the
    /// code means something else.)
    pub fn is_race(&self) -> bool {
        matches!(self, Self::Refused(_)) && self.code() == Some(UNIQUENESS)
    }

    /// Returns whether CF refused with 422 and a detail that contains `text`.
    pub fn is_unprocessable(&self, text: &str) -> bool {
        let Self::Refused(answered) = self else {
            return false;
        };
        answered.status == StatusCode::UNPROCESSABLE_ENTITY && answered.errors.mentions(text)
    }

    /// Returns whether the resource would have more labels or annotations than CF allows.
    pub fn is_metadata_limit(&self) -> bool {
        matches!(self, Self::Refused(_))
            && self.code().is_some_and(|code| METADATA_LIMITS.contains(&code))
    }

    /// Returns whether CF refused to change one of several weighted destinations.
    pub fn is_about_weights(&self) -> bool {
        WEIGHTED.iter().any(|text| self.is_unprocessable(text))
    }

    /// Returns CF's request id, for the log and the audit line.
    pub fn request_id(&self) -> Option<&str> {
        match self {
            Self::Unauthorized { request_id, .. } | Self::Unreadable { request_id, .. } => {
                request_id.as_deref()
            }
            Self::Token(_)
            | Self::LacksRole(_)
            | Self::NotFound(_)
            | Self::Refused(_)
            | Self::Failed(_)
            | Self::RateLimited { .. }
            | Self::Unavailable { .. }
            | Self::Timeout { .. }
            | Self::Internal(_) => self.answered()?.request_id.as_deref(),
        }
    }

    /// Makes the error of an incomplete body whose head arrived.
    pub(super) fn cut_short(error: TransportError, status: StatusCode) -> Self {
        if matches!(error, TransportError::Interrupted { .. } | TransportError::Unreadable { .. }) {
            return Self::Unreadable { status, request_id: None, source: None };
        }
        error.into()
    }

    /// Makes the error of a call that CF did not serve.
    pub(super) fn unavailable(cause: Unavailability, retry_after: Option<Duration>) -> Self {
        let retry_after = retry_after.unwrap_or(UNAVAILABLE_PAUSE);
        Self::Unavailable { cause, retry_after, source: None }
    }

    fn answered(&self) -> Option<&ErrorResponse> {
        match self {
            Self::LacksRole(answered)
            | Self::NotFound(answered)
            | Self::Refused(answered)
            | Self::Failed(answered) => Some(answered),
            Self::Token(_)
            | Self::Unauthorized { .. }
            | Self::RateLimited { .. }
            | Self::Unavailable { .. }
            | Self::Timeout { .. }
            | Self::Unreadable { .. }
            | Self::Internal(_) => None,
        }
    }
}

impl Unavailability {
    /// Returns whether nothing was sent before.
    pub(super) fn is_before_sending(self) -> bool {
        match self {
            Self::ConnectionTerminated | Self::RouterPage | Self::Answered => false,
            Self::Dns
            | Self::ConnectionRefused
            | Self::ConnectionTimeout
            | Self::TlsCertificate
            | Self::TlsProtocol
            | Self::Connection
            | Self::Busy
            | Self::BreakerOpen => true,
        }
    }

    /// Returns whether it may be over within seconds. A bad certificate stays bad; breaker and gate
    /// have waited already.
    pub(super) fn may_pass(self) -> bool {
        match self {
            Self::Dns
            | Self::ConnectionRefused
            | Self::ConnectionTimeout
            | Self::Connection
            | Self::ConnectionTerminated
            | Self::RouterPage
            | Self::Answered => true,
            Self::TlsCertificate | Self::TlsProtocol | Self::Busy | Self::BreakerOpen => false,
        }
    }
}

impl std::fmt::Display for Unavailability {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Dns => "name not resolved",
            Self::ConnectionRefused => "connection refused",
            Self::ConnectionTimeout => "connection timed out",
            Self::TlsCertificate => "certificate not acceptable",
            Self::TlsProtocol => "tls handshake failed",
            Self::Connection => "no connection",
            Self::ConnectionTerminated => "connection broke",
            Self::Busy => "too many calls in flight",
            Self::BreakerOpen => "breaker open",
            Self::RouterPage => "a router answered instead",
            Self::Answered => "it answered 502, 503 or 504",
        })
    }
}

impl From<TransportError> for CapiError {
    fn from(error: TransportError) -> Self {
        let cause = match &error {
            TransportError::Connect { kind, .. } => Unavailability::from(*kind),
            TransportError::Interrupted { .. } => Unavailability::ConnectionTerminated,
            TransportError::Timeout { .. } => {
                return Self::Timeout { sent: RequestSent::Maybe };
            }
            TransportError::TooLarge | TransportError::Unreadable { .. } => {
                let status = StatusCode::OK;
                return Self::Unreadable { status, request_id: None, source: None };
            }
            TransportError::Refused => return Self::Internal("request_refused"),
        };
        let source = Some(Arc::new(error));
        Self::Unavailable { cause, retry_after: UNAVAILABLE_PAUSE, source }
    }
}

impl From<ConnectFault> for Unavailability {
    fn from(fault: ConnectFault) -> Self {
        match fault {
            ConnectFault::Dns => Self::Dns,
            ConnectFault::Refused => Self::ConnectionRefused,
            ConnectFault::Timeout => Self::ConnectionTimeout,
            ConnectFault::TlsCertificate => Self::TlsCertificate,
            ConnectFault::TlsProtocol => Self::TlsProtocol,
            ConnectFault::Other => Self::Connection,
        }
    }
}
