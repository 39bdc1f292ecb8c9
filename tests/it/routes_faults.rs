//! Tenant routes with crashes, races, refusals and missing answers of CF.

use std::{sync::Arc, time::Duration};

use cfapi_sandbox::{Part, Sandbox};
use http::Method;
use rstest::rstest;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::support::{
    APP, TestBroker, client,
    process::Program,
    pull, sandbox,
    tenant::{
        CREATE, DOMAIN, HOST, MAP, asked, delete, delete_async, put, route_request, routes_of,
        the_route, until,
    },
    variables,
};

/// Sends to a program that will be killed before it answers.
fn send_to_killed(set: &mut JoinSet<()>, method: Method, base: &str, sandbox: &Sandbox) {
    let has_body = method != Method::DELETE;
    let mut request = client().request(method, format!("{base}/routes/t1"));
    request = request.bearer_auth(sandbox.provider_token());
    if has_body {
        request =
            request.header("content-type", "application/json").body(route_request().to_string());
    }
    set.spawn(async move { drop(request.send().await) });
}

#[tokio::test]
async fn a_broker_killed_between_create_and_map_is_repaired_by_the_next_put() {
    let sandbox = sandbox().await;
    let mut doomed = Program::start(&[], &variables(&sandbox));
    let base = doomed.base().await;
    pull(&sandbox, "hang", &json!({"part": "cf", "only": MAP}));
    let mut set = JoinSet::new();
    send_to_killed(&mut set, Method::PUT, &base, &sandbox);
    until("the map is asked for", || {
        asked(&sandbox).iter().any(|call| call.ends_with("/destinations"))
    })
    .await;
    drop(doomed);
    pull(&sandbox, "clear", &json!({"part": "cf"}));
    assert!(the_route(&sandbox).apps.is_empty());
    let broker = TestBroker::start(&sandbox).await;
    let got = put(&broker, &sandbox).await;
    assert_eq!((got.status, got.json()["outcome"].as_str()), (200, Some("repaired")));
    assert_eq!(the_route(&sandbox).apps, [APP]);
}

#[tokio::test]
async fn a_broker_killed_during_delete_is_finished_by_the_next_delete() {
    let sandbox = sandbox().await;
    let mut doomed = Program::start(&[], &variables(&sandbox));
    let base = doomed.base().await;
    let broker = TestBroker::start(&sandbox).await;
    assert_eq!(put(&broker, &sandbox).await.status, 201);
    // The delete itself is lost with the broker.
    pull(&sandbox, "hang", &json!({"part": "cf", "only": "DELETE /v3/routes/"}));
    let mut set = JoinSet::new();
    send_to_killed(&mut set, Method::DELETE, &base, &sandbox);
    until("the delete is asked for", || {
        asked(&sandbox).iter().any(|call| call.starts_with("DELETE /v3/routes/"))
    })
    .await;
    drop(doomed);
    pull(&sandbox, "clear", &json!({"part": "cf"}));
    assert_eq!(the_route(&sandbox).apps, [APP]);
    assert_eq!(delete(&broker, &sandbox).await.status, 204);
    assert!(routes_of(&sandbox, HOST).is_empty());
}

#[rstest]
#[case::delete(Method::DELETE)]
#[case::put(Method::PUT)]
#[tokio::test]
async fn a_broker_killed_while_cf_deletes_is_finished_by_the_next_call(#[case] next: Method) {
    let sandbox = sandbox().await;
    let mut doomed = Program::start(&[], &variables(&sandbox));
    let base = doomed.base().await;
    let broker = TestBroker::start(&sandbox).await;
    let first = put(&broker, &sandbox).await.json()["route"]["guid"].clone();
    sandbox.world().pause_jobs();
    let mut set = JoinSet::new();
    send_to_killed(&mut set, Method::DELETE, &base, &sandbox);
    until("the job runs", || the_route(&sandbox).deleting).await;
    drop(doomed);
    assert!(the_route(&sandbox).labels.contains_key("cfapi-broker.internal/state"));
    let resume = async {
        tokio::time::sleep(Duration::from_millis(400)).await;
        sandbox.world().resume_jobs();
    };
    if next == Method::DELETE {
        let (gone, ()) = tokio::join!(delete(&broker, &sandbox), resume);
        assert_eq!(gone.status, 204, "{}", gone.text);
        assert!(routes_of(&sandbox, HOST).is_empty());
    } else {
        let (back, ()) = tokio::join!(put(&broker, &sandbox), resume);
        assert_eq!(back.status, 201, "{}", back.text);
        assert_ne!(back.json()["route"]["guid"], first);
        assert_eq!(the_route(&sandbox).apps, [APP]);
    }
}

