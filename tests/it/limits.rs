//! Limits of each caller (`[auth]`) and of all callers together, over HTTP.

use std::{collections::BTreeMap, time::Duration};

use cfapi_sandbox::Sandbox;
use http::Method;
use serde_json::json;
use tokio::{task::JoinSet, time::Instant};

use crate::support::{
    Answer, READ, TestBroker, answer, client, pull, reader_token, sandbox, tenant::until, variables,
};

/// Variables of a broker with these limits.
fn limited(sandbox: &Sandbox, limits: &[(&str, &str)]) -> BTreeMap<String, String> {
    let mut variables = variables(sandbox);
    let limits =
        limits.iter().map(|(key, value)| (format!("CFAPI_AUTH__{key}"), (*value).to_owned()));
    variables.extend(limits);
    variables
}

/// Sends `count` requests at once.
fn parallel(broker: &TestBroker, path: &str, token: &str, count: usize) -> JoinSet<Answer> {
    let mut parallel = JoinSet::new();
    for _ in 0..count {
        let request = client().get(format!("{}{path}", broker.base)).bearer_auth(token);
        parallel.spawn(async move { answer(request).await });
    }
    parallel
}

fn assert_too_many(got: &Answer) {
    assert_eq!((got.status, got.code().as_str()), (429, "too_many_requests"), "{}", got.text);
    assert!(pause(got) >= 1);
    assert_eq!(got.json()["retryable"], true);
}

/// Seconds of `Retry-After`.
fn pause(got: &Answer) -> u64 {
    got.headers["retry-after"].to_str().unwrap().parse().unwrap()
}

/// A token that a person got through this client.
fn user_token(sandbox: &Sandbox, client: &str, user: &str) -> String {
    sandbox.token_with_claims(&json!({
        "cid": client, "client_id": client, "azp": client, "sub": format!("id-of-{user}"), "user_id": format!("id-of-{user}"),
        "user_name": user, "origin": "sap.default", "grant_type": "authorization_code",
        "scope": ["cfapi-broker!t1.Spaces.Read"],
    }))
}

#[tokio::test]
async fn a_caller_that_is_too_fast_gets_429_and_others_are_not_affected() {
    let sandbox = sandbox().await;
    let slow = limited(&sandbox, &[("REQUESTS_PER_SECOND", "1"), ("BURST", "5")]);
    let broker = TestBroker::with(slow).await;
    let (fast, other) = (
        sandbox.caller_token("sb-fast!t1", &["Spaces.Read"]),
        sandbox.caller_token("sb-other!t1", &["Spaces.Read"]),
    );
    let begun = Instant::now();
    let first = parallel(&broker, "/destinations", &fast, 50).join_all().await;
    let second = sandbox.caller_token("sb-fast!t1", &["Routes.Read", "Spaces.Read"]);
    let later = parallel(&broker, "/destinations", &second, 50).join_all().await;
    let (good, refused): (Vec<_>, Vec<_>) =
        first.iter().chain(&later).partition(|one| one.status == 200);
    refused.into_iter().for_each(assert_too_many);
    // Each second allows one more request, whatever token of the caller is used.
    let seconds = usize::try_from(begun.elapsed().as_secs()).unwrap() + 1;
    assert!((5..=5 + seconds).contains(&good.len()), "{} in {seconds} s", good.len());
    assert_eq!(broker.get("/destinations", &other).await.status, 200);
    assert_eq!(broker.get("/destinations", "a.b.c").await.status, 401);
}

#[tokio::test]
async fn at_most_sixteen_requests_of_a_caller_are_in_flight() {
    let sandbox = sandbox().await;
    let broker = TestBroker::start(&sandbox).await;
    let token = reader_token(&sandbox);
    assert_eq!(broker.get(READ, &token).await.status, 200);
    pull(&sandbox, "hang", &json!({"part": "cf", "n": 16}));
    let mut parallel = parallel(&broker, READ, &token, 20);
    for _ in 0..4 {
        assert_too_many(&parallel.join_next().await.unwrap().unwrap());
    }
    pull(&sandbox, "release", &json!({"part": "cf"}));
    let good = parallel.join_all().await;
    assert_eq!(good.iter().map(|one| one.status).collect::<Vec<_>>(), [200; 16]);
    assert_eq!(broker.get(READ, &token).await.status, 200);
}

