//! Fetches XSUAA's `/token_keys`: one URL for each zone.
//!
//! Invariant: the URL is built from the binding and a configured zone, never from a token. A
//! [`KeySource`] for [`key_cache`](super::key_cache). [`ias`](super::ias) reads answers with the
//! same function.

use super::{
    cached_key_set::Fetched,
    jwks::{DOCUMENT_LIMIT, KeySet, KeySetError},
    source::KeySource,
};
use crate::upstream::{
    ConnectFault, HttpClient, HttpResponse, TransportError,
    retry::{RETRY_AFTER_CAP, RetryDecision, asked_pause, retry},
};
use bytes::Bytes;
use http::{HeaderValue, Request, StatusCode, header};
use std::time::Duration;
use tokio::time::Instant;

/// Fetches the keys of one zone.
pub(super) struct KeysEndpoint {
    client: HttpClient,
    url: String,
}

/// Why there are no keys in an answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum KeysFault {
    /// The URL or the `ETag` cannot be sent.
    #[error("request cannot be built")]
    Request(#[from] http::Error),
    /// No complete answer within the limits.
    #[error("no answer")]
    Transport(#[from] TransportError),
    /// Any status except 200 and an expected 304. Redirects are not followed.
    #[error("status {}", .0.status)]
    Status(RefusedStatus),
    /// The answer is no key set.
    #[error("unusable answer")]
    Document(#[from] KeySetError),
    /// A set in which no key may verify a token. It would end the keys that are in use.
    #[error("key set without a usable key")]
    NoUsableKey,
}

/// A status that is no success.
#[derive(Clone, Copy, Debug)]
pub(super) struct RefusedStatus {
    /// The status.
    pub(super) status: StatusCode,
    /// The answer's `Retry-After`.
    asked_pause: Option<Duration>,
}

impl RefusedStatus {
    /// The status of an answer.
    pub(super) fn of(answer: &HttpResponse) -> Self {
        let asked_pause = asked_pause(&answer.headers, RETRY_AFTER_CAP);
        Self { status: answer.status, asked_pause }
    }

    /// Whether and when the call is repeated.
    pub(super) fn again(self) -> RetryDecision {
        RetryDecision::after_status(self.status, self.asked_pause)
    }

    /// The pause that the issuer asked for. Only with a status that waiting may change.
    pub(super) fn asked_pause(self) -> Option<Duration> {
        self.asked_pause.filter(|_| self.again() != RetryDecision::No)
    }
}

impl KeysFault {
    /// Whether and when the call is repeated; see `docs/reference/limits.md`.
    pub(super) fn again(&self) -> RetryDecision {
        match self {
            Self::Transport(error) => RetryDecision::after_error(error),
            Self::Status(refused) => refused.again(),
            Self::Document(KeySetError::Malformed) | Self::NoUsableKey => RetryDecision::UNREADABLE,
            Self::Document(KeySetError::TooMany) | Self::Request(_) => RetryDecision::No,
        }
    }

    /// Why no connection was made; `None` if one was made.
    pub(super) fn connect_fault(&self) -> Option<ConnectFault> {
        match self {
            Self::Transport(error) => error.connect_fault(),
            Self::Request(_) | Self::Status(_) | Self::Document(_) | Self::NoUsableKey => None,
        }
    }

    /// The pause that the issuer asked for.
    pub(super) fn asked_pause(&self) -> Option<Duration> {
        match self {
            Self::Status(refused) => refused.asked_pause(),
            Self::Request(_) | Self::Transport(_) | Self::Document(_) | Self::NoUsableKey => None,
        }
    }
}

impl KeysEndpoint {
    /// Makes the source for `url`.
    pub(super) fn new(client: HttpClient, url: String) -> Self {
        Self { client, url }
    }

    async fn ask(&self, etag: Option<HeaderValue>) -> Result<Fetched, KeysFault> {
        let is_conditional = etag.is_some();
        let mut request = Request::get(&self.url).header(header::ACCEPT, "application/json");
        if let Some(etag) = etag {
            request = request.header(header::IF_NONE_MATCH, etag);
        }
        let answer = self.client.fetch(request.body(Bytes::new())?, DOCUMENT_LIMIT).await?;
        read(&answer, is_conditional)
    }
}

impl KeySource for KeysEndpoint {
    type Fault = KeysFault;

    async fn fetch(
        &self,
        etag: Option<HeaderValue>,
        retry_until: Instant,
    ) -> Result<Fetched, KeysFault> {
        retry(retry_until, || self.ask(etag.clone()), KeysFault::again).await
    }

    fn asked_pause(fault: &KeysFault) -> Option<Duration> {
        fault.asked_pause()
    }

    fn connect_fault(fault: &KeysFault) -> Option<ConnectFault> {
        fault.connect_fault()
    }
}

/// Reads the answer of a key endpoint. 304 is accepted only if the request had an `ETag`.
///
/// # Errors
/// [`KeysFault::Status`], [`KeysFault::Document`] or [`KeysFault::NoUsableKey`].
pub(super) fn read(answer: &HttpResponse, is_conditional: bool) -> Result<Fetched, KeysFault> {
    match answer.status {
        StatusCode::OK => {
            let keys = KeySet::parse(&answer.body)?;
            if keys.len() == 0 {
                return Err(KeysFault::NoUsableKey);
            }
            Ok(Fetched::Keys { keys, etag: answer.headers.get(header::ETAG).cloned() })
        }
        StatusCode::NOT_MODIFIED if is_conditional => Ok(Fetched::Unchanged),
        _ => Err(KeysFault::Status(RefusedStatus::of(answer))),
    }
}
