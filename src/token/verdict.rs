//! Fault → verdict of the gate and advice for an administrator (uaa.md 7, last column).
//!
//! Invariant: closed over the fault table; what is unknown counts as a refused password (fail closed). Words are
//! ours. Pure. Used by `source` and `gate`.

use super::{backoff::Trouble, error::Reason};
use crate::oauth::{
    ExchangeError, Fault,
    fault::{ActionCode, FaultKind},
};
use std::time::Duration;

/// Identity providers lock for 60 min (uaa.md 9); five minutes more, for a probe that comes early counts again.
const PROVIDER_LOCK: Duration = Duration::from_secs(65 * 60);

/// UAA locks its own users for 300 s after the last failure (uaa.md 9); a tenth more.
const UAA_LOCK: Duration = Duration::from_secs(330);

/// What a failed logon means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ruling {
    pub(super) verdict: Verdict,
    pub(super) reason: Reason,
}

/// What the gate does about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// No password until the credentials change.
    Rejected,
    /// Likewise; something else must be repaired.
    Blocked,
    /// Likewise, but one look each hour.
    BlockedWithProbe,
    /// Nothing for at least this long.
    Locked(Duration),
    /// Time may heal it.
    Waiting {
        trouble: Trouble,
        /// A counted failure may hide behind it.
        is_ambiguous: bool,
    },
}

impl Verdict {
    /// Returns whether trying again without a change is of no use.
    pub(super) fn is_definite(self) -> bool {
        match self {
            Self::Rejected | Self::Blocked | Self::BlockedWithProbe | Self::Locked(_) => true,
            Self::Waiting { .. } => false,
        }
    }

    /// Returns whether a counted failure may hide behind it.
    pub(super) fn is_ambiguous(self) -> bool {
        match self {
            Self::Waiting { is_ambiguous, .. } => is_ambiguous,
            Self::Rejected | Self::Blocked | Self::BlockedWithProbe | Self::Locked(_) => false,
        }
    }
}

/// Judges a failed logon.
pub(super) fn judge(error: &ExchangeError) -> Ruling {
    match error {
        ExchangeError::Transport(error) => Ruling {
            verdict: Verdict::Waiting {
                trouble: Trouble::NoAnswer,
                is_ambiguous: error.may_have_been_sent(),
            },
            reason: Reason::UaaUnavailable,
        },
        ExchangeError::Refused(fault) => judge_fault(fault),
    }
}

fn judge_fault(fault: &Fault) -> Ruling {
    let blocked = |reason| Ruling { verdict: Verdict::Blocked, reason };
    let locked = |wait| Ruling { verdict: Verdict::Locked(wait), reason: Reason::Locked };
    match fault.kind {
        FaultKind::BadCredentials | FaultKind::RefreshTokenRejected => {
            Ruling { verdict: Verdict::Rejected, reason: Reason::Rejected }
        }
        FaultKind::ProviderLocked => locked(PROVIDER_LOCK),
        FaultKind::UaaLocked => locked(UAA_LOCK),
        FaultKind::SecondFactor => blocked(Reason::SecondFactor),
        FaultKind::BadRequest => blocked(Reason::Internal),
        FaultKind::IssuerMismatch => {
            Ruling { verdict: Verdict::BlockedWithProbe, reason: action(TRUST) }
        }
        FaultKind::ActionRequired(code) => {
            blocked(Reason::ActionRequired { advice: of_code(code) })
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
        FaultKind::QueryNotAllowed => {
            blocked(misconfigured("the token URL does not take this form of request; check it"))
        }
        FaultKind::NotFound => blocked(misconfigured(
            "there is no token endpoint at the token URL; check host and path",
        )),
        FaultKind::Redirect => blocked(misconfigured(
            "the token URL leads to a login page; it must end in /oauth/token",
        )),
        FaultKind::RateLimited => waiting(fault, Trouble::RateLimited),
        FaultKind::Unavailable | FaultKind::ServerError | FaultKind::Unreadable => {
            waiting(fault, Trouble::BadAnswer)
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

fn waiting(fault: &Fault, trouble: Trouble) -> Ruling {
    Ruling {
        verdict: Verdict::Waiting {
            trouble: fault.retry_after.map_or(trouble, Trouble::Asked),
            is_ambiguous: fault.kind.is_ambiguous(),
        },
        reason: Reason::UaaUnavailable,
    }
}

/// F5 and F6; the provider's code is the one thing of its text that is ours to print.
fn of_code(code: ActionCode) -> String {
    let (word, advice) = match code {
        ActionCode::PasswordChangeRequired => (
            "PASSWORD_CHANGE_REQUIRED",
            "change the user's password and put the new one into the destination",
        ),
        ActionCode::PasswordResetRequired => (
            "PASSWORD_RESET_REQUIRED",
            "reset the user's password and put the new one into the destination",
        ),
        ActionCode::InitialPasswordExpired => (
            "INITIAL_PASSWORD_EXPIRED",
            "the initial password has expired: set a new one and put it into the destination",
        ),
        ActionCode::PasswordDisabled => {
            ("PASSWORD_DISABLED", "allow the user to log on with a password")
        }
        ActionCode::UserInactive => ("USER_INACTIVE", "activate the user at the identity provider"),
        ActionCode::MailNotVerified => {
            ("MAIL_NOT_VERIFIED", "verify the user's e-mail address at the identity provider")
        }
        ActionCode::RiskRuleDenied => (
            "RBA_RULE_ACTION_DENY",
            "let the identity provider's risk-based authentication allow the user",
        ),
    };
    format!("{advice} ({word})")
}

#[cfg(test)]
mod tests;
