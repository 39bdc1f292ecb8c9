//! Who asks for something, and until when.
//!
//! Invariant: the caller is verified; the deadline is that of its request. Callers: `http` makes it, this room
//! reads it.

use super::RouteError;
use crate::{
    auth::Caller,
    telemetry::{audit::AuditTrail, trace::CorrelationId},
};
use std::time::SystemTime;
use tokio::time::Instant;

/// Who asks, and until when.
#[derive(Clone, Debug)]
pub struct RequestContext {
    pub(super) caller: Caller,
    pub(super) correlation: CorrelationId,
    pub(super) now: SystemTime,
    pub(super) deadline: Instant,
    /// What was learned before is not enough to say no.
    pub(super) started: Instant,
    pub(super) on_behalf_of: Option<String>,
    pub(super) trail: AuditTrail,
    pub(super) validate: Option<StatusMapping>,
}

/// Tells which status and code a caller is given for an error, for audit lines.
pub type StatusMapping = fn(&RouteError) -> (u16, &'static str);

impl RequestContext {
    /// Makes an errand. `now` is the wall time at which it began, `deadline` the end of the request.
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
            validate: None,
        }
    }

    /// Notes on this trail that an audit line was written.
    #[must_use]
    pub fn on_trail(mut self, trail: AuditTrail) -> Self {
        self.trail = trail;
        self
    }

    /// Lets audit lines tell the answers that `judge` gives.
    #[must_use]
    pub fn with_status_mapping(mut self, validate: StatusMapping) -> Self {
        self.validate = Some(validate);
        self
    }

    /// Acts for another owner; needs `Routes.Admin`.
    #[must_use]
    pub fn on_behalf_of(mut self, owner: Option<String>) -> Self {
        self.on_behalf_of = owner;
        self
    }
}