#[rstest]
#[case::the_same(false)]
#[case::another(true)]
#[tokio::test]
async fn a_delete_whose_job_failed_after_the_request_is_finished_by_the_next_put(
    #[case] elsewhere: bool,
) {
    let sandbox = sandbox().await;
    let (one, two) = (TestBroker::start(&sandbox).await, TestBroker::start(&sandbox).await);
    let first = put(&one, &sandbox).await.json()["route"]["guid"].clone();
    sandbox.world().fail_jobs(1, "disk full");
    assert_eq!(delete_async(&one, &sandbox).await.status, 202);
    until("the job has failed", || !the_route(&sandbox).deleting).await;
    let back = put(if elsewhere { &two } else { &one }, &sandbox).await;
    assert_eq!(back.status, 201, "{}", back.text);
    let route = the_route(&sandbox);
    assert_ne!(first, route.guid.as_str());
    assert_eq!(back.json()["route"]["guid"], route.guid.as_str());
    assert_eq!(route.apps, [APP]);
    assert!(!route.labels.contains_key("cfapi-broker.internal/state"));
}

#[tokio::test]
async fn a_route_that_cannot_be_mapped_is_rolled_back() {
    let sandbox = sandbox().await;
    let broker = TestBroker::start(&sandbox).await;
    pull(&sandbox, "fail_next", &json!({"part": "cf", "n": 2, "status": 500, "only": MAP}));
    let failed = put(&broker, &sandbox).await;
    assert_eq!((failed.status, failed.code().as_str()), (502, "cf_error"), "{}", failed.text);
    assert_eq!(failed.json()["retryable"], true);
    until("the route is taken back", || routes_of(&sandbox, HOST).is_empty()).await;
    let again = put(&broker, &sandbox).await;
    assert_eq!(again.status, 201, "{}", again.text);
    assert_eq!(the_route(&sandbox).apps, [APP]);
}

#[tokio::test]
async fn one_500_of_a_map_is_retried() {
    let sandbox = sandbox().await;
    let broker = TestBroker::start(&sandbox).await;
    pull(&sandbox, "fail_next", &json!({"part": "cf", "status": 500, "only": MAP}));
    let got = put(&broker, &sandbox).await;
    assert_eq!(got.status, 201, "{}", got.text);
    assert_eq!(the_route(&sandbox).apps, [APP]);
}

/// A job of CF that takes a while; the broker polls on the real clock.
const SLOW: Duration = Duration::from_millis(1500);

#[rstest]
#[case::the_same(false)]
#[case::another(true)]
#[tokio::test]
async fn a_tenant_that_returns_at_once_gets_a_new_route_from_any_instance(#[case] elsewhere: bool) {
    let sandbox = sandbox().await;
    let (one, two) = (TestBroker::start(&sandbox).await, TestBroker::start(&sandbox).await);
    let first = put(&one, &sandbox).await.json()["route"]["guid"].clone();
    sandbox.world().job_delay(SLOW);
    assert_eq!(delete_async(&one, &sandbox).await.status, 202);
    let back = put(if elsewhere { &two } else { &one }, &sandbox).await;
    assert_eq!(back.status, 201, "{}", back.text);
    assert_ne!(back.json()["route"]["guid"], first);
    until("no job is left", || sandbox.world().routes().iter().all(|route| !route.deleting)).await;
    let route = the_route(&sandbox);
    assert_eq!(back.json()["route"]["guid"], route.guid.as_str());
    assert_eq!(route.apps, [APP]);
}

