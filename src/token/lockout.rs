//! The lockout guard decides whether a password may be sent now. One for each fingerprint, in
//! memory; those of one user share a budget of attempts without a clear result.
//!
//! Invariant: one password of a user at a time. After one definite refusal no password is sent
//! until the fingerprint changes, a lock has run out or an operator releases one attempt. Only a
//! successful logon opens a refused credential; a pause hides the state below it and ends by
//! itself. At most two attempts without a clear result in 65 min, and the second not soon after the
//! first. States and numbers: `docs/explanation/lockout-guard.md`. Used by `provider` and
//! `refresh`; read by `entry` and `status`.

use super::{
    backend::LogonGrant,
    error::Reason,
    failure_policy::{ClassifiedFailure, FailureClass, RetryClass},
    lease::{GrantedToken, TokenParameters},
};
use crate::oauth::{Fingerprint, Freshness};
use std::{
    collections::{HashMap, VecDeque},
    fmt, mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};
use tokio::{sync::OwnedMutexGuard, time::Instant};

/// Jitter on the end of a lock: instances must not all probe at the same time.
const LOCK_JITTER: f64 = 0.05;

/// Longest wait between probes of a lock that does not end. An administrator has to unlock the user
/// by then.
const LONGEST_LOCK: Duration = Duration::from_secs(24 * 60 * 60);

/// F13: the platform repairs the trust within 24 h. The password was right, so one probe each hour
/// does not count as a failure.
const PROBE_EVERY: Duration = Duration::from_secs(60 * 60);

/// At most one forced renewal in this time: if CF refuses every token, there is no storm of grants.
const FORCED_EVERY: Duration = Duration::from_secs(30);

/// The same if the refused token came from a logon: the next renewal would probably be a logon
/// again.
const FORCED_LOGON_EVERY: Duration = Duration::from_secs(10 * 60);

/// Identity providers forget failures after 60 min. Five minutes more for clocks and delays.
pub(super) const FAILURE_WINDOW: Duration = Duration::from_secs(65 * 60);

/// Two instances with two attempts each stay below the five failures that lock a user.
const MOST_UNCLEAR: usize = 2;

/// Wait between the two on the first instance: a restart of the login server or of an identity
/// provider is over by then.
const SPREAD_FIRST: Duration = Duration::from_secs(60);

/// The same on the other instances: what lasts longer is over by then, and the first instance has
/// tried meanwhile.
const SPREAD_OTHERS: Duration = Duration::from_secs(10 * 60);

/// Each change of credentials makes one guard, and a thousand password changes between two restarts
/// are not realistic. Above this number, guards with nothing to remember are dropped first.
const MAX_GUARDS: usize = 1024;

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

/// A change of state, for the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Transition {
    pub(super) from: GuardState,
    pub(super) to: GuardState,
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

/// What is known about one credential. Pure except for the jitter.
#[derive(Debug, Default)]
pub(super) struct LockoutState {
    standing: CredentialState,
    is_proven: bool,
    release: Release,
    pause: Option<RetryPause>,
    /// Answers in a row that did not come from a token endpoint.
    foreign_answers: u32,
    /// When CF's refusal of a token last forced a renewal.
    forced_at: Option<Instant>,
    /// The last token of this credential, for its other destinations. Weak: the token belongs to
    /// the destination that fetched it.
    shared: Option<(Weak<GrantedToken>, TokenParameters)>,
}

#[derive(Debug, Default)]
enum CredentialState {
    #[default]
    Unknown,
    Good,
    Closed(Closure),
}

#[derive(Debug)]
struct Closure {
    shown: GuardState,
    reason: Reason,
    /// When one attempt may pass.
    probe_at: Option<Instant>,
    /// How long this lock is waited out; zero if it is none.
    lock: Duration,
}

#[derive(Debug)]
struct RetryPause {
    until: Instant,
    reason: Reason,
    rounds: u32,
}

/// Protects one credential.
pub(super) struct LockoutGuard {
    /// Held across a logon: one at a time for a credential.
    pub(super) logon_lock: tokio::sync::Mutex<()>,
    /// Held across an operator's release: the next one counts it.
    pub(super) release_lock: tokio::sync::Mutex<()>,
    state: Mutex<LockoutState>,
    budget: Arc<AttemptBudget>,
}

/// All lockout guards of the process.
#[derive(Debug)]
pub(super) struct LockoutGuards {
    guards: Mutex<HashMap<Fingerprint, Arc<LockoutGuard>>>,
    instance_index: Option<u32>,
}

/// The attempts of one user. Identity providers count the failures of a user, over all credentials,
/// and do not tell case apart.
#[derive(Debug)]
struct AttemptBudget {
    user: String,
    spread: Duration,
    /// Held while a password is in flight.
    turn: Arc<tokio::sync::Mutex<()>>,
    past: Mutex<PastAttempts>,
}

