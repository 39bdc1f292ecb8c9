//! Deletes of tenant routes: first the mark, then the delete, and one more if CF's job fails.

use std::time::Duration;

use cfapi_sandbox::{Sandbox, token::CfTokenSpec};
use http::Method;
use rstest::rstest;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::support::{
    APP, Answer, TestBroker, answer, client,
    process::Program,
    pull, sandbox,
    tenant::{HOST, asked, delete, delete_async, put, route_request, routes_of, the_route, until},
    variables,
};

const STATE: &str = "cfapi-broker.internal/state";
const SINCE: &str = "cfapi-broker.internal/deleting-since";
const MARK: &str = "PATCH /v3/routes/";
const DELETE: &str = "DELETE /v3/routes/";
const UNKNOWN: &str = r#"{"errors":[{"title":"UnknownError","detail":"x","code":10001}]}"#;

/// How the caller deletes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Caller {
    Waits,
    DoesNotWait,
}

impl Caller {
    async fn delete(self, broker: &TestBroker, sandbox: &Sandbox) -> Answer {
        match self {
            Self::Waits => delete(broker, sandbox).await,
            Self::DoesNotWait => delete_async(broker, sandbox).await,
        }
    }

    /// Asserts that the answer is a success, and waits until the route is gone.
    async fn succeeds(self, gone: &Answer, sandbox: &Sandbox) {
        let status = if self == Self::Waits { 204 } else { 202 };
        assert_eq!(gone.status, status, "{}", gone.text);
        until("the route is gone", || routes_of(sandbox, HOST).is_empty()).await;
    }
}

/// Sends a request of the CF API as the technical user.
async fn cf(sandbox: &Sandbox, method: Method, path: &str, body: &Value) -> Answer {
    let token = sandbox.cf_token(&CfTokenSpec::default());
    let request = client().request(method, format!("{}{path}", sandbox.cf_url()));
    let request = request.header("authorization", format!("bearer {token}"));
    answer(request.header("content-type", "application/json").body(body.to_string())).await
}

/// Writes labels and annotations of the tenant's route, not as the broker.
async fn write_metadata(sandbox: &Sandbox, metadata: &Value) {
    let path = format!("/v3/routes/{}", the_route(sandbox).guid);
    let written = cf(sandbox, Method::PATCH, &path, &json!({"metadata": metadata})).await;
    assert_eq!(written.status, 200, "{}", written.text);
}

/// As many entries as still fit.
fn fillers(used: usize, most: usize) -> Value {
    (used..most).map(|n| (format!("filler.test/n{n}"), json!("x"))).collect()
}

async fn fill_labels(sandbox: &Sandbox) {
    write_metadata(sandbox, &json!({"labels": fillers(3, 50)})).await;
}

async fn fill_annotations(sandbox: &Sandbox) {
    write_metadata(sandbox, &json!({"annotations": fillers(5, 200)})).await;
}

/// What has been asked of CF, without the guids.
fn verbs(sandbox: &Sandbox) -> Vec<String> {
    let calls = asked(sandbox).into_iter();
    calls.map(|call| call.split(' ').next().unwrap_or_default().to_owned()).collect()
}

#[rstest]
#[tokio::test]
async fn a_route_is_marked_before_it_is_deleted_and_not_touched_after(
    #[values(Caller::Waits, Caller::DoesNotWait)] caller: Caller,
    // The second job outlives the time of a usual one.
    #[values(200, 2300)] job: u64,
) {
    let sandbox = sandbox().await;
    let broker = TestBroker::start(&sandbox).await;
    assert_eq!(put(&broker, &sandbox).await.status, 201);
    sandbox.world().job_delay(Duration::from_millis(job));
    sandbox.clear_journal();
    let gone = caller.delete(&broker, &sandbox).await;
    caller.succeeds(&gone, &sandbox).await;
    let calls = verbs(&sandbox);
    assert_eq!(calls[..3], ["GET", "PATCH", "DELETE"], "{calls:?}");
    assert!(calls[3..].iter().all(|verb| verb == "GET"), "{calls:?}");
}

/// Why CF does not take the mark.
#[derive(Clone, Copy, Debug)]
enum Refusal {
    Labels,
    Annotations,
    Both,
    Status(u16),
    Cut,
}

