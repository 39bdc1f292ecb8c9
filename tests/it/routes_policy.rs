//! What a provider entry changes: legacy routes, the approuter's pattern.

use std::collections::BTreeMap;

use cfapi_sandbox::Sandbox;
use http::Method;
use rstest::rstest;
use serde_json::{Value, json};

use crate::support::{APP, TestBroker, answer, client, pull, sandbox, variables};

const HOST: &str = "acme-saas-approuter";
const DOMAIN: &str = "cfapps.example.test";
const DEV: &str = "4d57c4e2-59ab-4b1f-a6f1-e18e43abcd3a";

/// Variables of a broker with one entry, which has these further members.
fn with_entry(sandbox: &Sandbox, more: &Value) -> BTreeMap<String, String> {
    let mut variables = variables(sandbox);
    let mut entry = json!({
        "client_ids": ["sb-bookshop!t4711"], "space": DEV, "apps": [APP], "domains": [DOMAIN],
    });
    entry.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    variables.insert("CFAPI_PROVIDERS".to_owned(), json!([entry]).to_string());
    variables
}

fn legacy_allowed() -> Value {
    json!({"allow_legacy_delete": true})
}

fn exists(sandbox: &Sandbox) -> bool {
    sandbox.world().routes().iter().any(|route| route.host == HOST)
}

/// A route as a provider's own code created it: mapped, without labels.
async fn legacy_route(sandbox: &Sandbox, app: &str) {
    let guid = sandbox.world().take_host(HOST, DOMAIN, "dev").unwrap();
    let apps = sandbox.world().apps();
    let app = &apps.iter().find(|one| one.name == app).unwrap().guid;
    let body = json!({"destinations": [{"app": {"guid": app}}]}).to_string();
    let token = pull_token(sandbox).await;
    let url = format!("{}/v3/routes/{guid}/destinations", sandbox.cf_url());
    let post = client().request(Method::POST, url).bearer_auth(token);
    let mapped = answer(post.header("content-type", "application/json").body(body)).await;
    assert_eq!(mapped.status, 200, "{}", mapped.text);
}

/// A token of the technical user, by its password.
async fn pull_token(sandbox: &Sandbox) -> String {
    let hint = r#"{"origin":"sandbox-platform"}"#;
    let form = url_form(&[
        ("grant_type", "password"),
        ("username", "technical.user@example.test"),
        ("password", "sandbox-only-p&ss w=rd%ü"),
        ("login_hint", hint),
    ]);
    let post = client().post(format!("{}/oauth/token", sandbox.uaa_url()));
    let post = post.basic_auth("cf", Some(""));
    let post = post.header("content-type", "application/x-www-form-urlencoded").body(form);
    let got = answer(post).await;
    got.json()["access_token"].as_str().unwrap_or_else(|| panic!("{}", got.text)).to_owned()
}

fn url_form(pairs: &[(&str, &str)]) -> String {
    form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish()
}

#[tokio::test]
async fn a_legacy_route_is_deleted_by_its_host_if_the_policy_allows_it() {
    let sandbox = sandbox().await;
    legacy_route(&sandbox, APP).await;
    let broker = TestBroker::with(with_entry(&sandbox, &legacy_allowed())).await;
    let token = sandbox.provider_token();
    assert_eq!(broker.delete("/routes/t1", &token).await.status, 204);
    assert!(exists(&sandbox), "without the parameters it stays");
    let path = "/routes/t1?subdomain=Acme&legacy=true";
    let gone = broker.delete(path, &token).await;
    assert_eq!(gone.status, 204, "{}", gone.text);
    assert!(!exists(&sandbox));
    assert_eq!(broker.delete(path, &token).await.status, 204);
}

#[rstest]
#[case::forbidden_by_policy(json!({}), APP)]
#[case::foreign_app(legacy_allowed(), "bookshop-approuter")]
#[tokio::test]
async fn a_legacy_route_that_may_belong_to_someone_else_stays(
    #[case] more: Value,
    #[case] app: &str,
) {
    let sandbox = sandbox().await;
    legacy_route(&sandbox, app).await;
    let broker = TestBroker::with(with_entry(&sandbox, &more)).await;
    let path = "/routes/t1?subdomain=acme&legacy=true";
    let kept = broker.delete(path, &sandbox.provider_token()).await;
    assert_eq!((kept.status, kept.code().as_str()), (409, "host_taken"), "{}", kept.text);
    let routes = sandbox.world().routes();
    let route = routes.iter().find(|route| route.host == HOST).unwrap();
    assert!(route.labels.is_empty());
}

