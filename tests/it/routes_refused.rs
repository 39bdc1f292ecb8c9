//! Tenant routes when CF or the login server refuses or does not answer, or the technical user has
//! no role.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use cfapi_sandbox::{Part, Sandbox, TECHNICAL_USER};
use http::Method;
use rstest::rstest;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::support::{
    APP, Answer, TestBroker, answer, client, parse, pull, sandbox,
    tenant::{
        CREATE, DOMAIN, HOST, MAP, asked, delete, put, route_request, routes_of, the_route, until,
    },
    variables,
};

const DELETE: &str = "DELETE /v3/routes/";
const LIST: &str = "GET /v3/routes";
const JSON: &str = r#"{"content-type":"application/json"}"#;
const HTML: &str = r#"{"content-type":"text/html"}"#;
const ROUTER: &str = r#"{"x-cf-routererror":"unknown_route"}"#;
const INVALID_TOKEN: &str =
    r#"{"errors":[{"code":1000,"title":"CF-InvalidAuthToken","detail":"Invalid Auth Token"}]}"#;

/// Variables of a broker whose requests end early.
fn with_short_deadline(sandbox: &Sandbox) -> BTreeMap<String, String> {
    let mut variables = variables(sandbox);
    // A call to CF has two seconds less: long enough on a busy machine.
    variables.insert("CFAPI_SERVER__REQUEST_TIMEOUT".to_owned(), "8s".to_owned());
    variables
}

/// Answers a call in place of CF: status, headers, body.
fn fail(sandbox: &Sandbox, only: &str, n: u64, (status, headers, body): (u16, &str, &str)) {
    let headers = parse(headers);
    let args = json!({"part": "cf", "n": n, "only": only, "status": status, "headers": headers, "body": body});
    pull(sandbox, "fail_next", &args);
}

/// Asserts a problem and whether it may be repeated.
fn assert_problem(got: &Answer, status: u16, code: &str, retryable: bool) {
    assert_eq!((got.status, got.code().as_str()), (status, code), "{}", got.text);
    assert_eq!(got.json()["retryable"], retryable, "{}", got.text);
    assert_eq!(got.headers.contains_key("retry-after"), status == 503, "{:?}", got.headers);
}

async fn act(broker: &TestBroker, sandbox: &Sandbox, method: &Method) -> Answer {
    if method == Method::PUT { put(broker, sandbox).await } else { delete(broker, sandbox).await }
}

#[rstest]
#[case::create(Method::PUT, CREATE, 201)]
#[case::map(Method::PUT, MAP, 201)]
#[case::list(Method::DELETE, LIST, 204)]
#[case::delete(Method::DELETE, DELETE, 204)]
#[case::job(Method::DELETE, "GET /v3/jobs/", 204)]
#[tokio::test]
async fn one_401_is_retried_with_a_new_token(
    #[case] method: Method,
    #[case] call: &str,
    #[case] status: u16,
) {
    let sandbox = sandbox().await;
    let broker = TestBroker::start(&sandbox).await;
    if method == Method::DELETE {
        put(&broker, &sandbox).await;
    }
    fail(&sandbox, call, 1, (401, JSON, INVALID_TOKEN));
    let got = act(&broker, &sandbox, &method).await;
    assert_eq!(got.status, status, "{}", got.text);
    assert_eq!(routes_of(&sandbox, HOST).len(), usize::from(method == Method::PUT));
    assert_eq!((sandbox.password_grants(), sandbox.refresh_grants()), (1, 1));
}

#[rstest]
#[case::create(Method::PUT, CREATE)]
#[case::map(Method::PUT, MAP)]
#[case::list(Method::DELETE, LIST)]
#[case::delete(Method::DELETE, DELETE)]
#[tokio::test]
async fn a_second_401_is_not_passed_on_and_not_retryable(
    #[case] method: Method,
    #[case] call: &str,
) {
    let sandbox = sandbox().await;
    let broker = TestBroker::start(&sandbox).await;
    if method == Method::DELETE {
        put(&broker, &sandbox).await;
    }
    fail(&sandbox, call, 2, (401, JSON, INVALID_TOKEN));
    let got = act(&broker, &sandbox, &method).await;
    assert_problem(&got, 502, "upstream_auth_failed", false);
    // Nothing was done, or it was rolled back, and the next request works.
    let left = usize::from(method == Method::DELETE);
    until("nothing is left of it", || routes_of(&sandbox, HOST).len() == left).await;
    let again = act(&broker, &sandbox, &method).await;
    assert!(again.status < 300, "{}", again.text);
}

