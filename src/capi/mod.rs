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

mod answer;
mod lane;
#[cfg(test)]
pub(crate) mod support;
#[cfg(test)]
mod tests;
mod tokens;

/// The name under which a technical user is configured; callers of this room need no other door to it.
pub use crate::destination::DestinationName;
pub use call::Call;
pub use error::{Answered, CapiError, Sent, Unavailability};
pub use model::{CfError, Guid};

use crate::{
    telemetry::{metrics::Metrics, trace::CorrelationId},
    token::{Revoked, TokenVault},
    upstream::{
        Answer, HttpClient, TransportError,
        gate::{Failure, GateError, Pass},
    },
};
use answer::Unauthenticated;
use apps::Known;
use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use lane::Lane;
use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokens::{Loan, Tokens};
use tokio::time::{Instant, timeout_at};
use tokio_util::task::TaskTracker;

/// Retries of one call (`reliability.md` U2).
const RETRIES: u32 = 2;
/// Shortest and longest pause before a retry, taken with full jitter (U2).
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// Longest `Retry-After` of a 429 that is waited for within a call (U2).
const SHORT_LIMIT: Duration = Duration::from_secs(5);
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
    known: Known,
}

/// The CF API behind one destination, on behalf of one request; a clone is shallow.
#[derive(Clone)]
pub struct Foundation {
    client: CapiClient,
    destination: DestinationName,
    lane: Arc<Lane>,
    correlation: CorrelationId,
    deadline: Instant,
    last_request_id: Arc<Mutex<Option<String>>>,
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
        Self(Arc::new(Shared { tokens, client, metrics, tasks, lanes, known }))
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
            last_request_id: Arc::default(),
        }
    }

    fn lane(&self, destination: &DestinationName) -> Arc<Lane> {
        let mut lanes = self.0.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        let make = || Arc::new(Lane::new(self.0.metrics.clone()));
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
            return Box::pin(self.deliver(call)).await;
        }
        let (this, call) = (self.clone(), call.clone());
        let sending = self.client.0.tasks.spawn(async move { this.deliver(&call).await });
        sending.await.unwrap_or(Err(CapiError::Internal("sending_panicked")))
    }

    /// Returns CF's id of the answer that came last, for the audit line.
    pub fn last_request_id(&self) -> Option<String> {
        self.last_request_id.lock().unwrap_or_else(PoisonError::into_inner).clone()
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

    fn known(&self) -> &Known {
        &self.client.0.known
    }

    async fn deliver(&self, call: &Call) -> Result<Answer, CapiError> {
        for retry in 0..RETRIES {
            let outcome = self.renewed(call).await;
            let Some(pause) = again(call, &outcome, retry) else {
                return outcome;
            };
            if Instant::now() + pause >= self.deadline || !self.lane.gate.may_retry() {
                return outcome;
            }
            tokio::time::sleep(pause).await;
        }
        self.renewed(call).await
    }

    /// Sends once; on 401 renews the token and replays once, whatever the method: CC executed nothing.
    async fn renewed(&self, call: &Call) -> Result<Answer, CapiError> {
        let (refused, loan) = self.attempt(call).await?;
        if refused.status != StatusCode::UNAUTHORIZED {
            return self.judged(refused);
        }
        let (kind, code) = answer::unauthenticated(&refused);
        let request_id = answer::request_id(&refused.headers);
        let unauthorized = CapiError::Unauthorized { code, request_id };
        if kind == Unauthenticated::Bug {
            return Err(unauthorized);
        }
        match self.client.0.tokens.revoke(&self.destination, &loan) {
            Revoked::Renewing => {}
            Revoked::HoldOff => return Err(unauthorized),
        }
        let (answer, _) = self.attempt(call).await?;
        if answer.status == StatusCode::UNAUTHORIZED {
            let (_, code) = answer::unauthenticated(&answer);
            let request_id = answer::request_id(&answer.headers);
            return Err(CapiError::Unauthorized { code, request_id });
        }
        self.judged(answer)
    }

    /// Notes what an answer says about the limit and stops what is not CF's own word.
    fn judged(&self, answer: Answer) -> Result<Answer, CapiError> {
        if answer::limits_the_user(&answer) {
            let asked = answer::retry_after(&answer.headers, answer::MAX_PAUSE);
            let retry_after = self.lane.limited(asked);
            return match answer::intercepted(&answer) {
                Some(_) => Err(CapiError::RateLimited { retry_after }),
                None => Ok(answer),
            };
        }
        self.lane.served();
        answer::intercepted(&answer).map_or(Ok(answer), Err)
    }

    /// Sends once with the token that is in service.
    async fn attempt(&self, call: &Call) -> Result<(Answer, Loan), CapiError> {
        self.lane.passable()?;
        // The token first: callers who wait for one logon must not hold the places of those who have theirs.
        let leasing = self.client.0.tokens.lend(&self.destination);
        let loan = timeout_at(self.deadline, leasing)
            .await
            .map_err(|_| CapiError::Timeout { sent: Sent::No })?
            .map_err(CapiError::Token)?;
        let pass = self.lane.gate.enter().await.map_err(full)?;
        let correlation = self.correlation.as_str();
        let request = call.request(loan.api(), loan.authorization(), correlation)?;
        let started = Instant::now();
        let fetched = self.fetched(call, request).await;
        self.observe(call, &fetched, started.elapsed());
        settle(pass, &fetched);
        Ok((fetched?, loan))
    }

    /// Fetches until the request's end; a mutation that was sent is heard out all the same, within the
    /// client's own 30 s (`reliability.md` U1).
    async fn fetched(
        &self,
        call: &Call,
        request: Request<Bytes>,
    ) -> Result<Answer, TransportError> {
        let fetching = self.client.0.client.fetch(request, call.cap);
        if !call.is_read() {
            return fetching.await;
        }
        let heard = timeout_at(self.deadline, fetching).await;
        heard.unwrap_or(Err(TransportError::Timeout { source: None }))
    }

    fn observe(&self, call: &Call, fetched: &Result<Answer, TransportError>, took: Duration) {
        let metrics = &self.client.0.metrics;
        let Ok(answer) = fetched else {
            metrics.upstream_called("cf", call.operation, 0, took);
            return;
        };
        metrics.upstream_called("cf", call.operation, answer.status.as_u16(), took);
        if let Some(remaining) = number(&answer.headers, "x-ratelimit-remaining") {
            metrics.rate_limit_remaining(remaining);
        }
        let mut last = self.last_request_id.lock().unwrap_or_else(PoisonError::into_inner);
        *last = answer::request_id(&answer.headers);
    }
}

