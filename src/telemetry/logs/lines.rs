//! The subscriber that writes JSON lines.
//!
//! `tracing_subscriber`'s registry serves any layers; here one reads a span, and what it says is text as soon as the
//! span is opened. So a span is a piece of text, and entering it costs a place on a list.
//!
//! Invariant: a line's memory belongs to its thread and serves the next line. Only `telemetry::logs` uses it.

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
    LogIdentity, REQUEST_TARGET, kind_of,
    members::Members,
    spans::{self, Left, Spans},
};
use crate::telemetry::sink::{Kind, Sink, since_epoch};

/// Writes each event as a line, with what the spans around it say.
pub(super) struct Lines {
    /// The members of the identity as JSON; the same in every line.
    identity: Vec<u8>,
    spans: Spans,
    sink: Sink,
}

impl Lines {
    pub(super) fn new(identity: &LogIdentity, sink: Sink) -> Self {
        let mut members = Members::default();
        for (name, value) in &identity.0 {
            members.put_text(name);
            members.put(b":");
            members.put_text(value);
            members.put(b",");
        }
        Self { identity: members.text().to_vec(), spans: Spans::default(), sink }
    }

    /// Formats an event and hands it over.
    fn write(&self, event: &Event<'_>, kind: Kind, now: Duration, memory: &mut Memory) {
        let meta = event.metadata();
        let line = &mut memory.members;
        line.clear();
        memory.second.begin(line, now);
        let sort = if meta.target() == REQUEST_TARGET { "request" } else { "log" };
        line.put(b"\"type\":\"");
        line.put(sort.as_bytes());
        line.put(b"\",\"level\":\"");
        line.put(level_word(*meta.level()).as_bytes());
        line.put(b"\",\"logger\":");
        line.put_text(meta.target());
        line.put(b",\"layer\":\"[RUST]\",");
        if kind == Kind::Audit {
            line.put(b"\"categories\":[\"audit\"],");
        }
        line.put(&self.identity);
        event.record(line);
        // Whoever is nearest has the last word: the event, then its span, then the spans around it.
        let span = if event.is_contextual() { spans::current() } else { event.parent().cloned() };
        if let Some(span) = span {
            self.spans.tell(span, line);
        }
        line.close(b"}\n");
        self.sink.push(line.text(), kind);
    }
}

impl Subscriber for Lines {
    fn register_callsite(&self, _: &'static Metadata<'static>) -> Interest {
        Interest::always()
    }

    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, attrs: &Attributes<'_>) -> Id {
        let parent = if attrs.is_contextual() { spans::current() } else { attrs.parent().cloned() };
        if let Some(parent) = &parent {
            self.spans.hold(parent);
        }
        with_memory(|memory| {
            memory.members.clear();
            attrs.record(&mut memory.members);
            self.spans.open(attrs.metadata(), parent, &mut memory.members)
        })
    }

    fn record(&self, id: &Id, values: &Record<'_>) {
        let mut members = Members::default();
        values.record(&mut members);
        self.spans.add(id, &members);
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let kind = kind_of(event.metadata());
        let now = since_epoch();
        if self.sink.takes(kind, now) {
            with_memory(|memory| self.write(event, kind, now, memory));
        }
    }

    fn enter(&self, id: &Id) {
        spans::enter(id);
    }

    fn exit(&self, id: &Id) {
        spans::exit(id);
    }

    fn clone_span(&self, id: &Id) -> Id {
        self.spans.hold(id);
        id.clone()
    }

    fn try_close(&self, id: Id) -> bool {
        let Left::Closed(parent) = self.spans.let_go(&id) else { return false };
        if let Some(parent) = parent {
            // By way of whoever listens around this subscriber: a filter remembers spans as well.
            dispatcher::get_default(Dispatch::clone).try_close(parent);
        }
        true
    }

    fn current_span(&self) -> Current {
        let found = spans::current().and_then(|id| Some((self.spans.meta(&id)?, id)));
        found.map_or_else(Current::none, |(meta, id)| Current::new(id, meta))
    }
}

/// What a thread keeps from line to line.
#[derive(Default)]
struct Memory {
    members: Members,
    second: Second,
}

/// The beginning of all lines of one second.
#[derive(Default)]
pub(super) struct Second {
    /// Since the epoch.
    number: Option<u64>,
    /// `{"written_at":"2026-11-01T12:00:00.`
    before_millis: Vec<u8>,
    /// `Z","written_ts":1793534400`
    before_nanos: Vec<u8>,
}

impl Second {
    /// Writes the two times of a line, and what is before them.
    pub(super) fn begin(&mut self, line: &mut Members, now: Duration) {
        if self.number != Some(now.as_secs()) {
            let whole = Duration::from_secs(now.as_secs());
            let text = humantime::format_rfc3339_seconds(UNIX_EPOCH + whole).to_string();
            let text = text.trim_end_matches('Z');
            self.number = Some(now.as_secs());
            self.before_millis = format!("{{\"written_at\":\"{text}.").into_bytes();
            // A clock that was never set stands in the first second, and no JSON number begins with a zero.
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

/// Lends the thread's memory; a line that is written while another is being written has its own.
fn with_memory<T>(act: impl FnOnce(&mut Memory) -> T) -> T {
    thread_local! {
        static MEMORY: Cell<Option<Box<Memory>>> = const { Cell::new(None) };
    }
    let mut memory = MEMORY.try_with(Cell::take).ok().flatten().unwrap_or_default();
    let done = act(&mut memory);
    _ = MEMORY.try_with(|kept| kept.set(Some(memory)));
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
