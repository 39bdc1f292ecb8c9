//! Tenant routes through the broker: what provider apps rely on.

use std::collections::BTreeMap;

use cfapi_sandbox::Sandbox;
use http::Method;
use rstest::rstest;
use serde_json::json;

use crate::support::{
    APP, TestBroker, sandbox,
    tenant::{DOMAIN, route_request, the_route},
    variables,
};

#[tokio::test]
async fn post_reads_the_tenant_from_the_body_and_accepts_the_payload_of_the_registry() {
    let sandbox = sandbox().await;
    let broker = TestBroker::start(&sandbox).await;
    let token = sandbox.provider_token();
    let body = json!({"app": APP, "subscribedTenantId": "t-9", "subscribedSubdomain": "Nine", "eventType": "CREATE", "globalAccountGUID": "x"});
    let created = broker.send(Method::POST, "/routes", Some(&token), Some(&body)).await;
    assert_eq!(created.status, 201, "{}", created.text);
    assert_eq!(created.headers["location"], format!("{}/routes/t-9", broker.base));
    assert_eq!(created.json()["host"], "nine-saas-approuter");
}

/// Entries of two owners for the same space and app.
fn two_owners(sandbox: &Sandbox) -> BTreeMap<String, String> {
    let entry = |client: &str| {
        json!({
            "client_ids": [client], "organization": "provider-org", "space": "dev", "apps": [APP],
            "domains": [DOMAIN], "allow_legacy_delete": true,
        })
    };
    let mut variables = variables(sandbox);
    let entries = json!([entry("sb-bookshop!t4711"), entry("sb-orders!t4712")]);
    variables.insert("CFAPI_PROVIDERS".to_owned(), entries.to_string());
    variables
}

#[rstest]
#[case::zero_configuration(false)]
#[case::entries(true)]
#[tokio::test]
async fn another_owners_route_is_not_shown_adopted_or_deleted(#[case] entries: bool) {
    let sandbox = sandbox().await;
    let of = if entries { two_owners(&sandbox) } else { variables(&sandbox) };
    let broker = TestBroker::with(of).await;
    let (one, other) = (
        sandbox.provider_token(),
        sandbox.caller_token("sb-orders!t4712", &["Routes.Read", "Routes.Write"]),
    );
    let body = route_request();
    assert_eq!(broker.put("/routes/t1", &one, &body).await.status, 201);
    let theirs = the_route(&sandbox);

    assert_eq!(broker.get("/routes/t1", &other).await.code(), "not_found");
    for path in ["/routes", "/routes?tenant=t1"] {
        let listed = broker.get(path, &other).await.json();
        assert_eq!((&listed["resources"], &listed["pagination"]["total"]), (&json!([]), &json!(0)));
    }
    let mut post = body.clone();
    post["tenantId"] = json!("t1");
    let taken = [
        broker.put("/routes/t1", &other, &body).await,
        broker.put("/routes/t1?dry_run=true", &other, &body).await,
        broker.send(Method::POST, "/routes", Some(&other), Some(&post)).await,
    ];
    for taken in taken {
        assert_eq!((taken.status, taken.code().as_str()), (409, "host_taken"), "{}", taken.text);
        assert!(!taken.text.contains("bookshop"), "{}", taken.text);
    }
    assert_eq!(broker.delete("/routes/t1", &other).await.status, 204);
    let items = json!({"items": [{"op": "remove", "tenantId": "t1"}]});
    let batch = broker.send(Method::POST, "/routes/batch", Some(&other), Some(&items)).await;
    assert_eq!(batch.json()["results"][0]["status"], 204, "{}", batch.text);
    let legacy = format!("/routes/t1?legacy=true&subdomain=acme&app={APP}");
    assert_eq!(broker.delete(&legacy, &other).await.code(), "host_taken");

    assert_eq!(the_route(&sandbox), theirs);
    assert_eq!(broker.get("/routes/t1", &one).await.status, 200);
}

