//! State of a CF API for one technical user: the pause after a 429, and the gate, which all users
//! of that API share.
//!
//! Invariant: nothing is sent while CF's rate limit makes the technical user wait. Permits and
//! breaker belong to the API, however many destinations lead to it. Callers: [`super::CapiClient`].

use super::{
    answer::{DEFAULT_PAUSE, MAX_PAUSE},
    api_origin::ApiOrigin,
    error::CapiError,
    load_shedding::{CallsLeft, Criticality, LoadShedding},
    version::ApiInfo,
};
use crate::{
    telemetry::metrics::Metrics,
    upstream::{gate::Gate, retry::Backoff},
};
use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU8, Ordering},
    },
    time::Duration,
};
use tokio::time::Instant;
use url::{Origin, Url};

/// Parallel calls to one CF API.
const PERMITS: usize = 64;

/// Pauses after 429s in a row without `Retry-After`.
const PAUSES: Backoff = Backoff::doubling(DEFAULT_PAUSE, MAX_PAUSE);

/// The gates of all APIs. Only configured addresses get here, so there are not more than
/// destinations.
#[derive(Debug)]
pub(super) struct ApiGates {
    by_origin: Mutex<HashMap<Origin, Gate>>,
    metrics: Metrics,
}

impl ApiGates {
    pub(super) fn new(metrics: Metrics) -> Self {
        Self { by_origin: Mutex::default(), metrics }
    }

    fn of(&self, api: &Url) -> Gate {
        let mut gates = self.by_origin.lock().unwrap_or_else(PoisonError::into_inner);
        let make = || Gate::new("cf", PERMITS, self.metrics.clone());
        gates.entry(api.origin()).or_insert_with(make).clone()
    }
}

/// Shared by all calls through the same destination.
#[derive(Debug)]
pub(super) struct ApiState {
    gates: Arc<ApiGates>,
    /// The endpoint of the last call, so that a call looks nothing up.
    endpoint: Mutex<Option<Arc<ApiEndpoint>>>,
    pub(super) shedding: LoadShedding,
    pub(super) info: ApiInfo,
    pause: Mutex<RateLimitPause>,
    /// Whether CF answered the last call.
    answers: AtomicU8,
}

/// What the last calls have shown of a CF API. It is known without a call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ApiCondition {
    /// Whether CF answered the last call; `None` before the first one.
    pub is_answering: Option<bool>,
    /// What is left of the technical user's rate limit; `None` if CF has not said it.
    pub calls_left: Option<CallsLeft>,
    /// The rest of the pause after a 429; `None` without one.
    pub paused_for: Option<Duration>,
}

/// One API.
#[derive(Debug)]
pub(super) struct ApiEndpoint {
    api: Url,
    /// `None` for an address that is more than an origin.
    pub(super) origin: Option<ApiOrigin>,
    pub(super) gate: Gate,
}

const NOT_ASKED: u8 = 0;
const ANSWERED: u8 = 1;
const NOT_ANSWERED: u8 = 2;

#[derive(Debug, Default)]
struct RateLimitPause {
    until: Option<Instant>,
    /// Number of 429s in a row without `Retry-After`: each doubles the pause.
    without_retry_after: u32,
}

impl ApiState {
    pub(super) fn new(gates: Arc<ApiGates>) -> Self {
        let (shedding, info) = (LoadShedding::default(), ApiInfo::default());
        let answers = AtomicU8::new(NOT_ASKED);
        Self { gates, endpoint: Mutex::default(), shedding, info, pause: Mutex::default(), answers }
    }

    /// Returns the endpoint of an API.
    pub(super) fn endpoint(&self, api: &Url) -> Arc<ApiEndpoint> {
        let mut last = self.endpoint.lock().unwrap_or_else(PoisonError::into_inner);
        match &*last {
            Some(endpoint) if endpoint.api == *api => Arc::clone(endpoint),
            Some(_) | None => {
                let (origin, gate) = (ApiOrigin::of(api), self.gates.of(api));
                let endpoint = Arc::new(ApiEndpoint { api: api.clone(), origin, gate });
                *last = Some(Arc::clone(&endpoint));
                endpoint
            }
        }
    }

    /// Returns whether the last call may be repeated now, and counts the retry.
    pub(super) fn may_retry(&self) -> bool {
        let last = self.endpoint.lock().unwrap_or_else(PoisonError::into_inner);
        last.as_ref().is_some_and(|endpoint| endpoint.gate.may_retry())
    }

    /// Admits a call, unless CF makes the technical user wait or the call can be shed.
    pub(super) fn admit(&self, criticality: Criticality) -> Result<(), CapiError> {
        match self.paused_for() {
            Some(retry_after) => Err(CapiError::RateLimited { retry_after }),
            None => self.shedding.admit(criticality),
        }
    }

    fn paused_for(&self) -> Option<Duration> {
        let until = self.pause().until?;
        let left = until.saturating_duration_since(Instant::now());
        (!left.is_zero()).then_some(left)
    }

    /// Returns what the last calls have shown.
    pub(super) fn condition(&self) -> ApiCondition {
        let is_answering = match self.answers.load(Ordering::Relaxed) {
            NOT_ASKED => None,
            answers => Some(answers == ANSWERED),
        };
        let (calls_left, paused_for) = (self.shedding.calls_left(), self.paused_for());
        ApiCondition { is_answering, calls_left, paused_for }
    }

    /// Notes whether CF itself answered; an error page of a router in front of it is none.
    pub(super) fn note_outcome<T>(&self, outcome: Result<T, CapiError>) -> Result<T, CapiError> {
        let answers = if outcome.is_ok() { ANSWERED } else { NOT_ANSWERED };
        self.answers.store(answers, Ordering::Relaxed);
        outcome
    }

    /// Notes a 429 and returns the pause.
    pub(super) fn note_rate_limited(&self, retry_after: Option<Duration>) -> Duration {
        let mut pause = self.pause();
        let length = retry_after.unwrap_or_else(|| PAUSES.wait(pause.without_retry_after));
        pause.without_retry_after =
            if retry_after.is_some() { 0 } else { pause.without_retry_after.saturating_add(1) };
        pause.until = pause.until.max(Some(Instant::now() + length));
        length
    }

    /// Notes a response that was not a 429.
    pub(super) fn note_served(&self) {
        self.pause().without_retry_after = 0;
    }

    fn pause(&self) -> std::sync::MutexGuard<'_, RateLimitPause> {
        self.pause.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
