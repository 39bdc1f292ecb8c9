//! Gets the next token of one credential: first with the refresh token, then with the password
//! through the lockout guard.
//!
//! Invariant: a password is sent only after the guard has allowed it and the destination was
//! confirmed, one at a time, and is never repeated if it may have reached the token endpoint. The
//! one exception to the confirmation: the Destination service is unavailable and this credential
//! has worked before. The guard learns the result before anything else is awaited. Called by
//! `entry`, one call at a time.

use super::{
    backend::LogonGrant,
    error::{LeaseRefusal, Reason, UaaOutage},
    exchange::{GrantExchange, GrantResult, seconds_until},
    failure_policy::{
        self, ClassifiedFailure, NextStep, RefreshFailures, RetryClass, ends_refresh_token,
        is_unsent, retry_class_of,
    },
    lease::{Lease, TokenParameters},
    lockout::{AttemptPermit, GuardState, Hold, LockoutGuard, Transition},
    status::GrantedRenewal,
};
use crate::{
    destination::{CachePolicy, Destination, DestinationError, DestinationName},
    oauth::{ExchangeError, Fault, Fingerprint, Grant, GrantKind, advice},
};
use secrecy::SecretString;
use std::{
    error::Error,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::time::{Instant, sleep};

/// Pause before the next refresh if the logon in its place cannot be made.
const REFRESH_AGAIN: Duration = Duration::from_secs(1);

/// When new credentials were found, they are next at once. The refusal of the old ones lives no
/// longer than this.
const HAND_OVER_PAUSE: Duration = Duration::from_secs(1);

/// Gets the tokens of one credential of one destination.
pub(super) struct TokenProvider {
    pub(super) fingerprint: Fingerprint,
    pub(super) guard: Arc<LockoutGuard>,
    exchange: GrantExchange,
    failures: Mutex<RefreshFailures>,
    /// Whether the flight waits for the destination, not for the login server.
    is_reading: AtomicBool,
}

/// A new lease.
pub(super) struct Obtained {
    pub(super) lease: Lease,
    /// `None` if the token is that of another destination with this credential.
    pub(super) renewal: Option<GrantedRenewal>,
}

/// Why there is none, and what follows.
pub(super) struct FailedRenewal {
    pub(super) refusal: LeaseRefusal,
    pub(super) follow_up: FollowUp,
}

/// What follows a failed renewal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FollowUp {
    Nothing,
    /// The destination has other credentials: they are next.
    HandOver,
    /// The credentials are refused: the destination is watched for a change.
    Watch,
}

impl From<LeaseRefusal> for FailedRenewal {
    fn from(refusal: LeaseRefusal) -> Self {
        Self { refusal, follow_up: FollowUp::Nothing }
    }
}

impl TokenProvider {
    pub(super) fn new(
        exchange: GrantExchange,
        fingerprint: Fingerprint,
        guard: Arc<LockoutGuard>,
    ) -> Self {
        let (failures, is_reading) = (Mutex::default(), AtomicBool::new(false));
        Self { fingerprint, guard, exchange, failures, is_reading }
    }

    /// Gets a token. `previous` lends its refresh token.
    pub(super) async fn obtain(&self, previous: Option<&Lease>) -> Result<Obtained, FailedRenewal> {
        // An operator's release asks for a logon, not for a refresh.
        let is_released = self.guard.lock().is_released();
        if let Some(previous) = previous.filter(|_| !is_released)
            && let Some(token) = previous.token().refresh_token()
            && let Some(obtained) = self.refresh(previous, token).await?
        {
            return Ok(obtained);
        }
        self.log_on(previous).await
    }

    /// Returns whether the flight waits for the destination, not for the login server.
    pub(super) fn is_reading(&self) -> bool {
        self.is_reading.load(Ordering::Relaxed)
    }

    /// Returns the failed refreshes since the last one that worked.
    pub(super) fn failed_refreshes(&self) -> u32 {
        self.failures().in_row()
    }