#[tokio::test]
async fn a_host_of_another_organisation_is_a_conflict() {
    let sandbox = sandbox().await;
    sandbox.world().take_host("acme-saas-approuter", "cfapps.example.test", "fspace").unwrap();
    let broker = TestBroker::start(&sandbox).await;
    let got = broker
        .put("/routes/t1", &sandbox.provider_token(), &json!({"subdomain": "acme", "app": APP}))
        .await;
    assert_eq!((got.status, got.code().as_str()), (409, "host_taken_elsewhere"), "{}", got.text);
}

#[tokio::test]
async fn parallel_requests_for_one_tenant_make_one_route() {
    let sandbox = sandbox().await;
    let broker = TestBroker::start(&sandbox).await;
    let token = sandbox.provider_token();
    let body = json!({"subdomain": "acme", "app": APP});
    let answers = tokio::join!(
        broker.put("/routes/t1", &token, &body),
        broker.put("/routes/t1", &token, &body),
        broker.put("/routes/t1", &token, &body),
        broker.put("/routes/t1", &token, &body),
    );
    let mut statuses = [answers.0.status, answers.1.status, answers.2.status, answers.3.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 200, 200, 201]);
    assert_eq!(
        sandbox.world().routes().iter().filter(|route| route.host == "acme-saas-approuter").count(),
        1
    );
}

#[tokio::test]
async fn delete_waits_for_the_job() {
    let sandbox = sandbox().await;
    let broker = TestBroker::start(&sandbox).await;
    let token = sandbox.provider_token();
    assert_eq!(
        broker.put("/routes/t1", &token, &json!({"subdomain": "acme", "app": APP})).await.status,
        201
    );
    assert_eq!(broker.delete("/routes/t1", &token).await.status, 204);
    assert!(sandbox.world().routes().iter().all(|route| route.host != "acme-saas-approuter"));
    let again = broker.put("/routes/t1", &token, &json!({"subdomain": "acme", "app": APP})).await;
    assert_eq!(again.status, 201, "{}", again.text);
}

#[tokio::test]
async fn refusals_of_cf_become_problems_with_its_errors() {
    let sandbox = sandbox().await;
    let broker = TestBroker::start(&sandbox).await;
    let token = sandbox.provider_token();
    sandbox.world().suspend("provider-org", true).unwrap();
    let got = broker.put("/routes/t1", &token, &json!({"subdomain": "acme", "app": APP})).await;
    assert_eq!((got.status, got.code().as_str()), (502, "cf_refused"), "{}", got.text);
    assert_eq!(got.json()["cf_errors"][0]["code"], 10017, "{}", got.text);
}

#[tokio::test]
async fn no_tenant_gets_a_route_to_the_broker_under_any_name() {
    let sandbox = sandbox().await;
    let broker = TestBroker::start(&sandbox).await;
    let token = sandbox.provider_token();
    sandbox.world().rename_app("cfapi-broker", "former-broker").unwrap();
    for app in ["CFAPI-Broker", "former-broker"] {
        let got = broker.put("/routes/t1", &token, &json!({"subdomain": "x", "app": app})).await;
        assert_eq!((got.status, got.code().as_str()), (403, "forbidden_app"), "{}", got.text);
    }
    let route = broker.put("/routes/t1", &token, &json!({"subdomain": "x", "app": APP})).await;
    let route = route.json()["route"]["guid"].as_str().unwrap().to_owned();
    let apps = sandbox.world().apps();
    let own = &apps.iter().find(|app| app.name == "former-broker").unwrap().guid;
    let writer = sandbox.caller_token("sb-bookshop!t4711", &["Api.Proxy", "Routes.Write"]);
    let path = format!("/v3/routes/{route}/destinations");
    let body = json!({"destinations": [{"app": {"guid": own}}]});
    let mapped = broker.send(Method::POST, &path, Some(&writer), Some(&body)).await;
    assert_eq!((mapped.status, mapped.code().as_str()), (403, "denied_by_policy"));
}
