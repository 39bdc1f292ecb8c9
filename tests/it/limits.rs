//! What one caller may ask (`[auth]`): over the real port, each caller by itself.

use std::{collections::BTreeMap, time::Duration};

use cfapi_sandbox::Sandbox;
use serde_json::json;
use tokio::task::JoinSet;

use crate::support::{Answer, TestBroker, answer, client, pull, sandbox, variables};

/// Variables of a broker with these limits.
fn limited(sandbox: &Sandbox, limits: &[(&str, &str)]) -> BTreeMap<String, String> {
    let mut variables = variables(sandbox);
    let limits =
        limits.iter().map(|(key, value)| (format!("CFAPI_AUTH__{key}"), (*value).to_owned()));
    variables.extend(limits);
    variables
}

fn assert_too_many(got: &Answer) {
    assert_eq!((got.status, got.code().as_str()), (429, "too_many_requests"), "{}", got.text);
    assert_eq!(got.headers["retry-after"], "1");
    assert_eq!(got.json()["retryable"], true);
}

#[tokio::test]
async fn a_caller_that_is_too_fast_is_slowed_down_and_no_other_feels_it() {
    let sandbox = sandbox().await;
    let slow = limited(&sandbox, &[("REQUESTS_PER_SECOND", "1"), ("BURST", "5")]);
    let broker = TestBroker::with(slow).await;
    let (fast, other) = (
        sandbox.caller_token("sb-fast!t1", &["Spaces.Read"]),
        sandbox.caller_token("sb-other!t1", &["Spaces.Read"]),
    );
    for _ in 0..5 {
        assert_eq!(broker.get("/destinations", &fast).await.status, 200);
    }
    assert_too_many(&broker.get("/destinations", &fast).await);
    let second = sandbox.caller_token("sb-fast!t1", &["Routes.Read"]);
    assert_too_many(&broker.get("/routes", &second).await);
    assert_eq!(broker.get("/destinations", &other).await.status, 200);
    assert_eq!(broker.get("/destinations", "a.b.c").await.status, 401);
}

#[tokio::test]
async fn sixteen_requests_of_a_caller_are_answered_at_once_and_not_one_more() {
    let sandbox = sandbox().await;
    let broker = TestBroker::start(&sandbox).await;
    let token = sandbox.developer_token();
    assert_eq!(broker.get("/spaces", &token).await.status, 200);
    pull(&sandbox, "latency", &json!({"part": "cf", "ms": 1500}));
    let mut crowd = JoinSet::new();
    for _ in 0..20 {
        let request = client().get(format!("{}/spaces", broker.base)).bearer_auth(&token);
        crowd.spawn(async move { answer(request).await });
    }
    let answers = crowd.join_all().await;
    let (refused, good): (Vec<_>, Vec<_>) = answers.iter().partition(|one| one.status == 429);
    assert_eq!((good.len(), refused.len()), (16, 4));
    assert!(good.iter().all(|one| one.status == 200));
    refused.into_iter().for_each(assert_too_many);
    pull(&sandbox, "latency", &json!({"part": "cf", "ms": 0}));
    assert_eq!(broker.get("/spaces", &token).await.status, 200);
}

#[tokio::test]
async fn who_hangs_up_gives_its_place_back() {
    let sandbox = sandbox().await;
    let broker = TestBroker::with(limited(&sandbox, &[("MAX_IN_FLIGHT", "1")])).await;
    let token = sandbox.developer_token();
    assert_eq!(broker.get("/spaces", &token).await.status, 200);
    pull(&sandbox, "latency", &json!({"part": "cf", "ms": 60_000}));
    let hasty = client().get(format!("{}/spaces", broker.base)).bearer_auth(&token);
    assert!(hasty.timeout(Duration::from_millis(500)).send().await.is_err());
    for _ in 0..100 {
        if broker.get("/destinations", &token).await.status == 200 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the place stays taken");
}

#[tokio::test]
async fn limits_that_make_no_sense_end_the_start() {
    let sandbox = sandbox().await;
    for limit in ["REQUESTS_PER_SECOND", "BURST", "MAX_IN_FLIGHT"] {
        let variables = limited(&sandbox, &[(limit, "0")]);
        let snapshot = cfapi_broker::config::env::Snapshot::from_vars(variables);
        let problems =
            cfapi_broker::config::load(&snapshot, &cfapi_broker::config::Flags::default());
        let text = problems.unwrap_err().to_string();
        assert!(
            text.contains(&limit.to_ascii_lowercase()) && text.contains("must be 1 to"),
            "{text}"
        );
    }
}
