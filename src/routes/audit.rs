//! The audit lines of a mutation: intent, steps, outcome.
//!
//! Invariant: each requested mutation writes an intent line before its first CF call and exactly
//! one outcome line. This also holds for refused mutations and for a panic. Callers: this module.

use super::{
    RequestContext,
    delete::Deleted,
    error::RouteError,
    view::{EnsureOutcome, Ensured},
};
use crate::{
    capi::model::Route,
    telemetry::audit::{AuditEntry, AuditPhase, DENIED},
};
use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicBool, Ordering},
};
use tokio::time::Instant;

/// A mutation whose intent line is written.
#[derive(Debug)]
pub(super) struct Audit {
    action: &'static str,
    request_context: RequestContext,
    tenant: String,
    started: Instant,
    location: SharedLocation,
    ended: AtomicBool,
}

/// The location of a mutation, shared with the code that finds it out. A clone is shallow.
#[derive(Clone, Debug, Default)]
pub(super) struct SharedLocation(Arc<Mutex<RouteLocation>>);

/// The location of a mutation, as far as it is known.
#[derive(Clone, Debug, Default)]
pub(super) struct RouteLocation {
    pub(super) space: Option<String>,
    pub(super) domain: Option<String>,
    pub(super) host: Option<String>,
    pub(super) route: Option<String>,
    /// Only of a transfer.
    pub(super) former_owner: Option<String>,
}

/// The result of one route within the operation.
#[derive(Debug)]
pub(super) struct StepLine<'a> {
    pub(super) word: &'a str,
    pub(super) host: &'a str,
    pub(super) route: &'a str,
    pub(super) request_id: Option<String>,
}

/// What only an outcome line or a step line has.
#[derive(Debug, Default)]
struct OutcomeFields<'a> {
    word: &'a str,
    code: &'a str,
    status: Option<u16>,
    request_id: Option<&'a str>,
}

