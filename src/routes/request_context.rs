//! Who sends a request, and its deadline.
//!
//! Invariant: the caller is verified; the deadline is that of its request. Callers: `http` makes
//! it, this module reads it.

use super::RouteError;
use crate::{
    auth::{Caller, RequestPlaces},
    telemetry::{audit::AuditTrail, trace::CorrelationId},
};
use std::time::SystemTime;
use tokio::time::Instant;

/// Who sends the request, and until when it must be answered.
#[derive(Clone, Debug)]
pub struct RequestContext {
    pub(super) caller: Caller,
    pub(super) correlation: CorrelationId,
    pub(super) now: SystemTime,
    pub(super) deadline: Instant,
    /// What was cached before this time is not enough for a refusal.
    pub(super) started: Instant,
    pub(super) on_behalf_of: Option<String>,
    pub(super) trail: AuditTrail,
    pub(super) status_mapping: Option<StatusMapping>,
    /// What it gives back while it waits for CF.
    pub(super) places: RequestPlaces,
}

/// Maps an error to the status and code of the answer, for audit lines.
pub type StatusMapping = fn(&RouteError) -> (u16, &'static str);

impl RequestContext {
    /// Makes the context. `now` is the wall time at which the request began, `deadline` its end.
    pub fn new(
        caller: &Caller,
        correlation: &CorrelationId,
        now: SystemTime,
        deadline: Instant,
    ) -> Self {
        let (caller, correlation) = (caller.clone(), correlation.clone());
        let trail = AuditTrail::default();
        let started = Instant::now();
        Self {
            caller,
            correlation,
            now,
            deadline,
            started,
            on_behalf_of: None,
            trail,
            status_mapping: None,
            places: RequestPlaces::default(),
        }
    }

    /// Returns the correlation id of the request.
    pub fn correlation(&self) -> &CorrelationId {
        &self.correlation
    }

    /// Sets the places that the request holds while it works.
    #[must_use]
    pub fn holding(mut self, places: RequestPlaces) -> Self {
        self.places = places;
        self
    }

    /// Records on this trail that an audit line was written.
    #[must_use]
    pub fn on_trail(mut self, trail: AuditTrail) -> Self {
        self.trail = trail;
        self
    }

    /// Sets the mapping from errors to the statuses and codes in audit lines.
    #[must_use]
    pub fn with_status_mapping(mut self, status_mapping: StatusMapping) -> Self {
        self.status_mapping = Some(status_mapping);
        self
    }

    /// Acts for another owner; this needs `Routes.Admin`.
    #[must_use]
    pub fn on_behalf_of(mut self, owner: Option<String>) -> Self {
        self.on_behalf_of = owner;
        self
    }
}
