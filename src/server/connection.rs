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

use axum::{Router, routing::future::RouteFuture};
use bytes::Bytes;
use http::{Request, Response};
use hyper::{
    body::{Body as _, Frame, Incoming, SizeHint},
    server::conn::http1,
    service::Service,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;
use tower::Service as _;

use crate::{
    http::CutTarget,
    server::guard::{Body, Guarded, MAX_HEAD, Room, Target, Watch},
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
pub(super) async fn serve<S>(
    stream: S,
    router: Router,
    limits: Limits,
    room: Room,
    stop: CancellationToken,
) where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (guarded, watch) = Guarded::new(stream, limits, room);
    let arrivals = Arrivals { router, watch: Arc::clone(&watch) };
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.idle)
        .max_headers(MAX_HEADERS)
        .max_buf_size(MAX_HEAD)
        .half_close(false)
        .keep_alive(true)
        .serve_connection(TokioIo::new(guarded), arrivals);
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        biased;
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            watch.stop();
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "connection ended");
    }
}

/// The outermost service of a connection.
struct Arrivals {
    router: Router,
    watch: Arc<Watch>,
}

impl Service<Request<Incoming>> for Arrivals {
    type Response = Response<Answer>;
    type Error = Infallible;
    type Future = Answering;

    fn call(&self, mut request: Request<Incoming>) -> Answering {
        let body = request.body().size_hint().exact().map_or(Body::Chunked, Body::Exactly);
        let target = self.watch.begin(request.method(), request.uri(), body);
        if target == Target::Cut {
            request.extensions_mut().insert(CutTarget);
        }
        // A router is always ready.
        let answer = self.router.clone().call(request);
        Answering { answer, watch: Some(Out(Arc::clone(&self.watch))) }
    }
}

/// The answer while it is being made.
struct Answering {
    answer: RouteFuture<Infallible>,
    watch: Option<Out>,
}

impl Future for Answering {
    type Output = Result<Response<Answer>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let answer = ready!(Pin::new(&mut self.answer).poll(context))?;
        let out = self.watch.take();
        Poll::Ready(Ok(answer.map(|body| Answer { body, _out: out })))
    }
}

/// An answer's body that tells the guard when it is done with.
struct Answer {
    body: axum::body::Body,
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
