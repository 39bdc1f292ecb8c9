//! Where the keys of an IAS tenant are: `/.well-known/openid-configuration` (OpenID Connect
//! Discovery 1.0 §4). One request at a time; the answer is cached.
//!
//! Invariant: only trusted issuers are called, and only a URL at a trusted host is accepted. For
//! [`IasEndpoint`](super::IasEndpoint) only.

use super::domains::{Issuer, TrustedDomains};
use crate::{
    auth::{duplicate_free::DuplicateFree, endpoint::RefusedStatus, source::RETRY_TIME},
    upstream::{
        ConnectFault, HttpClient, TransportError, body,
        refresh::{
            PreviousValue, Refreshed, Renew, RenewalAttempt, RenewalFailure, RenewalResult,
            ValueAge,
        },
        retry::{RetryDecision, retry},
    },
};
use bytes::Bytes;
use http::{Request, StatusCode, header};
use serde::Deserialize;
use std::{sync::Arc, time::Duration};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

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
    /// A bug of the broker.
    #[error("the request has broken off")]
    Panicked,
}

impl DiscoveryFault {
    /// Whether and when the call is repeated; see `docs/reference/limits.md`.
    fn again(&self) -> RetryDecision {
        match self {
            Self::Transport(error) => RetryDecision::after_error(error),
            Self::Status(refused) => refused.again(),
            Self::Document => RetryDecision::UNREADABLE,
            Self::Request(_) | Self::Foreign | Self::Panicked => RetryDecision::No,
        }
    }

    /// Why no connection was made; `None` if one was made.
    pub(super) fn connect_fault(&self) -> Option<ConnectFault> {
        match self {
            Self::Transport(error) => error.connect_fault(),
            Self::Request(_)
            | Self::Status(_)
            | Self::Document
            | Self::Foreign
            | Self::Panicked => None,
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
            | Self::Panicked => None,
        }
    }
}

/// The discovery of one issuer, with its cached answer.
pub(super) struct Discovery(Refreshed<DiscoveryRequest>);

/// Asks one issuer.
pub(super) struct DiscoveryRequest {
    pub(super) client: HttpClient,
    pub(super) domains: TrustedDomains,
    pub(super) issuer: Issuer,
    /// Whether it is the bound issuer. Any other one may only be named by an unverified token.
    pub(super) is_home: bool,
}

pub(super) struct FoundUrl {
    url: String,
    since: Instant,
    /// The keys could not be fetched from it: it may have changed.
    is_doubtful: bool,
}

#[derive(Deserialize)]
struct DiscoveryDocument {
    jwks_uri: String,
}

impl Discovery {
    /// Makes a discovery without an answer.
    pub(super) fn new(request: DiscoveryRequest, tasks: TaskTracker) -> Self {
        Self(Refreshed::new(request, tasks))
    }

    /// Returns the URL of the issuer's keys, from the cache or from a request. If the request
    /// fails, the last URL is used again: it may still work.
    ///
    /// # Errors
    /// [`DiscoveryFault`].
    pub(super) async fn keys_url(&self) -> Result<String, Arc<DiscoveryFault>> {
        let found = match self.0.get().await {
            Ok(found) => found,
            Err(failure) => self.0.latest().ok_or(failure.error)?,
        };
        Ok(found.url.clone())
    }

    /// Doubts the URL after a failed fetch of keys, unless it is very young.
    pub(super) fn invalidate(&self) {
        let Some(found) = self.0.latest() else { return };
        if !found.is_doubtful && Instant::now() >= found.since + SHORTEST_LIFETIME {
            let (url, since) = (found.url.clone(), found.since);
            self.0.replace(&found, Some(FoundUrl { url, since, is_doubtful: true }));
        }
    }
}

impl Renew for DiscoveryRequest {
    type Value = FoundUrl;
    type Error = Arc<DiscoveryFault>;

    async fn renew(
        &self,
        attempt: RenewalAttempt<Self>,
    ) -> RenewalResult<FoundUrl, Arc<DiscoveryFault>> {
        let now = Instant::now();
        // The time for repeats is left to the keys if they may still be at the last URL.
        let is_patient = self.is_home && attempt.previous.is_none() && attempt.failures == 0;
        let retry_until = if is_patient { now + RETRY_TIME } else { now };
        let answer = retry(retry_until, || self.ask(), DiscoveryFault::again).await;
        let since = Instant::now();
        answer.map(|url| FoundUrl { url, since, is_doubtful: false }).map_err(|fault| {
            // The issuer itself names another place by now.
            let is_moved = matches!(fault, DiscoveryFault::Foreign);
            let previous = if is_moved { PreviousValue::Removed } else { PreviousValue::Kept };
            let failure = RenewalFailure::new(Arc::new(fault), since + FAILURE_PAUSE);
            RenewalFailure { previous, ..failure }
        })
    }

    fn age(&self, found: &FoundUrl, now: Instant) -> ValueAge {
        if found.is_doubtful || now >= found.since + LIFETIME {
            ValueAge::Expired
        } else {
            ValueAge::Fresh
        }
    }

    fn broken_off(&self, now: Instant) -> RenewalFailure<Arc<DiscoveryFault>> {
        RenewalFailure::new(Arc::new(DiscoveryFault::Panicked), now + FAILURE_PAUSE)
    }
}

impl DiscoveryRequest {
    async fn ask(&self) -> Result<String, DiscoveryFault> {
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
    use super::{Discovery, DiscoveryFault, DiscoveryRequest, LIFETIME, SHORTEST_LIFETIME};
    use crate::{
        auth::ias::domains::TrustedDomains,
        upstream::{
            ClientFactory, Purpose, Settings,
            raw_server::{RawServer, Reply},
        },
    };
    use tokio::time::advance;
    use tokio_util::task::TaskTracker;

    fn document(url: &str) -> Reply {
        Reply::json("200 OK", &format!(r#"{{"jwks_uri":"{url}"}}"#))
    }

    async fn discovery(replies: Vec<Reply>) -> (Discovery, RawServer) {
        let server = RawServer::answering(replies).await;
        let domains = TrustedDomains::from_names(&["127.0.0.1".to_owned()]);
        let issuer = domains.issuer(&server.url("")).unwrap();
        let factory = ClientFactory::new(&Settings::default()).unwrap();
        let client = factory.client(Purpose::Keys).unwrap();
        let request = DiscoveryRequest { client, domains, issuer, is_home: true };
        (Discovery::new(request, TaskTracker::new()), server)
    }

    #[tokio::test(start_paused = true)]
    async fn a_failed_discovery_keeps_the_url_that_worked() {
        let down = || Reply::json("404 Not Found", "");
        let first = document("http://127.0.0.1/certs");
        let moved = document("http://127.0.0.1/moved");
        let (discovery, server) = discovery(vec![first, down(), down(), moved]).await;
        let ask = || discovery.keys_url();
        assert_eq!(ask().await.unwrap(), "http://127.0.0.1/certs");
        advance(LIFETIME).await;
        assert_eq!(ask().await.unwrap(), "http://127.0.0.1/certs");
        advance(SHORTEST_LIFETIME).await;
        discovery.invalidate();
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
        discovery.keys_url().await.unwrap();
        advance(LIFETIME).await;
        let outcome = discovery.keys_url().await;
        let fault = outcome.unwrap_err();
        assert!(matches!(*fault, DiscoveryFault::Foreign), "{fault:?}");
    }
}
