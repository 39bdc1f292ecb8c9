//! Requests that only wait for a job of CF hold no place; crowds of tenants succeed when they are
//! repeated as documented.

use std::{collections::BTreeMap, time::Duration};

use cfapi_sandbox::{JournalEntry, Part, Sandbox};
use http::Method;
use rstest::rstest;
use serde_json::{Value, json};
use tokio::{task::JoinSet, time::Instant};

use crate::support::{
    APP, Answer, TestBroker, answer, client, pull, sandbox, tenant::until, variables,
};

/// A broker with these variables besides those of the platform.
async fn broker_with(sandbox: &Sandbox, settings: &[(&str, &str)]) -> TestBroker {
    let mut variables: BTreeMap<_, _> = variables(sandbox);
    let settings = settings.iter();
    variables.extend(settings.map(|(key, value)| (format!("CFAPI_{key}"), (*value).to_owned())));
    TestBroker::with(variables).await
}

fn request_of(number: usize) -> Value {
    json!({"subdomain": format!("sub{number}"), "app": APP})
}

/// Subscribes tenants `t0`, `t1` … in one call.
async fn subscribe(broker: &TestBroker, sandbox: &Sandbox, count: usize) {
    let item = |number: usize| {
        let tenant = format!("t{number}");
        json!({"op": "ensure", "tenantId": tenant, "subdomain": format!("sub{number}"), "app": APP})
    };
    let body = json!({"items": (0..count).map(item).collect::<Vec<_>>()});
    let token = sandbox.provider_token();
    let got = broker.send(Method::POST, "/routes/batch", Some(&token), Some(&body)).await;
    let all = got.json()["results"].as_array().unwrap().clone();
    assert!(all.iter().all(|one| one["status"] == 201), "{}", got.text);
}

/// A delete in a task of its own.
fn delete_later(broker: &TestBroker, token: &str, tenant: &str) -> tokio::task::JoinHandle<Answer> {
    let request = client().delete(format!("{}/routes/{tenant}", broker.base)).bearer_auth(token);
    #[expect(clippy::disallowed_methods, reason = "a caller of its own")]
    tokio::spawn(answer(request))
}

/// How many deletes CF got.
fn deletes(sandbox: &Sandbox) -> usize {
    let journal = sandbox.journal();
    journal.iter().filter(|one| one.part == Part::Cf && one.method == "DELETE").count()
}

/// Sends a request and repeats it as `docs/how-to/provider-app.md` says. Returns the answer and the
/// number of repeats.
async fn as_documented(request: reqwest::RequestBuilder) -> (Answer, usize) {
    let begun = Instant::now();
    for repeats in 0.. {
        let got = answer(request.try_clone().unwrap()).await;
        if got.status < 400 || got.json()["retryable"] != true {
            return (got, repeats);
        }
        let pause = got.headers["retry-after"].to_str().unwrap().parse().unwrap();
        if got.status != 429 && repeats == 2 || begun.elapsed() > Duration::from_secs(120) {
            return (got, repeats);
        }
        tokio::time::sleep(Duration::from_secs(pause)).await;
    }
    unreachable!()
}

#[tokio::test]
async fn a_hundred_subscriptions_at_once_succeed_when_repeated_as_documented() {
    let sandbox = sandbox().await;
    let broker = TestBroker::start(&sandbox).await;
    let token = sandbox.provider_token();
    let mut crowd = JoinSet::new();
    for number in 0..100 {
        let url = format!("{}/routes/t{number}", broker.base);
        let token = token.clone();
        crowd.spawn(async move {
            let put = |query| {
                let http = client().put(format!("{url}{query}")).bearer_auth(&token);
                let body = request_of(number).to_string();
                http.header("content-type", "application/json").body(body)
            };
            let (preview, first) = as_documented(put("?dry_run=true")).await;
            let (done, second) = as_documented(put("")).await;
            (preview.status, done.status, first.max(second))
        });
    }
    let all = crowd.join_all().await;
    assert!(all.iter().all(|one| (one.0, one.1) == (200, 201)), "{all:?}");
    assert!(all.iter().all(|one| one.2 <= 5), "{all:?}");
}

