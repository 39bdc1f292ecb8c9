//! One grant: sent, counted, repeated if nothing was sent, and turned into a lease.
//!
//! Invariant: a password that may have reached the token endpoint is never repeated here. Used by
//! `provider`.

use super::{
    advice,
    backend::Backend,
    claim_checks,
    error::LeaseRefusal,
    failure_policy,
    lease::{GrantedToken, Lease},
    lockout_guard::TokenParameters,
    log_events,
    provider::UaaTokenProvider,
    refresh::ends_refresh_token,
    schedule::Window,
    settings::LogonGrant,
};
use crate::{
    destination::Destination,
    oauth::{ExchangeError, Grant, GrantKind, TokenResponse, fault::FaultKind},
};
use secrecy::SecretString;
use std::{sync::Arc, time::Duration};
use tokio::time::{Instant, sleep};

/// A connection that was never made counts nowhere. This many repeats within one flight (SAP's
/// table of retries for token calls) …
const CONNECT_RETRIES: u32 = 3;

/// … with pauses from this one on, doubling, with full jitter.
const CONNECT_PAUSE: Duration = Duration::from_millis(300);

/// A successful grant and how long it took.
pub(super) struct GrantResult {
    response: TokenResponse,
    grant: GrantKind,
    took: Duration,
}

impl<B: Backend> UaaTokenProvider<B> {
    /// Builds the grant of a logon.
    pub(super) async fn grant(&self, destination: &Destination) -> Result<Grant, LeaseRefusal> {
        match self.grant {
            LogonGrant::Password => Ok(Grant::Password {
                user: destination.credentials.user.clone(),
                password: destination.credentials.password.clone(),
                login_hint: destination.login_hint.clone(),
                scope: destination.scope.clone(),
                extra: destination.extra.clone(),
            }),
            LogonGrant::JwtBearer => match self.backend.assertion().await {
                Ok(assertion) => Ok(Grant::JwtBearer { assertion }),
                Err(error) => {
                    let (kind, reason) = (error.kind(), advice::no_assertion(&error));
                    let hint = reason.hint();
                    tracing::error!(destination = self.name.as_str(), %kind, hint, "assertion cannot be read");
                    Err(LeaseRefusal::new(&self.name, reason, None))
                }
            },
        }
    }

    /// Sends a grant. Repeats it only if no connection was made, and not once an outage is known.
    /// An assertion counts as no wrong logon: it is sent once more after any other hiccup.
    pub(super) async fn exchange(
        &self,
        destination: &Destination,
        grant: &Grant,
        rounds: u32,
    ) -> Result<GrantResult, ExchangeError> {
        let retries = if rounds == 0 { CONNECT_RETRIES } else { 0 };
        let mut edge = CONNECT_PAUSE;
        let mut done = 0;
        let mut may_repeat = rounds == 0 && grant.kind() == GrantKind::JwtBearer;
        loop {
            let started = Instant::now();
            let outcome = self.backend.exchange(destination, grant).await;
            let took = started.elapsed();
            self.count(grant, outcome.as_ref().err(), took);
            match outcome {
                Ok(response) => {
                    return Ok(GrantResult { response, grant: grant.kind(), took });
                }
                Err(error) if done < retries && is_unsent(&error) => {
                    sleep(edge.mul_f64(fastrand::f64())).await;
                    edge *= 2;
                    done += 1;
                }
                Err(error) if may_repeat && is_hiccup(&error) => {
                    may_repeat = false;
                    sleep(CONNECT_PAUSE.mul_f64(fastrand::f64())).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Makes a lease of a success. `kept` is the refresh token to continue with.
    pub(super) fn accept(
        &self,
        granted: GrantResult,
        kept: Option<Arc<SecretString>>,
        destination: &Destination,
    ) -> Lease {
        let GrantResult { response, grant, took } = granted;
        if let Some(claims) = &response.claims {
            claim_checks::log(claims, destination);
            self.history.warn(claim_checks::warning(claims, destination));
            if let Some(at) = claims.expires_at {
                self.metrics.token_expires(self.name.as_str(), at);
            }
        }
        let window = Window::new(response.sent_at, response.expires_in, fastrand::f64());
        let token = Arc::new(GrantedToken::new(grant, response, kept, window));
        if token.refresh_token().is_none() && self.history.warns_of_no_refresh() {
            log_events::no_refresh_token(&self.name);
        }
        self.guard.share(&token, parameters(destination));
        self.history.renewed(grant.name(), took, Instant::now());
        log_events::renewed(&self.name, grant.name(), took, window);
        Lease::new(token, destination.api.clone())
    }

    fn count(&self, grant: &Grant, error: Option<&ExchangeError>, took: Duration) {
        // A probe asks whether there is a token endpoint, and this refusal says so.
        let is_answered =
            |error: &&ExchangeError| grant.kind() == GrantKind::Probe && ends_refresh_token(error);
        let error = error.filter(|error| !is_answered(error));
        let result = match error.map(|error| failure_policy::class_of(error).is_definite()) {
            None => "ok",
            Some(true) => "refused",
            Some(false) => "transient",
        };
        self.metrics.token_fetched(self.name.as_str(), grant.name(), result, took);
    }
}

/// What a token of this destination is requested with besides the credential.
pub(super) fn parameters(destination: &Destination) -> TokenParameters {
    TokenParameters {
        scope: destination.scope.clone(),
        has_extras: !destination.extra.is_empty() || !destination.headers.is_empty(),
    }
}

/// Returns whether no request left the broker.
pub(super) fn is_unsent(error: &ExchangeError) -> bool {
    match error {
        ExchangeError::Transport(error) => !error.may_have_been_sent(),
        ExchangeError::Refused(_) => false,
    }
}

/// Whether an answer was cut or is that of a server in trouble, which one repeat may get over.
fn is_hiccup(error: &ExchangeError) -> bool {
    match error {
        ExchangeError::Refused(fault) => {
            fault.kind.is_transient() && fault.kind != FaultKind::RateLimited
        }
        ExchangeError::Transport(_) => error.is_cut(),
    }
}
