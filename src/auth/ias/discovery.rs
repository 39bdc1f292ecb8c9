//! Where the keys of an IAS tenant are: `/.well-known/openid-configuration` (OpenID Connect
//! Discovery 1.0 §4). One request at a time; the answer is cached.
//!
//! Invariant: only trusted issuers are called, and only a URL at a trusted host is accepted. For
//! [`IasEndpoint`](super::IasEndpoint) only.

use super::domains::{Issuer, TrustedDomains};
use crate::{
    auth::{duplicate_free::DuplicateFree, endpoint::RefusedStatus},
    upstream::{
        ConnectFault, HttpClient, TransportError, body,
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
    /// Another request has just failed; the reason, if no connection was made.
    #[error("failed a moment ago")]
    Recent(Option<ConnectFault>),
}

impl DiscoveryFault {
    /// Whether and when the call is repeated; see `docs/reference/limits.md`.
    fn again(&self) -> RetryDecision {
        match self {
            Self::Transport(error) => RetryDecision::after_error(error),
            Self::Status(refused) => refused.again(),
            Self::Document => RetryDecision::UNREADABLE,
            Self::Request(_) | Self::Foreign | Self::Recent(_) => RetryDecision::No,
        }
    }

    /// Why no connection was made; `None` if one was made.
    pub(super) fn connect_fault(&self) -> Option<ConnectFault> {
        match self {
            Self::Transport(error) => error.connect_fault(),
            Self::Recent(cause) => *cause,
            Self::Request(_) | Self::Status(_) | Self::Document | Self::Foreign => None,
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
            | Self::Recent(_) => None,
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
    found: Option<FoundUrl>,
    failed: Option<FailedDiscovery>,
}

struct FoundUrl {
    url: String,
    since: Instant,
    /// The keys could not be fetched from it: it may have changed.
    is_doubtful: bool,
}

struct FailedDiscovery {
    at: Instant,
    cause: Option<ConnectFault>,
}

impl FoundUrl {
    fn is_current(&self, now: Instant) -> bool {
        !self.is_doubtful && now < self.since + LIFETIME
    }
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
    /// repeated by the retry table; no wait begins that ends after `retry_until`. If it fails, the
    /// last URL is used again: it may still work.
    ///
    /// # Errors
    /// [`DiscoveryFault`].
    pub(super) async fn keys_url(&self, retry_until: Instant) -> Result<String, DiscoveryFault> {
        let mut state = self.state.lock().await;
        let now = Instant::now();
        let last = match &state.found {
            Some(found) if found.is_current(now) => return Ok(found.url.clone()),
            Some(found) => Some(found.url.clone()),
            None => None,
        };
        if let Some(failed) = state.failed.as_ref().filter(|failed| now < failed.at + FAILURE_PAUSE)
        {
            return last.ok_or(DiscoveryFault::Recent(failed.cause));
        }
        // The time for repeats is left to the keys if they may still be at the last URL.
        let retry_until = if last.is_some() { now } else { retry_until };
        let answer = retry(retry_until, || self.request(), DiscoveryFault::again).await;
        let now = Instant::now();
        match answer {
            Ok(url) => {
                let found = FoundUrl { url: url.clone(), since: now, is_doubtful: false };
                *state = DiscoveryState { found: Some(found), failed: None };
                Ok(url)
            }
            Err(fault) => {
                state.failed = Some(FailedDiscovery { at: now, cause: fault.connect_fault() });
                // The issuer itself names another place by now.
                let last = last.filter(|_| !matches!(fault, DiscoveryFault::Foreign));
                last.ok_or(fault)
            }
        }
    }

    /// Doubts the URL after a failed fetch of keys, unless it is very young.
    pub(super) async fn invalidate(&self) {
        let mut state = self.state.lock().await;
        let now = Instant::now();
        if let Some(found) = state.found.as_mut() {
            found.is_doubtful |= now >= found.since + SHORTEST_LIFETIME;
        }
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

#[cfg(test)]
mod tests {
    use super::{Discovery, DiscoveryFault, LIFETIME, SHORTEST_LIFETIME};
    use crate::{
        auth::ias::domains::TrustedDomains,
        upstream::{
            ClientFactory, Purpose, Settings,
            raw_server::{RawServer, Reply},
        },
    };
    use tokio::time::{Instant, advance};

    fn document(url: &str) -> Reply {
        Reply::json("200 OK", &format!(r#"{{"jwks_uri":"{url}"}}"#))
    }

    async fn discovery(replies: Vec<Reply>) -> (Discovery, RawServer) {
        let server = RawServer::answering(replies).await;
        let domains = TrustedDomains::from_names(&["127.0.0.1".to_owned()]);
        let issuer = domains.issuer(&server.url("")).unwrap();
        let factory = ClientFactory::new(&Settings::default()).unwrap();
        (Discovery::new(factory.client(Purpose::Keys).unwrap(), domains, issuer), server)
    }

    #[tokio::test(start_paused = true)]
    async fn a_failed_discovery_keeps_the_url_that_worked() {
        let down = || Reply::json("404 Not Found", "");
        let first = document("http://127.0.0.1/certs");
        let moved = document("http://127.0.0.1/moved");
        let (discovery, server) = discovery(vec![first, down(), down(), moved]).await;
        let ask = || discovery.keys_url(Instant::now());
        assert_eq!(ask().await.unwrap(), "http://127.0.0.1/certs");
        advance(LIFETIME).await;
        assert_eq!(ask().await.unwrap(), "http://127.0.0.1/certs");
        advance(SHORTEST_LIFETIME).await;
        discovery.invalidate().await;
        assert_eq!(ask().await.unwrap(), "http://127.0.0.1/certs");
        // No further request within the pause.
        assert_eq!(ask().await.unwrap(), "http://127.0.0.1/certs");
        assert_eq!(server.seen().len(), 3);
        advance(SHORTEST_LIFETIME).await;
        assert_eq!(ask().await.unwrap(), "http://127.0.0.1/moved");
    }

    #[tokio::test(start_paused = true)]
    async fn an_issuer_whose_keys_are_now_elsewhere_is_not_served_from_memory() {
        let first = document("http://127.0.0.1/certs");
        let foreign = document("https://keys.example.com/certs");
        let (discovery, _server) = discovery(vec![first, foreign]).await;
        discovery.keys_url(Instant::now()).await.unwrap();
        advance(LIFETIME).await;
        let outcome = discovery.keys_url(Instant::now()).await;
        assert!(matches!(outcome, Err(DiscoveryFault::Foreign)), "{outcome:?}");
    }
}
