//! A tenant whose subdomain was renamed: with `replace` its route under the former host is removed.

use std::collections::BTreeMap;

use cfapi_sandbox::Sandbox;
use http::Method;
use rstest::rstest;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::support::{
    APP, Answer, TestBroker, client,
    process::Program,
    pull, sandbox,
    tenant::{DOMAIN, HOST, app_guid, asked, cf, put, routes_of, the_route, until},
    variables,
};

const DEV: &str = "4d57c4e2-59ab-4b1f-a6f1-e18e43abcd3a";
const OTHER_APP: &str = "bookshop-approuter";
const PRIVATE: &str = "saas.example.test";
const NEW_HOST: &str = "beta-saas-approuter";

/// Variables of a broker whose entry has these further members.
fn with_entry(sandbox: &Sandbox, more: &Value) -> BTreeMap<String, String> {
    let mut variables = variables(sandbox);
    let mut entry = json!({
        "client_ids": ["sb-bookshop!t4711"], "space": DEV, "apps": [APP], "domains": [DOMAIN],
    });
    entry.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    variables.insert("CFAPI_PROVIDERS".to_owned(), json!([entry]).to_string());
    variables
}

/// Requests the renamed tenant's route, with further members.
async fn rename(broker: &TestBroker, sandbox: &Sandbox, path: &str, more: &Value) -> Answer {
    let mut body = json!({"subdomain": "beta", "app": APP});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    broker.put(path, &sandbox.provider_token(), &body).await
}

async fn replace(broker: &TestBroker, sandbox: &Sandbox) -> Answer {
    rename(broker, sandbox, "/routes/t1", &json!({"replace": true})).await
}

fn hosts(sandbox: &Sandbox) -> Vec<String> {
    let mut hosts: Vec<_> = sandbox.world().routes().into_iter().map(|route| route.host).collect();
    hosts.sort();
    hosts
}

#[tokio::test]
async fn the_former_route_is_removed_after_the_new_one_is_mapped() {
    let sandbox = sandbox().await;
    let broker = TestBroker::start(&sandbox).await;
    assert_eq!(put(&broker, &sandbox).await.status, 201);
    let former = the_route(&sandbox);
    sandbox.clear_journal();
    let path = "/routes/t1?dry_run=true";
    let plan = rename(&broker, &sandbox, path, &json!({"replace": true})).await.json();
    assert_eq!(plan["plan"], json!(["create", "map", "remove"]), "{plan}");
    assert_eq!(plan["replaced"][0]["status"], "planned", "{plan}");
    assert!(asked(&sandbox).iter().all(|call| call.starts_with("GET ")), "{:?}", asked(&sandbox));
    let got = replace(&broker, &sandbox).await;
    let replaced = json!([{
        "url": format!("https://{HOST}.{DOMAIN}"), "host": HOST, "route": {"guid": former.guid},
        "status": "removed",
    }]);
    assert_eq!((got.status, &got.json()["replaced"]), (201, &replaced), "{}", got.text);
    assert_eq!(hosts(&sandbox), [NEW_HOST]);
    let calls = asked(&sandbox);
    let at = |wanted: &str| calls.iter().position(|call| call.starts_with(wanted)).unwrap();
    assert!(at("POST /v3/routes/") < at("DELETE /v3/routes/"), "{calls:?}");
    let again = replace(&broker, &sandbox).await;
    assert_eq!((again.status, &again.json()["replaced"]), (200, &json!([])), "{}", again.text);
}

#[tokio::test]
async fn without_replace_the_former_route_stays() {
    let sandbox = sandbox().await;
    let broker = TestBroker::start(&sandbox).await;
    assert_eq!(put(&broker, &sandbox).await.status, 201);
    let got = rename(&broker, &sandbox, "/routes/t1", &json!({})).await;
    assert_eq!(got.status, 201, "{}", got.text);
    assert!(got.json().get("replaced").is_none(), "{}", got.text);
    assert_eq!(hosts(&sandbox), [HOST, NEW_HOST]);
}

#[tokio::test]
async fn the_entry_gives_the_default_and_the_request_decides() {
    let sandbox = sandbox().await;
    let broker = TestBroker::with(with_entry(&sandbox, &json!({"replace": true}))).await;
    assert_eq!(put(&broker, &sandbox).await.status, 201);
    let kept = rename(&broker, &sandbox, "/routes/t1", &json!({"replace": false})).await;
    assert_eq!((kept.status, hosts(&sandbox).len()), (201, 2), "{}", kept.text);
    let got = rename(&broker, &sandbox, "/routes/t1", &json!({})).await;
    assert_eq!((got.status, hosts(&sandbox).len()), (200, 1), "{}", got.text);
    assert_eq!(got.json()["replaced"][0]["host"], HOST, "{}", got.text);
}