impl SharedLocation {
    /// Adds what is known now.
    pub(super) fn update(&self, update: impl FnOnce(&mut RouteLocation)) {
        update(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Makes the location of a known route.
    pub(super) fn of(route: &Route) -> Self {
        Self(Arc::new(Mutex::new(RouteLocation {
            space: route.space().map(ToString::to_string),
            domain: Some(route.domain_name().to_owned()),
            host: Some(route.host.clone()),
            route: Some(route.guid.to_string()),
            former_owner: None,
        })))
    }

    fn current(&self) -> RouteLocation {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Audit {
    /// Writes the intent line. `tenant` is empty when many tenants are meant.
    pub(super) fn begin(
        action: &'static str,
        request_context: &RequestContext,
        tenant: &str,
    ) -> Self {
        Self::begin_at(SharedLocation::default(), action, request_context, tenant)
    }

    /// Writes the intent line of a mutation at a known location.
    pub(super) fn begin_at(
        location: SharedLocation,
        action: &'static str,
        request_context: &RequestContext,
        tenant: &str,
    ) -> Self {
        request_context.trail.mark();
        let (request_context, tenant, started) =
            (request_context.clone(), tenant.to_owned(), Instant::now());
        let audit = Self {
            action,
            request_context,
            tenant,
            started,
            location,
            ended: AtomicBool::new(false),
        };
        audit.write(AuditPhase::Intent, &audit.location.current(), &OutcomeFields::default());
        audit
    }

    /// Returns the location, so that the operation can fill it.
    pub(super) fn location(&self) -> &SharedLocation {
        &self.location
    }

    /// Writes the outcome of an ensure.
    pub(super) fn ensured(&self, result: &Result<Ensured, RouteError>, upstream: Option<&str>) {
        match result {
            Ok(done) => {
                let route = done.view.route.as_ref().map(ToString::to_string);
                self.location.update(|location| location.route = route);
                let status = if done.outcome == EnsureOutcome::Created { 201 } else { 200 };
                self.end(done.outcome.as_str(), status, upstream);
            }
            Err(error) => self.failed(error, upstream),
        }
    }

    /// Writes the outcome of a delete.
    pub(super) fn deleted(&self, result: &Result<Deleted, RouteError>, upstream: Option<&str>) {
        match result {
            Ok(done @ Deleted::Done) => self.end(done.as_str(), 204, upstream),
            Ok(done @ Deleted::Running { .. }) => self.end(done.as_str(), 202, upstream),
            Err(error) => self.failed(error, upstream),
        }
    }

    /// Writes a step line for one route of the operation.
    pub(super) fn stepped(&self, step: &StepLine<'_>) {
        let location = RouteLocation {
            host: Some(step.host.to_owned()),
            route: Some(step.route.to_owned()),
            ..self.location.current()
        };
        let request_id = step.request_id.as_deref();
        self.write(
            AuditPhase::Step,
            &location,
            &OutcomeFields { word: step.word, request_id, ..OutcomeFields::default() },
        );
    }

    /// Writes the outcome of a mutation that has no HTTP answer of its own.
    pub(super) fn settled(&self, word: &str, upstream: Option<&str>) {
        self.outcome(&OutcomeFields { word, request_id: upstream, ..OutcomeFields::default() });
    }

    /// Writes the outcome of a mutation that was refused as a whole.
    pub(super) fn refused(&self, error: &RouteError) {
        self.failed(error, None);
    }

    fn failed(&self, error: &RouteError, upstream: Option<&str>) {
        let verdict = self.request_context.status_mapping.map(|status_of| status_of(error));
        let (status, code) =
            verdict.map_or((None, error.as_str()), |(status, code)| (Some(status), code));
        // A refusal by the caller's scopes or entry has the outcome `denied`; `code` names the
        // rule.
        let word = if error.is_denial() { DENIED } else { error.as_str() };
        self.outcome(&OutcomeFields { word, code, status, request_id: upstream });
    }

    fn end(&self, word: &str, status: u16, request_id: Option<&str>) {
        self.outcome(&OutcomeFields {
            word,
            status: Some(status),
            request_id,
            ..OutcomeFields::default()
        });
    }

    fn outcome(&self, end: &OutcomeFields<'_>) {
        if !self.ended.swap(true, Ordering::AcqRel) {
            self.write(AuditPhase::Outcome, &self.location.current(), end);
        }
    }

    fn write(&self, phase: AuditPhase, location: &RouteLocation, end: &OutcomeFields<'_>) {
        let entry = AuditEntry {
            actor: self.request_context.caller.audit_actor(),
            on_behalf_of: self.request_context.on_behalf_of.as_deref(),
            former_owner: location.former_owner.as_deref(),
            action: self.action,
            tenant: &self.tenant,
            space: location.space.as_deref(),
            domain: location.domain.as_deref(),
            host: location.host.as_deref(),
            route: location.route.as_deref(),
            outcome: end.word,
            code: end.code,
            status: end.status,
            upstream_request_id: end.request_id,
            took: (phase == AuditPhase::Outcome).then(|| self.started.elapsed()),
            correlation_id: self.request_context.correlation.as_str(),
        };
        entry.write(phase);
    }
}

impl Drop for Audit {
    /// Writes an outcome if there is none: the operation panicked, or the process ended.
    fn drop(&mut self) {
        self.failed(&RouteError::Internal("operation_unfinished"), None);
    }
}

#[cfg(test)]
mod tests {
    use super::{Audit, RequestContext, RouteError};
    use crate::{
        auth::Caller,
        telemetry::{audit::tests::audit_lines_of, trace::CorrelationId},
    };
    use std::time::SystemTime;
    use tokio::time::Instant;

    fn begin() -> Audit {
        let (caller, id) = (Caller::for_tests("o", &[]), CorrelationId::random());
        let request_context =
            RequestContext::new(&caller, &id, SystemTime::UNIX_EPOCH, Instant::now());
        Audit::begin("ensure", &request_context, "t1")
    }

    fn lines(outcome: &str) -> Vec<(String, String)> {
        let line = |phase: &str, outcome: &str| (phase.to_owned(), outcome.to_owned());
        vec![line("intent", ""), line("outcome", outcome)]
    }

    #[test]
    fn a_mutation_that_panics_has_an_outcome() {
        let panicking = || {
            let _audit = begin();
            panic!("injected");
        };
        assert_eq!(audit_lines_of(panicking), lines("internal"));
    }

    #[test]
    fn an_outcome_is_told_once() {
        let twice = || {
            let audit = begin();
            audit.refused(&RouteError::NotFound);
            audit.settled("gone", None);
        };
        assert_eq!(audit_lines_of(twice), lines("not_found"));
    }
}
