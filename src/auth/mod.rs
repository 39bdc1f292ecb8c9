//! Authentication of callers: [`Verifier`], [`Caller`], [`Scope`]. All rules are in
//! `docs/reference/caller-rules.md`.
//!
//! Invariant: nothing is granted from data whose signature was not checked, and the token itself is
//! not kept. Called by `http`, and by modules that ask what a caller may do. Tokens come from XSUAA
//! (`issuer`, `xsuaa`) or IAS (`ias`). `issuers` chooses one by the claims, before any key is
//! fetched.

mod allowance;
mod bearer;
mod cached_key_set;
mod caller;
mod claims;
mod client_certificate;
mod domain;
mod duplicate_free;
mod endpoint;
mod error;
mod ias;
mod issuer;
mod issuers;
mod jose;
mod jwks;
mod key_cache;
mod login_tokens;
mod missing_keys;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod parsers;
mod rate_limit;
mod raw_jwk;
mod request_places;
mod scope;
mod scope_grants;
mod sealing_key;
mod settings;
mod source;
#[cfg(test)]
mod tests;
mod time;
mod trusted_host;
mod verified_tokens;
mod xsuaa;

pub use caller::Caller;
pub use error::{AuthError, UnboundIssuer};
pub use ias::IasSettings;
pub use login_tokens::{CallerRecord, LoginTokens, VerifiedLogin};
pub use rate_limit::{CallerLimit, InFlightPermit, LimitKind, LimitedCaller};
pub use request_places::{IdlePart, ProcessPlace, RequestPart, RequestPlaces};
pub use scope::Scope;
pub use scope_grants::{AllowedClients, ScopeGrants};
pub use sealing_key::SealingKey;
pub use settings::{Settings, UsersSettings, is_client_id};

use crate::{
    binding::{IdentityBinding, XsuaaBinding},
    telemetry::metrics::Metrics,
    upstream::HttpClient,
};
use bearer::CompactToken;
use client_certificate::CertificateBinding;
use http::HeaderMap;
use issuers::Issuers;
use rate_limit::CallerLimits;
use std::{fmt, sync::Arc, time::SystemTime};
use tokio_util::task::TaskTracker;
use verified_tokens::VerifiedTokens;

/// The bindings of the issuers whose tokens are accepted.
#[derive(Clone, Debug, Default)]
pub struct IssuerBindings {
    /// XSUAA.
    pub xsuaa: Option<XsuaaBinding>,
    /// Identity Authentication. Used only if the settings enable it.
    pub identity: Option<IdentityBinding>,
}

/// A verified caller, and its permit for this request.
#[derive(Debug)]
pub struct Admitted {
    /// The caller.
    pub caller: Caller,
    /// To be kept until the answer is complete.
    pub permit: InFlightPermit,
}

/// Verifies bearer tokens, the client certificate and the limits of a caller. A clone is shallow.
///
/// Without a usable binding the result is [`AuthError::NotBound`] for every token.
#[derive(Clone)]
pub struct Verifier {
    inner: Arc<VerifierInner>,
}

struct VerifierInner {
    issuers: Issuers,
    verified: VerifiedTokens,
    limits: CallerLimits,
    certificates: CertificateBinding,
    metrics: Metrics,
}

impl Verifier {
    /// Makes a verifier. Keys are fetched on `tasks` when the first token needs them.
    pub fn new(
        settings: &Settings,
        bound: &IssuerBindings,
        client: &HttpClient,
        tasks: &TaskTracker,
        metrics: Metrics,
    ) -> Self {
        let inner = VerifierInner {
            issuers: Issuers::new(settings, bound, client, tasks, &metrics),
            verified: VerifiedTokens::new(),
            limits: CallerLimits::new(settings),
            certificates: CertificateBinding::from_settings(settings),
            metrics,
        };
        Self { inner: Arc::new(inner) }
    }

    /// Returns whether each issuer whose tokens are expected has a usable binding. Otherwise some
    /// callers, or all, cannot be verified.
    pub fn is_bound(&self) -> bool {
        self.inner.issuers.are_bound()
    }

    /// Verifies the caller of a request with these headers and takes a permit from its limits.
    ///
    /// # Errors
    /// Those of [`Verifier::verify`], and `TooMany`.
    ///
    /// # Cancel safety
    /// As [`Verifier::verify`].
    pub async fn admit(&self, headers: &HeaderMap, now: SystemTime) -> Result<Admitted, AuthError> {
        let caller = self.verify(headers, now).await?;
        self.admit_caller(caller).await
    }

    /// Takes a permit for a caller that was verified before.
    ///
    /// # Errors
    /// `TooMany`.
    pub async fn admit_caller(&self, caller: Caller) -> Result<Admitted, AuthError> {
        match self.inner.limits.admit(&caller).await {
            Ok(permit) => Ok(Admitted { caller, permit }),
            Err(error) => {
                self.inner.metrics.auth_refused(error.reason());
                Err(error)
            }
        }
    }

    /// Verifies the caller of a request with these headers.
    ///
    /// # Errors
    /// `Missing` without `Authorization`, `Invalid` for a token that breaks a rule,
    /// `KeysUnavailable` or `KeyUndecided` if the required key cannot be had now, `NotBound`
    /// without a usable binding of the issuer.
    ///
    /// # Cancel safety
    /// A fetch of keys goes on without the caller.
    pub async fn verify(&self, headers: &HeaderMap, now: SystemTime) -> Result<Caller, AuthError> {
        let verdict = self.verify_token(headers, now).await.and_then(|caller| {
            self.inner.certificates.check(&caller, headers)?;
            Ok(caller)
        });
        if let Err(error) = &verdict {
            self.inner.metrics.auth_refused(error.reason());
        }
        verdict
    }

    async fn verify_token(
        &self,
        headers: &HeaderMap,
        now: SystemTime,
    ) -> Result<Caller, AuthError> {
        let presented = bearer::bearer(headers)?;
        let VerifierInner { issuers, verified, .. } = &*self.inner;
        issuers.require_any()?;
        let fingerprint = presented.fingerprint()?;
        let generation = |caller: &Caller, keys: &_| issuers.generation(caller, keys);
        if let Some(caller) = verified.find(&fingerprint, now, generation) {
            return Ok(caller);
        }
        let token = CompactToken::parse(presented.text()?)?;
        let token = issuers.verify(&token, now).await?;
        verified.keep(fingerprint, &token, now);
        Ok(token.caller)
    }
}

impl fmt::Debug for Verifier {
    /// Prints no fields: the caches contain callers.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Verifier").finish_non_exhaustive()
    }
}
