//! XSUAA's `/token_keys` on the wire: one address for each zone.
//!
//! Invariant: the address is built from the binding and a configured zone, never from a token. For
//! [`key_cache`](super::key_cache), behind its port. How an answer is read is shared with
//! [`ias`](super::ias).

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
    /// The address or the `ETag` cannot be sent.
    #[error("request cannot be built")]
    Request(#[from] http::Error),
    /// No whole answer within the limits.
    #[error("no answer")]
    Transport(#[from] TransportError),
    /// An answer that is neither keys nor "unchanged"; redirects are among them.
    #[error("status {0}")]
    Status(u16),
    /// An answer that is no key set.
    #[error("unusable answer")]
    Document(#[from] KeySetError),
}

impl KeysEndpoint {
    /// Makes the fetcher for `url`.
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

/// What an answer of a key endpoint brings; only who sent an `ETag` believes "unchanged".
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