#[tokio::test]
async fn a_tenant_that_returns_during_its_delete_gets_a_new_route() {
    let sandbox = sandbox().await;
    let (one, two) = (TestBroker::start(&sandbox).await, TestBroker::start(&sandbox).await);
    let first = put(&one, &sandbox).await.json()["route"]["guid"].clone();
    // Longer than the usual job: the other instance must know of the delete.
    sandbox.world().job_delay(Duration::from_secs(4));
    let back = async {
        until("the route is marked", || {
            the_route(&sandbox).labels.contains_key("cfapi-broker.internal/state")
        })
        .await;
        put(&two, &sandbox).await
    };
    let (gone, back) = tokio::join!(delete(&one, &sandbox), back);
    assert_eq!((gone.status, back.status), (204, 201), "{} {}", gone.text, back.text);
    until("no job is left", || sandbox.world().routes().iter().all(|route| !route.deleting)).await;
    let route = the_route(&sandbox);
    assert_ne!(first, route.guid.as_str());
    assert_eq!(back.json()["route"]["guid"], route.guid.as_str());
    assert_eq!(route.apps, [APP]);
}

const DELETE: &str = "DELETE /v3/routes/";

/// Whether two calls go to one instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SecondBroker {
    One,
    Two,
}

#[rstest]
#[tokio::test]
async fn a_parallel_put_and_delete_end_like_one_of_the_two_orders(
    #[values(SecondBroker::One, SecondBroker::Two)] through: SecondBroker,
    #[values(CREATE, MAP, DELETE)] held: &str,
) {
    let sandbox = sandbox().await;
    let (one, two) = (TestBroker::start(&sandbox).await, TestBroker::start(&sandbox).await);
    let other = if through == SecondBroker::One { &one } else { &two };
    if held == DELETE {
        assert_eq!(put(&one, &sandbox).await.status, 201);
    }
    pull(&sandbox, "hang", &json!({"part": "cf", "ms": 700, "only": held}));
    sandbox.clear_journal();
    let is_held = || asked(&sandbox).iter().any(|call| call.starts_with(held));
    let (made, gone) = if held == DELETE {
        let coming = async {
            until("the delete is under way", is_held).await;
            put(other, &sandbox).await
        };
        let (gone, made) = tokio::join!(delete(&one, &sandbox), coming);
        (made, gone)
    } else {
        let going = async {
            until("the put is under way", is_held).await;
            delete(other, &sandbox).await
        };
        tokio::join!(put(&one, &sandbox), going)
    };
    until("no job is left", || sandbox.world().routes().iter().all(|route| !route.deleting)).await;
    assert_eq!(gone.status, 204, "{}", gone.text);
    let left = routes_of(&sandbox, HOST);
    match (through, held, left.as_slice()) {
        // The second request determines the result.
        (SecondBroker::One, DELETE, [route]) => {
            assert_eq!((made.status, &*route.apps), (201, &[APP.to_owned()][..]));
        }
        (SecondBroker::One, _, []) => assert_eq!(made.status, 201, "{}", made.text),
        // The created route exists and is complete.
        (SecondBroker::Two, _, [route]) => {
            assert!(made.status < 300, "{}", made.text);
            assert_eq!(made.json()["route"]["guid"], route.guid.as_str());
            assert_eq!(route.apps, [APP]);
        }
        // It came first, or its route was deleted before its end; then it gets an error.
        (SecondBroker::Two, _, []) => {
            let valid = made.status < 300 || made.json()["retryable"] == json!(true);
            assert!(valid, "{}", made.text);
        }
        other => panic!("{other:?} {}", made.text),
    }
    assert!(left.iter().all(|route| !route.labels.contains_key("cfapi-broker.internal/state")));
}

