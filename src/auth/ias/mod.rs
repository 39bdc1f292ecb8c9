//! Identity Authentication (IAS) as the second issuer. Off unless bound and enabled. The rules are
//! in `docs/reference/caller-rules.md`.
//!
//! Invariant: before its signature is checked, a token can only be refused. Keys are fetched only
//! from issuers of the bound domains and only for tenants that may call. A token can name any label
//! below a domain and any client; [`key_caches`] bounds the number and rate of both. For
//! [`issuers`](super::issuers) only.

mod claims;
mod discovery;
mod domains;
mod endpoint;
mod key_caches;
mod rules;
mod settings;

pub use settings::IasSettings;

pub(super) use endpoint::IasEndpoint;
pub(super) use rules::{IasRules, is_caller_name};

use super::{
    AuthError,
    bearer::CompactToken,
    error::AuthRejection,
    issuer::{KeySetId, VerifiedToken, key_error},
    jose::{self, VerifiedPayload},
    key_cache::KeyCache,
    source::{KeyError, KeySource},
};
use crate::{telemetry::metrics::Metrics, upstream::HttpClient};
use claims::{IasClaims, IssuerClaims};
use discovery::{Discovery, DiscoveryRequest};
use domains::Issuer;
use key_caches::{Evidence, KeyCachePool, SourceFactory};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::SystemTime,
};
use tokio_util::task::TaskTracker;

/// Identifies a key set of IAS: IAS may return different keys for each tenant and client.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct KeyAddress {
    /// The issuer that is asked.
    issuer: Issuer,
    /// `app_tid`: the provider's tenant, or a configured one.
    tenant: String,
    /// `azp`.
    client: Option<String>,
}

/// The bound IAS: its rules, and a key cache for each address.
pub(super) struct IasIssuer<S: KeySource> {
    rules: Arc<IasRules>,
    pool: KeyCachePool<S>,
}

impl IasIssuer<IasEndpoint> {
    /// Makes the issuer. Keys are fetched with `client`, on `tasks`.
    pub(super) fn with_client(
        rules: IasRules,
        client: HttpClient,
        tasks: TaskTracker,
        metrics: Metrics,
    ) -> Self {
        let rules = Arc::new(rules);
        let discoveries = DiscoveryPool::default();
        let rules_of_sources = Arc::clone(&rules);
        let discovery_tasks = tasks.clone();
        let make = move |address: &Arc<KeyAddress>| {
            let is_home = rules_of_sources.is_home(address);
            let discovery = discoveries.get_or_create(&address.issuer, || {
                let request = DiscoveryRequest {
                    client: client.clone(),
                    domains: rules_of_sources.domains().clone(),
                    issuer: address.issuer.clone(),
                    is_home,
                };
                Discovery::new(request, discovery_tasks.clone())
            });
            let home = (Arc::clone(address), is_home);
            IasEndpoint::new(
                client.clone(),
                discovery,
                rules_of_sources.client_id().to_owned(),
                home,
            )
        };
        Self::new(rules, Box::new(make), tasks, metrics)
    }
}

impl<S: KeySource> IasIssuer<S> {
    /// Makes the issuer. `make` makes the source of keys for an address.
    pub(super) fn new(
        rules: Arc<IasRules>,
        make: SourceFactory<S>,
        tasks: TaskTracker,
        metrics: Metrics,
    ) -> Self {
        let pool = KeyCachePool::new(make, rules.home().cloned(), tasks, metrics);
        Self { rules, pool }
    }

    /// Whether the token names IAS as its issuer, so that only these rules apply.
    ///
    /// # Errors
    /// [`AuthRejection::ClaimsMalformed`].
    pub(super) fn is_issuer_of(&self, token: &CompactToken<'_>) -> Result<bool, AuthRejection> {
        let claims = IssuerClaims::read(&jose::unverified_payload(token)?)?;
        Ok(self.rules.is_issuer_of(&claims))
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
        let kid = jose::key_id(token)?;
        let claimed = IasClaims::read(&jose::unverified_payload(token)?)?;
        let address = Arc::new(self.rules.check_claims(&claimed, now)?);
        let keys = match self.pool.find(&address) {
            Some(keys) => keys,
            None => self.new_cache(token, &kid, &address).await?,
        };
        let found = keys.key(&kid).await.map_err(key_error)?;
        let payload = VerifiedPayload::check(token, &found.key)?;
        let (caller, expires) = self.rules.caller_of(&payload, now)?;
        self.pool.mark_verified(&address, &keys);
        Ok(VerifiedToken {
            caller,
            expires,
            keys: KeySetId::Ias(address),
            generation: found.generation,
        })
    }

