//! Token handling, end to end. The tests that need paused time are in the module `token`.

use std::collections::BTreeMap;

use cfapi_sandbox::{Part, TECHNICAL_USER};
use http::Method;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::json;
use tokio::task::JoinSet;

use crate::support::{
    APP, READ, TestBroker, answer, client, process::Program, pull, reader_token, sandbox, variables,
};

#[tokio::test]
async fn a_thousand_cold_callers_cost_one_find_and_one_grant_although_the_first_hangs_up() {
    allow_many_sockets();
    let sandbox = sandbox().await;
    pull(&sandbox, "latency", &json!({"part": "uaa", "ms": 1500}));
    let mut vars = variables(&sandbox);
    vars.insert("CFAPI_SERVER__MAX_IN_FLIGHT".to_owned(), "2000".to_owned());
    // The first logon at start must not be the one that is counted: no warm-up for 5 s.
    vars.insert("CF_INSTANCE_INDEX".to_owned(), "10".to_owned());
    let broker = TestBroker::with(vars).await;
    let url = format!("{}/spaces", broker.base);
    // So many callers that none exceeds its own limit.
    let callers = (0..100).map(|number| format!("sb-{number}!t1"));
    let tokens: Vec<_> =
        callers.map(|caller| sandbox.caller_token(&caller, &["Spaces.Read"])).collect();
    let http = client();
    let hasty =
        http.get(&url).bearer_auth(&tokens[0]).timeout(std::time::Duration::from_millis(100));
    let mut crowd = JoinSet::new();
    crowd.spawn(async move { hasty.send().await.is_err() });
    for token in tokens.iter().cycle().take(999) {
        let request = http.get(&url).bearer_auth(token);
        crowd.spawn(async move { answer(request).await.status == 200 });
    }
    let outcomes = crowd.join_all().await;
    assert_eq!(outcomes.iter().filter(|good| **good).count(), 1000);
    let journal = sandbox.journal();
    assert_eq!(sandbox.password_grants(), 1);
    assert_eq!(journal.iter().filter(|entry| entry.part == Part::Destination).count(), 1);
}

/// Both ends of each connection are in this process: the usual soft limit of 1024 files is too low.
fn allow_many_sockets() {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum }).unwrap();
}

#[tokio::test]
async fn a_wrong_password_costs_one_logon_per_process() {
    let sandbox = sandbox().await;
    pull(&sandbox, "change_password", &json!({"user": TECHNICAL_USER, "password": "another"}));
    for life in 1..=3 {
        let mut program = Program::start(&[], &variables(&sandbox));
        let base = program.base().await;
        let mut crowd = JoinSet::new();
        for number in 0..100 {
            // Ten callers, because one caller alone may not have so many requests in flight.
            let token = sandbox.caller_token(&format!("sb-{}!t1", number % 10), &["Spaces.Read"]);
            let request = client().get(format!("{base}/spaces")).bearer_auth(token);
            crowd.spawn(async move { answer(request).await.code() });
        }
        assert!(crowd.join_all().await.iter().all(|code| code == "technical_user_rejected"));
        assert_eq!(answer(client().get(format!("{base}/health"))).await.status, 200);
        assert_eq!(sandbox.password_grants(), life);
        assert_eq!(program.terminate().await.code, Some(0));
    }
}

