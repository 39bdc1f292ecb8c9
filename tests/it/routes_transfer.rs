//! An owner that is gone: an administrator gives its routes to another owner.

use std::collections::BTreeMap;

use cfapi_sandbox::Sandbox;
use http::Method;
use rstest::rstest;
use serde_json::{Value, json};

use crate::support::{
    APP, Answer, TestBroker,
    audited_program::AuditedProgram,
    sandbox,
    tenant::{DOMAIN, HOST, asked, put, route_request, the_route},
    variables,
};

const DEV: &str = "4d57c4e2-59ab-4b1f-a6f1-e18e43abcd3a";
const OTHER_APP: &str = "bookshop-approuter";
/// The client of the support app's tokens, and the one of the instance that was made anew.
const OLD: &str = "sb-bookshop!t4711";
const NEW: &str = "sb-bookshop!t4799";

fn new_owner(sandbox: &Sandbox) -> String {
    sandbox.caller_token(NEW, &["Routes.Read", "Routes.Write"])
}

async fn transfer(broker: &TestBroker, sandbox: &Sandbox, body: &Value) -> Answer {
    let admin = sandbox.caller_token("sb-admin!t1", &["Routes.Admin"]);
    broker.send(Method::POST, "/routes/transfer", Some(&admin), Some(body)).await
}

fn writes(sandbox: &Sandbox) -> Vec<String> {
    asked(sandbox).into_iter().filter(|call| !call.starts_with("GET ")).collect()
}

/// Variables of a broker with an entry for each of the two owners; the new one has these members
/// instead.
fn with_entries(sandbox: &Sandbox, more: &Value) -> BTreeMap<String, String> {
    let entry = |client: &str| json!({"client_ids": [client], "space": DEV, "apps": [APP], "domains": [DOMAIN]});
    let (old, mut new) = (entry(OLD), entry(NEW));
    new.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let mut variables = variables(sandbox);
    variables.insert("CFAPI_PROVIDERS".to_owned(), json!([old, new]).to_string());
    variables
}

#[tokio::test]
async fn routes_get_the_new_owner_only_with_apply() {
    let sandbox = sandbox().await;
    let broker = TestBroker::start(&sandbox).await;
    assert_eq!(put(&broker, &sandbox).await.status, 201);
    let before = the_route(&sandbox);
    sandbox.clear_journal();
    let mut body = json!({"from": OLD, "to": NEW});
    let plan = transfer(&broker, &sandbox, &body).await;
    assert_eq!((plan.status, &plan.json()["applied"]), (200, &json!(false)), "{}", plan.text);
    assert_eq!(plan.json()["transfer"][0]["host"], HOST, "{}", plan.text);
    assert_eq!((the_route(&sandbox), writes(&sandbox)), (before, vec![]));
    body["apply"] = json!(true);
    let done = transfer(&broker, &sandbox, &body).await.json();
    assert_eq!((&done["applied"], &done["remaining"]), (&json!(true), &json!(0)), "{done}");
    assert_eq!(done["results"][0]["status"], 200, "{done}");
    let token = sandbox.provider_token();
    assert_eq!(broker.get("/routes/t1", &token).await.code(), "not_found");
    let mine = broker.get("/routes/t1", &new_owner(&sandbox)).await;
    assert_eq!(mine.json()["routes"][0]["state"], "ok", "{}", mine.text);
    let got = broker.put("/routes/t1", &new_owner(&sandbox), &route_request()).await;
    assert_eq!(got.json()["outcome"], "unchanged", "{}", got.text);
    let empty = transfer(&broker, &sandbox, &body).await.json();
    assert_eq!((&empty["transfer"], &empty["results"]), (&json!([]), &json!([])), "{empty}");
}

#[rstest]
#[case::space(json!({"organization": "provider-org", "space": "other"}), "space")]
#[case::domain(json!({"domains": ["saas.example.test"]}), "domain")]
#[case::host(json!({"host_template": "{subdomain}-shop"}), "host")]
#[case::app(json!({"apps": [OTHER_APP], "host_template": "{subdomain}-saas-approuter"}), "app")]
#[tokio::test]
async fn a_route_that_the_new_owners_entry_does_not_allow_stays(
    #[case] more: Value,
    #[case] reason: &str,
) {
    let sandbox = sandbox().await;
    if reason == "space" {
        sandbox.world().add_app(APP, "other").unwrap();
    }
    let broker = TestBroker::with(with_entries(&sandbox, &more)).await;
    assert_eq!(put(&broker, &sandbox).await.status, 201);
    let before = the_route(&sandbox);
    let got = transfer(&broker, &sandbox, &json!({"from": OLD, "to": NEW, "apply": true})).await;
    let report = got.json();
    assert_eq!((got.status, &report["transfer"]), (200, &json!([])), "{}", got.text);
    assert_eq!(report["refused"][0]["reason"], reason, "{}", got.text);
    assert_eq!(the_route(&sandbox), before);
}

