//! What must be equal in a recorded answer and ours: status, content type, `Location`, header
//! names, errors word for word, shape and values of JSON. Not compared: times, request ids, hosts,
//! the order of members and of the destinations of a route, and the values of the root documents.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use crate::replay::exchange::Exchange;
use crate::replay::guids::Guids;
use crate::replay::http_client::HttpAnswer;

const RECORDED_API: &str = "http://api.recorded.example";
/// Headers of the connection, not of the Cloud Controller.
const TRANSPORT: &[&str] = &["connection", "date", "content-length", "transfer-encoding"];
/// Headers whose values must be equal if both answers have them.
const EQUAL: &[&str] = &[
    "content-type",
    "x-frame-options",
    "x-xss-protection",
    "x-content-type-options",
    "x-download-options",
    "x-permitted-cross-domain-policies",
    "referrer-policy",
    "x-cascade",
];
/// Documents that describe the landscape itself. Only their shape comes from CC.
const LANDSCAPE: &[&str] = &["/", "/v3/info", "/v2/info"];

/// Whether values are compared, or only their types.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Depth {
    Shape,
    Values,
}

/// Returns one line for each difference. Learns guids from the two answers.
pub(crate) fn differences(
    exchange: &Exchange,
    answer: &HttpAnswer,
    base: &str,
    guids: &mut Guids,
) -> Vec<String> {
    let mut found = Vec::new();
    if exchange.status != answer.status {
        found.push(format!("status {}, recorded {}", answer.status, exchange.status));
    }
    header_differences(exchange, answer, &mut found);
    location_difference(exchange, answer, base, guids, &mut found);
    let parse = |text: &str| serde_json::from_str::<Value>(text).ok().map(ordered);
    match (parse(&exchange.body), parse(&answer.body)) {
        (Some(recorded), Some(ours)) => {
            let earlier = guids.saw_earlier_things(&recorded, &ours);
            if !earlier {
                guids.learn(&recorded, &ours);
            }
            let landscape = LANDSCAPE.contains(&exchange.path.as_str());
            let depth = if landscape || earlier { Depth::Shape } else { Depth::Values };
            let recorded = neutral(&recorded, &|text| text.replace(RECORDED_API, "{api}"));
            let ours = neutral(&ours, &|text| guids.recorded(text).replace(base, "{api}"));
            json_differences("", &[&recorded], &ours, depth, &mut found);
        }
        _ if exchange.body == answer.body => {}
        _ => found.push(format!("body `{}`, recorded `{}`", answer.body, exchange.body)),
    }
    found
}

fn header_differences(exchange: &Exchange, answer: &HttpAnswer, found: &mut Vec<String>) {
    let counts = |name: &&String| !TRANSPORT.contains(&name.as_str());
    let recorded: BTreeSet<&String> = exchange.headers.keys().filter(counts).collect();
    let ours: BTreeSet<&String> = answer.headers.keys().filter(counts).collect();
    found.extend(recorded.difference(&ours).map(|name| format!("header {name} is missing")));
    found.extend(ours.difference(&recorded).map(|name| format!("header {name} is not recorded")));
    for name in EQUAL {
        if let (Some(old), Some(new)) = (exchange.headers.get(*name), answer.header(name))
            && old != new
        {
            found.push(format!("header {name} is `{new}`, recorded `{old}`"));
        }
    }
    let prefix = |id: Option<&str>| id.and_then(|id| Some(id.split_once("::")?.0.to_owned()));
    let name = "x-vcap-request-id";
    let old = exchange.headers.get(name).map(String::as_str);
    if prefix(old) != prefix(answer.header(name)) {
        found.push(format!("header {name} does not echo as recorded"));
    }
}

/// Compares the form of `Location`, and learns the guid at its end.
fn location_difference(
    exchange: &Exchange,
    answer: &HttpAnswer,
    base: &str,
    guids: &mut Guids,
    found: &mut Vec<String>,
) {
    let split = |location: &str, base: &str| {
        let (path, guid) = location.strip_prefix(base)?.rsplit_once('/')?;
        Some((path.to_owned(), guid.to_owned()))
    };
    let recorded = exchange.headers.get("location").and_then(|text| split(text, RECORDED_API));
    let ours = answer.header("location").and_then(|text| split(text, base));
    match (&recorded, &ours) {
        (Some((old, guid)), Some((new, other))) if old == new => guids.pair(guid, other),
        (None, None) => {}
        _ => found.push(format!("location {ours:?}, recorded {recorded:?}")),
    }
}