#[tokio::test]
async fn a_corrected_password_is_in_use_after_a_signal_without_a_restart() {
    let sandbox = sandbox().await;
    pull(&sandbox, "edit_destination", &json!({"name": "CFAPI", "set": {"Password": "wrong"}}));
    let mut program = Program::start(&[], &variables(&sandbox));
    let base = program.base().await;
    let spaces =
        || answer(client().get(format!("{base}/spaces")).bearer_auth(sandbox.developer_token()));
    assert_eq!(spaces().await.code(), "technical_user_rejected");
    let right = json!({"name": "CFAPI", "set": {"Password": cfapi_sandbox::TECHNICAL_PASSWORD}});
    pull(&sandbox, "edit_destination", &right);
    program.hang_up();
    for _ in 0..100 {
        let got = spaces().await;
        if got.status == 200 {
            assert_eq!(sandbox.password_grants(), 2);
            return;
        }
        assert_eq!(got.code(), "technical_user_rejected");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    panic!("not healed:\n{}", program.output());
}

/// CF's answer to a token that it does not accept.
const INVALID_TOKEN: &str =
    r#"{"errors":[{"code":1000,"title":"CF-InvalidAuthToken","detail":"Invalid Auth Token"}]}"#;

#[tokio::test]
async fn cf_says_401_once_and_the_caller_sees_success() {
    let sandbox = sandbox().await;
    let broker = TestBroker::start(&sandbox).await;
    let token = sandbox.provider_token();
    assert_eq!(
        broker.put("/routes/t1", &token, &json!({"subdomain": "one", "app": APP})).await.status,
        201
    );
    sandbox.clear_journal();
    let fault = json!({"part": "cf", "n": 1, "status": 401, "headers": {"content-type": "application/json"}, "body": INVALID_TOKEN});
    pull(&sandbox, "fail_next", &fault);
    let got = broker.put("/routes/t2", &token, &json!({"subdomain": "two", "app": APP})).await;
    assert_eq!(got.status, 201, "{}", got.text);
    assert_eq!((sandbox.refresh_grants(), sandbox.password_grants()), (1, 0));
}

#[tokio::test]
async fn cf_says_401_always_and_no_storm_of_grants_follows() {
    let sandbox = sandbox().await;
    let broker = TestBroker::start(&sandbox).await;
    let token = reader_token(&sandbox);
    assert_eq!(broker.get(READ, &token).await.status, 200);
    sandbox.clear_journal();
    let fault = json!({"part": "cf", "n": 1000, "status": 401, "headers": {"content-type": "application/json"}, "body": INVALID_TOKEN});
    pull(&sandbox, "fail_next", &fault);
    for _ in 0..20 {
        let got = broker.get(READ, &token).await;
        assert_eq!(
            (got.status, got.code().as_str()),
            (502, "upstream_auth_failed"),
            "{}",
            got.text
        );
    }
    assert_eq!((sandbox.refresh_grants(), sandbox.password_grants()), (1, 0));
}

#[tokio::test]
async fn two_instances_with_unique_refresh_tokens_do_not_chase_each_other() {
    let sandbox = sandbox().await;
    pull(&sandbox, "unique_refresh", &json!({"on": true}));
    let (one, other) = (TestBroker::start(&sandbox).await, TestBroker::start(&sandbox).await);
    let token = reader_token(&sandbox);
    for broker in [&one, &other] {
        assert_eq!(broker.get(READ, &token).await.status, 200);
    }
    pull(&sandbox, "expire_all", &json!({}));
    for broker in [&one, &other, &one, &other, &one, &other] {
        assert_eq!(broker.get(READ, &token).await.status, 200);
    }
    // Each instance logged on at its start. The end of all tokens costs at most one more logon
    // each, and no more after that.
    assert!(sandbox.password_grants() <= 4, "{}", sandbox.password_grants());
    sandbox.clear_journal();
    for broker in [&one, &other, &one, &other] {
        assert_eq!(broker.get(READ, &token).await.status, 200);
    }
    assert_eq!(sandbox.password_grants() + sandbox.refresh_grants(), 0);
}

#[tokio::test]
async fn an_operator_releases_exactly_one_attempt_after_a_repair_that_is_not_visible() {
    let sandbox = sandbox().await;
    pull(&sandbox, "uaa_fault", &json!({"row": "F7", "n": 1}));
    let broker = TestBroker::start(&sandbox).await;
    let (developer, admin) = (sandbox.developer_token(), sandbox.admin_token());
    for _ in 0..3 {
        assert_eq!(broker.get("/spaces", &developer).await.code(), "technical_user_mfa");
    }
    assert_eq!(sandbox.password_grants(), 1);
    let retry = "/destinations/CFAPI/retry";
    let refused = broker.send(Method::POST, retry, Some(&developer), None).await;
    assert_eq!((refused.status, refused.code().as_str()), (403, "forbidden_scope"));
    let released = broker.send(Method::POST, retry, Some(&admin), None).await;
    assert_eq!(
        (released.status, released.json()["outcome"].as_str()),
        (200, Some("succeeded")),
        "{}",
        released.text
    );
    assert_eq!(broker.get("/spaces", &developer).await.status, 200);
    assert_eq!(sandbox.password_grants(), 2);
    let unknown = broker.send(Method::POST, "/destinations/NOBODY/retry", Some(&admin), None).await;
    assert_eq!((unknown.status, unknown.code().as_str()), (404, "not_found"));
}

#[tokio::test]
async fn a_release_respects_a_lock_unless_forced() {
    let sandbox = sandbox().await;
    pull(&sandbox, "uaa_fault", &json!({"row": "F3", "n": 1}));
    let broker = TestBroker::start(&sandbox).await;
    let (developer, admin) = (sandbox.developer_token(), sandbox.admin_token());
    let locked = broker.get("/spaces", &developer).await;
    assert_eq!(locked.code(), "technical_user_locked");
    let wait: u64 = locked.headers["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((3800..=4100).contains(&wait), "65 minutes and up to 5 %: {wait}");
    let retry = "/destinations/CFAPI/retry";
    let refused = broker.send(Method::POST, retry, Some(&admin), None).await;
    assert_eq!(
        (refused.status, refused.code().as_str()),
        (503, "technical_user_locked"),
        "{}",
        refused.text
    );
    for word in ["This instance", "released no attempt", "force=true"] {
        assert!(refused.text.contains(word), "{word}: {}", refused.text);
    }
    assert_eq!(sandbox.password_grants(), 1);
    let forced =
        broker.send(Method::POST, &format!("{retry}?force=true"), Some(&admin), None).await;
    assert_eq!(
        (forced.status, forced.json()["outcome"].as_str()),
        (200, Some("succeeded")),
        "{}",
        forced.text
    );
}

#[tokio::test]
async fn each_destination_has_its_own_user_refresher_and_guard() {
    let sandbox = sandbox().await;
    pull(&sandbox, "add_destination", &json!({"name": "OTHER", "set": {"Password": "wrong"}}));
    let mut vars = variables(&sandbox);
    vars.insert("CFAPI_DESTINATION__NAMES".to_owned(), "OTHER".to_owned());
    let entry = json!([{
        "client_ids": ["sb-orders!t4712"], "destination": "OTHER", "organization": "provider-org", "space": "dev",
        "apps": [APP],
    }, {
        "client_ids": ["sb-bookshop!t4711"], "organization": "provider-org", "space": "dev", "apps": [APP],
    }]);
    vars.insert("CFAPI_PROVIDERS".to_owned(), entry.to_string());
    let broker = TestBroker::with(vars).await;
    let scopes = ["Routes.Read", "Routes.Write", "Spaces.Read"];
    let (good, bad) = (
        sandbox.caller_token("sb-bookshop!t4711", &scopes),
        sandbox.caller_token("sb-orders!t4712", &scopes),
    );
    assert_eq!(broker.get("/spaces", &bad).await.code(), "technical_user_rejected");
    assert_eq!(broker.get("/spaces", &good).await.status, 200);
    let put = broker.put("/routes/t1", &good, &json!({"subdomain": "acme"})).await;
    assert_eq!(put.status, 201, "{}", put.text);
    assert_eq!(
        broker.put("/routes/t1", &bad, &json!({"subdomain": "beta"})).await.code(),
        "technical_user_rejected"
    );
    let listed = broker.get("/destinations", &good).await.json();
    let states: BTreeMap<_, _> = listed["resources"]
        .as_array()
        .unwrap()
        .iter()
        .map(|each| {
            (
                each["name"].as_str().unwrap().to_owned(),
                each["gate"]["state"].as_str().unwrap().to_owned(),
            )
        })
        .collect();
    assert_eq!(
        states,
        BTreeMap::from([
            ("CFAPI".to_owned(), "good".to_owned()),
            ("OTHER".to_owned(), "rejected".to_owned())
        ])
    );
    assert_eq!(listed["resources"][0]["origin"], "sandbox-platform");
    assert_eq!(listed["resources"][0]["last_renewal"]["grant"], "password");
}

#[tokio::test]
async fn a_jwt_bearer_grant_replaces_the_password() {
    let sandbox = sandbox().await;
    let assertion = pull(&sandbox, "assertion", &json!({}));
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("assertion");
    std::fs::write(&path, assertion["assertion"].as_str().unwrap()).unwrap();
    let mut vars = variables(&sandbox);
    vars.insert("CFAPI_TOKEN__GRANT".to_owned(), "jwt_bearer".to_owned());
    vars.insert("CFAPI_TOKEN__ASSERTION_FILE".to_owned(), path.display().to_string());
    let broker = TestBroker::with(vars).await;
    let got = broker.get("/spaces", &sandbox.developer_token()).await;
    assert_eq!(got.status, 200, "{}", got.text);
    let journal = sandbox.journal();
    let grants: Vec<_> = journal
        .iter()
        .filter(|entry| entry.part == Part::Uaa)
        .filter_map(|entry| entry.grant_type.as_deref())
        .collect();
    assert_eq!(grants, ["urn:ietf:params:oauth:grant-type:jwt-bearer"]);
    assert!(journal.iter().all(|entry| !entry.body.contains("password=")));
}

#[tokio::test]
async fn readiness_reports_a_refusal_in_one_word_and_stays_200() {
    let sandbox = sandbox().await;
    pull(&sandbox, "change_password", &json!({"user": TECHNICAL_USER, "password": "another"}));
    let broker = TestBroker::start(&sandbox).await;
    assert_eq!(broker.get("/spaces", &sandbox.developer_token()).await.status, 502);
    let ready = broker.send(Method::GET, "/health/ready", None, None).await;
    assert_eq!(
        (ready.status, ready.json()["parts"]["token"].as_str()),
        (200, Some("refused")),
        "{}",
        ready.text
    );
    assert_eq!(ready.json()["degraded"], json!(["token"]));
    assert!(
        !ready.text.contains("CFAPI") && !ready.text.contains("technical.user"),
        "{}",
        ready.text
    );
}
