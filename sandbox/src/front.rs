//! What every request of every part walks through: body, journal, tricks, the part itself, journal again.
//! Invariant: a request stands in the journal before anything can go wrong with it. Called by `door` for each request.

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
use tokio::time::sleep;
use tower::ServiceExt as _;

use crate::journal::Journal;
use crate::levers::tricks::{Canned, Trick, Tricks};
use crate::part::{Part, locked};
use crate::wire::{Line, Plan};

/// Larger bodies end the connection: no part takes as much.
const BODY_LIMIT: usize = 16 * 1024 * 1024;

/// The identity provider that a handler asked, on its way to the journal.
#[derive(Clone, Debug)]
pub(crate) struct AskedProvider(pub(crate) String);

/// The connection ends without an answer.
#[derive(Debug)]
pub(crate) struct Torn;

/// A part's way in.
#[derive(Debug)]
pub(crate) struct Front {
    router: Router,
    watch: Option<Watch>,
}

/// What a part is watched and troubled with; the levers' own address has none.
#[derive(Clone, Debug)]
pub(crate) struct Watch {
    pub(crate) part: Part,
    pub(crate) journal: Arc<Journal>,
    pub(crate) tricks: Arc<Tricks>,
    pub(crate) captured: Arc<Captured>,
}

/// Requests whose bytes are kept: more than any one action of a client takes.
const KEPT: usize = 64;

/// The bytes of the last requests of a part; of the UAA only token requests are kept.
#[derive(Debug, Default)]
pub(crate) struct Captured(Mutex<VecDeque<Vec<u8>>>);

impl Captured {
    /// Returns the last one's bytes as received.
    pub(crate) fn last(&self) -> Vec<u8> {
        locked(&self.0).back().cloned().unwrap_or_default()
    }

    /// Returns all that are kept, oldest first.
    pub(crate) fn all(&self) -> Vec<Vec<u8>> {
        locked(&self.0).iter().cloned().collect()
    }

    /// Forgets them.
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

impl fmt::Display for Torn {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("the connection was torn on purpose")
    }
}

impl std::error::Error for Torn {}

impl Front {
    /// Makes the way in to a router; with a watch it is journalled and can be made to fail.
    pub(crate) fn new(router: Router, watch: Option<Watch>) -> Self {
        Self { router, watch }
    }

    /// Answers one request.
    ///
    /// # Errors
    /// [`Torn`] where the connection must end instead.
    pub(crate) async fn answer(
        &self,
        request: Request<Incoming>,
        line: &Line,
    ) -> Result<Response<Body>, Torn> {
        let (head, body) = request.into_parts();
        let body = Limited::new(body, BODY_LIMIT).collect().await.map_err(|_| Torn)?.to_bytes();
        let received = line.take_request();
        line.plan(Plan::Plain);
        let Some(watch) = &self.watch else {
            return Ok(self.ask(head, body).await);
        };
        if watch.part != Part::Uaa || head.uri.path() == "/oauth/token" {
            watch.captured.add(received);
        }
        let ticket = watch.journal.open(watch.part, &head, &body);
        let answer = self.troubled(watch, line, head, body).await?;
        let asked = answer.extensions().get::<AskedProvider>().map(|asked| asked.0.clone());
        watch.journal.close(ticket, answer.status().as_u16(), asked);
        Ok(answer)
    }

    /// Applies delay and trick around the part's own answer.
    async fn troubled(
        &self,
        watch: &Watch,
        line: &Line,
        head: http::request::Parts,
        body: Bytes,
    ) -> Result<Response<Body>, Torn> {
        let trick = watch.tricks.next(head.method.as_str(), head.uri.path());
        let latency = watch.tricks.latency();
        if !latency.is_zero() {
            sleep(latency).await;
        }
        match trick {
            None => Ok(self.ask(head, body).await),
            Some(Trick::Answer(canned)) => Ok(canned_answer(canned, line)),
            Some(Trick::Hang(None)) => {
                watch.tricks.released().await;
                Ok(self.ask(head, body).await)
            }
            Some(Trick::Hang(Some(time))) => {
                sleep(time).await;
                Ok(self.ask(head, body).await)
            }
            Some(Trick::Cut) => {
                line.reset();
                Err(Torn)
            }
            Some(Trick::CommitThenHang) => {
                self.ask(head, body).await;
                pending().await
            }
            Some(Trick::Wire(plan)) => {
                let answer = self.ask(head, body).await;
                line.plan(plan);
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

/// Builds a ready-made answer; header lines that are none are left out.
fn canned_answer(canned: Canned, line: &Line) -> Response<Body> {
    if let Some(raw) = canned.raw {
        line.plan(Plan::Replace(raw));
    }
    if canned.reset {
        line.reset();
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
