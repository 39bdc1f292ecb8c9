//! The proxy against a scripted CF API: the order of its calls, and invalid responses.

use super::{Proxy, ProxyError, WriteAudit};
use crate::{
    auth::{Caller, Scope},
    capi::{
        CapiError,
        support::{Reply, ScriptedCf, accepted, cf_error, list},
    },
    policy::{
        AppBounds, Bounds, HostPiece, HostShape, Legacy, Outline, OwnerMarks, Policy, RequestLine,
        RuleOutcome, Verdict,
        path::{UpstreamPath, UpstreamQuery},
    },
    telemetry::{audit::AuditTrail, metrics::Metrics, trace::CorrelationId},
};
use http::{Method, Response, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::Body as _;
use rstest::rstest;
use std::{collections::BTreeMap, time::Duration};
use tokio::time::Instant;

const ROUTE: &str = "/v3/routes/r1";
const APP: &str = r#"{"guid":"a1","name":"shop","relationships":{"space":{"data":{"guid":"s1"}}}}"#;

fn pair(key: &str, value: &str) -> (String, String) {
    (key.to_owned(), value.to_owned())
}

/// Any app of the space, also unmarked routes.
fn bounds() -> Bounds {
    Bounds {
        space: "s1".to_owned(),
        domains: vec!["d1".to_owned()],
        apps: AppBounds::AnyBut { name: None, guid: None },
        outline: Outline {
            hosts: vec![HostShape::new(vec![HostPiece::Any])],
            ..Outline::default()
        },
        marks: OwnerMarks {
            prefix: "b.c".to_owned(),
            labels: BTreeMap::new(),
            annotations: BTreeMap::new(),
            owner_label: pair("b.c/owner", "hash"),
            owner_annotation: pair("b.c/owner-id", "client"),
        },
        legacy: Legacy { map: true, delete: true },
    }
}

fn route(metadata: &str) -> Reply {
    let relationships =
        r#""relationships":{"space":{"data":{"guid":"s1"}},"domain":{"data":{"guid":"d1"}}}"#;
    let targets = r#""destinations":[{"guid":"t1","app":{"guid":"a1"}}]"#;
    let body = format!(
        r#"{{"guid":"r1","host":"acme","path":"","url":"acme.x",{targets},{relationships},"metadata":{metadata}}}"#
    );
    Reply::json("200 OK", &body)
}

fn marked() -> Reply {
    route(r#"{"labels":{"b.c/owner":"hash"},"annotations":{"b.c/owner-id":"client"}}"#)
}

fn unmarked() -> Reply {
    route(r#"{"labels":{},"annotations":{}}"#)
}

fn admitted(method: Method, path: &str) -> RuleOutcome {
    let path = UpstreamPath::parse(path).unwrap();
    let line = RequestLine { method, path, query: UpstreamQuery::parse(None).unwrap() };
    let caller = Caller::for_tests("client", &Scope::ALL);
    Policy::shipped().unwrap().admit(&caller, line).unwrap()
}

fn verdict(method: Method, path: &str, body: &str) -> Verdict {
    let RuleOutcome::Write(draft) = admitted(method, path) else { panic!("no write") };
    draft.read(body.as_bytes()).unwrap().check_bounds(&bounds()).unwrap()
}

fn proxy(cf: &ScriptedCf) -> Proxy {
    Proxy::new("https://broker.test".into(), cf.tasks.clone(), Metrics::default())
}

async fn write(
    cf: &ScriptedCf,
    verdict: Verdict,
) -> Result<Response<super::ProxyBody>, ProxyError> {
    write_within(cf, verdict, Duration::from_secs(30)).await
}

async fn write_within(
    cf: &ScriptedCf,
    verdict: Verdict,
    within: Duration,
) -> Result<Response<super::ProxyBody>, ProxyError> {
    let (caller, id) = (Caller::for_tests("client", &[]), CorrelationId::random());
    let audit = WriteAudit::new(&caller, &id, AuditTrail::default(), |_| (StatusCode::OK, ""));
    proxy(cf)
        .write(verdict, cf.request_client().with_deadline(Instant::now() + within), audit)
        .await
}

async fn read(
    cf: &ScriptedCf,
    method: Method,
    path: &str,
) -> Result<Response<super::ProxyBody>, ProxyError> {
    let RuleOutcome::Granted(permit) = admitted(method, path) else { panic!("no read") };
    proxy(cf).forward(&permit, &cf.request_client()).await
}

#[tokio::test]
async fn a_marked_route_is_read_and_deleted_right_after() {
    let cf = ScriptedCf::answering([marked(), accepted("j1")]).await;
    let answer = write(&cf, verdict(Method::DELETE, ROUTE, "")).await.unwrap();
    assert_eq!(answer.status(), 202);
    assert_eq!(cf.calls(), ["GET /v3/routes/r1", "DELETE /v3/routes/r1"]);
}

#[tokio::test]
async fn an_unmarked_route_is_read_again_after_its_apps() {
    let cf = ScriptedCf::answering([unmarked(), list(&[APP]), unmarked(), accepted("j1")]).await;
    write(&cf, verdict(Method::DELETE, ROUTE, "")).await.unwrap();
    let apps = "GET /v3/apps?guids=a1&per_page=1000";
    assert_eq!(
        cf.calls(),
        ["GET /v3/routes/r1", apps, "GET /v3/routes/r1", "DELETE /v3/routes/r1"]
    );
}

#[tokio::test]
async fn a_route_that_changed_its_owner_meanwhile_stays() {
    let taken = route(r#"{"labels":{"b.c/owner":"other"},"annotations":{}}"#);
    let cf = ScriptedCf::answering([unmarked(), list(&[APP]), taken]).await;
    let error = write(&cf, verdict(Method::DELETE, ROUTE, "")).await.unwrap_err();
    assert!(matches!(error, ProxyError::Denied(_)), "{error:?}");
    assert_eq!(cf.calls().len(), 3);
}

#[tokio::test]
async fn apps_that_the_caller_names_are_read_before_the_route() {
    let cf = ScriptedCf::answering([list(&[APP]), marked(), Reply::json("200 OK", "{}")]).await;
    let (path, body) =
        ("/v3/routes/r1/destinations", r#"{"destinations":[{"app":{"guid":"a1"}}]}"#);
    write(&cf, verdict(Method::POST, path, body)).await.unwrap();
    let apps = "GET /v3/apps?guids=a1&per_page=1000";
    assert_eq!(cf.calls(), [apps, "GET /v3/routes/r1", "POST /v3/routes/r1/destinations"]);
}

#[tokio::test]
async fn a_delete_is_not_repeated_automatically() {
    let unavailable = cf_error("503 Service Unavailable", 10015, "x");
    let cf = ScriptedCf::answering([marked(), unavailable, accepted("j1")]).await;
    let answer = write(&cf, verdict(Method::DELETE, ROUTE, "")).await.unwrap();
    assert_eq!(answer.status(), 503);
    assert_eq!(cf.calls().len(), 2);
}

const CREATE: &str = r#"{"host":"acme","relationships":{"space":{"data":{"guid":"s1"}},"domain":{"data":{"guid":"d1"}}}}"#;

#[rstest]
#[case::hung_up(Reply::Hangup)]
#[case::no_answer(Reply::Bytes(b"HTTP/1.1 201 Created\r\nContent-Length: 9\r\n\r\n{".to_vec()))]
#[case::no_http(Reply::Bytes(b"HTTP/1.1 201 Created\r\nContent-Length: x\r\n\r\n".to_vec()))]
#[tokio::test]
async fn a_create_without_a_response_has_no_known_outcome(#[case] reply: Reply) {
    let cf = ScriptedCf::answering([reply, Reply::json("201 Created", "{}")]).await;
    let error = write(&cf, verdict(Method::POST, "/v3/routes", CREATE)).await.unwrap_err();
    assert!(matches!(error, ProxyError::Unclear(_)), "{error:?}");
    assert_eq!(cf.calls().len(), 1);
}

#[tokio::test]
async fn a_create_that_outlasts_its_request_continues_and_has_no_known_outcome() {
    let cf = ScriptedCf::answering([Reply::Silence]).await;
    let verdict = verdict(Method::POST, "/v3/routes", CREATE);
    let error = write_within(&cf, verdict, Duration::from_millis(300)).await.unwrap_err();
    assert!(matches!(error, ProxyError::Unclear(CapiError::Timeout { .. })), "{error:?}");
    assert_eq!(cf.calls(), ["POST /v3/routes"]);
    assert!(!cf.tasks.is_empty(), "it was given up");
}

#[tokio::test]
async fn a_small_page_that_breaks_off_is_an_unreadable_answer() {
    let json = "Content-Type: application/json\r\nContent-Length: 9\r\n";
    let cut = Reply::Bytes(format!("HTTP/1.1 200 OK\r\n{json}\r\n{{").into());
    let cf = ScriptedCf::answering([cut, Reply::json("200 OK", "{}")]).await;
    let error = read(&cf, Method::GET, "/v3/apps").await.unwrap_err();
    assert!(matches!(error, ProxyError::Capi(CapiError::Unreadable { .. })), "{error:?}");
    assert_eq!(cf.calls().len(), 1);
}

#[rstest]
#[case::not_found("404 Not Found")]
#[case::failed("500 Internal Server Error")]
#[tokio::test]
async fn an_error_page_that_is_cfs_response_passes_unchanged(#[case] status: &str) {
    let page = Reply::with_headers(status, "Content-Type: text/html\r\n", b"<html>");
    let cf = ScriptedCf::answering(vec![page; 3]).await;
    let answer = read(&cf, Method::GET, "/v3/apps").await.unwrap();
    assert!(status.starts_with(answer.status().as_str()));
    assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "<html>");
    assert_eq!(cf.calls().len(), if status.starts_with("500") { 3 } else { 1 });
}

#[rstest]
#[case::text("text/plain", Some("9"))]
#[case::links_whose_length_changes("application/json", None)]
#[tokio::test]
async fn the_response_to_head_has_the_length_if_it_is_known(
    #[case] kind: &str,
    #[case] expected: Option<&str>,
) {
    let head = format!("HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: 9\r\n\r\n");
    let cf = ScriptedCf::answering([Reply::Bytes(head.into())]).await;
    let answer = read(&cf, Method::HEAD, "/v3/apps").await.unwrap();
    let length = answer.headers().get("content-length").map(|value| value.to_str().unwrap());
    assert_eq!(length, expected);
    assert_eq!(answer.body().size_hint().exact(), None);
}
