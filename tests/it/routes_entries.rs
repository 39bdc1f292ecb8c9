//! What provider entries name is checked after the start. The log has the details, and no request
//! waits for it.

use std::collections::BTreeMap;

use cfapi_sandbox::{Sandbox, TECHNICAL_USER};
use http::Method;
use rstest::rstest;
use serde_json::{Value, json};

use crate::support::{
    APP, Answer, TestBroker, parse,
    process::Program,
    pull, sandbox,
    tenant::{DOMAIN, asked, put, until},
    variables,
};

const DEV: &str = "4d57c4e2-59ab-4b1f-a6f1-e18e43abcd3a";
const CHECKED: &str = "provider entries checked";

/// Variables of a broker with one entry, which has these members instead of the usual ones.
fn with_entry(sandbox: &Sandbox, more: &Value) -> BTreeMap<String, String> {
    let mut variables = variables(sandbox);
    let mut entry = json!({
        "client_ids": ["sb-bookshop!t4711"], "space": DEV, "apps": [APP], "domains": [DOMAIN],
    });
    entry.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    variables.insert("CFAPI_PROVIDERS".to_owned(), json!([entry]).to_string());
    variables
}

async fn ready(broker: &TestBroker) -> Answer {
    broker.send(Method::GET, "/health/ready", None, None).await
}