#[tokio::test]
async fn beyond_the_limit_for_all_callers_the_answer_is_503_overloaded() {
    let sandbox = sandbox().await;
    let mut variables = variables(&sandbox);
    variables.insert("CFAPI_SERVER__MAX_IN_FLIGHT".to_owned(), "2".to_owned());
    let broker = TestBroker::with(variables).await;
    let token = sandbox.caller_token("sb-bookshop!t4711", &["Spaces.Read", "Api.Proxy"]);
    assert_eq!(broker.get("/v3/spaces", &token).await.status, 200);
    pull(&sandbox, "hang", &json!({"part": "cf", "n": 2, "only": "/v3/apps"}));
    let under_way = parallel(&broker, "/v3/apps", &token, 2);
    let hanging = || sandbox.journal().iter().filter(|one| one.path == "/v3/apps").count() == 2;
    until("two requests under way", hanging).await;
    let other = sandbox.developer_token();
    for (path, token) in [("/v3/apps", &token), ("/spaces", &other), ("/", &other)] {
        let got = broker.get(path, token).await;
        assert_eq!((got.status, got.code().as_str()), (503, "overloaded"), "{path}: {}", got.text);
        assert_eq!(got.headers["retry-after"], "1");
    }
    for path in ["/health", "/health/ready"] {
        assert_eq!(broker.send(Method::GET, path, None, None).await.status, 200, "{path}");
    }
    pull(&sandbox, "release", &json!({"part": "cf"}));
    let good = under_way.join_all().await;
    assert_eq!(good.iter().map(|one| one.status).collect::<Vec<_>>(), [200; 2]);
    assert_eq!(broker.get("/v3/apps", &token).await.status, 200);
}

