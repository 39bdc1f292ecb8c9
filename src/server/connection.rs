//! One connection from its first byte to its last: hyper behind the guard, and the moment in which a request arrives.
//!
//! Invariant: the guard knows of every request when it begins and when its answer is out. Only `server` uses it.

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
    server::guard::{Body as Expected, Guarded, Idle, MAX_HEAD, Room, Target, Watch},
};

/// Headers of one request; the platform's router passes at most this many.
const MAX_HEADERS: usize = 101;

/// How long a connection may keep its place.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Without a request.
    pub(super) idle: Duration,
    /// With a head that has begun.
    pub(super) head: Duration,
    /// With an answer of which the client takes nothing.
    pub(super) still: Duration,
    /// With one request, its answer included.
    pub(super) whole: Duration,
}

/// Serves a connection until it ends; after `stop` the request under way is its last. Large heads share `room` with
/// those of other connections.
pub(super) async fn serve<S, P>(
    stream: S,
    paths: P,
    limits: Limits,
    room: Room,
    stop: CancellationToken,
) where
    S: AsyncRead + AsyncWrite + Unpin,
    P: Paths,
{
    let (guarded, watch) = Guarded::new(stream, limits, room);
    let arrivals = Arrivals { paths, watch: Arc::clone(&watch) };
    let connection = http1::Builder::new()
        // The guard's: hyper's would set a timer for each request.
        .header_read_timeout(None::<Duration>)
        .max_headers(MAX_HEADERS)
        .max_buf_size(MAX_HEAD)
        .half_close(false)
        .keep_alive(true)
        .serve_connection(TokioIo::new(guarded), arrivals);
    let mut connection = pin!(connection);
    let mut idle = Idle::new(Arc::clone(&watch), limits.idle);
    let ended = tokio::select! {
        biased;
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            watch.stop();
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

/// What answers requests: the house's paths, or a test's router. It must always be ready.
pub(super) trait Paths:
    tower::Service<Request<Body>, Response = Response, Error = Infallible> + Clone
{
}

impl<P> Paths for P where
    P: tower::Service<Request<Body>, Response = Response, Error = Infallible> + Clone
{
}

/// The outermost service of a connection.
struct Arrivals<P> {
    paths: P,
    watch: Arc<Watch>,
}

impl<P: Paths> Service<Request<Incoming>> for Arrivals<P> {
    type Response = http::Response<Answer>;
    type Error = Infallible;
    type Future = Answering<P::Future>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let length = request.body().size_hint().exact();
        let expected = length.map_or(Expected::Chunked, Expected::Exactly);
        let target = self.watch.begin(request.method(), request.uri(), expected);
        // Most have none, and none needs no box.
        let body = |body| if length == Some(0) { Body::empty() } else { Body::new(body) };
        let mut request = request.map(body);
        if target == Target::Cut {
            request.extensions_mut().insert(CutTarget);
        }
        let answer = self.paths.clone().call(request);
        Answering { answer, watch: Some(Out(Arc::clone(&self.watch))) }
    }
}

pin_project! {
    /// The answer while it is being made.
    struct Answering<F> {
        #[pin]
        answer: F,
        watch: Option<Out>,
    }
}

impl<F: Future<Output = Result<Response, Infallible>>> Future for Answering<F> {
    type Output = Result<http::Response<Answer>, Infallible>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let answer = ready!(this.answer.poll(context))?;
        let out = this.watch.take();
        Poll::Ready(Ok(answer.map(|body| Answer { body, _out: out })))
    }
}

/// An answer's body that tells the guard when it is done with.
struct Answer {
    body: Body,
    _out: Option<Out>,
}

impl hyper::body::Body for Answer {
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

/// Tells the guard that an answer is out, once hyper lets go of it.
struct Out(Arc<Watch>);

impl Drop for Out {
    fn drop(&mut self) {
        self.0.finish();
    }
}
