//! An XSUAA instance as issuer: the order of the checks, and the keys of each zone.
//!
//! Invariant: before its signature is checked, a token can only be refused. No key is fetched for a
//! token that the rules refuse. For [`issuers`](super::issuers) only. The other kind of issuer is
//! [`ias`](super::ias).

use super::{
    AuthError, Caller,
    bearer::CompactToken,
    claims::XsuaaClaims,
    error::AuthRejection,
    ias::KeyAddress,
    jose::{self, VerifiedPayload},
    key_cache::KeyCache,
    source::{KeyError, KeySource},
    xsuaa::XsuaaRules,
};
use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, SystemTime},
};

/// The result of a successful verification.
pub(super) struct VerifiedToken {
    /// The caller that the token names.
    pub(super) caller: Caller,
    /// `exp`, as time since 1970.
    pub(super) expires: Duration,
    /// The keys that it was checked with.
    pub(super) keys: KeySetId,
    /// Their generation.
    pub(super) generation: u64,
}

/// Whose keys a token was checked with.
#[derive(Clone)]
pub(super) enum KeySetId {
    /// Those of the caller's zone at XSUAA.
    Zone,
    /// Those of an IAS tenant for one client.
    Ias(Arc<KeyAddress>),
}

/// One XSUAA instance: its rules, and the keys of each zone that may call.
pub(super) struct XsuaaIssuer<S: KeySource> {
    rules: XsuaaRules,
    keys: HashMap<String, KeyCache<S>>,
}

impl<S: KeySource> XsuaaIssuer<S> {
    /// Makes the issuer. `cache` makes the key cache of a URL, one for each configured zone.
    /// Callers cannot add zones.
    pub(super) fn new(rules: XsuaaRules, cache: impl Fn(String) -> KeyCache<S>) -> Self {
        let keys =
            rules.zones().iter().map(|zone| (zone.clone(), cache(rules.keys_url(zone)))).collect();
        Self { rules, keys }
    }

    /// Verifies a token: check the unverified claims to refuse early, get the key, check the
    /// signature, check all claims again.
    ///
    /// # Errors
    /// `Invalid`; `KeysUnavailable` or `KeyUndecided` if the key cannot be had now.
    pub(super) async fn verify(
        &self,
        token: &CompactToken<'_>,
        now: SystemTime,
    ) -> Result<VerifiedToken, AuthError> {
        let (payload, generation) = self.signed_payload(token, now).await?;
        let (caller, expires) = self.rules.caller_of(&payload, now)?;
        Ok(VerifiedToken { caller, expires, keys: KeySetId::Zone, generation })
    }

    /// Verifies the id token of a login and returns its `sub`.
    ///
    /// # Errors
    /// As [`XsuaaIssuer::verify`].
    pub(super) async fn verify_id_token(
        &self,
        token: &CompactToken<'_>,
        nonce: &str,
        now: SystemTime,
    ) -> Result<String, AuthError> {
        let (payload, _) = self.signed_payload(token, now).await?;
        Ok(self.rules.check_id_token(&payload, nonce, now)?)
    }

    async fn signed_payload(
        &self,
        token: &CompactToken<'_>,
        now: SystemTime,
    ) -> Result<(VerifiedPayload, u64), AuthError> {
        let kid = jose::key_id(token)?;
        let claimed = XsuaaClaims::read(&jose::unverified_payload(token)?)?;
        self.rules.check_claims(&claimed, now)?;
        let cache = claimed.zid.and_then(|zone| self.keys.get(&zone)).ok_or(AuthRejection::Zone)?;
        let found = cache.key(&kid).await.map_err(key_error)?;
        let payload = VerifiedPayload::check(token, &found.key)?;
        Ok((payload, found.generation))
    }

    /// Returns the generation of the usable keys of `zone`; `None` without any.
    pub(super) fn generation(&self, zone: &str) -> Option<u64> {
        self.keys.get(zone)?.generation()
    }
}

/// The error of a caller whose key is missing.
pub(super) fn key_error(error: KeyError) -> AuthError {
    match error {
        KeyError::Unknown => AuthRejection::KeyUnknown.into(),
        KeyError::Unavailable { retry_after, cause } => {
            AuthError::KeysUnavailable { retry_after, cause }
        }
        KeyError::Undecided { retry_after } => AuthError::KeyUndecided { retry_after },
    }
}