#[tokio::test]
async fn an_asynchronous_delete_has_an_operation() {
    let sandbox = sandbox().await;
    let broker = TestBroker::start(&sandbox).await;
    let token = sandbox.provider_token();
    put(&broker, &sandbox).await;
    sandbox.world().pause_jobs();
    let accepted = delete_async(&broker, &sandbox).await;
    assert_eq!(accepted.status, 202, "{}", accepted.text);
    assert_eq!(accepted.headers["preference-applied"], "respond-async");
    let place = accepted.headers["location"].to_str().unwrap().to_owned();
    let running = broker.get(&place, &token).await;
    assert_eq!((running.status, &running.json()["status"]), (200, &json!("running")));
    let other = sandbox.caller_token("sb-orders!t4712", &["Routes.Read"]);
    assert_eq!(broker.get(&place, &other).await.code(), "not_found");
    let shown = broker.get("/routes/t1", &token).await.json();
    assert_eq!(shown["routes"][0]["state"], "deleting", "{shown}");
    sandbox.world().resume_jobs();
    until("the route is gone", || routes_of(&sandbox, HOST).is_empty()).await;
    assert_eq!(broker.get(&place, &token).await.json()["status"], "succeeded");
}

#[tokio::test]
async fn a_failed_job_is_reported_and_the_route_stays() {
    let sandbox = sandbox().await;
    let broker = TestBroker::start(&sandbox).await;
    put(&broker, &sandbox).await;
    sandbox.world().fail_jobs(2, "disk full");
    let failed = delete(&broker, &sandbox).await;
    assert_eq!((failed.status, failed.code().as_str()), (502, "cf_job_failed"), "{}", failed.text);
    assert!(failed.json()["retryable"].as_bool().unwrap());
    assert_eq!(put(&broker, &sandbox).await.json()["outcome"], "unchanged");
    assert_eq!(delete(&broker, &sandbox).await.status, 204);
}

/// Parallel PUTs of this many tenants, distributed to the brokers in turn. Returns their statuses.
async fn put_tenants(brokers: &[Arc<TestBroker>], sandbox: &Sandbox, tenants: usize) -> Vec<u16> {
    let mut set = JoinSet::new();
    for index in 0..tenants {
        let (broker, token) =
            (Arc::clone(&brokers[index % brokers.len()]), sandbox.provider_token());
        set.spawn(async move {
            let body = json!({"subdomain": format!("sub{index}"), "app": APP});
            broker.put(&format!("/routes/t{index}"), &token, &body).await.status
        });
    }
    set.join_all().await
}

async fn some_brokers(sandbox: &Sandbox, count: usize) -> Vec<Arc<TestBroker>> {
    let mut brokers = Vec::new();
    for _ in 0..count {
        let mut variables = variables(sandbox);
        variables.insert("CFAPI_AUTH__MAX_IN_FLIGHT".to_owned(), "50".to_owned());
        brokers.push(Arc::new(TestBroker::with(variables).await));
    }
    brokers
}

/// How often CF was asked to create a route and did, and how often to map one.
fn writes(sandbox: &Sandbox) -> (usize, usize) {
    let journal = sandbox.journal().into_iter();
    let posts = journal.filter(|entry| entry.part == Part::Cf && entry.method == "POST");
    let (created, mapped): (Vec<_>, Vec<_>) = posts.partition(|entry| entry.path == "/v3/routes");
    let created = created.iter().filter(|entry| entry.status == Some(201)).count();
    (created, mapped.iter().filter(|entry| entry.path.ends_with("/destinations")).count())
}

#[rstest]
#[case::one_instance(1)]
#[case::two_instances(2)]
#[tokio::test]
async fn fifty_parallel_tenants_get_one_mapped_route_each_with_two_calls_each(
    #[case] count: usize,
) {
    let sandbox = sandbox().await;
    let brokers = some_brokers(&sandbox, count).await;
    for (index, broker) in brokers.iter().enumerate() {
        let body = json!({"subdomain": format!("warm{index}"), "app": APP});
        let path = format!("/routes/warm{index}");
        assert_eq!(broker.put(&path, &sandbox.provider_token(), &body).await.status, 201);
    }
    sandbox.clear_journal();
    assert_eq!(put_tenants(&brokers, &sandbox, 50).await, [201; 50]);
    assert_eq!(writes(&sandbox), (50, 50));
    let calls = asked(&sandbox);
    assert_eq!(calls.len(), 100, "{calls:?}");
    sandbox.clear_journal();
    assert_eq!(put_tenants(&brokers, &sandbox, 50).await, [200; 50]);
    assert_eq!(writes(&sandbox), (0, 0));
    let calls = asked(&sandbox);
    assert_eq!(calls.len(), 100, "{calls:?}");
    for index in 0..50 {
        let routes = routes_of(&sandbox, &format!("sub{index}-saas-approuter"));
        assert_eq!(routes.len(), 1);
        assert_eq!(routes[0].apps, [APP]);
    }
}

