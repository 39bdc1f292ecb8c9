//! Log lines: JSON with the field names of SAP's logging libraries on the platform, coloured text on a terminal.
//!
//! Invariant: one event is one line and one write; values are escaped by the JSON encoder, so that nobody can forge a
//! line. Libraries below the broker never speak louder than INFO: their debug output may show what they carry.

use std::{
    collections::BTreeMap,
    fmt,
    io::{self, IsTerminal, Write},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde_json::{Map, Value};
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
    registry::{LookupSpan, Scope},
    util::SubscriberInitExt,
};

use crate::telemetry::audit;

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

/// Installs the process-wide subscriber; later calls change nothing.
///
/// `filter` is the text of `RUST_LOG`; an unreadable one counts as `info`. `identity` is empty away from the platform.
pub fn init(format: LogFormat, filter: Option<&str>, identity: LogIdentity) {
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
        let line = JsonLine { identity, out: io::stdout };
        registry.with(line.with_filter(own.and(always.or(wanted)))).try_init()
    } else {
        let text = tracing_subscriber::fmt::layer().with_target(false);
        registry.with(text.with_filter(own.and(always.or(wanted)))).try_init()
    };
    // A second start in one process (tests) keeps the first subscriber.
    drop(done);
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
struct JsonLine<W> {
    identity: LogIdentity,
    out: fn() -> W,
}

/// Fields of a span, kept beside it until a line needs them.
struct SpanFields(Map<String, Value>);

impl<S, W> Layer<S> for JsonLine<W>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: Write + 'static,
{
    fn on_new_span(&self, attrs: &span::Attributes<'_>, id: &span::Id, ctx: Context<'_, S>) {
        let mut fields = Fields(Map::new());
        attrs.record(&mut fields);
        if let Some(span) = ctx.span(id) {
            span.extensions_mut().insert(SpanFields(fields.0));
        }
    }

    fn on_record(&self, id: &span::Id, values: &span::Record<'_>, ctx: Context<'_, S>) {
        let Some(span) = ctx.span(id) else { return };
        let mut extensions = span.extensions_mut();
        let Some(SpanFields(known)) = extensions.get_mut::<SpanFields>() else {
            return;
        };
        let mut fields = Fields(std::mem::take(known));
        values.record(&mut fields);
        *known = fields.0;
    }

    fn on_event(&self, event: &Event<'_>, ctx: Context<'_, S>) {
        let mut line = Map::new();
        let now = SystemTime::UNIX_EPOCH + since_epoch();
        line.insert(
            "written_at".to_owned(),
            humantime::format_rfc3339_millis(now).to_string().into(),
        );
        line.insert("written_ts".to_owned(), nanoseconds(now).into());
        let meta = event.metadata();
        let kind = if meta.target() == REQUEST_TARGET { "request" } else { "log" };
        line.insert("type".to_owned(), kind.into());
        line.insert("level".to_owned(), level_word(*meta.level()).into());
        line.insert("logger".to_owned(), meta.target().into());
        line.insert("layer".to_owned(), "[RUST]".into());
        if meta.target() == audit::TARGET {
            line.insert("categories".to_owned(), Value::from(vec![audit::TARGET]));
        }
        for (name, value) in &self.identity.0 {
            line.insert((*name).to_owned(), value.as_str().into());
        }
        for span in ctx.event_scope(event).into_iter().flat_map(Scope::from_root) {
            if let Some(SpanFields(fields)) = span.extensions().get::<SpanFields>() {
                line.extend(fields.iter().map(|(k, v)| (k.clone(), v.clone())));
            }
        }
        let mut fields = Fields(line);
        event.record(&mut fields);
        let mut text = Value::Object(fields.0).to_string();
        text.push('\n');
        // A closed or full pipe must not take the service down.
        drop((self.out)().write_all(text.as_bytes()));
    }
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
struct Fields(Map<String, Value>);

impl Fields {
    fn put(&mut self, field: &Field, value: Value) {
        let name = if field.name() == "message" { "msg" } else { field.name() };
        self.0.insert(name.to_owned(), value);
    }
}

impl Visit for Fields {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value.into());
    }
    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value.into());
    }
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value.into());
    }
    fn record_u128(&mut self, field: &Field, value: u128) {
        self.put(field, u64::try_from(value).unwrap_or(u64::MAX).into());
    }
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value.into());
    }
    fn record_str(&mut self, field: &Field, value: &str) {
        // A field without a value is left out.
        if !value.is_empty() {
            self.put(field, value.into());
        }
    }
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, format!("{value:?}").into());
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{self, Write},
        sync::{LazyLock, Mutex},
    };

    use serde_json::Value;
    use tracing_subscriber::layer::SubscriberExt;

    use super::{JsonLine, LogIdentity};
    use crate::telemetry::audit;

    static LINES: LazyLock<Mutex<Vec<u8>>> = LazyLock::new(Mutex::default);

    struct Sink;

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            LINES.lock().unwrap().extend_from_slice(bytes);
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
        let subscriber = tracing_subscriber::registry().with(JsonLine { identity, out: || Sink });
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
        let bytes = LINES.lock().unwrap().clone();
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
