use std::{
    io::{self, Write},
    sync::{Arc, Mutex},
    time::Duration,
};

use rstest::rstest;
use serde_json::Value;
use tracing::Instrument;
use tracing_subscriber::{fmt::MakeWriter, layer::SubscriberExt};

use super::{LogIdentity, json_layer::JsonLayer, line_filter, priority_of};
use crate::telemetry::{
    audit,
    writer::{LinePriority, LogWriter},
};

#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Returns the lines that `act` writes with this text of `RUST_LOG`.
fn lines(filter: &str, identity: &LogIdentity, act: impl FnOnce()) -> Vec<Value> {
    let written = Written::default();
    let writer = LogWriter::start(written.clone()).unwrap();
    let layer = JsonLayer::new(identity, writer.clone());
    let subscriber = tracing_subscriber::registry().with(layer).with(line_filter(Some(filter)));
    tracing::subscriber::with_default(subscriber, act);
    writer.finish(Duration::from_secs(60));
    let bytes = written.0.lock().unwrap().clone();
    let text = String::from_utf8(bytes).unwrap();
    #[expect(clippy::disallowed_methods, reason = "reads back the lines under test")]
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Returns only the messages.
fn messages(filter: &str, act: impl FnOnce()) -> Vec<String> {
    let lines = lines(filter, &LogIdentity::default(), act);
    lines.iter().map(|line| line["msg"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_line_holds_message_span_fields_and_identity_and_cannot_be_forged() {
    let identity =
        LogIdentity::default().with("component_name", Some("cfapi-broker")).with("space_id", None);
    let lines = lines("info", &identity, || {
        let span = tracing::info_span!(
            "request",
            correlation_id = "c-1",
            tenant_id = tracing::field::Empty
        );
        let _entered = span.enter();
        span.record("tenant_id", "zone-1");
        tracing::info!(target: audit::TARGET, host = "a\r\n{\"level\":\"error\"}", count = 2_u64, took = 5_u128, ms = 1.25, code = "", "route intent");
    });
    assert_eq!(lines.len(), 1, "{lines:?}");
    let line = &lines[0];
    assert_eq!(line["msg"], "route intent");
    assert_eq!(line["host"], "a\r\n{\"level\":\"error\"}");
    assert_eq!(line["type"], "log");
    assert_eq!(line["level"], "info");
    assert_eq!(line["logger"], "audit");
    assert_eq!(line["layer"], "[RUST]");
    assert_eq!(line["correlation_id"], "c-1");
    assert_eq!(line["tenant_id"], "zone-1");
    assert_eq!(line["component_name"], "cfapi-broker");
    assert_eq!(line["categories"][0], "audit");
    assert_eq!((&line["count"], &line["took"], &line["ms"]), (&2.into(), &5.into(), &1.25.into()));
    assert!(line.get("code").is_none());
    assert!(line.get("space_id").is_none());
}

#[test]
fn a_line_has_two_times_that_agree() {
    let lines = lines("info", &LogIdentity::default(), || tracing::info!("now"));
    let (at, nanos) = (lines[0]["written_at"].as_str().unwrap(), &lines[0]["written_ts"]);
    let at = humantime::parse_rfc3339(at).unwrap();
    let since = at.duration_since(std::time::UNIX_EPOCH).unwrap();
    assert_eq!(u128::from(nanos.as_u64().unwrap()) / 1_000_000, since.as_millis());
}

#[test]
fn the_nearest_span_wins_and_closed_spans_add_nothing() {
    let lines = lines("info", &LogIdentity::default(), || {
        let outer = tracing::info_span!("outer", a = "outer", b = "outer", c = "outer");
        let inner = outer.in_scope(|| tracing::info_span!("inner", b = "inner", c = "inner"));
        drop(outer);
        inner.in_scope(|| tracing::info!(c = "event", "within"));
        drop(inner);
        tracing::info!("without");
        tracing::info_span!("next", d = "next").in_scope(|| tracing::info!("next"));
    });
    let [within, without, next] = &lines[..] else { panic!("{lines:?}") };
    assert_eq!(
        (&within["a"], &within["b"], &within["c"]),
        (&"outer".into(), &"inner".into(), &"event".into())
    );
    assert!(without.get("a").is_none() && next.get("a").is_none(), "{lines:?}");
    assert_eq!(next["d"], "next");
}

/// A filter learns of the end of a span after its slot is free: the next span there must have
/// another id.
#[test]
fn a_closed_span_leaves_nothing_to_the_next_one_in_its_slot() {
    let found = messages("info,[loud]=debug", || {
        let loud = tracing::info_span!("loud");
        let entered = loud.clone().entered();
        drop(loud);
        drop(entered);
        tracing::info_span!("quiet").in_scope(|| tracing::debug!("in the next"));
        let outer = tracing::info_span!("loud");
        let inner = outer.in_scope(|| tracing::info_span!("inner"));
        drop(outer);
        drop(inner);
        tracing::info_span!("quiet").in_scope(|| tracing::debug!("behind a parent"));
        tracing::debug!("outside");
    });
    assert_eq!(found, [""; 0]);
}

#[test]
fn spans_that_are_closed_on_another_thread_leave_no_filter_open() {
    let written = Written::default();
    let writer = LogWriter::start(written.clone()).unwrap();
    let layer = JsonLayer::new(&LogIdentity::default(), writer);
    let filter = line_filter(Some("info,[loud]=debug"));
    let dispatch = tracing::Dispatch::new(tracing_subscriber::registry().with(layer).with(filter));
    tracing::dispatcher::with_default(&dispatch, || {
        let (give, take) = std::sync::mpsc::channel::<tracing::Span>();
        let closing = std::thread::spawn(move || take.into_iter().for_each(drop));
        for _ in 0..20_000 {
            let span = tracing::info_span!("loud");
            // Long enough for the other thread to close the previous span.
            span.in_scope(|| (0..200).for_each(|_| std::hint::spin_loop()));
            give.send(span).unwrap();
            assert!(!tracing::enabled!(tracing::Level::DEBUG));
        }
        drop(give);
        closing.join().unwrap();
    });
}

#[test]
fn values_are_written_as_json() {
    let lines = lines("info", &LogIdentity::default(), || {
        let text = "quote \" backslash \\ \u{1} \",\"b\":1";
        tracing::info!(a = 0.001_234_567_f64 * 1000.0, whole = 5.0, nan = f64::NAN, low = -3_i64, yes = true, most = u64::MAX, text, debug = ?text, "x");
    });
    let line = &lines[0];
    assert_eq!((&line["a"], &line["whole"]), (&1.234_567.into(), &5.into()));
    assert_eq!((&line["nan"], &line["low"], &line["yes"]), (&0.into(), &(-3).into(), &true.into()));
    assert_eq!((&line["most"], &line["b"]), (&u64::MAX.into(), &Value::Null));
    let text = "quote \" backslash \\ \u{1} \",\"b\":1";
    assert_eq!((&line["text"], &line["debug"]), (&text.into(), &format!("{text:?}").into()));
}

/// A name is taken only if a field has it, not if a value looks like one.
#[test]
fn a_value_that_looks_like_a_field_hides_none() {
    let lines = lines("info", &LogIdentity::default(), || {
        let _entered = tracing::info_span!("span", id = "s").entered();
        tracing::info!(text = "\"id\":", debug = ?"\"id\":", "\"id\":");
    });
    assert_eq!(lines[0]["id"], "s");
}

#[test]
fn text_lines_have_the_same_priorities() {
    let priorities = Priorities::default();
    let layer = tracing_subscriber::fmt::layer().with_writer(priorities.clone());
    let subscriber = tracing_subscriber::registry().with(layer);
    tracing::subscriber::with_default(subscriber, || {
        tracing::info!(target: audit::TARGET, "audit");
        tracing::warn!("own");
        tracing::warn!(target: super::REQUEST_TARGET, "refused");
        tracing::info!("own");
    });
    let found = priorities.0.lock().unwrap().clone();
    assert_eq!(
        found,
        [
            LinePriority::Audit,
            LinePriority::Notable,
            LinePriority::Ordinary,
            LinePriority::Ordinary
        ]
    );
}

/// Records the priority of each line.
#[derive(Clone, Default)]
struct Priorities(Arc<Mutex<Vec<LinePriority>>>);

impl MakeWriter<'_> for Priorities {
    type Writer = io::Sink;

    fn make_writer(&self) -> io::Sink {
        io::sink()
    }

    fn make_writer_for(&self, meta: &tracing::Metadata<'_>) -> io::Sink {
        self.0.lock().unwrap().push(priority_of(meta));
        io::sink()
    }
}

#[test]
fn work_spawned_in_a_span_logs_in_it() {
    let lines = lines("info", &LogIdentity::default(), || {
        let work = async { tracing::info!("work") };
        let work = tracing::info_span!("request", id = "r").in_scope(|| work.in_current_span());
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(work);
    });
    assert_eq!(lines[0]["id"], "r");
}

#[rstest]
#[case::plain("warn", &["audit"])]
#[case::off("off", &["audit"])]
#[case::audit_off("info,audit=off", &["audit", "own info"])]
#[case::audit_fields_off("audit[{message}]=off", &["audit", "own info"])]
#[case::unreadable("info,=,", &["audit", "own info"])]
#[case::capped("trace", &["audit", "own info", "own debug"])]
#[case::library("other=trace", &["audit"])]
#[case::a_span("[request]=debug", &["audit", "own debug"])]
fn the_filter_applies_but_audit_lines_pass_and_libraries_stay_at_info(
    #[case] filter: &str,
    #[case] expected: &[&str],
) {
    let found = messages(filter, || {
        tracing::info!(target: audit::TARGET, "audit");
        tracing::info!("own info");
        tracing::info_span!("request").in_scope(|| tracing::debug!("own debug"));
        tracing::debug!(target: "other", "other debug");
    });
    assert_eq!(found, expected);
}