#[derive(Debug, Default)]
struct PastAttempts {
    /// Times of attempts without a clear result, oldest first.
    unclear: VecDeque<Instant>,
    /// Times of attempts that were refused, oldest first. They hold nothing back here.
    refused: VecDeque<Instant>,
}

/// The permit to send one password. A permit that is only dropped counts as an attempt without a
/// clear result.
#[derive(Debug)]
pub(super) struct AttemptPermit {
    budget: Arc<AttemptBudget>,
    result: AttemptResult,
    _turn: OwnedMutexGuard<()>,
}

/// What an attempt may have cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AttemptResult {
    /// Perhaps a wrong logon.
    Unclear,
    /// A refused logon.
    Refused,
    /// Nothing: it succeeded, or nothing was sent.
    Clear,
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
        if let CredentialState::Closed(closure) = &self.standing
            && grant == LogonGrant::Password
            && closure.probe_at.is_none_or(|at| now < at)
        {
            // Callers are told to come back only after a lock.
            let retry_at = closure.probe_at.filter(|_| closure.shown == GuardState::Locked);
            return Err(Hold { reason: closure.reason.clone(), retry_at });
        }
        match &self.pause {
            Some(pause) if now < pause.until => {
                Err(Hold { reason: pause.reason.clone(), retry_at: Some(pause.until) })
            }
            Some(_) | None => Ok(()),
        }
    }

    /// The logon succeeded.
    pub(super) fn succeeded(&mut self, now: Instant) -> Transition {
        let from = self.state_before(now);
        self.standing = CredentialState::Good;
        self.is_proven = true;
        self.pause = None;
        self.foreign_answers = 0;
        Transition { from, to: GuardState::Good }
    }

    /// The logon failed.
    fn failed(&mut self, failure: &ClassifiedFailure, now: Instant) -> Transition {
        let from = self.state_before(now);
        let reason = failure.reason.clone();
        let closed = |shown, probe_at, lock| Closure { shown, reason, probe_at, lock };
        match failure.class {
            FailureClass::Rejected => {
                self.close(closed(GuardState::Rejected, None, Duration::ZERO));
            }
            FailureClass::Blocked => self.close(closed(GuardState::Blocked, None, Duration::ZERO)),
            FailureClass::BlockedWithProbe => {
                let probe_at = Some(now + PROBE_EVERY);
                self.close(closed(GuardState::Blocked, probe_at, Duration::ZERO));
            }
            FailureClass::Locked(base) => {
                let lock = self.next_lock(base);
                let probe_at = now + lock.mul_f64(1.0 + LOCK_JITTER * fastrand::f64());
                self.close(closed(GuardState::Locked, Some(probe_at), lock));
            }
            FailureClass::Waiting { retry_class, .. } => {
                self.wait(retry_class.pause(self.rounds(), fastrand::f64()), failure, now);
            }
            FailureClass::NoTokenEndpoint { .. } => {
                let earlier = self.foreign_answers;
                let pause = RetryClass::NoTokenEndpoint.pause(earlier, fastrand::f64());
                self.wait(pause, failure, now);
                self.foreign_answers = earlier.saturating_add(1);
            }
        }
        Transition { from, to: self.state(now) }
    }

    /// No further attempt without a clear result may be risked before `until`.
    fn exhaust(&mut self, until: Instant, now: Instant) -> Hold {
        let running = self.pause.as_ref().filter(|pause| now < pause.until);
        let until = running.map_or(until, |pause| pause.until.max(until));
        let reason = match running.map(|pause| &pause.reason) {
            // It says more, and the same wait follows.
            Some(reason @ Reason::NoTokenEndpoint { .. }) => reason.clone(),
            Some(_) | None => Reason::Unclear { until },
        };
        self.pause = Some(RetryPause { until, reason: reason.clone(), rounds: self.rounds() });
        Hold { reason, retry_at: Some(until) }
    }

    /// Returns whether a token endpoint must be seen before anything else is sent.
    pub(super) fn needs_probe(&self) -> bool {
        self.foreign_answers > 0 && !self.is_released()
    }

    /// Lets exactly one more attempt through, in any state.
    pub(super) fn release(&mut self) {
        self.release = Release::Open;
    }

    pub(super) fn is_released(&self) -> bool {
        self.release == Release::Open
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
        mem::take(&mut self.release)
    }

    /// Returns whether a logon with this credential has ever succeeded.
    pub(super) fn is_proven(&self) -> bool {
        self.is_proven
    }

    /// Returns the number of transient failures in a row.
    pub(super) fn rounds(&self) -> u32 {
        self.pause.as_ref().map_or(0, |pause| pause.rounds)
    }

    /// Returns whether a repair or the end of a lock is needed, also below a pause.
    pub(super) fn is_closed(&self) -> bool {
        matches!(self.standing, CredentialState::Closed(_))
    }

    /// Returns the state that is shown.
    pub(super) fn state(&self, now: Instant) -> GuardState {
        if self.pause.as_ref().is_some_and(|pause| now < pause.until) {
            return GuardState::Waiting;
        }
        match &self.standing {
            CredentialState::Unknown => GuardState::Unknown,
            CredentialState::Good => GuardState::Good,
            CredentialState::Closed(closure) => closure.shown,
        }
    }

    /// Takes the one renewal of this period that a refusal of `used` by CF may force; `false` if it
    /// was taken already.
    pub(super) fn take_forced_renewal(&mut self, used: &GrantedToken, now: Instant) -> bool {
        let every = if used.is_from_logon() { FORCED_LOGON_EVERY } else { FORCED_EVERY };
        let is_free = self.forced_at.is_none_or(|last| now >= last + every);
        if is_free {
            self.forced_at = Some(now);
        }
        is_free
    }

    /// Offers a token to the other destinations with this credential.
    pub(super) fn share(&mut self, token: &Arc<GrantedToken>, parameters: TokenParameters) {
        self.shared = Some((Arc::downgrade(token), parameters));
    }

    /// Returns a token that another destination of this credential got with the same parameters and
    /// that can still be served.
    pub(super) fn shared(
        &self,
        parameters: &TokenParameters,
        now: Instant,
    ) -> Option<Arc<GrantedToken>> {
        let (token, of) = self.shared.as_ref()?;
        let is_like = parameters.are_like(of);
        token.upgrade().filter(|token| is_like && token.freshness(now) != Freshness::Expired)
    }

    /// Returns the state before an attempt. A pause counts until an attempt has a result, even if
    /// its time is over.
    fn state_before(&self, now: Instant) -> GuardState {
        match self.pause {
            Some(_) => GuardState::Waiting,
            None => self.state(now),
        }
    }

    fn close(&mut self, closure: Closure) {
        self.standing = CredentialState::Closed(closure);
        self.pause = None;
        self.foreign_answers = 0;
    }

    /// Returns the waiting time of a lock: twice the last one if the user is still locked.
    fn next_lock(&self, base: Duration) -> Duration {
        match &self.standing {
            CredentialState::Closed(last) => (last.lock * 2).max(base).min(LONGEST_LOCK),
            CredentialState::Unknown | CredentialState::Good => base,
        }
    }

    fn wait(&mut self, pause: Duration, failure: &ClassifiedFailure, now: Instant) {
        let rounds = self.rounds().saturating_add(1);
        let reason = failure.reason.clone();
        self.pause = Some(RetryPause { until: now + pause, reason, rounds });
    }
}