#[tokio::test]
async fn fifty_parallel_tenants_cost_a_new_broker_one_logon() {
    let sandbox = sandbox().await;
    let brokers = some_brokers(&sandbox, 1).await;
    assert_eq!(put_tenants(&brokers, &sandbox, 50).await, [201; 50]);
    assert_eq!(sandbox.password_grants(), 1);
}

#[rstest]
#[case::one_instance(1)]
#[case::two_instances(2)]
#[tokio::test]
async fn twenty_parallel_puts_of_one_tenant_make_one_route_and_map_it_once(#[case] count: usize) {
    let sandbox = sandbox().await;
    let brokers = some_brokers(&sandbox, count).await;
    let mut set = JoinSet::new();
    for index in 0..20 {
        let (broker, token) = (Arc::clone(&brokers[index % count]), sandbox.provider_token());
        set.spawn(async move { broker.put("/routes/t1", &token, &route_request()).await.status });
    }
    let mut statuses = set.join_all().await;
    statuses.sort_unstable();
    assert_eq!(statuses.pop(), Some(201));
    assert_eq!(statuses, [200; 19]);
    let (created, mapped) = writes(&sandbox);
    assert_eq!(created, 1);
    // Another instance may find the route before it is mapped, and send the same mapping.
    assert!((1..=count).contains(&mapped), "{mapped}");
    assert_eq!(the_route(&sandbox).apps, [APP]);
}

#[tokio::test]
async fn with_warm_caches_a_create_costs_two_calls_a_repeat_two_and_a_dry_run_one() {
    let sandbox = sandbox().await;
    let broker = TestBroker::start(&sandbox).await;
    let token = sandbox.provider_token();
    broker.put("/routes/t0", &token, &json!({"subdomain": "warm", "app": APP})).await;

    sandbox.clear_journal();
    let foretold = broker.put("/routes/t1?dry_run=true", &token, &route_request()).await;
    assert_eq!((foretold.status, &foretold.json()["outcome"]), (200, &json!("created")));
    assert_eq!(foretold.json()["plan"], json!(["create", "map"]));
    assert_eq!(foretold.json()["route"], Value::Null);
    assert_eq!(asked(&sandbox), ["GET /v3/routes"]);
    assert!(routes_of(&sandbox, HOST).is_empty());

    sandbox.clear_journal();
    assert_eq!(put(&broker, &sandbox).await.status, 201);
    let calls = asked(&sandbox);
    assert_eq!(calls.len(), 2, "{calls:?}");
    assert_eq!(calls[0], CREATE);

    sandbox.clear_journal();
    assert_eq!(put(&broker, &sandbox).await.status, 200);
    assert_eq!(asked(&sandbox), [CREATE, "GET /v3/routes"]);

    sandbox.clear_journal();
    assert_eq!(delete(&broker, &sandbox).await.status, 204);
    let calls = asked(&sandbox);
    assert_eq!(calls[0], "GET /v3/routes");
    assert!(calls[1].starts_with("PATCH /v3/routes/"), "{calls:?}");
    assert!(calls[2].starts_with("DELETE /v3/routes/"), "{calls:?}");
    assert!(calls[3..].iter().all(|call| call.starts_with("GET /v3/jobs/")), "{calls:?}");
}

