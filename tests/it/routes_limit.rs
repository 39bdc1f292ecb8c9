//! The limit of routes per app: what the broker itself made or removed counts at once, also in
//! parallel requests and, as far as CF knows it, of another instance.

use std::collections::BTreeMap;

use cfapi_sandbox::Sandbox;
use http::Method;
use rstest::rstest;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::support::{
    APP, Answer, TestBroker, pull, sandbox,
    tenant::{DOMAIN, app_guid, asked},
    variables,
};

const DEV: &str = "4d57c4e2-59ab-4b1f-a6f1-e18e43abcd3a";

fn with_limit(sandbox: &Sandbox, limit: u64) -> BTreeMap<String, String> {
    let mut variables = variables(sandbox);
    let entry = json!({
        "client_ids": ["sb-bookshop!t4711"], "space": DEV, "apps": [APP], "domains": [DOMAIN],
        "max_routes_per_app": limit,
    });
    variables.insert("CFAPI_PROVIDERS".to_owned(), json!([entry]).to_string());
    variables.insert("CFAPI_AUTH__MAX_IN_FLIGHT".to_owned(), "64".to_owned());
    variables
}

async fn put(broker: &TestBroker, sandbox: &Sandbox, tenant: &str) -> Answer {
    let body = json!({"subdomain": tenant});
    broker.put(&format!("/routes/{tenant}"), &sandbox.provider_token(), &body).await
}

async fn delete(broker: &TestBroker, sandbox: &Sandbox, tenant: &str) -> Answer {
    broker.delete(&format!("/routes/{tenant}"), &sandbox.provider_token()).await
}

/// What `GET /routes` says about the app's routes.
async fn shown(broker: &TestBroker, sandbox: &Sandbox) -> Value {
    let got = broker.get("/routes", &sandbox.provider_token()).await;
    got.json()["quota"]["app"]["used"].clone()
}

fn assert_full(got: &Answer) {
    assert_eq!((got.status, got.code().as_str()), (409, "app_route_limit"), "{}", got.text);
}

fn routes(sandbox: &Sandbox) -> usize {
    sandbox.world().routes().iter().filter(|route| route.apps == [APP]).count()
}

#[tokio::test]
async fn our_own_routes_count_at_once() {
    let sandbox = sandbox().await;
    let broker = TestBroker::with(with_limit(&sandbox, 3)).await;
    for (index, tenant) in ["m1", "m2", "m3"].into_iter().enumerate() {
        assert_eq!(put(&broker, &sandbox, tenant).await.status, 201);
        assert_eq!(shown(&broker, &sandbox).await, index + 1);
    }
    assert_full(&put(&broker, &sandbox, "m4").await);
    let path = "/routes/m4?dry_run=true";
    let body = json!({"subdomain": "m4"});
    assert_full(&broker.put(path, &sandbox.provider_token(), &body).await);
    assert_eq!(put(&broker, &sandbox, "m1").await.status, 200, "what is there passes");
    assert_eq!(delete(&broker, &sandbox, "m2").await.status, 204);
    assert_eq!(shown(&broker, &sandbox).await, 2);
    assert_eq!(put(&broker, &sandbox, "m4").await.status, 201);
    assert_full(&put(&broker, &sandbox, "m5").await);
    assert_eq!(routes(&sandbox), 3);
}

#[tokio::test]
async fn parallel_requests_do_not_exceed_the_limit() {
    let sandbox = sandbox().await;
    let broker = std::sync::Arc::new(TestBroker::with(with_limit(&sandbox, 5)).await);
    assert_eq!(put(&broker, &sandbox, "m0").await.status, 201);
    let mut set = JoinSet::new();
    for index in 0..20 {
        let (broker, token) = (std::sync::Arc::clone(&broker), sandbox.provider_token());
        set.spawn(async move {
            let tenant = format!("m{index}");
            let body = json!({"subdomain": tenant});
            broker.put(&format!("/routes/{tenant}"), &token, &body).await
        });
    }
    let answers = set.join_all().await;
    let count = |status: u16| answers.iter().filter(|got| got.status == status).count();
    assert_eq!((count(201), count(200), count(409)), (4, 1, 15));
    assert_eq!(routes(&sandbox), 5);
}

#[tokio::test]
async fn a_route_that_could_not_be_mapped_leaves_its_place_to_a_waiting_request() {
    let sandbox = sandbox().await;
    let broker = TestBroker::with(with_limit(&sandbox, 1)).await;
    let fault = json!({"part": "cf", "n": 1, "only": "POST /v3/routes/", "status": 403});
    pull(&sandbox, "fail_next", &fault);
    let (one, other) = tokio::join!(put(&broker, &sandbox, "m1"), put(&broker, &sandbox, "m2"));
    let statuses = [one.status, other.status];
    assert!(statuses.contains(&201) && statuses.contains(&502), "{} {}", one.text, other.text);
    assert_eq!(routes(&sandbox), 1);
}

#[tokio::test]
async fn routes_of_another_instance_count() {
    let sandbox = sandbox().await;
    let one = TestBroker::with(with_limit(&sandbox, 3)).await;
    let two = TestBroker::with(with_limit(&sandbox, 3)).await;
    for (broker, tenant) in [(&one, "m1"), (&two, "m2"), (&one, "m3")] {
        assert_eq!(put(broker, &sandbox, tenant).await.status, 201);
    }
    for broker in [&one, &two] {
        assert_full(&put(broker, &sandbox, "m4").await);
        assert_eq!(shown(broker, &sandbox).await, 3);
    }
    assert_eq!(delete(&two, &sandbox, "m1").await.status, 204);
    assert_eq!(put(&one, &sandbox, "m4").await.status, 201);
    assert_full(&put(&two, &sandbox, "m5").await);
}

#[rstest]
#[case::far(400, 2)]
#[case::near(26, 3)]
#[tokio::test]
async fn cf_is_asked_for_each_route_only_near_the_limit(#[case] limit: u64, #[case] calls: usize) {
    let sandbox = sandbox().await;
    let broker = TestBroker::with(with_limit(&sandbox, limit)).await;
    assert_eq!(put(&broker, &sandbox, "m1").await.status, 201);
    sandbox.clear_journal();
    assert_eq!(put(&broker, &sandbox, "m2").await.status, 201);
    assert_eq!(asked(&sandbox).len(), calls, "{:?}", asked(&sandbox));
}

#[tokio::test]
async fn a_write_through_the_proxy_lets_the_routes_be_counted_again() {
    let sandbox = sandbox().await;
    let broker = TestBroker::with(with_limit(&sandbox, 60)).await;
    // Far from the limit, so the count is kept.
    assert_eq!(put(&broker, &sandbox, "m0").await.status, 201);
    for index in 0..59 {
        let host = format!("v{index}-{APP}");
        sandbox.world().take_host(&host, DOMAIN, "dev").unwrap();
        if index > 0 {
            sandbox.world().map_host(&host, DOMAIN, APP).unwrap();
        }
    }
    let routes = sandbox.world().routes();
    let route = routes.iter().find(|route| route.host == format!("v0-{APP}")).unwrap();
    let writer = sandbox.caller_token("sb-bookshop!t4711", &["Api.Proxy", "Routes.Write"]);
    let path = format!("/v3/routes/{}/destinations", route.guid);
    let app = json!({"destinations": [{"app": {"guid": app_guid(&sandbox, APP)}}]});
    let got = broker.send(Method::POST, &path, Some(&writer), Some(&app)).await;
    assert_eq!(got.status, 200, "{}", got.text);
    assert_full(&put(&broker, &sandbox, "m1").await);
}
