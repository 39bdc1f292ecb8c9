//! The words in which a gate speaks: where it stands, why it holds, what changed. Used by `ledger`, `gate` and those who
//! ask them.

use super::error::Reason;
use tokio::time::Instant;

/// Where a gate stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GateState {
    /// Nothing was sent yet.
    Unknown,
    /// The last logon succeeded.
    Good,
    /// Refused: no password until the credentials change.
    Rejected,
    /// Something else must be repaired first.
    Blocked,
    /// The identity provider's lock, or UAA's own.
    Locked,
    /// A pause after a failure that time may heal.
    Waiting,
}

/// Why no password may be sent now.
#[derive(Clone, Debug)]
pub(super) struct Hold {
    pub(super) reason: Reason,
    pub(super) retry_at: Option<Instant>,
}

/// A change of state, for the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Transition {
    pub(super) from: GateState,
    pub(super) to: GateState,
}

/// What is to be sent: only the password can lock a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sending {
    Password,
    /// No password travels and nothing counts: only `Waiting` applies (uaa.md 11).
    Assertion,
}

impl GateState {
    /// Returns the name used in metrics, log lines and answers.
    pub fn name(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Good => "good",
            Self::Rejected => "rejected",
            Self::Blocked => "blocked",
            Self::Locked => "locked",
            Self::Waiting => "waiting",
        }
    }
}

impl Hold {
    /// A hold that time ends.
    pub(super) fn until(at: Instant) -> Self {
        Self { reason: Reason::UaaUnavailable, retry_at: Some(at) }
    }
}
