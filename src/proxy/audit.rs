//! Audit lines of writes through `/v3`: intent, then outcome; one alone for what is denied.
//!
//! Invariant: every write that a verified caller asks for leaves an outcome. Callers: this room; `http` for denials.

use crate::{auth::Caller, telemetry::trace::CorrelationId};
use http::StatusCode;
use std::time::Duration;

/// A write, as far as it is known.
#[derive(Clone, Debug)]
pub struct Audited {
    /// Who asks.
    pub caller: Caller,
    /// The request.
    pub correlation: CorrelationId,
    /// Row of the allow list, or method and nothing where no row fits.
    pub action: String,
    /// Host of a new route.
    pub host: Option<String>,
    /// Guid of the route.
    pub route: Option<String>,
}

impl Audited {
    /// Tells what is about to be sent.
    pub(super) fn intent(&self) {
        tracing::info!(
            target: "audit",
            phase = "intent",
            action = self.action,
            caller = self.caller.client_id(),
            subject = self.caller.user().or(self.caller.subject()),
            origin = self.caller.origin(),
            token = self.caller.token_hash(),
            host = self.host,
            route = self.route,
            correlation_id = self.correlation.as_str(),
            "cf api mutation"
        );
    }

    /// Tells how it ended: with CF's status, or by a word.
    pub(super) fn outcome(
        &self,
        word: &str,
        status: Option<StatusCode>,
        upstream: Option<&str>,
        took: Duration,
    ) {
        tracing::info!(
            target: "audit",
            phase = "outcome",
            action = self.action,
            caller = self.caller.client_id(),
            subject = self.caller.user().or(self.caller.subject()),
            origin = self.caller.origin(),
            token = self.caller.token_hash(),
            host = self.host,
            route = self.route,
            outcome = word,
            upstream_status = status.map(|status| status.as_u16()),
            upstream_request_id = upstream,
            took_ms = took.as_secs_f64() * 1000.0,
            correlation_id = self.correlation.as_str(),
            "cf api mutation"
        );
    }

    /// Tells that it was refused, and by which rule; nothing was sent.
    pub fn denied(&self, word: &str) {
        self.outcome(word, None, None, Duration::ZERO);
    }
}