impl LockoutGuard {
    /// Locks the state for one step.
    pub(super) fn lock(&self) -> MutexGuard<'_, LockoutState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the permit to send one password, when no other one of this user is in flight. Uses up
    /// the operator's release if there is one.
    ///
    /// # Errors
    /// Attempts of the last 65 min had no clear result, and each may hide a counted failure.
    pub(super) async fn permit(&self) -> Result<AttemptPermit, Hold> {
        let turn = Arc::clone(&self.budget.turn).lock_owned().await;
        let now = Instant::now();
        // An operator's decision: it is made also without a budget, and counts like any other.
        if !self.lock().take_release()
            && let Some(until) = self.budget.held_until(now)
        {
            return Err(self.lock().exhaust(until, now));
        }
        let (budget, result) = (Arc::clone(&self.budget), AttemptResult::Unclear);
        Ok(AttemptPermit { budget, result, _turn: turn })
    }

    /// The logon failed. Returns also the hold if it was unclear and no further one may be risked
    /// now.
    pub(super) fn failed(
        &self,
        failure: &ClassifiedFailure,
        permit: Option<AttemptPermit>,
        now: Instant,
    ) -> (Transition, Option<Hold>) {
        let transition = self.lock().failed(failure, now);
        let Some(permit) = permit else {
            return (transition, None);
        };
        permit.end(failure.class);
        let until = self.budget.held_until(now).filter(|_| failure.class.is_ambiguous());
        (transition, until.map(|until| self.lock().exhaust(until, now)))
    }

    /// Returns why no password may be sent now; `None` if one may be sent.
    pub(super) fn hold(&self, now: Instant) -> Option<Hold> {
        self.lock().check(LogonGrant::Password, now).err()
    }

    /// Returns how many passwords of this user were refused or had no clear answer in the last
    /// 65 min.
    pub(super) fn unsuccessful(&self, now: Instant) -> usize {
        let past = self.budget.past(now);
        past.unclear.len().saturating_add(past.refused.len())
    }
}

