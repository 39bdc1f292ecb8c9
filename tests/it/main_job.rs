//! The main use case: a tenant subscribes, is listed, and unsubscribes.

use serde_json::json;

use crate::support::{APP, TestBroker, sandbox};

#[tokio::test]
async fn a_tenant_subscribes_is_listed_and_unsubscribes() {
    let sandbox = sandbox().await;
    let broker = TestBroker::start(&sandbox).await;
    let token = sandbox.provider_token();

    let created = broker.put("/routes/t1", &token, &json!({"subdomain": "acme", "app": APP})).await;
    assert_eq!(created.status, 201, "{}", created.text);
    let body = created.json();
    assert_eq!(body["outcome"], "created");
    assert_eq!(body["host"], "acme-saas-approuter");
    assert_eq!(body["url"], "https://acme-saas-approuter.cfapps.example.test");

    let routes = sandbox.world().routes();
    let route = routes.iter().find(|route| route.host == "acme-saas-approuter").unwrap();
    assert_eq!(route.apps, [APP]);
    assert_eq!(route.labels["cfapi-broker.internal/managed-by"], "cfapi-broker");
    assert_eq!(route.labels["cfapi-broker.internal/tenant"], "t1");

    let again = broker.put("/routes/t1", &token, &json!({"subdomain": "acme", "app": APP})).await;
    assert_eq!(
        (again.status, again.json()["outcome"].as_str()),
        (200, Some("unchanged")),
        "{}",
        again.text
    );

    let listed = broker.get("/routes", &token).await;
    assert_eq!(
        (listed.status, listed.json()["pagination"]["total"].as_u64()),
        (200, Some(1)),
        "{}",
        listed.text
    );
    assert_eq!(broker.get("/routes/t1", &token).await.status, 200);

    let gone = broker.delete("/routes/t1", &token).await;
    assert_eq!(gone.status, 204, "{}", gone.text);
    assert!(!sandbox.world().routes().iter().any(|route| route.host == "acme-saas-approuter"));
    assert_eq!(broker.get("/routes/t1", &token).await.code(), "not_found");
}

#[tokio::test]
async fn the_journal_shows_one_password_grant_with_an_empty_secret_and_the_hint_in_the_body() {
    let sandbox = sandbox().await;
    let broker = TestBroker::start(&sandbox).await;
    let token = sandbox.provider_token();
    for tenant in ["a", "b", "c"] {
        let body = json!({"subdomain": format!("host-{tenant}"), "app": APP});
        assert_eq!(broker.put(&format!("/routes/{tenant}"), &token, &body).await.status, 201);
    }
    let journal = sandbox.journal();
    let grants: Vec<_> =
        journal.iter().filter(|entry| entry.grant_type.as_deref() == Some("password")).collect();
    assert_eq!(grants.len(), 1);
    let grant = grants[0];
    assert_eq!(grant.authorization.as_deref(), Some("Basic Y2Y6"));
    assert_eq!(grant.query, "");
    assert_eq!(grant.body.matches("login_hint=").count(), 1, "{}", grant.body);
    assert!(!journal.iter().any(|entry| entry.query.contains("login_hint")));
}

#[tokio::test]
async fn leaving_without_ever_having_come_is_no_error() {
    let sandbox = sandbox().await;
    let broker = TestBroker::start(&sandbox).await;
    let token = sandbox.provider_token();
    for tenant in ["never", "t0"] {
        assert_eq!(broker.delete(&format!("/routes/{tenant}"), &token).await.status, 204);
    }
}

#[tokio::test]
async fn the_same_broker_works_in_another_landscape_with_nothing_but_its_variables() {
    let (one, other) = (sandbox().await, sandbox().await);
    for landscape in [&one, &other] {
        let broker = TestBroker::start(landscape).await;
        let token = landscape.provider_token();
        let created =
            broker.put("/routes/t1", &token, &json!({"subdomain": "acme", "app": APP})).await;
        assert_eq!(created.status, 201, "{}", created.text);
        broker.stop().await;
    }
    assert_eq!(one.world().routes().len(), other.world().routes().len());
}
