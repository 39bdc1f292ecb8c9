//! One connection: hyper behind the guard, and the service that receives its requests.
//!
//! Invariant: the guard is told when each request begins and when its response is sent. A response
//! that comes before the whole request says whether the connection closes. Only `server` uses this.

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
use http::{HeaderValue, Request, Version, header::CONNECTION};
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
    server::{
        guard::{
            BodyLength, ConnectionState, GuardedStream, HeaderBudget, IdleTimeout, MAX_HEAD,
            ParsedTarget,
        },
        request_body::{AfterResponse, BodyTracker, TrackedRequestBody, says_close},
    },
};

/// Largest number of headers; the platform's router passes at most this many.
const MAX_HEADERS: usize = 101;

/// Limits of a connection.
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
    /// Bytes of a request body that are received and discarded after an early response.
    pub(super) drain: usize,
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
    let service =
        ConnectionService { requests, state: Arc::clone(&state), drain_limit: limits.drain };
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
    drain_limit: usize,
}

impl<P: RequestService> Service<Request<Incoming>> for ConnectionService<P> {
    type Response = http::Response<TrackedBody>;
    type Error = Infallible;
    type Future = ResponseFuture<P::Future>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let length = request.body().size_hint().exact();
        let length_of_body = length.map_or(BodyLength::Chunked, BodyLength::Exactly);
        let target = self.state.request_started(request.method(), request.uri(), length_of_body);
        let asked = AfterResponse::asked_by(&request);
        let version = request.version();
        let (head, incoming) = request.into_parts();
        // Most requests have no body, and an empty body needs no box.
        let (body, tracker) = if length == Some(0) {
            (Body::empty(), None)
        } else {
            let (body, tracker) = TrackedRequestBody::new(incoming, &head.headers);
            (Body::new(body), Some(tracker))
        };
        let mut request = Request::from_parts(head, body);
        if target == ParsedTarget::Cut {
            request.extensions_mut().insert(CutTarget);
        }
        ResponseFuture {
            answer: Some(self.requests.clone().call(request)),
            end: RequestEnd { version, asked, tracker, drain_limit: self.drain_limit },
            ready: None,
            guard: Some(ResponseGuard(Arc::clone(&self.state))),
        }
    }
}

/// What is known of the end of a request when its response is ready.
struct RequestEnd {
    version: Version,
    asked: AfterResponse,
    /// `None` without a body.
    tracker: Option<BodyTracker>,
    drain_limit: usize,
}

impl RequestEnd {
    /// Returns what follows the response, or waits for the rest of the request's body first.
    fn after(&mut self, answer: &Response) -> Result<AfterResponse, Draining> {
        let Some(tracker) = self.tracker.take() else { return Ok(self.asked) };
        if self.asked == AfterResponse::Close || says_close(answer.headers()) {
            tracker.abandon();
            return Ok(AfterResponse::Close);
        }
        Err(Box::pin(tracker.drain(self.drain_limit)))
    }

    /// Completes a response for hyper.
    fn complete(
        &self,
        mut answer: Response,
        after: AfterResponse,
        guard: Option<ResponseGuard>,
    ) -> http::Response<TrackedBody> {
        if after == AfterResponse::Close {
            answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        if self.version == Version::HTTP_10 {
            // With its own version hyper would add `keep-alive` if the client asks for it.
            *answer.version_mut() = self.version;
        }
        answer.map(|body| TrackedBody { body, failure: None, _guard: guard })
    }
}

type Draining = Pin<Box<dyn Future<Output = AfterResponse> + Send>>;

pin_project! {
    /// The response future; it holds the guard until the response is ready.
    struct ResponseFuture<F> {
        // Dropped, with all that it holds, before the rest of a body is waited for.
        #[pin]
        answer: Option<F>,
        end: RequestEnd,
        ready: Option<(Response, Draining)>,
        guard: Option<ResponseGuard>,
    }
}

impl<F: Future<Output = Result<Response, Infallible>>> Future for ResponseFuture<F> {
    type Output = Result<http::Response<TrackedBody>, Infallible>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        if let Some(answer) = this.answer.as_mut().as_pin_mut() {
            let answer = ready!(answer.poll(context))?;
            this.answer.set(None);
            match this.end.after(&answer) {
                Ok(after) => {
                    return Poll::Ready(Ok(this.end.complete(answer, after, this.guard.take())));
                }
                Err(draining) => *this.ready = Some((answer, draining)),
            }
        }
        let Some((_, draining)) = this.ready.as_mut() else {
            // The future is not polled again after it is ready.
            return Poll::Pending;
        };
        let after = ready!(draining.as_mut().poll(context));
        match this.ready.take() {
            Some((answer, _)) => {
                Poll::Ready(Ok(this.end.complete(answer, after, this.guard.take())))
            }
            None => Poll::Pending,
        }
    }
}

/// A response body that tells the guard when it is dropped.
struct TrackedBody {
    body: Body,
    /// An error that hyper gets with the next poll.
    failure: Option<axum::Error>,
    _guard: Option<ResponseGuard>,
}

impl hyper::body::Body for TrackedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if let Some(failure) = self.failure.take() {
            return Poll::Ready(Some(Err(failure)));
        }
        match ready!(Pin::new(&mut self.body).poll_frame(context)) {
            // hyper drops what it has not sent yet, also the head, when it gets an error. A pause
            // makes it send first.
            Some(Err(failure)) => {
                self.failure = Some(failure);
                context.waker().wake_by_ref();
                Poll::Pending
            }
            frame => Poll::Ready(frame),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.failure.is_none() && self.body.is_end_stream()
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
