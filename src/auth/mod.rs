//! Who calls: [`Verifier`], [`Caller`], [`Scope`]. The rules are those of `callers.md` 4 and 5.
//!
//! Invariant: nothing is granted from data whose signature was not checked, and the token itself is
//! not kept. For `http`, and for rooms that ask what a caller may do. Issuers are XSUAA (`issuer`,
//! `xsuaa`) and IAS (`ias`); `issuers` chooses by the claims before any key is asked for.

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
mod host;
mod ias;
mod issuer;
mod issuers;
mod jose;
mod jwks;
mod keys;
mod lenient;
mod limits;
mod lists;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod parsers;
mod pins;
mod scope;
mod settings;
mod source;
mod strict;
#[cfg(test)]
mod tests;
mod time;
mod xsuaa;

pub use caller::Caller;
pub use error::AuthError;
pub use ias::IasSettings;
pub use limits::Place;
pub use lists::ScopeLists;
pub use pins::Pins;
pub use scope::Scope;
pub use settings::Settings;

use crate::{
    binding::{IdentityBinding, XsuaaBinding},
    telemetry::metrics::Metrics,
    upstream::HttpClient,
};
use bearer::CompactToken;
use cache::DecisionCache;
use certificate::Binding;
use http::HeaderMap;
use issuers::{Issuers, unbound};
use limits::CallerLimits;
use std::{fmt, sync::Arc, time::SystemTime};
use tokio_util::task::TaskTracker;

/// The bindings that callers' tokens are judged by.
#[derive(Clone, Debug, Default)]
pub struct Bound {
    /// XSUAA.
    pub xsuaa: Option<XsuaaBinding>,
    /// Identity Authentication; counts only where the settings switch it on.
    pub identity: Option<IdentityBinding>,
}

/// A verified caller, and its place among its requests in flight, which is to be kept until the answer is complete.
#[derive(Debug)]
pub struct Admitted {
    /// Who it is.
    pub caller: Caller,
    /// What it holds meanwhile.
    pub place: Place,
}

/// Judges bearer tokens by rules A1 to A13 and A15; a clone is shallow.
///
/// Without a usable binding every token gets [`AuthError::KeysUnavailable`].
#[derive(Clone)]
pub struct Verifier {
    parts: Arc<Parts>,
}

struct Parts {
    issuers: Issuers,
    decisions: DecisionCache,
    limits: CallerLimits,
    certificates: Binding,
    metrics: Metrics,
}

impl Verifier {
    /// Makes a verifier; keys are fetched when the first token asks for them, on `tasks`.
    pub fn new(
        settings: &Settings,
        bound: &Bound,
        client: &HttpClient,
        tasks: &TaskTracker,
        metrics: Metrics,
    ) -> Self {
        let parts = Parts {
            issuers: Issuers::new(settings, bound, client, tasks, &metrics),
            decisions: DecisionCache::new(),
            limits: CallerLimits::new(settings),
            certificates: Binding::of(settings),
            metrics,
        };
        Self { parts: Arc::new(parts) }
    }

    /// Returns whether there is a usable binding, so that callers can be verified at all.
    pub fn is_bound(&self) -> bool {
        !self.parts.issuers.is_empty()
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
        self.parts.issuers.probe().await
    }

    async fn judge(&self, headers: &HeaderMap, now: SystemTime) -> Result<Caller, AuthError> {
        let presented = bearer::bearer(headers)?;
        let Parts { issuers, decisions, .. } = &*self.parts;
        if issuers.is_empty() {
            return Err(unbound());
        }
        let fingerprint = presented.fingerprint()?;
        let generation = |caller: &Caller, keys: &_| issuers.generation(caller, keys);
        if let Some(caller) = decisions.find(&fingerprint, now, generation) {
            return Ok(caller);
        }
        let token = CompactToken::parse(presented.text()?)?;
        let verified = issuers.verify(&token, now).await?;
        decisions.keep(fingerprint, &verified, now);
        Ok(verified.caller)
    }
}

impl fmt::Debug for Verifier {
    /// Shows nothing: the caches hold callers.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Verifier").finish_non_exhaustive()
    }
}
