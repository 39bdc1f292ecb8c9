//! Log lines: JSON with the field names of SAP's logging libraries on the platform, coloured text on a terminal.
//!
//! Invariant: one event is one line and one write; values are escaped by the JSON encoder, so that nobody can forge a
//! line. Libraries below the broker never speak louder than INFO: their debug output may show what they carry.

use std::{
    collections::BTreeMap,
    fmt::{self, Write as _},
    io::{self, IsTerminal},
    ops::Range,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    level_filters::LevelFilter,
    span,
};
use tracing_subscriber::{
    EnvFilter, Layer,
    filter::{FilterExt, filter_fn},
    layer::{Context, SubscriberExt},
    registry::LookupSpan,
    util::SubscriberInitExt,
};

use crate::telemetry::{
    audit,
    sink::{Kind, Sink},
};

/// Target of the one line per inbound request.
pub const REQUEST_TARGET: &str = "request";

/// How lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// JSON on the platform or when standard output is no terminal, text otherwise.
    #[default]
    Auto,
    /// One JSON object a line.
    Json,
    /// Text for people.
    Human,
}

/// Fields that every line carries: which component, instance, space and organisation speak.
///
/// Names and values as SAP's dashboards expect them; absent ones are left out.
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

/// Installs the process-wide subscriber and returns where its lines wait to be written; later calls change nothing.
///
/// `filter` is the text of `RUST_LOG`; an unreadable one counts as `info`. `identity` is empty away from the platform.
///
/// # Errors
/// If the operating system has no thread left for the lines.
pub fn init(format: LogFormat, filter: Option<&str>, identity: &LogIdentity) -> io::Result<Sink> {
    let sink = Sink::start(io::stdout())?;
    let json = match format {
        LogFormat::Json => true,
        LogFormat::Human => false,
        LogFormat::Auto => !identity.is_empty() || !io::stdout().is_terminal(),
    };
    let wanted = filter.and_then(|text| EnvFilter::try_new(text).ok());
    let wanted = wanted.unwrap_or_else(|| EnvFilter::new("info"));
    let always = filter_fn(|meta| meta.target() == audit::TARGET);
    let own = filter_fn(is_ours_or_quiet);
    let registry = tracing_subscriber::registry();
    let done = if json {
        let line = JsonLine::new(identity, sink.clone());
        registry.with(line.with_filter(own.and(always.or(wanted)))).try_init()
    } else {
        let text = tracing_subscriber::fmt::layer().with_target(false).with_writer(sink.clone());
        registry.with(text.with_filter(own.and(always.or(wanted)))).try_init()
    };
    // A second start in one process (tests) keeps the first subscriber.
    drop(done);
    Ok(sink)
}

fn is_ours_or_quiet(meta: &Metadata<'_>) -> bool {
    let target = meta.target();
    let ours = target == audit::TARGET
        || target == REQUEST_TARGET
        || target.starts_with("cfapi_broker")
        || target.starts_with("cfapi_sandbox");
    ours || *meta.level() <= LevelFilter::INFO
}

/// The layer that writes JSON lines.
struct JsonLine {
    /// The members of the identity as JSON, each with a comma behind it; the same in every line.
    identity: String,
    sink: Sink,
}

impl JsonLine {
    fn new(identity: &LogIdentity, sink: Sink) -> Self {
        let mut members = Members::default();
        for (name, value) in &identity.0 {
            members.put(name, |text| escaped(text, value));
        }
        Self { identity: members.text, sink }
    }
}

impl<S> Layer<S> for JsonLine
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn on_new_span(&self, attrs: &span::Attributes<'_>, id: &span::Id, ctx: Context<'_, S>) {
        let Some(span) = ctx.span(id) else { return };
        let mut members = Members::default();
        attrs.record(&mut members);
        span.extensions_mut().insert(members);
    }

    fn on_record(&self, id: &span::Id, values: &span::Record<'_>, ctx: Context<'_, S>) {
        let Some(span) = ctx.span(id) else { return };
        if let Some(members) = span.extensions_mut().get_mut::<Members>() {
            values.record(members);
        }
    }

    fn on_event(&self, event: &Event<'_>, ctx: Context<'_, S>) {
        let mut line = Members::with_capacity(LINE);
        line.text.push('{');
        let now = SystemTime::UNIX_EPOCH + since_epoch();
        let meta = event.metadata();
        line.put("written_at", |text| {
            write!(text, "\"{}\"", humantime::format_rfc3339_millis(now))
        });
        line.put("written_ts", |text| write!(text, "{}", nanoseconds(now)));
        let kind = if meta.target() == REQUEST_TARGET { "request" } else { "log" };
        line.put("type", |text| escaped(text, kind));
        line.put("level", |text| escaped(text, level_word(*meta.level())));
        line.put("logger", |text| escaped(text, meta.target()));
        line.put("layer", |text| escaped(text, "[RUST]"));
        let is_audit = meta.target() == audit::TARGET;
        if is_audit {
            line.put("categories", |text| write!(text, "[\"{}\"]", audit::TARGET));
        }
        line.text.push_str(&self.identity);
        event.record(&mut line);
        // Whoever is nearest has the last word: the event, then its span, then the spans around it.
        for span in ctx.event_scope(event).into_iter().flatten() {
            if let Some(members) = span.extensions().get::<Members>() {
                line.take_over(members);
            }
        }
        // The comma behind the last member.
        line.text.pop();
        line.text.push_str("}\n");
        let kind = if is_audit { Kind::Audit } else { Kind::Ordinary };
        self.sink.push(line.text.as_bytes(), kind);
    }
}

