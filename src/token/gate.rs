//! May a password be sent now? One gate per fingerprint, in memory, outside the cache.
//!
//! Invariant: one password at a time; after one definite refusal none, until the fingerprint changes, a lock has run
//! out or an operator releases one (uaa.md 9). Identity providers lock after five. Used by `source`; read by `door`.

use super::{
    budget::{Budget, Place},
    holdoff::HoldOff,
    lease::Token,
    ledger::Ledger,
    state::{GateState, Hold, Sending, Transition},
    verdict::Ruling,
};
use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};
use tokio::time::Instant;

/// Guards one credential.
pub(super) struct CredentialGate {
    turn: tokio::sync::Mutex<()>,
    ledger: Mutex<Ledger>,
    /// The last token granted, for other slots of this credential; it lives in its slot.
    shared: Mutex<Option<(Weak<Token>, Terms)>>,
    budget: Arc<Budget>,
    forced: Arc<HoldOff>,
}

/// What a token was asked with besides the credential; only like can be shared with like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Terms {
    pub(super) scope: Option<String>,
    /// Further fields or headers went along; their values are not compared.
    pub(super) has_extras: bool,
}

impl CredentialGate {
    pub(super) fn new(budget: Arc<Budget>) -> Self {
        Self {
            turn: tokio::sync::Mutex::default(),
            ledger: Mutex::default(),
            shared: Mutex::default(),
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
        self.ledger().check(sending, now)
    }

    /// Takes the right to send one password, and with it the operator's release, if there is one.
    ///
    /// # Errors
    /// Too many posts of the last 65 min had no clear end, and each may hide a counted failure.
    pub(super) async fn place(&self) -> Result<Place, Hold> {
        if self.take_release() {
            return Ok(Arc::clone(&self.budget).overdraw());
        }
        self.admit()?;
        let place = Arc::clone(&self.budget).reserve().await;
        place.map_err(|at| self.ledger().exhaust(at))
    }

    /// The logon succeeded.
    pub(super) fn succeeded(&self, now: Instant) -> Transition {
        self.ledger().succeeded(now)
    }

    /// The logon failed.
    pub(super) fn failed(&self, sending: Sending, ruling: &Ruling, now: Instant) -> Transition {
        self.ledger().failed(sending, ruling, now)
    }

    /// Lets exactly one more attempt through, whatever the state.
    pub(super) fn release(&self) {
        self.ledger().release();
    }

    /// Takes a release back; returns whether there was one.
    pub(super) fn take_release(&self) -> bool {
        self.ledger().take_release()
    }

    pub(super) fn is_released(&self) -> bool {
        self.ledger().is_released()
    }

    /// Returns whether a logon with this credential has ever succeeded.
    pub(super) fn is_proven(&self) -> bool {
        self.ledger().is_proven()
    }

    /// Returns how many failures in a row time may heal.
    pub(super) fn rounds(&self) -> u32 {
        self.ledger().rounds()
    }

    /// Returns whether somebody has to repair something or a lock has to run out.
    pub(super) fn is_closed(&self) -> bool {
        self.ledger().is_closed()
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
        *self.on_offer() = Some((Arc::downgrade(token), terms));
    }

    /// Returns a token that another slot of this credential was given on the same terms and that still serves.
    pub(super) fn shared(&self, terms: &Terms, now: Instant) -> Option<Arc<Token>> {
        let on_offer = self.on_offer();
        let (token, of) = on_offer.as_ref()?;
        let is_like = of == terms && !terms.has_extras;
        let token = token.upgrade().filter(|_| is_like);
        token.filter(|token| token.is_alive(now))
    }

    fn admit(&self) -> Result<(), Hold> {
        let mut ledger = self.ledger();
        let admitted = ledger.admit(Instant::now());
        admitted.map_err(|at| ledger.exhaust(at))
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn on_offer(&self) -> MutexGuard<'_, Option<(Weak<Token>, Terms)>> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for CredentialGate {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("CredentialGate")
            .field("state", &self.state(Instant::now()))
            .finish_non_exhaustive()
    }
}
