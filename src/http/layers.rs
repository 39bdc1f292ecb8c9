//! The stack around every handler, on one screen, with the reason for its order.
//!
//! Invariant: each request gets exactly one answer, one log line and one correlation id, whatever happens inside.
//!
//! Outermost first:
//! 1. [`Observed`]: correlation id, span, metrics, the one line; writes problems (the router's bare 405 too), so it must
//!    see every answer.
//! 2. panic guard: inside it, so that a panic too gets its line and its problem.
//! 3. [`Entrance`]: what is refused before any work is done for a request. First `gate`: method, host, target and the
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
    http::{code::Code, gate::GateRules, observe::Observed, problem::Problem, state::AppState},
    telemetry::{metrics::Metrics, writer::LogWriter},
};

/// Methods that change nothing (RFC 9110 §9.2.1): to be refused one leaves no audit line.
pub(super) const READS: [&str; 4] = ["GET", "HEAD", "OPTIONS", "TRACE"];
/// Paths below this are probes of the platform.
const PROBES: &str = "/health";

/// Limits on what is taken in at all.
#[derive(Clone, Debug)]
pub struct Admission {
    /// Places for requests in flight.
    pub places: Arc<Semaphore>,
    /// Cancelled when the broker stops.
    pub draining: CancellationToken,
    /// Where audit lines must find room.
    pub log: LogWriter,
}

/// The whole stack as one layer; a clone is shallow.
#[derive(Clone, Debug)]
pub(crate) struct Stack {
    metrics: Metrics,
    rules: Arc<EntranceRules>,
}

impl Stack {
    /// Puts the stack together; the bodies of some paths may be larger than those of all others.
    pub(crate) fn new(state: &AppState, roomy: (&'static [&'static str], usize)) -> Self {
        let rules = EntranceRules {
            gate: state.gate.clone(),
            roomy,
            admission: state.admission.clone(),
            deadline: state.deadline,
        };
        Self { metrics: state.metrics.clone(), rules: Arc::new(rules) }
    }
}

impl<S> Layer<S> for Stack {
    type Service = Within<S>;

    fn layer(&self, inner: S) -> Self::Service {
        let entrance = Entrance { inner, rules: Arc::clone(&self.rules) };
        let guard: PanicGuard = CatchPanicLayer::custom(on_panic as OnPanic);
        Observed { inner: guard.layer(entrance), metrics: self.metrics.clone() }
    }
}

type OnPanic = fn(Box<dyn Any + Send + 'static>) -> Response;
type PanicGuard = CatchPanicLayer<OnPanic>;
type Guarded<S> = CatchPanic<Entrance<S>, OnPanic>;
/// A service with the whole stack around it.
pub(super) type Within<S> = Observed<Guarded<S>>;

/// Turns a panic into a problem; its text stays out of the answer and of the log (it may quote data).
pub(crate) fn on_panic(_panic: Box<dyn Any + Send + 'static>) -> Response {
    Problem::new(Code::Internal, "The broker made a mistake; its log has the correlation id.")
        .into_response()
}

/// What the entrance goes by.
#[derive(Debug)]
struct EntranceRules {
    gate: GateRules,
    /// The paths with a larger body, and how large.
    roomy: (&'static [&'static str], usize),
    admission: Admission,
    deadline: Deadline,
}

impl EntranceRules {
    /// Lets a request in, or says why not. Probes need no place: they must be answered whatever the load.
    ///
    /// # Errors
    /// What the gate refuses; new work while stopping, and beyond the number that memory is planned for.
    fn admit(&self, request: &Request) -> Result<Option<OwnedSemaphorePermit>, Problem> {
        let (paths, bytes) = self.roomy;
        let limit = if paths.contains(&request.uri().path()) { bytes } else { self.gate.body };
        self.gate.judge(request, limit)?;
        if request.uri().path().starts_with(PROBES) {
            return Ok(None);
        }
        let second = Some(Duration::from_secs(1));
        if self.admission.draining.is_cancelled() {
            let detail = "This instance is stopping; repeat the request.";
            return Err(Problem::new(Code::Draining, detail).retry_after(second).closing());
        }
        if !self.admission.log.has_room() && !READS.contains(&request.method().as_str()) {
            let detail = "Nobody takes the broker's log, so no change could be audited.";
            return Err(Problem::new(Code::Overloaded, detail).retry_after(second));
        }
        Arc::clone(&self.admission.places).try_acquire_owned().map(Some).map_err(|_| {
            let detail = "Too many requests are being answered; repeat in a second.";
            Problem::new(Code::Overloaded, detail).retry_after(second)
        })
    }
}

/// The entrance: gate, limits, deadline.
#[derive(Clone, Debug)]
pub(crate) struct Entrance<S> {
    inner: S,
    rules: Arc<EntranceRules>,
}

impl<S> Service<Request> for Entrance<S>
where
    S: Service<Request, Response = Response, Error = Infallible>,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Entering<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        match self.rules.admit(&request) {
            Ok(place) => {
                let work = timeout(self.rules.deadline.0, self.inner.call(request));
                Entering::Working { work, _place: place }
            }
            Err(problem) => Entering::Refused { problem: Some(problem) },
        }
    }
}

pin_project! {
    /// What becomes of a request at the entrance.
    #[project = EnteringPart]
    pub(crate) enum Entering<F> {
        Refused { problem: Option<Problem> },
        // The place is kept until the head of the answer is there.
        Working { #[pin] work: Timeout<F>, _place: Option<OwnedSemaphorePermit> },
    }
}

impl<F: Future<Output = Result<Response, Infallible>>> Future for Entering<F> {
    type Output = Result<Response, Infallible>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project() {
            EnteringPart::Working { work, .. } => work.poll(context).map(|answer| {
                answer.unwrap_or_else(|_elapsed| {
                    let detail =
                        "The request took too long; what was begun is completed and audited.";
                    Ok(Problem::new(Code::CfTimeout, detail).into_response())
                })
            }),
            EnteringPart::Refused { problem } => match problem.take() {
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
