//! One grant: sent, counted, repeated if nothing was sent, and turned into a token.
//!
//! Invariant: a password that may have reached the token endpoint is never repeated here. No claim
//! of a token changes the flow. Used by `provider`.

use super::{
    backend::{Backend, LogonGrant},
    failure_policy::{self, ends_refresh_token, is_unsent},
    lease::GrantedToken,
    status::GrantedRenewal,
};
use crate::{
    destination::{Destination, DestinationName},
    oauth::{
        ExchangeError, Grant, GrantKind, OriginKey, TokenResponse, fault::FaultKind,
        response::UnverifiedClaims,
    },
    telemetry::metrics::Metrics,
    upstream::retry::Backoff,
};
use secrecy::SecretString;
use std::{io, sync::Arc, time::Duration};
use tokio::time::{Instant, sleep};

/// A connection that was never made counts nowhere. This many repeats within one flight (SAP's
/// table of retries for token calls).
const CONNECT_RETRIES: u32 = 3;

/// Audience that the Cloud Controller expects in a token.
const AUDIENCE: &str = "cloud_controller";

/// Without these scopes routes can be neither read nor created.
const SCOPES: [&str; 2] = ["cloud_controller.read", "cloud_controller.write"];

/// Sends the grants of one destination.
#[derive(Clone)]
pub(super) struct GrantExchange {
    pub(super) name: DestinationName,
    pub(super) backend: Arc<dyn Backend>,
    pub(super) grant: LogonGrant,
    pub(super) metrics: Metrics,
}

/// A successful grant and how long it took.
pub(super) struct GrantResult {
    response: TokenResponse,
    grant: GrantKind,
    took: Duration,
}

impl GrantExchange {
    /// Builds the grant of a logon.
    ///
    /// # Errors
    /// The assertion cannot be read.
    pub(super) async fn logon_grant(&self, destination: &Destination) -> io::Result<Grant> {
        match self.grant {
            LogonGrant::Password => Ok(Grant::Password {
                user: destination.credentials.user.clone(),
                password: destination.credentials.password.clone(),
                login_hint: destination.login_hint.clone(),
                scope: destination.scope.clone(),
                extra: destination.extra.clone(),
            }),
            LogonGrant::JwtBearer => {
                Ok(Grant::JwtBearer { assertion: self.backend.assertion().await? })
            }
        }
    }

    /// Sends a grant. Repeats it only if no connection was made, and not once an outage is known.
    /// An assertion counts as no wrong logon: it is sent once more after any other hiccup.
    pub(super) async fn send(
        &self,
        destination: &Destination,
        grant: &Grant,
        rounds: u32,
    ) -> Result<GrantResult, ExchangeError> {
        let retries = if rounds == 0 { CONNECT_RETRIES } else { 0 };
        let mut done = 0;
        let mut may_repeat = rounds == 0 && grant.kind() == GrantKind::JwtBearer;
        loop {
            let started = Instant::now();
            let outcome = self.backend.exchange(destination, grant).await;
            let took = started.elapsed();
            let error = outcome.as_ref().err();
            let result = error.map_or("ok", |error| metric_of(error, destination, grant.kind()));
            self.metrics.token_fetched(self.name.as_str(), grant.name(), result, took);
            match outcome {
                Ok(response) => {
                    return Ok(GrantResult { response, grant: grant.kind(), took });
                }
                Err(error) if done < retries && is_unsent(&error) => done += 1,
                Err(error) if may_repeat && is_hiccup(&error) => may_repeat = false,
                Err(error) => return Err(error),
            }
            sleep(Backoff::CONNECTION.random_wait(done.saturating_sub(1))).await;
        }
    }

    /// Makes a token of a success. `kept` is the refresh token to continue with.
    pub(super) fn accept(
        &self,
        granted: GrantResult,
        kept: Option<Arc<SecretString>>,
        destination: &Destination,
    ) -> (Arc<GrantedToken>, GrantedRenewal) {
        let GrantResult { response, grant, took } = granted;
        let warning = response.claims.as_ref().and_then(|claims| {
            if let Some(at) = claims.expires_at {
                self.metrics.token_expires(self.name.as_str(), at);
            }
            check_claims(claims, destination)
        });
        let token = Arc::new(GrantedToken::new(grant, response, kept));
        let (took_ms, serves_s) = (took.as_millis(), seconds_until(token.window.serve_until));
        let (name, grant) = (self.name.as_str(), grant.name());
        tracing::info!(destination = name, grant, took_ms, serves_s, "token renewed");
        (token, GrantedRenewal { grant, took, at: Instant::now(), warning })
    }
}

