//! Every error response of the broker is a problem document with a stable code.

use cfapi_sandbox::{PROVIDER_CLIENT, Part};
use http::Method;
use rstest::rstest;
use serde_json::json;

use crate::support::{APP, TestBroker, answer, client, sandbox};

#[rstest]
#[case(Method::GET, "/nowhere", 404, "not_found")]
#[case(Method::POST, "/health", 405, "method_not_allowed")]
#[case(Method::PATCH, "/routes/t1", 405, "method_not_allowed")]
#[tokio::test]
async fn paths_and_methods(
    #[case] method: Method,
    #[case] path: &str,
    #[case] status: u16,
    #[case] code: &str,
) {
    let sandbox = sandbox().await;
    let broker = TestBroker::start(&sandbox).await;
    let got = broker.send(method, path, Some(&sandbox.provider_token()), None).await;
    assert_eq!((got.status, got.code().as_str()), (status, code), "{}", got.text);
    assert_eq!(got.status == 405, got.headers.contains_key("allow"));
}

#[tokio::test]
async fn bodies_of_the_wrong_kind_form_or_size_are_refused_and_named() {
    let sandbox = sandbox().await;
    let broker = TestBroker::start(&sandbox).await;
    let token = sandbox.provider_token();
    let send = async |kind: &str, body: String| {
        let request = client().put(format!("{}/routes/t1", broker.base));
        answer(request.bearer_auth(&token).header("content-type", kind).body(body)).await
    };
    let json = "application/json";
    assert_eq!(send("text/plain", "{}".to_owned()).await.code(), "unsupported_media_type");
    assert_eq!(send(json, "{".to_owned()).await.code(), "bad_request");
    assert_eq!(send(json, "[]".to_owned()).await.code(), "bad_request");
    assert_eq!(send(json, "x".repeat(70_000)).await.code(), "too_large");
    let missing = send(json, json!({ "app": APP }).to_string()).await;
    assert_eq!((missing.status, missing.code().as_str()), (400, "bad_request"), "{}", missing.text);
    assert!(
        missing.json()["errors"][0]["field"].as_str().unwrap().contains("subdomain"),
        "{}",
        missing.text
    );
    assert_eq!(sandbox.journal().iter().filter(|entry| entry.part == Part::Cf).count(), 0);
}

