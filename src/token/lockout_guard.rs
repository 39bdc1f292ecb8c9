//! The lockout guard decides whether a password may be sent now. One per fingerprint, in memory,
//! outside the cache.
//!
//! Invariant: one password at a time. After one definite refusal no password is sent until the
//! fingerprint changes, a lock has run out or an operator releases one attempt. Identity providers
//! lock a user after five failures. See `docs/explanation/lockout-guard.md`. Used by `provider`;
//! read by `entry`.

use super::{
    attempt_budget::{AttemptBudget, AttemptPermit},
    cooldown::Cooldown,
    failure_policy::ClassifiedFailure,
    lease::GrantedToken,
    lockout::LockoutState,
    settings::LogonGrant,
    state::{GuardState, Hold, Release, Transition},
};
use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};
use tokio::time::Instant;

/// Protects one credential.
pub(super) struct LockoutGuard {
    logon_lock: tokio::sync::Mutex<()>,
    release_lock: tokio::sync::Mutex<()>,
    lockout: Mutex<LockoutState>,
    /// The last token of this credential, for its other refreshers. Weak: the token belongs to the
    /// refresher that fetched it.
    shared: Mutex<Option<(Weak<GrantedToken>, TokenParameters)>>,
    budget: Arc<AttemptBudget>,
    forced_renewals: Arc<Cooldown>,
}

/// What a token was requested with besides the credential. A token is shared only if these are
/// equal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TokenParameters {
    pub(super) scope: Option<String>,
    /// Further fields or headers were sent. Their values are not compared.
    pub(super) has_extras: bool,
}

impl LockoutGuard {
    pub(super) fn new(budget: Arc<AttemptBudget>) -> Self {
        Self {
            logon_lock: tokio::sync::Mutex::default(),
            release_lock: tokio::sync::Mutex::default(),
            lockout: Mutex::default(),
            shared: Mutex::default(),
            budget,
            forced_renewals: Arc::default(),
        }
    }

    /// Waits until no other logon with this credential runs.
    pub(super) async fn logon_lock(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.logon_lock.lock().await
    }

    /// Waits until no other release of this credential is carried out.
    pub(super) async fn release_lock(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.release_lock.lock().await
    }

    /// Returns the cooldown of forced renewals, which all refreshers of this credential share.
    pub(super) fn forced_renewals(&self) -> Arc<Cooldown> {
        Arc::clone(&self.forced_renewals)
    }

    /// Checks whether a logon with `grant` may be sent now. Changes nothing.
    ///
    /// # Errors
    /// Why not, and until when.
    pub(super) fn check(&self, grant: LogonGrant, now: Instant) -> Result<(), Hold> {
        self.lockout().check(grant, now)
    }

    /// Takes the permit to send one password. Uses up the operator's release if there is one.
    ///
    /// # Errors
    /// Attempts of the last 65 min had no clear result, and each may hide a counted failure.
    pub(super) async fn permit(&self) -> Result<AttemptPermit, Hold> {
        if self.take_release() {
            return Ok(Arc::clone(&self.budget).overdraw());
        }
        let permit = Arc::clone(&self.budget).reserve().await;
        permit.map_err(|at| self.lockout().exhaust(at, Instant::now()))
    }

    /// The logon succeeded.
    pub(super) fn succeeded(&self, now: Instant) -> Transition {
        self.lockout().succeeded(now)
    }

    /// The logon failed.
    pub(super) fn failed(&self, failure: &ClassifiedFailure, now: Instant) -> Transition {
        self.lockout().failed(failure, now)
    }

    /// An attempt without a clear result was counted. Returns the hold if no further one may be
    /// risked now.
    pub(super) fn spent(&self, now: Instant) -> Option<Hold> {
        let until = self.budget.held_until(now)?;
        Some(self.lockout().exhaust(until, now))
    }

    /// Returns whether a token endpoint must be seen before anything else is sent.
    pub(super) fn needs_probe(&self) -> bool {
        self.lockout().needs_probe()
    }

    /// Lets exactly one more attempt through, in any state.
    pub(super) fn release(&self) {
        self.lockout().release();
    }

    /// Uses up the operator's release. Returns whether there was one.
    pub(super) fn take_release(&self) -> bool {
        self.lockout().take_release()
    }

    /// The attempt that used up the release got no connection.
    pub(super) fn note_unsent(&self) {
        self.lockout().note_unsent();
    }

    /// Ends a release, used or not. Returns what became of it.
    pub(super) fn end_release(&self) -> Release {
        self.lockout().end_release()
    }

    /// Returns how many passwords of this user were refused or had no clear answer in the last
    /// 65 min.
    pub(super) fn unsuccessful(&self, now: Instant) -> usize {
        self.budget.unsuccessful(now)
    }

    pub(super) fn is_released(&self) -> bool {
        self.lockout().is_released()
    }

    /// Returns whether a logon with this credential has ever succeeded.
    pub(super) fn is_proven(&self) -> bool {
        self.lockout().is_proven()
    }

    /// Returns the number of transient failures in a row.
    pub(super) fn rounds(&self) -> u32 {
        self.lockout().rounds()
    }

    /// Returns whether a repair or the end of a lock is needed.
    pub(super) fn is_closed(&self) -> bool {
        self.lockout().is_closed()
    }

    pub(super) fn state(&self, now: Instant) -> GuardState {
        self.lockout().state(now)
    }

    /// Returns why no password may be sent now; `None` if one may be sent.
    pub(super) fn hold(&self, now: Instant) -> Option<Hold> {
        self.check(LogonGrant::Password, now).err()
    }

    /// Offers a token to the other refreshers of this credential.
    pub(super) fn share(&self, token: &Arc<GrantedToken>, parameters: TokenParameters) {
        *self.on_offer() = Some((Arc::downgrade(token), parameters));
    }

    /// Returns a token that another refresher of this credential got with the same parameters and
    /// that can still be served.
    pub(super) fn shared(
        &self,
        parameters: &TokenParameters,
        now: Instant,
    ) -> Option<Arc<GrantedToken>> {
        let on_offer = self.on_offer();
        let (token, of) = on_offer.as_ref()?;
        let is_like = of == parameters && !parameters.has_extras;
        let token = token.upgrade().filter(|_| is_like);
        token.filter(|token| token.is_alive(now))
    }

    fn lockout(&self) -> MutexGuard<'_, LockoutState> {
        self.lockout.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn on_offer(&self) -> MutexGuard<'_, Option<(Weak<GrantedToken>, TokenParameters)>> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for LockoutGuard {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("LockoutGuard")
            .field("state", &self.state(Instant::now()))
            .finish_non_exhaustive()
    }
}
