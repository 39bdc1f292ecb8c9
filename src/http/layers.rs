//! The stack around every handler, on one screen, with the reason for its order.
//!
//! Invariant: each request gets exactly one answer, one log line and one correlation id, whatever happens inside.
//!
//! Outermost first:
//! 1. [`observe`]: correlation id, span, metrics, the one line; writes problems, so it must see every answer.
//! 2. [`of_the_router`]: the router's bare 405 becomes a problem.
//! 3. panic guard: inside `observe`, so that a panic too gets its line and its problem.
//! 4. `gate`: method, host, target and the headers that speak of the body, before a request takes a place: what is
//!    malformed gets the same answer whatever the load.
//! 5. [`admit`]: stop and load limits, before any work is done for the request.
//! 6. [`hurry`]: the deadline of the whole request, nearest to the work it bounds.

use std::{
    any::Any,
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    body::Body,
    extract::{MatchedPath, Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode};
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tokio::{sync::Semaphore, time::Instant};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, Level, field::Empty};

use crate::{
    auth::{Admitted, Caller},
    http::{code::Code, handlers::proxy::Row, problem::Problem},
    telemetry::{
        audit::{self, Trail},
        logs::REQUEST_TARGET,
        metrics::Metrics,
        trace::{CorrelationId, request_id},
    },
};

/// Header of the correlation id in answers.
const CORRELATION: HeaderName = HeaderName::from_static("x-correlationid");
/// Methods that change nothing (RFC 9110 §9.2.1): to be refused one leaves no audit line.
const READS: [&str; 4] = ["GET", "HEAD", "OPTIONS", "TRACE"];
/// Matched path of requests that no route takes.
const UNMATCHED: &str = "unmatched";

/// What is known of the caller once it is verified, with its place among its requests in flight; the extractor leaves it
/// in the answer's way to the log line.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen(Arc<OnceLock<Admitted>>);

impl Seen {
    /// Remembers the verified caller for the log line, and keeps its place until the last clone is gone.
    pub(crate) fn remember(&self, admitted: Admitted) {
        // The first one counts; a request has one caller.
        drop(self.0.set(admitted));
    }

    /// Returns the caller, if one was verified.
    pub(crate) fn caller(&self) -> Option<&Caller> {
        self.0.get().map(|admitted| &admitted.caller)
    }

    /// Keeps the caller's place until the whole body is sent or given up.
    fn outlast(self, answer: Response) -> Response {
        if self.caller().is_none() {
            return answer;
        }
        answer.map(|body| Body::new(Held { body, _seen: self }))
    }
}

/// A body that keeps a caller's place.
struct Held {
    body: Body,
    _seen: Seen,
}