    /// Shows the state of the guard in the metrics.
    pub(super) fn publish_guard_state(&self) {
        let state = self.guard.lock().state(Instant::now());
        self.exchange.metrics.gate_state(self.name().as_str(), state.name());
    }

    pub(super) fn name(&self) -> &DestinationName {
        &self.exchange.name
    }

    /// Makes a lease of a success. `kept` is the refresh token to continue with.
    fn accept(
        &self,
        granted: GrantResult,
        kept: Option<Arc<SecretString>>,
        destination: &Destination,
    ) -> Obtained {
        let (token, renewal) = self.exchange.accept(granted, kept, destination);
        self.guard.lock().share(&token, TokenParameters::of(destination));
        Obtained { lease: Lease::new(token, destination.api.clone()), renewal: Some(renewal) }
    }

    fn failures(&self) -> MutexGuard<'_, RefreshFailures> {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn refusal(&self, reason: Reason, retry_at: Option<Instant>) -> LeaseRefusal {
        let source = self.exchange.backend.read_from(self.name());
        LeaseRefusal::new(self.name(), reason, retry_at).with_read_from(source)
    }

    fn held(&self, hold: Hold) -> LeaseRefusal {
        self.refusal(hold.reason, hold.retry_at)
    }

    fn check_guard(&self) -> Result<(), LeaseRefusal> {
        let checked = self.guard.lock().check(self.exchange.grant, Instant::now());
        checked.map_err(|hold| self.held(hold))
    }
}

/// The logon.
impl TokenProvider {
    async fn log_on(&self, previous: Option<&Lease>) -> Result<Obtained, FailedRenewal> {
        // Held across the grant on purpose: one password at a time per credential.
        let _logon_lock = self.guard.logon_lock.lock().await;
        if let Some(lease) = self.take_shared(previous) {
            return Ok(Obtained { lease, renewal: None });
        }
        self.check_guard()?;
        let destination = self.confirmed().await?;
        if self.guard.lock().needs_probe() {
            self.probe(&destination).await?;
        }
        let grant = self.logon_grant(&destination).await?;
        let permit = self.permit().await?;
        let rounds = self.guard.lock().rounds();
        match self.exchange.send(&destination, &grant, rounds).await {
            Ok(granted) => {
                if let Some(permit) = permit {
                    permit.clear();
                }
                let transition = self.guard.lock().succeeded(Instant::now());
                self.publish_guard_state();
                let (from, gate) = (transition.from.name(), transition.to.name());
                if from != gate {
                    let destination = self.name().as_str();
                    tracing::info!(destination, from, gate, "lockout guard opened");
                }
                Ok(self.accept(granted, None, &destination))
            }
            Err(error) => {
                if is_unsent(&error) {
                    self.guard.lock().note_unsent();
                }
                let failure = failure_policy::classify(&error, &destination, grant.kind());
                Err(self.fail(&error, failure, permit).await)
            }
        }
    }

    /// Takes the permit to send one password; none is needed for an assertion.
    async fn permit(&self) -> Result<Option<AttemptPermit>, LeaseRefusal> {
        match self.exchange.grant {
            LogonGrant::Password => match self.guard.permit().await {
                Ok(permit) => Ok(Some(permit)),
                Err(hold) => {
                    let (destination, hint) = (self.name().as_str(), hold.reason.hint());
                    let retry_s = hold.retry_at.map(seconds_until);
                    // Once per pause, because the pause stops further attempts.
                    tracing::warn!(
                        destination,
                        retry_s,
                        hint,
                        "logons without a clear result, the next one waits"
                    );
                    self.publish_guard_state();
                    Err(self.held(hold))
                }
            },
            LogonGrant::JwtBearer => {
                self.guard.lock().take_release();
                Ok(None)
            }
        }
    }

