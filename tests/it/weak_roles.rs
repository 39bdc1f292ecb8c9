//! What is said when the technical user sees too little, and when the caller may do too little: the
//! answer does not depend on which of two look-ups is faster.

use std::collections::BTreeMap;

use cfapi_sandbox::{Sandbox, TECHNICAL_USER};
use http::Method;
use rstest::rstest;
use serde_json::{Value, json};

use crate::support::{
    APP, TestBroker, answer, client, parse,
    process::Program,
    pull, sandbox,
    tenant::{delete, put, route_request},
    variables,
};

const ENTRY_CLIENT: &str = "sb-bookshop!t4711";

fn with_entry(sandbox: &Sandbox, more: &Value) -> BTreeMap<String, String> {
    let mut variables = variables(sandbox);
    let mut entry = json!({
        "client_ids": [ENTRY_CLIENT], "organization": "provider-org", "space": "dev", "apps": [APP],
    });
    entry.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    variables.insert("CFAPI_PROVIDERS".to_owned(), json!([entry]).to_string());
    variables
}

/// Gives the technical user one role in the provider's space, or in its organization.
fn only_role(sandbox: &Sandbox, role: &str) {
    let place = if role.starts_with("org_") { "provider-org" } else { "dev" };
    for (space, role) in [("other", "none"), ("dev", "none"), (place, role)] {
        pull(sandbox, "set_role", &json!({"user": TECHNICAL_USER, "space": space, "role": role}));
    }
}

fn slow(sandbox: &Sandbox, path: &str) {
    pull(sandbox, "hang", &json!({"part": "cf", "n": 1, "only": path, "ms": 400}));
}

#[rstest]
#[case::nothing("none")]
#[case::the_organization("org_auditor")]
#[case::reads("auditor")]
#[case::members("manager")]
#[tokio::test]
async fn too_weak_a_role_is_named_whichever_look_up_is_slow(
    #[case] role: &str,
    #[values("GET /v3/apps", "GET /v3/organizations")] path: &str,
) {
    let sandbox = sandbox().await;
    only_role(&sandbox, role);
    let broker = TestBroker::start(&sandbox).await;
    assert_eq!(broker.get("/spaces", &sandbox.developer_token()).await.status, 200);
    slow(&sandbox, path);
    let got = put(&broker, &sandbox).await;
    assert_eq!(
        (got.status, got.code().as_str()),
        (502, "technical_user_lacks_role"),
        "{}",
        got.text
    );
    assert_eq!(got.json()["retryable"], false);
}

#[rstest]
#[case::nothing("none")]
#[case::the_organization("org_auditor")]
#[tokio::test]
async fn an_empty_list_is_not_believed_of_a_user_who_sees_nothing(#[case] role: &str) {
    let sandbox = sandbox().await;
    let broker = TestBroker::start(&sandbox).await;
    assert_eq!(delete(&broker, &sandbox).await.status, 204);
    only_role(&sandbox, role);
    let token = sandbox.provider_token();
    for got in [
        delete(&broker, &sandbox).await,
        broker.get("/routes/t1", &token).await,
        broker.get("/routes", &token).await,
    ] {
        assert_eq!(got.code(), "technical_user_lacks_role", "{}", got.text);
    }
}

#[tokio::test]
async fn a_role_that_is_taken_away_while_names_are_cached_is_named() {
    let sandbox = sandbox().await;
    let broker = TestBroker::start(&sandbox).await;
    assert_eq!(put(&broker, &sandbox).await.status, 201);
    only_role(&sandbox, "none");
    let body = json!({"subdomain": "second", "app": APP});
    let got = broker.put("/routes/t2", &sandbox.provider_token(), &body).await;
    assert_eq!(got.code(), "technical_user_lacks_role", "{}", got.text);
}

#[rstest]
#[tokio::test]
async fn of_two_missing_names_always_the_same_is_reported(
    #[values("GET /v3/apps", "GET /v3/organizations/")] path: &str,
) {
    let sandbox = sandbox().await;
    let more = json!({"apps": ["no-such-app"], "domains": ["no-such.example.test"]});
    let broker = TestBroker::with(with_entry(&sandbox, &more)).await;
    broker.get("/spaces", &sandbox.developer_token()).await;
    slow(&sandbox, path);
    let body = json!({"subdomain": "acme"});
    let got = broker.put("/routes/t1", &sandbox.provider_token(), &body).await;
    assert_eq!((got.status, got.code().as_str()), (422, "domain_not_found"), "{}", got.text);
}