/// Compares one of our values with the recorded values in the same place. This is one value, or,
/// within lists of unequal content, those of all items.
fn json_differences(
    at: &str,
    recorded: &[&Value],
    ours: &Value,
    depth: Depth,
    found: &mut Vec<String>,
) {
    if !recorded.iter().any(|value| kind(value) == kind(ours)) {
        let kinds: Vec<&str> = recorded.iter().map(|value| kind(value)).collect();
        found.push(format!("{at} is {}, recorded {}", kind(ours), kinds.join(" or ")));
        return;
    }
    match ours {
        Value::Object(members) => {
            let recorded: Vec<&Map<String, Value>> =
                recorded.iter().filter_map(|value| value.as_object()).collect();
            object_differences(at, &recorded, members, depth, found);
        }
        Value::Array(items) => {
            let recorded: Vec<&Vec<Value>> =
                recorded.iter().filter_map(|value| value.as_array()).collect();
            list_differences(at, &recorded, items, depth, found);
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            if depth == Depth::Values && !recorded.contains(&ours) {
                found.push(format!("{at} is {ours}, recorded {recorded:?}"));
            }
        }
    }
}

fn object_differences(
    at: &str,
    recorded: &[&Map<String, Value>],
    ours: &Map<String, Value>,
    depth: Depth,
    found: &mut Vec<String>,
) {
    let keys: BTreeSet<&String> = recorded.iter().flat_map(|members| members.keys()).collect();
    for key in keys {
        let values: Vec<&Value> = recorded.iter().filter_map(|members| members.get(key)).collect();
        match ours.get(key) {
            Some(value) => json_differences(&format!("{at}/{key}"), &values, value, depth, found),
            None if values.len() == recorded.len() => found.push(format!("{at}/{key} is missing")),
            None => {}
        }
    }
    let known = |key: &&String| recorded.iter().any(|members| members.contains_key(*key));
    let strange = ours.keys().filter(|key| !known(key));
    found.extend(strange.map(|key| format!("{at}/{key} is not recorded")));
}

fn list_differences(
    at: &str,
    recorded: &[&Vec<Value>],
    ours: &[Value],
    depth: Depth,
    found: &mut Vec<String>,
) {
    if let (Depth::Values, [only]) = (depth, recorded) {
        if only.len() != ours.len() {
            found.push(format!("{at} has {} items, recorded {}", ours.len(), only.len()));
            return;
        }
        for (index, (old, new)) in only.iter().zip(ours).enumerate() {
            json_differences(&format!("{at}/{index}"), &[old], new, depth, found);
        }
        return;
    }
    let items: Vec<&Value> = recorded.iter().flat_map(|items| items.iter()).collect();
    for (index, item) in ours.iter().enumerate().filter(|_| !items.is_empty()) {
        json_differences(&format!("{at}/{index}"), &items, item, depth, found);
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// Rewrites every text, and replaces times by their shape.
fn neutral(value: &Value, rewrite: &dyn Fn(&str) -> String) -> Value {
    match value {
        Value::String(text) => Value::String(rewrite(text)),
        Value::Array(items) => items.iter().map(|item| neutral(item, rewrite)).collect(),
        Value::Object(members) => {
            let members = members.iter().map(|(key, value)| {
                let time = value.as_str().filter(|_| key.ends_with("_at"));
                let value = time.map_or_else(|| neutral(value, rewrite), time_shape);
                (key.clone(), value)
            });
            Value::Object(members.collect())
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
    }
}

/// Orders the destinations of routes by what they lead to. CC orders them by guid, and our guids
/// are others.
pub(crate) fn ordered(value: Value) -> Value {
    match value {
        Value::Array(items) => items.into_iter().map(ordered).collect(),
        Value::Object(members) => {
            let members = members.into_iter().map(|(key, value)| {
                let mut value = ordered(value);
                if let Some(items) = value.as_array_mut().filter(|_| key == "destinations") {
                    items.sort_by_cached_key(|item| {
                        let parts = ["/app/process/type", "/port", "/protocol"];
                        parts.map(|part| item.pointer(part).map(Value::to_string))
                    });
                }
                (key, value)
            });
            Value::Object(members.collect())
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value,
    }
}

/// Keeps of a time only where its digits are.
fn time_shape(time: &str) -> Value {
    let shape = time.chars().map(|letter| if letter.is_ascii_digit() { 'd' } else { letter });
    Value::String(shape.collect())
}
