//! `/v3`: what a client of the CF API sees when it calls the broker instead.

use std::{collections::BTreeSet, ops::Deref, time::Duration};

use cfapi_sandbox::{Part, Sandbox};
use http::Method;
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::{
    support::{APP, Answer, pull, sandbox},
    wire::Wire,
};

/// All scopes that the allow list's rows ask for.
pub(crate) const SCOPES: &[&str] = &["Api.Proxy", "Routes.Write"];

/// The client id of the caller.
pub(crate) const CLIENT: &str = "sb-bookshop!t4711";

/// A landscape, a broker in it, and a caller with both scopes.
pub(crate) struct Landscape(Wire);

impl Deref for Landscape {
    type Target = Wire;

    fn deref(&self) -> &Wire {
        &self.0
    }
}

impl Landscape {
    pub(crate) async fn start() -> Self {
        Self::with(&[]).await
    }

    /// The same with these settings of the broker.
    pub(crate) async fn with(settings: &[(&str, &str)]) -> Self {
        Self::within(sandbox().await, settings).await
    }

    /// The same in an existing landscape.
    pub(crate) async fn within(sandbox: Sandbox, settings: &[(&str, &str)]) -> Self {
        Self(Wire::within(sandbox, CLIENT, SCOPES, settings).await)
    }

    /// Waits until the broker knows CF's version. From then on it makes no call of its own.
    pub(crate) async fn warmed(self) -> Self {
        for _ in 0..200 {
            self.get("/v3").await;
            let root = self.broker.send(Method::GET, "/", None, None).await.json();
            if root["links"]["cloud_controller_v3"]["meta"]["version"].is_string() {
                self.sandbox.clear_journal();
                return self;
            }
            sleep(Duration::from_millis(10)).await;
        }
        panic!("the version never becomes known");
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.broker.get(path, &self.token).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        self.broker.send(Method::POST, path, Some(&self.token), Some(body)).await
    }

    pub(crate) async fn first(&self, path: &str) -> String {
        let listed = self.get(path).await;
        assert_eq!(listed.status, 200, "{}", listed.text);
        listed.json()["resources"][0]["guid"].as_str().unwrap().to_owned()
    }

    /// The body of a new route in the broker's own space on the shared domain.
    pub(crate) async fn route_body(&self, host: &str) -> Value {
        let space = self.first("/v3/spaces?names=dev").await;
        let domain = self.first("/v3/domains?names=cfapps.example.test").await;
        json!({"host": host, "relationships": {"space": {"data": {"guid": space}}, "domain": {"data": {"guid": domain}}}})
    }

    /// Calls to the CF API since the journal was cleared.
    pub(crate) fn calls(&self) -> Vec<String> {
        let journal = self.sandbox.journal();
        let cf = journal.iter().filter(|entry| entry.part == Part::Cf);
        cf.map(|entry| format!("{} {}", entry.method, entry.path)).collect()
    }
}

#[tokio::test]
async fn the_six_calls_of_provider_apps_work_with_another_url_and_token() {
    six_calls(&Landscape::start().await).await;
}

