//! The CF API v3 as the technical user: lease, gate, one replay after 401, typed failures.
//!
//! Invariant: one token per call, never shown; a 401 costs at most one renewal and one replay; nothing is
//! sent while CF has the technical user wait. Callers: `proxy`, `routes`, `http`, `doctor`.

pub mod apps;
pub mod call;
pub mod error;
pub mod jobs;
pub mod model;
pub mod page;
pub mod routes;
pub mod spaces;
pub mod stream;

mod answer;
mod base;
mod lane;
mod outcome;
mod shed;
#[cfg(test)]
pub(crate) mod support;
#[cfg(test)]
mod tests;
mod tokens;
mod version;

/// The name under which a technical user is configured; callers of this room need no other door to it.
pub use crate::destination::DestinationName;
pub use call::Call;
pub use error::{Answered, CapiError, Sent, Unavailability};
pub use model::{CfError, Guid};
pub use stream::{Body, Opened};

use crate::{
    telemetry::{metrics::Metrics, trace::CorrelationId},
    token::{Revoked, TokenVault},
    upstream::{Answer, HttpClient, TransportError, gate::GateError},
};
use answer::Unauthenticated;
use apps::Known;
use bytes::Bytes;
use http::{HeaderValue, Request, StatusCode};
use lane::{Gates, Lane};
use outcome::{Heard, again, settle};
use shed::Weight;
use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use stream::{Form, Reply};
use tokens::{Loan, Tokens};
use tokio::time::{Instant, timeout_at};
use tokio_util::task::TaskTracker;

/// Retries of one call (`reliability.md` U2).
const RETRIES: u32 = 2;
/// A place in the gate frees itself within about a second.
const BUSY_PAUSE: Duration = Duration::from_secs(1);

/// The client of the CF API; a clone is shallow.
#[derive(Clone)]
pub struct CapiClient(Arc<Shared>);

struct Shared {
    tokens: Tokens,
    client: HttpClient,
    metrics: Metrics,
    tasks: TaskTracker,
    /// One per configured destination, so bounded by the settings.
    lanes: Mutex<HashMap<DestinationName, Arc<Lane>>>,
    gates: Arc<Gates>,
    known: Known,
    /// The version of the API that told it last.
    version: Mutex<Option<String>>,
}

/// The CF API behind one destination, on behalf of one request; a clone is shallow.
#[derive(Clone)]
pub struct Foundation {
    client: CapiClient,
    destination: DestinationName,
    lane: Arc<Lane>,
    correlation: CorrelationId,
    deadline: Instant,
    weight: Weight,
    last_request_id: Arc<Mutex<Option<HeaderValue>>>,
}

impl CapiClient {
    /// Makes the client. `client` is one for `Purpose::CfApi`; mutations run on `tasks`, so that a
    /// caller who hangs up does not cut one that was sent.
    pub fn new(
        vault: TokenVault,
        client: HttpClient,
        metrics: Metrics,
        tasks: TaskTracker,
    ) -> Self {
        Self::lent_by(Tokens::Vault(vault), client, metrics, tasks)
    }

    fn lent_by(tokens: Tokens, client: HttpClient, metrics: Metrics, tasks: TaskTracker) -> Self {
        let lanes = Mutex::default();
        let known = Known::default();
        let version = Mutex::default();
        let gates = Arc::new(Gates::new(metrics.clone()));
        Self(Arc::new(Shared { tokens, client, metrics, tasks, lanes, gates, known, version }))
    }

    /// Returns the CF API behind a destination for one request, which ends at `deadline`.
    pub fn at(
        &self,
        destination: &DestinationName,
        correlation: &CorrelationId,
        deadline: Instant,
    ) -> Foundation {
        Foundation {
            client: self.clone(),
            destination: destination.clone(),
            lane: self.lane(destination),
            correlation: correlation.clone(),
            deadline,
            weight: Weight::Light,
            last_request_id: Arc::default(),
        }
    }

    fn lane(&self, destination: &DestinationName) -> Arc<Lane> {
        let mut lanes = self.0.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        let make = || Arc::new(Lane::new(Arc::clone(&self.0.gates)));
        lanes.entry(destination.clone()).or_insert_with(make).clone()
    }
}