#[tokio::test]
async fn fifty_puts_with_a_wrong_password_cost_one_logon() {
    let sandbox = sandbox().await;
    pull(&sandbox, "change_password", &json!({"user": TECHNICAL_USER, "password": "another"}));
    let mut variables = variables(&sandbox);
    variables.insert("CFAPI_AUTH__MAX_IN_FLIGHT".to_owned(), "50".to_owned());
    let broker = Arc::new(TestBroker::with(variables).await);
    let mut set = JoinSet::new();
    for index in 0..50 {
        let (broker, token) = (Arc::clone(&broker), sandbox.provider_token());
        set.spawn(async move {
            let body = json!({"subdomain": format!("sub{index}"), "app": APP});
            broker.put(&format!("/routes/t{index}"), &token, &body).await
        });
    }
    for got in set.join_all().await {
        assert_problem(&got, 502, "technical_user_rejected", false);
    }
    assert_eq!((sandbox.password_grants(), sandbox.logon_attempts(TECHNICAL_USER)), (1, 1));
    assert_problem(&delete(&broker, &sandbox).await, 502, "technical_user_rejected", false);
    assert_eq!(sandbox.password_grants(), 1);
}

#[tokio::test]
async fn a_locked_technical_user_is_retryable() {
    let sandbox = sandbox().await;
    pull(&sandbox, "lock_user", &json!({}));
    let broker = TestBroker::start(&sandbox).await;
    assert_problem(&put(&broker, &sandbox).await, 503, "technical_user_locked", true);
    assert_problem(&delete(&broker, &sandbox).await, 503, "technical_user_locked", true);
    assert_eq!(sandbox.password_grants(), 1);
}

#[tokio::test]
async fn a_job_that_never_ends_becomes_an_operation() {
    let sandbox = sandbox().await;
    let broker = TestBroker::with(with_short_deadline(&sandbox)).await;
    assert_eq!(put(&broker, &sandbox).await.status, 201);
    sandbox.world().pause_jobs();
    let accepted = delete(&broker, &sandbox).await;
    assert_eq!(accepted.status, 202, "{}", accepted.text);
    assert!(!accepted.headers.contains_key("preference-applied"), "{:?}", accepted.headers);
    assert_eq!(the_route(&sandbox).labels["cfapi-broker.internal/state"], "deleting");
    let place = accepted.headers["location"].to_str().unwrap().to_owned();
    let token = sandbox.provider_token();
    let operation = broker.get(&place, &token).await.json();
    assert_eq!((&operation["status"], &operation["tenant"]), (&json!("running"), &json!("t1")));
    assert_problem(&put(&broker, &sandbox).await, 503, "route_being_deleted", true);
    sandbox.world().resume_jobs();
    until("the route is gone", || routes_of(&sandbox, HOST).is_empty()).await;
    assert_eq!(broker.get(&place, &token).await.json()["status"], "succeeded");
    assert_eq!(put(&broker, &sandbox).await.status, 201);
}

#[rstest]
#[case::limited(429, r#"{"retry-after":"30"}"#, "{}", 503, "cf_rate_limited")]
#[case::failed(
    500,
    JSON,
    r#"{"errors":[{"code":10001,"title":"U","detail":"x"}]}"#,
    502,
    "cf_error"
)]
#[case::empty(500, "{}", "", 502, "cf_error")]
#[case::html(502, HTML, "<html>bad gateway</html>", 503, "cf_unavailable")]
#[case::router(404, ROUTER, "404 Not Found", 503, "cf_unavailable")]
#[tokio::test]
async fn bad_answers_to_a_delete_have_their_codes_and_the_next_delete_succeeds(
    #[case] status: u16,
    #[case] headers: &str,
    #[case] body: &str,
    #[case] answered: u16,
    #[case] code: &str,
) {
    let sandbox = sandbox().await;
    let (one, two) = (TestBroker::start(&sandbox).await, TestBroker::start(&sandbox).await);
    assert_eq!(put(&one, &sandbox).await.status, 201);
    fail(&sandbox, DELETE, 9, (status, headers, body));
    let got = delete(&one, &sandbox).await;
    assert_problem(&got, answered, code, true);
    assert_eq!(got.json()["errors"].as_array().map(Vec::len), Some(1), "{}", got.text);
    assert!(!got.text.contains("bad gateway"), "{}", got.text);
    // The route is not used: CF may be deleting it, or the caller repeats.
    assert!(the_route(&sandbox).labels.contains_key("cfapi-broker.internal/state"));
    pull(&sandbox, "clear", &json!({"part": "cf"}));
    assert_eq!(delete(&two, &sandbox).await.status, 204);
    assert!(routes_of(&sandbox, HOST).is_empty());
}

