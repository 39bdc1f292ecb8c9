//! Problems below `/v3` have CF's form too, because clients of the CF API show nothing else.

use std::time::Duration;

use cfapi_sandbox::Part;
use http::Method;
use rstest::rstest;
use serde_json::json;

use crate::{
    proxy::{CLIENT, Landscape},
    support::{Answer, TestBroker, answer, client, pull, sandbox, tenant::until, variables},
};

const NOT_AUTHORIZED: (u64, &str) = (10_003, "CF-NotAuthorized");
const BAD_REQUEST: (u64, &str) = (1004, "CF-BadRequest");

#[track_caller]
fn assert_cf(got: &Answer, status: u16, code: &str, expected: (u64, &str)) {
    assert_eq!((got.status, got.code().as_str()), (status, code), "{}", got.text);
    let (number, title) = got.cf_error();
    assert_eq!((number, title.as_str()), expected, "{}", got.text);
}

/// Refusals of the head and of the body, most of them made before the handler.
#[rstest]
#[case::path("GET /v3//apps", &[], "", (400, "malformed_path"), BAD_REQUEST)]
#[case::query("GET /v3/apps?a=%zz", &[], "", (400, "malformed_path"), BAD_REQUEST)]
#[case::credential("GET /v3/apps?access_token=x", &[], "", (400, "malformed_path"), BAD_REQUEST)]
#[case::version_root("OPTIONS /v3", &[], "", (405, "method_not_allowed"), (10_000, "CF-NotFound"))]
#[case::method("TRACE /v3/apps", &[], "", (405, "method_not_allowed"), (10_000, "CF-NotFound"))]
#[case::host("GET /v3/apps", &[("host", "evil.example")], "", (421, "misdirected"), BAD_REQUEST)]
#[case::expect("GET /v3/apps", &[("expect", "more")], "", (417, "expectation_failed"), BAD_REQUEST)]
#[case::encoding("POST /v3/routes", &[("content-encoding", "gzip")], "{}", (415, "unsupported_media_type"), (1003, "CF-InvalidContentType"))]
#[case::kind("POST /v3/routes", &[("content-type", "text/plain")], "{}", (415, "unsupported_media_type"), (1003, "CF-InvalidContentType"))]
#[case::body_of_a_read("GET /v3/apps", &[], "{}", (400, "bad_request"), BAD_REQUEST)]
#[case::no_row("GET /v3/users", &[], "", (403, "denied_by_policy"), NOT_AUTHORIZED)]
#[tokio::test]
async fn a_refused_request_has_one_error_in_cfs_form(
    #[case] line: &str,
    #[case] headers: &[(&str, &str)],
    #[case] body: &'static str,
    #[case] (status, code): (u16, &str),
    #[case] expected: (u64, &str),
) {
    let cf = Landscape::start().await;
    let (method, path) = line.split_once(' ').unwrap();
    let request = client().request(method.parse().unwrap(), format!("{}{path}", cf.broker.base));
    let request =
        headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    let request = if body.is_empty() { request } else { request.body(body) };
    assert_cf(&answer(request.bearer_auth(&cf.token)).await, status, code, expected);
}

#[tokio::test]
async fn a_body_or_a_query_that_is_too_long_is_refused_in_cfs_form() {
    let cf = Landscape::start().await;
    let long = json!({"host": "a".repeat(70_000)});
    assert_cf(&cf.post("/v3/routes", &long).await, 413, "too_large", BAD_REQUEST);
    let got = cf.get(&format!("/v3/apps?names={}", "a".repeat(5000))).await;
    assert_cf(&got, 414, "uri_too_long", BAD_REQUEST);
}

#[tokio::test]
async fn a_missing_token_and_a_bad_token_have_cfs_two_numbers() {
    let cf = Landscape::start().await;
    let missing = cf.broker.send(Method::GET, "/v3/apps", None, None).await;
    assert_cf(&missing, 401, "unauthenticated", (10_002, "CF-NotAuthenticated"));
    let bad = cf.broker.get("/v3/apps", "a.b.c").await;
    assert_cf(&bad, 401, "unauthenticated", (1000, "CF-InvalidAuthToken"));
    let weak = cf.sandbox.caller_token(CLIENT, &["Routes.Write"]);
    let weak = cf.broker.get("/v3/apps", &weak).await;
    assert_cf(&weak, 403, "forbidden_scope", NOT_AUTHORIZED);
}

