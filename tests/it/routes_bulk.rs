//! Many tenants in one call: batch and reconcile.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use cfapi_sandbox::{Part, Sandbox};
use http::Method;
use rstest::rstest;
use serde_json::{Value, json};

use crate::support::{
    APP, Answer, TestBroker, pull, sandbox,
    tenant::{CREATE, asked, until},
    variables,
};

const DOMAIN: &str = "cfapps.example.test";
/// Another app of the same space.
const OTHER_APP: &str = "bookshop-approuter";

async fn post(broker: &TestBroker, path: &str, token: &str, body: &Value) -> Answer {
    broker.send(Method::POST, path, Some(token), Some(body)).await
}

/// Variables of a broker that allows one reconcile to delete this share of the routes.
fn with_share(sandbox: &Sandbox, percent: &str) -> BTreeMap<String, String> {
    let mut variables = variables(sandbox);
    variables.insert("CFAPI_ROUTES__MAX_ORPHAN_PERCENT".to_owned(), percent.to_owned());
    variables
}

async fn subscribe(broker: &TestBroker, sandbox: &Sandbox, count: usize) {
    for index in 0..count {
        let body = json!({"subdomain": format!("sub{index}"), "app": APP});
        let path = format!("/routes/t{index}");
        let got = broker.put(&path, &sandbox.provider_token(), &body).await;
        assert_eq!(got.status, 201, "{}", got.text);
    }
}

fn tenants(indices: impl IntoIterator<Item = usize>) -> Value {
    let one = |index| json!({"tenantId": format!("t{index}"), "subdomain": format!("sub{index}")});
    indices.into_iter().map(one).collect()
}

fn hosts(sandbox: &Sandbox) -> Vec<String> {
    let mut hosts = sandbox.world().routes().into_iter().map(|route| route.host);
    let mut hosts = hosts.by_ref().filter(|host| host.starts_with("sub")).collect::<Vec<_>>();
    hosts.sort();
    hosts
}

fn hosts_in(list: &Value) -> Vec<&str> {
    list.as_array().unwrap().iter().map(|route| route["host"].as_str().unwrap()).collect()
}

fn writes(sandbox: &Sandbox) -> usize {
    let journal = sandbox.journal();
    journal.iter().filter(|entry| entry.part == Part::Cf && entry.method != "GET").count()
}

#[tokio::test]
async fn each_item_of_a_batch_has_the_answer_of_a_single_call() {
    let sandbox = sandbox().await;
    let broker = TestBroker::start(&sandbox).await;
    let token = sandbox.provider_token();
    subscribe(&broker, &sandbox, 2).await;
    sandbox.world().take_host("sub9-saas-approuter", DOMAIN, "fspace").unwrap();
    let body = json!({"items": [
        {"op": "ensure", "tenantId": "t7", "subdomain": "sub7", "app": APP},
        {"op": "remove", "tenantId": "t0"},
        {"op": "ensure", "tenantId": "t9", "subdomain": "sub9", "app": APP},
        {"op": "ensure", "tenantId": "t1", "subdomain": "sub1", "app": APP},
        {"op": "ensure", "tenantId": "t8", "app": APP},
        {"op": "rename", "tenantId": "t6"},
    ]});
    let got = post(&broker, "/routes/batch", &token, &body).await;
    assert_eq!(got.status, 200, "{}", got.text);
    let results = got.json()["results"].clone();
    let results = results.as_array().unwrap();
    let statuses: Vec<_> = results.iter().map(|one| one["status"].as_u64().unwrap()).collect();
    assert_eq!(statuses, [201, 204, 409, 200, 400, 400], "{}", got.text);
    for (index, result) in results.iter().enumerate() {
        assert_eq!(result["index"], index);
    }
    assert_eq!(results[0]["body"]["outcome"], "created");
    assert_eq!(results[2]["problem"]["code"], "host_taken_elsewhere");
    assert_eq!(results[2]["problem"]["retryable"], false);
    assert!(results[2]["problem"]["correlation_id"].is_string());
    assert_eq!(
        hosts(&sandbox),
        ["sub1-saas-approuter", "sub7-saas-approuter", "sub9-saas-approuter"]
    );
}

