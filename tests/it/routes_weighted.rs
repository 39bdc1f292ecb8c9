//! Routes on which CF allows no single change: weighted destinations, and labels or annotations up
//! to CF's limit. The broker says so before it writes anything, and a dry run says the same.

use std::collections::BTreeMap;

use cfapi_sandbox::{Sandbox, world::RouteView};
use http::Method;
use rstest::rstest;
use serde_json::{Value, json};

use crate::support::{
    APP, Answer, TestBroker, sandbox,
    tenant::{DOMAIN, HOST, app_guid, asked, cf, delete, put, route_request, the_route},
    variables,
};

const DEV: &str = "4d57c4e2-59ab-4b1f-a6f1-e18e43abcd3a";
/// Another app of the same space.
const OTHER_APP: &str = "bookshop-approuter";
const WEIGHTED: &str = "weighted_destinations";
const FULL: &str = "route_metadata_full";

/// Variables of a broker whose entry has these apps.
fn with_apps(sandbox: &Sandbox, apps: &[&str]) -> BTreeMap<String, String> {
    let mut variables = variables(sandbox);
    let entry = json!({
        "client_ids": ["sb-bookshop!t4711"], "space": DEV, "apps": apps, "domains": [DOMAIN],
        "allow_legacy_delete": true,
    });
    variables.insert("CFAPI_PROVIDERS".to_owned(), json!([entry]).to_string());
    variables
}

/// Replaces all destinations of the tenant's route by apps with weights.
async fn weigh(sandbox: &Sandbox, apps: &[(&str, u8)]) -> RouteView {
    let target = |(app, weight): &(&str, u8)| json!({"app": {"guid": app_guid(sandbox, app)}, "weight": weight});
    let body = json!({"destinations": apps.iter().map(target).collect::<Vec<_>>()});
    let route = the_route(sandbox);
    let path = format!("/v3/routes/{}/destinations", route.guid);
    cf(sandbox, Method::PATCH, &path, &body).await;
    the_route(sandbox)
}

async fn preview(broker: &TestBroker, sandbox: &Sandbox) -> Answer {
    broker.put("/routes/t1?dry_run=true", &sandbox.provider_token(), &route_request()).await
}

fn assert_refused(got: &Answer, code: &str) {
    assert_eq!((got.status, got.code().as_str()), (409, code), "{}", got.text);
    assert_eq!(got.json()["retryable"], false, "{}", got.text);
    assert!(got.text.contains(&format!("{HOST}.{DOMAIN}")), "{}", got.text);
}

fn writes(sandbox: &Sandbox) -> Vec<String> {
    let calls = asked(sandbox).into_iter();
    calls.filter(|call| !call.starts_with("GET ") && *call != "POST /v3/routes").collect()
}

#[tokio::test]
async fn an_app_is_not_mapped_beside_weighted_destinations() {
    let sandbox = sandbox().await;
    let broker = TestBroker::start(&sandbox).await;
    assert_eq!(put(&broker, &sandbox).await.status, 201);
    let before = weigh(&sandbox, &[(OTHER_APP, 100)]).await;
    sandbox.clear_journal();
    assert_refused(&preview(&broker, &sandbox).await, WEIGHTED);
    let got = put(&broker, &sandbox).await;
    assert_refused(&got, WEIGHTED);
    assert!(got.text.contains("weight"), "{}", got.text);
    assert_eq!((the_route(&sandbox), writes(&sandbox)), (before, vec![]));
}

#[tokio::test]
async fn a_weighted_route_that_serves_the_app_needs_no_change() {
    let sandbox = sandbox().await;
    let broker = TestBroker::start(&sandbox).await;
    assert_eq!(put(&broker, &sandbox).await.status, 201);
    weigh(&sandbox, &[(APP, 40), (OTHER_APP, 60)]).await;
    for got in [preview(&broker, &sandbox).await, put(&broker, &sandbox).await] {
        assert_eq!(
            (got.status, &got.json()["outcome"]),
            (200, &json!("unchanged")),
            "{}",
            got.text
        );
        assert_eq!(got.json()["warnings"][0]["code"], "extra_destinations", "{}", got.text);
    }
}