#[tokio::test]
async fn only_routes_of_the_same_tenant_app_and_domain_are_removed() {
    let sandbox = sandbox().await;
    let more = json!({"apps": [APP, OTHER_APP], "domains": [DOMAIN, PRIVATE]});
    let broker = TestBroker::with(with_entry(&sandbox, &more)).await;
    let token = sandbox.provider_token();
    for (tenant, subdomain, app, domain) in [
        ("t1", "acme", APP, DOMAIN),
        ("t1", "acme", OTHER_APP, DOMAIN),
        ("t1", "acme", APP, PRIVATE),
        ("t2", "other", APP, DOMAIN),
        ("t1", "both", APP, DOMAIN),
    ] {
        let body = json!({"subdomain": subdomain, "app": app, "domain": domain});
        let got = broker.put(&format!("/routes/{tenant}"), &token, &body).await;
        assert_eq!(got.status, 201, "{}", got.text);
    }
    // This route serves another app of the entry as well.
    sandbox.world().map_host("both-saas-approuter", DOMAIN, OTHER_APP).unwrap();
    let before = sandbox.world().routes();
    let got =
        rename(&broker, &sandbox, "/routes/t1", &json!({"replace": true, "domain": DOMAIN})).await;
    let replaced = got.json()["replaced"].clone();
    assert_eq!(replaced.as_array().map(Vec::len), Some(1), "{}", got.text);
    let after = sandbox.world().routes();
    let gone: Vec<_> = before.iter().filter(|route| !after.contains(route)).collect();
    assert_eq!(gone.len(), 1, "{gone:?}");
    assert_eq!((gone[0].host.as_str(), gone[0].domain.as_str()), (HOST, DOMAIN));
}

#[tokio::test]
async fn an_unmapped_former_route_is_removed_too() {
    let sandbox = sandbox().await;
    let broker = TestBroker::start(&sandbox).await;
    assert_eq!(put(&broker, &sandbox).await.status, 201);
    let path = format!("/v3/routes/{}/destinations", the_route(&sandbox).guid);
    cf(&sandbox, Method::PATCH, &path, &json!({"destinations": []})).await;
    assert_eq!(replace(&broker, &sandbox).await.status, 201);
    assert_eq!(hosts(&sandbox), [NEW_HOST]);
}

#[tokio::test]
async fn a_former_route_that_stays_is_reported_and_removed_by_a_repeat() {
    let sandbox = sandbox().await;
    let broker = TestBroker::start(&sandbox).await;
    assert_eq!(put(&broker, &sandbox).await.status, 201);
    let body = r#"{"errors":[{"code":10003,"title":"CF-NotAuthorized","detail":"x"}]}"#;
    let fault = json!({
        "part": "cf", "n": 1, "only": "DELETE /v3/routes/", "status": 403, "body": body,
        "headers": {"content-type": "application/json"},
    });
    pull(&sandbox, "fail_next", &fault);
    let got = replace(&broker, &sandbox).await;
    let answer = got.json();
    assert_eq!((got.status, &answer["outcome"]), (201, &json!("created")), "{}", got.text);
    let one = &answer["replaced"][0];
    assert_eq!((&one["status"], &one["host"]), (&json!("failed"), &json!(HOST)), "{}", got.text);
    assert_eq!(one["problem"]["code"], "technical_user_lacks_role", "{}", got.text);
    assert_eq!(answer["warnings"][0]["code"], "replace_incomplete", "{}", got.text);
    assert_eq!(hosts(&sandbox), [HOST, NEW_HOST]);
    let again = replace(&broker, &sandbox).await;
    assert_eq!(again.json()["replaced"][0]["status"], "removed", "{}", again.text);
    assert_eq!(hosts(&sandbox), [NEW_HOST]);
}

#[tokio::test]
async fn a_former_route_with_a_foreign_app_is_given_up_unless_it_has_weights() {
    let sandbox = sandbox().await;
    let broker = TestBroker::with(with_entry(&sandbox, &json!({}))).await;
    assert_eq!(put(&broker, &sandbox).await.status, 201);
    let path = format!("/v3/routes/{}/destinations", the_route(&sandbox).guid);
    let target = |app: &str| json!({"app": {"guid": app_guid(&sandbox, app)}, "weight": 50});
    let weighted = json!({"destinations": [target(APP), target(OTHER_APP)]});
    cf(&sandbox, Method::PATCH, &path, &weighted).await;
    let dry = "/routes/t1?dry_run=true";
    for path in [dry, "/routes/t1"] {
        let got = rename(&broker, &sandbox, path, &json!({"replace": true})).await;
        let one = got.json()["replaced"][0].clone();
        assert_eq!(one["status"], "failed", "{}", got.text);
        assert_eq!(one["problem"]["code"], "weighted_destinations", "{}", got.text);
    }
    let plain = |app: &str| json!({"app": {"guid": app_guid(&sandbox, app)}});
    let body = json!({"destinations": [plain(APP), plain(OTHER_APP)]});
    cf(&sandbox, Method::PATCH, &path, &body).await;
    assert_eq!(replace(&broker, &sandbox).await.json()["replaced"][0]["status"], "removed");
    let kept = routes_of(&sandbox, HOST).remove(0);
    assert_eq!(kept.apps, [OTHER_APP]);
    assert!(kept.labels.is_empty(), "{kept:?}");
}