/// What provider apps do today: look up space, domain and app, create, map, find, delete, poll the
/// job.
pub(crate) async fn six_calls(cf: &Landscape) {
    let body = cf.route_body("acme-saas-approuter").await;
    let app = cf.first(&format!("/v3/apps?names={APP}")).await;

    let created = cf.post("/v3/routes", &body).await;
    assert_eq!(created.status, 201, "{}", created.text);
    let route = created.json()["guid"].as_str().unwrap().to_owned();
    let labels = created.json()["metadata"]["labels"].clone();
    assert_eq!(labels["cfapi-broker.internal/managed-by"], "cfapi-broker");
    assert!(labels.get("cfapi-broker.internal/tenant").is_none());

    let again = cf.post("/v3/routes", &body).await;
    assert_eq!((again.status, again.json()["errors"][0]["code"].as_u64()), (422, Some(10008)));
    assert_eq!(again.headers["proxy-status"], "cfapi-broker; received-status=422");

    let targets = json!({"destinations": [{"app": {"guid": app}}]});
    let mapped = cf.post(&format!("/v3/routes/{route}/destinations"), &targets).await;
    assert_eq!(mapped.status, 200, "{}", mapped.text);

    let found = cf.get(&format!("/v3/apps/{app}/routes?hosts=acme-saas-approuter")).await;
    assert_eq!(found.json()["pagination"]["total_results"], 1);

    let gone = cf.broker.delete(&format!("/v3/routes/{route}"), &cf.token).await;
    assert_eq!(gone.status, 202, "{}", gone.text);
    let job = gone.headers["location"].to_str().unwrap();
    let path = job.strip_prefix(&cf.broker.base).unwrap_or_else(|| panic!("{job}"));
    let job = cf.get(path).await;
    assert_eq!((job.status, job.json()["operation"].as_str()), (200, Some("route.delete")));
}

#[tokio::test]
async fn a_route_made_through_the_proxy_is_adopted_by_the_first_ensure() {
    let cf = Landscape::start().await;
    let body = cf.route_body("acme-saas-approuter").await;
    assert_eq!(cf.post("/v3/routes", &body).await.status, 201);
    let token = cf.sandbox.provider_token();
    let ensured =
        cf.broker.put("/routes/t1", &token, &json!({"subdomain": "acme", "app": APP})).await;
    assert_eq!(ensured.json()["outcome"], "adopted", "{}", ensured.text);
}

pub(crate) fn hrefs(value: &Value) -> Vec<String> {
    match value {
        Value::Object(members) => members
            .iter()
            .flat_map(|(name, value)| match value {
                Value::String(text) if name == "href" => vec![text.clone()],
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Vec::new(),
                Value::Array(_) | Value::Object(_) => hrefs(value),
            })
            .collect(),
        Value::Array(items) => items.iter().flat_map(hrefs).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Vec::new(),
    }
}

#[tokio::test]
async fn a_client_that_follows_next_walks_all_pages_through_the_broker() {
    let cf = Landscape::start().await;
    let mut seen = Vec::new();
    let mut path = "/v3/spaces?per_page=1".to_owned();
    loop {
        let page = cf.get(&path).await.json();
        seen.push(page["resources"][0]["name"].as_str().unwrap().to_owned());
        let Some(next) = page["pagination"]["next"]["href"].as_str() else { break };
        path = next.strip_prefix(&cf.broker.base).unwrap().to_owned();
    }
    assert!(seen.len() >= 2, "{seen:?}");
}

#[tokio::test]
async fn answers_carry_only_listed_headers() {
    let cf = Landscape::start().await;
    let fault = json!({"part": "cf", "n": 1, "only": "/v3/apps", "status": 200, "body": "{\"a\":1}", "headers": {
        "Content-Type": "application/json", "Set-Cookie": "a=b", "WWW-Authenticate": "Bearer", "Server": "nginx",
        "X-USER-GUID": "u", "X-Runtime": "1", "Strict-Transport-Security": "max-age=1", "Access-Control-Allow-Origin": "*",
        "Location": "https://evil.example/", "X-Cf-Warnings": "old", "ETag": "\"e\"", "X-RateLimit-Limit": "20000"}});
    pull(&cf.sandbox, "fail_next", &fault);
    let answer = cf.get("/v3/apps").await;
    assert_eq!((answer.status, answer.text.as_str()), (200, "{\"a\":1}"));
    let names: BTreeSet<_> = answer.headers.keys().map(http::HeaderName::as_str).collect();
    let expected = [
        "cache-control",
        "content-length",
        "content-type",
        "date",
        "etag",
        "proxy-status",
        "x-cf-warnings",
        "x-content-type-options",
        "x-correlationid",
        "x-ratelimit-limit",
    ];
    assert_eq!(names, BTreeSet::from(expected));
}

