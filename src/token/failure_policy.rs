//! The failure policy: what a failed logon means for the lockout guard, and the advice for an
//! administrator.
//!
//! Invariant: covers every fault of `docs/reference/uaa-faults.md`. An unknown one counts as a
//! refused password (fail closed). All texts are ours. Pure. Used by `provider`, `exchange` and
//! `lockout`.

use super::{backoff::RetryClass, error::Reason};
use crate::oauth::{
    ExchangeError, Fault,
    fault::{ActionCode, FaultKind},
};
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

/// Classifies a failed logon.
pub(super) fn classify(error: &ExchangeError) -> ClassifiedFailure {
    match error {
        ExchangeError::Transport(error) => ClassifiedFailure {
            class: FailureClass::Waiting {
                retry_class: RetryClass::NoAnswer,
                is_ambiguous: error.may_have_been_sent(),
            },
            reason: Reason::UaaUnavailable,
        },
        ExchangeError::Refused(fault) => classify_fault(fault),
    }
}

fn classify_fault(fault: &Fault) -> ClassifiedFailure {
    let blocked = |reason| ClassifiedFailure { class: FailureClass::Blocked, reason };
    let locked =
        |wait| ClassifiedFailure { class: FailureClass::Locked(wait), reason: Reason::Locked };
    match fault.kind {
        // A token endpoint names an error (RFC 6749, 5.2). A page of something in between may hide
        // UAA's own answer.
        FaultKind::BadCredentials if fault.error.is_none() => no_token_endpoint(fault),
        FaultKind::BadCredentials | FaultKind::RefreshTokenRejected => {
            ClassifiedFailure { class: FailureClass::Rejected, reason: Reason::Rejected }
        }
        FaultKind::ProviderLocked => locked(PROVIDER_LOCK),
        FaultKind::UaaLocked => locked(UAA_LOCK),
        FaultKind::SecondFactor => blocked(Reason::SecondFactor),
        FaultKind::BadRequest => blocked(Reason::Internal),
        FaultKind::IssuerMismatch => {
            ClassifiedFailure { class: FailureClass::BlockedWithProbe, reason: action(TRUST) }
        }
        FaultKind::ActionRequired(code) => {
            blocked(Reason::ActionRequired { advice: advice_of(code) })
        }
        FaultKind::TrustIncomplete => blocked(action(TRUST)),
        FaultKind::UserNotCreated => {
            blocked(action("add the user to org and space with this origin, so that UAA knows it"))
        }
        FaultKind::NotVerified => blocked(action("verify the user's e-mail address in UAA")),
        FaultKind::NoScopes => blocked(action(
            "give the user a role in org and space; it has none of the scopes that the CF API needs",
        )),
        FaultKind::OriginUnknown => blocked(misconfigured(
            "the origin is not an active identity provider that supports the password grant; name the custom platform \
             identity provider's origin key",
        )),
        FaultKind::ProviderNotAllowed => blocked(misconfigured(
            "the client may not use this identity provider; name another origin",
        )),
        FaultKind::OriginMissing => blocked(misconfigured("set the origin of the technical user")),
        FaultKind::GrantNotAllowed => blocked(misconfigured(
            "the password grant was withdrawn for this client (CF RFC 0037); use the JWT bearer grant",
        )),
        FaultKind::QueryNotAllowed | FaultKind::NotFound | FaultKind::Redirect => {
            no_token_endpoint(fault)
        }
        FaultKind::RateLimited => waiting(fault, RetryClass::RateLimited),
        FaultKind::Unavailable | FaultKind::ServerError | FaultKind::Unreadable => {
            waiting(fault, RetryClass::BadAnswer)
        }
    }
}

/// F11 and F13.
const TRUST: &str = "repair the trust between UAA and the identity provider";

fn action(advice: &str) -> Reason {
    Reason::ActionRequired { advice: advice.to_owned() }
}

fn misconfigured(advice: &str) -> Reason {
    Reason::Misconfigured { advice: advice.to_owned() }
}

/// With the statuses of a refused logon a proxy may have replaced UAA's answer.
fn no_token_endpoint(fault: &Fault) -> ClassifiedFailure {
    let is_ambiguous = matches!(fault.status.as_u16(), 400 | 401 | 403);
    ClassifiedFailure {
        class: FailureClass::NoTokenEndpoint { is_ambiguous },
        reason: Reason::NoTokenEndpoint { status: fault.status.as_u16() },
    }
}

fn waiting(fault: &Fault, retry_class: RetryClass) -> ClassifiedFailure {
    ClassifiedFailure {
        class: FailureClass::Waiting {
            retry_class: fault.retry_after.map_or(retry_class, RetryClass::Asked),
            is_ambiguous: fault.kind.is_ambiguous(),
        },
        reason: Reason::UaaUnavailable,
    }
}

/// F5 and F6. Of the provider's text only the code is safe to print.
fn advice_of(code: ActionCode) -> String {
    let advice = match code {
        ActionCode::PasswordChangeRequired => {
            "change the user's password and put the new one into the destination"
        }
        ActionCode::PasswordResetRequired => {
            "reset the user's password and put the new one into the destination"
        }
        ActionCode::InitialPasswordExpired => {
            "the initial password has expired: set a new one and put it into the destination"
        }
        ActionCode::PasswordDisabled => "allow the user to log on with a password",
        ActionCode::UserInactive => "activate the user at the identity provider",
        ActionCode::MailNotVerified => "verify the user's e-mail address at the identity provider",
        ActionCode::RiskRuleDenied => {
            "let the identity provider's risk-based authentication allow the user"
        }
    };
    format!("{advice} ({})", code.code())
}

#[cfg(test)]
mod tests;
