//! Where a token comes from: the refresh token first, the password last and through the gate.
//!
//! Invariant: a password leaves only after the gate said yes and the destination was confirmed, one at a time; a
//! refresh failure never changes the gate; what the gate learned is written down before anything else is awaited.
//! Driven by `slot`.

use super::{
    backoff::{self, Trouble},
    budget::Place,
    door::Door,
    error::{Reason, Refusal},
    exchange::terms,
    gate::CredentialGate,
    lease::Lease,
    ports::Ports,
    report,
    settings::LogonGrant,
    state::{Hold, Sending},
    status::Record,
    verdict::{self, Verdict},
};
use crate::{
    destination::DestinationName,
    oauth::{ExchangeError, Fingerprint, Grant, fault::FaultKind},
    telemetry::metrics::Metrics,
};
use secrecy::SecretString;
use std::{
    fmt,
    sync::{
        Arc, Weak,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};
use tokio::time::Instant;

/// While a live lease is left, a failed renewal is repeated after at most this part of the time left, so that the last
/// tries fall before its end and not after it (T4).
const TRIES_LEFT: u32 = 4;

/// … but not faster than this.
const LEAST_PAUSE: Duration = Duration::from_secs(1);

/// Obtains a successor. `previous` lends its refresh token.
pub(super) trait TokenSource: Send + Sync + 'static {
    /// Obtains a token, or says why there is none.
    fn obtain(
        &self,
        previous: Option<&Lease>,
    ) -> impl Future<Output = Result<Lease, Refusal>> + Send;
}

/// The real one: a credential at its token endpoint.
pub(super) struct Source<P: Ports> {
    pub(super) ports: Arc<P>,
    pub(super) name: DestinationName,
    pub(super) fingerprint: Fingerprint,
    pub(super) grant: LogonGrant,
    pub(super) gate: Arc<CredentialGate>,
    pub(super) record: Arc<Record>,
    pub(super) metrics: Metrics,
    /// Told when the credentials have changed or are refused.
    pub(super) door: Weak<Door<P>>,
    /// Refresh grants in a row that time may heal.
    pub(super) rounds: AtomicU32,
}

impl<P: Ports> TokenSource for Source<P> {
    async fn obtain(&self, previous: Option<&Lease>) -> Result<Lease, Refusal> {
        let outcome = self.renew(previous).await;
        if let Err(refusal) = &outcome
            && !self.is_superseded()
        {
            self.record.refused(refusal, Instant::now());
        }
        outcome
    }
}

impl<P: Ports> Source<P> {
    async fn renew(&self, previous: Option<&Lease>) -> Result<Lease, Refusal> {
        // An operator's release asks for a logon.
        let previous_token = previous.filter(|_| !self.gate.is_released());
        if let Some(previous) = previous_token
            && let Some(token) = previous.token().refresh_token()
            && let Some(lease) = self.refresh(previous, token).await?
        {
            return Ok(lease);
        }
        self.log_on(previous).await
    }

    /// Returns `None` where the refresh token was refused: it is forgotten, the password's turn comes.
    async fn refresh(
        &self,
        previous: &Lease,
        token: Arc<SecretString>,
    ) -> Result<Option<Lease>, Refusal> {
        let to = self.content().await?;
        let grant = Grant::RefreshToken { token: SecretString::clone(&token) };
        let rounds = self.rounds.load(Ordering::Relaxed);
        match self.exchange(&to, &grant, rounds).await {
            Ok(granted) => {
                self.rounds.store(0, Ordering::Relaxed);
                Ok(Some(self.accept(granted, Some(token), &to)))
            }
            Err(error) if ends_refresh_token(&error) => {
                self.rounds.store(0, Ordering::Relaxed);
                previous.token().drop_refresh_token();
                report::refresh_token_refused(&self.name, &error);
                Ok(None)
            }
            Err(error) => Err(self.back_off(previous, &error)),
        }
    }