/// Method and path, body, pointer of the member, and what the problem says of it.
#[rstest]
#[case::list("PUT /routes/t1", "[]", "#", "The body must be an object, but is a list.")]
#[case::type_of_member(
    "PUT /routes/t1",
    r#"{"subdomain":7}"#,
    "#/subdomain",
    "The member subdomain of the body must be a string, but is a number."
)]
#[case::payload(
    "POST /routes",
    r#"{"subscription":{"subscriber":{"app_tid":[]}}}"#,
    "#/subscription/subscriber/app_tid",
    "must be a string, but is a list."
)]
#[case::payload_as_list(
    "POST /routes",
    r#"{"subscription":[]}"#,
    "#/subscription",
    "but is a list."
)]
#[case::twice(
    "PUT /routes/t1",
    r#"{"subdomain":"a","subdomain":"b"}"#,
    "#/subdomain",
    "The member subdomain of the body is there twice."
)]
#[case::mistyped(
    "PUT /routes/t1",
    r#"{"subDomain":"acme"}"#,
    "#/subdomain",
    "The subdomain is missing or empty: the body must have subdomain, or subscribedSubdomain, or subscriber with \
     subaccountSubdomain. It has subDomain; did you mean subdomain?"
)]
#[case::two_subdomains(
    "PUT /routes/t1",
    r#"{"subdomain":"a","subscribedSubdomain":"b"}"#,
    "#/subdomain",
    "The subdomain is given twice, with different values."
)]
#[case::no_tenant(
    "POST /routes",
    r#"{"subdomain":"a","tenant":"t1"}"#,
    "#/tenantId",
    "did you mean tenantId?"
)]
#[case::odd_tenant(
    "POST /routes",
    r#"{"subdomain":"a","tenantId":"a/b"}"#,
    "#/tenantId",
    "must be 1 to 128 characters"
)]
#[case::tenants(
    "POST /routes/reconcile",
    r#"{"tenants":["t1"]}"#,
    "#/tenants/0",
    "The member tenants[0] of the body must be an object, but is a string."
)]
#[case::unknown(
    "POST /routes/reconcile",
    r#"{"tenant":[]}"#,
    "#/tenant",
    "The member tenant of the body is unknown; did you mean tenants? Known are tenants, app"
)]
#[case::entry(
    "POST /routes/reconcile",
    r#"{"tenants":[{"tenantId":"t1","subdomain":"a"},{"tenantId":"t2","sub_domain":"b"}]}"#,
    "#/tenants/1/subdomain",
    "did you mean subdomain? This is entry 1 of tenants."
)]
#[case::listed_twice(
    "POST /routes/reconcile",
    r#"{"tenants":[{"tenantId":"t1","subdomain":"a"},{"tenantId":"t1","subdomain":"b"}]}"#,
    "#/tenants/1",
    "The tenant is listed twice for the same app and domain"
)]
#[case::items(
    "POST /routes/batch",
    r#"{"items":[]}"#,
    "#/items",
    "The list items must have 1 to 100 entries."
)]
#[case::item(
    "POST /routes/batch",
    r#"{"items":[{"op":"ensure"},{"op":null}]}"#,
    "#/items/1/op",
    "The member items[1].op of the body must be a string, but is null."
)]
#[case::transfer_unknown(
    "POST /routes/transfer",
    r#"{"form":"a","to":"b"}"#,
    "#/form",
    "The member form of the body is unknown; did you mean from? Known are from, to, apply."
)]
#[case::transfer_missing(
    "POST /routes/transfer",
    r#"{"to":"b"}"#,
    "#/from",
    "The member from must name an owner"
)]
#[case::broken(
    "POST /routes/transfer",
    "{\n  \"from\": x}",
    "#",
    "The body is not valid JSON: syntax error at line 2, column 11."
)]
#[tokio::test]
async fn a_refused_body_says_which_member_is_wrong(
    #[case] request: &str,
    #[case] body: &'static str,
    #[case] pointer: &str,
    #[case] says: &str,
) {
    let sandbox = sandbox().await;
    let broker = TestBroker::start(&sandbox).await;
    let (method, path) = request.split_once(' ').unwrap();
    let request = client().request(method.parse().unwrap(), format!("{}{path}", broker.base));
    let scopes = ["Routes.Write", "Routes.Admin"];
    let request = request.bearer_auth(sandbox.caller_token(PROVIDER_CLIENT, &scopes));
    let got = answer(request.header("content-type", "application/json").body(body)).await;
    assert_eq!((got.status, got.code().as_str()), (400, "bad_request"), "{}", got.text);
    let problem = got.json();
    assert_eq!(problem["errors"].as_array().map(Vec::len), Some(1), "{}", got.text);
    assert_eq!(problem["errors"][0]["pointer"], pointer, "{}", got.text);
    assert!(problem["detail"].as_str().unwrap().contains(says), "{}", got.text);
    assert_eq!(sandbox.journal().iter().filter(|entry| entry.part == Part::Cf).count(), 0);
}

/// Each item has its own problem, whose pointer begins at the body.
#[tokio::test]
async fn an_item_of_a_batch_says_which_member_is_wrong() {
    let sandbox = sandbox().await;
    let broker = TestBroker::start(&sandbox).await;
    let body = json!({"items": [
        {"op": "ensure", "tenantId": "t1", "subdomain": "one", "app": APP},
        {"op": "insure", "tenantId": "t2"},
        {"op": "remove", "tenant_id": "t3"},
    ]});
    let token = sandbox.provider_token();
    let got = broker.send(Method::POST, "/routes/batch", Some(&token), Some(&body)).await;
    let results = got.json()["results"].clone();
    assert_eq!(results[0]["status"], 201, "{}", got.text);
    let pointer = |index: usize| results[index]["problem"]["errors"][0]["pointer"].clone();
    assert_eq!((pointer(1), pointer(2)), (json!("#/items/1/op"), json!("#/items/2/tenantId")));
    let detail = results[1]["problem"]["detail"].as_str().unwrap();
    assert_eq!(detail, "The member op must be ensure or remove.");
    let detail = results[2]["problem"]["detail"].as_str().unwrap();
    assert!(detail.ends_with("It has tenant_id; did you mean tenantId?"), "{detail}");
}

