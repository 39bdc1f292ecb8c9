//! The stack around every handler, on one screen, with the reason for its order.
//!
//! Invariant: each request gets exactly one answer, one log line and one correlation id, whatever happens inside.
//!
//! Outermost first:
//! 1. [`AccessLog`]: correlation id, span, metrics, the one line; writes problems (the router's bare 405 too), so it must
//!    see every answer.
//! 2. panic guard: inside it, so that a panic too gets its line and its problem.
//! 3. [`AdmissionControl`]: what is refused before any work is done for a request. First `gate`: method, host, target and the
//!    headers that speak of the body, so that what is malformed gets the same answer whatever the load; then stop and
//!    load limits; last the deadline of the whole request, nearest to the work it bounds.
//!
//! Two services of our own and no `from_fn`: each of those makes two boxes for every request and copies all that lies
//! inside it. The stack stands around axum's routes and around the one handler of the CF API alike ([`super::paths`]).

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
    http::{
        access_log::AccessLog, code::Code, problem::Problem, request_validation::RequestValidator,
        state::AppState,
    },
    telemetry::{metrics::Metrics, writer::LogWriter},
};

/// Methods that change nothing (RFC 9110 §9.2.1): to be refused one leaves no audit line.
pub(super) const SAFE_METHODS: [&str; 4] = ["GET", "HEAD", "OPTIONS", "TRACE"];
/// Paths below this are probes of the platform.
const PROBES: &str = "/health";

/// Limits on what is taken in at all.
#[derive(Clone, Debug)]
pub struct AdmissionLimits {
    /// Places for requests in flight.
    pub permits: Arc<Semaphore>,
    /// Cancelled when the broker stops.
    pub draining: CancellationToken,
    /// Where audit lines must find room.
    pub log: LogWriter,
}

/// The whole stack as one layer; a clone is shallow.
#[derive(Clone, Debug)]
pub(crate) struct MiddlewareStack {
    metrics: Metrics,
    rules: Arc<AdmissionRules>,
}

impl MiddlewareStack {
    /// Puts the stack together; the bodies of some paths may be larger than those of all others.
    pub(crate) fn new(state: &AppState, large_bodies: (&'static [&'static str], usize)) -> Self {
        let rules = AdmissionRules {
            validator: state.validator.clone(),
            large_bodies,
            admission: state.admission.clone(),
            deadline: state.deadline,
        };
        Self { metrics: state.metrics.clone(), rules: Arc::new(rules) }
    }
}

impl<S> Layer<S> for MiddlewareStack {
    type Service = WithMiddleware<S>;

    fn layer(&self, inner: S) -> Self::Service {
        let admission = AdmissionControl { inner, rules: Arc::clone(&self.rules) };
        let guard: PanicGuard = CatchPanicLayer::custom(on_panic as OnPanic);
        AccessLog { inner: guard.layer(admission), metrics: self.metrics.clone() }
    }
}

type OnPanic = fn(Box<dyn Any + Send + 'static>) -> Response;
type PanicGuard = CatchPanicLayer<OnPanic>;
/// A service with the whole stack around it.
pub(super) type WithMiddleware<S> = AccessLog<CatchPanic<AdmissionControl<S>, OnPanic>>;

/// Turns a panic into a problem; its text stays out of the answer and of the log (it may quote data).
pub(crate) fn on_panic(_panic: Box<dyn Any + Send + 'static>) -> Response {
    Problem::new(Code::Internal, "The broker made a mistake; its log has the correlation id.")
        .into_response()
}

/// What the admission goes by.
#[derive(Debug)]
struct AdmissionRules {
    validator: RequestValidator,
    /// The paths with a larger body, and how large.
    large_bodies: (&'static [&'static str], usize),
    admission: AdmissionLimits,
    deadline: Deadline,
}

impl AdmissionRules {
    /// Lets a request in, or says why not. Probes need no permit: they must be answered whatever the load.
    ///
    /// # Errors
    /// What the gate refuses; new work while stopping, and beyond the number that memory is planned for.
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
            return Err(Problem::new(Code::Draining, detail).retry_after(second).closing());
        }
        if !self.admission.log.has_room() && !SAFE_METHODS.contains(&request.method().as_str()) {
            let detail = "Nobody takes the broker's log, so no change could be audited.";
            return Err(Problem::new(Code::Overloaded, detail).retry_after(second));
        }
        Arc::clone(&self.admission.permits).try_acquire_owned().map(Some).map_err(|_| {
            let detail = "Too many requests are being answered; repeat in a second.";
            Problem::new(Code::Overloaded, detail).retry_after(second)
        })
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
                let work = timeout(self.rules.deadline.0, self.inner.call(request));
                AdmissionFuture::Working { work, _permit: permit }
            }
            Err(problem) => AdmissionFuture::Refused { problem: Some(problem) },
        }
    }
}

pin_project! {
    /// What becomes of a request at the admission.
    #[project = AdmissionFutureProjection]
    pub(crate) enum AdmissionFuture<F> {
        Refused { problem: Option<Problem> },
        // The permit is kept until the head of the answer is there.
        Working { #[pin] work: Timeout<F>, _permit: Option<OwnedSemaphorePermit> },
    }
}

impl<F: Future<Output = Result<Response, Infallible>>> Future for AdmissionFuture<F> {
    type Output = Result<Response, Infallible>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project() {
            AdmissionFutureProjection::Working { work, .. } => work.poll(context).map(|answer| {
                answer.unwrap_or_else(|_elapsed| {
                    let detail =
                        "The request took too long; what was begun is completed and audited.";
                    Ok(Problem::new(Code::CfTimeout, detail).into_response())
                })
            }),
            AdmissionFutureProjection::Refused { problem } => match problem.take() {
                Some(problem) => Poll::Ready(Ok(problem.into_response())),
                // The refusal was given.
                None => Poll::Pending,
            },
        }
    }
}

/// Longest time for a whole request.
#[derive(Clone, Copy, Debug)]
pub struct Deadline(pub Duration);