#[tokio::test]
async fn a_reconcile_replaces_only_where_it_may_delete_and_within_the_guard() {
    let sandbox = sandbox().await;
    let broker = TestBroker::start(&sandbox).await;
    assert_eq!(put(&broker, &sandbox).await.status, 201);
    let mut body = json!({
        "tenants": [{"tenantId": "t1", "subdomain": "beta", "app": APP, "replace": true}],
        "apply": true,
    });
    let token = sandbox.provider_token();
    let send = async |body: &Value| {
        broker.send(Method::POST, "/routes/reconcile", Some(&token), Some(body)).await
    };
    assert_eq!(send(&body).await.status, 200);
    assert_eq!(hosts(&sandbox), [HOST, NEW_HOST]);
    body["delete_orphans"] = json!(true);
    let refused = send(&body).await;
    assert_eq!((refused.status, refused.code().as_str()), (409, "reconcile_guard"));
    assert_eq!(hosts(&sandbox), [HOST, NEW_HOST]);
    let admin = sandbox.caller_token("sb-bookshop!t4711", &["Routes.Write", "Routes.Admin"]);
    body["force"] = json!(true);
    let got = broker.send(Method::POST, "/routes/reconcile", Some(&admin), Some(&body)).await;
    assert_eq!(got.status, 200, "{}", got.text);
    assert_eq!(hosts(&sandbox), [NEW_HOST]);
}

/// The call that finishes the replace of a broker that was killed.
#[derive(Clone, Copy, Debug)]
enum Next {
    Put,
    Reconcile,
}

#[rstest]
#[tokio::test]
async fn a_replace_killed_between_mark_and_delete_is_finished_by_the_next_call(
    #[values(Next::Put, Next::Reconcile)] next: Next,
) {
    const DELETE: &str = "DELETE /v3/routes/";
    let sandbox = sandbox().await;
    let mut doomed = Program::start(&[], &variables(&sandbox));
    let base = doomed.base().await;
    let broker = TestBroker::start(&sandbox).await;
    let token = sandbox.provider_token();
    assert_eq!(put(&broker, &sandbox).await.status, 201);
    pull(&sandbox, "hang", &json!({"part": "cf", "only": DELETE}));
    let body = json!({"subdomain": "beta", "app": APP, "replace": true});
    let request = client().put(format!("{base}/routes/t1")).bearer_auth(&token);
    let request = request.header("content-type", "application/json").body(body.to_string());
    let mut set = JoinSet::new();
    set.spawn(async move { drop(request.send().await) });
    let is_asked = || asked(&sandbox).iter().any(|call| call.starts_with(DELETE));
    until("the delete is asked for", is_asked).await;
    drop(doomed);
    // The former route is marked, and CF has not got the delete.
    let left = routes_of(&sandbox, HOST).remove(0);
    assert!(left.labels.contains_key("cfapi-broker.internal/state") && !left.deleting, "{left:?}");
    match next {
        Next::Put => {
            let plan = "/routes/t1?dry_run=true";
            let plan = rename(&broker, &sandbox, plan, &json!({"replace": true})).await;
            assert_eq!(plan.json()["replaced"][0]["status"], "planned", "{}", plan.text);
            let got = replace(&broker, &sandbox).await;
            let one = &got.json()["replaced"][0];
            assert_eq!((&one["host"], &one["status"]), (&json!(HOST), &json!("removed")));
        }
        Next::Reconcile => {
            let mut tenant = body;
            tenant["tenantId"] = json!("t1");
            let mut body = json!({"tenants": [tenant], "apply": true});
            let path = "/routes/reconcile";
            let kept = broker.send(Method::POST, path, Some(&token), Some(&body)).await;
            assert_eq!((kept.status, hosts(&sandbox).len()), (200, 2), "{}", kept.text);
            // The guard does not count a route whose delete was asked for.
            body["delete_orphans"] = json!(true);
            let got = broker.send(Method::POST, path, Some(&token), Some(&body)).await;
            assert_eq!(got.status, 200, "{}", got.text);
        }
    }
    assert_eq!(hosts(&sandbox), [NEW_HOST]);
}