impl HttpBody for Held {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.get_mut().body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Limits on what is taken in at all.
#[derive(Clone, Debug)]
pub struct Admission {
    /// Places for requests in flight.
    pub places: Arc<Semaphore>,
    /// Cancelled when the broker stops.
    pub draining: CancellationToken,
}

/// Gives a request its correlation id, span and metrics, and its answer a body if it is a problem, and one log line.
pub(crate) async fn observe(
    State(metrics): State<Metrics>,
    mut request: Request,
    next: Next,
) -> Response {
    let started = Instant::now();
    let correlation = CorrelationId::of(request.headers());
    let router_id = request_id(request.headers()).map(|id| id.to_string());
    let span = tracing::info_span!(
        "request",
        correlation_id = correlation.as_str(),
        request_id = router_id.as_deref().unwrap_or(correlation.as_str()),
        tenant_id = Empty,
        caller = Empty,
    );
    let (seen, trail) = (Seen::default(), Trail::default());
    request.extensions_mut().insert(correlation.clone());
    request.extensions_mut().insert(trail.clone());
    request.extensions_mut().insert(seen.clone());
    let line = Line::of(&request);
    let in_flight = metrics.request_started();
    let answer = next.run(request).instrument(span.clone()).await;
    let _entered = span.enter();
    if let Some(caller) = seen.caller() {
        span.record("tenant_id", caller.zone());
        span.record("caller", caller.client_id());
    }
    let mut answer = dress(answer, &correlation);
    if let Ok(value) = HeaderValue::try_from(correlation.as_str()) {
        answer.headers_mut().insert(CORRELATION, value);
    }
    let took = started.elapsed();
    drop(in_flight);
    metrics.request_answered(&line.route, &line.method, answer.status().as_u16(), took);
    if let Some(caller) = seen.caller().filter(|_| !trail.is_marked()) {
        line.audit(&answer, caller, &correlation);
    }
    line.write(&answer, took);
    seen.outlast(answer)
}

/// Turns the router's own 405 into a problem.
pub(crate) async fn of_the_router(answer: Response) -> Response {
    let own = answer.extensions().get::<Problem>().is_some();
    if own || answer.status() != StatusCode::METHOD_NOT_ALLOWED {
        return answer;
    }
    Problem::method_not_allowed(answer.headers()).into_response()
}

/// Writes the body of a problem, keeping the headers that a layer has set.
fn dress(mut answer: Response, correlation: &CorrelationId) -> Response {
    let Some(problem) = answer.extensions_mut().remove::<Problem>() else {
        return secure(answer);
    };
    let mut rendered = secure(problem.render(correlation));
    if let Some(value) = answer.headers().get(http::header::CONNECTION) {
        rendered.headers_mut().insert(http::header::CONNECTION, value.clone());
    }
    rendered.extensions_mut().insert(problem);
    rendered
}

/// Adds the headers that every JSON answer of ours carries.
fn secure(mut answer: Response) -> Response {
    let headers = answer.headers_mut();
    headers.insert(http::header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(http::header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    answer
}

/// What the log line says of the request; taken before the request is consumed.
struct Line {
    route: String,
    method: String,
    path: String,
}

impl Line {
    fn of(request: &Request) -> Self {
        let route =
            request.extensions().get::<MatchedPath>().map_or(UNMATCHED, MatchedPath::as_str);
        Self {
            route: route.to_owned(),
            method: request.method().as_str().to_owned(),
            path: request.uri().path().to_owned(),
        }
    }

    /// The audit line of a mutation that was refused before any room began it (K9): scope, body, query, path.
    fn audit(&self, answer: &Response, caller: &Caller, correlation: &CorrelationId) {
        let refused = answer.status().is_client_error() && !READS.contains(&self.method.as_str());
        let problem = answer.extensions().get::<Problem>();
        if let Some(problem) = problem.filter(|_| refused) {
            tracing::info!(
                target: audit::TARGET,
                phase = "outcome",
                action = format!("{} {}", self.method, self.route),
                path = self.path,
                caller = caller.client_id(),
                subject = caller.subject(),
                user = caller.user(),
                origin = caller.origin(),
                zone = caller.zone(),
                token_hash = caller.token_hash(),
                outcome = audit::DENIED,
                code = problem.code().spec().name,
                status = answer.status().as_u16(),
                correlation_id = correlation.as_str(),
                "mutation refused"
            );
        }
    }

    /// One line per request; its level is that of the problem, probes are only told at DEBUG.
    fn write(&self, answer: &Response, took: Duration) {
        let problem = answer.extensions().get::<Problem>();
        let code = problem.map_or("", |problem| problem.code().spec().name);
        let cause = problem.and_then(Problem::cause).unwrap_or_default();
        let level = match problem {
            Some(problem) => problem.code().spec().level,
            None if self.route.starts_with("/health") => Level::DEBUG,
            None => Level::INFO,
        };
        let row = answer.extensions().get::<Row>();
        let route = row.map_or(self.route.as_str(), |row| &row.0);
        let (status, ms) = (answer.status().as_u16(), took.as_secs_f64() * 1000.0);
        /// `tracing` fixes the level of an event at compile time: one call per level.
        macro_rules! line {
            ($level:ident) => {
                tracing::$level!(
                    target: REQUEST_TARGET,
                    request = self.path, method = self.method, protocol = "HTTP/1.1", direction = "IN",
                    response_status = status, response_time_ms = ms, route, code, exception_message = cause,
                    "request"
                )
            };
        }
        match level {
            Level::ERROR => line!(error),
            Level::WARN => line!(warn),
            Level::INFO => line!(info),
            Level::DEBUG | Level::TRACE => line!(debug),
        }
    }
}

/// Turns a panic into a problem; its text stays out of the answer and of the log (it may quote data).
pub(crate) fn on_panic(_panic: Box<dyn Any + Send + 'static>) -> Response {
    Problem::new(Code::Internal, "The broker made a mistake; its log has the correlation id.")
        .into_response()
}

/// Refuses new work while stopping, and beyond the number of requests that memory is planned for.
pub(crate) async fn admit(
    State(admission): State<Admission>,
    request: Request,
    next: Next,
) -> Response {
    let probe = request.uri().path().starts_with("/health");
    if admission.draining.is_cancelled() && !probe {
        let problem =
            Problem::new(Code::Draining, "This instance is stopping; repeat the request.");
        let mut answer = problem.retry_after(Some(Duration::from_secs(1))).into_response();
        answer.headers_mut().insert(http::header::CONNECTION, HeaderValue::from_static("close"));
        return answer;
    }
    if probe {
        return next.run(request).await;
    }
    let Ok(_place) = admission.places.try_acquire() else {
        let problem = Problem::new(
            Code::Overloaded,
            "Too many requests are being answered; repeat in a second.",
        );
        return problem.retry_after(Some(Duration::from_secs(1))).into_response();
    };
    next.run(request).await
}

/// Ends a request that takes longer than the router in front would wait.
pub(crate) async fn hurry(State(limit): State<Deadline>, request: Request, next: Next) -> Response {
    match tokio::time::timeout(limit.0, next.run(request)).await {
        Ok(answer) => answer,
        Err(_) => Problem::new(
            Code::CfTimeout,
            "The request took too long; what was begun is completed and audited.",
        )
        .into_response(),
    }
}

/// Longest time for a whole request.
#[derive(Clone, Copy, Debug)]
pub struct Deadline(pub Duration);

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use axum::{body::Body, response::Response};
    use http_body_util::BodyExt as _;
    use hyper::body::Body as _;
    use tokio::sync::Semaphore;

    use super::Seen;
    use crate::auth::{Admitted, Caller, Place};

    fn seen(places: &Arc<Semaphore>) -> Seen {
        let permit = Arc::clone(places).try_acquire_owned().unwrap();
        let seen = Seen::default();
        let caller = Caller::for_tests("caller", &[]);
        seen.remember(Admitted { caller, place: Place::for_tests(permit) });
        seen
    }

    #[tokio::test]
    async fn the_place_is_kept_until_the_whole_body_is_sent() {
        let places = Arc::new(Semaphore::new(1));
        let answer = seen(&places).outlast(Response::new(Body::from("two parts")));
        assert_eq!(places.available_permits(), 0);
        let mut body = answer.into_body();
        assert!(body.frame().await.is_some());
        assert_eq!(places.available_permits(), 0, "the end was not read yet");
        drop(body);
        assert_eq!(places.available_permits(), 1);
    }

    #[tokio::test]
    async fn a_body_that_keeps_a_place_is_as_long_as_before() {
        let places = Arc::new(Semaphore::new(1));
        let answer = seen(&places).outlast(Response::new(Body::from("nine long")));
        assert_eq!(answer.body().size_hint().exact(), Some(9));
        assert!(!answer.body().is_end_stream());
        let empty = Seen::default().outlast(Response::new(Body::empty()));
        assert!(empty.body().is_end_stream());
    }
}