#[tokio::test]
async fn a_dry_run_of_a_batch_writes_nothing() {
    let sandbox = sandbox().await;
    let broker = TestBroker::start(&sandbox).await;
    subscribe(&broker, &sandbox, 1).await;
    sandbox.clear_journal();
    let body = json!({"dry_run": true, "items": [
        {"op": "ensure", "tenantId": "t7", "subdomain": "sub7", "app": APP},
        {"op": "remove", "tenantId": "t0"},
        {"op": "remove", "tenantId": "t5"},
    ]});
    let got = post(&broker, "/routes/batch", &sandbox.provider_token(), &body).await;
    let results = got.json()["results"].clone();
    assert_eq!(results[0]["body"]["plan"], json!(["create", "map"]), "{}", got.text);
    assert_eq!(results[0]["status"], 200);
    assert_eq!(results[1]["body"]["plan"], json!(["delete"]));
    assert_eq!(results[2]["body"]["plan"], json!([]));
    assert_eq!((writes(&sandbox), hosts(&sandbox).len()), (0, 1));
}

#[rstest]
#[case::none(json!([]))]
#[case::too_many((0..101).map(|n| json!({"op": "remove", "tenantId": format!("t{n}")})).collect())]
#[tokio::test]
async fn a_batch_that_is_empty_or_too_long_is_refused(#[case] items: Value) {
    let sandbox = sandbox().await;
    let broker = TestBroker::start(&sandbox).await;
    let body = json!({"items": items});
    let got = post(&broker, "/routes/batch", &sandbox.provider_token(), &body).await;
    assert_eq!((got.status, got.code().as_str()), (400, "bad_request"), "{}", got.text);
    assert_eq!(writes(&sandbox), 0);
}

#[tokio::test]
async fn items_of_one_tenant_keep_their_order() {
    let sandbox = sandbox().await;
    let broker = TestBroker::start(&sandbox).await;
    subscribe(&broker, &sandbox, 1).await;
    let first = sandbox.world().routes().pop().unwrap();
    let ensure = |app| json!({"op": "ensure", "tenantId": "t0", "subdomain": "sub0", "app": app});
    let body =
        json!({"items": [{"op": "remove", "tenantId": "t0"}, ensure(APP), ensure(OTHER_APP)]});
    let got = post(&broker, "/routes/batch", &sandbox.provider_token(), &body).await;
    let results = got.json()["results"].clone();
    let statuses = [&results[0]["status"], &results[1]["status"], &results[2]["status"]];
    assert_eq!(statuses, [&json!(204), &json!(201), &json!(201)], "{}", got.text);
    assert_eq!(hosts(&sandbox), [&format!("sub0-{OTHER_APP}"), "sub0-saas-approuter"]);
    assert_ne!(results[1]["body"]["route"]["guid"], first.guid.as_str());
}

#[tokio::test]
async fn a_batch_may_have_100_payloads_of_the_registry() {
    let sandbox = sandbox().await;
    let broker = TestBroker::start(&sandbox).await;
    let item = |n| {
        let registry = json!({
            "subscribedSubdomain": format!("sub{n}"), "subscribedTenantId": format!("t{n}"),
            "subscriptionAppName": "x".repeat(900),
        });
        json!({"op": "ensure", "app": APP, "subscription": registry})
    };
    let items: Vec<_> = (0..100).map(item).collect();
    let body = json!({"dry_run": true, "items": items});
    let got = post(&broker, "/routes/batch", &sandbox.provider_token(), &body).await;
    assert_eq!(got.status, 200, "{}", got.text);
}

/// Variables of a broker whose requests take at most 10 s; its calls to CF, at most 8 s.
fn with_short_deadline(sandbox: &Sandbox) -> BTreeMap<String, String> {
    let mut variables = variables(sandbox);
    variables.insert("CFAPI_SERVER__REQUEST_TIMEOUT".to_owned(), "10s".to_owned());
    variables
}

fn ensures(count: usize) -> Value {
    let item = |n| json!({"op": "ensure", "tenantId": format!("t{n}"), "subdomain": format!("sub{n}"), "app": APP});
    json!({"items": (0..count).map(item).collect::<Vec<_>>()})
}

