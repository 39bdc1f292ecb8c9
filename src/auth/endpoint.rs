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
use crate::upstream::{HttpClient, HttpResponse, TransportError};
use bytes::Bytes;
use http::{HeaderValue, Request, header};

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
    #[error("status {0}")]
    Status(u16),
    /// The answer is no key set.
    #[error("unusable answer")]
    Document(#[from] KeySetError),
}

impl KeysEndpoint {
    /// Makes the source for `url`.
    pub(super) fn new(client: HttpClient, url: String) -> Self {
        Self { client, url }
    }
}

impl KeySource for KeysEndpoint {
    type Fault = KeysFault;

    async fn fetch(&self, etag: Option<HeaderValue>) -> Result<Fetched, KeysFault> {
        let is_conditional = etag.is_some();
        let mut request = Request::get(&self.url).header(header::ACCEPT, "application/json");
        if let Some(etag) = etag {
            request = request.header(header::IF_NONE_MATCH, etag);
        }
        let answer = self.client.fetch(request.body(Bytes::new())?, DOCUMENT_LIMIT).await?;
        read(&answer, is_conditional)
    }
}

/// Reads the answer of a key endpoint. 304 is accepted only if the request had an `ETag`.
///
/// # Errors
/// [`KeysFault::Status`] or [`KeysFault::Document`].
pub(super) fn read(answer: &HttpResponse, is_conditional: bool) -> Result<Fetched, KeysFault> {
    match answer.status.as_u16() {
        200 => Ok(Fetched::Keys {
            keys: KeySet::parse(&answer.body)?,
            etag: answer.headers.get(header::ETAG).cloned(),
        }),
        304 if is_conditional => Ok(Fetched::Unchanged),
        status => Err(KeysFault::Status(status)),
    }
}
