//! The CF API v3, called as the technical user: token, gate, one replay after 401, typed errors.
//!
//! Invariant: each call uses one token, which is never shown. A 401 costs at most one renewal and
//! one replay. Nothing is sent while CF's rate limit makes the technical user wait. What each error
//! of CF means: `docs/reference/problems.md` and `docs/reference/real-systems.md`. Callers:
//! `proxy`, `routes`, `http`.

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
mod api_origin;
mod api_state;
mod load_shedding;
mod outcome;
#[cfg(test)]
pub(crate) mod support;
#[cfg(test)]
mod tests;
mod tokens;
mod version;

/// Re-exported, so that callers need no dependency on `destination`.
pub use crate::destination::DestinationName;
pub use call::Call;
pub use error::{CapiError, ErrorResponse, RequestSent, Unavailability};
pub use model::{CfError, Guid};
pub use stream::{CfBody, OpenedResponse};

use crate::{
    telemetry::{metrics::Metrics, trace::CorrelationId},
    token::{Lease, Revoked, TokenVault},
    upstream::{
        HttpClient, HttpResponse, TransportError,
        gate::GateError,
        retry::{RetryDecision, asked_pause, retry_while},
    },
};
use answer::Unauthenticated;
pub use api_state::ApiCondition;
use api_state::{ApiGates, ApiState};
use apps::ResourceCache;
use bytes::Bytes;
use http::{HeaderValue, Request, StatusCode};
pub use load_shedding::CallsLeft;
use load_shedding::Criticality;
use outcome::{RawResponse, decide_retry, report};
use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use stream::{BodyMode, CfResponse};
use tokens::TokenLender;
use tokio::time::{Instant, timeout_at};
use tokio_util::task::TaskTracker;

/// `retry_after` of a full gate: a permit is usually free again within a second.
const BUSY_PAUSE: Duration = Duration::from_secs(1);

/// How often a call is repeated: its caller waits for each repeat.
const MAX_RETRIES: u32 = 2;

/// A token that comes later than this before the deadline leaves no time for the call.
const TOKEN_RESERVE: Duration = Duration::from_secs(1);

/// The client of the CF API, shared by all requests. A clone is shallow.
#[derive(Clone)]
pub struct CapiClient(Arc<CapiInner>);

struct CapiInner {
    tokens: Arc<dyn TokenLender>,
    client: HttpClient,
    metrics: Metrics,
    tasks: TaskTracker,
    /// One per configured destination, so limited by the settings.
    api_states: Mutex<HashMap<DestinationName, Arc<ApiState>>>,
    gates: Arc<ApiGates>,
    cache: ResourceCache,
    /// The version that a CF API reported last.
    version: Mutex<Option<String>>,
}

/// The CF API of one destination, used for one request of a caller. A clone is shallow.
#[derive(Clone)]
pub struct CfRequestClient {
    client: CapiClient,
    destination: DestinationName,
    api_state: Arc<ApiState>,
    correlation: CorrelationId,
    deadline: Instant,
    criticality: Criticality,
    /// Whose share of the permits its calls take; `None` for the broker's own calls.
    caller: Option<Arc<str>>,
    last_request_id: Arc<Mutex<Option<HeaderValue>>>,
}

impl CapiClient {
    /// Makes the client. `client` is made for `Purpose::CfApi`. Mutations run on `tasks`: a caller
    /// who disconnects does not stop a mutation that was sent.
    pub fn new(
        vault: TokenVault,
        client: HttpClient,
        metrics: Metrics,
        tasks: TaskTracker,
    ) -> Self {
        Self::with_tokens(Arc::new(vault), client, metrics, tasks)
    }

    fn with_tokens(
        tokens: Arc<dyn TokenLender>,
        client: HttpClient,
        metrics: Metrics,
        tasks: TaskTracker,
    ) -> Self {
        let api_states = Mutex::default();
        let cache = ResourceCache::default();
        let version = Mutex::default();
        let gates = Arc::new(ApiGates::new(metrics.clone()));
        Self(Arc::new(CapiInner {
            tokens,
            client,
            metrics,
            tasks,
            api_states,
            gates,
            cache,
            version,
        }))
    }

    /// Returns the client of a destination for one request, which ends at `deadline`.
    pub fn for_request(
        &self,
        destination: &DestinationName,
        correlation: &CorrelationId,
        deadline: Instant,
    ) -> CfRequestClient {
        CfRequestClient {
            client: self.clone(),
            destination: destination.clone(),
            api_state: self.api_state(destination),
            correlation: correlation.clone(),
            deadline,
            criticality: Criticality::Sheddable,
            caller: None,
            last_request_id: Arc::default(),
        }
    }

    /// Returns what the last calls through a destination have shown of its CF API.
    pub fn condition(&self, destination: &DestinationName) -> ApiCondition {
        self.api_state(destination).condition()
    }

