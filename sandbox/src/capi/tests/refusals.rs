//! Refusals, and the headers of every answer.

use axum::body::Body;
use http::{Method, Request};
use serde_json::json;

use crate::capi::tests::{TestAnswer, TestApi};
use crate::token::CfTokenSpec;

async fn ask(api: &TestApi, path: &str, headers: &[(&str, &str)]) -> TestAnswer {
    let request = headers
        .iter()
        .fold(Request::get(path), |request, (name, value)| request.header(*name, *value));
    api.raw(request.body(Body::empty()).unwrap()).await
}

#[tokio::test]
async fn a_missing_token_and_a_bad_token_have_different_errors() {
    let api = TestApi::new();
    let none = ask(&api, "/v3/routes", &[]).await;
    assert_eq!(none.refusal(), (401, 10_002, "Authentication error"));
    let bad = ask(&api, "/v3/routes", &[("authorization", "bearer x")]).await;
    assert_eq!(bad.refusal(), (401, 1000, "Invalid Auth Token"));
    api.tokens.end_all();
    assert_eq!(api.get("/v3/routes").await.refusal().1, 1000, "revoked");
}

#[tokio::test]
async fn scopes_are_checked_before_everything_else() {
    let api = TestApi::new();
    let spec =
        CfTokenSpec { scopes: vec!["cloud_controller.read".to_owned()], ..CfTokenSpec::default() };
    let bearer = format!("bearer {}", api.tokens.mint(&spec));
    let reader = TestApi { bearer, ..api };
    assert_eq!(reader.get("/v3/spaces").await.status, 200);
    let answer = reader.send(Method::POST, "/v3/routes", "{bad").await;
    assert_eq!(answer.refusal().1, 10_003);
}

#[tokio::test]
async fn an_unknown_path_or_method_is_404_with_and_without_a_token() {
    let api = TestApi::new();
    for (method, path) in [
        (Method::PUT, "/v3/routes"),
        (Method::OPTIONS, "/v3/routes"),
        (Method::POST, "/v3/jobs/x"),
        (Method::GET, "/v3/nope"),
    ] {
        let request = Request::builder().method(method).uri(path);
        let answer = api.raw(request.body(Body::empty()).unwrap()).await;
        assert_eq!(answer.refusal(), (404, 10_000, "Unknown request"), "{path}");
    }
    let old = ask(&api, "/v4", &[]).await;
    let body =
        json!({"description": "Unknown request", "error_code": "CF-NotFound", "code": 10_000});
    assert_eq!((old.status, &old.json), (404, &body));
}

#[tokio::test]
async fn the_root_documents_need_no_token_and_some_links_are_null() {
    let api = TestApi::new();
    let root = ask(&api, "/", &[]).await;
    assert_eq!(root.header("content-type"), Some("application/json;charset=utf-8"));
    assert!(root.json["links"]["credhub"].is_null());
    assert_eq!(root.json["links"]["login"]["href"], "http://uaa.sandbox.test");
    let v3 = ask(&api, "/v3", &[]).await;
    assert_eq!(v3.header("content-type"), Some("application/json; charset=utf-8"));
    let health = ask(&api, "/healthz", &[]).await;
    assert_eq!(
        (health.text.as_str(), health.header("content-type")),
        ("OK", Some("application/json"))
    );
}

#[tokio::test]
async fn a_used_up_limit_is_json_with_the_content_type_of_text() {
    let api = TestApi::new();
    api.world.rate_limit(Some(2), 192);
    let first = api.get("/v3/spaces").await;
    assert_eq!(first.header("x-ratelimit-limit"), Some("2"));
    assert_eq!(first.header("x-ratelimit-remaining"), Some("1"));
    assert_eq!(api.get("/v3/spaces").await.status, 200);
    let over = api.get("/v3/spaces").await;
    assert_eq!(over.refusal(), (429, 10_013, "Rate Limit Exceeded"));
    assert_eq!(over.header("content-type"), Some("text/plain; charset=utf-8"));
    let wait: u64 = over.header("retry-after").unwrap().parse().unwrap();
    assert!((190..=192).contains(&wait));
    assert!(over.header("x-ratelimit-reset").is_some());
    assert_eq!(api.get("/v4").await.text, "null");
    assert!(api.get("/v2/x").await.text.starts_with("{\"description\":"));
    assert_eq!(api.get("/v3").await.status, 200, "exempt");
    assert_eq!(api.get("/v3?x=1").await.status, 429, "exempt to the letter only");
    assert_eq!(api.acting_as("other@example.test").get("/v3/spaces").await.status, 200);
    api.world.rate_limit(None, 0);
    assert_eq!(api.get("/v3/spaces").await.header("x-ratelimit-limit"), None);
}

