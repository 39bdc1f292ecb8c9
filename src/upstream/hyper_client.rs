//! The HTTP client for the CF API: hyper's HTTP/1.1 over the same TLS as reqwest's, with less
//! than half of the instructions ([decision 7](../../docs/decisions/0007-two-http-clients.md)).
//!
//! Invariant: both clients refuse the same targets and classify failures in the same way; the tests
//! beside `mod.rs` run against both. The client itself resends a request only if no byte of it was
//! sent. Only [`HttpClient`](super::HttpClient) calls it.

use crate::upstream::{
    KEEPALIVE_IDLE, KEEPALIVE_INTERVAL, KEEPALIVE_PROBES, POOL_IDLE, USER_AGENT,
    connection_pool::{Connection, ConnectionPool, OriginPool, PooledBody},
    error::{BoxError, ConnectFault, NoAddress, TransportError},
};
use bytes::Bytes;
use http::{
    HeaderValue, Request, Response, Uri,
    header::{ACCEPT, Entry, HOST, USER_AGENT as USER_AGENT_HEADER},
};
use http_body_util::Full;
use hyper::{client::conn::http1, rt::Executor as _};
use hyper_rustls::{HttpsConnector, MaybeHttpsStream};
use hyper_util::{
    client::legacy::connect::{
        HttpConnector,
        dns::{GaiAddrs, GaiResolver, Name},
    },
    rt::{TokioExecutor, TokioIo},
};
use rustls::{ClientConfig, DEFAULT_VERSIONS, crypto::aws_lc_rs, pki_types::CertificateDer};
use rustls_platform_verifier::Verifier;
use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::{net::TcpStream, time::timeout};
use tower::{Service, ServiceExt as _};

type BoxedFuture<T, E> = Pin<Box<dyn Future<Output = Result<T, E>> + Send>>;

/// HTTP/1.1 client with a connection pool.
#[derive(Debug)]
pub(super) struct HyperClient {
    connector: Connector,
    pool: ConnectionPool,
}

