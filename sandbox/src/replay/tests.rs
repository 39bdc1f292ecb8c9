//! The replay can fail: it reports each kind of difference, and a wrong list. It pulls the levers
//! of a recording. Our own recordings pass.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use uuid::Uuid;

use crate::replay::compare::ordered;
use crate::replay::{LIST, Report, listed, run};

const SPACE: &str = "4d57c4e2-59ab-4b1f-a6f1-e18e43abcd3a";

/// Replays one file with these exchanges.
async fn replayed(exchanges: &[Value]) -> Report {
    tried(exchanges).await.unwrap()
}

async fn tried(exchanges: &[Value]) -> Result<Report, String> {
    let folder = std::env::temp_dir().join(format!("replay-{}", Uuid::new_v4()));
    fs::create_dir(&folder).unwrap();
    let lines: Vec<String> = exchanges.iter().map(Value::to_string).collect();
    fs::write(folder.join("cc-test.jsonl"), lines.join("\n")).unwrap();
    let report = run(&folder).await;
    fs::remove_dir_all(&folder).unwrap();
    report
}

/// What CC answers if the user does not see the space.
fn hidden() -> Value {
    json!({
        "name": "hidden", "method": "GET", "path": "/v3/spaces/nope", "user": "tech", "req": null, "status": 404,
        "headers": {
            "x-frame-options": "SAMEORIGIN", "x-xss-protection": "1; mode=block", "x-content-type-options": "nosniff",
            "x-download-options": "noopen", "x-permitted-cross-domain-policies": "none",
            "referrer-policy": "strict-origin-when-cross-origin", "x-runtime": "0.1", "x-user-guid": "1",
            "content-type": "application/json; charset=utf-8", "x-vcap-request-id": "1"
        },
        "body": r#"{"errors":[{"detail":"Space not found","title":"CF-ResourceNotFound","code":10010}]}"#,
    })
}

fn with(mut exchange: Value, key: &str, value: Value) -> Value {
    exchange[key] = value;
    exchange
}

#[tokio::test]
async fn an_equal_answer_passes() {
    let report = replayed(&[hidden()]).await;
    assert!(report.passed(), "{:?}", report.lines());
    assert_eq!(report.summary(), "replay: 1 compared, 0 differ, 0 uncovered");
}