#[rstest]
#[tokio::test]
async fn a_refused_mark_does_not_stop_the_delete(
    #[values(Caller::Waits, Caller::DoesNotWait)] caller: Caller,
    #[values(
        Refusal::Labels,
        Refusal::Annotations,
        Refusal::Both,
        Refusal::Status(403),
        Refusal::Status(404),
        Refusal::Status(422),
        Refusal::Status(500),
        Refusal::Status(503),
        Refusal::Cut
    )]
    refusal: Refusal,
) {
    let sandbox = sandbox().await;
    let broker = TestBroker::start(&sandbox).await;
    assert_eq!(put(&broker, &sandbox).await.status, 201);
    match refusal {
        Refusal::Labels => fill_labels(&sandbox).await,
        Refusal::Annotations => fill_annotations(&sandbox).await,
        Refusal::Both => {
            fill_labels(&sandbox).await;
            fill_annotations(&sandbox).await;
        }
        Refusal::Status(status) => {
            let code = if status == 404 { 10010 } else { 10001 };
            let body = json!({"errors": [{"title": "T", "detail": "x", "code": code}]});
            let args = json!({"part": "cf", "n": 9, "status": status, "body": body, "only": MARK});
            pull(&sandbox, "fail_next", &args);
        }
        Refusal::Cut => drop(pull(&sandbox, "cut", &json!({"part": "cf", "n": 9, "only": MARK}))),
    }
    let gone = caller.delete(&broker, &sandbox).await;
    caller.succeeds(&gone, &sandbox).await;
    assert!(asked(&sandbox).iter().any(|call| call.starts_with(MARK)));
    // The tenant may come back at once.
    let back = put(&broker, &sandbox).await;
    assert_eq!((back.status, &*the_route(&sandbox).apps), (201, &[APP.to_owned()][..]));
}

#[tokio::test]
async fn a_delete_that_cf_refuses_leaves_no_mark() {
    let sandbox = sandbox().await;
    let broker = TestBroker::start(&sandbox).await;
    put(&broker, &sandbox).await;
    let body = json!({"errors": [{"title": "CF-OrgSuspended", "detail": "x", "code": 10017}]});
    let args = json!({"part": "cf", "status": 403, "body": body, "only": DELETE});
    pull(&sandbox, "fail_next", &args);
    let refused = delete(&broker, &sandbox).await;
    assert_eq!((refused.status, refused.code().as_str()), (502, "cf_refused"), "{}", refused.text);
    let route = the_route(&sandbox);
    assert!(!route.labels.contains_key(STATE) && !route.annotations.contains_key(SINCE));
    assert_eq!(put(&broker, &sandbox).await.json()["outcome"], "unchanged");
}

