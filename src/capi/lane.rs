//! The road to a CF API for one technical user: pause after a 429, and the gate, which all users of that API share.
//!
//! Invariant: while CF has the technical user wait, nothing is sent (`reliability.md` U6); places and breaker are those
//! of the API, however many destinations lead to it (U4, U5). Callers: [`super::CapiClient`].

use super::{
    answer::{DEFAULT_PAUSE, MAX_PAUSE},
    base::Base,
    error::CapiError,
    shed::{Shedding, Weight},
    version::Root,
};
use crate::{telemetry::metrics::Metrics, upstream::gate::Gate};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::time::Instant;
use url::{Origin, Url};

/// Calls in flight to one CF API (`reliability.md` U5).
const PLACES: usize = 64;

/// The gates of all APIs. An address that is not configured never gets here, so they are as few as the destinations.
#[derive(Debug)]
pub(super) struct Gates {
    by_origin: Mutex<HashMap<Origin, Gate>>,
    metrics: Metrics,
}

impl Gates {
    pub(super) fn new(metrics: Metrics) -> Self {
        Self { by_origin: Mutex::default(), metrics }
    }

    fn of(&self, api: &Url) -> Gate {
        let mut gates = self.by_origin.lock().unwrap_or_else(PoisonError::into_inner);
        let make = || Gate::new("cf", PLACES, self.metrics.clone());
        gates.entry(api.origin()).or_insert_with(make).clone()
    }
}

/// One lane; shared by all calls through the same destination.
#[derive(Debug)]
pub(super) struct Lane {
    gates: Arc<Gates>,
    /// That of the API that was called last, so that a call looks nothing up.
    road: Mutex<Option<Arc<Road>>>,
    pub(super) shedding: Shedding,
    pub(super) root: Root,
    pause: Mutex<Pause>,
}

/// The way to one API.
#[derive(Debug)]
pub(super) struct Road {
    api: Url,
    /// None for an address that is more than an origin.
    pub(super) base: Option<Base>,
    pub(super) gate: Gate,
}

#[derive(Debug, Default)]
struct Pause {
    until: Option<Instant>,
    /// Refusals without `Retry-After` in a row: each doubles the pause.
    blind: u32,
}

impl Lane {
    pub(super) fn new(gates: Arc<Gates>) -> Self {
        let (shedding, root) = (Shedding::default(), Root::default());
        Self { gates, road: Mutex::default(), shedding, root, pause: Mutex::default() }
    }

    /// Returns the way to an API.
    pub(super) fn road(&self, api: &Url) -> Arc<Road> {
        let mut last = self.road.lock().unwrap_or_else(PoisonError::into_inner);
        match &*last {
            Some(road) if road.api == *api => Arc::clone(road),
            Some(_) | None => {
                let (base, gate) = (Base::of(api), self.gates.of(api));
                let road = Arc::new(Road { api: api.clone(), base, gate });
                *last = Some(Arc::clone(&road));
                road
            }
        }
    }

    /// Returns whether the call that was made last may be repeated now, and counts the repetition.
    pub(super) fn may_retry(&self) -> bool {
        let last = self.road.lock().unwrap_or_else(PoisonError::into_inner);
        last.as_ref().is_some_and(|road| road.gate.may_retry())
    }

    /// Lets a call pass unless CF has the technical user wait, or the call can wait itself.
    pub(super) fn passable(&self, weight: Weight) -> Result<(), CapiError> {
        let until = self.pause().until;
        let left = until.map(|until| until.saturating_duration_since(Instant::now()));
        match left {
            Some(retry_after) if !retry_after.is_zero() => {
                Err(CapiError::RateLimited { retry_after })
            }
            Some(_) | None => self.shedding.passable(weight),
        }
    }

    /// Notes a 429 and returns the pause.
    pub(super) fn limited(&self, retry_after: Option<Duration>) -> Duration {
        let mut pause = self.pause();
        let length = retry_after.unwrap_or_else(|| {
            let factor = 2_u32.saturating_pow(pause.blind.min(10));
            DEFAULT_PAUSE.saturating_mul(factor).min(MAX_PAUSE)
        });
        pause.blind = if retry_after.is_some() { 0 } else { pause.blind.saturating_add(1) };
        pause.until = pause.until.max(Some(Instant::now() + length));
        length
    }

    /// Notes an answer that was not a 429.
    pub(super) fn served(&self) {
        self.pause().blind = 0;
    }

    fn pause(&self) -> std::sync::MutexGuard<'_, Pause> {
        self.pause.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