#[tokio::test]
async fn a_dry_run_answers_the_url_while_cf_is_down() {
    let sandbox = sandbox().await;
    let broker = TestBroker::start(&sandbox).await;
    let token = sandbox.provider_token();
    broker.put("/routes/t0", &token, &json!({"subdomain": "warm", "app": APP})).await;
    sandbox.stop_part(Part::Cf).await;
    let got = broker.put("/routes/t1?dry_run=true", &token, &route_request()).await;
    assert_eq!((got.status, &got.json()["outcome"]), (200, &json!("unknown")), "{}", got.text);
    assert_eq!(got.json()["url"], format!("https://{HOST}.{DOMAIN}"));
    assert_eq!(got.json()["warnings"][0]["code"], "cf_unchecked");
}

#[rstest]
#[case::own_space("dev", 200, "adopted")]
#[case::other_space("other", 409, "host_taken")]
#[case::foreign_organisation("fspace", 409, "host_taken_elsewhere")]
#[tokio::test]
async fn the_answer_for_an_existing_host_depends_on_its_owner(
    #[case] space: &str,
    #[case] status: u16,
    #[case] word: &str,
) {
    let sandbox = sandbox().await;
    sandbox.world().take_host(HOST, DOMAIN, space).unwrap();
    let broker = TestBroker::start(&sandbox).await;
    let got = put(&broker, &sandbox).await;
    assert_eq!(got.status, status, "{}", got.text);
    if status == 200 {
        assert_eq!(got.json()["outcome"], word);
    } else {
        assert_eq!(got.code(), word);
        assert_eq!(got.json()["retryable"], false);
    }
    assert_eq!(routes_of(&sandbox, HOST).len(), 1);
}

#[tokio::test]
async fn an_unlabelled_route_is_a_conflict_without_adoption() {
    let sandbox = sandbox().await;
    sandbox.world().take_host(HOST, DOMAIN, "dev").unwrap();
    let broker = TestBroker::start(&sandbox).await;
    let body = json!({"subdomain": "acme", "app": APP, "adopt": false});
    let got = broker.put("/routes/t1", &sandbox.provider_token(), &body).await;
    assert_eq!((got.status, got.code().as_str()), (409, "host_taken"), "{}", got.text);
    assert!(the_route(&sandbox).labels.is_empty());
}

#[tokio::test]
async fn a_second_tenant_with_the_same_subdomain_is_a_conflict() {
    let sandbox = sandbox().await;
    let broker = TestBroker::start(&sandbox).await;
    put(&broker, &sandbox).await;
    let got = broker.put("/routes/t2", &sandbox.provider_token(), &route_request()).await;
    assert_eq!((got.status, got.code().as_str()), (409, "host_of_other_tenant"), "{}", got.text);
    assert_eq!(the_route(&sandbox).labels["cfapi-broker.internal/tenant"], "t1");
}

#[tokio::test]
async fn a_full_quota_stops_new_tenants_only() {
    let sandbox = sandbox().await;
    let broker = TestBroker::start(&sandbox).await;
    put(&broker, &sandbox).await;
    sandbox.world().quota("provider-org", Some(1)).unwrap();
    let body = json!({"subdomain": "second", "app": APP});
    let full = broker.put("/routes/t2", &sandbox.provider_token(), &body).await;
    assert_eq!((full.status, full.code().as_str()), (409, "route_quota_exceeded"), "{}", full.text);
    let again = put(&broker, &sandbox).await;
    assert_eq!((again.status, &again.json()["outcome"]), (200, &json!("unchanged")));
}

const HTML: &str = r#"{"content-type":"text/html"}"#;
const ROUTER: &str = r#"{"x-cf-routererror":"unknown_route"}"#;

#[rstest]
#[case::failed(500, "{}", r#"{"errors":[{"code":10001,"title":"UnknownError","detail":"x"}]}"#)]
#[case::empty(500, "{}", "")]
#[case::html(502, HTML, "<html>bad gateway</html>")]
#[case::router(404, ROUTER, "404 Not Found: Requested route does not exist.")]
#[tokio::test]
async fn one_bad_answer_to_a_create_is_handled(
    #[case] status: u16,
    #[case] headers: &str,
    #[case] body: &str,
) {
    let sandbox = sandbox().await;
    let broker = TestBroker::start(&sandbox).await;
    fail_create(&sandbox, 1, &answering(status, headers, body));
    let got = put(&broker, &sandbox).await;
    assert_eq!(got.status, 201, "{}", got.text);
    assert_eq!(the_route(&sandbox).apps, [APP]);
    // The host was looked up before the create was sent again.
    let calls: Vec<_> =
        asked(&sandbox).into_iter().filter(|call| call.ends_with("/v3/routes")).collect();
    assert_eq!(calls[calls.len() - 3..], [CREATE, "GET /v3/routes", CREATE]);
}

