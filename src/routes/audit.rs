//! The two audit lines of a mutation: intent, then outcome.
//!
//! Invariant: every mutation that is asked for leaves both, refused ones too. Callers: this room.

use super::{Errand, error::RouteError, remove::Removed, view::Ensured};
use crate::telemetry::audit::DENIED;

/// An operation whose intent has been told.
#[derive(Debug)]
pub(super) struct Audit {
    action: &'static str,
    caller: String,
    on_behalf_of: Option<String>,
    tenant: String,
    correlation: String,
}

/// What the outcome line adds.
#[derive(Debug, Default)]
struct Outcome<'a> {
    word: &'a str,
    /// Which rule denied it.
    code: &'a str,
    host: &'a str,
    route: &'a str,
    upstream: Option<String>,
}

impl Audit {
    /// Tells the intent; `tenant` is empty where many are meant.
    pub(super) fn begin(action: &'static str, errand: &Errand, tenant: &str) -> Self {
        errand.trail.mark();
        let audit = Self {
            action,
            caller: errand.caller.client_id().to_owned(),
            on_behalf_of: errand.on_behalf_of.clone(),
            tenant: tenant.to_owned(),
            correlation: errand.correlation.as_str().to_owned(),
        };
        tracing::info!(
            target: "audit",
            phase = "intent",
            action = audit.action,
            caller = audit.caller,
            on_behalf_of = audit.on_behalf_of,
            tenant = audit.tenant,
            correlation_id = audit.correlation,
            "tenant route mutation"
        );
        audit
    }

    /// Tells the outcome of an ensure.
    pub(super) fn ensured(&self, result: &Result<Ensured, RouteError>, upstream: Option<String>) {
        let route = result.as_ref().ok().and_then(|done| done.view.route.as_ref());
        let (word, code) = match result {
            Ok(done) => (done.outcome.word(), ""),
            Err(error) => words(error),
        };
        self.end(&Outcome {
            word,
            code,
            host: result.as_ref().map_or("", |done| &done.view.host),
            route: route.map_or("", |guid| guid.as_str()),
            upstream,
        });
    }

    /// Tells the outcome of a removal.
    pub(super) fn removed(&self, result: &Result<Removed, RouteError>, upstream: Option<String>) {
        let (word, code) = match result {
            Ok(done) => (done.word(), ""),
            Err(error) => words(error),
        };
        self.end(&Outcome { word, code, upstream, ..Outcome::default() });
    }

    /// Tells what was done to one route within the operation.
    pub(super) fn touched(&self, word: &str, host: &str, route: &str, upstream: Option<String>) {
        self.end(&Outcome { word, host, route, upstream, ..Outcome::default() });
    }

    /// Tells that nothing was done, and why.
    pub(super) fn refused(&self, error: &RouteError) {
        let (word, code) = words(error);
        self.end(&Outcome { word, code, ..Outcome::default() });
    }

    fn end(&self, outcome: &Outcome<'_>) {
        tracing::info!(
            target: "audit",
            phase = "outcome",
            action = self.action,
            caller = self.caller,
            on_behalf_of = self.on_behalf_of,
            tenant = self.tenant,
            host = outcome.host,
            route = outcome.route,
            outcome = outcome.word,
            code = outcome.code,
            upstream_request_id = outcome.upstream,
            correlation_id = self.correlation,
            "tenant route mutation"
        );
    }
}

/// Outcome and code of a refusal: what the caller's policy forbids is denied by the rule that the code names.
fn words(error: &RouteError) -> (&'static str, &'static str) {
    if error.is_denial() { (DENIED, error.word()) } else { (error.word(), "") }
}