#[tokio::test]
async fn the_new_owner_needs_an_entry_and_may_be_a_name() {
    let sandbox = sandbox().await;
    let entries = with_entries(&sandbox, &json!({"owner": "bookshop"}));
    let broker = TestBroker::with(entries).await;
    assert_eq!(put(&broker, &sandbox).await.status, 201);
    let body = |to: &str| json!({"from": OLD, "to": to, "apply": true});
    let got = transfer(&broker, &sandbox, &body("sb-nobody!t1")).await;
    assert_eq!((got.status, got.code().as_str()), (403, "forbidden_provider"), "{}", got.text);
    let got = transfer(&broker, &sandbox, &body("bookshop")).await;
    assert_eq!(got.json()["results"][0]["status"], 200, "{}", got.text);
    let mine = broker.get("/routes/t1", &new_owner(&sandbox)).await;
    assert_eq!(mine.status, 200, "{}", mine.text);
}

#[rstest]
#[case::the_same(json!({"from": OLD, "to": OLD}))]
#[case::no_from(json!({"to": NEW}))]
#[case::no_to(json!({"from": OLD}))]
#[case::unknown_member(json!({"from": OLD, "to": NEW, "force": true}))]
#[tokio::test]
async fn a_transfer_without_two_owners_is_refused(#[case] body: Value) {
    let sandbox = sandbox().await;
    let broker = TestBroker::start(&sandbox).await;
    let got = transfer(&broker, &sandbox, &body).await;
    assert_eq!((got.status, got.code().as_str()), (400, "bad_request"), "{}", got.text);
    assert!(writes(&sandbox).is_empty());
}

#[tokio::test]
async fn a_transfer_takes_the_scope_of_an_administrator() {
    let sandbox = sandbox().await;
    let broker = TestBroker::start(&sandbox).await;
    let token = sandbox.provider_token();
    let body = json!({"from": "sb-other!t1", "to": OLD, "apply": true});
    let got = broker.send(Method::POST, "/routes/transfer", Some(&token), Some(&body)).await;
    assert_eq!((got.status, got.code().as_str()), (403, "forbidden_scope"), "{}", got.text);
    assert!(asked(&sandbox).is_empty());
    // The word is no tenant.
    let got = broker.put("/routes/transfer", &token, &route_request()).await;
    assert_eq!(got.status, 405, "{}", got.text);
}

#[tokio::test]
async fn a_hundred_routes_are_transferred_in_one_call_and_the_rest_in_the_next() {
    let sandbox = sandbox().await;
    let broker = TestBroker::start(&sandbox).await;
    let token = sandbox.provider_token();
    let item = |n: usize| json!({"op": "ensure", "tenantId": format!("t{n}"), "subdomain": format!("s{n}"), "app": APP});
    for numbers in [0..51, 51..102] {
        let items = json!({"items": numbers.map(item).collect::<Vec<_>>()});
        let got = broker.send(Method::POST, "/routes/batch", Some(&token), Some(&items)).await;
        assert!(!got.text.contains("problem"), "{}", got.text);
    }
    let body = json!({"from": OLD, "to": NEW, "apply": true});
    for (moved, remaining) in [(100, 2), (2, 0), (0, 0)] {
        let report = transfer(&broker, &sandbox, &body).await.json();
        let results = report["results"].as_array().unwrap();
        assert!(results.iter().all(|one| one["status"] == 200), "{report}");
        assert_eq!((results.len(), &report["remaining"]), (moved, &json!(remaining)));
    }
}

#[tokio::test]
async fn each_transferred_route_has_its_audit_lines() {
    let sandbox = sandbox().await;
    let mut program = AuditedProgram::start(&variables(&sandbox)).await;
    let token = sandbox.provider_token();
    let route = route_request().to_string();
    assert_eq!(program.ask(Method::PUT, "/routes/t1", &token, &route).await.0, 201);
    let admin = sandbox.caller_token("sb-admin!t1", &["Routes.Admin"]);
    let body = json!({"from": OLD, "to": NEW, "apply": true}).to_string();
    let (status, lines) = program.ask(Method::POST, "/routes/transfer", &admin, &body).await;
    assert_eq!((status, lines.len()), (200, 2), "{lines:?}");
    for line in &lines {
        assert_eq!(
            (&line["action"], &line["tenant"]),
            (&json!("transfer"), &json!("t1")),
            "{line}"
        );
        assert_eq!((&line["former_owner"], &line["on_behalf_of"]), (&json!(OLD), &json!(NEW)));
        assert_eq!((&line["caller"], &line["host"]), (&json!("sb-admin!t1"), &json!(HOST)));
    }
    assert_eq!(lines[1]["outcome"], "transferred", "{lines:?}");
}