impl LockoutGuards {
    /// Makes none yet. The number of the instance decides how its attempts are spread.
    pub(super) fn new(instance_index: Option<u32>) -> Self {
        Self { guards: Mutex::default(), instance_index }
    }

    /// Returns the guard of a credential of this user; makes one if there is none.
    pub(super) fn of(&self, fingerprint: Fingerprint, user: &str) -> Arc<LockoutGuard> {
        let mut guards = self.guards.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(guard) = guards.get(&fingerprint) {
            return Arc::clone(guard);
        }
        make_room(&mut guards);
        let user = user.to_lowercase();
        let known = guards.values().find(|guard| guard.budget.user == user);
        let budget = match known {
            Some(guard) => Arc::clone(&guard.budget),
            None => Arc::new(AttemptBudget::new(user, self.instance_index)),
        };
        let guard = Arc::new(LockoutGuard {
            logon_lock: tokio::sync::Mutex::default(),
            release_lock: tokio::sync::Mutex::default(),
            state: Mutex::default(),
            budget,
        });
        guards.insert(fingerprint, Arc::clone(&guard));
        guard
    }
}

/// Above the limit, drops unused guards that remember no failure. If there is none, drops one
/// unused guard; one with a refusal only if all have one.
fn make_room(guards: &mut HashMap<Fingerprint, Arc<LockoutGuard>>) {
    if guards.len() < MAX_GUARDS {
        return;
    }
    let now = Instant::now();
    guards.retain(|_, guard| {
        let is_open = matches!(guard.lock().state(now), GuardState::Unknown | GuardState::Good);
        // Any other guard of the user keeps the attempts as well.
        let is_last = Arc::strong_count(&guard.budget) == 1;
        is_used(guard) || !is_open || (is_last && guard.unsuccessful(now) > 0)
    });
    if guards.len() < MAX_GUARDS {
        return;
    }
    let unused = guards.iter().filter(|(_, guard)| !is_used(guard));
    let least = unused.min_by_key(|(_, guard)| guard.lock().is_closed());
    if let Some(fingerprint) = least.map(|(fingerprint, _)| *fingerprint) {
        guards.remove(&fingerprint);
    }
}

/// Whether a credential in service, or a flight, still has it.
fn is_used(guard: &Arc<LockoutGuard>) -> bool {
    Arc::strong_count(guard) > 1
}

impl AttemptBudget {
    /// Makes the budget of a user on an instance. Without a number it counts as the first.
    fn new(user: String, instance_index: Option<u32>) -> Self {
        let is_first = instance_index.unwrap_or(0) == 0;
        let spread = if is_first { SPREAD_FIRST } else { SPREAD_OTHERS };
        Self { user, spread, turn: Arc::default(), past: Mutex::default() }
    }

    /// Returns when the next attempt may be sent; `None` if it may be sent now.
    fn held_until(&self, now: Instant) -> Option<Instant> {
        let past = self.past(now);
        let is_spread = past.unclear.back().map(|last| *last + self.spread);
        // An operator's releases may have made more than the budget allows.
        let surplus = past.unclear.len().checked_sub(MOST_UNCLEAR);
        let is_left =
            surplus.and_then(|index| past.unclear.get(index)).map(|at| *at + FAILURE_WINDOW);
        is_spread.max(is_left).filter(|at| now < *at)
    }

    /// Returns the attempts of the window.
    fn past(&self, now: Instant) -> MutexGuard<'_, PastAttempts> {
        let mut past = self.past.lock().unwrap_or_else(PoisonError::into_inner);
        forget(&mut past.unclear, now);
        forget(&mut past.refused, now);
        past
    }
}

/// Drops what is older than the window.
pub(super) fn forget(times: &mut VecDeque<Instant>, now: Instant) {
    while times.front().is_some_and(|oldest| now >= *oldest + FAILURE_WINDOW) {
        times.pop_front();
    }
}

impl AttemptPermit {
    /// The logon succeeded, or nothing was sent.
    pub(super) fn clear(mut self) {
        self.result = AttemptResult::Clear;
    }

    /// The logon failed.
    fn end(mut self, class: FailureClass) {
        self.result = match class {
            class if class.is_ambiguous() => AttemptResult::Unclear,
            class if class.is_definite() => AttemptResult::Refused,
            _ => AttemptResult::Clear,
        };
    }
}

impl Drop for AttemptPermit {
    fn drop(&mut self) {
        let now = Instant::now();
        let mut past = self.budget.past(now);
        match self.result {
            AttemptResult::Unclear => past.unclear.push_back(now),
            AttemptResult::Refused => past.refused.push_back(now),
            AttemptResult::Clear => {}
        }
    }
}

impl fmt::Debug for LockoutGuard {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("LockoutGuard")
            .field("state", &self.lock().state(Instant::now()))
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