#[tokio::test]
async fn an_item_that_does_not_end_does_not_affect_the_others() {
    let sandbox = sandbox().await;
    let broker = TestBroker::with(with_short_deadline(&sandbox)).await;
    subscribe(&broker, &sandbox, 1).await;
    pull(&sandbox, "hang", &json!({"part": "cf", "only": CREATE}));
    let got = post(&broker, "/routes/batch", &sandbox.provider_token(), &ensures(8)).await;
    assert_eq!(got.status, 200, "{}", got.text);
    let results = got.json()["results"].clone();
    let (late, done): (Vec<_>, Vec<_>) =
        results.as_array().unwrap().iter().partition(|one| one["status"] == 504);
    assert_eq!((late.len(), done.len()), (1, 7), "{}", got.text);
    assert_eq!(late[0]["problem"]["code"], "cf_timeout");
    assert_eq!(late[0]["problem"]["retryable"], true);
    assert!(done.iter().all(|one| one["status"] == 201 || one["status"] == 200), "{}", got.text);
}

#[tokio::test]
async fn an_item_without_enough_time_is_not_started() {
    let sandbox = sandbox().await;
    let broker = TestBroker::with(with_short_deadline(&sandbox)).await;
    subscribe(&broker, &sandbox, 1).await;
    pull(&sandbox, "latency", &json!({"part": "cf", "ms": 500}));
    let got = post(&broker, "/routes/batch", &sandbox.provider_token(), &ensures(80)).await;
    assert_eq!(got.status, 200, "{}", got.text);
    let results = got.json()["results"].clone();
    let status = |one: &Value| one["status"].as_u64().unwrap();
    let statuses: Vec<_> = results.as_array().unwrap().iter().map(status).collect();
    assert_eq!((statuses.len(), statuses[0], statuses[1], statuses[79]), (80, 200, 201, 503));
    assert_eq!(results[79]["problem"]["code"], "overloaded");
    // A started item is done or still runs. The items after it were not started.
    let begun = statuses.iter().take_while(|status| **status != 503).count();
    assert!(statuses[begun..].iter().all(|status| *status == 503), "{statuses:?}");
    let creates = asked(&sandbox).into_iter().filter(|call| call == CREATE).count();
    assert!(creates <= begun + 1, "{creates} {statuses:?}");
}

