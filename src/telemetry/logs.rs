//! Log lines: JSON with the field names of SAP's logging libraries on Cloud Foundry, coloured text
//! on a terminal.
//!
//! Invariant: one event is one line and one write; values are escaped as JSON, so that no value can
//! forge a line. Libraries log at INFO and above only: their debug output may contain what they
//! transport.

mod json_layer;

use std::{
    collections::BTreeMap,
    io::{self, IsTerminal},
};

use tracing::{Level, Metadata, Subscriber, level_filters::LevelFilter};
use tracing_subscriber::{
    EnvFilter, Layer, filter::filter_fn, fmt::MakeWriter, layer::SubscriberExt,
    util::SubscriberInitExt,
};

use crate::telemetry::{
    audit,
    writer::{LinePriority, LogWriter, since_epoch},
};
use json_layer::JsonLayer;

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
    let done = if json {
        let lines = JsonLayer::new(identity, writer.clone());
        tracing_subscriber::registry().with(lines).with(line_filter(filter)).try_init()
    } else {
        let text = tracing_subscriber::fmt::layer()
            .with_target(false)
            .with_writer(TextWriter(writer.clone()));
        // On a terminal the library looks at NO_COLOR.
        let text = if io::stdout().is_terminal() { text } else { text.with_ansi(false) };
        tracing_subscriber::registry().with(text).with(line_filter(filter)).try_init()
    };
    // A second call in one process (tests) keeps the first subscriber.
    drop(done);
    Ok(writer)
}

/// Selects lines: what `RUST_LOG` says, audit lines always, libraries at INFO and above only.
fn line_filter<S: Subscriber>(text: Option<&str>) -> impl Layer<S> + use<S> {
    // The last directive for a target counts, unless another one also names fields.
    let text = text.filter(|text| !text.contains("audit["));
    let env = text.and_then(|text| EnvFilter::try_new(format!("{text},audit=info")).ok());
    env.unwrap_or_else(|| EnvFilter::new("info")).and_then(filter_fn(is_ours_or_quiet))
}

/// Returns whether a line is one of ours, or one of a library at INFO and above.
fn is_ours_or_quiet(meta: &Metadata<'_>) -> bool {
    let target = meta.target();
    let ours = target == audit::TARGET
        || target == REQUEST_TARGET
        || target.starts_with("cfapi_broker")
        || target.starts_with("cfapi_sandbox");
    ours || *meta.level() <= LevelFilter::INFO
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

#[cfg(test)]
mod tests;
