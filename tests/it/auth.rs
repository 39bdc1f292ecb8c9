//! Authentication over HTTP, with tokens of the sandbox's XSUAA.

use cfapi_sandbox::Part;
use http::Method;
use rstest::rstest;

use crate::support::{TestBroker, answer, client, sandbox};

#[rstest]
#[case(Method::GET, "/routes")]
#[case(Method::GET, "/routes/t1")]
#[case(Method::PUT, "/routes/t1")]
#[case(Method::DELETE, "/routes/t1")]
#[case(Method::POST, "/routes")]
#[case(Method::GET, "/spaces")]
#[case(Method::GET, "/spaces/s1")]
#[case(Method::GET, "/status")]
#[case(Method::GET, "/metrics")]
#[tokio::test]
async fn without_a_valid_token_the_answer_is_401(#[case] method: Method, #[case] path: &str) {
    let sandbox = sandbox().await;
    let broker = TestBroker::start(&sandbox).await;
    let none = broker.send(method.clone(), path, None, None).await;
    assert_eq!((none.status, none.code().as_str()), (401, "unauthenticated"));
    assert_eq!(none.headers["www-authenticate"], "Bearer realm=\"cfapi-broker\"");
    let bad = broker.send(method, path, Some("a.b.c"), None).await;
    assert_eq!((bad.status, bad.code().as_str()), (401, "unauthenticated"));
    assert!(bad.headers["www-authenticate"].to_str().unwrap().contains("invalid_token"));
    assert_eq!(none.json()["detail"], bad.json()["detail"]);
    assert_eq!(sandbox.journal().iter().filter(|entry| entry.part == Part::Cf).count(), 0);
}

#[tokio::test]
async fn two_authorization_headers_are_refused() {
    let sandbox = sandbox().await;
    let broker = TestBroker::start(&sandbox).await;
    let token = format!("Bearer {}", sandbox.provider_token());
    let request = client().get(format!("{}/routes", broker.base));
    let got = answer(request.header("authorization", &token).header("authorization", &token)).await;
    assert_eq!(got.status, 401);
}

#[tokio::test]
async fn health_needs_no_token_and_reveals_nothing() {
    let sandbox = sandbox().await;
    let broker = TestBroker::start(&sandbox).await;
    let alive = broker.send(Method::GET, "/health", None, None).await;
    assert_eq!((alive.status, alive.text.as_str()), (200, r#"{"status":"UP"}"#));
    let ready = broker.send(Method::GET, "/health/ready", None, None).await;
    assert_eq!(ready.status, 200);
    assert_eq!(ready.json()["status"], "UP");
    for word in ["127.0.0.1", "technical.user", "CFAPI"] {
        assert!(!ready.text.contains(word), "{}", ready.text);
    }
}
