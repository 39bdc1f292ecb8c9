//! hyper-util's pooled client: HTTP/1.1 over the same TLS as reqwest's, at half the instructions
//! ([decision 7](../../docs/decisions/0007-two-http-clients.md)).
//!
//! Invariant: whatever one of the two clients refuses, or calls a failure of a kind, so does the
//! other; the tests beside `mod.rs` run against both. Only [`HttpClient`](super::HttpClient) calls it.

use crate::upstream::{
    KEEPALIVE_IDLE, KEEPALIVE_INTERVAL, KEEPALIVE_PROBES, POOL_IDLE, POOL_PER_HOST, USER_AGENT,
    error::{NoAddress, TransportError},
    target,
};
use bytes::Bytes;
use http::{
    HeaderValue, Request, Response, Uri,
    header::{ACCEPT, Entry, USER_AGENT as USER_AGENT_HEADER},
};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, MaybeHttpsStream};
use hyper_util::{
    client::legacy::{
        Client,
        connect::{
            HttpConnector,
            dns::{GaiAddrs, GaiResolver, Name},
        },
    },
    rt::{TokioExecutor, TokioIo, TokioTimer},
};
use rustls::{ClientConfig, DEFAULT_VERSIONS, crypto::aws_lc_rs, pki_types::CertificateDer};
use rustls_platform_verifier::Verifier;
use std::{
    error::Error,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::{net::TcpStream, time::timeout};
use tower::Service;

type BoxError = Box<dyn Error + Send + Sync>;
type Connecting<T, E> = Pin<Box<dyn Future<Output = Result<T, E>> + Send>>;

/// The client.
#[derive(Debug)]
pub(super) struct Pooled(Client<Connector, Full<Bytes>>);

impl Pooled {
    /// Makes a client that connects within a span.
    ///
    /// # Errors
    /// Those of TLS: no usable root, or an extra one is broken.
    pub(super) fn new(
        extra_roots: &[CertificateDer<'static>],
        connect: Duration,
    ) -> Result<Self, rustls::Error> {
        let connector =
            Connector { tls: HttpsConnector::from((tcp(), tls(extra_roots)?)), within: connect };
        // It repeats a request that no connection has taken yet, for example because the one from the
        // pool was just closed: nothing of it was sent.
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(POOL_IDLE)
            .pool_max_idle_per_host(POOL_PER_HOST)
            .build(connector);
        Ok(Self(client))
    }

    /// Sends; the head of the answer is the result.
    ///
    /// # Errors
    /// [`TransportError`]; [`TransportError::Refused`] for a target that may not be called.
    pub(super) async fn send(
        &self,
        request: Request<Bytes>,
    ) -> Result<Response<Incoming>, TransportError> {
        if !target::is_lawful(request.uri()) {
            return Err(TransportError::Refused);
        }
        let mut request = request.map(Full::new);
        let headers = request.headers_mut();
        if let Entry::Vacant(accept) = headers.entry(ACCEPT) {
            accept.insert(HeaderValue::from_static("*/*"));
        }
        if let Entry::Vacant(agent) = headers.entry(USER_AGENT_HEADER) {
            agent.insert(HeaderValue::from_static(USER_AGENT));
        }
        Ok(self.0.request(request).await?)
    }
}

fn tcp() -> HttpConnector<Resolver> {
    let mut tcp = HttpConnector::new_with_resolver(Resolver(GaiResolver::new()));
    // The TLS around it asks for https; `target` has judged what may do without.
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_keepalive(Some(KEEPALIVE_IDLE));
    tcp.set_keepalive_interval(Some(KEEPALIVE_INTERVAL));
    tcp.set_keepalive_retries(Some(KEEPALIVE_PROBES));
    #[cfg(target_os = "linux")]
    tcp.set_tcp_user_timeout(Some(super::USER_TIMEOUT));
    tcp
}

/// TLS 1.2 and 1.3, the system's verifier with further roots: what reqwest's builder is told.
fn tls(extra_roots: &[CertificateDer<'static>]) -> Result<ClientConfig, rustls::Error> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier = if extra_roots.is_empty() {
        Verifier::new(Arc::clone(&provider))?
    } else {
        Verifier::new_with_extra_roots(extra_roots.iter().cloned(), Arc::clone(&provider))?
    };
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(DEFAULT_VERSIONS)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    // HTTP/2 costs more than it saves between two peers in one data centre (decision 7).
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

/// TCP and TLS within one span; what fails here was never sent.
#[derive(Clone, Debug)]
struct Connector {
    tls: HttpsConnector<HttpConnector<Resolver>>,
    within: Duration,
}

impl Service<Uri> for Connector {
    type Response = MaybeHttpsStream<TokioIo<TcpStream>>;
    type Error = BoxError;
    type Future = Connecting<Self::Response, BoxError>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.tls.poll_ready(context)
    }

    fn call(&mut self, target: Uri) -> Self::Future {
        let connected = timeout(self.within, self.tls.call(target));
        Box::pin(async move {
            match connected.await {
                Ok(connected) => connected,
                Err(_elapsed) => Err(io::Error::from(io::ErrorKind::TimedOut).into()),
            }
        })
    }
}

/// The system's resolver, whose failure can be told from others.
#[derive(Clone, Debug)]
struct Resolver(GaiResolver);

impl Service<Name> for Resolver {
    type Response = GaiAddrs;
    type Error = NoAddress;
    type Future = Connecting<GaiAddrs, NoAddress>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), NoAddress>> {
        Poll::Ready(ready!(self.0.poll_ready(context)).map_err(NoAddress))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let resolved = self.0.call(name);
        Box::pin(async move { resolved.await.map_err(NoAddress) })
    }
}
