//! The token provider of one credential: first the refresh token, then the password through the
//! lockout guard.
//!
//! Invariant: a password is sent only after the guard has allowed it and the destination was
//! confirmed, one at a time. The guard learns the result before anything else is awaited. Called by
//! `refresher`; refreshing is in `refresh`.

use super::{
    advice::SentLogon,
    attempt_budget::AttemptPermit,
    backend::Backend,
    entry::DestinationEntry,
    error::LeaseRefusal,
    exchange::{is_unsent, parameters},
    failure_policy,
    lease::Lease,
    lockout_guard::LockoutGuard,
    log_events,
    refresh::ends_refresh_token,
    refresh_failures::RefreshFailures,
    settings::LogonGrant,
    state::Hold,
    status::RenewalHistory,
};
use crate::{
    destination::{Destination, DestinationName},
    oauth::{ExchangeError, Fingerprint, Grant},
    telemetry::metrics::Metrics,
};
use std::{
    fmt,
    sync::{Arc, Weak, atomic::AtomicBool},
};
use tokio::time::Instant;

/// Gets the next token. `previous` lends its refresh token.
pub(super) trait TokenProvider: Send + Sync + 'static {
    /// Gets a token, or says why there is none.
    fn obtain(
        &self,
        previous: Option<&Lease>,
    ) -> impl Future<Output = Result<Lease, LeaseRefusal>> + Send;
}

/// The provider for a credential at its real token endpoint.
pub(super) struct UaaTokenProvider<B: Backend> {
    pub(super) backend: Arc<B>,
    pub(super) name: DestinationName,
    pub(super) fingerprint: Fingerprint,
    pub(super) grant: LogonGrant,
    pub(super) guard: Arc<LockoutGuard>,
    pub(super) history: Arc<RenewalHistory>,
    pub(super) metrics: Metrics,
    /// Notified when the credentials have changed or are refused.
    pub(super) entry: Weak<DestinationEntry<B>>,
    pub(super) failures: RefreshFailures,
    /// Whether the flight waits for the destination, not for the login server.
    pub(super) is_reading: AtomicBool,
}

impl<B: Backend> TokenProvider for UaaTokenProvider<B> {
    async fn obtain(&self, previous: Option<&Lease>) -> Result<Lease, LeaseRefusal> {
        let outcome = self.renew(previous).await;
        let outcome = outcome.map_err(|refusal| self.with_read_from(refusal));
        if let Err(refusal) = &outcome
            && !self.is_superseded()
        {
            self.history.refused(refusal, Instant::now());
        }
        outcome
    }
}

impl<B: Backend> UaaTokenProvider<B> {
    async fn renew(&self, previous: Option<&Lease>) -> Result<Lease, LeaseRefusal> {
        // An operator's release asks for a logon, not for a refresh.
        let previous_token = previous.filter(|_| !self.guard.is_released());
        if let Some(previous) = previous_token
            && let Some(token) = previous.token().refresh_token()
            && let Some(lease) = self.refresh(previous, token).await?
        {
            return Ok(lease);
        }
        self.log_on(previous).await
    }

