//! May a password be sent now? One gate per fingerprint, in memory, outside the cache.
//!
//! Invariant: one password at a time; after one definite refusal none, until the fingerprint changes, a lock has run
//! out or an operator releases one (uaa.md 9). Identity providers lock after five. Used by `source`; read by `door`.

use super::{
    backoff::{self, Trouble},
    budget::{Budget, Place, Used},
    error::Reason,
    lease::Token,
    verdict::{Ruling, Verdict},
};
use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};
use tokio::time::Instant;

/// Jitter on the end of a lock: instances must not all probe at once.
const LOCK_JITTER: f64 = 0.05;

/// Longest wait between probes of a lock that does not end: an administrator has to unlock by then.
const LONGEST_LOCK: Duration = Duration::from_secs(24 * 60 * 60);

/// F13: the platform repairs the trust within 24 h; the password was right, so that a look each hour costs nothing.
const PROBE_EVERY: Duration = Duration::from_secs(60 * 60);

/// At most one forced renewal in this time, so that a CF that refuses every token causes no storm (T7).
const FORCED_EVERY: Duration = Duration::from_secs(30);

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

/// Guards one credential.
pub(super) struct CredentialGate {
    turn: tokio::sync::Mutex<()>,
    ledger: Mutex<Ledger>,
    budget: Arc<Budget>,
    forced: Arc<HoldOff>,
}

struct Ledger {
    standing: Standing,
    /// Why, where the standing is a refusal.
    reason: Option<Reason>,
    is_proven: bool,
    is_released: bool,
    pause: Option<Pause>,
    used: Used,
    /// The last token granted, for other slots of this credential; it lives in its slot.
    shared: Option<(Weak<Token>, Terms)>,
}

enum Standing {
    Unknown,
    Good,
    Rejected,
    Blocked { probe_at: Option<Instant> },
    Locked { probe_at: Instant, wait: Duration },
}

struct Pause {
    until: Instant,
    rounds: u32,
}

/// Why no password may be sent now.
#[derive(Clone, Debug)]
pub(super) struct Hold {
    pub(super) reason: Reason,
    pub(super) retry_at: Option<Instant>,
}

/// What a token was asked with besides the credential; only like can be shared with like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Terms {
    pub(super) scope: Option<String>,
    /// Further fields or headers went along; their values are not compared.
    pub(super) has_extras: bool,
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

    /// Returns whether somebody has to repair something or a lock has to run out.
    pub fn is_closed(self) -> bool {
        match self {
            Self::Rejected | Self::Blocked | Self::Locked => true,
            Self::Unknown | Self::Good | Self::Waiting => false,
        }
    }
}

impl CredentialGate {
    pub(super) fn new(budget: Arc<Budget>) -> Self {
        let ledger = Ledger {
            standing: Standing::Unknown,
            reason: None,
            is_proven: false,
            is_released: false,
            pause: None,
            used: Used::default(),
            shared: None,
        };
        Self {
            turn: tokio::sync::Mutex::new(()),
            ledger: Mutex::new(ledger),
            budget,
            forced: Arc::default(),
        }
    }

    /// Waits until nobody else logs on with this credential.
    pub(super) async fn turn(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.turn.lock().await
    }

    /// Returns the hold-off of forced renewals, which all slots of this credential share.
    pub(super) fn forced(&self) -> Arc<HoldOff> {
        Arc::clone(&self.forced)
    }

    /// Judges whether `sending` may go out now; changes nothing.
    ///
    /// # Errors
    /// Why not, and until when.
    pub(super) fn check(&self, sending: Sending, now: Instant) -> Result<(), Hold> {
        let ledger = self.ledger();
        if ledger.is_released {
            return Ok(());
        }
        if sending == Sending::Password {
            ledger.standing_allows(now)?;
        }
        match &ledger.pause {
            Some(pause) if now < pause.until => Err(Hold::until(pause.until)),
            Some(_) | None => Ok(()),
        }
    }

    /// Takes the right to send one password, and with it the operator's release, if there is one.
    ///
    /// # Errors
    /// Too many posts of the last 65 min had no clear end, and each may hide a counted failure.
    pub(super) async fn place(&self) -> Result<Place, Hold> {
        if std::mem::take(&mut self.ledger().is_released) {
            return Ok(Arc::clone(&self.budget).overdraw());
        }
        self.admit_unclear().map_err(|at| self.exhausted(at))?;
        let place = Arc::clone(&self.budget).reserve().await;
        place.map_err(|at| self.exhausted(at))
    }