#[rstest]
#[case::limited(429, r#"{"retry-after":"30"}"#, "{}", 503, "cf_rate_limited")]
#[case::html(502, HTML, "<html>bad gateway</html>", 503, "cf_unavailable")]
#[case::router(404, ROUTER, "404 Not Found", 503, "cf_unavailable")]
#[tokio::test]
async fn bad_answers_to_a_map_have_their_codes_and_the_next_put_repairs(
    #[case] status: u16,
    #[case] headers: &str,
    #[case] body: &str,
    #[case] answered: u16,
    #[case] code: &str,
) {
    let sandbox = sandbox().await;
    let (one, two) = (TestBroker::start(&sandbox).await, TestBroker::start(&sandbox).await);
    fail(&sandbox, MAP, 9, (status, headers, body));
    assert_problem(&put(&one, &sandbox).await, answered, code, true);
    pull(&sandbox, "clear", &json!({"part": "cf"}));
    let got = put(&two, &sandbox).await;
    assert!(matches!(got.status, 200 | 201), "{}", got.text);
    assert_eq!(the_route(&sandbox).apps, [APP]);
}

#[tokio::test]
async fn a_missing_answer_is_a_timeout_and_the_next_put_finds_the_route() {
    let sandbox = sandbox().await;
    let broker = TestBroker::with(with_short_deadline(&sandbox)).await;
    pull(&sandbox, "commit_then_hang", &json!({"part": "cf", "only": CREATE}));
    assert_problem(&put(&broker, &sandbox).await, 504, "cf_timeout", true);
    // The create continues and holds the tenant's lock: no other request overtakes it.
    assert_problem(&put(&broker, &sandbox).await, 503, "overloaded", true);
    assert_eq!(routes_of(&sandbox, HOST).len(), 1);
    // The connection ends.
    sandbox.stop_part(Part::Cf).await;
    sandbox.start_part(Part::Cf).await.unwrap();
    let mut got = put(&broker, &sandbox).await;
    for _ in 0..20 {
        if got.status < 300 {
            break;
        }
        assert_eq!(got.json()["retryable"], true, "{}", got.text);
        tokio::time::sleep(Duration::from_millis(200)).await;
        got = put(&broker, &sandbox).await;
    }
    assert_eq!(got.status, 200, "{}", got.text);
    assert_eq!(the_route(&sandbox).apps, [APP]);
    assert_eq!(got.json()["route"]["guid"], the_route(&sandbox).guid.as_str());
}

#[tokio::test]
async fn a_create_that_breaks_off_twice_is_unclear_and_repeated_by_the_next_put() {
    let sandbox = sandbox().await;
    let broker = TestBroker::start(&sandbox).await;
    pull(&sandbox, "cut", &json!({"part": "cf", "n": 2, "only": CREATE}));
    assert_problem(&put(&broker, &sandbox).await, 504, "cf_timeout", true);
    let calls = asked(&sandbox);
    let calls = calls.iter().filter(|call| call.ends_with("/v3/routes")).collect::<Vec<_>>();
    assert_eq!(calls, [CREATE, LIST, CREATE, LIST]);
    assert_eq!(put(&broker, &sandbox).await.status, 201);
    assert_eq!(the_route(&sandbox).apps, [APP]);
}

