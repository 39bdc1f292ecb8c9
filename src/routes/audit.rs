//! The two audit lines of a mutation: intent, then outcome.
//!
//! Invariant: every mutation that is asked for leaves both, refused ones too. Callers: this room.

use super::{Errand, error::RouteError, remove::Removed, view::Ensured};

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
    host: &'a str,
    route: &'a str,
    upstream: Option<String>,
}

impl Audit {
    /// Tells the intent; `tenant` is empty where many are meant.
    pub(super) fn begin(action: &'static str, errand: &Errand, tenant: &str) -> Self {
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
        self.end(&Outcome {
            word: result.as_ref().map_or_else(RouteError::word, |done| done.outcome.word()),
            host: result.as_ref().map_or("", |done| &done.view.host),
            route: route.map_or("", |guid| guid.as_str()),
            upstream,
        });
    }

    /// Tells the outcome of a removal.
    pub(super) fn removed(&self, result: &Result<Removed, RouteError>, upstream: Option<String>) {
        let word = result.as_ref().map_or_else(RouteError::word, Removed::word);
        self.end(&Outcome { word, upstream, ..Outcome::default() });
    }

    /// Tells what was done to one route within the operation.
    pub(super) fn touched(&self, word: &str, host: &str, route: &str, upstream: Option<String>) {
        self.end(&Outcome { word, host, route, upstream });
    }

    /// Tells that nothing was done, and why.
    pub(super) fn refused(&self, error: &RouteError) {
        self.end(&Outcome { word: error.word(), ..Outcome::default() });
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
            upstream_request_id = outcome.upstream,
            correlation_id = self.correlation,
            "tenant route mutation"
        );
    }
}