#[rstest]
#[tokio::test]
async fn a_job_that_fails_is_repeated_once_before_anyone_is_told(
    #[values(Caller::Waits, Caller::DoesNotWait)] caller: Caller,
) {
    let sandbox = sandbox().await;
    let (broker, other) = (TestBroker::start(&sandbox).await, TestBroker::start(&sandbox).await);
    put(&broker, &sandbox).await;
    sandbox.world().fail_jobs(1, "disk full");
    let gone = caller.delete(&broker, &sandbox).await;
    if caller == Caller::DoesNotWait {
        let place = gone.headers["location"].to_str().unwrap();
        let place = url::Url::parse(place).unwrap();
        let place = place.path();
        loop {
            let told = other.get(place, &sandbox.provider_token()).await;
            let status = told.json()["status"].as_str().unwrap().to_owned();
            assert!(status == "running" || status == "succeeded", "{}", told.text);
            if status == "succeeded" {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    caller.succeeds(&gone, &sandbox).await;
    let deletes = asked(&sandbox).iter().filter(|call| call.starts_with(DELETE)).count();
    assert_eq!(deletes, 2);
}

#[rstest]
#[case::written(200)]
#[case::refused(500)]
#[tokio::test]
async fn a_label_that_someone_else_writes_during_the_job_does_not_keep_the_route(
    #[case] status: u64,
    #[values(Caller::Waits, Caller::DoesNotWait)] caller: Caller,
) {
    let sandbox = sandbox().await;
    let broker = TestBroker::start(&sandbox).await;
    put(&broker, &sandbox).await;
    sandbox.world().job_delay(Duration::from_millis(600));
    sandbox.world().label_race(status, None).unwrap();
    let path = format!("/v3/routes/{}", the_route(&sandbox).guid);
    let writing = async {
        until("the job runs", || the_route(&sandbox).deleting).await;
        let label = json!({"metadata": {"labels": {"operator.test/a": "b"}}});
        let written = cf(&sandbox, Method::PATCH, &path, &label).await;
        assert_eq!(u64::from(written.status), status);
    };
    let (gone, ()) = tokio::join!(caller.delete(&broker, &sandbox), writing);
    caller.succeeds(&gone, &sandbox).await;
}

#[tokio::test]
async fn two_instances_that_delete_one_tenant_both_succeed() {
    let sandbox = sandbox().await;
    let (one, two) = (TestBroker::start(&sandbox).await, TestBroker::start(&sandbox).await);
    put(&one, &sandbox).await;
    // The mark of the second arrives while the job of the first runs.
    pull(&sandbox, "latency", &json!({"part": "cf", "ms": 60}));
    let late = async {
        until("the first one deletes", || {
            asked(&sandbox).iter().any(|call| call.starts_with("GET /v3/routes"))
        })
        .await;
        delete(&two, &sandbox).await
    };
    let (first, second) = tokio::join!(delete(&one, &sandbox), late);
    assert_eq!((first.status, second.status), (204, 204), "{} {}", first.text, second.text);
    assert!(routes_of(&sandbox, HOST).is_empty());
}

/// The call that finishes the delete of a broker that was killed.
#[derive(Clone, Copy, Debug)]
enum Next {
    Delete,
    Put,
    Reconcile,
    ReconcileListed,
}

#[rstest]
#[tokio::test]
async fn a_broker_killed_between_mark_and_delete_is_finished_by_the_next_call(
    #[values(Caller::Waits, Caller::DoesNotWait)] caller: Caller,
    #[values(Next::Delete, Next::Put, Next::Reconcile, Next::ReconcileListed)] next: Next,
) {
    let sandbox = sandbox().await;
    let mut doomed = Program::start(&[], &variables(&sandbox));
    let base = doomed.base().await;
    let broker = TestBroker::start(&sandbox).await;
    let token = sandbox.provider_token();
    let first = put(&broker, &sandbox).await.json()["route"]["guid"].clone();
    pull(&sandbox, "hang", &json!({"part": "cf", "only": DELETE}));
    let request = client().delete(format!("{base}/routes/t1")).bearer_auth(&token);
    let request = match caller {
        Caller::Waits => request,
        Caller::DoesNotWait => request.header("prefer", "respond-async"),
    };
    let mut set = JoinSet::new();
    set.spawn(async move { drop(request.send().await) });
    until("the delete is asked for", || {
        asked(&sandbox).iter().any(|call| call.starts_with(DELETE))
    })
    .await;
    drop(doomed);
    // The route is marked, and CF has not got the delete.
    let left = the_route(&sandbox);
    assert!(left.labels.contains_key(STATE) && !left.deleting, "{left:?}");
    let listed = |tenant: &str, subdomain: &str| {
        json!({
            "tenants": [{"tenantId": tenant, "subdomain": subdomain, "app": APP}],
            "apply": true, "delete_orphans": true,
        })
    };
    match next {
        Next::Delete => assert_eq!(delete(&broker, &sandbox).await.status, 204),
        Next::Put => assert_eq!(put(&broker, &sandbox).await.status, 201),
        Next::Reconcile => {
            let done = reconcile(&broker, &token, &listed("t2", "beta")).await;
            assert_eq!(done.status, 200, "{}", done.text);
        }
        Next::ReconcileListed => {
            let done = reconcile(&broker, &token, &listed("t1", "acme")).await;
            assert_eq!(done.json()["results"][0]["status"], 201, "{}", done.text);
        }
    }
    match next {
        Next::Delete | Next::Reconcile => assert!(routes_of(&sandbox, HOST).is_empty()),
        Next::Put | Next::ReconcileListed => {
            let route = the_route(&sandbox);
            assert_ne!(first, route.guid.as_str());
            assert!(!route.labels.contains_key(STATE));
        }
    }
}

#[rstest]
#[case::repeated(1, "succeeded", 2)]
#[case::failed_again(2, "failed", 2)]
#[tokio::test]
async fn a_job_that_fails_after_its_broker_ended_is_repeated_before_the_operation_is_failed(
    #[case] failing: u64,
    #[case] end: &str,
    #[case] deletes: usize,
) {
    let sandbox = sandbox().await;
    let mut doomed = Program::start(&[], &variables(&sandbox));
    let base = doomed.base().await;
    let broker = TestBroker::start(&sandbox).await;
    let token = sandbox.provider_token();
    put(&broker, &sandbox).await;
    sandbox.world().job_delay(Duration::from_millis(1500));
    sandbox.world().fail_jobs(failing, "disk full");
    let request = client().delete(format!("{base}/routes/t1")).bearer_auth(&token);
    let gone = answer(request.header("prefer", "respond-async")).await;
    assert_eq!(gone.status, 202, "{}", gone.text);
    drop(doomed);
    let place = url::Url::parse(gone.headers["location"].to_str().unwrap()).unwrap();
    let mut told = json!({"status": "running"});
    for _ in 0..300 {
        told = broker.get(place.path(), &token).await.json();
        if told["status"] != "running" {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(told["status"], end, "{told}");
    let sent = asked(&sandbox).iter().filter(|call| call.starts_with(DELETE)).count();
    assert_eq!(sent, deletes);
    let left = routes_of(&sandbox, HOST);
    assert_eq!(left.is_empty(), end == "succeeded");
    assert!(left.iter().all(|route| !route.labels.contains_key(STATE)), "{left:?}");
}

async fn reconcile(broker: &TestBroker, token: &str, body: &Value) -> Answer {
    broker.send(Method::POST, "/routes/reconcile", Some(token), Some(body)).await
}

/// What of the mark fits on the route.
#[derive(Clone, Copy, Debug)]
enum Room {
    Enough,
    NoLabel,
    NoAnnotation,
}

#[rstest]
#[tokio::test]
async fn no_put_gets_a_route_that_another_instance_has_begun_to_delete(
    #[values(Caller::Waits, Caller::DoesNotWait)] caller: Caller,
    #[values(Room::Enough, Room::NoLabel, Room::NoAnnotation)] room: Room,
) {
    let sandbox = sandbox().await;
    let (one, two) = (TestBroker::start(&sandbox).await, TestBroker::start(&sandbox).await);
    let first = put(&one, &sandbox).await.json()["route"]["guid"].clone();
    match room {
        Room::Enough => {}
        Room::NoLabel => fill_labels(&sandbox).await,
        Room::NoAnnotation => fill_annotations(&sandbox).await,
    }
    sandbox.world().job_delay(Duration::from_millis(700));
    let back = async {
        until("the job runs", || the_route(&sandbox).deleting).await;
        let shown = two.get("/routes/t1", &sandbox.provider_token()).await.json();
        assert_eq!(shown["routes"][0]["state"], "deleting", "{shown}");
        put(&two, &sandbox).await
    };
    let (gone, back) = tokio::join!(caller.delete(&one, &sandbox), back);
    assert!(matches!(gone.status, 202 | 204), "{}", gone.text);
    assert_eq!(back.status, 201, "{}", back.text);
    until("no job is left", || sandbox.world().routes().iter().all(|route| !route.deleting)).await;
    let route = the_route(&sandbox);
    assert_ne!(first, route.guid.as_str());
    assert_eq!(back.json()["route"]["guid"], route.guid.as_str());
    assert_eq!(route.apps, [APP]);
}

#[tokio::test]
async fn an_error_of_a_mark_is_looked_into() {
    let sandbox = sandbox().await;
    let (one, two) = (TestBroker::start(&sandbox).await, TestBroker::start(&sandbox).await);
    put(&one, &sandbox).await;
    sandbox.world().job_delay(Duration::from_millis(700));
    pull(
        &sandbox,
        "fail_next",
        &json!({"part": "cf", "status": 500, "body": UNKNOWN, "only": MARK}),
    );
    assert_eq!(delete_async(&one, &sandbox).await.status, 202);
    // The second attempt set the mark, so the other instance knows.
    let back = two.put("/routes/t1", &sandbox.provider_token(), &route_request()).await;
    assert_eq!(back.status, 201, "{}", back.text);
}
