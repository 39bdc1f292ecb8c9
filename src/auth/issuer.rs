//! An XSUAA instance as issuer: the order of the checks, and the keys of each zone.
//!
//! Invariant: before the signature is checked a token can only be no_key, and no key is asked for
//! on behalf of a token that the rules refuse. For [`issuers`](super::issuers) only; the second
//! kind of issuer is [`ias`](super::ias).

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

/// A token that was judged and believed.
pub(super) struct VerifiedToken {
    /// Who it names.
    pub(super) caller: Caller,
    /// `exp`, since 1970.
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
    /// Those of an IAS tenant, as handed out for this client.
    Ias(Arc<KeyAddress>),
}

/// One XSUAA instance: its rules, and the keys of each zone that may call.
pub(super) struct XsuaaIssuer<S> {
    rules: XsuaaRules,
    keys: HashMap<String, KeyCache<S>>,
}

impl<S: KeySource> XsuaaIssuer<S> {
    /// Makes the issuer; `cache` makes the keys of an address, one for each zone: callers cannot
    /// add any.
    pub(super) fn new(rules: XsuaaRules, cache: impl Fn(String) -> KeyCache<S>) -> Self {
        let keys =
            rules.zones().iter().map(|zone| (zone.clone(), cache(rules.keys_url(zone)))).collect();
        Self { rules, keys }
    }

    /// Judges a token in the order of `callers.md` 4: refuse early, ask for the key, check, judge
    /// again.
    ///
    /// # Errors
    /// `Invalid`, or `KeysUnavailable` if the keys cannot be had.
    pub(super) async fn verify(
        &self,
        token: &CompactToken<'_>,
        now: SystemTime,
    ) -> Result<VerifiedToken, AuthError> {
        let kid = jose::key_id(token)?;
        let claimed = XsuaaClaims::read(&jose::unverified_payload(token)?)?;
        self.rules.check_claims(&claimed, now)?;
        let cache = claimed.zid.and_then(|zone| self.keys.get(&zone)).ok_or(AuthRejection::Zone)?;
        let found = cache.key(&kid).await.map_err(no_key)?;
        let payload = VerifiedPayload::check(token, &found.key)?;
        let (caller, expires) = self.rules.caller_of(&payload, now)?;
        Ok(VerifiedToken { caller, expires, keys: KeySetId::Zone, generation: found.generation })
    }

    /// The generation of the usable keys of `zone`; `None` without any.
    pub(super) fn generation(&self, zone: &str) -> Option<u64> {
        self.keys.get(zone)?.generation()
    }
}

/// What a caller is told when there is no key.
pub(super) fn no_key(error: KeyError) -> AuthError {
    match error {
        KeyError::Unknown => AuthRejection::KeyUnknown.into(),
        KeyError::Unavailable { retry_after } => AuthError::KeysUnavailable { retry_after },
    }
}