    /// The token URL was last answered by something else. Asks whether a token endpoint is back,
    /// without a password.
    async fn probe(&self, destination: &Destination) -> Result<(), FailedRenewal> {
        let rounds = self.guard.lock().rounds();
        match self.exchange.send(destination, &Grant::Probe, rounds).await {
            Ok(_) => Ok(()),
            Err(error) if ends_refresh_token(&error) => Ok(()),
            Err(error) => {
                let failure = failure_policy::classify(&error, destination, GrantKind::Probe);
                Err(self.fail(&error, failure, None).await)
            }
        }
    }

    /// Records what a failed logon means, then checks whether the credentials have changed
    /// meanwhile.
    async fn fail(
        &self,
        error: &ExchangeError,
        failure: ClassifiedFailure,
        permit: Option<AttemptPermit>,
    ) -> FailedRenewal {
        let now = Instant::now();
        let (transition, unclear) = self.guard.failed(&failure, permit, now);
        self.publish_guard_state();
        let is_definite = failure.class.is_definite();
        if is_definite && self.has_changed().await {
            let destination = self.name().as_str();
            tracing::warn!(destination, "credentials refused, but the destination has new ones");
            return self.hand_over();
        }
        let hold = self.guard.lock().check(self.exchange.grant, now).err();
        let retry_at = hold.and_then(|hold| hold.retry_at);
        let refusal = self.refusal(unclear.map_or(failure.reason, |hold| hold.reason), retry_at);
        log_closed(transition, &refusal, error);
        let follow_up = if is_definite { FollowUp::Watch } else { FollowUp::Nothing };
        FailedRenewal { refusal, follow_up }
    }

    async fn logon_grant(&self, destination: &Destination) -> Result<Grant, LeaseRefusal> {
        self.exchange.logon_grant(destination).await.map_err(|error| {
            let (destination, kind) = (self.name().as_str(), error.kind());
            let advice = advice::no_assertion(&error);
            tracing::error!(destination, %kind, hint = advice, "assertion cannot be read");
            self.refusal(Reason::ActionRequired { advice }, None)
        })
    }

    /// Takes the token that another destination with this credential has just received.
    fn take_shared(&self, previous: Option<&Lease>) -> Option<Lease> {
        let destination = self.exchange.backend.known(self.name())?;
        let parameters = TokenParameters::of(&destination);
        let guard = self.guard.lock();
        if guard.is_released() || destination.fingerprint != self.fingerprint {
            return None;
        }
        let token = guard.shared(&parameters, Instant::now())?;
        let is_own = previous.is_some_and(|lease| Arc::ptr_eq(lease.token(), &token));
        (!is_own).then(|| Lease::new(token, destination.api.clone()))
    }
}

/// The refresh.
impl TokenProvider {
    /// Returns `None` if the refresh token was refused. It is forgotten, and the password is next.
    async fn refresh(
        &self,
        previous: &Lease,
        token: Arc<SecretString>,
    ) -> Result<Option<Obtained>, FailedRenewal> {
        let destination = self.content().await?;
        let now = Instant::now();
        let limited = self.failures().limited_until(now);
        if let Some(until) = limited {
            let reason = Reason::UaaUnavailable(UaaOutage::RateLimited);
            return Err(self.refusal(reason, Some(until)).into());
        }
        // Another refresh would only let the callers wait longer.
        let suffice = self.failures().suffice();
        if suffice && previous.has_ended(Instant::now()) && self.check_guard().is_ok() {
            return self.log_on_instead(previous, now + REFRESH_AGAIN).await.map(Some);
        }
        let grant = Grant::RefreshToken { token: SecretString::clone(&token) };
        let mut repeats = 0;
        loop {
            let rounds = self.failed_refreshes();
            let error = match self.exchange.send(&destination, &grant, rounds).await {
                Ok(granted) => {
                    *self.failures() = RefreshFailures::default();
                    return Ok(Some(self.accept(granted, Some(token), &destination)));
                }
                Err(error) => error,
            };
            if ends_refresh_token(&error) {
                *self.failures() = RefreshFailures::default();
                previous.token().drop_refresh_token();
                let (destination, fault) = (self.name().as_str(), fault_of(&error));
                let error = fault.and_then(|fault| fault.error.as_deref());
                let excerpt = fault.and_then(|fault| fault.excerpt.as_deref());
                tracing::info!(destination, error, excerpt, "refresh token refused");
                return Ok(None);
            }
            let (refusal, retry_class) = self.refresh_failed(previous, &destination, &error);
            let next = if previous.has_ended(Instant::now()) && !is_unsent(&error) {
                self.failures().next_step(retry_class, repeats)
            } else {
                NextStep::Pause
            };
            match next {
                NextStep::Pause => return Err(refusal.into()),
                NextStep::LogOn => {
                    let next_refresh = refusal.retry_at.unwrap_or_else(Instant::now);
                    return self.log_on_instead(previous, next_refresh).await.map(Some);
                }
                NextStep::Repeat(wait) => sleep(wait).await,
            }
            repeats += 1;
        }
    }

