//! JSON lines: a layer that writes each event with the fields of the spans around it.
//!
//! Invariant: a line is valid JSON for every value, and a name occurs once. No lock is held while a
//! value is formatted, because that may write a line. Used by `telemetry::logs` only.

use std::{
    cell::Cell,
    fmt::{self, Write as _},
    io::{self, Write as _},
    ops::Range,
    time::{Duration, UNIX_EPOCH},
};

use tracing::{
    Event, Metadata, Subscriber,
    field::{Field, Visit},
    span::{Attributes, Id, Record},
};
use tracing_subscriber::{Layer, layer::Context, registry::LookupSpan};

use super::{LogIdentity, REQUEST_TARGET, priority_of};
use crate::telemetry::{
    audit,
    writer::{LogWriter, since_epoch},
};

/// Largest buffer of a line that is kept for the next one: most need a few hundred bytes.
const KEPT_CAPACITY: usize = 16 * 1024;

/// Passes each event to the writer as one line.
pub(super) struct JsonLayer {
    /// The fields of the identity; the same in every line.
    identity: Vec<u8>,
    writer: LogWriter,
}

impl JsonLayer {
    pub(super) fn new(identity: &LogIdentity, writer: LogWriter) -> Self {
        let mut fields = JsonFields::default();
        for (name, value) in &identity.0 {
            fields.put(name, |text| write_text(text, value));
        }
        Self { identity: fields.text, writer }
    }