impl Foundation {
    /// Sends a call and returns CF's answer, whatever its status.
    ///
    /// Idempotent calls are repeated at most twice, others only when the connection was never made.
    /// A mutation goes on when the returned future is dropped.
    ///
    /// # Errors
    /// Every [`CapiError`] but those about an answer that is CF's own: a second 401, pages of the router
    /// or of nginx, a pause after 429, no token, no connection, no answer.
    pub async fn send(&self, call: &Call) -> Result<Answer, CapiError> {
        if call.is_read() {
            return Box::pin(self.deliver(call, Form::Whole)).await?.0.into_answer();
        }
        self.send_to_the_end(call).await?.0.into_answer()
    }

    async fn send_to_the_end(&self, call: &Call) -> Result<(Reply, Loan), CapiError> {
        let (this, call) = (self.clone(), call.clone());
        let sending =
            self.client.0.tasks.spawn(async move { this.deliver(&call, Form::Whole).await });
        sending.await.unwrap_or(Err(CapiError::Internal("sending_panicked")))
    }

    /// Sends a read and hands its answer on as it comes; what says no is read whole, as for
    /// [`Foundation::send`].
    ///
    /// # Errors
    /// As [`Foundation::send`]; [`CapiError::Unreadable`] when CF announces more than the call's cap.
    pub async fn open(&self, call: &Call) -> Result<Opened, CapiError> {
        let (reply, loan) = if call.is_read() {
            Box::pin(self.deliver(call, Form::Streamed)).await?
        } else {
            self.send_to_the_end(call).await?
        };
        Ok(Opened::of(reply, loan, self.lane.root.external()))
    }

    /// Returns CF's id of the answer that came last, for the audit line.
    pub fn last_request_id(&self) -> Option<String> {
        let last = self.last_request_id.lock().unwrap_or_else(PoisonError::into_inner);
        last.as_ref()?.to_str().ok().map(ToOwned::to_owned)
    }

    /// Returns the destination that it goes through.
    pub fn destination(&self) -> &DestinationName {
        &self.destination
    }

    /// Returns when its request ends.
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Returns the same foundation with an earlier or later end.
    #[must_use]
    pub fn until(mut self, deadline: Instant) -> Self {
        self.deadline = deadline;
        self
    }

    /// Returns the same foundation with a memory of its own for the id of the last answer: for one of several things
    /// that are done side by side.
    #[must_use]
    pub fn apart(mut self) -> Self {
        self.last_request_id = Arc::default();
        self
    }

    /// Returns the same foundation for a write: its reads do not give way when the rate limit is low.
    #[must_use]
    pub fn for_write(mut self) -> Self {
        self.weight = Weight::Heavy;
        self
    }

    fn known(&self) -> &Known {
        &self.client.0.known
    }

    async fn deliver(&self, call: &Call, form: Form) -> Result<(Reply, Loan), CapiError> {
        let mut retries = 0;
        loop {
            let outcome = self.renewed(call, form).await;
            if retries == RETRIES {
                return outcome;
            }
            let Some(pause) = again(call, outcome.as_ref().map(|(reply, _)| reply), retries) else {
                return outcome;
            };
            if Instant::now() + pause >= self.deadline || !self.lane.may_retry() {
                return outcome;
            }
            tokio::time::sleep(pause).await;
            retries += 1;
        }
    }

    /// Sends once; on 401 renews the token and replays once, whatever the method: CC executed nothing.
    async fn renewed(&self, call: &Call, form: Form) -> Result<(Reply, Loan), CapiError> {
        let mut is_replay = false;
        loop {
            let (reply, loan) = self.attempt(call, form).await?;
            let refused = match reply {
                Reply::Whole(answer) if answer.status == StatusCode::UNAUTHORIZED => answer,
                Reply::Whole(_) | Reply::Streamed(..) => return Ok((self.judged(reply)?, loan)),
            };
            let (kind, code) = answer::unauthenticated(&refused);
            let request_id = answer::request_id(&refused.headers);
            let unauthorized = CapiError::Unauthorized { code, request_id };
            if is_replay {
                return Err(unauthorized);
            }
            if kind == Unauthenticated::Bug {
                self.client.0.metrics.alarm("unusable_header");
                return Err(unauthorized);
            }
            match self.client.0.tokens.revoke(&self.destination, &loan) {
                Revoked::Renewing => is_replay = true,
                Revoked::HoldOff => return Err(unauthorized),
            }
        }
    }