    fn api_state(&self, destination: &DestinationName) -> Arc<ApiState> {
        let mut api_states = self.0.api_states.lock().unwrap_or_else(PoisonError::into_inner);
        let make = || Arc::new(ApiState::new(Arc::clone(&self.0.gates)));
        api_states.entry(destination.clone()).or_insert_with(make).clone()
    }
}

impl CfRequestClient {
    /// Sends a call and returns CF's response, whatever its status.
    ///
    /// Idempotent calls are repeated at most twice, others only when the connection was never made.
    /// A mutation continues when the returned future is dropped.
    ///
    /// # Errors
    /// A second 401, an error page of the router or nginx, a pause after 429, no token, no
    /// connection, no response. CF's own refusals are responses, not errors.
    pub async fn send(&self, call: &Call) -> Result<HttpResponse, CapiError> {
        if call.is_read() {
            return Box::pin(self.send_with_retries(call, BodyMode::Whole)).await?.0.into_answer();
        }
        self.send_to_the_end(call).await?.0.into_answer()
    }

    async fn send_to_the_end(&self, call: &Call) -> Result<(CfResponse, Arc<Lease>), CapiError> {
        let (this, call) = (self.clone(), call.clone());
        let sending = self
            .client
            .0
            .tasks
            .spawn(async move { this.send_with_retries(&call, BodyMode::Whole).await });
        sending.await.unwrap_or(Err(CapiError::Internal("sending_panicked")))
    }

    /// Sends a call; for a read, returns the response while its body arrives. A response with an
    /// error status is read whole, as in [`CfRequestClient::send`].
    ///
    /// # Errors
    /// As [`CfRequestClient::send`]; [`CapiError::Unreadable`] when CF announces more than the
    /// call's cap.
    pub async fn open(&self, call: &Call) -> Result<OpenedResponse, CapiError> {
        let (reply, token) = if call.is_read() {
            Box::pin(self.send_with_retries(call, BodyMode::Streamed)).await?
        } else {
            self.send_to_the_end(call).await?
        };
        Ok(OpenedResponse::of(reply, token, self.api_state.info.external()))
    }

    /// Returns CF's request id of the last response, for the audit line.
    pub fn last_request_id(&self) -> Option<String> {
        let last = self.last_request_id.lock().unwrap_or_else(PoisonError::into_inner);
        last.as_ref()?.to_str().ok().map(ToOwned::to_owned)
    }

    /// Returns its destination.
    pub fn destination(&self) -> &DestinationName {
        &self.destination
    }

    /// Returns the deadline of its request.
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Returns the client for a caller, who is named by this key: its calls take the caller's share
    /// of the permits.
    #[must_use]
    pub fn for_caller(mut self, key: &str) -> Self {
        self.caller = Some(key.into());
        self
    }

    /// Returns the client with another deadline.
    #[must_use]
    pub fn with_deadline(mut self, deadline: Instant) -> Self {
        self.deadline = deadline;
        self
    }

    /// Returns the client with a last request id of its own: for one of several parallel
    /// operations.
    #[must_use]
    pub fn with_own_request_id(mut self) -> Self {
        self.last_request_id = Arc::default();
        self
    }

    /// Returns the client for a write: its reads are not shed when the rate limit is low.
    #[must_use]
    pub fn for_write(mut self) -> Self {
        self.criticality = Criticality::Critical;
        self
    }

    fn cache(&self) -> &ResourceCache {
        &self.client.0.cache
    }

    async fn send_with_retries(
        &self,
        call: &Call,
        mode: BodyMode,
    ) -> Result<(CfResponse, Arc<Lease>), CapiError> {
        // A response may ask for a repeat as well, and it is the result if there is none.
        let attempt = async || {
            let outcome = self.send_with_renewal(call, mode).await;
            match decide_retry(call, outcome.as_ref().map(|(reply, _)| reply)) {
                RetryDecision::No => Ok(outcome),
                again @ (RetryDecision::After(_) | RetryDecision::WithBackoff(_)) => {
                    Err((again, outcome))
                }
            }
        };
        let allow = |done| done < MAX_RETRIES && self.api_state.may_retry();
        let last = retry_while(self.deadline, attempt, |(again, _)| *again, allow).await;
        last.unwrap_or_else(|(_, outcome)| outcome)
    }