/// The broker's own list of wrong members keeps its name on its own paths, and has another one
/// where `errors` is CF's.
#[tokio::test]
async fn the_wrong_members_of_a_body_have_a_name_of_their_own_below_v3() {
    let cf = Landscape::start().await;
    let got = cf.post("/v3/routes", &json!({"hots": "x"})).await;
    assert_cf(&got, 400, "bad_request", BAD_REQUEST);
    assert_eq!(got.json()["field_errors"][0]["field"], "body", "{}", got.text);
    let token = cf.sandbox.provider_token();
    let own = cf.broker.put("/routes/t1", &token, &json!({})).await;
    assert_eq!(own.code(), "bad_request");
    assert!(own.json()["errors"][0]["field"].is_string(), "{}", own.text);
    assert!(own.json().get("field_errors").is_none(), "{}", own.text);
    let own = cf.broker.get("/routes/t1", &token).await;
    assert!(own.json().get("errors").is_none(), "{}", own.text);
}

/// A client that reads 1000 or 10002 logs on again, which cannot help here.
#[tokio::test]
async fn a_fault_of_the_technical_user_never_looks_like_one_of_the_callers_token() {
    let sandbox = sandbox().await;
    pull(
        &sandbox,
        "change_password",
        &json!({"user": "technical.user@example.test", "password": "x"}),
    );
    let cf = Landscape::within(sandbox, &[]).await;
    let got = cf.get("/v3/apps").await;
    assert_cf(&got, 502, "technical_user_rejected", (10_001, "CF-ServerError"));
    let sandbox = crate::support::sandbox().await;
    let refused = json!({"part": "cf", "n": 9, "status": 401, "only": "/v3/apps",
        "body": {"errors": [{"code": 1000, "title": "CF-InvalidAuthToken", "detail": "x"}]}});
    pull(&sandbox, "fail_next", &refused);
    let cf = Landscape::within(sandbox, &[]).await;
    let got = cf.get("/v3/apps").await;
    assert_cf(&got, 502, "upstream_auth_failed", (10_001, "CF-ServerError"));
}

#[tokio::test]
async fn limits_and_time_outs_answer_in_cfs_form() {
    let sandbox = sandbox().await;
    let mut variables = variables(&sandbox);
    for (name, value) in
        [("SERVER__MAX_IN_FLIGHT", "1"), ("AUTH__BURST", "3"), ("AUTH__REQUESTS_PER_SECOND", "1")]
    {
        variables.insert(format!("CFAPI_{name}"), value.to_owned());
    }
    let broker = TestBroker::with(variables).await;
    let token = |client: &str| sandbox.caller_token(client, &["Api.Proxy"]);
    assert_eq!(broker.get("/v3/spaces", &token("sb-a!t1")).await.status, 200);
    pull(&sandbox, "hang", &json!({"part": "cf", "n": 1, "only": "/v3/apps"}));
    let request = client().get(format!("{}/v3/apps", broker.base)).bearer_auth(token("sb-a!t1"));
    let mut under_way = tokio::task::JoinSet::new();
    under_way.spawn(answer(request));
    until("the call that hangs", || sandbox.journal().iter().any(|one| one.path == "/v3/apps"))
        .await;
    let full = broker.get("/v3/apps", &token("sb-b!t1")).await;
    assert_cf(&full, 503, "overloaded", (10_015, "CF-ServiceUnavailable"));
    pull(&sandbox, "release", &json!({"part": "cf"}));
    assert_eq!(under_way.join_all().await[0].status, 200);
    let fast = loop {
        let got = broker.get("/v3/spaces", &token("sb-a!t1")).await;
        if got.status != 200 {
            break got;
        }
    };
    assert_cf(&fast, 429, "too_many_requests", (10_013, "CF-RateLimitExceeded"));
    sandbox.stop_part(Part::Cf).await;
    let gone = broker.get("/v3/spaces", &token("sb-c!t1")).await;
    assert_cf(&gone, 503, "cf_unavailable", (10_015, "CF-ServiceUnavailable"));
}

#[tokio::test]
async fn a_request_that_takes_too_long_is_answered_in_cfs_form() {
    let cf = Landscape::with(&[("CFAPI_SERVER__REQUEST_TIMEOUT", "5s")]).await;
    pull(&cf.sandbox, "hang", &json!({"part": "cf", "n": 9, "only": "/v3/apps"}));
    let asked = cf.get("/v3/apps");
    let got = tokio::time::timeout(Duration::from_secs(20), asked).await.unwrap();
    assert_cf(&got, 504, "cf_timeout", (10_001, "CF-ServerError"));
}