/// Says after which pause a call goes out again, if at all (`reliability.md` U2).
fn again(call: &Call, outcome: &Result<Answer, CapiError>, retry: u32) -> Option<Duration> {
    let jittered = || {
        let longest =
            FIRST_PAUSE.saturating_mul(4_u32.saturating_pow(retry + 1)).min(LONGEST_PAUSE);
        FIRST_PAUSE + longest.saturating_sub(FIRST_PAUSE).mul_f64(fastrand::f64())
    };
    match outcome {
        Ok(answer) if !call.is_idempotent() || answer.status.is_success() => None,
        Ok(answer) => match answer.status {
            StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT => Some(jittered()),
            StatusCode::TOO_MANY_REQUESTS => {
                answer::retry_after(&answer.headers, answer::MAX_PAUSE)
                    .filter(|pause| *pause <= SHORT_LIMIT)
            }
            _ => None,
        },
        Err(CapiError::Unavailable { cause, .. }) => {
            let lawful = cause.is_before_sending() || call.is_idempotent();
            (lawful && cause.may_pass()).then(jittered)
        }
        Err(_) => None,
    }
}

/// Tells the gate how the call went: 4xx, 429 too, are successes of the transport (U4).
fn settle(pass: Pass, fetched: &Result<Answer, TransportError>) {
    match fetched {
        Ok(answer) if answer.status.is_server_error() => pass.failed(Failure::Answer),
        Ok(answer) if answer.headers.contains_key("x-cf-routererror") => {
            pass.failed(Failure::Answer);
        }
        Ok(_) | Err(TransportError::TooLarge) => pass.succeeded(),
        Err(TransportError::Connect { .. }) => pass.failed(Failure::Connect),
        Err(TransportError::Timeout { .. } | TransportError::Interrupted { .. }) => {
            pass.failed(Failure::Answer);
        }
        Err(TransportError::Refused) => drop(pass),
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

fn number(headers: &HeaderMap, name: &str) -> Option<u64> {
    headers.get(name)?.to_str().ok()?.parse().ok()
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
