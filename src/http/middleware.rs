//! The middleware stack around every handler, and the reason for its order.
//!
//! Invariant: each request gets exactly one response, one log line and one correlation id, whatever
//! happens inside.
//!
//! Outermost first:
//! 1. [`AccessLog`]: correlation id, span, metrics, the log line. It also writes problem bodies
//!    (also for the router's plain 405), so it must see every response.
//! 2. Panic guard: inside the access log, so that a panic also gets a log line and a problem.
//! 3. [`AdmissionControl`]: what is refused before any work. First `request_validation`, so that a
//!    malformed request gets the same answer under any load; then stop and load limits; last the
//!    deadline of the whole request.
//!
//! 1 and 3 are services of our own: axum's `from_fn` would allocate two boxes for every request and
//! clone the inner service. The same stack wraps axum's routes and the handler of the CF API
//! ([`super::dispatch`]).

use std::{
    any::Any,
    convert::Infallible,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    extract::Request,
    response::{IntoResponse, Response},
};
use pin_project_lite::pin_project;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Timeout, timeout},
};
use tokio_util::sync::CancellationToken;
use tower::{Layer, Service};
use tower_http::catch_panic::{CatchPanic, CatchPanicLayer};

use crate::{
    auth::ProcessPlace,
    http::{
        access_log::AccessLog,
        code::ProblemCode,
        problem::Problem,
        request_record::RequestRecord,
        request_validation::{PROBES, RequestValidator},
        state::AppState,
    },
    pages::Site,
    telemetry::{metrics::Metrics, writer::LogWriter},
};

/// Methods that change nothing (RFC 9110, 9.2.1): their refusal writes no audit line.
pub(super) const SAFE_METHODS: [&str; 4] = ["GET", "HEAD", "OPTIONS", "TRACE"];

/// Limits of admission.
#[derive(Clone, Debug)]
pub struct AdmissionLimits {
    /// Permits for requests in flight.
    pub permits: Arc<Semaphore>,
    /// Cancelled when the broker stops.
    pub draining: CancellationToken,
    /// The log writer, which must have room for audit lines.
    pub log: LogWriter,
}

/// The whole stack as one tower layer; a clone is shallow.
#[derive(Clone, Debug)]
pub(crate) struct MiddlewareStack {
    metrics: Metrics,
    site: Site,
    rules: Arc<AdmissionRules>,
}

impl MiddlewareStack {
    /// Builds the stack. `large_bodies`: the paths with a larger body limit, and the limit in
    /// bytes.
    pub(crate) fn new(state: &AppState, large_bodies: (&'static [&'static str], usize)) -> Self {
        let rules = AdmissionRules {
            validator: state.validator.clone(),
            large_bodies,
            admission: state.admission.clone(),
            deadline: state.deadline,
        };
        Self { metrics: state.metrics.clone(), site: state.site(), rules: Arc::new(rules) }
    }
}

impl<S> Layer<S> for MiddlewareStack {
    type Service = WithMiddleware<S>;

    fn layer(&self, inner: S) -> Self::Service {
        let admission = AdmissionControl { inner, rules: Arc::clone(&self.rules) };
        let guard: PanicGuard = CatchPanicLayer::custom(on_panic as OnPanic);
        let (metrics, site) = (self.metrics.clone(), self.site.clone());
        AccessLog { inner: guard.layer(admission), metrics, site }
    }
}

type OnPanic = fn(Box<dyn Any + Send + 'static>) -> Response;
type PanicGuard = CatchPanicLayer<OnPanic>;
/// A service inside the whole stack.
pub(super) type WithMiddleware<S> = AccessLog<CatchPanic<AdmissionControl<S>, OnPanic>>;

/// Turns a panic into a problem. The panic's text is not shown or logged, because it may quote
/// data.
pub(crate) fn on_panic(_panic: Box<dyn Any + Send + 'static>) -> Response {
    Problem::new(
        ProblemCode::Internal,
        "The broker made a mistake; its log has the correlation id.",
    )
    .into_response()
}

/// The rules of admission.
#[derive(Debug)]
struct AdmissionRules {
    validator: RequestValidator,
    /// The paths with a larger body limit, and that limit in bytes.
    large_bodies: (&'static [&'static str], usize),
    admission: AdmissionLimits,
    deadline: Deadline,
}

impl AdmissionRules {
    /// Admits a request, or returns the problem. Probes need no permit: they must be answered under
    /// any load.
    ///
    /// # Errors
    /// Invalid head; broker is stopping; too many requests in flight; a mutation without room for
    /// its audit lines.
    fn admit(&self, request: &Request) -> Result<Option<OwnedSemaphorePermit>, Problem> {
        let (paths, bytes) = self.large_bodies;
        let limit = if paths.contains(&request.uri().path()) { bytes } else { self.validator.body };
        self.validator.validate(request, limit)?;
        if request.uri().path().starts_with(PROBES) {
            return Ok(None);
        }
        let second = Some(Duration::from_secs(1));
        if self.admission.draining.is_cancelled() {
            let detail = "This instance is stopping; repeat the request.";
            return Err(Problem::new(ProblemCode::Draining, detail).retry_after(second).closing());
        }
        if !self.admission.log.has_room() && !SAFE_METHODS.contains(&request.method().as_str()) {
            let detail = "The broker's log is not read, so no change can be audited.";
            return Err(Problem::new(ProblemCode::Overloaded, detail).retry_after(second));
        }
        let permit = Arc::clone(&self.admission.permits).try_acquire_owned();
        permit.map(Some).map_err(|_| Problem::too_many_in_flight())
    }
}

/// Admission: head validation, limits, deadline.
#[derive(Clone, Debug)]
pub(crate) struct AdmissionControl<S> {
    inner: S,
    rules: Arc<AdmissionRules>,
}

impl<S> Service<Request> for AdmissionControl<S>
where
    S: Service<Request, Response = Response, Error = Infallible>,
{
    type Response = Response;
    type Error = Infallible;
    type Future = AdmissionFuture<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        match self.rules.admit(&request) {
            Ok(permit) => {
                let places = || RequestRecord::from_extensions(request.extensions());
                let place = permit.map(|permit| places().places().hold_process(permit));
                let work = timeout(self.rules.deadline.0, self.inner.call(request));
                AdmissionFuture::Working { work, _place: place }
            }
            Err(problem) => AdmissionFuture::Refused { problem: Some(problem) },
        }
    }
}

pin_project! {
    /// The response future of an admitted or refused request.
    #[project = AdmissionFutureProjection]
    pub(crate) enum AdmissionFuture<F> {
        Refused { problem: Option<Problem> },
        // The place is held until the response head is ready.
        Working { #[pin] work: Timeout<F>, _place: Option<ProcessPlace> },
    }
}

impl<F: Future<Output = Result<Response, Infallible>>> Future for AdmissionFuture<F> {
    type Output = Result<Response, Infallible>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project() {
            AdmissionFutureProjection::Working { work, .. } => work.poll(context).map(|answer| {
                answer.unwrap_or_else(|_elapsed| {
                    let detail =
                        "The request took too long. A change that has begun is completed and audited.";
                    Ok(Problem::new(ProblemCode::CfTimeout, detail).into_response())
                })
            }),
            AdmissionFutureProjection::Refused { problem } => match problem.take() {
                Some(problem) => Poll::Ready(Ok(problem.into_response())),
                // The problem was already returned.
                None => Poll::Pending,
            },
        }
    }
}

/// Deadline of a whole request.
#[derive(Clone, Copy, Debug)]
pub struct Deadline(pub Duration);