    /// Keeps the refresh token and pauses. The guard does not learn of this failure.
    fn refresh_failed(
        &self,
        previous: &Lease,
        destination: &Destination,
        error: &ExchangeError,
    ) -> (LeaseRefusal, RetryClass) {
        let now = Instant::now();
        let failure = failure_policy::classify(error, destination, GrantKind::RefreshToken);
        // Nothing is asked without a password first: the refresh is repeated, or a logon follows.
        let reason = if let Reason::NoTokenEndpoint { status } = failure.reason {
            Reason::RefreshMisdirected { status }
        } else {
            failure.reason
        };
        let retry_class = retry_class_of(failure.class, error);
        let rounds = self.failed_refreshes();
        let pause = self.failures().note(error, retry_class, previous.serves_for(now), now);
        let (destination, cause) = (self.name().as_str(), chain(error));
        let pause_ms = pause.as_millis();
        // Only the first failure in a row is a warning.
        if rounds == 0 {
            tracing::warn!(destination, cause, pause_ms, "renewal failed, will be repeated");
        } else {
            tracing::debug!(destination, cause, pause_ms, rounds, "renewal failed again");
        }
        (self.refusal(reason, Some(now + pause)), retry_class)
    }

    /// Refreshing does not work and the access token has ended: one logon, if the guard allows it.
    /// Otherwise refreshing goes on at `next_refresh`.
    async fn log_on_instead(
        &self,
        previous: &Lease,
        next_refresh: Instant,
    ) -> Result<Obtained, FailedRenewal> {
        self.check_guard().map_err(|held| LeaseRefusal { retry_at: Some(next_refresh), ..held })?;
        tracing::error!(
            destination = self.name().as_str(),
            failures = self.failed_refreshes(),
            hint = "every lifetime of a token costs a logon until the login server's refresh grant works",
            "refreshing the token does not work, logging on instead"
        );
        let mut outcome = self.log_on(Some(previous)).await;
        match &mut outcome {
            Ok(obtained) if obtained.lease.token().refresh_token().is_some() => {
                self.failures().start_again();
            }
            Ok(_) => *self.failures() = RefreshFailures::default(),
            Err(failed) => {
                let at = failed.refusal.retry_at.map_or(next_refresh, |at| at.min(next_refresh));
                failed.refusal.retry_at = Some(at);
            }
        }
        outcome
    }
}

/// The destination.
impl TokenProvider {
    /// Returns the content as it is known, for a grant that cannot lock a user.
    async fn content(&self) -> Result<Arc<Destination>, FailedRenewal> {
        let found = match self.exchange.backend.known(self.name()) {
            Some(known) => Ok(known),
            None => self.find(CachePolicy::Cached).await,
        };
        self.require_same_credentials(found)
    }

    /// Returns the confirmed content: a stale password would cost a failed logon.
    async fn confirmed(&self) -> Result<Arc<Destination>, FailedRenewal> {
        let found = self.find(CachePolicy::Confirmed).await;
        let is_proven = self.guard.lock().is_proven();
        let found = found.or_else(|error| {
            // The service cannot be asked: only a credential that has worked may be used.
            let may_use = error.tells_nothing() && is_proven;
            self.exchange.backend.known(self.name()).filter(|_| may_use).ok_or(error)
        });
        self.require_same_credentials(found)
    }

