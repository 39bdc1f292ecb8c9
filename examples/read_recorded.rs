//! Reads answers that were recorded from real systems, with the broker's own models: `read_recorded
//! FILE.jsonl`.
//!
//! Each line holds `method`, `url`, `status` and `body`. Every answer that has a model must be
//! readable and hold what the broker needs. Answers without a model are counted. Exit code 1 if an
//! answer fails, or if no answer has a model.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a small program that prints a report"
)]

use std::{collections::BTreeMap, env, fs, process::ExitCode};

use cfapi_broker::{
    capi::model::{
        CapiErrors, CfApp, CfRoot, Domain, Job, Organization, Page, Route, RouteTargets, Space,
    },
    oauth::TokenResponse,
    upstream::{
        HttpResponse,
        body::{DecodeError, decode},
    },
};
use http::{HeaderMap, StatusCode};
use serde::{Deserialize, de::DeserializeOwned};

#[derive(Deserialize)]
struct Exchange {
    id: serde_json::Value,
    method: String,
    url: String,
    status: u16,
    body: Option<String>,
}

/// The name of the model and the result of reading; `None` if the answer has no model.
type Reading = Option<(&'static str, Result<(), String>)>;

fn main() -> ExitCode {
    let path = env::args().nth(1);
    let Some(text) = path.and_then(|path| fs::read_to_string(path).ok()) else {
        eprintln!("usage: read_recorded FILE.jsonl");
        return ExitCode::from(2);
    };
    let mut kinds: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    let mut unclaimed = 0;
    for line in text.lines() {
        let Ok(exchange) = decode::<Exchange>(line.as_bytes()) else {
            eprintln!("a line is not an exchange");
            return ExitCode::FAILURE;
        };
        let Some((kind, outcome)) = read(&exchange) else {
            unclaimed += 1;
            continue;
        };
        let counts = kinds.entry(kind).or_default();
        counts.0 += 1;
        if let Err(error) = outcome {
            counts.1 += 1;
            println!("{kind} {} {} {}: {error}", exchange.id, exchange.method, exchange.status);
        }
    }
    for (kind, (read, failed)) in &kinds {
        println!("{kind}: {read} read, {failed} failed");
    }
    println!("recorded answers: {unclaimed} without a model");
    let failed = kinds.is_empty() || kinds.values().any(|(_, failed)| *failed > 0);
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn read(exchange: &Exchange) -> Reading {
    let body = exchange.body.as_deref().unwrap_or("").as_bytes();
    let path = path_of(&exchange.url);
    if exchange.status >= 400 {
        return Some(("errors", try_read::<CapiErrors>(body)));
    }
    let segments: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
    match (exchange.method.as_str(), segments.as_slice()) {
        ("GET", []) => Some(("root", try_read::<CfRoot>(body))),
        ("POST", ["oauth", "token"]) => Some(("token", token(body))),
        ("GET", ["v3", "jobs", _]) => Some(("job", try_read::<Job>(body))),
        ("GET", ["v3", "spaces"]) => Some(("spaces", try_read::<Page<Space>>(body))),
        ("GET" | "PATCH", ["v3", "spaces", _]) | ("POST", ["v3", "spaces"]) => {
            Some(("space", try_read::<Space>(body)))
        }
        ("GET", ["v3", "organizations"]) => {
            Some(("organizations", try_read::<Page<Organization>>(body)))
        }
        ("GET" | "PATCH", ["v3", "organizations", _]) | ("POST", ["v3", "organizations"]) => {
            Some(("organization", try_read::<Organization>(body)))
        }
        ("GET", ["v3", "domains"]) => Some(("domains", try_read::<Page<Domain>>(body))),
        ("GET" | "PATCH", ["v3", "domains", _]) | ("POST", ["v3", "domains"]) => {
            Some(("domain", try_read::<Domain>(body)))
        }
        ("GET", ["v3", "apps"]) => Some(("apps", try_read::<Page<CfApp>>(body))),
        ("GET", ["v3", "apps", _]) | ("POST", ["v3", "apps", _, "actions", "start"]) => {
            Some(("app", try_read::<CfApp>(body)))
        }
        ("GET", ["v3", "routes"]) => Some(("routes", try_read::<Page<Route>>(body))),
        ("GET" | "PATCH", ["v3", "routes", _]) | ("POST", ["v3", "routes"]) => {
            Some(("route", try_read::<Route>(body)))
        }
        ("PATCH", ["v3", "routes", _, "destinations"]) => {
            Some(("destinations", try_read::<RouteTargets>(body)))
        }
        _ => None,
    }
}

/// Returns the path of a URL without its query.
fn path_of(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let path = rest.find('/').and_then(|at| rest.get(at..)).unwrap_or("");
    path.split('?').next().unwrap_or("")
}

fn try_read<T: DeserializeOwned>(body: &[u8]) -> Result<(), String> {
    decode::<T>(body).map(drop).map_err(|error: DecodeError| error.to_string())
}

/// Checks that a token answer has a lifetime and a refresh token. Their texts were redacted in the
/// recording.
fn token(body: &[u8]) -> Result<(), String> {
    let answer = HttpResponse {
        status: StatusCode::OK,
        headers: HeaderMap::new(),
        body: body.to_vec().into(),
        sent_at: tokio::time::Instant::now(),
    };
    let read = TokenResponse::read(&answer)?;
    match (read.expires_in, read.refresh_token) {
        (Some(_), Some(_)) => Ok(()),
        (lifetime, _) => Err(format!("lifetime read: {}", lifetime.is_some())),
    }
}