/// Bytes that most lines do not exceed.
const LINE: usize = 1024;

/// Members of a JSON object, written once; each with a comma behind it.
#[derive(Default)]
struct Members {
    text: String,
    /// Names in the text, and where their member begins and ends.
    marks: Vec<(&'static str, Range<usize>)>,
}

impl Members {
    fn with_capacity(bytes: usize) -> Self {
        Self { text: String::with_capacity(bytes), marks: Vec::with_capacity(16) }
    }

    /// Writes a member whose name needs no escaping.
    fn put(&mut self, name: &str, value: impl FnOnce(&mut String) -> fmt::Result) {
        let begin = self.text.len();
        self.text.push('"');
        self.text.push_str(name);
        self.text.push_str("\":");
        match value(&mut self.text) {
            Ok(()) => self.text.push(','),
            Err(fmt::Error) => self.text.truncate(begin),
        }
    }

    /// Writes the member of a field; the first one of a name stays.
    fn field(&mut self, field: &Field, value: impl FnOnce(&mut String) -> fmt::Result) {
        let name = if field.name() == "message" { "msg" } else { field.name() };
        let begin = self.text.len();
        self.put(name, value);
        self.marks.push((name, begin..self.text.len()));
    }

    /// Adds the members of a span, but those that stand here already.
    fn take_over(&mut self, span: &Self) {
        for (name, range) in &span.marks {
            let known = self.marks.iter().any(|(known, _)| known == name);
            if let Some(member) = span.text.get(range.clone()).filter(|_| !known) {
                let begin = self.text.len();
                self.text.push_str(member);
                self.marks.push((name, begin..self.text.len()));
            }
        }
    }
}

/// Writes a text as a JSON string: nobody can forge a member or a line.
fn escaped(text: &mut String, value: &str) -> fmt::Result {
    let is_plain = |byte: u8| byte >= b' ' && byte != b'"' && byte != b'\\';
    if value.bytes().all(is_plain) {
        text.push('"');
        text.push_str(value);
        text.push('"');
        return Ok(());
    }
    let json = serde_json::to_string(value).map_err(|_| fmt::Error)?;
    text.push_str(&json);
    Ok(())
}

#[expect(
    clippy::disallowed_methods,
    reason = "a log line states the wall time at which it was written"
)]
fn since_epoch() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

fn nanoseconds(at: SystemTime) -> u64 {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
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

/// Collects the fields of an event or span; `message` becomes SAP's `msg`.
impl Visit for Members {
    fn record_f64(&mut self, field: &Field, value: f64) {
        // JSON knows no other numbers.
        let value = Some(value).filter(|value| value.is_finite()).unwrap_or_default();
        self.field(field, |text| write!(text, "{value}"));
    }
    fn record_i64(&mut self, field: &Field, value: i64) {
        self.field(field, |text| write!(text, "{value}"));
    }
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.field(field, |text| write!(text, "{value}"));
    }
    fn record_u128(&mut self, field: &Field, value: u128) {
        self.field(field, |text| write!(text, "{}", u64::try_from(value).unwrap_or(u64::MAX)));
    }
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.field(field, |text| write!(text, "{value}"));
    }
    fn record_str(&mut self, field: &Field, value: &str) {
        // A field without a value is left out.
        if !value.is_empty() {
            self.field(field, |text| escaped(text, value));
        }
    }
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.field(field, |text| escaped(text, &format!("{value:?}")));
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{self, Write},
        sync::{Arc, Mutex},
        time::Duration,
    };

    use serde_json::Value;
    use tracing_subscriber::layer::SubscriberExt;

    use super::{JsonLine, LogIdentity};
    use crate::telemetry::{audit, sink::Sink};

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_line_holds_message_span_fields_and_identity_and_cannot_be_forged() {
        let identity = LogIdentity::default()
            .with("component_name", Some("cfapi-broker"))
            .with("space_id", None);
        let lines = Lines::default();
        let sink = Sink::start(lines.clone()).unwrap();
        let subscriber =
            tracing_subscriber::registry().with(JsonLine::new(&identity, sink.clone()));
        tracing::subscriber::with_default(subscriber, || {
            let span = tracing::info_span!(
                "request",
                correlation_id = "c-1",
                tenant_id = tracing::field::Empty
            );
            let _entered = span.enter();
            span.record("tenant_id", "zone-1");
            tracing::info!(target: audit::TARGET, host = "a\r\n{\"level\":\"error\"}", count = 2_u64, took = 5_u128, code = "", "route intent");
        });
        sink.finish(Duration::from_secs(60));
        let bytes = lines.0.lock().unwrap().clone();
        let text = String::from_utf8(bytes).unwrap();
        assert_eq!(text.lines().count(), 1, "{text}");
        #[expect(clippy::disallowed_methods, reason = "reads back the line under test")]
        let line: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(line["msg"], "route intent");
        assert_eq!(line["type"], "log");
        assert_eq!(line["level"], "info");
        assert_eq!(line["correlation_id"], "c-1");
        assert_eq!(line["tenant_id"], "zone-1");
        assert_eq!(line["component_name"], "cfapi-broker");
        assert_eq!(line["categories"][0], "audit");
        assert_eq!((&line["count"], &line["took"]), (&2.into(), &5.into()));
        assert!(line.get("code").is_none());
        assert!(line.get("space_id").is_none());
        assert!(line["written_ts"].is_u64());
    }
}
