//! Identity Authentication (IAS) as the second issuer (`callers.md` 6): off unless bound and switched on.
//!
//! Invariant: as for XSUAA, before the signature is checked a token can only be refused. Nobody but issuers below the
//! bound domains is asked for keys, and only for tenants that may call; what a token may choose freely, the label below a
//! domain and the client, is bounded in number and in pace by [`table`]. For [`issuers`](super::issuers) only.

mod claims;
mod discovery;
mod domains;
mod endpoint;
mod rules;
mod settings;
mod table;

pub use settings::IasSettings;

pub(super) use endpoint::IasEndpoint;
pub(super) use rules::Rules;

use super::{
    AuthError,
    bearer::CompactToken,
    error::Refusal,
    issuer::{KeysOf, Verified, refused},
    jose::{self, VerifiedPayload},
    source::KeySource,
};
use crate::{telemetry::metrics::Metrics, upstream::HttpClient};
use claims::{IasClaims, Marks};
use discovery::Discovery;
use domains::Issuer;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::SystemTime,
};
use table::{KeyTable, Make, Warrant};
use tokio_util::task::TaskTracker;

/// Whose keys are asked for, and on whose behalf.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Address {
    /// The IAS tenant's own address.
    issuer: Issuer,
    /// `app_tid`: the provider's tenant, or a configured one.
    tenant: String,
    /// `azp`.
    client: Option<String>,
}

/// The bound IAS: its rules, and the keys of each address.
pub(super) struct IasIssuer<S> {
    rules: Arc<Rules>,
    table: KeyTable<S>,
}

impl IasIssuer<IasEndpoint> {
    /// Makes the issuer; keys are fetched with `client`, on `tasks`.
    pub(super) fn over(
        rules: Rules,
        client: HttpClient,
        tasks: TaskTracker,
        metrics: Metrics,
    ) -> Self {
        let rules = Arc::new(rules);
        let discoveries = Discoveries::default();
        let known = Arc::clone(&rules);
        let make = move |address: &Arc<Address>| {
            let discovery = discoveries.of(&address.issuer, || {
                Discovery::new(client.clone(), known.domains().clone(), address.issuer.clone())
            });
            let place = (Arc::clone(address), known.is_home(address));
            IasEndpoint::new(client.clone(), discovery, known.client_id().to_owned(), place)
        };
        Self::new(rules, Box::new(make), tasks, metrics)
    }
}

impl<S: KeySource> IasIssuer<S> {
    /// Makes the issuer; `make` makes the source of keys for an address.
    pub(super) fn new(
        rules: Arc<Rules>,
        make: Make<S>,
        tasks: TaskTracker,
        metrics: Metrics,
    ) -> Self {
        Self { rules, table: KeyTable::new(make, tasks, metrics) }
    }

    /// Whether this token is for these rules, whatever they will say.
    ///
    /// # Errors
    /// [`Refusal::ClaimsMalformed`].
    pub(super) fn claims(&self, token: &CompactToken<'_>) -> Result<bool, Refusal> {
        let marks = Marks::read(&jose::unverified_payload(token)?)?;
        Ok(self.rules.claim(&marks))
    }

    /// Judges a token in the order of `callers.md` 4.
    ///
    /// # Errors
    /// `Invalid`, or `KeysUnavailable` if the keys cannot be had.
    pub(super) async fn verify(
        &self,
        token: &CompactToken<'_>,
        now: SystemTime,
    ) -> Result<Verified, AuthError> {
        let kid = jose::key_id(token)?;
        let claimed = IasClaims::read(&jose::unverified_payload(token)?)?;
        let address = Arc::new(self.rules.judge(&claimed, now)?);
        let keys = match self.table.find(&address) {
            Some(keys) => keys,
            None => self.table.open(&address, self.warrant(token, &kid, &address)?)?,
        };
        let found = keys.key(&kid).await.map_err(refused)?;
        let payload = VerifiedPayload::check(token, &found.key)?;
        let (caller, expires) = self.rules.admit(&payload, now)?;
        self.table.prove(&address, &keys);
        Ok(Verified { caller, expires, keys: KeysOf::Ias(address), generation: found.generation })
    }

    /// What speaks for asking an issuer about a client that is new here. An issuer signs for all its clients with the same
    /// keys, so that a key which is known already tells a forged token from a genuine one, and nobody is asked.
    ///
    /// # Errors
    /// [`Refusal::Signature`].
    fn warrant(
        &self,
        token: &CompactToken<'_>,
        kid: &str,
        address: &Address,
    ) -> Result<Warrant, Refusal> {
        if let Some(known) = self.table.known_key(&address.issuer, kid) {
            VerifiedPayload::check(token, &known.key)?;
            return Ok(Warrant::Good);
        }
        Ok(if self.rules.expect(address) { Warrant::Good } else { Warrant::None })
    }

    /// How many keys the own IAS tenant hands out for the broker itself.
    ///
    /// # Errors
    /// `KeysUnavailable` if they cannot be had.
    pub(super) async fn probe(&self) -> Result<usize, AuthError> {
        let Some(home) = self.rules.home() else {
            return Ok(0);
        };
        self.table.open(&home, Warrant::Good)?.probe().await.map_err(refused)
    }

    /// The generation of the usable keys of an address; `None` without any.
    pub(super) fn generation(&self, address: &Address) -> Option<u64> {
        self.table.generation(address)
    }
}

/// What each issuer says about its keys' place, shared by its addresses, and gone with the last of them.
#[derive(Default)]
struct Discoveries(Mutex<HashMap<Issuer, Weak<Discovery>>>);

impl Discoveries {
    fn of(&self, issuer: &Issuer, make: impl FnOnce() -> Discovery) -> Arc<Discovery> {
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
