//! Levers for any part: what its next answers look like, and when they come.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::StatusCode;
use serde_json::{Value, json};

use crate::landscape::Landscape;
use crate::levers::LeverResult;
use crate::levers::args::LeverArgs;
use crate::levers::echo::{Echo, EchoPlace, EchoSpelling};
use crate::levers::part_faults::{ArmedPartFault, CannedAnswer, PartFault, RequestFilter};
use crate::part::Part;
use crate::wire::WritePlan;

/// Bytes. Larger fillers are cut to this size; no test needs more.
const FILLER_LIMIT: usize = 64 * 1024 * 1024;

pub(super) const LEVERS: &[(&str, &str)] = &[
    (
        "fail_next",
        "{part, n=1, status=503, headers={}, body=\"\" (text or JSON), body_base64, body_size (filler), raw (bytes instead of HTTP; with reset they end in a TCP reset), reset=false, only=\"METHOD /path-prefix\"}: the next n answers are this one",
    ),
    (
        "echo",
        "{part, n=1, text (default: the secrets that the client sent, and its path), spelling: plain|url|html|json, place: description|code|page|header, before=0 (characters in front), status, only}: the next n answers are errors with this text",
    ),
    ("latency", "{part, ms}: delays every answer from now on; 0 ends it"),
    (
        "hang",
        "{part, n=1, ms, only}: no answer until release; with ms the part is asked after that time",
    ),
    ("release", "{part}: the part is asked what hangs without ms"),
    ("cut", "{part, n=1, only}: TCP reset before an answer, the part is not asked"),
    ("commit_then_hang", "{part, n=1, only}: the part is asked, its answer never comes"),
    ("drip", "{part, n=1, chunk=1, ms=100, only}: the answer leaves chunk bytes at a time"),
    (
        "truncate",
        "{part, n=1, after=0, only}: the head and so many bytes of the body, then the end",
    ),
    ("clear", "{part}: disarms all of the above; without part everywhere, UAA faults included"),
    ("clock", "{advance (seconds)}: moves the landscape's clock, for tokens and locks"),
];

pub(super) fn pull(landscape: &Landscape, lever: &str, args: &Value) -> Option<LeverResult> {
    Some(match lever {
        "fail_next" => fail_next(landscape, args),
        "echo" => echo(landscape, args),
        "latency" => latency(landscape, args),
        "hang" => hang(landscape, args),
        "release" => release(landscape, args),
        "cut" => LeverArgs::read(args, &["part", "n", "only"])
            .and_then(|args| arm(landscape, &args, PartFault::Cut)),
        "commit_then_hang" => LeverArgs::read(args, &["part", "n", "only"])
            .and_then(|args| arm(landscape, &args, PartFault::CommitThenHang)),
        "drip" => drip(landscape, args),
        "truncate" => truncate(landscape, args),
        "clear" => clear(landscape, args),
        "clock" => clock(landscape, args),
        _ => return None,
    })
}

fn arm(landscape: &Landscape, args: &LeverArgs<'_>, fault: PartFault) -> LeverResult {
    let only = args.maybe_text("only")?.map(RequestFilter::parse).unwrap_or_default();
    let armed = ArmedPartFault { fault, left: args.count("n")?, only };
    if armed.left > 0 {
        landscape.faults.of(args.part()?).arm(armed);
    }
    Ok(Value::Null)
}

fn fail_next(landscape: &Landscape, args: &Value) -> LeverResult {
    let known = [
        "part",
        "n",
        "status",
        "headers",
        "body",
        "body_base64",
        "body_size",
        "raw",
        "reset",
        "only",
    ];
    let args = LeverArgs::read(args, &known)?;
    let status = status(&args)?.unwrap_or(503);
    let mut headers = Vec::new();
    for (name, value) in args.map("headers")? {
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        headers.push((name, value));
    }
    let raw = args.maybe_text("raw")?.map(|raw| Bytes::from(raw.to_owned()));
    let reset = args.flag("reset", false)?;
    let canned = CannedAnswer { status, headers, body: body(&args)?, raw, reset };
    arm(landscape, &args, PartFault::Answer(canned))
}

fn status(args: &LeverArgs<'_>) -> Result<Option<u16>, String> {
    let status = |number: i64| {
        let status = u16::try_from(number).ok().filter(|status| (200..=999).contains(status));
        status.ok_or("argument status must be between 200 and 999")
    };
    Ok(args.maybe_number("status")?.map(status).transpose()?)
}

