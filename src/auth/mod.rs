//! Who calls: [`Verifier`], [`Caller`], [`Scope`]. The rules are those of `callers.md` 4 and 5.
//!
//! Invariant: nothing is granted from data whose signature was not checked, and the token itself is
//! not kept. For `http`, and for rooms that ask what a caller may do. IAS as a second issuer would
//! be one more kind beside `issuer`, chosen by `iss` before any key is asked for.

mod bearer;
mod book;
mod cache;
mod caller;
mod certificate;
mod claims;
mod domain;
mod endpoint;
mod error;
mod held;
mod issuer;
mod jose;
mod jwks;
mod keys;
mod lenient;
mod limits;
mod pins;
mod scope;
mod settings;
mod strict;
#[cfg(test)]
mod tests;
mod xsuaa;

pub use caller::Caller;
pub use error::AuthError;
pub use limits::Place;
pub use pins::Pins;
pub use scope::Scope;
pub use settings::Settings;

use crate::{binding::XsuaaBinding, telemetry::metrics::Metrics, upstream::HttpClient};
use bearer::CompactToken;
use cache::DecisionCache;
use certificate::Binding;
use domain::UaaDomain;
use endpoint::KeysEndpoint;
use http::HeaderMap;
use issuer::XsuaaIssuer;
use keys::KeyCache;
use limits::CallerLimits;
use std::{
    fmt,
    sync::Arc,
    time::{Duration, SystemTime},
};
use tokio_util::task::TaskTracker;
use xsuaa::Rules;

/// When to ask again without a usable binding: only a restart with one helps, so seldom.
const UNBOUND_PAUSE: Duration = Duration::from_secs(60);

/// A verified caller, and its place among its requests in flight, which is to be kept until the answer is complete.
#[derive(Debug)]
pub struct Admitted {
    /// Who it is.
    pub caller: Caller,
    /// What it holds meanwhile.
    pub place: Place,
}

/// Judges bearer tokens by rules A1 to A12 and A15; a clone is shallow.
///
/// Without a usable xsuaa binding every token gets [`AuthError::KeysUnavailable`].
#[derive(Clone)]
pub struct Verifier {
    parts: Arc<Parts>,
}

struct Parts {
    issuer: Option<XsuaaIssuer<KeysEndpoint>>,
    decisions: DecisionCache,
    limits: CallerLimits,
    certificates: Binding,
    metrics: Metrics,
}

impl Verifier {
    /// Makes a verifier; keys are fetched when the first token asks for them, on `tasks`.
    pub fn new(
        settings: &Settings,
        binding: Option<XsuaaBinding>,
        client: HttpClient,
        tasks: TaskTracker,
        metrics: Metrics,
    ) -> Self {
        let issuer =
            binding.and_then(|binding| bound_issuer(settings, &binding, client, tasks, &metrics));
        let parts = Parts {
            issuer,
            decisions: DecisionCache::new(),
            limits: CallerLimits::new(settings),
            certificates: Binding::of(settings),
            metrics,
        };
        Self { parts: Arc::new(parts) }
    }

    /// Returns whether there is a usable xsuaa binding, so that callers can be verified at all.
    pub fn is_bound(&self) -> bool {
        self.parts.issuer.is_some()
    }

    /// Returns who sent a request with these headers, within what one caller may ask.
    ///
    /// # Errors
    /// Those of [`Verifier::verify`], and `TooMany`.
    ///
    /// # Cancel safety
    /// As [`Verifier::verify`].
    pub async fn admit(&self, headers: &HeaderMap, now: SystemTime) -> Result<Admitted, AuthError> {
        let caller = self.verify(headers, now).await?;
        match self.parts.limits.admit(caller.client_id()).await {
            Ok(place) => Ok(Admitted { caller, place }),
            Err(error) => {
                self.parts.metrics.auth_refused(error.reason());
                Err(error)
            }
        }
    }

    /// Returns who sent a request with these headers.
    ///
    /// # Errors
    /// `Missing` without `Authorization`, `Invalid` for a token that breaks a rule,
    /// `KeysUnavailable` if the keys that could decide cannot be had.
    ///
    /// # Cancel safety
    /// Nothing is lost: a fetch of keys goes on without the caller.
    pub async fn verify(&self, headers: &HeaderMap, now: SystemTime) -> Result<Caller, AuthError> {
        let verdict = self.judge(headers, now).await.and_then(|caller| {
            self.parts.certificates.judge(&caller, headers)?;
            Ok(caller)
        });
        if let Err(error) = &verdict {
            self.parts.metrics.auth_refused(error.reason());
        }
        verdict
    }

    /// Asks for the keys as a token would, and returns how many are usable; for a doctor's visit.
    ///
    /// # Errors
    /// `KeysUnavailable` without a usable binding, or if the keys cannot be had.
    pub async fn probe(&self) -> Result<usize, AuthError> {
        match &self.parts.issuer {
            Some(issuer) => issuer.probe().await,
            None => Err(AuthError::KeysUnavailable { retry_after: UNBOUND_PAUSE }),
        }
    }

    async fn judge(&self, headers: &HeaderMap, now: SystemTime) -> Result<Caller, AuthError> {
        let presented = bearer::bearer(headers)?;
        let Some(issuer) = &self.parts.issuer else {
            return Err(AuthError::KeysUnavailable { retry_after: UNBOUND_PAUSE });
        };
        let fingerprint = presented.fingerprint()?;
        let decisions = &self.parts.decisions;
        if let Some(caller) = decisions.find(fingerprint, now, |zone| issuer.generation(zone)).await
        {
            return Ok(caller);
        }
        let token = CompactToken::parse(presented.text()?)?;
        let verified = issuer.verify(&token, now).await?;
        decisions.keep(fingerprint, &verified, now).await;
        Ok(verified.caller)
    }
}

impl fmt::Debug for Verifier {
    /// Shows nothing: the caches hold callers, and moka's `Debug` would print them.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Verifier").finish_non_exhaustive()
    }
}

/// The issuer behind a binding; `None`, with a line that says so, if no token could ever be judged
/// with it.
fn bound_issuer(
    settings: &Settings,
    binding: &XsuaaBinding,
    client: HttpClient,
    tasks: TaskTracker,
    metrics: &Metrics,
) -> Option<XsuaaIssuer<KeysEndpoint>> {
    let rules = UaaDomain::parse(&binding.uaa_domain)
        .and_then(|domain| Rules::new(binding, domain, settings));
    let Some(rules) = rules else {
        tracing::error!(
            binding = binding.name,
            "xsuaa binding without a usable uaadomain, clientid or xsappname"
        );
        return None;
    };
    Some(XsuaaIssuer::new(rules, move |url| {
        let source = KeysEndpoint::new(client.clone(), url);
        KeyCache::new(source, tasks.clone(), metrics.clone())
    }))
}