    /// Writes what precedes the fields of the event.
    fn begin(&self, text: &mut Vec<u8>, meta: &Metadata<'_>, now: Duration) -> io::Result<()> {
        let at = humantime::format_rfc3339_millis(UNIX_EPOCH + now);
        let nanos = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
        let sort = if meta.target() == REQUEST_TARGET { "request" } else { "log" };
        let level = meta.level().as_str().to_ascii_lowercase();
        write!(text, r#"{{"written_at":"{at}","written_ts":{nanos},"type":"{sort}","#)?;
        write!(text, r#""level":"{level}","logger":"#)?;
        write_text(text, meta.target())?;
        text.extend_from_slice(br#","layer":"[RUST]","#);
        if meta.target() == audit::TARGET {
            text.extend_from_slice(br#""categories":["audit"],"#);
        }
        text.extend_from_slice(&self.identity);
        Ok(())
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for JsonLayer {
    fn on_new_span(&self, attrs: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let fields = with_buffer(|fields| {
            attrs.record(fields);
            fields.clone()
        });
        if let Some(span) = context.span(id) {
            span.extensions_mut().insert(fields);
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        let mut fields = JsonFields::default();
        values.record(&mut fields);
        if let Some(span) = context.span(id)
            && let Some(known) = span.extensions_mut().get_mut::<JsonFields>()
        {
            known.append_missing(&fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let (meta, now) = (event.metadata(), since_epoch());
        let priority = priority_of(meta);
        // A line beyond the rate is not even formatted.
        if !self.writer.takes(priority, now) {
            return;
        }
        with_buffer(|line| {
            // Writing to memory does not fail.
            _ = self.begin(&mut line.text, meta, now);
            event.record(line);
            // The nearest value wins: the event, then its span, then the outer spans.
            for span in context.event_scope(event).into_iter().flatten() {
                if let Some(fields) = span.extensions().get() {
                    line.append_missing(fields);
                }
            }
            line.text.pop();
            line.text.extend_from_slice(b"}\n");
            self.writer.push(&line.text, priority);
        });
    }
}

/// Fields of a JSON object, each followed by a comma.
#[derive(Clone, Debug, Default)]
struct JsonFields {
    text: Vec<u8>,
    /// Names in the text, and the range of their field.
    ranges: Vec<(&'static str, Range<usize>)>,
}

impl JsonFields {
    /// Appends a field.
    fn put(&mut self, name: &'static str, value: impl FnOnce(&mut Vec<u8>) -> io::Result<()>) {
        let begin = self.text.len();
        self.text.push(b'"');
        self.text.extend_from_slice(name.as_bytes());
        self.text.extend_from_slice(b"\":");
        // Writing to memory does not fail.
        _ = value(&mut self.text);
        self.text.push(b',');
        self.ranges.push((name, begin..self.text.len()));
    }

    /// Appends the fields of a span, except those that exist already.
    fn append_missing(&mut self, span: &Self) {
        for (name, range) in &span.ranges {
            let known = self.ranges.iter().any(|(known, _)| known == name);
            if let Some(field) = span.text.get(range.clone()).filter(|_| !known) {
                let begin = self.text.len();
                self.text.extend_from_slice(field);
                self.ranges.push((name, begin..self.text.len()));
            }
        }
    }
}

impl Visit for JsonFields {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(name_of(field), |text| write!(text, "{}", json_number(value)));
    }
    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(name_of(field), |text| write!(text, "{value}"));
    }
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(name_of(field), |text| write!(text, "{value}"));
    }
    fn record_u128(&mut self, field: &Field, value: u128) {
        self.record_u64(field, u64::try_from(value).unwrap_or(u64::MAX));
    }
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(name_of(field), |text| write!(text, "{value}"));
    }
    fn record_str(&mut self, field: &Field, value: &str) {
        // An empty field is omitted.
        if !value.is_empty() {
            self.put(name_of(field), |text| write_text(text, value));
        }
    }
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let mut shown = String::new();
        // If formatting a value fails, the part so far is kept.
        _ = write!(shown, "{value:?}");
        self.put(name_of(field), |text| write_text(text, &shown));
    }
}

/// Returns the name of a field: `message` becomes SAP's `msg`.
fn name_of(field: &Field) -> &'static str {
    if field.name() == "message" { "msg" } else { field.name() }
}

/// Writes a quoted text, escaped so that no value can forge a field or a line.
fn write_text(text: &mut Vec<u8>, value: &str) -> io::Result<()> {
    let needs_escape = |byte| byte < b' ' || byte == b'"' || byte == b'\\';
    // Without a branch many bytes are compared at once; serde_json looks at each one.
    if value.bytes().fold(false, |found, byte| found | needs_escape(byte)) {
        return Ok(serde_json::to_writer(text, value)?);
    }
    text.push(b'"');
    text.extend_from_slice(value.as_bytes());
    text.push(b'"');
    Ok(())
}

/// Returns a number that JSON knows: a time in milliseconds to the nanosecond, without the noise of
/// its last digits. Infinite ones become 0.
fn json_number(value: f64) -> f64 {
    const PARTS: f64 = 1e6;
    match value {
        _ if !value.is_finite() => 0.0,
        _ if (1e-3..1e9).contains(&value) => (value * PARTS).round() / PARTS,
        _ => value,
    }
}

/// Lends the thread's buffer, empty; a line written while another one is being written gets a new
/// buffer.
fn with_buffer<T>(act: impl FnOnce(&mut JsonFields) -> T) -> T {
    thread_local! {
        static BUFFER: Cell<Option<Box<JsonFields>>> = const { Cell::new(None) };
    }
    let mut buffer = BUFFER.try_with(Cell::take).ok().flatten().unwrap_or_default();
    let done = act(&mut buffer);
    buffer.text.clear();
    buffer.text.shrink_to(KEPT_CAPACITY);
    buffer.ranges.clear();
    _ = BUFFER.try_with(|kept| kept.set(Some(buffer)));
    done
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{prop_assert, prop_assert_eq, proptest};
    use rstest::rstest;

    use super::{json_number, write_text};

    #[rstest]
    #[case(0.0, "0")]
    #[case(1.0, "1")]
    #[case(0.25, "0.25")]
    #[case(1.234_567 * 1.0, "1.234567")]
    #[case(0.001_234_567_f64 * 1000.0, "1.234567")]
    #[case(12.000_001, "12.000001")]
    #[case(0.000_012_5, "0.0000125")]
    #[case(-1.5, "-1.5")]
    #[case(f64::NAN, "0")]
    #[case(f64::INFINITY, "0")]
    #[case(1e12, "1000000000000")]
    fn a_time_is_written_to_the_nanosecond(#[case] value: f64, #[case] expected: &str) {
        assert_eq!(json_number(value).to_string(), expected);
    }

    proptest! {
        #[test]
        fn an_escaped_text_parses_to_the_original(value in "(?s).{0,40}", odd in "[\"\\\\\u{0}-\u{1f}a\u{7f}]{0,20}") {
            let value = value + &odd;
            let mut json = Vec::new();
            write_text(&mut json, &value).unwrap();
            prop_assert!(!json.iter().any(|byte| *byte < b' '));
            #[expect(clippy::disallowed_methods, reason = "reads back the text under test")]
            let back: String = serde_json::from_slice(&json).unwrap();
            prop_assert_eq!(back, value);
        }
    }
}