    /// Notes what an answer says about the limit and stops what is not CF's own word.
    fn judged(&self, reply: Reply) -> Result<Reply, CapiError> {
        let answer = match reply {
            Reply::Whole(answer) => answer,
            Reply::Streamed(..) => {
                self.lane.served();
                let page = answer::intercepted(reply.status(), reply.headers());
                return page.map_or(Ok(reply), Err);
            }
        };
        let page = answer::intercepted(answer.status, &answer.headers);
        if answer::limits_the_user(&answer) {
            let asked = answer::retry_after(&answer.headers, answer::MAX_PAUSE);
            let retry_after = self.lane.limited(asked);
            return match page {
                Some(_) => Err(CapiError::RateLimited { retry_after }),
                None => Ok(Reply::Whole(answer)),
            };
        }
        self.lane.served();
        page.map_or(Ok(Reply::Whole(answer)), Err)
    }

    /// Sends once with the token that is in service.
    async fn attempt(&self, call: &Call, form: Form) -> Result<(Reply, Loan), CapiError> {
        self.lane.passable(if call.is_read() { self.weight } else { Weight::Heavy })?;
        // The token first: callers who wait for one logon must not hold the places of those who have theirs.
        let leasing = self.client.0.tokens.lend(&self.destination);
        let loan = timeout_at(self.deadline, leasing)
            .await
            .map_err(|_| CapiError::Timeout { sent: Sent::No })?
            .map_err(CapiError::Token)?;
        let road = self.lane.road(loan.api());
        let pass = road.gate.enter().await.map_err(full)?;
        let base = road.base.as_ref().ok_or(CapiError::Internal("target_mismatch"));
        let request =
            base.and_then(|base| call.request(base, loan.authorization(), &self.correlation));
        let request = request.inspect_err(|_| self.client.0.metrics.alarm("target_mismatch"))?;
        let started = Instant::now();
        let heard = self.heard(call, form, request).await;
        self.observe(call, &heard, started.elapsed());
        Ok((settle(pass, heard)?, loan))
    }

    /// Hears an answer until the request's end; a mutation that was sent is heard out all the same, within the client's
    /// own 30 s (`reliability.md` U1). Of what is streamed only the head, unless it says no.
    async fn heard(
        &self,
        call: &Call,
        form: Form,
        request: Request<Bytes>,
    ) -> Result<Heard, TransportError> {
        let client = &self.client.0.client;
        let until = call.is_read().then_some(self.deadline);
        let incoming = client.send_until(request, until).await?;
        if form == Form::Whole {
            return Box::pin(incoming.read(call.cap())).await.map(Heard::Whole);
        }
        if incoming.status().as_u16() >= 400 {
            let read = Box::pin(incoming.read(stream::ERROR_CAP)).await;
            return read.map(Heard::Whole).map_err(TransportError::behind_a_head);
        }
        incoming.into_body(call.cap()).map(Heard::Begun)
    }

    fn observe(&self, call: &Call, heard: &Result<Heard, TransportError>, took: Duration) {
        let metrics = &self.client.0.metrics;
        let (status, headers) = match heard {
            Ok(Heard::Whole(answer)) => (answer.status, &answer.headers),
            Ok(Heard::Begun(streamed)) => (streamed.status, &streamed.headers),
            Err(_) => {
                metrics.upstream_called("cf", call.operation, 0, took);
                return;
            }
        };
        metrics.upstream_called("cf", call.operation, status.as_u16(), took);
        let remaining = shed::remaining(headers);
        // Beside a 401 the headers are about the address, not about the technical user.
        if let Some(remaining) = remaining.filter(|_| status != StatusCode::UNAUTHORIZED) {
            self.lane.shedding.learn(headers, remaining);
        }
        if let Some(remaining) = remaining {
            metrics.rate_limit_remaining(remaining);
        }
        let mut last = self.last_request_id.lock().unwrap_or_else(PoisonError::into_inner);
        *last = headers.get(&answer::REQUEST_ID).cloned();
    }
}

fn full(error: GateError) -> CapiError {
    match error {
        GateError::Open { retry_after } => {
            CapiError::unavailable(Unavailability::BreakerOpen, Some(retry_after))
        }
        GateError::Full => CapiError::unavailable(Unavailability::Busy, Some(BUSY_PAUSE)),
    }
}

impl fmt::Debug for CapiClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CapiClient").finish_non_exhaustive()
    }
}

impl fmt::Debug for Foundation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Foundation").field("destination", &self.destination).finish_non_exhaustive()
    }
}
