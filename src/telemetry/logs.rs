//! Log lines: JSON with the field names of SAP's logging libraries on Cloud Foundry, coloured text
//! on a terminal.
//!
//! Invariant: one event is one line and one write; values are escaped as JSON, so that no value can
//! forge a line. Libraries log at INFO and above only: their debug output may contain what they
//! transport.

use std::{
    collections::BTreeMap,
    fmt::{self, Write as _},
    io::{self, IsTerminal},
    time::{Duration, UNIX_EPOCH},
};

use memchr::memmem;
use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    level_filters::LevelFilter,
    span::Record,
};
use tracing_subscriber::{
    EnvFilter, Layer,
    field::RecordFields,
    filter::{Directive, filter_fn},
    fmt::{
        FmtContext, FormatEvent, FormatFields, FormattedFields, MakeWriter,
        format::{self, Writer},
    },
    layer::SubscriberExt,
    registry::{LookupSpan, Registry},
    util::SubscriberInitExt,
};

use crate::telemetry::{
    audit,
    writer::{LinePriority, LogWriter, since_epoch},
};

/// Most lines are shorter.
const USUAL_LENGTH: usize = 1024;

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
    let lines =
        if json { json_lines(identity, &writer).boxed() } else { text_lines(&writer).boxed() };
    // A second call in one process (tests) keeps the first subscriber.
    drop(subscriber(lines, filter).try_init());
    Ok(writer)
}

/// A layer that writes lines.
type Lines = Box<dyn Layer<Registry> + Send + Sync>;

/// Selects lines: what `RUST_LOG` says, audit lines always, libraries at INFO and above only.
fn subscriber(lines: Lines, filter: Option<&str>) -> impl Subscriber + Send + Sync {
    let filter = filter.and_then(|text| EnvFilter::try_new(text).ok());
    let filter = filter.unwrap_or_else(|| EnvFilter::new("info"));
    let filter = match format!("{}=info", audit::TARGET).parse::<Directive>() {
        Ok(audit) => filter.add_directive(audit),
        Err(_) => filter,
    };
    tracing_subscriber::registry().with(lines).with(filter).with(filter_fn(is_ours_or_quiet))
}

fn json_lines(
    identity: &LogIdentity,
    writer: &LogWriter,
) -> impl Layer<Registry> + Send + Sync + use<> {
    let mut fields = JsonFields::new(b",");
    for (name, value) in &identity.0 {
        fields.put(name, value);
    }
    let format = WithinRate { format: JsonFormat(fields.text), writer: writer.clone() };
    tracing_subscriber::fmt::layer()
        .fmt_fields(SpanFields)
        .event_format(format)
        .with_writer(LineWriter(writer.clone()))
}

fn text_lines(writer: &LogWriter) -> impl Layer<Registry> + Send + Sync + use<> {
    let format = format::format().with_target(false);
    let layer = tracing_subscriber::fmt::layer()
        .event_format(WithinRate { format, writer: writer.clone() })
        .with_writer(LineWriter(writer.clone()));
    // On a terminal the library looks at NO_COLOR.
    if io::stdout().is_terminal() { layer } else { layer.with_ansi(false) }
}

/// Formats a line only if it is within the writer's rate.
struct WithinRate<F> {
    format: F,
    writer: LogWriter,
}

impl<S, N, F> FormatEvent<S, N> for WithinRate<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        out: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        if !self.writer.takes(priority_of(event.metadata()), since_epoch()) {
            // An empty text is not written.
            return Ok(());
        }
        self.format.format_event(context, out, event)
    }
}

/// Writes an event as a JSON object. Holds the identity's fields, the same in every line.
struct JsonFormat(Vec<u8>);

impl<S, N> FormatEvent<S, N> for JsonFormat
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut out: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut line = JsonFields::new(b",");
        line.begin(event.metadata(), since_epoch());
        line.text.extend_from_slice(&self.0);
        event.record(&mut line);
        // The nearest value wins: the event, then its span, then the outer spans.
        for span in context.event_scope().into_iter().flatten() {
            if let Some(fields) = span.extensions().get::<FormattedFields<N>>() {
                line.append_missing(&fields.fields);
            }
        }
        line.text.pop();
        line.text.extend_from_slice(b"}\n");
        out.write_str(line.text()?)
    }
}

/// Keeps the fields of a span as JSON, each on a line of its own, so that each can be found again.
struct SpanFields;

