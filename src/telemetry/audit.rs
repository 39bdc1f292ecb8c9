//! The audit target: one line of intent before a mutation leaves, one of outcome after it.
//!
//! Invariant: lines of this target are never filtered away (`logs` lets them pass at every
//! `RUST_LOG`) and never sampled. A mutation leaves one line of intent and exactly one of outcome,
//! with the field names of `docs/LOGGING.md`; rooms that mutate write them by [`AuditEntry`].

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

/// Target of audit lines; the JSON line gets `"categories":["audit"]`.
pub const TARGET: &str = "audit";

/// The outcome of a mutation that was refused before anything was tried for it.
pub const DENIED: &str = "denied";

/// Which line of a mutation it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuditPhase {
    /// Before the first call that changes something.
    Intent,
    /// One of several things that one mutation did.
    Step,
    /// Its end.
    Outcome,
}

/// Who asks.
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

/// One line; what is absent or empty is left out.
#[derive(Clone, Copy, Debug, Default)]
pub struct AuditEntry<'a> {
    /// Who asks.
    pub actor: AuditActor<'a>,
    /// The owner that an administrator acts for.
    pub on_behalf_of: Option<&'a str>,
    /// What is asked for.
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
    /// How it ended.
    pub outcome: &'a str,
    /// The public code of a failure.
    pub code: &'a str,
    /// The status that the caller is told.
    pub status: Option<u16>,
    /// CF's id of the answer that came last.
    pub upstream_request_id: Option<&'a str>,
    /// How long it took.
    pub took: Option<Duration>,
    /// The request.
    pub correlation_id: &'a str,
}

impl AuditEntry<'_> {
    /// Writes the line.
    pub fn write(&self, phase: AuditPhase) {
        tracing::info!(
            target: TARGET,
            phase = phase.word(),
            action = self.action,
            caller = self.actor.caller,
            subject = self.actor.subject,
            user = self.actor.user,
            origin = self.actor.origin,
            zone = self.actor.zone,
            token_hash = self.actor.token_hash,
            on_behalf_of = self.on_behalf_of,
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
    fn word(self) -> &'static str {
        match self {
            Self::Intent => "intent",
            Self::Step => "step",
            Self::Outcome => "outcome",
        }
    }
}

/// Whether a request has left an audit line, so that who sees it out knows if one is owed; a clone
/// is shallow.
#[derive(Clone, Debug, Default)]
pub struct AuditTrail(Arc<AtomicBool>);

impl AuditTrail {
    /// Notes that a line was written.
    pub fn mark(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// Tells whether a line was written.
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

    /// Returns phase and outcome of each audit line that `work` leaves, panics or not.
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