impl HyperClient {
    /// Makes a client; `connect` limits name resolution, TCP and TLS together.
    ///
    /// # Errors
    /// TLS cannot be set up: no usable root certificate, or an additional one is broken.
    pub(super) fn new(
        extra_roots: &[CertificateDer<'static>],
        connect: Duration,
    ) -> Result<Self, rustls::Error> {
        Self::with_idle_limit(extra_roots, connect, POOL_IDLE)
    }

    fn with_idle_limit(
        extra_roots: &[CertificateDer<'static>],
        connect: Duration,
        idle: Duration,
    ) -> Result<Self, rustls::Error> {
        let connector =
            Connector { tls: HttpsConnector::from((tcp(), tls(extra_roots)?)), within: connect };
        Ok(Self { connector, pool: ConnectionPool::new(idle) })
    }

    /// Sends a request and returns the head of the response.
    ///
    /// # Errors
    /// [`TransportError`]. [`TransportError::Refused`] for a target that may not be called.
    ///
    /// # Cancel safety
    /// Dropping the future closes the connection.
    pub(super) async fn send(
        &self,
        request: Request<Bytes>,
    ) -> Result<Response<PooledBody>, TransportError> {
        let origin_pool = self.pool.for_target(request.uri()).ok_or(TransportError::Refused)?;
        let mut request = prepare(request, &origin_pool);
        loop {
            let idle = origin_pool.take();
            let is_reused = idle.is_some();
            let mut connection = match idle {
                Some(connection) => connection,
                // Boxed: most calls find an idle connection and should not carry this future.
                None => Box::pin(self.connect(&origin_pool)).await?,
            };
            // The other side may have closed the connection just now.
            request = match connection.try_send_request(request).await {
                Ok(answer) => {
                    return Ok(answer.map(|body| PooledBody::new(body, connection, origin_pool)));
                }
                Err(refused) => request_to_resend(refused, is_reused)?,
            };
        }
    }

    async fn connect(&self, origin_pool: &OriginPool) -> Result<Connection, TransportError> {
        let root = origin_pool.root().ok_or(TransportError::Refused)?;
        let stream = self.connector.clone().oneshot(root).await.map_err(|source| {
            let kind = ConnectFault::in_chain(&*source);
            TransportError::Connect { kind, source: Some(source) }
        })?;
        let (connection, driver) = http1::handshake(stream).await?;
        TokioExecutor::new().execute(async move {
            // The caller gets the error from its request; no one else needs it.
            drop(driver.await);
        });
        Ok(connection)
    }
}

/// Completes a request for the wire.
fn prepare(request: Request<Bytes>, origin_pool: &OriginPool) -> Request<Full<Bytes>> {
    let mut request = request.map(Full::new);
    // The origin form (RFC 9112, 3.2.1). Scheme and authority are in the connection.
    if let Some(target) = request.uri().path_and_query().cloned() {
        *request.uri_mut() = target.into();
    }
    let headers = request.headers_mut();
    let mut or = |name, value: &HeaderValue| {
        if let Entry::Vacant(vacant) = headers.entry(name) {
            vacant.insert(value.clone());
        }
    };
    or(HOST, origin_pool.host());
    or(ACCEPT, &HeaderValue::from_static("*/*"));
    or(USER_AGENT_HEADER, &HeaderValue::from_static(USER_AGENT));
    request
}

/// Returns the request for another attempt, if no byte of it was sent and the connection came from
/// the pool: the other side may close idle connections at any moment.
fn request_to_resend(
    mut refused: hyper::client::conn::TrySendError<Request<Full<Bytes>>>,
    is_reused: bool,
) -> Result<Request<Full<Bytes>>, TransportError> {
    match refused.take_message().filter(|_| is_reused) {
        Some(request) => Ok(request),
        None => Err(refused.into_error().into()),
    }
}

fn tcp() -> HttpConnector<Resolver> {
    let mut tcp = HttpConnector::new_with_resolver(Resolver(GaiResolver::new()));
    // `HttpsConnector` asks for https; `target` has checked which hosts may do without.
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_keepalive(Some(KEEPALIVE_IDLE));
    tcp.set_keepalive_interval(Some(KEEPALIVE_INTERVAL));
    tcp.set_keepalive_retries(Some(KEEPALIVE_PROBES));
    #[cfg(target_os = "linux")]
    tcp.set_tcp_user_timeout(Some(super::USER_TIMEOUT));
    tcp
}

/// TLS 1.2 and 1.3, and the system's verifier with additional roots: the same as for reqwest.
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

/// TCP and TLS within one time limit. If it fails, nothing was sent.
#[derive(Clone, Debug)]
struct Connector {
    tls: HttpsConnector<HttpConnector<Resolver>>,
    within: Duration,
}

impl Service<Uri> for Connector {
    type Response = MaybeHttpsStream<TokioIo<TcpStream>>;
    type Error = BoxError;
    type Future = BoxedFuture<Self::Response, BoxError>;

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

/// The system's resolver. Its failures have a type of their own ([`NoAddress`]).
#[derive(Clone, Debug)]
struct Resolver(GaiResolver);

impl Service<Name> for Resolver {
    type Response = GaiAddrs;
    type Error = NoAddress;
    type Future = BoxedFuture<GaiAddrs, NoAddress>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), NoAddress>> {
        Poll::Ready(ready!(self.0.poll_ready(context)).map_err(NoAddress))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let resolved = self.0.call(name);
        Box::pin(async move { resolved.await.map_err(NoAddress) })
    }
}

#[cfg(test)]
mod tests {
    use super::HyperClient;
    use crate::upstream::TransportError;
    use bytes::Bytes;
    use http::Request;
    use http_body_util::BodyExt as _;
    use rstest::rstest;
    use std::{
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering},
        },
        time::Duration,
    };
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::{TcpListener, TcpStream},
        time::{sleep, timeout},
    };
    use tokio_util::task::TaskTracker;

    const AMPLE: Duration = Duration::from_secs(20);

    /// A server that keeps connections open and counts connections and requests.
    struct Peer {
        address: String,
        connections: Arc<AtomicUsize>,
        open: Arc<AtomicUsize>,
        requests: Arc<AtomicUsize>,
    }

    impl Peer {
        /// Answers requests by their path.
        async fn start() -> Self {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = format!("http://{}", listener.local_addr().unwrap());
            let (connections, open, requests) = <(Arc<_>, Arc<_>, Arc<_>)>::default();
            let peer = Self { address, connections, open, requests };
            let (tracker, connections) = (TaskTracker::new(), Arc::clone(&peer.connections));
            let (open, requests) = (Arc::clone(&peer.open), Arc::clone(&peer.requests));
            tracker.clone().spawn(async move {
                while let Ok((stream, _)) = listener.accept().await {
                    connections.fetch_add(1, Ordering::SeqCst);
                    let (open, requests) = (Arc::clone(&open), Arc::clone(&requests));
                    tracker.spawn(async move {
                        open.fetch_add(1, Ordering::SeqCst);
                        converse(stream, &requests).await;
                        open.fetch_sub(1, Ordering::SeqCst);
                    });
                }
            });
            peer
        }

        fn connections(&self) -> usize {
            self.connections.load(Ordering::SeqCst)
        }

        async fn all_are_closed(&self) {
            let closed = async {
                while self.open.load(Ordering::SeqCst) > 0 {
                    sleep(Duration::from_millis(5)).await;
                }
            };
            timeout(AMPLE, closed).await.expect("a connection stays open");
        }
    }

    async fn converse(mut stream: TcpStream, requests: &AtomicUsize) {
        let mut received = Vec::new();
        loop {
            received.clear();
            while !received.ends_with(b"\r\n\r\n") {
                if !matches!(stream.read_buf(&mut received).await, Ok(1..)) {
                    return;
                }
            }
            requests.fetch_add(1, Ordering::SeqCst);
            let text = String::from_utf8_lossy(&received).into_owned();
            let path = text.split(' ').nth(1).unwrap_or_default();
            let answer = match path {
                "/chunked" => {
                    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"
                }
                "/last" => "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
                "/half" => "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok",
                "/none" => "HTTP/1.1 204 No Content\r\n\r\n",
                "/head" => "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n",
                "/more" => "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\n",
                "/other" => "HTTP/1.1 101 Switching Protocols\r\n\r\n",
                "/open" => "HTTP/1.1 200 OK\r\n\r\nok",
                _ => "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
            };
            let leaves = matches!(path, "/leaves" | "/open");
            if stream.write_all(answer.as_bytes()).await.is_err() || leaves {
                return;
            }
        }
    }

    fn client(idle: Duration) -> HyperClient {
        HyperClient::with_idle_limit(&[], AMPLE, idle).unwrap()
    }

    async fn get(client: &HyperClient, peer: &Peer, path: &str) -> Result<Bytes, TransportError> {
        ask(client, peer, "GET", path).await
    }

    async fn ask(
        client: &HyperClient,
        peer: &Peer,
        method: &str,
        path: &str,
    ) -> Result<Bytes, TransportError> {
        let target = format!("{}{path}", peer.address);
        let request = Request::builder().method(method).uri(target).body(Bytes::new()).unwrap();
        Ok(client.send(request).await?.into_body().collect().await?.to_bytes())
    }

    #[rstest]
    #[case::length("GET", "/whole", 2, 1)]
    #[case::chunks("GET", "/chunked", 2, 1)]
    #[case::no_body("GET", "/none", 0, 1)]
    #[case::head("HEAD", "/head", 0, 1)]
    #[case::last_word("GET", "/last", 2, 3)]
    #[case::until_the_end("GET", "/open", 2, 3)]
    #[case::bytes_behind_the_answer("GET", "/more", 2, 3)]
    #[case::another_protocol("GET", "/other", 0, 3)]
    #[tokio::test]
    async fn a_connection_is_reused_if_the_response_allows_it(
        #[case] method: &str,
        #[case] path: &str,
        #[case] length: usize,
        #[case] connections: usize,
    ) {
        let (peer, client) = (Peer::start().await, client(AMPLE));
        for _ in 0..3 {
            let body = ask(&client, &peer, method, path).await.unwrap();
            assert_eq!(body.len(), length);
        }
        assert_eq!(peer.connections(), connections);
    }

    #[tokio::test]
    async fn a_connection_that_the_peer_closed_is_replaced_without_an_error() {
        let (peer, client) = (Peer::start().await, client(AMPLE));
        for _ in 0..20 {
            assert_eq!(get(&client, &peer, "/leaves").await.unwrap(), "ok");
            // The client may or may not have noticed the close.
            peer.all_are_closed().await;
        }
        assert_eq!(peer.requests.load(Ordering::SeqCst), 20, "none was sent twice");
    }

    #[tokio::test]
    async fn a_connection_with_an_unread_response_is_closed() {
        let (peer, client) = (Peer::start().await, client(AMPLE));
        let request = Request::get(format!("{}/half", peer.address)).body(Bytes::new()).unwrap();
        let answer = client.send(request).await.unwrap();
        drop(answer);
        peer.all_are_closed().await;
        assert_eq!(get(&client, &peer, "/whole").await.unwrap(), "ok");
        assert_eq!(peer.connections(), 2);
    }

    #[tokio::test]
    async fn an_idle_connection_is_closed_after_its_time() {
        let (peer, client) = (Peer::start().await, client(Duration::from_millis(50)));
        for _ in 0..2 {
            assert_eq!(get(&client, &peer, "/whole").await.unwrap(), "ok");
            peer.all_are_closed().await;
        }
        assert_eq!(peer.connections(), 2);
    }

    #[tokio::test]
    async fn parallel_calls_have_one_connection_each_and_keep_it() {
        let (peer, client) = (Peer::start().await, client(AMPLE));
        for _ in 0..3 {
            let calls =
                (get(&client, &peer, "/a"), get(&client, &peer, "/b"), get(&client, &peer, "/c"));
            let (a, b, c) = tokio::join!(calls.0, calls.1, calls.2);
            assert!(a.is_ok() && b.is_ok() && c.is_ok());
        }
        assert!((1..=3).contains(&peer.connections()), "{}", peer.connections());
    }

    #[tokio::test]
    async fn origins_have_connections_of_their_own() {
        let (one, other, client) = (Peer::start().await, Peer::start().await, client(AMPLE));
        for _ in 0..2 {
            assert_eq!(get(&client, &one, "/whole").await.unwrap(), "ok");
            assert_eq!(get(&client, &other, "/whole").await.unwrap(), "ok");
        }
        assert_eq!((one.connections(), other.connections()), (1, 1));
    }
}
