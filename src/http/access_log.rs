//! The outermost layer: correlation id, span, metrics, the one log line, and the body of a problem.
//!
//! Invariant: each response passes here exactly once, also problems and panics. Only `middleware`
//! uses it.

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::{
    body::Body,
    extract::{MatchedPath, Request},
    response::Response,
};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, response::Parts};
use hyper::body::Body as HttpBody;
use pin_project_lite::pin_project;
use tokio::time::Instant;
use tower::Service;
use tracing::{Instrument, Level, Span, instrument::Instrumented};

use crate::{
    auth::Caller,
    http::{
        middleware::SAFE_METHODS,
        page::BROWSER_HEADERS,
        problem::{Problem, ProblemForm},
        request_record::RequestRecord,
    },
    pages::Site,
    policy::path::is_upstream,
    telemetry::{
        audit,
        logs::REQUEST_TARGET,
        metrics::{InFlight, Metrics},
        trace::{CorrelationId, request_id},
    },
};

/// Header of the correlation id in answers.
const CORRELATION: HeaderName = HeaderName::from_static("x-correlationid");
const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");
/// Logged route of requests that match none.
const UNMATCHED: &str = "unmatched";

/// Adds correlation id, span and metrics to a request; writes the body of a problem and one log
/// line.
#[derive(Clone, Debug)]
pub(crate) struct AccessLog<S> {
    pub(super) inner: S,
    pub(super) metrics: Metrics,
    pub(super) site: Site,
}

impl<S, B> Service<Request> for AccessLog<S>
where
    S: Service<Request, Response = Response<B>, Error = Infallible>,
    B: HttpBody<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<axum::BoxError>,
{
    type Response = Response;
    type Error = Infallible;
    type Future = AccessLogFuture<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request) -> Self::Future {
        let entry = AccessEntry::begin(&mut request, &self.metrics, &self.site);
        let work = entry.span.in_scope(|| self.inner.call(request)).instrument(entry.span.clone());
        AccessLogFuture { work, entry: Some(entry) }
    }
}

pin_project! {
    /// The response future inside the span of the request.
    pub(crate) struct AccessLogFuture<F> {
        #[pin]
        work: Instrumented<F>,
        // `None` once the response is ready.
        entry: Option<AccessEntry>,
    }
}

impl<F, B> Future for AccessLogFuture<F>
where
    F: Future<Output = Result<Response<B>, Infallible>>,
    B: HttpBody<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<axum::BoxError>,
{
    type Output = Result<Response, Infallible>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let answer = ready!(this.work.poll(context))?;
        Poll::Ready(Ok(match this.entry.take() {
            Some(entry) => entry.end(answer),
            // The future is not polled again after it is ready.
            None => answer.map(Body::new),
        }))
    }
}

/// What the access log keeps from the request head to the response head.
struct AccessEntry {
    started: Instant,
    span: Span,
    record: RequestRecord,
    request: LoggedRequest,
    form: ProblemForm,
    metrics: Metrics,
    in_flight: InFlight,
}

impl AccessEntry {
    fn begin(request: &mut Request, metrics: &Metrics, site: &Site) -> Self {
        let started = Instant::now();
        let record = RequestRecord::from_headers(request.headers());
        let correlation = record.correlation().as_str();
        let router_id = request_id(request.headers()).map(|id| id.to_string());
        let span = tracing::info_span!(
            "request",
            correlation_id = correlation,
            request_id = router_id.as_deref().unwrap_or(correlation),
        );
        let logged = LoggedRequest::of(request);
        let form = ProblemForm::of(request.uri().path(), request.headers(), site);
        request.extensions_mut().insert(record.clone());
        let in_flight = metrics.request_started();
        Self { started, span, record, request: logged, form, metrics: metrics.clone(), in_flight }
    }

    fn end<B>(self, answer: Response<B>) -> Response
    where
        B: HttpBody<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<axum::BoxError>,
    {
        let _entered = self.span.enter();
        let correlation = self.record.correlation();
        let (mut parts, body) = answer.into_parts();
        let problem = problem_of(&mut parts);
        let written = problem
            .as_ref()
            .map(|problem| render_problem(&mut parts, problem, correlation, &self.form));
        add_common_headers(&mut parts.headers, correlation);
        if self.form == ProblemForm::CfApi {
            parts.headers.insert(http::header::CACHE_CONTROL, NO_STORE);
        } else {
            add_browser_headers(&mut parts.headers);
        }
        let took = self.started.elapsed();
        drop(self.in_flight);
        let (route, method) = (self.request.route(), self.request.method.as_str());
        self.metrics.request_answered(route, method, parts.status.as_u16(), took);
        if !self.record.is_audited() {
            self.request.audit(parts.status, problem.as_ref(), &self.record);
        }
        self.request.write(parts.status, problem.as_ref(), &self.record, took);
        match written {
            // A problem is short and in memory, so the caller's permit ends here. The rest of the
            // request may still have to come.
            Some(body) => Response::from_parts(parts, body),
            None => self.record.hold_permit_during(Response::from_parts(parts, body)),
        }
    }
}

