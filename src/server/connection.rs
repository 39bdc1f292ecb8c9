//! One connection: hyper behind the guard, and the service that receives its requests.
//!
//! Invariant: the guard is told when each request begins and when its response is sent. Only
//! `server` uses this.

use std::{
    convert::Infallible,
    future::Future,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::{body::Body, response::Response};
use bytes::Bytes;
use http::Request;
use hyper::{
    body::{Body as _, Frame, Incoming, SizeHint},
    server::conn::http1,
    service::Service,
};
use hyper_util::rt::TokioIo;
use pin_project_lite::pin_project;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;

use crate::{
    http::CutTarget,
    server::guard::{
        BodyLength, ConnectionState, GuardedStream, HeaderBudget, IdleTimeout, MAX_HEAD,
        ParsedTarget,
    },
};

/// Largest number of headers; the platform's router passes at most this many.
const MAX_HEADERS: usize = 101;

/// Time limits of a connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct ConnectionLimits {
    /// Idle, without a request.
    pub(super) idle: Duration,
    /// From the first to the last byte of a head.
    pub(super) head: Duration,
    /// A response of which the client reads nothing.
    pub(super) write: Duration,
    /// One request including its response.
    pub(super) request: Duration,
}

/// Serves a connection until it ends; after `stop` the current request is its last. All connections
/// share `budget` for large heads.
pub(super) async fn serve<S, P>(
    stream: S,
    requests: P,
    limits: ConnectionLimits,
    budget: HeaderBudget,
    stop: CancellationToken,
) where
    S: AsyncRead + AsyncWrite + Unpin,
    P: RequestService,
{
    let (guarded, state) = GuardedStream::new(stream, limits, budget);
    let service = ConnectionService { requests, state: Arc::clone(&state) };
    let connection = http1::Builder::new()
        // The guard does this; hyper would set a timer for each request.
        .header_read_timeout(None::<Duration>)
        .max_headers(MAX_HEADERS)
        .max_buf_size(MAX_HEAD)
        .half_close(false)
        .keep_alive(true)
        .serve_connection(TokioIo::new(guarded), service);
    let mut connection = pin!(connection);
    let mut idle = IdleTimeout::new(Arc::clone(&state), limits.idle);
    let ended = tokio::select! {
        biased;
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            state.stop();
            connection.as_mut().graceful_shutdown();
            tokio::select! {
                biased;
                ended = connection.as_mut() => ended,
                () = &mut idle => Ok(()),
            }
        }
        () = &mut idle => Ok(()),
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "connection ended");
    }
}

/// Answers requests: the broker's dispatch, or a test's router. It must always be ready.
pub(super) trait RequestService:
    tower::Service<Request<Body>, Response = Response, Error = Infallible> + Clone
{
}

impl<P> RequestService for P where
    P: tower::Service<Request<Body>, Response = Response, Error = Infallible> + Clone
{
}

/// The outermost service of a connection.
struct ConnectionService<P> {
    requests: P,
    state: Arc<ConnectionState>,
}

impl<P: RequestService> Service<Request<Incoming>> for ConnectionService<P> {
    type Response = http::Response<TrackedBody>;
    type Error = Infallible;
    type Future = ResponseFuture<P::Future>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let length = request.body().size_hint().exact();
        let length_of_body = length.map_or(BodyLength::Chunked, BodyLength::Exactly);
        let target = self.state.request_started(request.method(), request.uri(), length_of_body);
        // Most requests have no body, and an empty body needs no box.
        let body = |body| if length == Some(0) { Body::empty() } else { Body::new(body) };
        let mut request = request.map(body);
        if target == ParsedTarget::Cut {
            request.extensions_mut().insert(CutTarget);
        }
        let answer = self.requests.clone().call(request);
        ResponseFuture { answer, state: Some(ResponseGuard(Arc::clone(&self.state))) }
    }
}

pin_project! {
    /// The response future; it holds the guard until the response is ready.
    struct ResponseFuture<F> {
        #[pin]
        answer: F,
        state: Option<ResponseGuard>,
    }
}

impl<F: Future<Output = Result<Response, Infallible>>> Future for ResponseFuture<F> {
    type Output = Result<http::Response<TrackedBody>, Infallible>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let answer = ready!(this.answer.poll(context))?;
        let guard = this.state.take();
        Poll::Ready(Ok(answer.map(|body| TrackedBody { body, _guard: guard })))
    }
}

/// A response body that tells the guard when it is dropped.
struct TrackedBody {
    body: Body,
    _guard: Option<ResponseGuard>,
}

impl hyper::body::Body for TrackedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Tells the guard that a response is sent, when hyper drops it.
struct ResponseGuard(Arc<ConnectionState>);

impl Drop for ResponseGuard {
    fn drop(&mut self) {
        self.0.response_sent();
    }
}