    pub(super) async fn log_on(&self, previous: Option<&Lease>) -> Result<Lease, LeaseRefusal> {
        // Held across the grant on purpose: one password at a time per credential.
        let _logon_lock = self.guard.logon_lock().await;
        if let Some(lease) = self.take_shared(previous) {
            return Ok(lease);
        }
        let held = |hold: Hold| LeaseRefusal::new(&self.name, hold.reason, hold.retry_at);
        self.guard.check(self.grant, Instant::now()).map_err(held)?;
        let destination = self.confirmed().await?;
        if self.guard.needs_probe() {
            self.probe(&destination).await?;
        }
        let grant = self.grant(&destination).await?;
        let permit = match self.grant {
            LogonGrant::Password => Some(self.guard.permit().await.map_err(|hold| {
                log_events::exhausted(&self.name, &hold);
                self.publish_guard_state();
                held(hold)
            })?),
            LogonGrant::JwtBearer => {
                self.guard.take_release();
                None
            }
        };
        let outcome = self.exchange(&destination, &grant, self.guard.rounds()).await;
        if outcome.as_ref().is_err_and(is_unsent) {
            self.guard.note_unsent();
        }
        match outcome {
            Ok(granted) => {
                if let Some(permit) = permit {
                    permit.clear();
                }
                log_events::opened(&self.name, self.guard.succeeded(Instant::now()));
                self.publish_guard_state();
                Ok(self.accept(granted, None, &destination))
            }
            Err(error) => {
                let sent = SentLogon { destination: &destination, grant: grant.kind() };
                Err(self.fail(&error, sent, permit).await)
            }
        }
    }

    /// The token URL was last answered by something else. Asks whether a token endpoint is back,
    /// without a password.
    async fn probe(&self, destination: &Destination) -> Result<(), LeaseRefusal> {
        let grant = Grant::Probe;
        match self.exchange(destination, &grant, self.guard.rounds()).await {
            Ok(_) => Ok(()),
            Err(error) if ends_refresh_token(&error) => Ok(()),
            Err(error) => {
                let sent = SentLogon { destination, grant: grant.kind() };
                Err(self.fail(&error, sent, None).await)
            }
        }
    }

    /// Records what a failed logon means, then checks whether the credentials have changed
    /// meanwhile.
    async fn fail(
        &self,
        error: &ExchangeError,
        sent: SentLogon<'_>,
        permit: Option<AttemptPermit>,
    ) -> LeaseRefusal {
        let failure = failure_policy::classify(error, sent);
        let now = Instant::now();
        let transition = self.guard.failed(&failure, now);
        let unclear = match permit {
            Some(permit) if failure.class.is_ambiguous() => {
                permit.spend();
                self.guard.spent(now)
            }
            Some(permit) if failure.class.is_definite() => {
                permit.refuse();
                None
            }
            Some(permit) => {
                permit.clear();
                None
            }
            None => None,
        };
        self.publish_guard_state();
        if failure.class.is_definite() {
            if self.has_changed().await {
                log_events::refused_but_changed(&self.name);
                return self.hand_over().await;
            }
            if let Some(entry) = self.entry.upgrade() {
                entry.poll();
            }
        }
        let hold = self.guard.check(self.grant, now).err();
        let retry_at = hold.and_then(|hold| hold.retry_at);
        let reason = unclear.map_or(failure.reason, |hold| hold.reason);
        let refusal = self.with_read_from(LeaseRefusal::new(&self.name, reason, retry_at));
        log_events::closed(transition, &refusal, error);
        refusal
    }

    /// Takes the token that another refresher of this credential has just received.
    fn take_shared(&self, previous: Option<&Lease>) -> Option<Lease> {
        if self.guard.is_released() {
            return None;
        }
        let destination = self.backend.known(&self.name)?;
        let token = self.guard.shared(&parameters(&destination), Instant::now())?;
        let is_own = previous.is_some_and(|lease| Arc::ptr_eq(lease.token(), &token));
        let is_ours = destination.fingerprint == self.fingerprint && !is_own;
        is_ours.then(|| Lease::new(token, destination.api.clone()))
    }

    fn with_read_from(&self, refusal: LeaseRefusal) -> LeaseRefusal {
        refusal.with_read_from(self.backend.read_from(&self.name))
    }

    fn publish_guard_state(&self) {
        let state = self.guard.state(Instant::now());
        self.metrics.gate_state(self.name.as_str(), state.name());
    }
}

impl<B: Backend> fmt::Debug for UaaTokenProvider<B> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("UaaTokenProvider")
            .field("name", &self.name)
            .field("guard", &self.guard)
            .finish_non_exhaustive()
    }
}
