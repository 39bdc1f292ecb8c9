//! What every request of every part goes through: body, journal, faults, the part itself, journal
//! again. Invariant: a request is in the journal before anything can fail. Called by `listener` for
//! each request.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::fmt;
use std::future::pending;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use tokio::time::{Instant, sleep};
use tower::ServiceExt as _;

use crate::journal::Journal;
use crate::levers::part_faults::{CannedAnswer, PartFault, PartFaults};
use crate::part::{Part, locked};
use crate::wire::{SocketControl, WritePlan};

/// Bytes. A larger body ends the connection; no part takes as much.
const BODY_LIMIT: usize = 16 * 1024 * 1024;

/// The identity provider that a handler asked. An extension of the answer carries it to the
/// journal.
#[derive(Clone, Debug)]
pub(crate) struct AskedProvider(pub(crate) String);

/// When a request arrived. An extension of the request carries it to the handler.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrival(pub(crate) Instant);

/// The connection ends without an answer.
#[derive(Debug)]
pub(crate) struct ConnectionTorn;

/// The service behind one port: a router, and for a part also journal and faults.
#[derive(Debug)]
pub(crate) struct Service {
    router: Router,
    instruments: Option<Instruments>,
}

/// How tests observe a part and make it fail. The address of the levers has none.
#[derive(Clone, Debug)]
pub(crate) struct Instruments {
    pub(crate) part: Part,
    pub(crate) journal: Arc<Journal>,
    pub(crate) faults: Arc<PartFaults>,
    pub(crate) recent_requests: Arc<RecentRequests>,
}

/// The number of requests whose bytes are kept. No single action of a client needs more.
const KEPT: usize = 64;

/// The bytes of the last requests of a part. For the UAA only token requests are kept.
#[derive(Debug, Default)]
pub(crate) struct RecentRequests(Mutex<VecDeque<Vec<u8>>>);

impl RecentRequests {
    /// Returns the bytes of the last request as received.
    pub(crate) fn last(&self) -> Vec<u8> {
        locked(&self.0).back().cloned().unwrap_or_default()
    }

    /// Returns all kept requests, oldest first.
    pub(crate) fn all(&self) -> Vec<Vec<u8>> {
        locked(&self.0).iter().cloned().collect()
    }

    /// Removes them.
    pub(crate) fn clear(&self) {
        locked(&self.0).clear();
    }

    fn add(&self, received: Vec<u8>) {
        let mut kept = locked(&self.0);
        kept.push_back(received);
        if kept.len() > KEPT {
            kept.pop_front();
        }
    }
}

impl fmt::Display for ConnectionTorn {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("the connection was torn on purpose")
    }
}

impl std::error::Error for ConnectionTorn {}

impl Service {
    /// Makes a service of a router. With instruments its requests are in the journal, and it can be
    /// made to fail.
    pub(crate) fn new(router: Router, instruments: Option<Instruments>) -> Self {
        Self { router, instruments }
    }

    /// Answers one request.
    ///
    /// # Errors
    /// [`ConnectionTorn`] if the connection must end without an answer.
    pub(crate) async fn answer(
        &self,
        request: Request<Incoming>,
        control: &SocketControl,
    ) -> Result<Response<Body>, ConnectionTorn> {
        let (mut head, body) = request.into_parts();
        head.extensions.insert(Arrival(Instant::now()));
        let body =
            Limited::new(body, BODY_LIMIT).collect().await.map_err(|_| ConnectionTorn)?.to_bytes();
        let received = control.take_request();
        control.plan(WritePlan::Plain);
        let Some(instruments) = &self.instruments else {
            return Ok(self.ask(head, body).await);
        };
        if instruments.part != Part::Uaa || head.uri.path().trim_end_matches('/') == "/oauth/token"
        {
            instruments.recent_requests.add(received);
        }
        let entry_id = instruments.journal.open(instruments.part, &head, &body);
        let answer = self.answer_with_fault(instruments, control, head, body).await?;
        let asked = answer.extensions().get::<AskedProvider>().map(|asked| asked.0.clone());
        instruments.journal.close(entry_id, answer.status().as_u16(), asked);
        Ok(answer)
    }

    /// Applies delay and fault around the part's own answer.
    async fn answer_with_fault(
        &self,
        instruments: &Instruments,
        control: &SocketControl,
        head: http::request::Parts,
        body: Bytes,
    ) -> Result<Response<Body>, ConnectionTorn> {
        let fault = instruments.faults.next(head.method.as_str(), head.uri.path());
        let latency = instruments.faults.latency();
        if !latency.is_zero() {
            sleep(latency).await;
        }
        match fault {
            None => Ok(self.ask(head, body).await),
            Some(PartFault::Answer(canned)) => Ok(canned_answer(canned, control)),
            Some(PartFault::Echo(echo)) => Ok(echo.answer(instruments.part, &head, &body)),
            Some(PartFault::Hang(None)) => {
                instruments.faults.released().await;
                Ok(self.ask(head, body).await)
            }
            Some(PartFault::Hang(Some(time))) => {
                sleep(time).await;
                Ok(self.ask(head, body).await)
            }
            Some(PartFault::Cut) => {
                control.reset();
                Err(ConnectionTorn)
            }
            Some(PartFault::CommitThenHang) => {
                self.ask(head, body).await;
                pending().await
            }
            Some(PartFault::Wire(plan)) => {
                let answer = self.ask(head, body).await;
                control.plan(plan);
                Ok(answer)
            }
        }
    }

    async fn ask(&self, head: http::request::Parts, body: Bytes) -> Response<Body> {
        let request = Request::from_parts(head, Body::from(body));
        let answer: Result<_, Infallible> = self.router.clone().oneshot(request).await;
        match answer {
            Ok(answer) => answer,
            Err(never) => match never {},
        }
    }
}

/// Builds a fixed answer. Invalid headers are left out.
fn canned_answer(canned: CannedAnswer, control: &SocketControl) -> Response<Body> {
    if let Some(raw) = canned.raw {
        control.plan(WritePlan::Replace(raw));
    }
    if canned.reset {
        control.reset();
    }
    let mut answer = Response::new(Body::from(canned.body));
    *answer.status_mut() = StatusCode::from_u16(canned.status).unwrap_or_default();
    for (name, value) in &canned.headers {
        let name = HeaderName::from_bytes(name.as_bytes());
        let value = HeaderValue::from_bytes(value.as_bytes());
        if let (Ok(name), Ok(value)) = (name, value) {
            answer.headers_mut().append(name, value);
        }
    }
    answer
}