#[tokio::test]
async fn every_kind_of_difference_is_reported() {
    let body = |text: &str| with(hidden(), "body", text.into());
    let error = |error: &str| body(&format!("{{\"errors\":[{error}]}}"));
    let mut headers = hidden()["headers"].clone();
    headers["x-frame-options"] = "DENY".into();
    headers["location"] = "http://api.recorded.example/v3/jobs/1".into();
    for (exchange, expected) in [
        (with(hidden(), "status", 200.into()), "status 404, recorded 200"),
        (with(hidden(), "headers", headers.clone()), "header x-frame-options is `SAMEORIGIN`"),
        (with(hidden(), "headers", headers), "location None"),
        (
            error(r#"{"detail":"Gone","title":"CF-ResourceNotFound","code":10010}"#),
            "/errors/0/detail is",
        ),
        (
            error(r#"{"detail":"Space not found","title":"CF-ResourceNotFound","code":"10010"}"#),
            "/errors/0/code is a number",
        ),
        (
            error(r#"{"detail":"Space not found","title":"CF-ResourceNotFound"}"#),
            "/errors/0/code is not recorded",
        ),
        (
            error(
                r#"{"detail":"Space not found","title":"CF-ResourceNotFound","code":10010,"x":1}"#,
            ),
            "/errors/0/x is missing",
        ),
        (body(r#"{"errors":[]}"#), "/errors has 1 items, recorded 0"),
        (body("nothing"), "body `{"),
        (with(hidden(), "name", "reqid".into()), "x-vcap-request-id does not echo"),
    ] {
        let report = replayed(&[exchange]).await;
        assert!(!report.passed());
        assert_eq!(report.differ, 1);
        assert!(
            report.lines().iter().any(|line| line.contains(expected)),
            "{expected}: {:?}",
            report.lines()
        );
    }
}

#[tokio::test]
async fn guids_that_cc_gave_are_mapped_to_ours() {
    let recorded = "ef04f777-696c-48a4-86d3-cb99d2d06edf";
    let space = json!({"data": {"guid": SPACE}});
    let domain = json!({"data": {"guid": "d75a8564-c07c-440a-b0d1-81fbd15d4c85"}});
    let body = json!({"host": "a", "relationships": {"space": space, "domain": domain}});
    let create = json!({"name": "create", "method": "POST", "path": "/v3/routes", "user": "tech", "req": body,
        "status": 201, "headers": {}, "body": format!("{{\"guid\":\"{recorded}\"}}")});
    let read = json!({"name": "read", "method": "GET", "path": format!("/v3/routes/{recorded}"), "user": "tech",
        "req": null, "status": 200, "headers": {}, "body": "{}"});
    let report = replayed(&[create, read]).await;
    assert!(!report.lines().iter().any(|line| line.contains("status")), "{:?}", report.lines());
}

#[test]
fn destinations_are_compared_in_any_order() {
    let recorded = |port: u64, guid: &str| json!({"guid": guid, "port": port});
    let old = json!({"destinations": [recorded(9000, "b"), recorded(8080, "c")]});
    let new = json!({"destinations": [recorded(8080, "x"), recorded(9000, "y")]});
    assert_eq!(ordered(old), json!({"destinations": [recorded(8080, "c"), recorded(9000, "b")]}));
    assert_eq!(ordered(new.clone()), new);
}

#[tokio::test]
async fn our_own_recordings_with_levers_pass() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("recordings");
    let report = run(&folder).await.unwrap();
    assert!(report.passed(), "{}", report.lines().join("\n"));
    assert_eq!(report.uncovered, 0);
    let all: Vec<String> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| fs::read_to_string(entry.unwrap().path()).unwrap())
        .collect();
    for lever in ["suspend", "feature", "rate_limit", "database_down", "uaa_down"] {
        let line = format!("{{\"lever\":\"{lever}\"");
        assert!(all.iter().any(|text| text.contains(&line)), "{lever}");
    }
}

#[tokio::test]
async fn a_lever_that_cannot_be_pulled_stops_the_replay_at_its_line() {
    for (lever, text) in [
        (json!({"lever": "explode"}), "no lever explode of the CF API: known are pause_jobs, "),
        (
            json!({"lever": "suspend", "args": {"org": "provider-org", "of": true}}),
            "lever suspend: unknown argument of: known are org, space, on",
        ),
        (
            json!({"lever": "suspend", "args": {"org": "provider-org", "on": "yes"}}),
            "lever suspend: argument on must be true or false",
        ),
        (json!({"lever": "suspend", "args": {"org": "nowhere"}}), "lever suspend: no such org"),
        (json!({"lever": "suspend"}), "lever suspend: argument org is missing"),
        (
            json!({"lever": "feature", "args": {"name": "route_making"}}),
            "lever feature: no feature flag route_making",
        ),
        (
            json!({"lever": "rate_limit", "args": {"n": -1}}),
            "lever rate_limit: argument n must not be negative",
        ),
        (json!({"lever": "rate_limit", "args": [1]}), "lever rate_limit: the arguments must be"),
        (json!({"lever": "suspend", "arg": {}}), "unknown field `arg`"),
        (json!({"lever": 1}), "invalid type: integer `1`"),
    ] {
        let fault = tried(&[hidden(), lever, hidden()]).await.unwrap_err();
        assert!(fault.starts_with(&format!("cc-test.jsonl: line 2: {text}")), "{fault}");
    }
}

#[tokio::test]
async fn an_uncovered_exchange_must_be_listed_with_a_reason() {
    let v2 = with(hidden(), "path", "/v2/routes".into());
    let report = replayed(&[v2]).await;
    assert!(!report.passed());
    assert_eq!(report.summary(), "replay: 0 compared, 0 differ, 1 uncovered");
    assert_eq!(
        listed().unwrap().len(),
        LIST.lines().filter(|line| line.starts_with("cc-")).count()
    );
}
