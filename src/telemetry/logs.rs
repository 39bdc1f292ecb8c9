//! Log lines: JSON with the field names of SAP's logging libraries on the platform, coloured text on a terminal.
//!
//! Invariant: one event is one line and one write; values are escaped as JSON wants it, so that nobody can forge a
//! line. Libraries below the broker never speak louder than INFO: their debug output may show what they carry.

mod lines;
mod members;
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
    sink::{Kind, Sink, since_epoch},
};
use lines::Lines;

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
    let wanted = Wanted::of(filter);
    let done = if json {
        Lines::new(identity, sink.clone()).with(wanted).try_init()
    } else {
        let text =
            tracing_subscriber::fmt::layer().with_target(false).with_writer(Text(sink.clone()));
        tracing_subscriber::registry().with(text).with(wanted).try_init()
    };
    // A second start in one process (tests) keeps the first subscriber.
    drop(done);
    Ok(sink)
}

/// Which lines are wanted: what `RUST_LOG` says, audit lines always, nothing loud of a library.
struct Wanted {
    told: EnvFilter,
    /// Whether it depends on spans and their fields. Otherwise each place in the code is judged once.
    by_span: bool,
}

impl Wanted {
    fn of(text: Option<&str>) -> Self {
        let told = text.and_then(|text| Some((EnvFilter::try_new(text).ok()?, text.contains('['))));
        let (told, by_span) = told.unwrap_or_else(|| (EnvFilter::new("info"), false));
        Self { told, by_span }
    }

    fn told(&self) -> Option<&EnvFilter> {
        Some(&self.told).filter(|_| self.by_span)
    }
}

impl<S: Subscriber> Layer<S> for Wanted {
    fn register_callsite(&self, meta: &'static Metadata<'static>) -> Interest {
        if meta.target() == audit::TARGET {
            return Interest::always();
        }
        if !is_ours_or_quiet(meta) {
            return Interest::never();
        }
        Layer::<S>::register_callsite(&self.told, meta)
    }

    fn enabled(&self, meta: &Metadata<'_>, ctx: Context<'_, S>) -> bool {
        let always = meta.target() == audit::TARGET;
        always || (is_ours_or_quiet(meta) && self.told.enabled(meta, ctx))
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        // Audit lines are of level INFO.
        let told = Layer::<S>::max_level_hint(&self.told);
        told.map(|level| level.max(LevelFilter::INFO))
    }

    fn on_new_span(&self, attrs: &span::Attributes<'_>, id: &span::Id, ctx: Context<'_, S>) {
        if let Some(told) = self.told() {
            told.on_new_span(attrs, id, ctx);
        }
    }

    fn on_record(&self, id: &span::Id, values: &span::Record<'_>, ctx: Context<'_, S>) {
        if let Some(told) = self.told() {
            told.on_record(id, values, ctx);
        }
    }

    fn on_enter(&self, id: &span::Id, ctx: Context<'_, S>) {
        if let Some(told) = self.told() {
            told.on_enter(id, ctx);
        }
    }

    fn on_exit(&self, id: &span::Id, ctx: Context<'_, S>) {
        if let Some(told) = self.told() {
            told.on_exit(id, ctx);
        }
    }

    fn on_close(&self, id: span::Id, ctx: Context<'_, S>) {
        if let Some(told) = self.told() {
            told.on_close(id, ctx);
        }
    }
}

/// Which lines may be lost, and for which.
fn kind_of(meta: &Metadata<'_>) -> Kind {
    if meta.target() == audit::TARGET {
        Kind::Audit
    } else if meta.target() != REQUEST_TARGET && *meta.level() <= Level::WARN {
        Kind::Notable
    } else {
        Kind::Ordinary
    }
}

/// Lines for people; each write is a whole one.
struct Text(Sink);

impl MakeWriter<'_> for Text {
    type Writer = TextLine;

    fn make_writer(&self) -> TextLine {
        TextLine { sink: self.0.clone(), kind: Kind::Ordinary }
    }

    fn make_writer_for(&self, meta: &Metadata<'_>) -> TextLine {
        TextLine { sink: self.0.clone(), kind: kind_of(meta) }
    }
}

struct TextLine {
    sink: Sink,
    kind: Kind,
}

impl io::Write for TextLine {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.sink.takes(self.kind, since_epoch()) {
            self.sink.push(line, self.kind);
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