    /// Sends once. On 401 it renews the token and replays once, also mutations: CC executed
    /// nothing.
    async fn send_with_renewal(
        &self,
        call: &Call,
        mode: BodyMode,
    ) -> Result<(CfResponse, Arc<Lease>), CapiError> {
        let mut is_replay = false;
        loop {
            let (reply, token) = self.send_once(call, mode).await?;
            let refused = match reply {
                CfResponse::Whole(answer) if answer.status == StatusCode::UNAUTHORIZED => answer,
                CfResponse::Whole(_) | CfResponse::Streamed(..) => {
                    return Ok((self.check(reply)?, token));
                }
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
            match self.client.0.tokens.revoke(&self.destination, &token) {
                Revoked::Renewing => is_replay = true,
                Revoked::Cooldown => return Err(unauthorized),
            }
        }
    }

    /// Notes the rate limit of a response, and refuses a response that is not CF's own.
    fn check(&self, reply: CfResponse) -> Result<CfResponse, CapiError> {
        let answer = match reply {
            CfResponse::Whole(answer) => answer,
            CfResponse::Streamed(..) => {
                self.api_state.note_served();
                let page = answer::intercepted(reply.status(), reply.headers());
                return self.api_state.note_outcome(page.map_or(Ok(reply), Err));
            }
        };
        let page = answer::intercepted(answer.status, &answer.headers);
        if answer::limits_the_user(&answer) {
            let asked = asked_pause(&answer.headers, answer::MAX_PAUSE);
            let retry_after = self.api_state.note_rate_limited(asked);
            return match page {
                Some(_) => Err(CapiError::RateLimited { retry_after }),
                None => Ok(CfResponse::Whole(answer)),
            };
        }
        self.api_state.note_served();
        self.api_state.note_outcome(page.map_or(Ok(CfResponse::Whole(answer)), Err))
    }

    /// Sends once with the current token.
    async fn send_once(
        &self,
        call: &Call,
        mode: BodyMode,
    ) -> Result<(CfResponse, Arc<Lease>), CapiError> {
        self.api_state.admit(if call.is_read() {
            self.criticality
        } else {
            Criticality::Critical
        })?;
        // The token comes first: callers that wait for a logon must not hold permits.
        let token = match self.client.0.tokens.fresh(&self.destination) {
            Some(token) => token,
            None => self.wait_for_token().await?,
        };
        let endpoint = self.api_state.endpoint(token.api());
        let permit = endpoint.gate.enter_for(self.caller.as_ref()).await;
        let permit = permit.map_err(gate_closed)?;
        let origin = endpoint.origin.as_ref().ok_or(CapiError::Internal("target_mismatch"));
        let request = origin
            .and_then(|origin| call.request(origin, token.authorization(), &self.correlation));
        let request = request.inspect_err(|_| self.client.0.metrics.alarm("target_mismatch"))?;
        let started = Instant::now();
        let received = self.receive(call, mode, request).await;
        let received = received.map(|answer| answer.without(token.authorization()));
        self.observe(call, &received, started.elapsed());
        match report(permit, received) {
            Ok(reply) => Ok((reply, token)),
            Err(error) => self.api_state.note_outcome(Err(error.into())),
        }
    }

    /// Waits for a token until shortly before the deadline, so that who waits for this call until
    /// then still learns that nothing was sent.
    async fn wait_for_token(&self) -> Result<Arc<Lease>, CapiError> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        let until = self.deadline - TOKEN_RESERVE.min(left / 10);
        let tokens = &self.client.0.tokens;
        let outcome = timeout_at(until, tokens.lease(&self.destination)).await;
        outcome.unwrap_or_else(|_| Err(tokens.late(&self.destination))).map_err(CapiError::Token)
    }

    /// Receives a response until the request's deadline. A mutation that was sent is received in
    /// any case, within the client's own 30 s. Of a streamed response only the head is read, unless
    /// its status is an error.
    async fn receive(
        &self,
        call: &Call,
        mode: BodyMode,
        request: Request<Bytes>,
    ) -> Result<RawResponse, TransportError> {
        let client = &self.client.0.client;
        let until = call.is_read().then_some(self.deadline);
        let incoming = client.send_until(request, until).await?;
        if mode == BodyMode::Whole {
            return Box::pin(incoming.read(call.cap())).await.map(RawResponse::Whole);
        }
        if incoming.status().as_u16() >= 400 {
            let read = Box::pin(incoming.read(stream::ERROR_CAP)).await;
            return read.map(RawResponse::Whole).map_err(TransportError::after_head);
        }
        incoming.into_body(call.cap()).map(RawResponse::Streamed)
    }

    fn observe(&self, call: &Call, received: &Result<RawResponse, TransportError>, took: Duration) {
        let metrics = &self.client.0.metrics;
        let (status, headers) = match received {
            Ok(RawResponse::Whole(answer)) => (answer.status, &answer.headers),
            Ok(RawResponse::Streamed(streamed)) => (streamed.status, &streamed.headers),
            Err(_) => {
                metrics.upstream_called("cf", call.operation, 0, took);
                return;
            }
        };
        metrics.upstream_called("cf", call.operation, status.as_u16(), took);
        let remaining = load_shedding::remaining(headers);
        // With a 401 these headers are about the IP address, not about the technical user.
        if let Some(remaining) = remaining.filter(|_| status != StatusCode::UNAUTHORIZED) {
            self.api_state.shedding.learn(headers, remaining);
            metrics.rate_limit_remaining(remaining);
        }
        let mut last = self.last_request_id.lock().unwrap_or_else(PoisonError::into_inner);
        *last = headers.get(&answer::REQUEST_ID).cloned();
    }
}

fn gate_closed(error: GateError) -> CapiError {
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

impl fmt::Debug for CfRequestClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CfRequestClient")
            .field("destination", &self.destination)
            .finish_non_exhaustive()
    }
}