/// Returns how the metric names a failed grant.
fn metric_of(error: &ExchangeError, destination: &Destination, grant: GrantKind) -> &'static str {
    // A probe asks whether there is a token endpoint, and this refusal says so.
    if grant == GrantKind::Probe && ends_refresh_token(error) {
        return "ok";
    }
    let failure = failure_policy::classify(error, destination, grant);
    if failure.class.is_definite() { "refused" } else { "transient" }
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

/// Compares the claims of a new token with what was requested, for the log and the status only: no
/// claim changes the flow. Returns what an operator should know.
fn check_claims(claims: &UnverifiedClaims, asked: &Destination) -> Option<String> {
    let destination = asked.name.as_str();
    for odd in odd_claims(claims) {
        tracing::warn!(destination, "{odd}");
    }
    let wanted = asked.login_hint.as_ref()?.origin();
    let given = claims.origin.as_deref().filter(|given| *given != wanted.as_str())?;
    tracing::error!(
        destination,
        hint = "correct the origin; the password went to another identity provider",
        "token comes from another origin than requested"
    );
    // Shown only if it has the form of a key.
    let given = OriginKey::parse(given).ok()?;
    Some(format!(
        "the token comes from identity provider {}, but the destination names {}: correct the origin",
        given.as_str(),
        wanted.as_str()
    ))
}

fn odd_claims(claims: &UnverifiedClaims) -> Vec<&'static str> {
    let has_audience = claims.audience.iter().any(|audience| audience == AUDIENCE);
    let has_scopes = SCOPES.iter().all(|scope| claims.scopes.iter().any(|given| given == scope));
    let lifetime = claims.expires_at.zip(claims.issued_at);
    let checks = [
        (!has_audience, "token is not meant for the cloud controller"),
        (!has_scopes, "token lacks scopes of the CF API"),
        (lifetime.is_some_and(|(end, start)| end <= start), "token has no lifetime"),
    ];
    checks.into_iter().filter_map(|(is_odd, text)| is_odd.then_some(text)).collect()
}

/// Returns the whole seconds until then.
pub(super) fn seconds_until(moment: Instant) -> u64 {
    moment.saturating_duration_since(Instant::now()).as_secs()
}

#[cfg(test)]
mod tests {
    use super::{check_claims, odd_claims};
    use crate::{oauth::response::UnverifiedClaims, token::fake};
    use rstest::rstest;

    fn good() -> UnverifiedClaims {
        UnverifiedClaims {
            origin: Some("acme-platform".to_owned()),
            audience: vec!["cf".to_owned(), "cloud_controller".to_owned()],
            scopes: vec!["cloud_controller.read".to_owned(), "cloud_controller.write".to_owned()],
            expires_at: Some(1200),
            issued_at: Some(1),
        }
    }

    #[rstest]
    #[case::as_asked(good(), &[])]
    #[case::audience(UnverifiedClaims { audience: Vec::new(), ..good() }, &["token is not meant for the cloud controller"])]
    #[case::scope(UnverifiedClaims { scopes: vec!["cloud_controller.read".to_owned()], ..good() }, &["token lacks scopes of the CF API"])]
    #[case::no_life(UnverifiedClaims { expires_at: Some(1), ..good() }, &["token has no lifetime"])]
    fn the_claims_of_a_new_token_are_checked(
        #[case] claims: UnverifiedClaims,
        #[case] expected: &[&str],
    ) {
        assert_eq!(odd_claims(&claims), expected);
    }

    #[rstest]
    #[case::as_asked(Some("acme-platform"), None)]
    #[case::elsewhere(
        Some("sap.ids"),
        Some("identity provider sap.ids, but the destination names acme-platform")
    )]
    #[case::no_key(Some("<canary>"), None)]
    #[case::silent(None, None)]
    fn a_token_of_another_provider_is_a_warning(
        #[case] origin: Option<&str>,
        #[case] expected: Option<&str>,
    ) {
        let claims = UnverifiedClaims { origin: origin.map(str::to_owned), ..good() };
        let found = check_claims(&claims, &fake::destination("CFAPI", 1));
        assert_eq!(found.is_some(), expected.is_some());
        assert!(found.unwrap_or_default().contains(expected.unwrap_or_default()));
    }
}