/// Takes the problem out of a response: a handler's, a layer's, or one for the router's own 405.
fn problem_of(parts: &mut Parts) -> Option<Problem> {
    let problem = parts.extensions.remove::<Problem>();
    problem.or_else(|| {
        let of_the_router = parts.status == StatusCode::METHOD_NOT_ALLOWED;
        of_the_router.then(|| Problem::method_not_allowed(&parts.headers))
    })
}

/// Replaces the head by that of the problem, keeps the `Connection` header, and returns the body.
fn render_problem(
    parts: &mut Parts,
    problem: &Problem,
    correlation: &CorrelationId,
    form: &ProblemForm,
) -> Body {
    let connection = parts.headers.remove(http::header::CONNECTION);
    let (rendered, body) = problem.render(correlation, form).into_parts();
    *parts = rendered;
    if let Some(value) = connection {
        parts.headers.insert(http::header::CONNECTION, value);
    }
    body
}

/// Returns why a request was refused, for the log line.
fn refusal_reason(problem: &Problem, caller: Option<&Caller>) -> Option<String> {
    let pinned = problem
        .missing_scope()
        .filter(|scope| caller.is_some_and(|caller| caller.is_held_off_by_pin(*scope)));
    match pinned {
        Some(scope) => Some(format!(
            "pinned: the token holds {}, but auth.pins lists other clients for it",
            scope.name()
        )),
        None => problem.error_chain(),
    }
}

/// Adds the headers that every response has.
fn add_common_headers(headers: &mut HeaderMap, correlation: &CorrelationId) {
    headers.insert(http::header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(CORRELATION, correlation.header());
}

/// Adds the headers that tell a browser what it may do with an answer of the broker's own paths. A
/// page has its own policy, and the files of pages may be kept.
fn add_browser_headers(headers: &mut HeaderMap) {
    headers.entry(http::header::CACHE_CONTROL).or_insert(NO_STORE);
    for (name, value) in BROWSER_HEADERS {
        headers.entry(name).or_insert(value);
    }
}

/// What the log line says about the request; read before the request is consumed.
struct LoggedRequest {
    route: Option<MatchedPath>,
    method: Method,
    uri: Uri,
}

impl LoggedRequest {
    fn of(request: &Request) -> Self {
        Self {
            route: request.extensions().get::<MatchedPath>().cloned(),
            method: request.method().clone(),
            uri: request.uri().clone(),
        }
    }

    /// Returns the route template; paths of the CF API are not in the route table.
    fn route(&self) -> &str {
        match &self.route {
            Some(matched) => matched.as_str(),
            None if !is_upstream(self.uri.path()) => UNMATCHED,
            None => match self.uri.path() {
                "/v3" => "/v3",
                "/v3/" => "/v3/",
                _ => "/v3/{*path}",
            },
        }
    }

    /// Writes the audit line of a mutation that was refused before a module began it (scope, body,
    /// query, path).
    fn audit(&self, status: StatusCode, problem: Option<&Problem>, record: &RequestRecord) {
        let refused = status.is_client_error() && !SAFE_METHODS.contains(&self.method.as_str());
        if let Some((problem, caller)) = problem.zip(record.caller()).filter(|_| refused) {
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
                status = status.as_u16(),
                correlation_id = record.correlation().as_str(),
                "mutation refused"
            );
        }
    }

    /// Writes one line per request, with the level of the problem; successful probes only at DEBUG.
    fn write(
        &self,
        status: StatusCode,
        problem: Option<&Problem>,
        record: &RequestRecord,
        took: Duration,
    ) {
        let code = problem.map_or("", |problem| problem.code().spec().name);
        let cause = problem
            .and_then(|problem| refusal_reason(problem, record.caller()))
            .unwrap_or_default();
        let level = match problem {
            Some(problem) => problem.code().spec().level,
            None if self.route().starts_with("/health") => Level::DEBUG,
            None => Level::INFO,
        };
        let route = record.rule().unwrap_or_else(|| self.route());
        let (zone, caller) =
            (record.caller().map(Caller::zone), record.caller().map(Caller::client_id));
        let (status, ms) = (status.as_u16(), took.as_secs_f64() * 1000.0);
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