    /// The logon succeeded.
    pub(super) fn succeeded(&self, now: Instant) -> Transition {
        let mut ledger = self.ledger();
        let from = ledger.state(now);
        ledger.standing = Standing::Good;
        ledger.reason = None;
        ledger.is_proven = true;
        ledger.pause = None;
        Transition { from, to: GateState::Good }
    }

    /// The logon failed.
    pub(super) fn failed(&self, sending: Sending, ruling: &Ruling, now: Instant) -> Transition {
        let mut ledger = self.ledger();
        let from = ledger.state(now);
        match ruling.verdict {
            Verdict::Rejected => ledger.close(Standing::Rejected, ruling),
            Verdict::Blocked => ledger.close(Standing::Blocked { probe_at: None }, ruling),
            Verdict::BlockedWithProbe => {
                let probe_at = Some(now + PROBE_EVERY);
                ledger.close(Standing::Blocked { probe_at }, ruling);
            }
            Verdict::Locked(base) => {
                let wait = ledger.next_lock(base);
                let probe_at = now + wait.mul_f64(1.0 + LOCK_JITTER * fastrand::f64());
                ledger.close(Standing::Locked { probe_at, wait }, ruling);
            }
            Verdict::Waiting { trouble, is_ambiguous } => {
                if is_ambiguous && sending == Sending::Password {
                    ledger.used.note(now);
                }
                ledger.wait(trouble, now);
            }
        }
        Transition { from, to: ledger.state(now) }
    }

    /// Lets exactly one more attempt through, whatever the state.
    pub(super) fn release(&self) {
        self.ledger().is_released = true;
    }

    /// Takes a release back that was not used.
    pub(super) fn withdraw_release(&self) {
        self.ledger().is_released = false;
    }

    pub(super) fn is_released(&self) -> bool {
        self.ledger().is_released
    }

    /// Returns whether a logon with this credential has ever succeeded.
    pub(super) fn is_proven(&self) -> bool {
        self.ledger().is_proven
    }

    /// Returns how many failures in a row time may heal.
    pub(super) fn rounds(&self) -> u32 {
        let ledger = self.ledger();
        ledger.pause.as_ref().map_or(0, |pause| pause.rounds)
    }

    pub(super) fn state(&self, now: Instant) -> GateState {
        self.ledger().state(now)
    }

    /// Returns why no password may be sent now, if so.
    pub(super) fn hold(&self, now: Instant) -> Option<Hold> {
        self.check(Sending::Password, now).err()
    }

    /// Offers a token to the other slots of this credential.
    pub(super) fn share(&self, token: &Arc<Token>, terms: Terms) {
        self.ledger().shared = Some((Arc::downgrade(token), terms));
    }

    /// Returns a token that another slot of this credential was given on the same terms and that still serves.
    pub(super) fn shared(&self, terms: &Terms, now: Instant) -> Option<Arc<Token>> {
        let ledger = self.ledger();
        let (token, of) = ledger.shared.as_ref()?;
        let is_like = of == terms && !terms.has_extras;
        token.upgrade().filter(|token| is_like && token.is_alive(now))
    }

    fn admit_unclear(&self) -> Result<(), Instant> {
        let mut ledger = self.ledger();
        let is_proven = ledger.is_proven;
        ledger.used.admit(is_proven, Instant::now())
    }

    /// The budget is used up: waits until the oldest post is forgotten.
    fn exhausted(&self, until: Instant) -> Hold {
        let mut ledger = self.ledger();
        let rounds = ledger.pause.as_ref().map_or(0, |pause| pause.rounds);
        ledger.pause = Some(Pause { until, rounds });
        Hold::until(until)
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for CredentialGate {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("CredentialGate")
            .field("state", &self.state(Instant::now()))
            .finish_non_exhaustive()
    }
}

impl Ledger {
    /// A pause lies over the state before and ends by itself.
    fn state(&self, now: Instant) -> GateState {
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
        let rounds = self.pause.as_ref().map_or(0, |pause| pause.rounds);
        let until = now + backoff::pause(trouble, rounds, fastrand::f64());
        let rounds = rounds.saturating_add(1);
        self.pause = Some(Pause { until, rounds });
    }
}

impl Hold {
    /// A hold that time ends.
    fn until(at: Instant) -> Self {
        Self { reason: Reason::UaaUnavailable, retry_at: Some(at) }
    }
}

/// Spaces forced renewals.
#[derive(Debug, Default)]
pub(super) struct HoldOff(Mutex<Option<Instant>>);

impl HoldOff {
    /// Takes the one forced renewal of this time; `false` if it was taken already.
    pub(super) fn take(&self, now: Instant) -> bool {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_free = last.is_none_or(|last| now >= last + FORCED_EVERY);
        if is_free {
            *last = Some(now);
        }
        is_free
    }
}

#[cfg(test)]
mod tests;