#[tokio::test]
async fn eighty_parallel_unsubscriptions_with_slow_jobs_succeed_when_repeated_as_documented() {
    let sandbox = sandbox().await;
    let broker = TestBroker::start(&sandbox).await;
    subscribe(&broker, &sandbox, 81).await;
    pull(&sandbox, "job_delay", &json!({"ms": 3000}));
    let token = sandbox.provider_token();
    let mut crowd = JoinSet::new();
    for number in 0..80 {
        let url = format!("{}/routes/t{number}", broker.base);
        crowd.spawn(as_documented(client().delete(url).bearer_auth(&token)));
    }
    until("twenty deletes", || deletes(&sandbox) >= 20).await;
    for _ in 0..5 {
        let other =
            as_documented(client().get(format!("{}/routes/t80", broker.base)).bearer_auth(&token));
        let (other, repeats) = other.await;
        assert_eq!(other.status, 200, "{}", other.text);
        assert!(repeats <= 2, "{repeats}");
    }
    let all = crowd.join_all().await;
    let statuses = all.iter().map(|(one, repeats)| (one.status, *repeats)).collect::<Vec<_>>();
    assert!(statuses.iter().all(|one| matches!(one, (202 | 204, 0..=5))), "{statuses:?}");
    let left = || sandbox.world().routes().iter().filter(|one| one.host.starts_with("sub")).count();
    until("only t80 is left", || left() == 1).await;
}

