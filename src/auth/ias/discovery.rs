//! Where the keys of an IAS tenant are: `/.well-known/openid-configuration` (OpenID Connect
//! Discovery 1.0 §4). One request at a time; the answer is cached.
//!
//! Invariant: only trusted issuers are called, and only a URL at a trusted host is accepted. For
//! [`IasEndpoint`](super::IasEndpoint) only.

use super::domains::{Issuer, TrustedDomains};
use crate::{
    auth::{duplicate_free::DuplicateFree, endpoint::RefusedStatus},
    upstream::{
        HttpClient, TransportError, body,
        retry::{RetryDecision, retry},
    },
};
use bytes::Bytes;
use http::{Request, StatusCode, header};
use serde::Deserialize;
use std::time::Duration;
use tokio::{sync::Mutex, time::Instant};

/// Largest accepted document. IAS' own has about 2 KiB.
const DOCUMENT_LIMIT: usize = 64 * 1024;

/// How long a URL is cached. SAP's libraries choose up to 12 h. The keys have a lifetime of their
/// own.
const LIFETIME: Duration = Duration::from_secs(60 * 60);

/// A URL younger than this is kept although the fetch of keys failed: discovery is not repeated
/// more often.
const SHORTEST_LIFETIME: Duration = Duration::from_secs(60);

/// No request for this time after a failure. All that waited for the failed request get the error.
const FAILURE_PAUSE: Duration = Duration::from_secs(1);

/// Why the URL of the keys is unknown.
#[derive(Debug, thiserror::Error)]
pub(in crate::auth) enum DiscoveryFault {
    /// The URL cannot be called.
    #[error("request cannot be built")]
    Request(#[from] http::Error),
    /// No complete answer within the limits.
    #[error("no answer")]
    Transport(#[from] TransportError),
    /// Any status except 200. Redirects are not followed.
    #[error("status {}", .0.status)]
    Status(RefusedStatus),
    /// The document is no JSON object with a `jwks_uri`.
    #[error("unusable document")]
    Document,
    /// The URL has a host that is not trusted.
    #[error("keys at a host that is not trusted")]
    Foreign,
    /// Another request has just failed.
    #[error("failed a moment ago")]
    Recent,
}

impl DiscoveryFault {
    /// Whether and when the call is repeated; see `docs/reference/limits.md`.
    fn again(&self) -> RetryDecision {
        match self {
            Self::Transport(error) => RetryDecision::after_error(error),
            Self::Status(refused) => refused.again(),
            Self::Document => RetryDecision::UNREADABLE,
            Self::Request(_) | Self::Foreign | Self::Recent => RetryDecision::No,
        }
    }

    /// The pause that the issuer asked for.
    pub(super) fn asked_pause(&self) -> Option<Duration> {
        match self {
            Self::Status(refused) => refused.asked_pause(),
            Self::Request(_)
            | Self::Transport(_)
            | Self::Document
            | Self::Foreign
            | Self::Recent => None,
        }
    }
}

/// The discovery of one issuer, with its cached answer.
pub(super) struct Discovery {
    client: HttpClient,
    domains: TrustedDomains,
    issuer: Issuer,
    /// Locked during the request on purpose: others that need the answer wait for it.
    state: Mutex<DiscoveryState>,
}

#[derive(Default)]
struct DiscoveryState {
    found: Option<(String, Instant)>,
    failed_at: Option<Instant>,
}

#[derive(Deserialize)]
struct DiscoveryDocument {
    jwks_uri: String,
}

impl Discovery {
    /// Makes a discovery without an answer.
    pub(super) fn new(client: HttpClient, domains: TrustedDomains, issuer: Issuer) -> Self {
        Self { client, domains, issuer, state: Mutex::default() }
    }

    /// Returns the URL of the issuer's keys, from the cache or from a request. The request is
    /// repeated by the retry table; no wait begins that ends after `retry_until`.
    ///
    /// # Errors
    /// [`DiscoveryFault`].
    pub(super) async fn keys_url(&self, retry_until: Instant) -> Result<String, DiscoveryFault> {
        let mut state = self.state.lock().await;
        let now = Instant::now();
        match &state.found {
            Some((url, since)) if now < *since + LIFETIME => return Ok(url.clone()),
            Some(_) | None => {}
        }
        if state.failed_at.is_some_and(|failed| now < failed + FAILURE_PAUSE) {
            return Err(DiscoveryFault::Recent);
        }
        let answer = retry(retry_until, || self.request(), DiscoveryFault::again).await;
        let now = Instant::now();
        *state = match &answer {
            Ok(url) => DiscoveryState { found: Some((url.clone(), now)), failed_at: None },
            Err(_) => DiscoveryState { found: None, failed_at: Some(now) },
        };
        answer
    }

    /// Forgets the URL after a failed fetch of keys, unless it is very young.
    pub(super) async fn invalidate(&self) {
        let mut state = self.state.lock().await;
        let now = Instant::now();
        state.found = state.found.take().filter(|(_, since)| now < *since + SHORTEST_LIFETIME);
    }

    async fn request(&self) -> Result<String, DiscoveryFault> {
        let url = format!("{}/.well-known/openid-configuration", self.issuer.base());
        let request = Request::get(url).header(header::ACCEPT, "application/json");
        let answer = self.client.fetch(request.body(Bytes::new())?, DOCUMENT_LIMIT).await?;
        if answer.status != StatusCode::OK {
            return Err(DiscoveryFault::Status(RefusedStatus::of(&answer)));
        }
        let document: DuplicateFree<DiscoveryDocument> =
            body::decode(&answer.body).map_err(|_| DiscoveryFault::Document)?;
        let DuplicateFree(DiscoveryDocument { jwks_uri }) = document;
        if self.domains.contains_url(&jwks_uri) {
            Ok(jwks_uri)
        } else {
            Err(DiscoveryFault::Foreign)
        }
    }
}
