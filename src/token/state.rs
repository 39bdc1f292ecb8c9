//! Small types of the lockout guard: its state, why it holds a password back, what changed. Used by
//! `lockout`, `lockout_guard` and their callers.

use super::error::Reason;
use tokio::time::Instant;

/// State of a lockout guard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GuardState {
    /// Nothing was sent yet.
    Unknown,
    /// The last logon succeeded.
    Good,
    /// Refused: no password until the credentials change.
    Rejected,
    /// Something else must be repaired first.
    Blocked,
    /// Locked by the identity provider or by UAA.
    Locked,
    /// A pause after a transient failure.
    Waiting,
}

/// Why no password may be sent now.
#[derive(Clone, Debug)]
pub(super) struct Hold {
    pub(super) reason: Reason,
    pub(super) retry_at: Option<Instant>,
}

/// An operator's release of one attempt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Release {
    #[default]
    None,
    /// One attempt may pass.
    Open,
    /// It has passed, and may have been sent.
    Used,
    /// It has passed, but no connection was made.
    Unsent,
}

/// A change of state, for the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Transition {
    pub(super) from: GuardState,
    pub(super) to: GuardState,
}

impl GuardState {
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