#[rstest]
#[case::own_space("dev", 201, "")]
#[case::other_space("other", 409, "host_taken_elsewhere")]
#[tokio::test]
async fn a_route_with_a_path_under_the_same_host_conflicts_by_its_space(
    #[case] space: &str,
    #[case] status: u16,
    #[case] code: &str,
) {
    let sandbox = sandbox().await;
    path_route(&sandbox, space).await;
    let broker = TestBroker::start(&sandbox).await;
    let got = put(&broker, &sandbox).await;
    assert_eq!(got.status, status, "{}", got.text);
    if status == 409 {
        assert_problem(&got, 409, code, false);
    }
    let routes = routes_of(&sandbox, HOST);
    let theirs = routes.iter().find(|route| route.path == "/shop").unwrap();
    assert!(theirs.labels.is_empty() && theirs.apps.is_empty());
    assert_eq!(delete(&broker, &sandbox).await.status, 204);
    assert_eq!(routes_of(&sandbox, HOST), std::slice::from_ref(theirs));
}

/// A route with a path.
async fn path_route(sandbox: &Sandbox, space: &str) {
    let spaces = sandbox.world().spaces();
    let space = &spaces.iter().find(|one| one.name == space).unwrap().guid;
    let token = technical_token(sandbox).await;
    let domains = client().get(format!("{}/v3/domains?names={DOMAIN}", sandbox.cf_url()));
    let domains = answer(domains.bearer_auth(&token)).await.json();
    let data = |guid: &Value| json!({"data": {"guid": guid}});
    let relations =
        json!({"space": data(&json!(space)), "domain": data(&domains["resources"][0]["guid"])});
    let body = json!({"host": HOST, "path": "/shop", "relationships": relations}).to_string();
    let post = client().post(format!("{}/v3/routes", sandbox.cf_url())).bearer_auth(token);
    let made = answer(post.header("content-type", "application/json").body(body)).await;
    assert_eq!(made.status, 201, "{}", made.text);
}

/// A token of the technical user, by its password.
async fn technical_token(sandbox: &Sandbox) -> String {
    let form = form_urlencoded::Serializer::new(String::new())
        .append_pair("grant_type", "password")
        .append_pair("username", TECHNICAL_USER)
        .append_pair("password", "sandbox-only-p&ss w=rd%ü")
        .append_pair("login_hint", r#"{"origin":"sandbox-platform"}"#)
        .finish();
    let post = client().post(format!("{}/oauth/token", sandbox.uaa_url()));
    let post = post.basic_auth("cf", Some(""));
    let post = post.header("content-type", "application/x-www-form-urlencoded").body(form);
    answer(post).await.json()["access_token"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_caller_without_the_scope_changes_nothing() {
    let sandbox = sandbox().await;
    let broker = TestBroker::start(&sandbox).await;
    let reader = sandbox.caller_token("sb-bookshop!t4711", &["Routes.Read"]);
    let got = broker.put("/routes/t1", &reader, &route_request()).await;
    assert_problem(&got, 403, "forbidden_scope", false);
    assert_problem(&broker.delete("/routes/t1", &reader).await, 403, "forbidden_scope", false);
    assert!(routes_of(&sandbox, HOST).is_empty());
}

#[tokio::test]
async fn at_a_low_rate_limit_writes_go_before_reads() {
    let sandbox = sandbox().await;
    let broker = TestBroker::start(&sandbox).await;
    let token = sandbox.provider_token();
    assert_eq!(put(&broker, &sandbox).await.status, 201);
    pull(&sandbox, "rate_limit", &json!({"n": 200, "retry_after": 600}));
    let mut read = broker.get("/routes/t1", &token).await;
    for _ in 0..200 {
        if read.status != 200 {
            break;
        }
        read = broker.get("/routes/t1", &token).await;
    }
    assert_problem(&read, 503, "cf_rate_limited", true);
    let after: u64 = read.headers["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=600).contains(&after), "{after}");
    assert!(asked(&sandbox).len() < 200, "the limit itself was not met");
    // A change, a repair that must read first, and a delete: each with its reads.
    let body = json!({"subdomain": "beta", "app": APP});
    let made = broker.put("/routes/t2", &token, &body).await;
    assert_eq!(made.status, 201, "{}", made.text);
    assert_eq!(put(&broker, &sandbox).await.json()["outcome"], "unchanged");
    assert_eq!(delete(&broker, &sandbox).await.status, 204);
    // Only an answer shows that the limit is over, and a write brings one.
    assert_eq!(broker.get("/routes/t2", &token).await.status, 503);
    sandbox.world().rate_limit(Some(1000), 600);
    assert_eq!(put(&broker, &sandbox).await.status, 201);
    assert_eq!(broker.get("/routes/t2", &token).await.status, 200);
}
