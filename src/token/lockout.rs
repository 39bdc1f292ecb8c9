//! The lockout state of one credential: what is known about it and what may be sent. Pure except
//! for the jitter.
//!
//! Invariant: only a successful logon opens a refused credential. A pause hides the state below it
//! and ends by itself. States and numbers: `docs/explanation/lockout-guard.md`. Owned by
//! `lockout_guard`, the only caller.

use super::{
    backoff::{self, RetryClass},
    error::Reason,
    failure_policy::{ClassifiedFailure, FailureClass},
    settings::LogonGrant,
    state::{GuardState, Hold, Release, Transition},
};
use std::time::Duration;
use tokio::time::Instant;

/// Jitter on the end of a lock: instances must not all probe at the same time.
const LOCK_JITTER: f64 = 0.05;

/// Longest wait between probes of a lock that does not end. An administrator has to unlock the user
/// by then.
const LONGEST_LOCK: Duration = Duration::from_secs(24 * 60 * 60);

/// F13: the platform repairs the trust within 24 h. The password was right, so one probe each hour
/// does not count as a failure.
const PROBE_EVERY: Duration = Duration::from_secs(60 * 60);

/// What is known about one credential.
#[derive(Debug, Default)]
pub(super) struct LockoutState {
    standing: CredentialState,
    /// Why the credential is refused, if it is.
    reason: Option<Reason>,
    is_proven: bool,
    release: Release,
    pause: Option<RetryPause>,
    /// Answers in a row that did not come from a token endpoint.
    foreign_answers: u32,
}

#[derive(Debug, Default)]
enum CredentialState {
    #[default]
    Unknown,
    Good,
    Rejected,
    Blocked {
        probe_at: Option<Instant>,
    },
    Locked {
        probe_at: Instant,
        wait: Duration,
    },
}

#[derive(Debug)]
struct RetryPause {
    until: Instant,
    reason: Reason,
    rounds: u32,
}

impl LockoutState {
    /// Checks whether a logon with `grant` may be sent now: only a password can lock a user, for an
    /// assertion only a pause applies. Changes nothing.
    ///
    /// # Errors
    /// Why not, and until when.
    pub(super) fn check(&self, grant: LogonGrant, now: Instant) -> Result<(), Hold> {
        if self.is_released() {
            return Ok(());
        }
        if grant == LogonGrant::Password {
            self.standing_allows(now)?;
        }
        match &self.pause {
            Some(pause) if now < pause.until => {
                Err(Hold { reason: pause.reason.clone(), retry_at: Some(pause.until) })
            }
            Some(_) | None => Ok(()),
        }
    }

    /// No further attempt without a clear result may be risked before `until`.
    pub(super) fn exhaust(&mut self, until: Instant, now: Instant) -> Hold {
        let running = self.pause.as_ref().filter(|pause| now < pause.until);
        let until = running.map_or(until, |pause| pause.until.max(until));
        let reason = match running.map(|pause| &pause.reason) {
            // It says more, and the same wait follows.
            Some(reason @ Reason::NoTokenEndpoint { .. }) => reason.clone(),
            Some(_) | None => Reason::Unclear { until },
        };
        let rounds = self.rounds();
        self.pause = Some(RetryPause { until, reason: reason.clone(), rounds });
        Hold { reason, retry_at: Some(until) }
    }

    /// Returns whether a token endpoint must be seen before anything else is sent.
    pub(super) fn needs_probe(&self) -> bool {
        self.foreign_answers > 0 && !self.is_released()
    }

    /// The logon succeeded.
    pub(super) fn succeeded(&mut self, now: Instant) -> Transition {
        let from = self.state_before(now);
        self.standing = CredentialState::Good;
        self.reason = None;
        self.is_proven = true;
        self.pause = None;
        self.foreign_answers = 0;
        let to = GuardState::Good;
        Transition { from, to }
    }

    /// The logon failed.
    pub(super) fn failed(&mut self, failure: &ClassifiedFailure, now: Instant) -> Transition {
        let from = self.state_before(now);
        match failure.class {
            FailureClass::Rejected => self.close(CredentialState::Rejected, failure),
            FailureClass::Blocked => {
                self.close(CredentialState::Blocked { probe_at: None }, failure);
            }
            FailureClass::BlockedWithProbe => {
                let probe_at = Some(now + PROBE_EVERY);
                self.close(CredentialState::Blocked { probe_at }, failure);
            }
            FailureClass::Locked(base) => {
                let wait = self.next_lock(base);
                let probe_at = now + wait.mul_f64(1.0 + LOCK_JITTER * fastrand::f64());
                self.close(CredentialState::Locked { probe_at, wait }, failure);
            }
            FailureClass::Waiting { retry_class, .. } => {
                self.wait(retry_class, self.rounds(), failure, now);
            }
            FailureClass::NoTokenEndpoint { .. } => {
                self.wait(RetryClass::NoTokenEndpoint, self.foreign_answers, failure, now);
                self.foreign_answers = self.foreign_answers.saturating_add(1);
            }
        }
        let to = self.state(now);
        Transition { from, to }
    }

