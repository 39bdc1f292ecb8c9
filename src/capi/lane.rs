//! The road to one CF API for one technical user: gate, and pause after a 429.
//!
//! Invariant: while CF has the technical user wait, nothing is sent (`reliability.md` U6). Callers:
//! [`super::CapiClient`].

use super::{
    answer::{DEFAULT_PAUSE, MAX_PAUSE},
    error::CapiError,
    shed::{Shedding, Weight},
};
use crate::{telemetry::metrics::Metrics, upstream::gate::Gate};
use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};
use tokio::time::Instant;

/// Calls in flight to one CF API (`reliability.md` U5).
const PLACES: usize = 64;

/// One lane; shared by all calls through the same destination.
#[derive(Debug)]
pub(super) struct Lane {
    pub(super) gate: Gate,
    pub(super) shedding: Shedding,
    pause: Mutex<Pause>,
}

#[derive(Debug, Default)]
struct Pause {
    until: Option<Instant>,
    /// Refusals without `Retry-After` in a row: each doubles the pause.
    blind: u32,
}

impl Lane {
    pub(super) fn new(metrics: Metrics) -> Self {
        let gate = Gate::new("cf", PLACES, metrics);
        Self { gate, shedding: Shedding::default(), pause: Mutex::default() }
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