impl<'writer> FormatFields<'writer> for SpanFields {
    fn format_fields<R: RecordFields>(&self, mut out: Writer<'writer>, fields: R) -> fmt::Result {
        let mut text = JsonFields::new(b"\n");
        fields.record(&mut text);
        out.write_str(text.text()?)
    }

    fn add_fields(
        &self,
        current: &'writer mut FormattedFields<Self>,
        fields: &Record<'_>,
    ) -> fmt::Result {
        self.format_fields(current.as_writer(), fields)
    }
}

/// Fields of a JSON object, each followed by `end`.
struct JsonFields {
    text: Vec<u8>,
    end: &'static [u8],
}

impl JsonFields {
    fn new(end: &'static [u8]) -> Self {
        Self { text: Vec::with_capacity(USUAL_LENGTH), end }
    }

    fn text(&self) -> Result<&str, fmt::Error> {
        str::from_utf8(&self.text).map_err(|_| fmt::Error)
    }

    /// Writes what each line begins with.
    fn begin(&mut self, meta: &Metadata<'_>, now: Duration) {
        self.text.push(b'{');
        let at = humantime::format_rfc3339_millis(UNIX_EPOCH + now);
        self.put("written_at", &format_args!("{at}"));
        self.put("written_ts", &now.as_nanos());
        self.put("type", if meta.target() == REQUEST_TARGET { "request" } else { "log" });
        self.put("level", level_word(*meta.level()));
        self.put("logger", meta.target());
        self.put("layer", "[RUST]");
        if meta.target() == audit::TARGET {
            self.put("categories", &[audit::TARGET]);
        }
    }

    /// Appends a field. Escaped as JSON, a value can forge neither a field nor a line.
    fn put(&mut self, name: &str, value: &(impl serde::Serialize + ?Sized)) {
        for part in ["\"", name, "\":"] {
            self.text.extend_from_slice(part.as_bytes());
        }
        // Writing to a buffer cannot fail.
        _ = serde_json::to_writer(&mut self.text, value);
        self.text.extend_from_slice(self.end);
    }

    /// Appends the fields of a span, except those that exist already. A name with its quotes and
    /// colon is found in no value, because there a quote follows a backslash.
    fn append_missing(&mut self, span: &str) {
        for field in span.lines() {
            let name = field.split_inclusive(':').next().unwrap_or_default();
            if memmem::find(&self.text, name.as_bytes()).is_none() {
                self.text.extend_from_slice(field.as_bytes());
                self.text.extend_from_slice(self.end);
            }
        }
    }
}

impl Visit for JsonFields {
    fn record_f64(&mut self, field: &Field, value: f64) {
        // A time in milliseconds to the nanosecond.
        let rounded = (value * 1e6).round() / 1e6;
        self.put(
            field.name(),
            &Some(rounded).filter(|value| value.is_finite()).unwrap_or_default(),
        );
    }
    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field.name(), &value);
    }
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field.name(), &value);
    }
    fn record_u128(&mut self, field: &Field, value: u128) {
        self.put(field.name(), &value);
    }
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field.name(), &value);
    }
    fn record_str(&mut self, field: &Field, value: &str) {
        // An empty field is omitted.
        if !value.is_empty() {
            self.put(field.name(), value);
        }
    }
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let name = if field.name() == "message" { "msg" } else { field.name() };
        let mut text = String::new();
        // If formatting a value fails, the part so far is kept.
        _ = write!(text, "{value:?}");
        self.put(name, &text);
    }
}

fn level_word(level: Level) -> &'static str {
    match level {
        Level::ERROR => "error",
        Level::WARN => "warn",
        Level::INFO => "info",
        Level::DEBUG => "debug",
        Level::TRACE => "trace",
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

/// Passes on whole lines: each write is one.
struct LineWriter(LogWriter);

impl MakeWriter<'_> for LineWriter {
    type Writer = QueuedLine;

    fn make_writer(&self) -> QueuedLine {
        QueuedLine { writer: self.0.clone(), priority: LinePriority::Ordinary }
    }

    fn make_writer_for(&self, meta: &Metadata<'_>) -> QueuedLine {
        QueuedLine { writer: self.0.clone(), priority: priority_of(meta) }
    }
}

struct QueuedLine {
    writer: LogWriter,
    priority: LinePriority,
}

impl io::Write for QueuedLine {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.writer.push(line, self.priority);
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