#[rstest]
#[case::limited(429, r#"{"retry-after":"30"}"#, "{}", 503, "cf_rate_limited")]
#[case::failed(
    500,
    "{}",
    r#"{"errors":[{"code":10001,"title":"U","detail":"x"}]}"#,
    502,
    "cf_error"
)]
#[case::empty(500, "{}", "", 502, "cf_error")]
#[case::html(502, HTML, "<html>bad gateway</html>", 503, "cf_unavailable")]
#[case::router(404, ROUTER, "404 Not Found", 503, "cf_unavailable")]
#[tokio::test]
async fn repeated_bad_answers_have_their_codes_and_leave_no_route(
    #[case] status: u16,
    #[case] headers: &str,
    #[case] body: &str,
    #[case] answered: u16,
    #[case] code: &str,
) {
    let sandbox = sandbox().await;
    let broker = TestBroker::start(&sandbox).await;
    fail_create(&sandbox, 9, &answering(status, headers, body));
    let got = put(&broker, &sandbox).await;
    assert_eq!((got.status, got.code().as_str()), (answered, code), "{}", got.text);
    assert_eq!(got.json()["retryable"], true);
    assert_eq!(got.headers.contains_key("retry-after"), answered == 503, "{:?}", got.headers);
    assert!(!got.text.contains("bad gateway"), "{}", got.text);
    assert!(routes_of(&sandbox, HOST).is_empty());
}

fn answering(status: u16, headers: &str, body: &str) -> Value {
    json!({"status": status, "headers": crate::support::parse(headers), "body": body})
}

fn fail_create(sandbox: &Sandbox, times: u64, how: &Value) {
    let mut args = json!({"part": "cf", "n": times, "only": CREATE});
    args.as_object_mut().unwrap().extend(how.as_object().unwrap().clone());
    pull(sandbox, "fail_next", &args);
}

#[rstest]
#[case::cut_short("truncate")]
#[case::never_answered("commit_then_hang")]
#[tokio::test]
async fn a_create_that_cf_executed_without_an_answer_is_found_and_not_repeated(
    #[case] lever: &str,
) {
    let sandbox = sandbox().await;
    let broker = TestBroker::start(&sandbox).await;
    pull(&sandbox, lever, &json!({"part": "cf", "only": CREATE}));
    // The connection ends when the API stops: waiting for the time-out would take half a minute.
    let outage = async {
        until("the create was executed", || !routes_of(&sandbox, HOST).is_empty()).await;
        if lever == "commit_then_hang" {
            sandbox.stop_part(Part::Cf).await;
            sandbox.start_part(Part::Cf).await.unwrap();
        }
    };
    let (got, ()) = tokio::join!(put(&broker, &sandbox), outage);
    assert_eq!((got.status, &got.json()["outcome"]), (201, &json!("created")), "{}", got.text);
    assert_eq!(the_route(&sandbox).apps, [APP]);
    assert_eq!(asked(&sandbox).iter().filter(|call| *call == CREATE).count(), 1);
}

