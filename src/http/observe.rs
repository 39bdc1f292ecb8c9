//! What is seen of a request from outside: correlation id, span, metrics, the one log line, and the body of a problem.
//!
//! Invariant: each answer passes here exactly once, problems and panics too. Only `layers` puts it in its place.

use std::{
    convert::Infallible,
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    body::Body,
    extract::{MatchedPath, Request},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, StatusCode, Uri};
use hyper::body::Body as HttpBody;
use tokio::time::Instant;
use tower::Service;
use tracing::{Instrument, Level, Span};

use crate::{
    auth::Caller,
    http::{
        handlers::proxy::Row,
        layers::{Answering, READS},
        problem::Problem,
        seen::Seen,
    },
    telemetry::{
        audit::{self, Trail},
        logs::REQUEST_TARGET,
        metrics::{InFlight, Metrics},
        trace::{CorrelationId, request_id},
    },
};

/// Header of the correlation id in answers.
const CORRELATION: HeaderName = HeaderName::from_static("x-correlationid");
/// Matched path of requests that no route takes.
const UNMATCHED: &str = "unmatched";

/// Gives a request its correlation id, span and metrics, and its answer a body if it is a problem, and one log line.
#[derive(Clone, Debug)]
pub(crate) struct Observed<S> {
    pub(super) inner: S,
    pub(super) metrics: Metrics,
}

impl<S, B> Service<Request> for Observed<S>
where
    S: Service<Request, Response = Response<B>, Error = Infallible>,
    S::Future: Send + 'static,
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<axum::BoxError>,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Answering;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request) -> Answering {
        let watch = RequestWatch::begin(&mut request, &self.metrics);
        let work = watch.span.in_scope(|| self.inner.call(request)).instrument(watch.span.clone());
        Box::pin(async move {
            let answer = work.await?.map(Body::new);
            Ok(watch.end(answer))
        })
    }
}

/// What is known of a request from outside, from its head to the head of its answer.
struct RequestWatch {
    started: Instant,
    correlation: CorrelationId,
    span: Span,
    seen: Seen,
    trail: Trail,
    line: Line,
    metrics: Metrics,
    in_flight: InFlight,
}

impl RequestWatch {
    fn begin(request: &mut Request, metrics: &Metrics) -> Self {
        let started = Instant::now();
        let correlation = CorrelationId::of(request.headers());
        let router_id = request_id(request.headers()).map(|id| id.to_string());
        let span = tracing::info_span!(
            "request",
            correlation_id = correlation.as_str(),
            request_id = router_id.as_deref().unwrap_or(correlation.as_str()),
        );
        let (seen, trail) = (Seen::default(), Trail::default());
        let line = Line::of(request);
        let extensions = request.extensions_mut();
        extensions.insert(correlation.clone());
        extensions.insert(trail.clone());
        extensions.insert(seen.clone());
        let in_flight = metrics.request_started();
        let metrics = metrics.clone();
        Self { started, correlation, span, seen, trail, line, metrics, in_flight }
    }

    fn end(self, answer: Response) -> Response {
        let _entered = self.span.enter();
        let caller = self.seen.caller();
        let mut answer = dress(of_the_router(answer), &self.correlation);
        if let Ok(value) = HeaderValue::try_from(self.correlation.as_str()) {
            answer.headers_mut().insert(CORRELATION, value);
        }
        let took = self.started.elapsed();
        drop(self.in_flight);
        let (route, method) = (self.line.route(), self.line.method.as_str());
        self.metrics.request_answered(route, method, answer.status().as_u16(), took);
        if let Some(caller) = caller.filter(|_| !self.trail.is_marked()) {
            self.line.audit(&answer, caller, &self.correlation);
        }
        self.line.write(&answer, caller, took);
        self.seen.clone().outlast(answer)
    }
}

/// Turns the router's own 405 into a problem.
fn of_the_router(answer: Response) -> Response {
    if answer.status() != StatusCode::METHOD_NOT_ALLOWED
        || answer.extensions().get::<Problem>().is_some()
    {
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
    route: Option<MatchedPath>,
    method: Method,
    uri: Uri,
}

impl Line {
    fn of(request: &Request) -> Self {
        Self {
            route: request.extensions().get::<MatchedPath>().cloned(),
            method: request.method().clone(),
            uri: request.uri().clone(),
        }
    }

    fn route(&self) -> &str {
        self.route.as_ref().map_or(UNMATCHED, MatchedPath::as_str)
    }

    /// The audit line of a mutation that was refused before any room began it (K9): scope, body, query, path.
    fn audit(&self, answer: &Response, caller: &Caller, correlation: &CorrelationId) {
        let refused = answer.status().is_client_error() && !READS.contains(&self.method.as_str());
        let problem = answer.extensions().get::<Problem>();
        if let Some(problem) = problem.filter(|_| refused) {
            tracing::info!(
                target: audit::TARGET,
                phase = "outcome",
                action = format!("{} {}", self.method, self.route()),
                path = self.uri.path(),
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
    fn write(&self, answer: &Response, caller: Option<&Caller>, took: Duration) {
        let problem = answer.extensions().get::<Problem>();
        let code = problem.map_or("", |problem| problem.code().spec().name);
        let cause = problem.and_then(Problem::cause).unwrap_or_default();
        let level = match problem {
            Some(problem) => problem.code().spec().level,
            None if self.route().starts_with("/health") => Level::DEBUG,
            None => Level::INFO,
        };
        let row = answer.extensions().get::<Row>();
        let route = row.map_or(self.route(), |row| row.as_str());
        let (zone, caller) = (caller.map(Caller::zone), caller.map(Caller::client_id));
        let (status, ms) = (answer.status().as_u16(), took.as_secs_f64() * 1000.0);
        /// `tracing` fixes the level of an event at compile time: one call per level.
        macro_rules! line {
            ($level:ident) => {
                tracing::$level!(
                    target: REQUEST_TARGET,
                    request = self.uri.path(), method = self.method.as_str(), protocol = "HTTP/1.1", direction = "IN",
                    response_status = status, response_time_ms = ms, route, code, exception_message = cause,
                    tenant_id = zone, caller,
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