    async fn find(&self, wanted: CachePolicy) -> Result<Arc<Destination>, DestinationError> {
        self.is_reading.store(true, Ordering::Relaxed);
        let found = self.exchange.backend.find(self.name(), wanted).await;
        self.is_reading.store(false, Ordering::Relaxed);
        found
    }

    fn require_same_credentials(
        &self,
        found: Result<Arc<Destination>, DestinationError>,
    ) -> Result<Arc<Destination>, FailedRenewal> {
        match found {
            Ok(found) if found.fingerprint == self.fingerprint => Ok(found),
            Ok(_) => Err(self.hand_over()),
            Err(error) => {
                let source = self.exchange.backend.read_from(self.name());
                let refusal = LeaseRefusal::of_destination(self.name(), error, Instant::now());
                Err(refusal.with_read_from(source).into())
            }
        }
    }

    /// Reads the destination past the cache. A failed read counts as "unchanged".
    async fn has_changed(&self) -> bool {
        let found = self.find(CachePolicy::PastCache).await;
        found.is_ok_and(|found| found.fingerprint != self.fingerprint)
    }

    fn hand_over(&self) -> FailedRenewal {
        let reason = Reason::UaaUnavailable(UaaOutage::Changing);
        let refusal = self.refusal(reason, Some(Instant::now() + HAND_OVER_PAUSE));
        FailedRenewal { refusal, follow_up: FollowUp::HandOver }
    }
}

impl fmt::Debug for TokenProvider {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("TokenProvider")
            .field("name", self.name())
            .field("guard", &self.guard)
            .finish_non_exhaustive()
    }
}

/// A logon failed and the credentials are still the same. Of transient failures in a row only the
/// first is a warning, and those that hold for longer.
fn log_closed(transition: Transition, refusal: &LeaseRefusal, error: &ExchangeError) {
    let destination = refusal.destination.as_str();
    let (from, gate) = (transition.from.name(), transition.to.name());
    let retry_s = refusal.retry_at.map(seconds_until);
    let (reason, hint) = (refusal.reason.to_string(), refusal.hint());
    let (cause, is_certificate) = (chain(error), error.is_certificate());
    let answer = fault_of(error);
    let error = answer.and_then(|fault| fault.error.as_deref());
    let excerpt = answer.and_then(|fault| fault.excerpt.as_deref());
    let is_first = transition.from != GuardState::Waiting;
    let holds_long =
        matches!(refusal.reason, Reason::Unclear { .. } | Reason::NoTokenEndpoint { .. });
    match transition.to {
        GuardState::Rejected | GuardState::Blocked | GuardState::Locked => tracing::error!(
            destination,
            from,
            gate,
            reason,
            hint,
            error,
            excerpt,
            retry_s,
            "lockout guard closed"
        ),
        GuardState::Waiting if is_certificate && is_first => tracing::error!(
            destination,
            from,
            gate,
            cause,
            retry_s,
            "certificate of the login server refused"
        ),
        GuardState::Waiting if is_first || holds_long => tracing::warn!(
            destination,
            from,
            gate,
            reason,
            hint,
            cause,
            error,
            excerpt,
            retry_s,
            "lockout guard waits"
        ),
        GuardState::Waiting | GuardState::Unknown | GuardState::Good => {
            tracing::debug!(destination, from, gate, cause, retry_s, "logon failed again");
        }
    }
}

/// Of an upstream's text only these fields, which `oauth` has shortened and cleaned, are logged.
fn fault_of(error: &ExchangeError) -> Option<&Fault> {
    match error {
        ExchangeError::Refused(fault) => Some(fault),
        ExchangeError::Transport(_) => None,
    }
}

/// Joins an error and its sources.
fn chain(error: &ExchangeError) -> String {
    let mut text = error.to_string();
    let mut link = error.source();
    while let Some(cause) = link {
        text = format!("{text}: {cause}");
        link = cause.source();
    }
    text
}
