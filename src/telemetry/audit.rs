//! Audit lines: one line of intent before a mutation is sent, one line of outcome after it.
//!
//! Invariant: lines of this target are never filtered (`logs` passes them at every `RUST_LOG`) and
//! never sampled. A mutation writes one intent line and exactly one outcome line, with the field
//! names of `docs/LOGGING.md`. Modules that mutate write them with [`AuditEntry`].

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

/// Target of audit lines; the JSON line gets `"categories":["audit"]`.
pub const TARGET: &str = "audit";

/// The outcome of a mutation that was refused before any attempt.
pub const DENIED: &str = "denied";

/// Which of a mutation's lines it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuditPhase {
    /// Before the first changing call.
    Intent,
    /// One of several changes of one mutation.
    Step,
    /// The end of the mutation.
    Outcome,
}

/// The caller of the request.
#[derive(Clone, Copy, Debug, Default)]
pub struct AuditActor<'a> {
    /// The verified client id.
    pub caller: &'a str,
    /// `sub`.
    pub subject: Option<&'a str>,
    /// `user_name`.
    pub user: Option<&'a str>,
    /// The identity provider of the user.
    pub origin: Option<&'a str>,
    /// The zone.
    pub zone: &'a str,
    /// SHA-256 of the token's `jti`.
    pub token_hash: Option<&'a str>,
}

/// One line; absent and empty fields are omitted.
#[derive(Clone, Copy, Debug, Default)]
pub struct AuditEntry<'a> {
    /// The caller of the request.
    pub actor: AuditActor<'a>,
    /// The owner for whom an administrator acts.
    pub on_behalf_of: Option<&'a str>,
    /// The owner from whom a route is transferred.
    pub former_owner: Option<&'a str>,
    /// The requested action.
    pub action: &'a str,
    /// The tenant.
    pub tenant: &'a str,
    /// Guid of the space.
    pub space: Option<&'a str>,
    /// The domain.
    pub domain: Option<&'a str>,
    /// The host.
    pub host: Option<&'a str>,
    /// Guid of the route.
    pub route: Option<&'a str>,
    /// The result.
    pub outcome: &'a str,
    /// The public code of a failure.
    pub code: &'a str,
    /// The status of the answer to the caller.
    pub status: Option<u16>,
    /// CF's request id of the last answer.
    pub upstream_request_id: Option<&'a str>,
    /// The duration.
    pub took: Option<Duration>,
    /// Correlation id of the request.
    pub correlation_id: &'a str,
}

impl AuditEntry<'_> {
    /// Writes the line.
    pub fn write(&self, phase: AuditPhase) {
        tracing::info!(
            target: TARGET,
            phase = phase.as_str(),
            action = self.action,
            caller = self.actor.caller,
            subject = self.actor.subject,
            user = self.actor.user,
            origin = self.actor.origin,
            zone = self.actor.zone,
            token_hash = self.actor.token_hash,
            on_behalf_of = self.on_behalf_of,
            former_owner = self.former_owner,
            tenant = self.tenant,
            space = self.space,
            domain = self.domain,
            host = self.host,
            route = self.route,
            outcome = self.outcome,
            code = self.code,
            status = self.status,
            upstream_request_id = self.upstream_request_id,
            took_ms = self.took.map(|took| took.as_secs_f64() * 1000.0),
            correlation_id = self.correlation_id,
            "mutation"
        );
    }
}

impl AuditPhase {
    fn as_str(self) -> &'static str {
        match self {
            Self::Intent => "intent",
            Self::Step => "step",
            Self::Outcome => "outcome",
        }
    }
}

/// Whether a request has written an audit line, so that the access log knows if one is missing; a
/// clone is shallow.
#[derive(Clone, Debug, Default)]
pub struct AuditTrail(Arc<AtomicBool>);

impl AuditTrail {
    /// Records that a line was written.
    pub fn mark(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// Returns whether a line was written.
    pub fn is_marked(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::TARGET;
    use std::{
        collections::BTreeMap,
        fmt,
        sync::{Arc, Mutex},
    };
    use tracing::{
        Event, Subscriber,
        field::{Field, Visit},
    };
    use tracing_subscriber::{Layer, layer::Context, layer::SubscriberExt};

    /// The fields of an audit line, as text.
    type Line = BTreeMap<&'static str, String>;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<Line>>>);

    struct Reader(Line);

    impl Visit for Reader {
        fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
            self.0.insert(field.name(), format!("{value:?}").trim_matches('"').to_owned());
        }
    }

    impl<S: Subscriber> Layer<S> for Lines {
        fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
            if event.metadata().target() == TARGET {
                let mut reader = Reader(Line::new());
                event.record(&mut reader);
                self.0.lock().unwrap().push(reader.0);
            }
        }
    }

    /// Returns phase and outcome of each audit line that `work` writes, even if it panics.
    pub(crate) fn audit_lines_of(work: impl FnOnce()) -> Vec<(String, String)> {
        let lines = Lines::default();
        let subscriber = tracing_subscriber::registry().with(lines.clone());
        tracing::subscriber::with_default(subscriber, || {
            drop(std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)));
        });
        let lines = lines.0.lock().unwrap();
        let text = |line: &Line, name| line.get(name).cloned().unwrap_or_default();
        lines.iter().map(|line| (text(line, "phase"), text(line, "outcome"))).collect()
    }
}