#[tokio::test]
async fn a_write_outside_the_bounds_is_denied_and_not_sent() {
    let cf = Landscape::start().await;
    let good = cf.route_body("acme-saas-approuter").await;
    assert_eq!(cf.post("/v3/routes", &good).await.status, 201);
    let foreign = |pointer: &str, value: Value| {
        let mut body = good.clone();
        *body.pointer_mut(pointer).unwrap() = value;
        body
    };
    let mut with_label = good.clone();
    with_label["metadata"] = json!({"labels": {"cfapi-broker.internal/owner": "x"}});
    let mut with_path = good.clone();
    with_path["path"] = json!("/x");
    let cases = [
        foreign("/relationships/space/data/guid", json!("1b2f0a3c-0000-4000-8000-000000000001")),
        foreign("/relationships/domain/data/guid", json!("1b2f0a3c-0000-4000-8000-000000000001")),
        foreign("/host", json!("*")),
        foreign("/host", json!("Acme-saas-approuter")),
        foreign("/host", json!("acme")),
        foreign("/host", json!("www")),
        with_label,
        with_path,
    ];
    cf.sandbox.clear_journal();
    for body in cases {
        let denied = cf.post("/v3/routes", &body).await;
        assert_eq!((denied.status, denied.code().as_str()), (403, "denied_by_policy"), "{body}");
    }
    for body in [json!({"host": "x"}), json!({"host": "x-y", "options": {}}), json!([])] {
        let refused = cf.post("/v3/routes", &body).await;
        assert_eq!((refused.status, refused.code().as_str()), (400, "bad_request"), "{body}");
    }
    for (method, path) in [
        (Method::DELETE, "/v3/spaces/1b2f/routes?unmapped=true"),
        (Method::PATCH, "/v3/routes/1b2f"),
        (Method::GET, "/v3/apps/1b2f/env"),
        (Method::POST, "/v3/roles"),
        (Method::DELETE, "/v3/apps/1b2f"),
    ] {
        let denied = cf.broker.send(method, path, Some(&cf.token), None).await;
        assert_eq!((denied.status, denied.code().as_str()), (403, "denied_by_policy"), "{path}");
    }
    assert_eq!(cf.calls(), Vec::<String>::new());
}

#[tokio::test]
async fn another_owners_route_can_neither_be_mapped_nor_deleted() {
    let cf = Landscape::start().await;
    let body = cf.route_body("acme-saas-approuter").await;
    let route = cf.post("/v3/routes", &body).await.json()["guid"].as_str().unwrap().to_owned();
    let app = cf.first(&format!("/v3/apps?names={APP}")).await;
    let other = cf.sandbox.caller_token("sb-other!t1", SCOPES);
    cf.sandbox.clear_journal();
    let path = format!("/v3/routes/{route}");
    let denied = cf.broker.delete(&path, &other).await;
    assert_eq!((denied.status, denied.code().as_str()), (403, "denied_by_policy"));
    let targets = json!({"destinations": [{"app": {"guid": app}}]});
    let denied = cf
        .broker
        .send(Method::POST, &format!("{path}/destinations"), Some(&other), Some(&targets))
        .await;
    assert_eq!((denied.status, denied.code().as_str()), (403, "denied_by_policy"));
    let calls = cf.calls();
    assert!(calls.iter().all(|call| call.starts_with("GET ")), "{calls:?}");
    assert_eq!(cf.broker.delete(&path, &cf.token).await.status, 202);
}

#[tokio::test]
async fn a_route_that_cf_does_not_know_is_cfs_own_404() {
    let cf = Landscape::start().await;
    let gone = cf.broker.delete("/v3/routes/1b2f0a3c-0000-4000-8000-000000000001", &cf.token).await;
    assert_eq!(
        (gone.status, gone.json()["errors"][0]["code"].as_u64()),
        (404, Some(10010)),
        "{}",
        gone.text
    );
}