#[tokio::test]
async fn a_weighted_route_is_adopted_only_if_it_serves_the_app() {
    let sandbox = sandbox().await;
    sandbox.world().take_host(HOST, DOMAIN, "dev").unwrap();
    let before = weigh(&sandbox, &[(OTHER_APP, 100)]).await;
    let broker = TestBroker::with(with_apps(&sandbox, &[APP, OTHER_APP])).await;
    sandbox.clear_journal();
    assert_refused(&preview(&broker, &sandbox).await, WEIGHTED);
    assert_refused(&put(&broker, &sandbox).await, WEIGHTED);
    assert_eq!((the_route(&sandbox), writes(&sandbox)), (before, vec![]));
    weigh(&sandbox, &[(APP, 1), (OTHER_APP, 99)]).await;
    let got = put(&broker, &sandbox).await;
    assert_eq!((got.status, &got.json()["outcome"]), (200, &json!("adopted")), "{}", got.text);
}

#[tokio::test]
async fn an_adoption_that_cannot_be_mapped_leaves_no_labels() {
    let sandbox = sandbox().await;
    sandbox.world().take_host(HOST, DOMAIN, "dev").unwrap();
    let labels = json!({"metadata": {"labels": {"team.test/name": "shop"}}});
    let path = format!("/v3/routes/{}", the_route(&sandbox).guid);
    cf(&sandbox, Method::PATCH, &path, &labels).await;
    let before = the_route(&sandbox);
    let broker = TestBroker::start(&sandbox).await;
    // The weights come after the route was read.
    let detail =
        "Destinations cannot be inserted when there are weighted destinations already configured.";
    let body =
        json!({"errors": [{"detail": detail, "title": "CF-UnprocessableEntity", "code": 10008}]});
    let args = json!({
        "part": "cf", "n": 1, "only": "POST /v3/routes/", "status": 422,
        "headers": {"content-type": "application/json"}, "body": body.to_string(),
    });
    crate::support::pull(&sandbox, "fail_next", &args);
    assert_refused(&put(&broker, &sandbox).await, WEIGHTED);
    assert_eq!(the_route(&sandbox), before);
}

#[tokio::test]
async fn a_route_with_foreign_weights_is_not_deleted() {
    let sandbox = sandbox().await;
    let broker = TestBroker::with(with_apps(&sandbox, &[APP])).await;
    assert_eq!(put(&broker, &sandbox).await.status, 201);
    let before = weigh(&sandbox, &[(APP, 40), (OTHER_APP, 60)]).await;
    sandbox.clear_journal();
    let token = sandbox.provider_token();
    let items = json!({"items": [{"op": "remove", "tenantId": "t1"}], "dry_run": true});
    let plan = broker.send(Method::POST, "/routes/batch", Some(&token), Some(&items)).await;
    let planned = plan.json()["results"][0].clone();
    assert_eq!(
        (&planned["status"], &planned["problem"]["code"]),
        (&json!(409), &json!(WEIGHTED)),
        "{}",
        plan.text
    );
    let got = delete(&broker, &sandbox).await;
    assert_refused(&got, WEIGHTED);
    let names = got.json()["errors"].clone();
    assert!(names.to_string().contains(&before.guid), "{}", got.text);
    assert_eq!((the_route(&sandbox), writes(&sandbox)), (before, vec![]));
}

#[tokio::test]
async fn a_reconcile_reports_weighted_routes_instead_of_calling_them_foreign() {
    let sandbox = sandbox().await;
    let broker = TestBroker::with(with_apps(&sandbox, &[APP])).await;
    assert_eq!(put(&broker, &sandbox).await.status, 201);
    weigh(&sandbox, &[(OTHER_APP, 100)]).await;
    let body = json!({"tenants": [{"tenantId": "t1", "subdomain": "acme"}]});
    let token = sandbox.provider_token();
    let got = broker.send(Method::POST, "/routes/reconcile", Some(&token), Some(&body)).await;
    let report = got.json();
    assert_eq!((&report["foreign"], &report["repair"]), (&json!([]), &json!([])), "{}", got.text);
    assert_eq!(report["results"][0]["problem"]["code"], WEIGHTED, "{}", got.text);
}

