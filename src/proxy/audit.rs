//! Audit lines of writes through `/v3`: an intent and an outcome; a denied write has only an
//! outcome.
//!
//! Invariant: every write of a verified caller leaves exactly one outcome line. Callers: this
//! module; `http` for denials.

use super::ProxyError;
use crate::{
    auth::Caller,
    telemetry::{
        audit::{AuditEntry, AuditPhase, AuditTrail, DENIED},
        trace::CorrelationId,
    },
};
use http::StatusCode;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::time::Instant;

/// Maps an error to the status and code that the caller gets.
pub type ErrorToStatus = fn(&ProxyError) -> (StatusCode, &'static str);

/// The audit record of one write.
#[derive(Debug)]
pub struct WriteAudit {
    caller: Caller,
    correlation: CorrelationId,
    trail: AuditTrail,
    status_of: ErrorToStatus,
    begun: Instant,
    /// Whether an outcome line must still be written.
    outcome_pending: AtomicBool,
    /// Row of the allow list; method and path if no row fits.
    pub action: String,
    /// Guid of the space of a new route.
    pub space: Option<String>,
    /// Guid of the domain of a new route.
    pub domain: Option<String>,
    /// Host of a new route.
    pub host: Option<String>,
    /// Guid of the route.
    pub route: Option<String>,
}

impl WriteAudit {
    /// Makes the record of a caller's write; `trail` notes that an audit line was written.
    pub fn new(
        caller: &Caller,
        correlation: &CorrelationId,
        trail: AuditTrail,
        status_of: ErrorToStatus,
    ) -> Self {
        Self {
            caller: caller.clone(),
            correlation: correlation.clone(),
            trail,
            status_of,
            begun: Instant::now(),
            outcome_pending: AtomicBool::new(false),
            action: String::new(),
            space: None,
            domain: None,
            host: None,
            route: None,
        }
    }

    /// Sets the row.
    #[must_use]
    pub fn with_action(mut self, action: String) -> Self {
        self.action = action;
        self
    }

    /// From now on an outcome line is written in any case.
    pub(super) fn begin(&self) {
        self.outcome_pending.store(true, Ordering::Release);
    }

    /// Writes what is about to be sent.
    pub(super) fn intent(&self) {
        self.write(AuditPhase::Intent, &AuditEntry::default());
    }

    /// Writes which response of CF was passed on.
    pub(super) fn answered(&self, status: StatusCode, upstream: Option<&str>) {
        let outcome = if status.is_success() { "done" } else { "refused" };
        let status = Some(status.as_u16());
        self.end(&AuditEntry {
            outcome,
            status,
            upstream_request_id: upstream,
            ..AuditEntry::default()
        });
    }

    /// Writes why no response of CF was passed on.
    pub(super) fn failed(&self, error: &ProxyError, upstream: Option<&str>) {
        let (status, code) = (self.status_of)(error);
        let outcome = match error {
            ProxyError::Denied(_) => DENIED,
            ProxyError::Capi(_) | ProxyError::Unclear(_) | ProxyError::Unpassable => error.as_str(),
        };
        let (status, upstream_request_id) = (Some(status.as_u16()), upstream);
        self.end(&AuditEntry {
            outcome,
            code,
            status,
            upstream_request_id,
            ..AuditEntry::default()
        });
    }

    /// Writes that nothing was sent, with the code of the refusal.
    pub fn refused(&self, outcome: &str, code: &str, status: StatusCode) {
        let status = Some(status.as_u16());
        self.end(&AuditEntry { outcome, code, status, ..AuditEntry::default() });
    }

    fn end(&self, entry: &AuditEntry<'_>) {
        self.outcome_pending.store(false, Ordering::Release);
        self.write(AuditPhase::Outcome, entry);
    }

    fn write(&self, phase: AuditPhase, entry: &AuditEntry<'_>) {
        self.trail.mark();
        let entry = AuditEntry {
            actor: self.caller.audit_actor(),
            action: &self.action,
            space: self.space.as_deref(),
            domain: self.domain.as_deref(),
            host: self.host.as_deref(),
            route: self.route.as_deref(),
            took: (phase == AuditPhase::Outcome).then(|| self.begun.elapsed()),
            correlation_id: self.correlation.as_str(),
            ..*entry
        };
        entry.write(phase);
    }
}

impl Drop for WriteAudit {
    /// There was a panic, or the process ended, before the outcome.
    fn drop(&mut self) {
        if self.outcome_pending.load(Ordering::Acquire) {
            self.refused("internal", "internal", StatusCode::INTERNAL_SERVER_ERROR);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{AuditTrail, WriteAudit};
    use crate::{
        auth::Caller,
        telemetry::{audit::tests::audit_lines_of, trace::CorrelationId},
    };
    use http::StatusCode;

    #[test]
    fn a_write_that_panics_has_an_outcome_and_is_on_the_trail() {
        let trail = AuditTrail::default();
        let panicking = || {
            let (caller, id) = (Caller::for_tests("o", &[]), CorrelationId::random());
            let status_of = |_: &_| (StatusCode::OK, "");
            let audit = WriteAudit::new(&caller, &id, trail.clone(), status_of);
            audit.begin();
            audit.intent();
            panic!("injected");
        };
        let line = |phase: &str, outcome: &str| (phase.to_owned(), outcome.to_owned());
        assert_eq!(audit_lines_of(panicking), [line("intent", ""), line("outcome", "internal")]);
        assert!(trail.is_marked());
    }
}