fn echo(landscape: &Landscape, args: &Value) -> LeverResult {
    let known = ["part", "n", "text", "spelling", "place", "before", "status", "only"];
    let args = LeverArgs::read(args, &known)?;
    let spelling = match args.maybe_text("spelling")? {
        None | Some("plain") => EchoSpelling::Plain,
        Some("url") => EchoSpelling::Url,
        Some("html") => EchoSpelling::Html,
        Some("json") => EchoSpelling::Json,
        Some(_) => return Err("argument spelling is plain, url, html or json".to_owned()),
    };
    let place = match args.maybe_text("place")? {
        None | Some("description") => EchoPlace::Description,
        Some("code") => EchoPlace::Code,
        Some("page") => EchoPlace::Page,
        Some("header") => EchoPlace::Header,
        Some(_) => return Err("argument place is description, code, page or header".to_owned()),
    };
    let echo = Echo {
        status: status(&args)?.and_then(|status| StatusCode::from_u16(status).ok()),
        text: args.maybe_text("text")?.map(str::to_owned),
        spelling,
        place,
        before: args.get("before").map_or(Ok(0), |_| args.count("before"))?.min(FILLER_LIMIT),
    };
    arm(landscape, &args, PartFault::Echo(echo))
}

/// Returns the body of the answer. A JSON text is sent as it is, other JSON is written out.
fn body(args: &LeverArgs<'_>) -> Result<Bytes, String> {
    if let Some(encoded) = args.maybe_text("body_base64")? {
        let decoded = STANDARD.decode(encoded);
        return decoded.map(Bytes::from).map_err(|_| "argument body_base64 is none".to_owned());
    }
    if args.get("body_size").is_some() {
        let size = args.count("body_size")?.min(FILLER_LIMIT);
        return Ok(Bytes::from(vec![b'x'; size]));
    }
    let text = match args.get("body") {
        None => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    };
    Ok(Bytes::from(text))
}

fn latency(landscape: &Landscape, args: &Value) -> LeverResult {
    let args = LeverArgs::read(args, &["part", "ms"])?;
    landscape.faults.of(args.part()?).set_latency(millis(&args, "ms", 0)?);
    Ok(Value::Null)
}

fn hang(landscape: &Landscape, args: &Value) -> LeverResult {
    let args = LeverArgs::read(args, &["part", "n", "ms", "only"])?;
    let time = args.get("ms").map(|_| millis(&args, "ms", 0)).transpose()?;
    arm(landscape, &args, PartFault::Hang(time))
}

fn release(landscape: &Landscape, args: &Value) -> LeverResult {
    let args = LeverArgs::read(args, &["part"])?;
    landscape.faults.of(args.part()?).release();
    Ok(Value::Null)
}

fn drip(landscape: &Landscape, args: &Value) -> LeverResult {
    let args = LeverArgs::read(args, &["part", "n", "chunk", "ms", "only"])?;
    let (chunk, pause) = (args.count("chunk")?, millis(&args, "ms", 100)?);
    arm(landscape, &args, PartFault::Wire(WritePlan::Drip { chunk, pause }))
}

fn truncate(landscape: &Landscape, args: &Value) -> LeverResult {
    let args = LeverArgs::read(args, &["part", "n", "after", "only"])?;
    let after = args.get("after").map_or(Ok(0), |_| args.count("after"))?;
    arm(landscape, &args, PartFault::Wire(WritePlan::Truncate { after }))
}

fn clear(landscape: &Landscape, args: &Value) -> LeverResult {
    let args = LeverArgs::read(args, &["part"])?;
    if args.get("part").is_some() {
        landscape.faults.of(args.part()?).clear();
        return Ok(Value::Null);
    }
    for part in Part::ALL {
        landscape.faults.of(part).clear();
    }
    landscape.uaa.faults.clear();
    Ok(Value::Null)
}

fn clock(landscape: &Landscape, args: &Value) -> LeverResult {
    let args = LeverArgs::read(args, &["advance"])?;
    landscape.clock.advance(args.maybe_number("advance")?.unwrap_or(0));
    Ok(json!({"now": landscape.clock.seconds()}))
}

fn millis(args: &LeverArgs<'_>, name: &str, default: u64) -> Result<Duration, String> {
    let number = args.maybe_number(name)?.map_or(Ok(default), u64::try_from);
    let number = number.map_err(|_| format!("argument {name} must not be negative"))?;
    Ok(Duration::from_millis(number))
}