#[tokio::test]
async fn a_weighted_route_of_our_apps_alone_is_deleted() {
    let sandbox = sandbox().await;
    let broker = TestBroker::with(with_apps(&sandbox, &[APP, OTHER_APP])).await;
    assert_eq!(put(&broker, &sandbox).await.status, 201);
    weigh(&sandbox, &[(APP, 40), (OTHER_APP, 60)]).await;
    assert_eq!(delete(&broker, &sandbox).await.status, 204);
    assert!(sandbox.world().routes().iter().all(|route| route.host != HOST));
}

/// An unlabelled route of the app that has this many labels and annotations of others.
async fn crowded(sandbox: &Sandbox, labels: usize, annotations: usize) -> RouteView {
    let many = |count: usize| -> BTreeMap<String, Value> {
        (0..count).map(|n| (format!("team.test/n{n}"), json!("x"))).collect()
    };
    sandbox.world().take_host(HOST, DOMAIN, "dev").unwrap();
    sandbox.world().map_host(HOST, DOMAIN, APP).unwrap();
    let body = json!({"metadata": {"labels": many(labels), "annotations": many(annotations)}});
    let path = format!("/v3/routes/{}", the_route(sandbox).guid);
    cf(sandbox, Method::PATCH, &path, &body).await;
    the_route(sandbox)
}

#[rstest]
#[case::labels(49, 0)]
#[case::one_label_too_many(48, 0)]
#[case::all_labels(50, 0)]
#[case::annotations(0, 199)]
#[case::one_annotation_too_many(0, 196)]
#[case::all_annotations(0, 200)]
#[tokio::test]
async fn a_route_without_room_for_our_labels_is_not_adopted(
    #[case] labels: usize,
    #[case] annotations: usize,
) {
    let sandbox = sandbox().await;
    let before = crowded(&sandbox, labels, annotations).await;
    let broker = TestBroker::with(with_apps(&sandbox, &[APP])).await;
    sandbox.clear_journal();
    assert_refused(&preview(&broker, &sandbox).await, FULL);
    assert_refused(&put(&broker, &sandbox).await, FULL);
    let legacy = "/routes/t1?legacy=true&subdomain=acme";
    assert_refused(&broker.delete(legacy, &sandbox.provider_token()).await, FULL);
    assert_eq!((the_route(&sandbox), writes(&sandbox)), (before, vec![]));
}

#[rstest]
#[case::labels(47, 0)]
#[case::annotations(0, 195)]
#[tokio::test]
async fn a_route_with_just_enough_room_is_adopted(
    #[case] labels: usize,
    #[case] annotations: usize,
) {
    let sandbox = sandbox().await;
    crowded(&sandbox, labels, annotations).await;
    let broker = TestBroker::with(with_apps(&sandbox, &[APP])).await;
    let got = put(&broker, &sandbox).await;
    assert_eq!((got.status, &got.json()["outcome"]), (200, &json!("adopted")), "{}", got.text);
}

#[tokio::test]
async fn a_lower_limit_of_the_foundation_has_the_same_code() {
    let sandbox = sandbox().await;
    let before = crowded(&sandbox, 1, 1).await;
    let broker = TestBroker::start(&sandbox).await;
    let detail = "Failed to add 3 labels because it would exceed maximum of 3";
    let body =
        json!({"errors": [{"detail": detail, "title": "CF-LabelLimitExceeded", "code": 390_020}]});
    let args = json!({
        "part": "cf", "n": 1, "only": "PATCH /v3/routes/", "status": 422,
        "headers": {"content-type": "application/json"}, "body": body.to_string(),
    });
    crate::support::pull(&sandbox, "fail_next", &args);
    let got = put(&broker, &sandbox).await;
    assert_refused(&got, FULL);
    assert_eq!(the_route(&sandbox), before);
}