/// Waits until the part `providers` has a state.
async fn until_state(broker: &TestBroker, wanted: &str) -> Answer {
    for _ in 0..400 {
        let got = ready(broker).await;
        assert_eq!(got.status, 200, "{}", got.text);
        if got.json()["parts"]["providers"] == wanted {
            return got;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    panic!("never {wanted}: {}", ready(broker).await.text);
}

#[tokio::test]
async fn an_entry_costs_one_call_for_each_name_and_the_first_put_repeats_none() {
    let sandbox = sandbox().await;
    let broker = TestBroker::with(with_entry(&sandbox, &json!({}))).await;
    let got = until_state(&broker, "ok").await;
    assert_eq!(got.json()["degraded"], json!([]));
    let calls = asked(&sandbox);
    assert_eq!(calls.len(), 3, "{calls:?}");
    assert!(calls.iter().all(|call| call.starts_with("GET ")), "{calls:?}");
    sandbox.clear_journal();
    assert_eq!(put(&broker, &sandbox).await.status, 201);
    let calls = asked(&sandbox);
    assert!(calls.iter().all(|call| *call != "GET /v3/apps" && !call.ends_with("/domains")));
    assert_eq!(
        sandbox.password_grants() + sandbox.refresh_grants(),
        0,
        "the lease is the first one"
    );
}

#[tokio::test]
async fn without_entries_there_is_no_call() {
    let sandbox = sandbox().await;
    let broker = TestBroker::start(&sandbox).await;
    until_state(&broker, "ok").await;
    assert_eq!(put(&broker, &sandbox).await.status, 201);
    assert!(asked(&sandbox).iter().all(|call| !call.starts_with("GET /v3/spaces")));
}

#[rstest]
#[case::space(json!({"space": "00000000-0000-4000-8000-000000000000"}), "space", "00000000-0000-4000-8000-000000000000", "error")]
#[case::organization(json!({"organization": "nobody-org", "space": "dev"}), "organization", "nobody-org", "error")]
#[case::space_name(json!({"organization": "provider-org", "space": "nowhere"}), "space", "nowhere", "error")]
#[case::app(json!({"apps": [APP, "late-approuter"]}), "apps", "late-approuter", "warn")]
#[case::domain(json!({"domains": [DOMAIN, "shop.example.org"]}), "domains", "shop.example.org", "warn")]
#[case::internal(json!({"domains": ["apps.internal"]}), "domains", "apps.internal", "warn")]
#[tokio::test]
async fn a_missing_name_is_in_the_log_and_in_readiness(
    #[case] more: Value,
    #[case] key: &str,
    #[case] name: &str,
    #[case] level: &str,
) {
    let sandbox = sandbox().await;
    let variables = with_entry(&sandbox, &more);
    let mut program = Program::start(&[], &variables);
    let key = format!("providers[0].{key}");
    let line =
        program.wait_for(|line| Some(parse(line)).filter(|line| line["key"] == json!(key))).await;
    assert_eq!((&line["name"], &line["level"]), (&json!(name), &json!(level)), "{line}");
    assert!(line["hint"].as_str().is_some_and(|hint| !hint.is_empty()), "{line}");
    let done =
        program.wait_for(|line| Some(parse(line)).filter(|line| line["msg"] == CHECKED)).await;
    assert_eq!((&done["gaps"], &done["entries"]), (&json!(1), &json!(1)), "{done}");
    drop(program);
    let broker = TestBroker::with(variables).await;
    let got = until_state(&broker, "missing").await;
    assert_eq!(got.json()["degraded"], json!(["providers"]));
    for secret in [name, "bookshop", APP] {
        assert!(!got.text.contains(secret), "{}", got.text);
    }
}

#[tokio::test]
async fn a_missing_name_is_cleared_by_the_first_route_that_proves_it() {
    let sandbox = sandbox().await;
    let broker = TestBroker::with(with_entry(&sandbox, &json!({"apps": [APP, "late"]}))).await;
    until_state(&broker, "missing").await;
    // A route to another app proves nothing.
    assert_eq!(put(&broker, &sandbox).await.status, 201);
    until_state(&broker, "missing").await;
    sandbox.world().add_app("late", "dev").unwrap();
    let body = json!({"subdomain": "beta", "app": "late"});
    let got = broker.put("/routes/t2", &sandbox.provider_token(), &body).await;
    assert_eq!(got.status, 201, "{}", got.text);
    until_state(&broker, "ok").await;
}

#[tokio::test]
async fn a_cf_that_is_down_at_start_is_asked_again() {
    let sandbox = sandbox().await;
    // The call and its two retries.
    let args = json!({"part": "cf", "n": 3, "status": 503, "only": "GET /v3/spaces/"});
    pull(&sandbox, "fail_next", &args);
    let broker = TestBroker::with(with_entry(&sandbox, &json!({}))).await;
    until_state(&broker, "ok").await;
    let looks = asked(&sandbox).iter().filter(|call| call.starts_with("GET /v3/spaces/")).count();
    assert_eq!(looks, 4);
}

#[tokio::test]
async fn a_wrong_password_is_tried_once_and_leaves_the_entries_unknown() {
    let sandbox = sandbox().await;
    pull(&sandbox, "change_password", &json!({"user": TECHNICAL_USER, "password": "another"}));
    let broker = TestBroker::with(with_entry(&sandbox, &json!({}))).await;
    assert_eq!(put(&broker, &sandbox).await.code(), "technical_user_rejected");
    assert_eq!(ready(&broker).await.json()["parts"]["providers"], "unknown");
    assert_eq!(sandbox.password_grants(), 1);
}

#[tokio::test]
async fn an_entry_without_a_token_does_not_block_the_other_entries() {
    let sandbox = sandbox().await;
    pull(&sandbox, "add_destination", &json!({"name": "OTHER", "set": {"Password": "wrong"}}));
    let mut variables = with_entry(&sandbox, &json!({}));
    variables.insert("CFAPI_DESTINATION__NAMES".to_owned(), "OTHER".to_owned());
    let entry = |client: &str, more: &Value| {
        let mut entry = json!({"client_ids": [client], "space": DEV, "domains": [DOMAIN]});
        entry.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        entry
    };
    let entries = json!([
        entry("sb-orders!t4712", &json!({"apps": [APP], "destination": "OTHER"})),
        entry("sb-bookshop!t4711", &json!({"apps": ["no-such-app"]})),
    ]);
    variables.insert("CFAPI_PROVIDERS".to_owned(), entries.to_string());
    let broker = TestBroker::with(variables).await;
    until_state(&broker, "missing").await;
}

#[tokio::test]
async fn a_check_without_an_answer_does_not_keep_the_broker_from_stopping() {
    let sandbox = sandbox().await;
    pull(&sandbox, "hang", &json!({"part": "cf", "only": "GET /v3/spaces/"}));
    let mut program = Program::start(&[], &with_entry(&sandbox, &json!({})));
    program.base().await;
    until("the look has begun", || !asked(&sandbox).is_empty()).await;
    let ended = program.terminate().await;
    assert_eq!(ended.code, Some(0), "{}", ended.out);
    assert!(!ended.out.contains("still running"), "{}", ended.out);
}