#[rstest]
#[case(
    "GET /routes?pgae=1",
    "pgae",
    "The query parameter pgae is unknown; did you mean page? Known are"
)]
#[case("GET /routes?page=x", "page", "The query parameter page must be a whole number from 0.")]
#[case("GET /routes?page=-1", "page", "must be a whole number from 0.")]
#[case("GET /routes?page=1&page=2", "page", "The query parameter page is there twice.")]
#[case("GET /routes?page=0", "page or its size", "must be 1 or more.")]
#[case("PUT /routes/t1?dry_run=1", "dry_run", "The query parameter dry_run must be true or false.")]
#[case(
    "DELETE /routes/t1?legacy=true",
    "subdomain",
    "legacy=true needs the query parameter subdomain."
)]
#[case("POST /routes/transfer?x=1", "x", "The query parameter x is unknown. None is known.")]
#[case(
    "GET /routes?a%20long%20name=1",
    "query",
    "A parameter of the query has an unknown name. Known are"
)]
#[tokio::test]
async fn a_refused_query_says_which_parameter_is_wrong(
    #[case] request: &str,
    #[case] field: &str,
    #[case] says: &str,
) {
    let sandbox = sandbox().await;
    let broker = TestBroker::start(&sandbox).await;
    let (method, path) = request.split_once(' ').unwrap();
    let scopes = ["Routes.Read", "Routes.Write", "Routes.Admin"];
    let token = sandbox.caller_token(PROVIDER_CLIENT, &scopes);
    let got = broker.send(method.parse().unwrap(), path, Some(&token), None).await;
    assert_eq!((got.status, got.code().as_str()), (400, "bad_request"), "{}", got.text);
    let problem = got.json();
    assert_eq!(problem["errors"][0]["field"], field, "{}", got.text);
    assert!(problem["errors"][0]["pointer"].is_null(), "{}", got.text);
    assert!(problem["detail"].as_str().unwrap().contains(says), "{}", got.text);
}

#[rstest]
#[case(json!({"subdomain": "acme"}), 400, "app_required")]
#[case(json!({"subdomain": "a_b", "app": APP}), 422, "host_invalid")]
#[case(json!({"subdomain": "a".repeat(63), "app": APP}), 422, "host_too_long")]
#[case(json!({"subdomain": "acme", "app": "nobody"}), 422, "app_not_found")]
#[case(json!({"subdomain": "acme", "app": APP, "domain": "nowhere.example.test"}), 403, "forbidden_domain")]
#[case(json!({"subdomain": "acme", "app": APP, "tenantId": "t2"}), 400, "tenant_mismatch")]
#[tokio::test]
async fn invalid_route_requests(
    #[case] body: serde_json::Value,
    #[case] status: u16,
    #[case] code: &str,
) {
    let sandbox = sandbox().await;
    let broker = TestBroker::start(&sandbox).await;
    let got = broker.put("/routes/t1", &sandbox.provider_token(), &body).await;
    assert_eq!((got.status, got.code().as_str()), (status, code), "{}", got.text);
}

#[tokio::test]
async fn a_tenant_id_with_odd_characters_is_named() {
    let sandbox = sandbox().await;
    let broker = TestBroker::start(&sandbox).await;
    let got = broker.delete("/routes/a!b", &sandbox.provider_token()).await;
    assert_eq!((got.status, got.code().as_str()), (400, "bad_request"), "{}", got.text);
}

#[tokio::test]
async fn the_correlation_id_of_the_caller_is_in_answer_problem_and_upstream_call() {
    let sandbox = sandbox().await;
    let broker = TestBroker::start(&sandbox).await;
    let request = client().get(format!("{}/routes/t1", broker.base));
    let request =
        request.bearer_auth(sandbox.provider_token()).header("x-correlationid", "my-id-1");
    let got = answer(request).await;
    assert_eq!(got.code(), "not_found");
    assert_eq!(got.headers["x-correlationid"], "my-id-1");
    assert_eq!(got.json()["correlation_id"], "my-id-1");
}
