//! One grant on its way: sent, counted, repeated where nothing was sent, and turned into a lease.
//!
//! Invariant: what may have reached the other side is never repeated here (uaa.md 8). Used by `source`.

use super::{
    arrival,
    error::{Reason, Refusal},
    gate::Terms,
    lease::{Lease, Token},
    ports::Ports,
    report,
    schedule::Window,
    settings::LogonGrant,
    source::Source,
    verdict,
};
use crate::{
    destination::Destination,
    oauth::{ExchangeError, Grant, TokenResponse},
};
use secrecy::SecretString;
use std::{sync::Arc, time::Duration};
use tokio::time::{Instant, sleep};

/// A connection that was never made cost nothing: so many repeats within one flight (SAP's table, uaa.md 8) …
const CONNECT_RETRIES: u32 = 3;

/// … from this pause on, doubling, with full jitter.
const CONNECT_PAUSE: Duration = Duration::from_millis(300);

/// A success and what it took.
pub(super) struct Granted {
    response: TokenResponse,
    grant: &'static str,
    took: Duration,
}

impl<P: Ports> Source<P> {
    /// Makes the grant that logs on.
    pub(super) async fn grant(&self, to: &Destination) -> Result<Grant, Refusal> {
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

    /// Sends a grant; repeats it only where no connection was made, and not once that is known to last.
    pub(super) async fn exchange(
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

    /// Makes a lease of a success. `kept` is the refresh token to go on with.
    pub(super) fn accept(
        &self,
        granted: Granted,
        kept: Option<Arc<SecretString>>,
        to: &Destination,
    ) -> Lease {
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

    fn count(&self, grant: &Grant, error: Option<&ExchangeError>, took: Duration) {
        let result = match error.map(|error| verdict::judge(error).verdict.is_definite()) {
            None => "ok",
            Some(true) => "refused",
            Some(false) => "transient",
        };
        self.metrics.token_fetched(self.name.as_str(), grant.name(), result, took);
    }
}

/// What a token of this destination is asked with besides the credential.
pub(super) fn terms(to: &Destination) -> Terms {
    Terms { scope: to.scope.clone(), has_extras: !to.extra.is_empty() || !to.headers.is_empty() }
}

fn is_unsent(error: &ExchangeError) -> bool {
    match error {
        ExchangeError::Transport(error) => !error.may_have_been_sent(),
        ExchangeError::Refused(_) => false,
    }
}
