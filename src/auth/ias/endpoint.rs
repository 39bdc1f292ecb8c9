//! Fetches the key set of an IAS tenant. IAS decides per client whether it returns keys, so the
//! request names the broker and the caller.
//!
//! Invariant: 400 is an answer: there are no keys for this client or tenant. It ends no keys that
//! are in use. Any other answer without a key set decides nothing. A [`KeySource`] for
//! [`key_cache`](crate::auth::key_cache).

use super::{
    KeyAddress,
    discovery::{Discovery, DiscoveryFault},
};
use crate::{
    auth::{
        cached_key_set::Fetched,
        endpoint::{self, KeysFault},
        jwks::DOCUMENT_LIMIT,
        source::KeySource,
    },
    upstream::{ConnectFault, HttpClient, retry::retry},
};
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request, StatusCode, header, request::Builder};
use std::{sync::Arc, time::Duration};
use tokio::time::Instant;

const OWN_CLIENT: HeaderName = HeaderName::from_static("x-client_id");
const TENANT: HeaderName = HeaderName::from_static("x-app_tid");
const CALLER: HeaderName = HeaderName::from_static("x-azp");

/// Fetches the keys for one address.
pub(in crate::auth) struct IasEndpoint {
    client: HttpClient,
    discovery: Arc<Discovery>,
    own_client: String,
    address: Arc<KeyAddress>,
    is_home: bool,
}

/// Why there are no keys.
#[derive(Debug, thiserror::Error)]
pub(in crate::auth) enum IasFault {
    /// The URL of the keys is unknown.
    #[error("discovery: {0}")]
    Discovery(#[from] Arc<DiscoveryFault>),
    /// The keys cannot be fetched.
    #[error("keys: {0}")]
    Keys(#[from] KeysFault),
}

impl IasEndpoint {
    /// Makes the source of an address. `own_client` is the broker's client id.
    pub(super) fn new(
        client: HttpClient,
        discovery: Arc<Discovery>,
        own_client: String,
        (address, is_home): (Arc<KeyAddress>, bool),
    ) -> Self {
        Self { client, discovery, own_client, address, is_home }
    }

    fn request(&self, url: &str, etag: Option<HeaderValue>) -> Builder {
        let mut request = Request::get(url)
            .header(header::ACCEPT, "application/json")
            .header(OWN_CLIENT, &self.own_client)
            .header(TENANT, &self.address.tenant);
        if let Some(caller) = &self.address.client {
            request = request.header(CALLER, caller);
        }
        if let Some(etag) = etag {
            request = request.header(header::IF_NONE_MATCH, etag);
        }
        request
    }

    async fn ask(&self, url: &str, etag: Option<HeaderValue>) -> Result<Fetched, KeysFault> {
        let is_conditional = etag.is_some();
        let request = self.request(url, etag).body(Bytes::new())?;
        let answer = self.client.fetch(request, DOCUMENT_LIMIT).await?;
        if answer.status == StatusCode::BAD_REQUEST {
            tracing::info!(
                issuer = self.address.issuer.base(),
                "IAS hands out no keys for a client or tenant"
            );
            return Ok(Fetched::NoKeys);
        }
        endpoint::read(&answer, is_conditional)
    }
}

impl KeySource for IasEndpoint {
    type Fault = IasFault;

    async fn fetch(
        &self,
        etag: Option<HeaderValue>,
        retry_until: Instant,
    ) -> Result<Fetched, IasFault> {
        let url = self.discovery.keys_url().await?;
        let fetched = retry(retry_until, || self.ask(&url, etag.clone()), KeysFault::again).await;
        if fetched.is_err() {
            self.discovery.invalidate();
        }
        Ok(fetched?)
    }

    fn asked_pause(fault: &IasFault) -> Option<Duration> {
        match fault {
            IasFault::Discovery(fault) => fault.asked_pause(),
            IasFault::Keys(fault) => fault.asked_pause(),
        }
    }

    fn connect_fault(fault: &IasFault) -> Option<ConnectFault> {
        match fault {
            IasFault::Discovery(fault) => fault.connect_fault(),
            IasFault::Keys(fault) => fault.connect_fault(),
        }
    }

    fn is_needed(&self) -> bool {
        self.is_home
    }
}
