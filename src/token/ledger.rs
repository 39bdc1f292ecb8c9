//! What is known about one credential, and what follows from it; pure but for the jitter.
//!
//! Invariant: only a success opens a refused credential (uaa.md 9); a pause lies over the state before and ends by
//! itself. Owned by `gate`, which lets nobody else in.

use super::{
    backoff::{self, Trouble},
    budget::Used,
    error::Reason,
    state::{GateState, Hold, Sending, Transition},
    verdict::{Ruling, Verdict},
};
use std::time::Duration;
use tokio::time::Instant;

/// Jitter on the end of a lock: instances must not all probe at once.
const LOCK_JITTER: f64 = 0.05;

/// Longest wait between probes of a lock that does not end: an administrator has to unlock by then.
const LONGEST_LOCK: Duration = Duration::from_secs(24 * 60 * 60);

/// F13: the platform repairs the trust within 24 h; the password was right, so that a look each hour costs nothing.
const PROBE_EVERY: Duration = Duration::from_secs(60 * 60);

/// What is known about one credential.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    standing: Standing,
    /// Why, where the standing is a refusal.
    reason: Option<Reason>,
    is_proven: bool,
    is_released: bool,
    pause: Option<Pause>,
    used: Used,
}

#[derive(Debug, Default)]
enum Standing {
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
struct Pause {
    until: Instant,
    rounds: u32,
}

impl Ledger {
    /// Judges whether `sending` may go out now; changes nothing.
    ///
    /// # Errors
    /// Why not, and until when.
    pub(super) fn check(&self, sending: Sending, now: Instant) -> Result<(), Hold> {
        if self.is_released {
            return Ok(());
        }
        if sending == Sending::Password {
            self.standing_allows(now)?;
        }
        match &self.pause {
            Some(pause) if now < pause.until => Err(Hold::until(pause.until)),
            Some(_) | None => Ok(()),
        }
    }

    /// Judges whether one more post without a clear end may be risked.
    ///
    /// # Errors
    /// When the oldest one is forgotten.
    pub(super) fn admit(&mut self, now: Instant) -> Result<(), Instant> {
        self.used.admit(self.is_proven, now)
    }

    /// No post may be risked before `until`.
    pub(super) fn exhaust(&mut self, until: Instant) -> Hold {
        let rounds = self.rounds();
        self.pause = Some(Pause { until, rounds });
        Hold::until(until)
    }

    /// The logon succeeded.
    pub(super) fn succeeded(&mut self, now: Instant) -> Transition {
        let from = self.state_before(now);
        self.standing = Standing::Good;
        self.reason = None;
        self.is_proven = true;
        self.pause = None;
        let to = GateState::Good;
        Transition { from, to }
    }

    /// The logon failed.
    pub(super) fn failed(&mut self, sending: Sending, ruling: &Ruling, now: Instant) -> Transition {
        let from = self.state_before(now);
        match ruling.verdict {
            Verdict::Rejected => self.close(Standing::Rejected, ruling),
            Verdict::Blocked => self.close(Standing::Blocked { probe_at: None }, ruling),
            Verdict::BlockedWithProbe => {
                let probe_at = Some(now + PROBE_EVERY);
                self.close(Standing::Blocked { probe_at }, ruling);
            }
            Verdict::Locked(base) => {
                let wait = self.next_lock(base);
                let probe_at = now + wait.mul_f64(1.0 + LOCK_JITTER * fastrand::f64());
                self.close(Standing::Locked { probe_at, wait }, ruling);
            }
            Verdict::Waiting { trouble, is_ambiguous } => {
                if is_ambiguous && sending == Sending::Password {
                    self.used.note(now);
                }
                self.wait(trouble, now);
            }
        }
        let to = self.state(now);
        Transition { from, to }
    }

    /// Lets exactly one more attempt through, whatever the state.
    pub(super) fn release(&mut self) {
        self.is_released = true;
    }

    /// Takes the release back; returns whether there was one.
    pub(super) fn take_release(&mut self) -> bool {
        std::mem::take(&mut self.is_released)
    }

    pub(super) fn is_released(&self) -> bool {
        self.is_released
    }

    /// Returns whether a logon has ever succeeded.
    pub(super) fn is_proven(&self) -> bool {
        self.is_proven
    }

    /// Returns how many failures in a row time may heal.
    pub(super) fn rounds(&self) -> u32 {
        self.pause.as_ref().map_or(0, |pause| pause.rounds)
    }

    /// Returns whether somebody has to repair something or a lock has to run out, also below a pause.
    pub(super) fn is_closed(&self) -> bool {
        match self.standing {
            Standing::Rejected | Standing::Blocked { .. } | Standing::Locked { .. } => true,
            Standing::Unknown | Standing::Good => false,
        }
    }

    /// Returns the state that is shown.
    pub(super) fn state(&self, now: Instant) -> GateState {
        if self.pause.as_ref().is_some_and(|pause| now < pause.until) {
            return GateState::Waiting;
        }
        match self.standing {
            Standing::Unknown => GateState::Unknown,
            Standing::Good => GateState::Good,
            Standing::Rejected => GateState::Rejected,
            Standing::Blocked { .. } => GateState::Blocked,
            Standing::Locked { .. } => GateState::Locked,
        }
    }

    /// Returns the state that an attempt leaves: a pause is overcome by its outcome, not by the clock.
    fn state_before(&self, now: Instant) -> GateState {
        match self.pause {
            Some(_) => GateState::Waiting,
            None => self.state(now),
        }
    }

    fn standing_allows(&self, now: Instant) -> Result<(), Hold> {
        let (is_open, retry_at) = match self.standing {
            Standing::Unknown | Standing::Good => (true, None),
            Standing::Rejected | Standing::Blocked { probe_at: None } => (false, None),
            Standing::Blocked { probe_at: Some(at) } => (now >= at, None),
            Standing::Locked { probe_at, .. } => (now >= probe_at, Some(probe_at)),
        };
        if is_open {
            return Ok(());
        }
        let reason = self.reason.clone().unwrap_or(Reason::Rejected);
        Err(Hold { reason, retry_at })
    }

    fn close(&mut self, standing: Standing, ruling: &Ruling) {
        self.standing = standing;
        self.reason = Some(ruling.reason.clone());
        self.pause = None;
    }

    /// Returns the wait of a lock: twice the last one's if it still holds.
    fn next_lock(&self, base: Duration) -> Duration {
        match self.standing {
            Standing::Locked { wait, .. } => (wait * 2).max(base).min(LONGEST_LOCK),
            Standing::Unknown | Standing::Good | Standing::Rejected | Standing::Blocked { .. } => {
                base
            }
        }
    }

    fn wait(&mut self, trouble: Trouble, now: Instant) {
        let rounds = self.rounds();
        let until = now + backoff::pause(trouble, rounds, fastrand::f64());
        let rounds = rounds.saturating_add(1);
        self.pause = Some(Pause { until, rounds });
    }
}

#[cfg(test)]
mod tests;