#[rstest]
#[case::taken(1)]
#[case::quota(2)]
#[tokio::test]
async fn a_create_that_cf_executes_late_is_found_and_created(#[case] quota: usize) {
    let sandbox = sandbox().await;
    let broker = TestBroker::start(&sandbox).await;
    // A first request, so that only the create has no answer.
    assert_eq!(broker.put("/routes/t0", &sandbox.provider_token(), &warm()).await.status, 201);
    if quota == 2 {
        // The second create gets the text about the quota.
        sandbox.world().quota("provider-org", Some(quota)).unwrap();
    }
    sandbox.clear_journal();
    pull(&sandbox, "hang", &json!({"part": "cf", "only": CREATE}));
    pull(&sandbox, "hang", &json!({"part": "cf", "ms": 600, "only": CREATE}));
    let creates = || asked(&sandbox).iter().filter(|call| *call == CREATE).count();
    let late = async {
        until("the first create", || creates() == 1).await;
        sandbox.stop_part(Part::Cf).await;
        sandbox.start_part(Part::Cf).await.unwrap();
        until("the second create", || creates() == 2).await;
        pull(&sandbox, "release", &json!({"part": "cf"}));
        until("the first one is executed", || !routes_of(&sandbox, HOST).is_empty()).await;
    };
    let (got, ()) = tokio::join!(put(&broker, &sandbox), late);
    assert_eq!((got.status, &got.json()["outcome"]), (201, &json!("created")), "{}", got.text);
    assert_eq!(the_route(&sandbox).apps, [APP]);
    // Only the first request created it.
    let again = put(&broker, &sandbox).await;
    assert_eq!((again.status, &again.json()["outcome"]), (200, &json!("unchanged")));
}

fn warm() -> Value {
    json!({"subdomain": "warm", "app": APP})
}

#[tokio::test]
async fn a_route_that_another_instance_unmarked_is_not_deleted_by_the_instance_that_marked_it() {
    let sandbox = sandbox().await;
    let (one, two) = (TestBroker::start(&sandbox).await, TestBroker::start(&sandbox).await);
    let first = put(&one, &sandbox).await.json()["route"]["guid"].clone();
    sandbox.world().pause_jobs();
    assert_eq!(delete_async(&one, &sandbox).await.status, 202);
    // All jobs of both instances.
    sandbox.world().fail_jobs(9, "disk full");
    sandbox.world().resume_jobs();
    let failed = delete(&two, &sandbox).await;
    assert_eq!((failed.status, failed.code().as_str()), (502, "cf_job_failed"), "{}", failed.text);
    until("the first one has given up, too", || {
        let deletes = asked(&sandbox).iter().filter(|call| call.starts_with(DELETE)).count();
        let route = the_route(&sandbox);
        deletes >= 4 && !route.deleting && !route.labels.contains_key("cfapi-broker.internal/state")
    })
    .await;
    assert_eq!(put(&two, &sandbox).await.json()["outcome"], "unchanged");
    sandbox.clear_journal();
    let again = put(&one, &sandbox).await;
    assert_eq!((again.status, &again.json()["route"]["guid"]), (200, &first), "{}", again.text);
    let calls = asked(&sandbox);
    assert!(calls.iter().all(|call| !call.starts_with("DELETE ")), "{calls:?}");
    assert_eq!(the_route(&sandbox).apps, [APP]);
}

#[tokio::test]
async fn one_delete_without_an_answer_does_not_prevent_the_marks_of_the_others() {
    let sandbox = sandbox().await;
    let broker = TestBroker::start(&sandbox).await;
    let token = sandbox.provider_token();
    for subdomain in ["one", "two", "three"] {
        let body = json!({"subdomain": subdomain, "app": APP});
        assert_eq!(broker.put("/routes/t1", &token, &body).await.status, 201);
    }
    sandbox.world().pause_jobs();
    pull(&sandbox, "hang", &json!({"part": "cf", "only": "DELETE /v3/routes/", "n": 1}));
    let marked = || {
        let routes = sandbox.world().routes().into_iter();
        routes.filter(|route| route.labels.contains_key("cfapi-broker.internal/state")).count()
    };
    let seen = async {
        until("all are marked", || marked() == 3).await;
        until("the other two are deleted", || {
            sandbox.world().routes().iter().filter(|route| route.deleting).count() == 2
        })
        .await;
        sandbox.world().resume_jobs();
        sandbox.stop_part(Part::Cf).await;
        sandbox.start_part(Part::Cf).await.unwrap();
    };
    tokio::join!(delete(&broker, &sandbox), seen);
    assert_eq!(delete(&broker, &sandbox).await.status, 204);
    assert!(sandbox.world().routes().iter().all(|route| route.labels.is_empty()));
}
