//! The router as the app builds it, without a socket: for states that a request over a port cannot
//! hit reliably.

use super::Broker;
use crate::{
    config::{self, Flags, env::EnvSnapshot},
    http::router,
};
use axum::{body::Body, response::Response};
use http::{Request, StatusCode, header::HOST};
use http_body_util::BodyExt as _;
use rstest::rstest;
use serde_json::{Value, json};
use tower::ServiceExt as _;

async fn built(variables: &[(&str, &str)]) -> Broker {
    let usual = [("PORT", "0"), ("CFAPI_SERVER__ADDRESS", "127.0.0.1")];
    let snapshot = EnvSnapshot::from_vars(usual.into_iter().chain(variables.iter().copied()));
    let loaded = config::load(&snapshot, &Flags::default()).unwrap();
    Broker::build(loaded.settings, &snapshot).await.unwrap()
}

async fn asked(broker: &Broker, path: &str) -> Response {
    let request = Request::get(path).header(HOST, "localhost").body(Body::empty()).unwrap();
    router(&broker.state).oneshot(request).await.unwrap()
}

#[expect(clippy::disallowed_methods, reason = "tests read what the broker wrote")]
async fn read(answer: Response) -> Value {
    let bytes = answer.into_body().collect().await.unwrap().to_bytes();
    serde_json::from_slice(&bytes).unwrap()
}

#[tokio::test]
async fn while_stopping_probes_are_answered_and_other_requests_are_503() {
    let broker = built(&[]).await;
    broker.state.readiness.set_listening();
    assert_eq!(asked(&broker, "/health/ready").await.status(), StatusCode::OK);
    broker.stopper().cancel();
    assert_eq!(asked(&broker, "/health").await.status(), StatusCode::OK);
    assert_eq!(asked(&broker, "/health/ready").await.status(), StatusCode::SERVICE_UNAVAILABLE);
    for path in ["/", "/routes", "/v3/apps", "/spaces"] {
        let answer = asked(&broker, path).await;
        assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE, "{path}");
        assert_eq!(answer.headers()["retry-after"], "1", "{path}");
        assert_eq!(answer.headers()["connection"], "close", "{path}");
        assert_eq!(read(answer).await["code"], "draining", "{path}");
    }
}

#[rstest]
#[case::own("/panic")]
#[case::cf("/v3/panic")]
#[tokio::test]
async fn a_panic_in_a_handler_is_500_without_its_text_and_the_next_request_is_served(
    #[case] path: &str,
) {
    let broker = built(&[]).await;
    let answer = asked(&broker, path).await;
    assert_eq!(answer.status(), StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(answer.headers()["content-type"], "application/problem+json");
    let correlation = answer.headers()["x-correlationid"].to_str().unwrap().to_owned();
    let body = read(answer).await;
    assert_eq!((&body["code"], &body["correlation_id"]), (&json!("internal"), &json!(correlation)));
    assert!(!body.to_string().contains("canary"), "{body}");
    assert_eq!(asked(&broker, "/health").await.status(), StatusCode::OK);
}

const NAMED: &str = r#"["broker.cfapps.example.test","second.example.test"]"#;

#[rstest]
#[case::away_from_the_platform("", "[]", "http://localhost:PORT")]
#[case::loopback("", r#"["127.0.0.1"]"#, "http://127.0.0.1:PORT")]
#[case::first_route_of_the_app("", NAMED, "https://broker.cfapps.example.test")]
#[case::configured("named.example.test", NAMED, "https://named.example.test")]
#[tokio::test]
async fn links_use_the_configured_name_else_the_first_route_of_the_app(
    #[case] names: &str,
    #[case] uris: &str,
    #[case] expected: &str,
) {
    let application = format!(
        r#"{{"application_id":"a","application_name":"broker","application_uris":{uris},"space_id":"s","organization_id":"o"}}"#
    );
    let broker = built(&[("VCAP_APPLICATION", &application), ("CFAPI_SERVER__NAMES", names)]).await;
    let port = broker.address().port().to_string();
    assert_eq!(*broker.state.base.0, *expected.replace("PORT", &port));
}

#[rstest]
#[case::internal_first(
    r#"["x.apps.internal","broker.example.test"]"#,
    "https://broker.example.test"
)]
#[case::only_internal(r#"["x.apps.internal"]"#, "https://x.apps.internal")]
#[tokio::test]
async fn links_lead_to_a_public_host_if_there_is_one(#[case] uris: &str, #[case] base: &str) {
    let application =
        format!(r#"{{"cf_api":"https://api.cf.example.test","application_uris":{uris}}}"#);
    let broker = built(&[("VCAP_APPLICATION", &application)]).await;
    assert_eq!(&*broker.state.base.0, base);
}
