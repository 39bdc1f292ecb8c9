//! The failure policy: what a failed logon means for the lockout guard. What an administrator reads
//! about it is in `advice`.
//!
//! Invariant: covers every fault of `docs/reference/uaa-faults.md`. An unknown one counts as a
//! refused password (fail closed). Pure. Used by `provider`, `exchange` and `lockout`.

use super::{
    advice::{self, SentLogon},
    backoff::RetryClass,
    error::{Reason, UaaOutage},
};
use crate::oauth::{ExchangeError, Fault, fault::FaultKind};
use std::time::Duration;

/// Identity providers lock a user for 60 min. Five minutes more, because a probe that comes too
/// early counts again.
const PROVIDER_LOCK: Duration = Duration::from_secs(65 * 60);

/// UAA locks its own users for 300 s after the last failure. A tenth more.
const UAA_LOCK: Duration = Duration::from_secs(330);

/// A failed logon: its class and its public reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ClassifiedFailure {
    pub(super) class: FailureClass,
    pub(super) reason: Reason,
}

/// What the lockout guard does about a failed logon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FailureClass {
    /// No password until the credentials change.
    Rejected,
    /// No password until something else is repaired or the credentials change.
    Blocked,
    /// The same, with one probe each hour.
    BlockedWithProbe,
    /// No password for at least this long.
    Locked(Duration),
    /// A later attempt may succeed.
    Waiting {
        retry_class: RetryClass,
        /// The failure may have been counted.
        is_ambiguous: bool,
    },
    /// The answer did not come from a token endpoint. No password before one is seen again.
    NoTokenEndpoint {
        /// The failure may have been counted.
        is_ambiguous: bool,
    },
}

impl FailureClass {
    /// Returns whether another attempt without a change is useless.
    pub(super) fn is_definite(self) -> bool {
        match self {
            Self::Rejected | Self::Blocked | Self::BlockedWithProbe | Self::Locked(_) => true,
            Self::Waiting { .. } | Self::NoTokenEndpoint { .. } => false,
        }
    }

    /// Returns whether the failure may have been counted.
    pub(super) fn is_ambiguous(self) -> bool {
        match self {
            Self::Waiting { is_ambiguous, .. } | Self::NoTokenEndpoint { is_ambiguous } => {
                is_ambiguous
            }
            Self::Rejected | Self::Blocked | Self::BlockedWithProbe | Self::Locked(_) => false,
        }
    }
}

/// Classifies a failed grant.
pub(super) fn classify(error: &ExchangeError, sent: SentLogon<'_>) -> ClassifiedFailure {
    let reason = match error {
        ExchangeError::Transport(transport) => {
            let is_sent = transport.may_have_been_sent();
            let outage = if is_sent { UaaOutage::NoAnswer } else { UaaOutage::NotReached };
            advice::unreachable(error.unreachable(), outage)
        }
        ExchangeError::Refused(fault) => advice::reason_of(fault, sent),
    };
    ClassifiedFailure { class: class_of(error), reason }
}

/// Returns what the lockout guard does about a failed grant.
pub(super) fn class_of(error: &ExchangeError) -> FailureClass {
    match error {
        ExchangeError::Transport(error) => FailureClass::Waiting {
            retry_class: RetryClass::NoAnswer,
            is_ambiguous: error.may_have_been_sent(),
        },
        ExchangeError::Refused(fault) => class_of_fault(fault),
    }
}

fn class_of_fault(fault: &Fault) -> FailureClass {
    match fault.kind {
        // A token endpoint names an error (RFC 6749, 5.2). A page of something in between may hide
        // UAA's own answer.
        FaultKind::UnknownRefusal if fault.error.is_none() => no_token_endpoint(fault),
        FaultKind::BadCredentials
        | FaultKind::RejectedByProvider
        | FaultKind::UnknownRefusal
        | FaultKind::RefreshTokenRejected => FailureClass::Rejected,
        FaultKind::ProviderLocked => FailureClass::Locked(PROVIDER_LOCK),
        FaultKind::UaaLocked => FailureClass::Locked(UAA_LOCK),
        FaultKind::IssuerMismatch => FailureClass::BlockedWithProbe,
        FaultKind::ClientRejected
        | FaultKind::SecondFactor
        | FaultKind::BadRequest
        | FaultKind::ActionRequired(_)
        | FaultKind::TrustIncomplete
        | FaultKind::FieldMissing
        | FaultKind::IdTokenRejected(_)
        | FaultKind::UserNotCreated
        | FaultKind::NotVerified
        | FaultKind::NoScopes
        | FaultKind::ScopeUnknown
        | FaultKind::OriginUnknown
        | FaultKind::ProviderNotAllowed
        | FaultKind::OriginMissing
        | FaultKind::NoProvider
        | FaultKind::GrantNotAllowed
        | FaultKind::WrongPath => FailureClass::Blocked,
        FaultKind::QueryNotAllowed | FaultKind::NotFound | FaultKind::Redirect => {
            no_token_endpoint(fault)
        }
        FaultKind::RateLimited => waiting(fault, RetryClass::RateLimited),
        FaultKind::Unavailable
        | FaultKind::ProviderUnavailable
        | FaultKind::ServerError
        | FaultKind::Unreadable => waiting(fault, RetryClass::BadAnswer),
    }
}

/// With the statuses of a refused logon a proxy may have replaced UAA's answer.
fn no_token_endpoint(fault: &Fault) -> FailureClass {
    let is_ambiguous = matches!(fault.status.as_u16(), 400 | 401 | 403);
    FailureClass::NoTokenEndpoint { is_ambiguous }
}

fn waiting(fault: &Fault, retry_class: RetryClass) -> FailureClass {
    FailureClass::Waiting {
        retry_class: fault.retry_after.map_or(retry_class, RetryClass::Asked),
        is_ambiguous: fault.kind.is_ambiguous(),
    }
}

#[cfg(test)]
mod tests;
