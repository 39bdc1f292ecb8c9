//! Every error response of the broker is a problem document with a stable code.

use cfapi_sandbox::Part;
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
