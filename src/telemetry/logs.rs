//! Log lines: JSON with the field names of SAP's logging libraries on Cloud Foundry, coloured text
//! on a terminal.
//!
//! Invariant: one event is one line and one write; values are escaped as JSON, so that no value can
//! forge a line. Libraries log at INFO and above only: their debug output may contain what they
//! transport.

mod json_fields;
mod json_subscriber;
mod spans;

use std::{
    collections::BTreeMap,
    io::{self, IsTerminal},
};

use tracing::{
    Level, Metadata, Subscriber, level_filters::LevelFilter, span, subscriber::Interest,
};
use tracing_subscriber::{
    EnvFilter, Layer,
    fmt::MakeWriter,
    layer::{Context, SubscriberExt},
    util::SubscriberInitExt,
};

use crate::telemetry::{
    audit,
    writer::{LinePriority, LogWriter, since_epoch},
};
use json_subscriber::JsonSubscriber;

/// Target of the one log line per inbound request.
pub const REQUEST_TARGET: &str = "request";

/// Format of the lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// JSON on Cloud Foundry or if standard output is not a terminal, text otherwise.
    #[default]
    Auto,
    /// One JSON object per line.
    Json,
    /// Text for people.
    Human,
}

/// Fields of every line: component, instance, space and organisation.
///
/// Names and values are those of SAP's dashboards; absent ones are omitted.
#[derive(Clone, Debug, Default)]
pub struct LogIdentity(BTreeMap<&'static str, String>);

impl LogIdentity {
    /// Adds a field if there is a value for it.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: Option<&str>) -> Self {
        if let Some(value) = value {
            self.0.insert(name, value.to_owned());
        }
        self
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Installs the process-wide subscriber and returns its writer; later calls have no effect.
///
/// `filter` is the text of `RUST_LOG`; an invalid one counts as `info`. `identity` is empty outside
/// Cloud Foundry.
///
/// # Errors
/// If the operating system cannot start the writer thread.
pub fn init(
    format: LogFormat,
    filter: Option<&str>,
    identity: &LogIdentity,
) -> io::Result<LogWriter> {
    let writer = LogWriter::start(io::stdout())?;
    let json = match format {
        LogFormat::Json => true,
        LogFormat::Human => false,
        LogFormat::Auto => !identity.is_empty() || !io::stdout().is_terminal(),
    };
    let filter_layer = LineFilter::of(filter);
    let done = if json {
        JsonSubscriber::new(identity, writer.clone()).with(filter_layer).try_init()
    } else {
        let text = tracing_subscriber::fmt::layer()
            .with_target(false)
            .with_writer(TextWriter(writer.clone()));
        // On a terminal the library looks at NO_COLOR.
        let text = if io::stdout().is_terminal() { text } else { text.with_ansi(false) };
        tracing_subscriber::registry().with(text).with(filter_layer).try_init()
    };
    // A second call in one process (tests) keeps the first subscriber.
    drop(done);
    Ok(writer)
}

/// Selects lines: what `RUST_LOG` says, audit lines always, libraries at INFO and above only.
struct LineFilter {
    env: EnvFilter,
    /// Whether the filter depends on spans and their fields. Otherwise each callsite is checked
    /// once.
    by_span: bool,
}

impl LineFilter {
    fn of(text: Option<&str>) -> Self {
        let env = text.and_then(|text| Some((EnvFilter::try_new(text).ok()?, text.contains('['))));
        let (env, by_span) = env.unwrap_or_else(|| (EnvFilter::new("info"), false));
        Self { env, by_span }
    }

    fn env(&self) -> Option<&EnvFilter> {
        Some(&self.env).filter(|_| self.by_span)
    }
}

impl<S: Subscriber> Layer<S> for LineFilter {
    fn register_callsite(&self, meta: &'static Metadata<'static>) -> Interest {
        if meta.target() == audit::TARGET {
            return Interest::always();
        }
        if !is_ours_or_quiet(meta) {
            return Interest::never();
        }
        Layer::<S>::register_callsite(&self.env, meta)
    }

    fn enabled(&self, meta: &Metadata<'_>, ctx: Context<'_, S>) -> bool {
        let always = meta.target() == audit::TARGET;
        always || (is_ours_or_quiet(meta) && self.env.enabled(meta, ctx))
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        // Audit lines have level INFO.
        let env = Layer::<S>::max_level_hint(&self.env);
        env.map(|level| level.max(LevelFilter::INFO))
    }

    fn on_new_span(&self, attrs: &span::Attributes<'_>, id: &span::Id, ctx: Context<'_, S>) {
        if let Some(env) = self.env() {
            env.on_new_span(attrs, id, ctx);
        }
    }

    fn on_record(&self, id: &span::Id, values: &span::Record<'_>, ctx: Context<'_, S>) {
        if let Some(env) = self.env() {
            env.on_record(id, values, ctx);
        }
    }

    fn on_enter(&self, id: &span::Id, ctx: Context<'_, S>) {
        if let Some(env) = self.env() {
            env.on_enter(id, ctx);
        }
    }

    fn on_exit(&self, id: &span::Id, ctx: Context<'_, S>) {
        if let Some(env) = self.env() {
            env.on_exit(id, ctx);
        }
    }

    fn on_close(&self, id: span::Id, ctx: Context<'_, S>) {
        if let Some(env) = self.env() {
            env.on_close(id, ctx);
        }
    }
}

/// Returns the priority of a line: which lines may be dropped first.
fn priority_of(meta: &Metadata<'_>) -> LinePriority {
    if meta.target() == audit::TARGET {
        LinePriority::Audit
    } else if meta.target() != REQUEST_TARGET && *meta.level() <= Level::WARN {
        LinePriority::Notable
    } else {
        LinePriority::Ordinary
    }
}

/// Text lines for people; each write is a whole line.
struct TextWriter(LogWriter);

impl MakeWriter<'_> for TextWriter {
    type Writer = TextLine;

    fn make_writer(&self) -> TextLine {
        TextLine { writer: self.0.clone(), priority: LinePriority::Ordinary }
    }

    fn make_writer_for(&self, meta: &Metadata<'_>) -> TextLine {
        TextLine { writer: self.0.clone(), priority: priority_of(meta) }
    }
}

struct TextLine {
    writer: LogWriter,
    priority: LinePriority,
}

impl io::Write for TextLine {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.writer.takes(self.priority, since_epoch()) {
            self.writer.push(line, self.priority);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn is_ours_or_quiet(meta: &Metadata<'_>) -> bool {
    let target = meta.target();
    let ours = target == audit::TARGET
        || target == REQUEST_TARGET
        || target.starts_with("cfapi_broker")
        || target.starts_with("cfapi_sandbox");
    ours || *meta.level() <= LevelFilter::INFO
}

#[cfg(test)]
mod tests;