    /// Lets exactly one more attempt through, in any state.
    pub(super) fn release(&mut self) {
        self.release = Release::Open;
    }

    /// Uses up the release. Returns whether there was one.
    pub(super) fn take_release(&mut self) -> bool {
        let is_open = self.is_released();
        if is_open {
            self.release = Release::Used;
        }
        is_open
    }

    /// The attempt that used up the release got no connection.
    pub(super) fn note_unsent(&mut self) {
        if self.release == Release::Used {
            self.release = Release::Unsent;
        }
    }

    /// Ends the release, used or not. Returns what became of it.
    pub(super) fn end_release(&mut self) -> Release {
        std::mem::take(&mut self.release)
    }

    pub(super) fn is_released(&self) -> bool {
        self.release == Release::Open
    }

    /// Returns whether a logon has ever succeeded.
    pub(super) fn is_proven(&self) -> bool {
        self.is_proven
    }

    /// Returns the number of transient failures in a row.
    pub(super) fn rounds(&self) -> u32 {
        self.pause.as_ref().map_or(0, |pause| pause.rounds)
    }

    /// Returns whether a repair or the end of a lock is needed, also below a pause.
    pub(super) fn is_closed(&self) -> bool {
        match self.standing {
            CredentialState::Rejected
            | CredentialState::Blocked { .. }
            | CredentialState::Locked { .. } => true,
            CredentialState::Unknown | CredentialState::Good => false,
        }
    }

    /// Returns the state that is shown.
    pub(super) fn state(&self, now: Instant) -> GuardState {
        if self.pause.as_ref().is_some_and(|pause| now < pause.until) {
            return GuardState::Waiting;
        }
        match self.standing {
            CredentialState::Unknown => GuardState::Unknown,
            CredentialState::Good => GuardState::Good,
            CredentialState::Rejected => GuardState::Rejected,
            CredentialState::Blocked { .. } => GuardState::Blocked,
            CredentialState::Locked { .. } => GuardState::Locked,
        }
    }

    /// Returns the state before an attempt. A pause counts until an attempt has a result, even if
    /// its time is over.
    fn state_before(&self, now: Instant) -> GuardState {
        match self.pause {
            Some(_) => GuardState::Waiting,
            None => self.state(now),
        }
    }

    fn standing_allows(&self, now: Instant) -> Result<(), Hold> {
        let (is_open, retry_at) = match self.standing {
            CredentialState::Unknown | CredentialState::Good => (true, None),
            CredentialState::Rejected | CredentialState::Blocked { probe_at: None } => {
                (false, None)
            }
            CredentialState::Blocked { probe_at: Some(at) } => (now >= at, None),
            CredentialState::Locked { probe_at, .. } => (now >= probe_at, Some(probe_at)),
        };
        if is_open {
            return Ok(());
        }
        let reason = self.reason.clone().unwrap_or(Reason::Internal);
        Err(Hold { reason, retry_at })
    }

    fn close(&mut self, standing: CredentialState, failure: &ClassifiedFailure) {
        self.standing = standing;
        self.reason = Some(failure.reason.clone());
        self.pause = None;
        self.foreign_answers = 0;
    }

    /// Returns the waiting time of a lock: twice the last one if the user is still locked.
    fn next_lock(&self, base: Duration) -> Duration {
        match self.standing {
            CredentialState::Locked { wait, .. } => (wait * 2).max(base).min(LONGEST_LOCK),
            CredentialState::Unknown
            | CredentialState::Good
            | CredentialState::Rejected
            | CredentialState::Blocked { .. } => base,
        }
    }

    fn wait(
        &mut self,
        retry_class: RetryClass,
        earlier: u32,
        failure: &ClassifiedFailure,
        now: Instant,
    ) {
        let until = now + backoff::pause(retry_class, earlier, fastrand::f64());
        let rounds = self.rounds().saturating_add(1);
        self.pause = Some(RetryPause { until, reason: failure.reason.clone(), rounds });
    }
}

#[cfg(test)]
mod tests;