    /// Returns the key cache of a new client. Beyond the budget for new caches, a token of the home
    /// issuer is first checked with that issuer's own keys: tokens that name invented clients must
    /// not keep others out.
    ///
    /// # Errors
    /// `KeyUndecided` beyond the budget, or `Invalid` if the signature does not fit.
    async fn new_cache(
        &self,
        token: &CompactToken<'_>,
        kid: &str,
        address: &Arc<KeyAddress>,
    ) -> Result<KeyCache<S>, AuthError> {
        let evidence = self.evidence(token, kid, address)?;
        let beyond_budget = match self.pool.get_or_create(address, evidence) {
            Ok(keys) => return Ok(keys),
            Err(error) => error,
        };
        if !self.rules.is_home(address) {
            return Err(beyond_budget);
        }
        let home = KeyAddress { client: None, ..KeyAddress::clone(address) };
        let home = self.pool.get_or_create(&Arc::new(home), Evidence::Good)?;
        match home.key(kid).await {
            Ok(found) => {
                VerifiedPayload::check(token, &found.key)?;
                self.pool.get_or_create(address, Evidence::Good)
            }
            // IAS may have other keys for this client.
            Err(KeyError::Unknown) => Err(beyond_budget),
            Err(error @ (KeyError::Unavailable { .. } | KeyError::Undecided { .. })) => {
                Err(key_error(error))
            }
        }
    }

    /// Returns what is known about a token of a new client, before its key set is fetched. An
    /// issuer signs for all its clients with the same keys. So a key that is already known tells a
    /// forged token from a genuine one without a fetch.
    ///
    /// # Errors
    /// [`AuthRejection::Signature`].
    fn evidence(
        &self,
        token: &CompactToken<'_>,
        kid: &str,
        address: &KeyAddress,
    ) -> Result<Evidence, AuthRejection> {
        if let Some(known) = self.pool.known_key(&address.issuer, kid) {
            VerifiedPayload::check(token, &known.key)?;
            return Ok(Evidence::Good);
        }
        Ok(if self.rules.is_configured_client(address) { Evidence::Good } else { Evidence::None })
    }

    /// Returns the generation of the usable keys of an address; `None` without any.
    pub(super) fn generation(&self, address: &KeyAddress) -> Option<u64> {
        self.pool.generation(address)
    }
}

/// Whether a token has the form of an IAS token. XSUAA always names its token endpoint as issuer.
///
/// # Errors
/// [`AuthRejection::ClaimsMalformed`].
pub(super) fn looks_like_ias(token: &CompactToken<'_>) -> Result<bool, AuthRejection> {
    let claims = IssuerClaims::read(&jose::unverified_payload(token)?)?;
    let is_other = |issuer: &str| !issuer.ends_with("/oauth/token");
    Ok(claims.ias_iss.is_some() || claims.iss.as_deref().is_some_and(is_other))
}

/// One discovery per issuer, shared by its addresses. It is dropped with the last of them.
#[derive(Default)]
struct DiscoveryPool(Mutex<HashMap<Issuer, Weak<Discovery>>>);

impl DiscoveryPool {
    fn get_or_create(&self, issuer: &Issuer, make: impl FnOnce() -> Discovery) -> Arc<Discovery> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(discovery) = known.get(issuer).and_then(Weak::upgrade) {
            return discovery;
        }
        known.retain(|_, discovery| discovery.strong_count() > 0);
        let discovery = Arc::new(make());
        known.insert(issuer.clone(), Arc::downgrade(&discovery));
        discovery
    }
}