#[tokio::test]
async fn the_address_limit_applies_only_without_a_token() {
    let api = TestApi::new();
    api.world.rate_limit_addresses(Some(0), 60);
    let none = ask(&api, "/v3/info", &[]).await;
    assert_eq!((none.refusal().0, none.refusal().1), (429, 10_014));
    let bad = ask(&api, "/v3/spaces", &[("authorization", "bearer x")]).await;
    assert_eq!((bad.refusal().0, bad.refusal().1), (401, 1000));
    assert_eq!(bad.header("retry-after"), Some("60"));
    assert_eq!(api.get("/v3/spaces").await.status, 200);
}

#[tokio::test]
async fn odd_bytes_crash_as_recorded() {
    let api = TestApi::new();
    let answer = api.get("/v3/routes?hosts=%ff").await;
    assert_eq!(answer.status, 500);
    assert!(answer.text.starts_with("500 Internal Server Error\nIf you are the administrator"));
    for path in ["/v3/routes/a%00b", "/v3/routes?hosts=a%00"] {
        assert_eq!(api.get(path).await.refusal().1, 10_001, "{path}");
    }
}

#[tokio::test]
async fn a_request_id_is_cleaned_and_echoed() {
    let api = TestApi::new();
    let answer = ask(&api, "/v3", &[("x-vcap-request-id", "abc-1;2 3")]).await;
    let id = answer.header("x-vcap-request-id").unwrap();
    let (echo, uuid) = id.split_once("::").unwrap();
    assert_eq!((echo, uuid.len()), ("abc-123", 36));
    let long = "x".repeat(300);
    let answer = ask(&api, "/v3", &[("x-request-id", &long)]).await;
    assert!(
        answer.header("x-vcap-request-id").unwrap().starts_with(&format!("{}::", "x".repeat(255)))
    );
    let answer = ask(&api, "/v3", &[]).await;
    assert_eq!(answer.header("x-vcap-request-id").unwrap().len(), 36);
}

#[tokio::test]
async fn an_uncovered_call_has_its_own_answer() {
    let api = TestApi::new();
    let answer = api.get("/v3/service_brokers").await;
    assert_eq!((answer.status, answer.header("x-sandbox-uncovered")), (501, Some("true")));
}

#[tokio::test]
async fn route_sharing_is_switched_off() {
    let api = TestApi::new();
    let answer = api.send(Method::POST, "/v3/routes/x/relationships/shared_spaces", "{}").await;
    assert_eq!(answer.refusal(), (403, 330_002, "Feature Disabled: route_sharing"));
}

#[tokio::test]
async fn levers_are_pulled_by_name() {
    let api = TestApi::new();
    let pull = |lever: &str, args: serde_json::Value| api.world.pull(lever, &args);
    assert_eq!(pull("nonsense", json!({})), None);
    assert!(pull("take_host", json!({})).unwrap().is_err());
    let made = pull("take_host", json!({"host": "tenant"})).unwrap().unwrap();
    assert!(made["guid"].is_string());
    assert_eq!(api.create("tenant", "").await.status, 422);
    pull("set_role", json!({"user": "u", "space": "dev", "role": "auditor"})).unwrap().unwrap();
    assert_eq!(api.acting_as("u").create("x", "").await.status, 403);
    for (name, text) in crate::world::CfWorld::levers() {
        let args = match *name {
            "job_delay" => json!({"ms": 1}),
            "take_host" => json!({"host": "h2"}),
            "bind_route" => json!({"host": "tenant"}),
            "quota" => json!({"space": "dev", "n": 1}),
            "add_app" => json!({"name": "n", "space": "dev"}),
            "add_domain" => json!({"name": "n"}),
            "feature" => json!({"name": "task_creation"}),
            "reserve_host" => json!({"host": "h2", "domain": "cfapps.example.test"}),
            "set_role" => json!({"user": "u", "space": "dev", "role": "none"}),
            "suspend" | "space_deleting" => json!({"space": "dev"}),
            _ => json!({}),
        };
        assert!(pull(name, args).is_some_and(|done| done.is_ok()), "{name}: {text}");
    }
}
