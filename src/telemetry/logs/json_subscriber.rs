//! The subscriber that writes JSON lines.
//!
//! The registry of `tracing_subscriber` serves any number of layers. Here one reader needs the
//! spans, and their fields are formatted as JSON when a span is opened. So a span is a piece of
//! text, and entering it costs one entry in a list.
//!
//! Invariant: a line's buffer belongs to its thread and is reused for the next line. Used by
//! `telemetry::logs` only.

use std::{
    cell::Cell,
    time::{Duration, UNIX_EPOCH},
};

use tracing::{
    Dispatch, Event, Level, Metadata, Subscriber, dispatcher,
    span::{Attributes, Id, Record},
    subscriber::Interest,
};
use tracing_core::span::Current;

use super::{
    LogIdentity, REQUEST_TARGET,
    json_fields::JsonFields,
    priority_of,
    spans::{self, Released, Spans},
};
use crate::telemetry::writer::{LinePriority, LogWriter, since_epoch};

/// Writes each event as a line, with the fields of the spans around it.
pub(super) struct JsonSubscriber {
    /// The identity's fields as JSON; the same in every line.
    identity: Vec<u8>,
    spans: Spans,
    writer: LogWriter,
}

impl JsonSubscriber {
    pub(super) fn new(identity: &LogIdentity, writer: LogWriter) -> Self {
        let mut fields = JsonFields::default();
        for (name, value) in &identity.0 {
            fields.put_text(name);
            fields.put(b":");
            fields.put_text(value);
            fields.put(b",");
        }
        Self { identity: fields.text().to_vec(), spans: Spans::default(), writer }
    }

    /// Formats an event and passes it to the writer.
    fn write(
        &self,
        event: &Event<'_>,
        priority: LinePriority,
        now: Duration,
        buffer: &mut LineBuffer,
    ) {
        let meta = event.metadata();
        let line = &mut buffer.fields;
        line.clear();
        buffer.prefix.begin(line, now);
        let sort = if meta.target() == REQUEST_TARGET { "request" } else { "log" };
        line.put(b"\"type\":\"");
        line.put(sort.as_bytes());
        line.put(b"\",\"level\":\"");
        line.put(level_word(*meta.level()).as_bytes());
        line.put(b"\",\"logger\":");
        line.put_text(meta.target());
        line.put(b",\"layer\":\"[RUST]\",");
        if priority == LinePriority::Audit {
            line.put(b"\"categories\":[\"audit\"],");
        }
        line.put(&self.identity);
        event.record(line);
        // The nearest value wins: the event, then its span, then the outer spans.
        let span = if event.is_contextual() { spans::current() } else { event.parent().cloned() };
        if let Some(span) = span {
            self.spans.append_to(span, line);
        }
        line.close(b"}\n");
        self.writer.push(line.text(), priority);
    }
}

impl Subscriber for JsonSubscriber {
    fn register_callsite(&self, _: &'static Metadata<'static>) -> Interest {
        Interest::always()
    }

    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, attrs: &Attributes<'_>) -> Id {
        let parent = if attrs.is_contextual() { spans::current() } else { attrs.parent().cloned() };
        if let Some(parent) = &parent {
            self.spans.retain(parent);
        }
        with_buffer(|buffer| {
            buffer.fields.clear();
            attrs.record(&mut buffer.fields);
            self.spans.open(attrs.metadata(), parent, &mut buffer.fields)
        })
    }

    fn record(&self, id: &Id, values: &Record<'_>) {
        let mut fields = JsonFields::default();
        values.record(&mut fields);
        self.spans.add(id, &fields);
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let priority = priority_of(event.metadata());
        let now = since_epoch();
        if self.writer.takes(priority, now) {
            with_buffer(|buffer| self.write(event, priority, now, buffer));
        }
    }

    fn enter(&self, id: &Id) {
        spans::enter(id);
    }

    fn exit(&self, id: &Id) {
        spans::exit(id);
    }

    fn clone_span(&self, id: &Id) -> Id {
        self.spans.retain(id);
        id.clone()
    }

    fn try_close(&self, id: Id) -> bool {
        let Released::Closed(parent) = self.spans.release(&id) else { return false };
        if let Some(parent) = parent {
            // Through the current dispatcher: a filter around this subscriber tracks spans as well.
            dispatcher::get_default(Dispatch::clone).try_close(parent);
        }
        true
    }

    fn current_span(&self) -> Current {
        let found = spans::current().and_then(|id| Some((self.spans.meta(&id)?, id)));
        found.map_or_else(Current::none, |(meta, id)| Current::new(id, meta))
    }
}

/// Buffers that a thread keeps between lines.
#[derive(Default)]
struct LineBuffer {
    fields: JsonFields,
    prefix: SecondPrefix,
}

/// The common prefix of all lines of one second.
#[derive(Default)]
pub(super) struct SecondPrefix {
    /// Since the epoch.
    number: Option<u64>,
    /// `{"written_at":"2026-11-01T12:00:00.`
    before_millis: Vec<u8>,
    /// `Z","written_ts":1793534400`
    before_nanos: Vec<u8>,
}

impl SecondPrefix {
    /// Writes the two times of a line, and the text around them.
    pub(super) fn begin(&mut self, line: &mut JsonFields, now: Duration) {
        if self.number != Some(now.as_secs()) {
            let whole = Duration::from_secs(now.as_secs());
            let text = humantime::format_rfc3339_seconds(UNIX_EPOCH + whole).to_string();
            let text = text.trim_end_matches('Z');
            self.number = Some(now.as_secs());
            self.before_millis = format!("{{\"written_at\":\"{text}.").into_bytes();
            // An unset clock is in second 0, and a JSON number must not begin with a zero.
            let seconds = Some(now.as_secs()).filter(|seconds| *seconds > 0);
            let seconds = seconds.map(|seconds| seconds.to_string()).unwrap_or_default();
            self.before_nanos = format!("Z\",\"written_ts\":{seconds}").into_bytes();
        }
        line.put(&self.before_millis);
        line.put_digits(u64::from(now.subsec_millis()), 3);
        line.put(&self.before_nanos);
        line.put_digits(u64::from(now.subsec_nanos()), if now.as_secs() > 0 { 9 } else { 1 });
        line.put(b",");
    }
}

/// Lends the thread's buffer; a line written while another one is being written gets a new buffer.
fn with_buffer<T>(act: impl FnOnce(&mut LineBuffer) -> T) -> T {
    thread_local! {
        static BUFFER: Cell<Option<Box<LineBuffer>>> = const { Cell::new(None) };
    }
    let mut buffer = BUFFER.try_with(Cell::take).ok().flatten().unwrap_or_default();
    let done = act(&mut buffer);
    _ = BUFFER.try_with(|kept| kept.set(Some(buffer)));
    done
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