#[tokio::test]
async fn a_route_of_another_space_or_tenant_is_not_a_legacy_route() {
    let sandbox = sandbox().await;
    let broker = TestBroker::with(with_entry(&sandbox, &legacy_allowed())).await;
    let token = sandbox.provider_token();
    sandbox.world().take_host("far-saas-approuter", DOMAIN, "other").unwrap();
    let far = broker.delete("/routes/t1?subdomain=far&legacy=true", &token).await;
    assert_eq!((far.status, far.code().as_str()), (409, "host_taken"), "{}", far.text);
    broker.put("/routes/t2", &token, &json!({"subdomain": "acme"})).await;
    let labelled = broker.delete("/routes/t1?subdomain=acme&legacy=true", &token).await;
    assert_eq!((labelled.status, labelled.code().as_str()), (409, "host_taken"));
    assert!(exists(&sandbox));
    let nameless = broker.delete("/routes/t1?legacy=true", &token).await;
    assert_eq!((nameless.status, nameless.code().as_str()), (400, "bad_request"));
}

#[tokio::test]
async fn a_slow_legacy_delete_is_waited_for_by_the_next_put() {
    let sandbox = sandbox().await;
    legacy_route(&sandbox, APP).await;
    let broker = TestBroker::with(with_entry(&sandbox, &legacy_allowed())).await;
    pull(&sandbox, "job_delay", &json!({"ms": 1200}));
    let token = sandbox.provider_token();
    let url = format!("{}/routes/t1?subdomain=acme&legacy=true", broker.base);
    let request = client().delete(url).header("prefer", "respond-async").bearer_auth(&token);
    assert_eq!(answer(request).await.status, 202);
    let back = broker.put("/routes/t1", &token, &json!({"subdomain": "acme"})).await;
    assert_eq!(back.status, 201, "{}", back.text);
    assert!(exists(&sandbox));
}

#[rstest]
#[case::documented("^(.*)-saas-approuter.cfapps.example.test", 201, "")]
#[case::escaped(r"^(.*)-saas-approuter\.cfapps\.example\.test$", 201, "")]
#[case::capital_letter("^(.*)-saas-Approuter.cfapps.example.test", 422, "host_pattern_mismatch")]
#[case::other_domain("^(.*)-saas-approuter.example.org", 422, "host_pattern_mismatch")]
#[tokio::test]
async fn a_host_in_which_the_approuter_finds_no_tenant_is_refused_without_a_call(
    #[case] pattern: &str,
    #[case] status: u16,
    #[case] code: &str,
) {
    let sandbox = sandbox().await;
    let entry = with_entry(&sandbox, &json!({"tenant_host_pattern": pattern}));
    let broker = TestBroker::with(entry).await;
    sandbox.clear_journal();
    let body = json!({"subdomain": "acme"});
    let got = broker.put("/routes/t1", &sandbox.provider_token(), &body).await;
    assert_eq!(got.status, status, "{}", got.text);
    if status == 422 {
        assert_eq!(got.code(), code);
        let detail = got.json()["detail"].as_str().unwrap().to_owned();
        let host = "acme-saas-approuter.cfapps.example.test";
        assert!(detail.contains(host) && detail.contains(pattern), "{detail}");
        let asked = sandbox.journal().into_iter().filter(|entry| entry.path == "/v3/routes");
        assert_eq!(asked.count(), 0);
    }
    assert_eq!(exists(&sandbox), status == 201);
}

#[tokio::test]
async fn a_recreated_provider_app_keeps_its_routes_and_deletes_them_all() {
    let sandbox = sandbox().await;
    let broker = TestBroker::with(with_entry(&sandbox, &json!({}))).await;
    let token = sandbox.provider_token();
    let body = json!({"subdomain": "acme", "app": APP});
    assert_eq!(broker.put("/routes/t1", &token, &body).await.status, 201);
    sandbox.world().remake_app(APP).unwrap();
    let again = broker.put("/routes/t1", &token, &body).await;
    assert_eq!((again.status, &again.json()["outcome"]), (200, &json!("unchanged")));
    sandbox.world().remake_app(APP).unwrap();
    assert_eq!(broker.delete("/routes/t1", &token).await.status, 204);
    assert!(!exists(&sandbox));
}

#[tokio::test]
async fn legacy_code_may_map_the_recreated_app() {
    let sandbox = sandbox().await;
    let broker = TestBroker::with(with_entry(&sandbox, &json!({}))).await;
    let body = json!({"subdomain": "acme", "app": APP});
    let made = broker.put("/routes/t1", &sandbox.provider_token(), &body).await;
    let route = made.json()["route"]["guid"].as_str().unwrap().to_owned();
    let guid = sandbox.world().remake_app(APP).unwrap();
    let token = sandbox.caller_token("sb-bookshop!t4711", &["Api.Proxy", "Routes.Write"]);
    let path = format!("/v3/routes/{route}/destinations");
    let body = json!({"destinations": [{"app": {"guid": guid}}]});
    let mapped = broker.send(Method::POST, &path, Some(&token), Some(&body)).await;
    assert_eq!(mapped.status, 200, "{}", mapped.text);
}
