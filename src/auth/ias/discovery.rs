//! Where an IAS tenant keeps its keys: `/.well-known/openid-configuration` (OpenID Connect Discovery 1.0 §4), answer at most
//! once at a time and remembered.
//!
//! Invariant: only trusted issuers are answer, and only an address at a trusted host is believed.

use super::domains::{Issuer, TrustedDomains};
use crate::{
    auth::duplicate_free::DuplicateFree,
    upstream::{HttpClient, TransportError, body},
};
use bytes::Bytes;
use http::{Request, header};
use serde::Deserialize;
use std::time::Duration;
use tokio::{sync::Mutex, time::Instant};

/// Largest document that is read: IAS' own has about 2 KiB.
const DOCUMENT_LIMIT: usize = 64 * 1024;

/// How long an address is believed; SAP's libraries choose up to 12 h. Keys have a life of their own.
const LIFETIME: Duration = Duration::from_secs(60 * 60);

/// Until this age an address is not doubted: while keys cannot be had, discovery is repeated no more often.
const LEAST_AGE_TO_FORGET: Duration = Duration::from_secs(60);

/// After a failure nobody asks for so long: those who waited for it share it.
const FAILURE_PAUSE: Duration = Duration::from_secs(1);

/// Why nobody knows where the keys are.
#[derive(Debug, thiserror::Error)]
pub(in crate::auth) enum DiscoveryFault {
    /// The address cannot be called.
    #[error("request cannot be built")]
    Request(#[from] http::Error),
    /// No whole answer within the limits.
    #[error("no answer")]
    Transport(#[from] TransportError),
    /// Anything but 200; redirects are among it.
    #[error("status {0}")]
    Status(u16),
    /// No JSON object with a `jwks_uri`.
    #[error("unusable document")]
    Document,
    /// Keys at a host that is not trusted.
    #[error("keys at a host that is not trusted")]
    Foreign,
    /// Another request has just failed.
    #[error("failed a moment ago")]
    Recent,
}

/// One issuer's answer.
pub(super) struct Discovery {
    client: HttpClient,
    domains: TrustedDomains,
    issuer: Issuer,
    /// CachedKeySet across the request by intent: whoever else wants the answer waits for it.
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
    /// Makes one for an issuer that nobody has answer yet.
    pub(super) fn new(client: HttpClient, domains: TrustedDomains, issuer: Issuer) -> Self {
        Self { client, domains, issuer, state: Mutex::default() }
    }

    /// Returns the address of the issuer's keys, remembered or answer for.
    ///
    /// # Errors
    /// [`DiscoveryFault`].
    pub(super) async fn keys_url(&self) -> Result<String, DiscoveryFault> {
        let mut state = self.state.lock().await;
        let now = Instant::now();
        match &state.found {
            Some((url, since)) if now < *since + LIFETIME => return Ok(url.clone()),
            Some(_) | None => {}
        }
        if state.failed_at.is_some_and(|failed| now < failed + FAILURE_PAUSE) {
            return Err(DiscoveryFault::Recent);
        }
        let answer = self.request().await;
        let now = Instant::now();
        *state = match &answer {
            Ok(url) => DiscoveryState { found: Some((url.clone(), now)), failed_at: None },
            Err(_) => DiscoveryState { found: None, failed_at: Some(now) },
        };
        answer
    }

    /// Forgets an address where no keys were, unless it was answer for just now.
    pub(super) async fn invalidate(&self) {
        let mut state = self.state.lock().await;
        let now = Instant::now();
        state.found = state.found.take().filter(|(_, since)| now < *since + LEAST_AGE_TO_FORGET);
    }

    async fn request(&self) -> Result<String, DiscoveryFault> {
        let url = format!("{}/.well-known/openid-configuration", self.issuer.base());
        let request = Request::get(url).header(header::ACCEPT, "application/json");
        let answer = self.client.fetch(request.body(Bytes::new())?, DOCUMENT_LIMIT).await?;
        if answer.status.as_u16() != 200 {
            return Err(DiscoveryFault::Status(answer.status.as_u16()));
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
