//! One request, one answer: target check, time-outs, size caps.
//!
//! Invariant: what goes on the wire is the target that was asked for, byte for byte, and over plain
//! text only to a loopback host. Callers are all rooms that speak HTTP.

use crate::upstream::{
    Timeouts, body,
    error::TransportError,
    stream::{Body, Streamed},
};
use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode, Uri};
use std::fmt;
use tokio::time::{Instant, timeout_at};
use url::{Host, Url};
use zeroize::Zeroizing;

/// Heads beyond this are refused: BTP's router itself lets no more pass (`proxy.md` 7), so only a
/// broken or hostile peer sends more (R35). The number of headers is capped at 100 by the library.
const MAX_HEAD: usize = 64 * 1024;

/// Sends one request; a clone is shallow. https only, except to loopback hosts.
#[derive(Clone, Debug)]
pub struct HttpClient {
    client: reqwest::Client,
    timeouts: Timeouts,
}

impl HttpClient {
    pub(super) fn new(client: reqwest::Client, timeouts: Timeouts) -> Self {
        Self { client, timeouts }
    }

    /// Sends and reads the whole answer, at most `cap` bytes.
    ///
    /// # Errors
    /// [`TransportError`]; any status is an answer, redirects included.
    ///
    /// # Cancel safety
    /// Dropping the future closes the connection or resets the stream; the request may have been
    /// executed all the same.
    pub async fn fetch(
        &self,
        request: Request<Bytes>,
        cap: usize,
    ) -> Result<Answer, TransportError> {
        let incoming = self.send(request).await?;
        incoming.read(cap).await
    }

    /// Sends and waits for the head only: for callers who must know the status even if the body
    /// turns out to be too large.
    ///
    /// # Errors
    /// [`TransportError`], as [`HttpClient::fetch`].
    pub async fn send(&self, request: Request<Bytes>) -> Result<Incoming, TransportError> {
        let request = checked(request)?;
        let sent_at = Instant::now();
        let head = timeout_at(sent_at + self.timeouts.head, self.client.execute(request));
        let response = match head.await {
            Ok(response) => response?,
            Err(_elapsed) => return Err(TransportError::Timeout { source: None }),
        };
        if head_size(response.headers()) > MAX_HEAD {
            return Err(TransportError::TooLarge);
        }
        Ok(Incoming { response, sent_at, deadline: sent_at + self.timeouts.total })
    }
}

/// An answer whose body is still on the wire.
pub struct Incoming {
    response: reqwest::Response,
    sent_at: Instant,
    deadline: Instant,
}

impl Incoming {
    /// Returns the status.
    pub fn status(&self) -> StatusCode {
        self.response.status()
    }

    /// Returns the headers.
    pub fn headers(&self) -> &HeaderMap {
        self.response.headers()
    }

    /// Reads the whole body, at most `cap` bytes and never past the call's time-out.
    ///
    /// # Errors
    /// [`TransportError::TooLarge`], [`TransportError::Timeout`], [`TransportError::Interrupted`].
    pub async fn read(mut self, cap: usize) -> Result<Answer, TransportError> {
        let status = self.response.status();
        let headers = std::mem::take(self.response.headers_mut());
        let body = match timeout_at(self.deadline, body::read_capped(&mut self.response, cap)).await
        {
            Ok(body) => body?,
            Err(_elapsed) => return Err(TransportError::Timeout { source: None }),
        };
        Ok(Answer { status, headers, body, sent_at: self.sent_at })
    }

    /// Hands the body on as it comes, at most `cap` bytes and never past the call's time-out.
    ///
    /// # Errors
    /// [`TransportError::TooLarge`] when more than `cap` bytes are announced. What is found out later
    /// ends the body: [`TransportError::TooLarge`], [`TransportError::Timeout`],
    /// [`TransportError::Interrupted`].
    pub fn into_body(mut self, cap: usize) -> Result<Streamed, TransportError> {
        let status = self.response.status();
        let headers = std::mem::take(self.response.headers_mut());
        let body = Body::bounded(self.response.into(), cap, self.deadline)?;
        Ok(Streamed { status, headers, body })
    }
}

impl fmt::Debug for Incoming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Incoming")
            .field("status", &self.status())
            .field("headers", &self.headers().len())
            .finish_non_exhaustive()
    }
}

/// A complete answer. `Debug` shows status and sizes only.
pub struct Answer {
    /// Whatever the other side said, 3xx included.
    pub status: StatusCode,
    /// As received.
    pub headers: HeaderMap,
    /// At most the cap; wiped on drop.
    pub body: Zeroizing<Vec<u8>>,
    /// When the request was handed to the wire: lifetimes count from here.
    pub sent_at: Instant,
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer")
            .field("status", &self.status)
            .field("headers", &self.headers.len())
            .field("body", &self.body.len())
            .finish_non_exhaustive()
    }
}

/// Returns whether a URL names this very machine: `127.0.0.0/8`, `::1` or `localhost`
/// (`callers.md` 4). Only there plain `http` is spoken.
pub fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name.eq_ignore_ascii_case("localhost"),
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

/// Turns a request into the library's, if its target may be called at all.
fn checked(request: Request<Bytes>) -> Result<reqwest::Request, TransportError> {
    let (parts, body) = request.into_parts();
    let url = Url::parse(&parts.uri.to_string()).map_err(|_| TransportError::Refused)?;
    if !is_speakable(&url) || !is_same_target(&parts.uri, &url) {
        return Err(TransportError::Refused);
    }
    let mut request = reqwest::Request::new(parts.method, url);
    *request.headers_mut() = parts.headers;
    if !body.is_empty() {
        *request.body_mut() = Some(body.into());
    }
    Ok(request)
}

fn is_speakable(url: &Url) -> bool {
    let is_private = url.scheme() == "https" || (url.scheme() == "http" && is_loopback(url));
    is_private && url.username().is_empty() && url.password().is_none()
}

/// Compares what was asked for with what the library will ask for. URL parsing folds dot segments
/// (also `%2e%2e`), backslashes and odd spellings of addresses; whatever it changed is refused, so
/// that a rule which judged the path has judged the path that is sent.
fn is_same_target(uri: &Uri, url: &Url) -> bool {
    let port = uri.port_u16().or_else(|| default_port(uri));
    uri.scheme_str() == Some(url.scheme())
        && uri
            .host()
            .zip(url.host_str())
            .is_some_and(|(asked, parsed)| asked.eq_ignore_ascii_case(parsed))
        && port == url.port_or_known_default()
        && uri.path() == url.path()
}

fn default_port(uri: &Uri) -> Option<u16> {
    match uri.scheme_str() {
        Some("https") => Some(443),
        Some("http") => Some(80),
        _ => None,
    }
}

fn head_size(headers: &HeaderMap) -> usize {
    // Four bytes a line: colon, blank, CR and LF.
    headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum()
}