#[tokio::test]
async fn a_proxied_write_of_a_user_who_sees_nothing_names_the_role() {
    let sandbox = sandbox().await;
    let spaces = sandbox.world().spaces();
    let space = spaces.iter().find(|one| one.name == "dev").unwrap().guid.clone();
    only_role(&sandbox, "none");
    let broker = TestBroker::start(&sandbox).await;
    let data = |guid: &str| json!({"data": {"guid": guid}});
    let body = json!({
        "host": format!("acme-{APP}"),
        "relationships": {"space": data(&space), "domain": data("some-domain")},
    });
    let token = sandbox.caller_token(ENTRY_CLIENT, &["Api.Proxy", "Routes.Write"]);
    let got = broker.send(Method::POST, "/v3/routes", Some(&token), Some(&body)).await;
    assert_eq!(got.code(), "technical_user_lacks_role", "{}", got.text);
}

#[tokio::test]
async fn an_internal_domain_is_called_internal() {
    let sandbox = sandbox().await;
    let entry = with_entry(&sandbox, &json!({"domains": ["apps.internal"]}));
    let broker = TestBroker::with(entry).await;
    let body = json!({"subdomain": "acme"});
    let got = broker.put("/routes/t1", &sandbox.provider_token(), &body).await;
    let detail = got.json()["detail"].as_str().unwrap().to_owned();
    assert_eq!(got.status, 422, "{detail}");
    assert!(detail.contains("apps.internal is internal"), "{detail}");
    assert!(!detail.contains("may not use"), "{detail}");
}

#[tokio::test]
async fn a_caller_held_off_by_a_pin_is_explained_in_the_log_only() {
    let sandbox = sandbox().await;
    let mut variables = variables(&sandbox);
    for scope in ["SPACES_READ", "ROUTES_WRITE", "ROUTES_ADMIN", "API_PROXY"] {
        variables.insert(format!("CFAPI_AUTH__PINS__{scope}"), "sb-first!t1".to_owned());
    }
    let mut program = Program::start(&["--log", "json"], &variables);
    let base = program.base().await;
    let scopes = ["Spaces.Read", "Routes.Write", "Routes.Read", "Routes.Admin", "Api.Proxy"];
    let pinned = sandbox.caller_token("sb-third!t1", &scopes);
    let without = sandbox.caller_token("sb-third!t1", &["Routes.Read"]);
    let calls = [
        (Method::GET, "/spaces"),
        (Method::PUT, "/routes/t1"),
        (Method::GET, "/v3/apps"),
        (Method::GET, "/routes?on_behalf_of=sb-other!t1"),
    ];
    for (number, (method, path)) in calls.into_iter().enumerate() {
        let mut texts = Vec::new();
        for (kind, token) in [("one", &pinned), ("two", &without)] {
            let id = format!("{kind}-{number}");
            let request = client().request(method.clone(), format!("{base}{path}"));
            let request = request.bearer_auth(token).header("x-correlationid", &id);
            let request = match method {
                Method::PUT => request
                    .header("content-type", "application/json")
                    .body(route_request().to_string()),
                _ => request,
            };
            let got = answer(request).await;
            assert_eq!((got.status, got.code().as_str()), (403, "forbidden_scope"), "{path}");
            assert!(!got.text.contains("pin"), "{}", got.text);
            texts.push(got.json()["detail"].clone());
            let line = program
                .wait_for(|line| {
                    let line = parse(line);
                    (line["type"] == "request" && line["correlation_id"] == *id).then_some(line)
                })
                .await;
            let cause = line["exception_message"].as_str().unwrap_or_default();
            assert_eq!(cause.contains("auth.pins"), kind == "one", "{path}: {line}");
        }
        assert_eq!(texts[0], texts[1], "the answer does not tell the two apart");
    }
}