#[tokio::test]
async fn a_caller_that_hangs_up_returns_its_permit() {
    let sandbox = sandbox().await;
    let broker = TestBroker::with(limited(&sandbox, &[("MAX_IN_FLIGHT", "1")])).await;
    let token = reader_token(&sandbox);
    assert_eq!(broker.get(READ, &token).await.status, 200);
    pull(&sandbox, "latency", &json!({"part": "cf", "ms": 60_000}));
    let hasty = client().get(format!("{}{READ}", broker.base)).bearer_auth(&token);
    assert!(hasty.timeout(Duration::from_millis(500)).send().await.is_err());
    for _ in 0..100 {
        if broker.get("/destinations", &token).await.status == 200 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the permit was not returned");
}

#[tokio::test]
async fn invalid_limits_are_startup_errors() {
    let sandbox = sandbox().await;
    let users = ["USERS__REQUESTS_PER_SECOND", "USERS__BURST", "USERS__MAX_IN_FLIGHT"];
    for limit in
        ["REQUESTS_PER_SECOND", "BURST", "MAX_IN_FLIGHT", "MAX_WAITING"].into_iter().chain(users)
    {
        let variables = limited(&sandbox, &[(limit, "0")]);
        let snapshot = cfapi_broker::config::env::EnvSnapshot::from_vars(variables);
        let problems =
            cfapi_broker::config::load(&snapshot, &cfapi_broker::config::Flags::default());
        let text = problems.unwrap_err().to_string();
        assert!(
            text.contains(&limit.to_ascii_lowercase().replace("__", "."))
                && text.contains("must be 1 to"),
            "{text}"
        );
    }
}

#[tokio::test]
async fn the_pause_grows_with_the_queue_and_the_text_names_the_limit() {
    let sandbox = sandbox().await;
    let slow = limited(&sandbox, &[("REQUESTS_PER_SECOND", "1"), ("BURST", "2")]);
    let broker = TestBroker::with(slow).await;
    let token = sandbox.developer_token();
    let all = parallel(&broker, "/destinations", &token, 12).join_all().await;
    let refused = all.into_iter().filter(|one| one.status == 429).collect::<Vec<_>>();
    let mut pauses = refused.iter().map(pause).collect::<Vec<_>>();
    pauses.sort_unstable();
    let longest = *pauses.last().unwrap();
    pauses.dedup();
    assert!(pauses.len() + 1 >= refused.len() && longest + 2 >= refused.len() as u64, "{pauses:?}");
    let got = &refused[0];
    let detail = got.json()["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains("1 request a second") && detail.contains("2 at once"), "{detail}");
}

#[tokio::test]
async fn too_many_at_once_is_told_from_too_fast() {
    let sandbox = sandbox().await;
    let broker = TestBroker::with(limited(&sandbox, &[("MAX_IN_FLIGHT", "2")])).await;
    let token = sandbox.provider_token();
    assert_eq!(broker.get("/v3/spaces", &token).await.status, 200);
    pull(&sandbox, "hang", &json!({"part": "cf", "n": 2}));
    let mut all = parallel(&broker, "/v3/spaces", &token, 40);
    let mut pauses = Vec::new();
    for _ in 0..38 {
        let got = all.join_next().await.unwrap().unwrap();
        assert_too_many(&got);
        let detail = got.json()["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains("2 requests of this client"), "{detail}");
        assert!(!detail.contains("a second"), "{detail}");
        pauses.push(pause(&got));
    }
    assert!(pauses.iter().any(|pause| *pause > 1), "{pauses:?}");
    pull(&sandbox, "release", &json!({"part": "cf"}));
    assert!(all.join_all().await.iter().all(|one| one.status == 200));
}

#[tokio::test]
async fn people_who_share_a_client_have_limits_of_their_own() {
    let sandbox = sandbox().await;
    let slow = [("REQUESTS_PER_SECOND", "1"), ("BURST", "5")];
    let broker = TestBroker::with(limited(&sandbox, &slow)).await;
    let client = "sb-approuter!t1";
    let anna = user_token(&sandbox, client, "anna@example.test");
    let all = parallel(&broker, "/destinations", &anna, 20).join_all().await;
    let refused = all.iter().filter(|one| one.status == 429).collect::<Vec<_>>();
    assert!(refused.len() >= 10, "{}", refused.len());
    assert!(
        refused[0].json()["detail"].as_str().unwrap().contains("this user"),
        "{}",
        refused[0].text
    );
    let bert = user_token(&sandbox, client, "bert@example.test");
    let technical = sandbox.caller_token(client, &["Spaces.Read"]);
    for token in [bert, technical] {
        let all = parallel(&broker, "/destinations", &token, 5).join_all().await;
        assert!(all.iter().all(|one| one.status == 200), "{}", all[0].text);
    }
}

#[tokio::test]
async fn the_people_of_one_client_share_a_sum() {
    let sandbox = sandbox().await;
    let sums = [("USERS__REQUESTS_PER_SECOND", "1"), ("USERS__BURST", "6")];
    let broker = TestBroker::with(limited(&sandbox, &sums)).await;
    let mut all = Vec::new();
    for number in 0..10 {
        let token = user_token(&sandbox, "sb-approuter!t1", &format!("user{number}@example.test"));
        all.extend(parallel(&broker, "/destinations", &token, 2).join_all().await);
    }
    let (good, refused): (Vec<_>, Vec<_>) = all.iter().partition(|one| one.status == 200);
    assert!((6..=12).contains(&good.len()), "{}", good.len());
    assert_too_many(refused[0]);
    let detail = refused[0].json()["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains("users of this client together"), "{detail}");
    let other = user_token(&sandbox, "sb-other!t1", "user0@example.test");
    let technical = sandbox.caller_token("sb-approuter!t1", &["Spaces.Read"]);
    for token in [other, technical] {
        assert_eq!(broker.get("/destinations", &token).await.status, 200);
    }
}
