//! The bodies that map and unmap apps: the array `destinations`. Faults have CC's words.

use crate::capi::errors::{ApiRefusal, unprocessable};
use crate::capi::json::Json;
use crate::capi::route_form::{refuse, unknown_fields};

/// The most entries of one array.
const MOST: usize = 100;
/// The most ports of one app.
const MOST_PORTS: usize = 10;
const PROTOCOLS: &[&str] = &["http1", "http2", "tcp"];

/// One valid entry. Defaults are not yet filled in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TargetSpec {
    pub(crate) app: String,
    pub(crate) process: String,
    pub(crate) port: Option<u64>,
    pub(crate) weight: Option<u64>,
    pub(crate) protocol: Option<String>,
}

/// Which call the array came with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    Add,
    Replace,
}

/// Reads the body of an add or a replace.
pub(crate) fn read(body: &Json, purpose: Purpose) -> Result<Vec<TargetSpec>, ApiRefusal> {
    let mut faults: Vec<String> = unknown_fields(body, &["destinations"]).into_iter().collect();
    let least = usize::from(purpose == Purpose::Add);
    let entries = match body.get("destinations") {
        Some(Json::List(entries)) if (least..=MOST).contains(&entries.len()) => entries,
        _ => {
            faults.push(format!(
                "Destinations must be an array containing between {least} and {MOST} destination objects."
            ));
            return Err(unprocessable(&faults.join(", ")));
        }
    };
    let mut specs = Vec::new();
    for (index, entry) in entries.iter().enumerate() {
        let before = faults.len();
        entry_faults(entry, purpose, &mut |fault| {
            faults.push(format!("Destinations[{index}]: {fault}"));
        });
        specs.extend((faults.len() == before).then(|| spec(entry)));
    }
    let has_too_many_ports = |app: &Json| {
        let same = |entry: &&Json| entry.get("app") == Some(app);
        entries.iter().filter(same).count() > MOST_PORTS
    };
    if entries.iter().filter_map(|entry| entry.get("app")).any(has_too_many_ports) {
        faults.push("Process must have at most 10 exposed ports.".to_owned());
    }
    if faults.is_empty() {
        faults.extend(weight_fault(&specs));
    }
    refuse(&faults)?;
    Ok(specs)
}

/// Reads the body that changes one destination. It may hold a protocol.
pub(crate) fn read_protocol(body: &Json) -> Result<Option<String>, ApiRefusal> {
    let mut faults: Vec<String> = unknown_fields(body, &["protocol"]).into_iter().collect();
    let protocol = body.get("protocol");
    let text = protocol.and_then(Json::as_text).filter(|text| PROTOCOLS.contains(text));
    if protocol.is_some() && text.is_none() {
        faults.push("Destination protocol must be 'http1', 'http2' or 'tcp'.".to_owned());
    }
    refuse(&faults)?;
    Ok(text.map(str::to_owned))
}

fn entry_faults(entry: &Json, purpose: Purpose, push: &mut dyn FnMut(&str)) {
    let Some(members) = entry.members() else {
        return push("must be an object.");
    };
    let Some(app) = entry.get("app") else {
        return push("must have an \"app\".");
    };
    let known = ["app", "weight", "port", "protocol"];
    if members.iter().any(|(name, _)| !known.contains(&name.as_str())) {
        return push("must have only \"app\" and optionally \"weight\", \"port\" or \"protocol\".");
    }
    if let Some(fault) = app_fault(app) {
        push(fault);
    }
    if is_given(entry, "weight") && purpose == Purpose::Add {
        push("weighted destinations can only be used when replacing all destinations.");
    } else if is_given(entry, "weight") && !within(entry, "weight", 1, 100) {
        push("weight must be a positive integer between 1 and 100.");
    }
    if is_given(entry, "port") && !within(entry, "port", 1024, 65_535) {
        push("port must be a positive integer between 1024 and 65535 inclusive.");
    }
    let protocol = entry.get("protocol").and_then(Json::as_text);
    if is_given(entry, "protocol") && !protocol.is_some_and(|text| PROTOCOLS.contains(&text)) {
        push("protocol must be 'http1', 'http2' or 'tcp'.");
    }
}

fn app_fault(app: &Json) -> Option<&'static str> {
    let guid = app.get("guid").and_then(Json::as_text);
    if !guid.is_some_and(|guid| (1..200).contains(&guid.chars().count())) {
        return Some("app must have the structure {\"guid\": \"app_guid\"}");
    }
    let process = app.get("process").filter(|process| **process != Json::Null)?;
    let kind = process.get("type").and_then(Json::as_text).unwrap_or_default();
    let alone = process.members().is_some_and(|members| members.len() == 1);
    (kind.is_empty() || !alone)
        .then_some("process must have the structure {\"type\": \"process_type\"}")
}

fn weight_fault(specs: &[TargetSpec]) -> Option<String> {
    let weights: Vec<u64> = specs.iter().filter_map(|spec| spec.weight).collect();
    if weights.is_empty() {
        return None;
    }
    if weights.len() < specs.len() {
        return Some(
            "Destinations cannot contain both weighted and unweighted destinations.".to_owned(),
        );
    }
    (weights.iter().sum::<u64>() != 100)
        .then(|| "Destinations must have weights that sum to 100.".to_owned())
}

/// Tells whether the member exists and is neither null nor false. Ruby takes both for absent.
fn is_given(entry: &Json, name: &str) -> bool {
    !matches!(entry.get(name), None | Some(Json::Null | Json::Bool(false)))
}

fn within(entry: &Json, name: &str, least: u64, most: u64) -> bool {
    number(entry, name).is_some_and(|number| (least..=most).contains(&number))
}

fn number(entry: &Json, name: &str) -> Option<u64> {
    match entry.get(name)? {
        Json::Number(number) => number.as_u64(),
        Json::Null | Json::Bool(_) | Json::Text(_) | Json::List(_) | Json::Object(_) => None,
    }
}

fn spec(entry: &Json) -> TargetSpec {
    let app = entry.get("app");
    let process = app.and_then(|app| app.get("process")).and_then(|process| process.get("type"));
    let guid = app.and_then(|app| app.get("guid")).and_then(Json::as_text);
    TargetSpec {
        app: guid.unwrap_or_default().to_owned(),
        process: process.and_then(Json::as_text).unwrap_or("web").to_owned(),
        port: number(entry, "port"),
        weight: number(entry, "weight"),
        protocol: entry.get("protocol").and_then(Json::as_text).map(str::to_owned),
    }
}
