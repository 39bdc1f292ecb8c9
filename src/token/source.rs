//! Where a token comes from: the refresh token first, the password last and through the gate.
//!
//! Invariant: a password leaves only after the gate said yes and the destination was confirmed, one at a time; a
//! refresh failure never changes the gate; what the gate learned is written down before anything else is awaited.
//! Driven by `slot`.

use super::{
    arrival,
    backoff::{self, Trouble},
    budget::Place,
    door::Door,
    error::{Reason, Refusal},
    gate::{CredentialGate, Hold, Sending, Terms},
    lease::{Lease, Token},
    ports::Ports,
    report,
    schedule::Window,
    settings::LogonGrant,
    status::Record,
    verdict::{self, Verdict},
};
use crate::{
    destination::{Destination, DestinationError, DestinationName, Wanted},
    oauth::{ExchangeError, Fingerprint, Grant, TokenResponse, fault::FaultKind},
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
use tokio::time::{Instant, sleep};

/// A connection that was never made cost nothing: so many repeats within one flight (SAP's table, uaa.md 8) …
const CONNECT_RETRIES: u32 = 3;

/// … from this pause on, doubling, with full jitter.
const CONNECT_PAUSE: Duration = Duration::from_millis(300);

/// After new credentials were found, their slot's turn comes at once; the old one's refusal lives no longer than this.
const MOVED_PAUSE: Duration = Duration::from_secs(1);

/// While a live lease is left, a failed renewal is repeated after at most this part of the time left, so that the last
/// tries fall before its end and not after it (T4).
const TRIES_LEFT: u32 = 4;

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

/// A success and what it took.
struct Granted {
    response: TokenResponse,
    grant: &'static str,
    took: Duration,
}

impl<P: Ports> TokenSource for Source<P> {
    async fn obtain(&self, previous: Option<&Lease>) -> Result<Lease, Refusal> {
        let outcome = self.renew(previous).await;
        if let Err(refusal) = &outcome {
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
                pause.min(left.max(MOVED_PAUSE))
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
            Sending::Password => Some(self.gate.place().await.map_err(held)?),
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

    /// Sends a grant; repeats it only where no connection was made, and not once that is known to last.
    async fn exchange(
        &self,
        to: &Destination,
        grant: &Grant,
        rounds: u32,
    ) -> Result<Granted, ExchangeError> {
        let retries = if rounds == 0 { CONNECT_RETRIES } else { 0 };
        let mut edge = CONNECT_PAUSE;
        let mut done = 0;
        loop {
            let started = Instant::now();
            let outcome = self.ports.exchange(to, grant).await;
            let took = started.elapsed();
            self.count(grant, outcome.as_ref().err(), took);
            match outcome {
                Ok(response) => {
                    return Ok(Granted { response, grant: grant.name(), took });
                }
                Err(error) if done < retries && is_unsent(&error) => {
                    sleep(edge.mul_f64(fastrand::f64())).await;
                    edge *= 2;
                    done += 1;
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn accept(&self, granted: Granted, kept: Option<Arc<SecretString>>, to: &Destination) -> Lease {
        let Granted { response, grant, took } = granted;
        if let Some(claims) = &response.claims {
            arrival::log(claims, to);
            if let Some(at) = claims.expires_at {
                self.metrics.token_expires(self.name.as_str(), at);
            }
        }
        let window = Window::new(response.sent_at, response.expires_in, fastrand::f64());
        let token = Arc::new(Token::new(response, kept, window));
        if token.refresh_token().is_none() && self.record.warns_of_no_refresh() {
            report::no_refresh_token(&self.name);
        }
        self.gate.share(&token, terms(to));
        self.record.renewed(grant, took, Instant::now());
        report::renewed(&self.name, grant, took, window);
        Lease::new(token, to.api.clone())
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

    async fn grant(&self, to: &Destination) -> Result<Grant, Refusal> {
        match self.grant {
            LogonGrant::Password => Ok(Grant::Password {
                user: to.credentials.user.clone(),
                password: to.credentials.password.clone(),
                login_hint: to.login_hint.clone(),
                scope: to.scope.clone(),
                extra: to.extra.clone(),
            }),
            LogonGrant::JwtBearer => match self.ports.assertion().await {
                Ok(assertion) => Ok(Grant::JwtBearer { assertion }),
                Err(error) => {
                    let kind = error.kind();
                    tracing::error!(destination = self.name.as_str(), %kind, "assertion cannot be read");
                    let advice = "provide the assertion of the JWT bearer grant; it cannot be read";
                    let reason = Reason::Misconfigured { advice: advice.to_owned() };
                    Err(Refusal::new(&self.name, reason, None))
                }
            },
        }
    }

    fn sending(&self) -> Sending {
        match self.grant {
            LogonGrant::Password => Sending::Password,
            LogonGrant::JwtBearer => Sending::Assertion,
        }
    }

    /// Returns the content as it is known, for a grant that cannot lock anybody.
    async fn content(&self) -> Result<Arc<Destination>, Refusal> {
        let found = match self.ports.known(&self.name) {
            Some(known) => Ok(known),
            None => self.ports.find(&self.name, Wanted::Cached).await,
        };
        let found = found.map_err(|error| self.nowhere(error))?;
        self.ours(found).await
    }

    /// Returns the content confirmed: a stale password would cost a logon attempt (destination.md 9).
    async fn confirmed(&self) -> Result<Arc<Destination>, Refusal> {
        match self.ports.find(&self.name, Wanted::Confirmed).await {
            Ok(found) => self.ours(found).await,
            Err(error) if error.is_transient() && self.gate.is_proven() => {
                // The service is down: only a credential that has worked may be used.
                let known = self.ports.known(&self.name);
                let known = known.ok_or_else(|| self.nowhere(error))?;
                self.ours(known).await
            }
            Err(error) => Err(self.nowhere(error)),
        }
    }

    async fn ours(&self, found: Arc<Destination>) -> Result<Arc<Destination>, Refusal> {
        if found.fingerprint == self.fingerprint {
            return Ok(found);
        }
        Err(self.moved().await)
    }

    /// Reads the destination past the cache; "unchanged" if that does not work.
    async fn has_changed(&self) -> bool {
        let found = self.ports.find(&self.name, Wanted::PastCache).await;
        found.is_ok_and(|found| found.fingerprint != self.fingerprint)
    }

    /// Hands over to the slot of the new credentials.
    async fn moved(&self) -> Refusal {
        if let Some(door) = self.door.upgrade() {
            // A failure here shows to the next caller, who looks again.
            drop(door.look(Wanted::Cached).await);
        }
        let soon = Instant::now() + MOVED_PAUSE;
        Refusal::new(&self.name, Reason::UaaUnavailable, Some(soon))
    }

    fn nowhere(&self, error: DestinationError) -> Refusal {
        Refusal::of_destination(&self.name, error, Instant::now())
    }

    fn count(&self, grant: &Grant, error: Option<&ExchangeError>, took: Duration) {
        let result = match error.map(|error| verdict::judge(error).verdict.is_definite()) {
            None => "ok",
            Some(true) => "refused",
            Some(false) => "transient",
        };
        self.metrics.token_fetched(self.name.as_str(), grant.name(), result, took);
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

/// What a token of this destination is asked with besides the credential.
fn terms(to: &Destination) -> Terms {
    Terms { scope: to.scope.clone(), has_extras: !to.extra.is_empty() || !to.headers.is_empty() }
}

/// 400, 401 and other 4xx end a refresh token (uaa.md 6); a redirect came from somebody else and does not.
fn ends_refresh_token(error: &ExchangeError) -> bool {
    match error {
        ExchangeError::Transport(_) => false,
        ExchangeError::Refused(fault) => fault.kind == FaultKind::RefreshTokenRejected,
    }
}

fn is_unsent(error: &ExchangeError) -> bool {
    match error {
        ExchangeError::Transport(error) => !error.may_have_been_sent(),
        ExchangeError::Refused(_) => false,
    }
}