#[tokio::test]
async fn requests_that_wait_for_a_job_hold_no_place() {
    let sandbox = sandbox().await;
    let limits = [("AUTH__MAX_IN_FLIGHT", "1"), ("SERVER__MAX_IN_FLIGHT", "1")];
    let broker = broker_with(&sandbox, &limits).await;
    subscribe(&broker, &sandbox, 4).await;
    let token = sandbox.provider_token();
    pull(&sandbox, "pause_jobs", &json!({}));
    let mut waiting = Vec::new();
    for number in 0..3 {
        waiting.push(delete_later(&broker, &token, &format!("t{number}")));
        until("the delete", || deletes(&sandbox) == number + 1).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // A second delete of one tenant waits for the first.
    waiting.push(delete_later(&broker, &token, "t0"));
    let other = broker.get("/routes/t3", &token).await;
    assert_eq!(other.status, 200, "{}", other.text);
    pull(&sandbox, "resume_jobs", &json!({}));
    for one in waiting {
        let got = one.await.unwrap();
        assert_eq!(got.status, 204, "{}", got.text);
    }
}

#[tokio::test]
async fn a_put_that_waits_for_a_dying_route_holds_no_place() {
    let sandbox = sandbox().await;
    let broker = broker_with(&sandbox, &[("AUTH__MAX_IN_FLIGHT", "1")]).await;
    subscribe(&broker, &sandbox, 2).await;
    let token = sandbox.provider_token();
    pull(&sandbox, "pause_jobs", &json!({}));
    let request = client().delete(format!("{}/routes/t0", broker.base)).bearer_auth(&token);
    let running = answer(request.header("prefer", "respond-async")).await;
    assert_eq!(running.status, 202, "{}", running.text);
    let request = client().put(format!("{}/routes/t0", broker.base)).bearer_auth(&token);
    let body = request_of(0).to_string();
    let request = request.header("content-type", "application/json").body(body);
    #[expect(clippy::disallowed_methods, reason = "a caller of its own")]
    let put = tokio::spawn(answer(request));
    let creates = || {
        let journal = sandbox.journal();
        journal.iter().filter(|one| one.method == "POST" && one.path == "/v3/routes").count()
    };
    until("the create", || creates() == 3).await;
    let other = broker.get("/routes/t1", &token).await;
    assert_eq!(other.status, 200, "{}", other.text);
    pull(&sandbox, "resume_jobs", &json!({}));
    let put = put.await.unwrap();
    assert_eq!(put.status, 201, "{}", put.text);
}

#[tokio::test]
async fn beyond_the_bound_of_waiting_a_delete_is_answered_at_once() {
    let sandbox = sandbox().await;
    let broker = broker_with(&sandbox, &[("AUTH__MAX_WAITING", "1")]).await;
    subscribe(&broker, &sandbox, 2).await;
    let token = sandbox.provider_token();
    pull(&sandbox, "pause_jobs", &json!({}));
    let first = delete_later(&broker, &token, "t0");
    until("the first delete", || deletes(&sandbox) == 1).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    let second = broker.delete("/routes/t1", &token).await;
    assert_eq!(second.status, 202, "{}", second.text);
    assert!(second.headers.contains_key("retry-after"));
    assert!(!second.headers.contains_key("preference-applied"), "it was not asked for");
    let operation = second.headers["location"].to_str().unwrap().to_owned();
    let operation = operation.split_once("/routes/").unwrap().1;
    let operation = &format!("/routes/{operation}");
    assert_eq!(broker.get(operation, &token).await.json()["status"], "running");
    pull(&sandbox, "resume_jobs", &json!({}));
    assert_eq!(first.await.unwrap().status, 204);
    for _ in 0..100 {
        if broker.get(operation, &token).await.json()["status"] == "succeeded" {
            break;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    assert_eq!(broker.get(operation, &token).await.json()["status"], "succeeded");
    assert_eq!(broker.delete("/routes/t1", &token).await.status, 204, "there is room again");
}

/// Sends a request in a task of its own.
fn post_later(
    broker: &TestBroker,
    token: &str,
    path: &str,
    body: &Value,
) -> tokio::task::JoinHandle<Answer> {
    let request = client().post(format!("{}{path}", broker.base)).bearer_auth(token);
    let request = request.header("content-type", "application/json").body(body.to_string());
    #[expect(clippy::disallowed_methods, reason = "a caller of its own")]
    tokio::spawn(answer(request))
}

/// How many calls of this kind CF has not answered yet.
fn under_way(sandbox: &Sandbox, method: &str) -> usize {
    let journal = sandbox.journal();
    let open = |one: &&JournalEntry| one.part == Part::Cf && one.status.is_none();
    journal.iter().filter(open).filter(|one| one.method == method).count()
}

#[rstest]
#[case::each_of_its_own_tenant(4, 4)]
#[case::all_of_one_tenant(2, 1)]
#[tokio::test]
async fn a_batch_whose_items_work_holds_its_place(#[case] items: usize, #[case] tenants: usize) {
    let sandbox = sandbox().await;
    let broker = broker_with(&sandbox, &[("AUTH__MAX_IN_FLIGHT", "1")]).await;
    subscribe(&broker, &sandbox, 1).await;
    let token = sandbox.provider_token();
    let item = |number: usize| {
        let tenant = format!("own{}", number % tenants);
        json!({"op": "ensure", "tenantId": tenant, "subdomain": format!("own{number}"), "app": APP})
    };
    let body = json!({"items": (0..items).map(item).collect::<Vec<_>>()});
    pull(&sandbox, "hang", &json!({"part": "cf", "n": items, "only": "POST /v3/routes"}));
    let batch = post_later(&broker, &token, "/routes/batch", &body);
    for _ in 0..items / tenants {
        until("the creates", || under_way(&sandbox, "POST") == tenants).await;
        let other = broker.get("/routes/t0", &token).await;
        assert_eq!(other.status, 429, "{}", other.text);
        pull(&sandbox, "release", &json!({"part": "cf"}));
    }
    let got = batch.await.unwrap();
    let all = got.json()["results"].as_array().unwrap().clone();
    assert!(all.len() == items && all.iter().all(|one| one["status"] == 201), "{}", got.text);
    assert_eq!(broker.get("/routes/t0", &token).await.status, 200, "it has ended");
}

#[tokio::test]
async fn a_delete_of_two_routes_holds_its_place_until_it_waits() {
    let sandbox = sandbox().await;
    let broker = broker_with(&sandbox, &[("AUTH__MAX_IN_FLIGHT", "1")]).await;
    subscribe(&broker, &sandbox, 1).await;
    let token = sandbox.provider_token();
    let second = json!({"subdomain": "second", "app": APP});
    assert_eq!(broker.put("/routes/t0", &token, &second).await.status, 201);
    pull(&sandbox, "hang", &json!({"part": "cf", "n": 2, "only": "PATCH /v3/routes"}));
    let gone = delete_later(&broker, &token, "t0");
    until("the marks", || under_way(&sandbox, "PATCH") == 2).await;
    let other = broker.get("/routes/t0", &token).await;
    assert_eq!(other.status, 429, "{}", other.text);
    pull(&sandbox, "pause_jobs", &json!({}));
    pull(&sandbox, "release", &json!({"part": "cf"}));
    until("two deletes", || deletes(&sandbox) == 2).await;
    let other = broker.get("/routes/t0", &token).await;
    assert_eq!(other.status, 200, "{}", other.text);
    pull(&sandbox, "resume_jobs", &json!({}));
    assert_eq!(gone.await.unwrap().status, 204);
}

#[rstest]
#[case::alone(false)]
#[case::in_a_batch(true)]
#[tokio::test]
async fn a_delete_that_is_sent_again_holds_its_place(#[case] in_batch: bool) {
    let sandbox = sandbox().await;
    let broker = broker_with(&sandbox, &[("AUTH__MAX_IN_FLIGHT", "1")]).await;
    subscribe(&broker, &sandbox, 2).await;
    let token = sandbox.provider_token();
    pull(&sandbox, "pause_jobs", &json!({}));
    pull(&sandbox, "fail_jobs", &json!({"n": 1}));
    let gone = if in_batch {
        let body = json!({"items": [{"op": "remove", "tenantId": "t0"}]});
        post_later(&broker, &token, "/routes/batch", &body)
    } else {
        delete_later(&broker, &token, "t0")
    };
    until("the delete", || deletes(&sandbox) == 1).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(broker.get("/routes/t1", &token).await.status, 200);
    pull(&sandbox, "hang", &json!({"part": "cf", "only": "DELETE /v3/routes"}));
    pull(&sandbox, "resume_jobs", &json!({}));
    until("the second delete", || under_way(&sandbox, "DELETE") == 1).await;
    let other = broker.get("/routes/t1", &token).await;
    assert_eq!(other.status, 429, "{}", other.text);
    pull(&sandbox, "release", &json!({"part": "cf"}));
    let got = gone.await.unwrap();
    let status =
        if in_batch { got.json()["results"][0]["status"].clone() } else { json!(got.status) };
    assert_eq!(status, 204, "{}", got.text);
}

/// The value of the metric of waits with this cause.
async fn waits(broker: &TestBroker, sandbox: &Sandbox, cause: &str) -> Option<String> {
    let name = format!("cfapi_broker_http_requests_waiting{{cause=\"{cause}\"}} ");
    let text = broker.get("/metrics", &sandbox.admin_token()).await.text;
    text.lines().find_map(|line| line.strip_prefix(&name)).map(str::to_owned)
}

#[tokio::test]
async fn a_metric_counts_what_waits_for_a_job_and_for_a_lock() {
    let sandbox = sandbox().await;
    let broker = TestBroker::start(&sandbox).await;
    subscribe(&broker, &sandbox, 2).await;
    let token = sandbox.provider_token();
    pull(&sandbox, "pause_jobs", &json!({}));
    let mut waiting = Vec::new();
    for (number, tenant) in ["t0", "t1", "t0"].into_iter().enumerate() {
        waiting.push(delete_later(&broker, &token, tenant));
        until("the delete", || deletes(&sandbox) == (number + 1).min(2)).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(waits(&broker, &sandbox, "job").await.as_deref(), Some("2"));
    assert_eq!(waits(&broker, &sandbox, "lock").await.as_deref(), Some("1"));
    pull(&sandbox, "resume_jobs", &json!({}));
    for delete in waiting {
        assert_eq!(delete.await.unwrap().status, 204);
    }
    assert_eq!(waits(&broker, &sandbox, "job").await.as_deref(), Some("0"));
    assert_eq!(waits(&broker, &sandbox, "lock").await.as_deref(), Some("0"));
}

#[tokio::test]
async fn items_of_a_batch_that_wait_hold_up_no_other_item_and_no_other_request() {
    let sandbox = sandbox().await;
    let broker = broker_with(&sandbox, &[("AUTH__MAX_IN_FLIGHT", "1")]).await;
    subscribe(&broker, &sandbox, 7).await;
    let token = sandbox.provider_token();
    pull(&sandbox, "pause_jobs", &json!({}));
    let item = |number| json!({"op": "remove", "tenantId": format!("t{number}")});
    let body = json!({"items": (0..6).map(item).collect::<Vec<_>>()});
    let batch = post_later(&broker, &token, "/routes/batch", &body);
    until("six deletes", || deletes(&sandbox) == 6).await;
    let other = broker.get("/routes/t6", &token).await;
    assert_eq!(other.status, 200, "{}", other.text);
    pull(&sandbox, "resume_jobs", &json!({}));
    let got = batch.await.unwrap();
    let all = got.json()["results"].as_array().unwrap().clone();
    assert!(all.len() == 6 && all.iter().all(|one| one["status"] == 204), "{}", got.text);
}