#[tokio::test]
async fn only_scopes_open_rows() {
    let cf = Landscape::start().await;
    let body = cf.route_body("acme-saas-approuter").await;
    let reader = cf.sandbox.caller_token(CLIENT, &["Api.Proxy"]);
    assert_eq!(cf.broker.get("/v3/apps", &reader).await.status, 200);
    let denied = cf.broker.send(Method::POST, "/v3/routes", Some(&reader), Some(&body)).await;
    assert_eq!((denied.status, denied.code().as_str()), (403, "forbidden_scope"));
    let writer = cf
        .sandbox
        .caller_token(CLIENT, &["Routes.Write", "Routes.Read", "Spaces.Read", "Routes.Admin"]);
    let denied = cf.broker.get("/v3/apps", &writer).await;
    assert_eq!((denied.status, denied.code().as_str()), (403, "forbidden_scope"));
    let anonymous = cf.broker.send(Method::GET, "/v3/apps", None, None).await;
    assert_eq!((anonymous.status, anonymous.code().as_str()), (401, "unauthenticated"));
}

#[tokio::test]
async fn a_credential_in_the_query_is_refused() {
    let cf = Landscape::start().await;
    let path = format!("/v3/apps?access_token={}", cf.token);
    assert_eq!(cf.broker.send(Method::GET, &path, None, None).await.status, 401);
    let refused = cf.get("/v3/apps?Access_Token=t").await;
    assert_eq!((refused.status, refused.code().as_str()), (400, "malformed_path"));
}

#[tokio::test]
async fn the_public_root_names_the_broker_and_the_version_of_cf() {
    let cf = Landscape::start().await.warmed().await;
    let root = cf.broker.send(Method::GET, "/", None, None).await.json();
    assert_eq!(root["links"]["cloud_controller_v3"]["href"], format!("{}/v3", cf.broker.base));
    let version = root["links"]["cloud_controller_v3"]["meta"]["version"].as_str().unwrap();
    assert!(version.starts_with("3."), "{version}");
    assert!(hrefs(&root).iter().all(|link| link.starts_with(&cf.broker.base)), "{root}");
}

#[tokio::test]
async fn cfs_own_refusals_pass_and_pages_of_a_router_do_not() {
    let cf = Landscape::start().await;
    cf.get("/v3").await;
    let fail = |fault: Value| {
        let mut fault = fault;
        fault["part"] = json!("cf");
        fault["n"] = json!(3);
        fault["only"] = json!("/v3/apps");
        pull(&cf.sandbox, "fail_next", &fault);
    };
    let errors =
        r#"{"errors":[{"code":10010,"title":"CF-ResourceNotFound","detail":"see https://api"}]}"#;
    fail(json!({"status": 404, "body": errors, "headers": {"Content-Type": "application/json"}}));
    let passed = cf.get("/v3/apps").await;
    assert_eq!((passed.status, passed.text.as_str()), (404, errors));
    pull(&cf.sandbox, "clear", &json!({"part": "cf"}));
    fail(
        json!({"status": 404, "body": "404 Not Found: Requested route does not exist.", "headers": {"X-Cf-RouterError": "unknown_route"}}),
    );
    let router = cf.get("/v3/apps").await;
    assert_eq!((router.status, router.code().as_str()), (503, "cf_unavailable"));
    assert!(router.headers.contains_key("retry-after"));
    pull(&cf.sandbox, "clear", &json!({"part": "cf"}));
    fail(
        json!({"status": 200, "body": "x", "headers": {"Content-Encoding": "gzip", "Content-Type": "application/json"}}),
    );
    let packed = cf.get("/v3/apps").await;
    assert_eq!((packed.status, packed.code().as_str()), (502, "cf_error"));
    pull(&cf.sandbox, "clear", &json!({"part": "cf"}));
    assert_eq!(packed.json()["retryable"], false);
}