    /// Keeps the refresh token and stays silent for a while; the gate does not learn of it.
    fn back_off(&self, previous: &Lease, error: &ExchangeError) -> Refusal {
        let now = Instant::now();
        let ruling = verdict::judge(error);
        let (trouble, reason) = match ruling.verdict {
            Verdict::Waiting { trouble, .. } => (trouble, Reason::UaaUnavailable),
            // A redirect: it did not come from the token endpoint.
            Verdict::Rejected
            | Verdict::Blocked
            | Verdict::BlockedWithProbe
            | Verdict::Locked(_) => (Trouble::BadAnswer, ruling.reason),
        };
        let rounds = self.rounds.fetch_add(1, Ordering::Relaxed);
        let pause = backoff::pause(trouble, rounds, fastrand::f64());
        let left = previous.serves_for(now) / TRIES_LEFT;
        let pause = match trouble {
            Trouble::NoAnswer | Trouble::BadAnswer if !left.is_zero() => {
                pause.min(left.max(LEAST_PAUSE))
            }
            Trouble::NoAnswer | Trouble::BadAnswer | Trouble::RateLimited | Trouble::Asked(_) => {
                pause
            }
        };
        report::refresh_failed(&self.name, rounds, pause, error);
        Refusal::new(&self.name, reason, Some(now + pause))
    }

    async fn log_on(&self, previous: Option<&Lease>) -> Result<Lease, Refusal> {
        // Held across the grant by intent: one password at a time per credential.
        let _turn = self.gate.turn().await;
        if let Some(lease) = self.borrow(previous) {
            return Ok(lease);
        }
        let sending = self.sending();
        let held = |hold: Hold| Refusal::new(&self.name, hold.reason, hold.retry_at);
        self.gate.check(sending, Instant::now()).map_err(held)?;
        let to = self.confirmed().await?;
        let grant = self.grant(&to).await?;
        let place = match sending {
            Sending::Password => Some(self.gate.place().await.map_err(|hold| {
                report::exhausted(&self.name, hold.retry_at);
                self.show_gate();
                held(hold)
            })?),
            Sending::Assertion => None,
        };
        match self.exchange(&to, &grant, self.gate.rounds()).await {
            Ok(granted) => {
                if let Some(place) = place {
                    place.clear();
                }
                report::opened(&self.name, self.gate.succeeded(Instant::now()));
                self.show_gate();
                Ok(self.accept(granted, None, &to))
            }
            Err(error) => Err(self.fail(&error, place).await),
        }
    }

    /// Writes down what a failed logon means, then looks whether the credentials have changed meanwhile.
    async fn fail(&self, error: &ExchangeError, place: Option<Place>) -> Refusal {
        let ruling = verdict::judge(error);
        let sending = self.sending();
        let now = Instant::now();
        let transition = self.gate.failed(sending, &ruling, now);
        self.show_gate();
        match place {
            Some(place) if ruling.verdict.is_ambiguous() => place.spend(),
            Some(place) => place.clear(),
            None => {}
        }
        if ruling.verdict.is_definite() {
            if self.has_changed().await {
                report::refused_but_changed(&self.name);
                return self.moved().await;
            }
            if let Some(door) = self.door.upgrade() {
                door.poll();
            }
        }
        let hold = self.gate.check(sending, now).err();
        let retry_at = hold.and_then(|hold| hold.retry_at);
        let refusal = Refusal::new(&self.name, ruling.reason, retry_at);
        report::closed(transition, &refusal, error);
        refusal
    }

    /// Takes over the token that another slot of this credential has just been given.
    fn borrow(&self, previous: Option<&Lease>) -> Option<Lease> {
        if self.gate.is_released() {
            return None;
        }
        let to = self.ports.known(&self.name)?;
        let token = self.gate.shared(&terms(&to), Instant::now())?;
        let is_own = previous.is_some_and(|lease| Arc::ptr_eq(lease.token(), &token));
        let is_ours = to.fingerprint == self.fingerprint && !is_own;
        is_ours.then(|| Lease::new(token, to.api.clone()))
    }

    fn sending(&self) -> Sending {
        match self.grant {
            LogonGrant::Password => Sending::Password,
            LogonGrant::JwtBearer => Sending::Assertion,
        }
    }

    fn show_gate(&self) {
        let state = self.gate.state(Instant::now());
        self.metrics.gate_state(self.name.as_str(), state.name());
    }
}

impl<P: Ports> fmt::Debug for Source<P> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Source")
            .field("name", &self.name)
            .field("gate", &self.gate)
            .finish_non_exhaustive()
    }
}

/// 400, 401 and other 4xx end a refresh token (uaa.md 6); a redirect came from somebody else and does not.
fn ends_refresh_token(error: &ExchangeError) -> bool {
    match error {
        ExchangeError::Transport(_) => false,
        ExchangeError::Refused(fault) => fault.kind == FaultKind::RefreshTokenRejected,
    }
}
