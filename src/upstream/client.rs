//! One request, one response: target check, time-outs, size caps.
//!
//! Invariant: the target goes on the wire as it was given, byte for byte, and over plain http only
//! to a loopback host. Callers: all modules that speak HTTP.

use crate::upstream::{
    Timeouts, body,
    error::TransportError,
    hyper_client::HyperClient,
    stream::{ClientBody, ResponseBody, StreamedResponse},
    target,
};
use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use std::{fmt, sync::Arc};
use tokio::time::{Instant, timeout_at};
use zeroize::Zeroizing;

/// Larger heads are refused. BTP's router lets no larger head pass, so only a broken or hostile
/// peer sends one. The libraries cap the number of headers at 100.
const MAX_HEAD: usize = 64 * 1024;

/// Sends requests: https, or plain http to loopback hosts. A clone is shallow.
#[derive(Clone, Debug)]
pub struct HttpClient {
    library: ClientLibrary,
    timeouts: Timeouts,
}

/// The HTTP library that sends (decision 7).
#[derive(Clone, Debug)]
pub(super) enum ClientLibrary {
    /// reqwest: everything but the CF API. HTTP/2 and client certificates.
    Reqwest(reqwest::Client),
    /// hyper: the CF API, with less than half of the instructions.
    Hyper(Arc<HyperClient>),
}

impl HttpClient {
    pub(super) fn new(library: ClientLibrary, timeouts: Timeouts) -> Self {
        Self { library, timeouts }
    }

    /// Sends a request and reads the whole response, at most `cap` bytes.
    ///
    /// # Errors
    /// [`TransportError`]. Any status is a response, redirects included.
    ///
    /// # Cancel safety
    /// Dropping the future closes the connection or resets the stream. The request may have been
    /// executed.
    pub async fn fetch(
        &self,
        request: Request<Bytes>,
        cap: usize,
    ) -> Result<HttpResponse, TransportError> {
        let incoming = self.send(request).await?;
        incoming.read(cap).await
    }

    /// Sends a request and waits for the head only: for callers who need the status even if the
    /// body is too large.
    ///
    /// # Errors
    /// [`TransportError`], as [`HttpClient::fetch`].
    pub async fn send(&self, request: Request<Bytes>) -> Result<IncomingResponse, TransportError> {
        self.send_until(request, None).await
    }

    /// As [`HttpClient::send`], with a deadline for head and body. It replaces a second timer
    /// around the call.
    ///
    /// # Errors
    /// [`TransportError`], as [`HttpClient::fetch`].
    pub async fn send_until(
        &self,
        request: Request<Bytes>,
        until: Option<Instant>,
    ) -> Result<IncomingResponse, TransportError> {
        let sent_at = Instant::now();
        let bounded = |end: Instant| until.map_or(end, |until| end.min(until));
        let head_until = bounded(sent_at + self.timeouts.head);
        let answer = match timeout_at(head_until, self.library.send(request)).await {
            Ok(answer) => answer?,
            Err(_elapsed) => return Err(TransportError::Timeout { source: None }),
        };
        if head_size(answer.headers()) > MAX_HEAD {
            return Err(TransportError::TooLarge);
        }
        let deadline = bounded(sent_at + self.timeouts.total);
        Ok(IncomingResponse { answer, sent_at, deadline })
    }
}

impl ClientLibrary {
    async fn send(&self, request: Request<Bytes>) -> Result<Response<ClientBody>, TransportError> {
        match self {
            Self::Reqwest(client) => {
                let executing = Box::pin(client.execute(to_reqwest(request)?));
                let answer: Response<reqwest::Body> = executing.await?.into();
                Ok(answer.map(ClientBody::Reqwest))
            }
            Self::Hyper(client) => Ok(client.send(request).await?.map(ClientBody::Hyper)),
        }
    }
}

/// Converts a request for reqwest, if its target may be called.
fn to_reqwest(request: Request<Bytes>) -> Result<reqwest::Request, TransportError> {
    let (parts, body) = request.into_parts();
    let url = target::parsed(&parts.uri).ok_or(TransportError::Refused)?;
    let mut request = reqwest::Request::new(parts.method, url);
    *request.headers_mut() = parts.headers;
    if !body.is_empty() {
        *request.body_mut() = Some(body.into());
    }
    Ok(request)
}

/// A response whose body is still on the wire.
pub struct IncomingResponse {
    answer: Response<ClientBody>,
    sent_at: Instant,
    deadline: Instant,
}

impl IncomingResponse {
    /// Returns the status.
    pub fn status(&self) -> StatusCode {
        self.answer.status()
    }

    /// Returns the headers.
    pub fn headers(&self) -> &HeaderMap {
        self.answer.headers()
    }

    /// Reads the whole body, at most `cap` bytes and never past the call's time-out.
    ///
    /// # Errors
    /// [`TransportError::TooLarge`], [`TransportError::Timeout`], [`TransportError::Interrupted`].
    pub async fn read(self, cap: usize) -> Result<HttpResponse, TransportError> {
        let sent_at = self.sent_at;
        let StreamedResponse { status, headers, body } = self.into_body(cap)?;
        let body = body::read_whole(body).await?;
        Ok(HttpResponse { status, headers, body, sent_at })
    }

    /// Returns the body as a stream, at most `cap` bytes and never past the call's time-out.
    ///
    /// # Errors
    /// [`TransportError::TooLarge`] when more than `cap` bytes are announced. Later failures end
    /// the body: [`TransportError::TooLarge`], [`TransportError::Timeout`],
    /// [`TransportError::Interrupted`].
    pub fn into_body(self, cap: usize) -> Result<StreamedResponse, TransportError> {
        let (parts, source) = self.answer.into_parts();
        let body = ResponseBody::bounded(source, cap, self.deadline)?;
        Ok(StreamedResponse { status: parts.status, headers: parts.headers, body })
    }
}

impl fmt::Debug for IncomingResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IncomingResponse")
            .field("status", &self.status())
            .field("headers", &self.headers().len())
            .finish_non_exhaustive()
    }
}

/// A complete response. `Debug` shows status and sizes only.
pub struct HttpResponse {
    /// Any status, 3xx included.
    pub status: StatusCode,
    /// As received.
    pub headers: HeaderMap,
    /// At most the cap; wiped on drop.
    pub body: Zeroizing<Vec<u8>>,
    /// When the request was sent. Lifetimes of tokens count from here.
    pub sent_at: Instant,
}

impl fmt::Debug for HttpResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpResponse")
            .field("status", &self.status)
            .field("headers", &self.headers.len())
            .field("body", &self.body.len())
            .finish_non_exhaustive()
    }
}

fn head_size(headers: &HeaderMap) -> usize {
    // Four bytes for each line: colon, blank, CR and LF.
    headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum()
}