#[tokio::test]
async fn a_hundred_items_run_four_at_a_time() {
    let sandbox = sandbox().await;
    let broker = TestBroker::start(&sandbox).await;
    subscribe(&broker, &sandbox, 1).await;
    pull(&sandbox, "latency", &json!({"part": "cf", "ms": 20}));
    let most = AtomicUsize::new(0);
    let watching = async {
        loop {
            let under_way = sandbox
                .journal()
                .iter()
                .filter(|one| one.part == Part::Cf && one.status.is_none())
                .count();
            most.fetch_max(under_way, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    let token = sandbox.provider_token();
    let body = ensures(100);
    let got = tokio::select! {
        got = post(&broker, "/routes/batch", &token, &body) => got,
        () = watching => unreachable!("it never ends"),
    };
    let results = got.json()["results"].clone();
    let results = results.as_array().unwrap();
    assert!(results.iter().skip(1).all(|one| one["status"] == 201), "{}", got.text);
    assert_eq!(hosts(&sandbox).len(), 100);
    assert_eq!(most.into_inner(), 4);
}

#[tokio::test]
async fn a_plan_has_every_difference_and_changes_nothing() {
    let sandbox = sandbox().await;
    let broker = TestBroker::start(&sandbox).await;
    let token = sandbox.provider_token();
    subscribe(&broker, &sandbox, 3).await;
    sandbox.world().take_host("sub8-saas-approuter", DOMAIN, "other").unwrap();
    let mut wanted = tenants([0, 7, 8]);
    // t1 has a new subdomain; t2 is missing in the list.
    wanted.as_array_mut().unwrap().push(json!({"tenantId": "t1", "subdomain": "sub-new"}));
    wanted.as_array_mut().unwrap().push(json!({"tenantId": "t6", "subdomain": "not_a_host"}));
    sandbox.clear_journal();
    let got =
        post(&broker, "/routes/reconcile", &token, &json!({"tenants": wanted, "app": APP})).await;
    assert_eq!(got.status, 200, "{}", got.text);
    let plan = got.json();
    assert_eq!((&plan["applied"], &plan["unchanged"]), (&json!(false), &json!(1)));
    assert_eq!(hosts_in(&plan["create"]), ["sub7-saas-approuter", "sub-new-saas-approuter"]);
    assert_eq!(hosts_in(&plan["repair"]), ["sub1-saas-approuter"]);
    assert_eq!(hosts_in(&plan["orphans"]), ["sub2-saas-approuter"]);
    assert_eq!(hosts_in(&plan["foreign"]), ["sub8-saas-approuter"]);
    assert_eq!(plan["results"][0]["problem"]["code"], "host_invalid");
    assert_eq!((writes(&sandbox), &plan["remaining"]), (0, &json!(0)));
}

#[tokio::test]
async fn a_tenant_may_be_listed_once_for_each_app() {
    let sandbox = sandbox().await;
    let broker = TestBroker::start(&sandbox).await;
    let token = sandbox.provider_token();
    subscribe(&broker, &sandbox, 1).await;
    let other = json!({"subdomain": "sub0", "app": OTHER_APP});
    assert_eq!(broker.put("/routes/t0", &token, &other).await.status, 201);
    let one = |app| json!({"tenantId": "t0", "subdomain": "sub0", "app": app});
    let both = json!({"tenants": [one(APP), one(OTHER_APP)]});
    // The other app's route needs no change, listed or not.
    for (body, unchanged) in [(both, 2), (json!({"tenants": [one(APP)]}), 1)] {
        let plan = post(&broker, "/routes/reconcile", &token, &body).await.json();
        assert_eq!(
            (&plan["unchanged"], &plan["repair"]),
            (&json!(unchanged), &json!([])),
            "{plan}"
        );
    }
    let twice = json!({"tenants": [one(APP), {"tenantId": "t0", "subdomain": "sub1", "app": APP}]});
    assert_eq!(post(&broker, "/routes/reconcile", &token, &twice).await.code(), "bad_request");
}

#[rstest]
#[case::app(json!({"app": "no-such-app"}), "app_not_found", "/v3/apps")]
#[case::wildcard(json!({"app": APP}), "wildcard_not_mapped", "/v3/routes")]
#[tokio::test]
async fn a_missing_name_is_looked_up_once_for_the_whole_list(
    #[case] more: Value,
    #[case] code: &str,
    #[case] path: &str,
) {
    let sandbox = sandbox().await;
    let mut variables = variables(&sandbox);
    let mode = if code == "wildcard_not_mapped" { "wildcard" } else { "route" };
    let entry = json!([{
        "client_ids": ["sb-bookshop!t4711"], "organization": "provider-org", "space": "dev",
        "apps": [APP, "no-such-app"], "domains": [DOMAIN], "mode": mode,
    }]);
    variables.insert("CFAPI_PROVIDERS".to_owned(), entry.to_string());
    let broker = TestBroker::with(variables).await;
    until("the entries were checked", || {
        sandbox.journal().iter().any(|entry| entry.path.ends_with("/domains"))
    })
    .await;
    sandbox.clear_journal();
    let mut body = json!({"tenants": tenants(0..50)});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let got = post(&broker, "/routes/reconcile", &sandbox.provider_token(), &body).await;
    let results = got.json()["results"].clone();
    assert_eq!(results.as_array().unwrap().len(), 50, "{}", got.text);
    assert!(results.as_array().unwrap().iter().all(|one| one["problem"]["code"] == code));
    let calls = sandbox.journal().into_iter().filter(|entry| entry.part == Part::Cf);
    let named = |entry: &cfapi_sandbox::JournalEntry| {
        entry.path == path && !entry.query.contains("label_selector")
    };
    // One more call if the space's name may now mean another space.
    let count = calls.filter(named).count();
    assert!((1..=2).contains(&count), "{count}");
}

#[tokio::test]
async fn apply_executes_the_plan_and_deletes_orphans_only_on_request() {
    let sandbox = sandbox().await;
    let broker = TestBroker::start(&sandbox).await;
    let token = sandbox.provider_token();
    subscribe(&broker, &sandbox, 5).await;
    sandbox.world().take_host("sub6-saas-approuter", DOMAIN, "dev").unwrap();
    let mut body = json!({"tenants": tenants([0, 1, 2, 3, 6, 7]), "app": APP, "apply": true});
    let got = post(&broker, "/routes/reconcile", &token, &body).await;
    assert_eq!(got.status, 200, "{}", got.text);
    assert_eq!(hosts_in(&got.json()["repair"]), ["sub6-saas-approuter"]);
    let results = got.json()["results"].clone();
    assert_eq!(results.as_array().unwrap().len(), 2, "{}", got.text);
    assert!(hosts(&sandbox).contains(&"sub4-saas-approuter".to_owned()));
    body["delete_orphans"] = json!(true);
    let got = post(&broker, "/routes/reconcile", &token, &body).await;
    let results = got.json()["results"].clone();
    assert_eq!(results[0]["op"], "remove", "{}", got.text);
    assert_eq!((&results[0]["tenant"], &results[0]["status"]), (&json!("t4"), &json!(204)));
    assert_eq!(got.json()["unchanged"], 6);
    let left = hosts(&sandbox);
    assert_eq!(left.len(), 6, "{left:?}");
    assert!(!left.contains(&"sub4-saas-approuter".to_owned()));
}

#[rstest]
#[case::empty_list(5, 0, "20")]
#[case::empty_list_although_all_may_go(5, 0, "100")]
#[case::more_than_a_fifth(14, 11, "20")]
#[case::more_than_the_setting(4, 1, "74")]
#[case::none_may_go(4, 3, "0")]
#[tokio::test]
async fn the_guard_refuses_deletes_for_a_doubtful_list(
    #[case] count: usize,
    #[case] listed: usize,
    #[case] percent: &str,
) {
    let sandbox = sandbox().await;
    let broker = TestBroker::with(with_share(&sandbox, percent)).await;
    subscribe(&broker, &sandbox, count).await;
    sandbox.clear_journal();
    let body =
        json!({"tenants": tenants(0..listed), "app": APP, "apply": true, "delete_orphans": true});
    let got = post(&broker, "/routes/reconcile", &sandbox.provider_token(), &body).await;
    assert_eq!((got.status, got.code().as_str()), (409, "reconcile_guard"), "{}", got.text);
    assert_eq!((writes(&sandbox), hosts(&sandbox).len()), (0, count));
}

#[rstest]
#[case::a_fifth(5, 4, "20")]
#[case::as_the_setting_says(4, 1, "75")]
#[tokio::test]
async fn deletes_within_the_limit_pass_the_guard(
    #[case] count: usize,
    #[case] listed: usize,
    #[case] percent: &str,
) {
    let sandbox = sandbox().await;
    let broker = TestBroker::with(with_share(&sandbox, percent)).await;
    subscribe(&broker, &sandbox, count).await;
    let body =
        json!({"tenants": tenants(0..listed), "app": APP, "apply": true, "delete_orphans": true});
    let got = post(&broker, "/routes/reconcile", &sandbox.provider_token(), &body).await;
    assert_eq!(got.status, 200, "{}", got.text);
    assert_eq!(hosts(&sandbox).len(), listed);
}

#[rstest]
#[case::plan(false)]
#[case::applied(true)]
#[tokio::test]
async fn force_is_for_administrators_only(#[case] apply: bool) {
    let sandbox = sandbox().await;
    let broker = TestBroker::start(&sandbox).await;
    subscribe(&broker, &sandbox, 2).await;
    sandbox.clear_journal();
    let body = json!({"tenants": tenants(0..2), "app": APP, "apply": apply, "delete_orphans": true, "force": true});
    let got = post(&broker, "/routes/reconcile", &sandbox.provider_token(), &body).await;
    assert_eq!((got.status, got.code().as_str()), (403, "forbidden_scope"), "{}", got.text);
    assert!(sandbox.journal().iter().all(|entry| entry.part != Part::Cf));
}

/// What happens to an orphan between the read of a reconcile and its delete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum BeforeDelete {
    FoundHere,
    RecreatedHere,
    RecreatedElsewhere,
}

#[rstest]
#[case::found(BeforeDelete::FoundHere, 409)]
#[case::recreated(BeforeDelete::RecreatedHere, 409)]
#[case::recreated_elsewhere(BeforeDelete::RecreatedElsewhere, 204)]
#[tokio::test]
async fn a_tenant_that_is_requested_after_the_read_keeps_its_route(
    #[case] before_delete: BeforeDelete,
    #[case] expected: u16,
) {
    let sandbox = sandbox().await;
    let (broker, other) = (TestBroker::start(&sandbox).await, TestBroker::start(&sandbox).await);
    let token = sandbox.provider_token();
    subscribe(&broker, &sandbox, 5).await;
    sandbox.clear_journal();
    // The reconcile has read the routes but not the apps.
    pull(&sandbox, "hang", &json!({"part": "cf", "ms": 6000, "only": "GET /v3/apps"}));
    let body = json!({"tenants": tenants(0..4), "app": APP, "apply": true, "delete_orphans": true});
    let reconciling = post(&broker, "/routes/reconcile", &token, &body);
    let wanting = async {
        until("the routes were read", || {
            sandbox.journal().iter().any(|one| one.path == "/v3/apps")
        })
        .await;
        let by = if before_delete == BeforeDelete::RecreatedElsewhere { &other } else { &broker };
        if before_delete != BeforeDelete::FoundHere {
            assert_eq!(by.delete("/routes/t4", &token).await.status, 204);
        }
        let body = json!({"subdomain": "sub4", "app": APP});
        by.put("/routes/t4", &token, &body).await.json()["route"]["guid"].clone()
    };
    let (reconciled, guid) = tokio::join!(reconciling, wanting);
    let result = reconciled.json()["results"][0].clone();
    assert_eq!(
        (&result["tenant"], &result["status"]),
        (&json!("t4"), &json!(expected)),
        "{result}"
    );
    if expected == 409 {
        assert_eq!(result["problem"]["code"], "reconcile_guard");
    }
    let routes = sandbox.world().routes();
    let kept = routes.iter().find(|route| route.host == "sub4-saas-approuter").unwrap();
    assert_eq!(guid, kept.guid.as_str());
    assert!(!kept.deleting);
}

#[tokio::test]
async fn an_administrator_may_force_it() {
    let sandbox = sandbox().await;
    let broker = TestBroker::start(&sandbox).await;
    subscribe(&broker, &sandbox, 3).await;
    let admin = sandbox.caller_token("sb-operator!t4713", &["Routes.Write", "Routes.Admin"]);
    let body = json!({"tenants": [], "apply": true, "delete_orphans": true, "force": true});
    let path = "/routes/reconcile?on_behalf_of=sb-bookshop!t4711";
    let got = post(&broker, path, &admin, &body).await;
    assert_eq!(got.status, 200, "{}", got.text);
    assert!(hosts(&sandbox).is_empty());
}

#[tokio::test]
async fn unlabelled_and_foreign_routes_are_not_orphans() {
    let sandbox = sandbox().await;
    let broker = TestBroker::start(&sandbox).await;
    subscribe(&broker, &sandbox, 2).await;
    sandbox.world().take_host("sub-legacy", DOMAIN, "dev").unwrap();
    let other = sandbox.caller_token("sb-orders!t4712", &["Routes.Write"]);
    let body = json!({"tenants": [], "apply": true, "delete_orphans": true});
    let got = post(&broker, "/routes/reconcile", &other, &body).await;
    assert_eq!((got.status, &got.json()["orphans"]), (200, &json!([])), "{}", got.text);
    assert_eq!(hosts(&sandbox).len(), 3);
}

#[tokio::test]
async fn a_list_of_5000_is_read_and_100_changes_are_made_at_a_time() {
    let sandbox = sandbox().await;
    let broker = TestBroker::start(&sandbox).await;
    let token = sandbox.provider_token();
    let body = json!({"tenants": tenants(0..5000), "app": APP});
    let got = post(&broker, "/routes/reconcile", &token, &body).await;
    assert_eq!(got.status, 200, "{}", got.text);
    assert_eq!(got.json()["create"].as_array().unwrap().len(), 5000);
    let body = json!({"tenants": tenants(0..5001), "app": APP});
    assert_eq!(post(&broker, "/routes/reconcile", &token, &body).await.code(), "bad_request");
    let body = json!({"tenants": tenants(0..150), "app": APP, "apply": true});
    let got = post(&broker, "/routes/reconcile", &token, &body).await.json();
    assert_eq!((&got["remaining"], hosts(&sandbox).len()), (&json!(50), 100));
}

/// An empty list says that there are no tenants; without one nothing is said.
#[tokio::test]
async fn a_reconcile_without_its_list_of_tenants_is_refused() {
    let sandbox = sandbox().await;
    let broker = TestBroker::start(&sandbox).await;
    let token = sandbox.provider_token();
    for body in
        [json!({}), json!({"tenants": null}), json!({"apply": true, "delete_orphans": true})]
    {
        let path = "/routes/reconcile";
        let got = post(&broker, path, &token, &body).await;
        assert_eq!((got.status, got.code().as_str()), (400, "bad_request"), "{body}: {}", got.text);
    }
    let body = json!({"tenants": []});
    let got = post(&broker, "/routes/reconcile", &token, &body).await;
    assert_eq!(got.status, 200, "{}", got.text);
}
