//! Renewal of tokens as callers see it.

use cfapi_sandbox::Part;
use serde_json::json;

use crate::support::{APP, Answer, READ, TestBroker, pull, reader_token, sandbox, variables};

#[tokio::test]
async fn a_hundred_cold_callers_cost_one_service_token_one_find_and_one_grant() {
    let sandbox = sandbox().await;
    let broker = TestBroker::start(&sandbox).await;
    // Ten callers, because one caller alone may not have so many requests in flight.
    let callers = (0..10).map(|number| format!("sb-{number}!t1"));
    let tokens: Vec<_> =
        callers.map(|caller| sandbox.caller_token(&caller, &["Spaces.Read"])).collect();
    let calls = tokens.iter().cycle().take(100).map(|token| broker.get("/spaces", token));
    let mut running = Vec::new();
    for call in calls {
        running.push(call);
    }
    let answers = futures_join(running).await;
    assert!(
        answers.iter().all(|answer| answer.status == 200),
        "{:?}",
        answers.iter().find(|a| a.status != 200)
    );
    let journal = sandbox.journal();
    let count = |part: Part, grant: &str| {
        journal
            .iter()
            .filter(|entry| entry.part == part && entry.grant_type.as_deref() == Some(grant))
            .count()
    };
    assert_eq!(count(Part::Uaa, "password"), 1);
    assert_eq!(count(Part::Xsuaa, "client_credentials"), 1);
    assert_eq!(journal.iter().filter(|entry| entry.part == Part::Destination).count(), 1);
}

pub(crate) async fn futures_join<F: Future>(futures: Vec<F>) -> Vec<F::Output> {
    let mut pinned: Vec<_> = futures.into_iter().map(|future| (Box::pin(future), None)).collect();
    std::future::poll_fn(move |cx| {
        let mut pending = false;
        for (future, done) in &mut pinned {
            if done.is_none() {
                match future.as_mut().poll(cx) {
                    std::task::Poll::Ready(output) => *done = Some(output),
                    std::task::Poll::Pending => pending = true,
                }
            }
        }
        if pending {
            return std::task::Poll::Pending;
        }
        std::task::Poll::Ready(pinned.iter_mut().filter_map(|(_, done)| done.take()).collect())
    })
    .await
}

#[tokio::test]
async fn tokens_revoked_in_cf_cost_one_renewal_and_no_caller_notices() {
    let sandbox = sandbox().await;
    let broker = TestBroker::start(&sandbox).await;
    let token = sandbox.provider_token();
    assert_eq!(
        broker.put("/routes/t1", &token, &json!({"subdomain": "acme", "app": APP})).await.status,
        201
    );
    pull(&sandbox, "expire_all", &json!({}));
    let body = json!({"subdomain": "beta", "app": APP});
    assert_eq!(broker.put("/routes/t2", &token, &body).await.status, 201);
    let journal = sandbox.journal();
    let grants: Vec<_> = journal
        .iter()
        .filter(|entry| entry.part == Part::Uaa)
        .filter_map(|entry| entry.grant_type.as_deref())
        .collect();
    assert_eq!(grants, ["password", "refresh_token"]);
}

#[tokio::test]
async fn a_wrong_password_is_sent_once() {
    let sandbox = sandbox().await;
    pull(&sandbox, "edit_destination", &json!({"name": "CFAPI", "set": {"Password": "wrong"}}));
    let broker = TestBroker::start(&sandbox).await;
    let token = sandbox.developer_token();
    assert_eq!(broker.get("/spaces", &token).await.code(), "technical_user_rejected");
    assert_eq!(broker.get("/spaces", &token).await.code(), "technical_user_rejected");
    assert_eq!(sandbox.password_grants(), 1);
}

#[tokio::test]
async fn a_dummy_secret_left_in_the_destination_is_found_before_any_logon() {
    let sandbox = sandbox().await;
    pull(&sandbox, "edit_destination", &json!({"name": "CFAPI", "set": {"clientSecret": "dummy"}}));
    let broker = TestBroker::start(&sandbox).await;
    let got = broker.get("/spaces", &sandbox.developer_token()).await;
    assert_eq!((got.status, got.code().as_str()), (502, "destination_invalid"), "{}", got.text);
    assert_eq!(sandbox.password_grants(), 0);
}

#[tokio::test]
async fn a_token_host_of_another_region_gets_no_password() {
    let sandbox = sandbox().await;
    pull(
        &sandbox,
        "edit_destination",
        &json!({"name": "CFAPI", "set": {"tokenServiceURL": "https://login.cf.evil.example/oauth/token"}}),
    );
    let broker = TestBroker::start(&sandbox).await;
    let got = broker.get("/spaces", &sandbox.developer_token()).await;
    assert_eq!((got.status, got.code().as_str()), (502, "destination_invalid"), "{}", got.text);
    assert_eq!(sandbox.password_grants(), 0);
}

fn grants(sandbox: &cfapi_sandbox::Sandbox) -> Vec<String> {
    let journal = sandbox.journal();
    let grants = journal.iter().filter(|entry| entry.part == Part::Uaa);
    grants.filter_map(|entry| entry.grant_type.clone()).collect()
}

#[tokio::test]
async fn a_refresh_that_never_works_is_replaced_by_one_logon_and_reported() {
    for fault in [
        json!({"row": "F23", "variant": "html", "n": 5000, "grant": "refresh_token"}),
        json!({"row": "F24", "variant": "html_502", "n": 5000, "grant": "refresh_token"}),
        json!({"row": "F24", "variant": "zone", "n": 5000, "grant": "refresh_token"}),
        json!({"row": "F25", "variant": "login", "n": 5000, "grant": "refresh_token"}),
        json!({"row": "F26", "variant": "html", "n": 5000, "grant": "refresh_token"}),
    ] {
        let sandbox = sandbox().await;
        let broker = TestBroker::start(&sandbox).await;
        let token = reader_token(&sandbox);
        assert_eq!(broker.get(READ, &token).await.status, 200);
        pull(&sandbox, "expire_all", &json!({}));
        pull(&sandbox, "uaa_fault", &fault);
        let got = broker.get(READ, &token).await;
        assert_eq!(got.status, 200, "{fault}: {}", got.text);
        let expected = ["password", "refresh_token", "refresh_token", "password"];
        assert_eq!(grants(&sandbox), expected, "{fault}");
        let ready = broker.get("/health/ready", &token).await;
        assert_eq!(ready.json()["degraded"], json!(["token"]), "{}", ready.text);
        let state = broker.get("/destinations", &token).await.json()["resources"][0].clone();
        assert_eq!(state["failed_refreshes"], 2, "{state}");
        broker.stop().await;
    }
}

#[tokio::test]
async fn one_hiccup_of_a_refresh_is_not_told_to_the_caller() {
    for fault in [
        json!({"row": "F23", "variant": "json", "n": 1, "grant": "refresh_token"}),
        json!({"row": "F24", "variant": "html_502", "n": 1, "grant": "refresh_token"}),
        json!({"row": "F24", "variant": "html_504", "n": 1, "grant": "refresh_token"}),
        json!({"row": "F26", "variant": "empty", "n": 1, "grant": "refresh_token"}),
        json!({"row": "F20", "variant": "html", "n": 1, "grant": "refresh_token"}),
    ] {
        let sandbox = sandbox().await;
        let broker = TestBroker::start(&sandbox).await;
        let token = reader_token(&sandbox);
        assert_eq!(broker.get(READ, &token).await.status, 200);
        pull(&sandbox, "expire_all", &json!({}));
        pull(&sandbox, "uaa_fault", &fault);
        let got = broker.get(READ, &token).await;
        assert_eq!(got.status, 200, "{fault}: {}", got.text);
        assert_eq!(grants(&sandbox), ["password", "refresh_token", "refresh_token"], "{fault}");
        let ready = broker.get("/health/ready", &token).await;
        assert_eq!(ready.json()["degraded"], json!([]), "{}", ready.text);
        broker.stop().await;
    }
}

#[tokio::test]
async fn an_unclear_logon_names_the_time_and_a_release_serves_at_once() {
    let sandbox = sandbox().await;
    pull(&sandbox, "uaa_fault", &json!({"row": "F22", "n": 1}));
    let mut vars = variables(&sandbox);
    vars.insert("CF_INSTANCE_INDEX".to_owned(), "1".to_owned());
    let broker = TestBroker::with(vars).await;
    let (token, admin) = (sandbox.developer_token(), sandbox.admin_token());
    let got = broker.get("/spaces", &token).await;
    assert_eq!(got.code(), "uaa_unavailable");
    let wait: u64 = got.headers["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((590..=600).contains(&wait), "{wait}");
    let state = broker.get("/destinations", &token).await.json()["resources"][0].clone();
    let at = state["gate"]["opens_at"].as_str().unwrap().to_owned();
    assert!(at.ends_with('Z'), "{state}");
    assert!(state["gate"]["hint"].as_str().unwrap().contains("release one attempt"), "{state}");
    let detail = got.json()["detail"].as_str().unwrap().to_owned();
    // The same minute, unless it ended in between.
    let (minute, _) = at.rsplit_once(':').unwrap();
    assert!(detail.contains(minute) || at.ends_with(":00Z"), "{detail} {at}");
    assert!(detail.contains("known to be right"), "{detail}");
    let retry = "/destinations/CFAPI/retry";
    let released = broker.send(http::Method::POST, retry, Some(&admin), None).await.json();
    assert_eq!(
        (&released["outcome"], &released["instance_index"]),
        (&json!("succeeded"), &json!(1))
    );
    assert_eq!(broker.get("/spaces", &token).await.status, 200);
    let repeated = broker.send(http::Method::POST, retry, Some(&admin), None).await;
    assert_eq!((repeated.status, repeated.code().as_str()), (409, "release_repeated"));
    let detail = repeated.json()["detail"].as_str().unwrap().to_owned();
    for word in
        ["Instance 1", "already sent 1 ", "sent 1 password", "Five", "attempt 2", "force=true"]
    {
        assert!(detail.contains(word), "{word}: {detail}");
    }
    assert_eq!(sandbox.password_grants(), 2);
    let forced = format!("{retry}?force=true");
    let forced = broker.send(http::Method::POST, &forced, Some(&admin), None).await.json();
    assert_eq!((&forced["outcome"], &forced["released"]), (&json!("succeeded"), &json!(2)));
}

/// The broker is asked while this system accepts calls and does not answer.
async fn asked_while_hanging(part: &str, only: &str) -> Answer {
    let sandbox = sandbox().await;
    pull(&sandbox, "hang", &json!({"part": part, "only": only, "n": 20}));
    let mut vars = variables(&sandbox);
    vars.insert("CFAPI_SERVER__REQUEST_TIMEOUT".to_owned(), "5s".to_owned());
    let broker = TestBroker::with(vars).await;
    let got = broker.get("/spaces", &sandbox.developer_token()).await;
    pull(&sandbox, "release", &json!({"part": part}));
    got
}

#[tokio::test]
async fn a_system_that_hangs_is_named() {
    let (uaa, xsuaa, service) = tokio::join!(
        asked_while_hanging("uaa", "POST /oauth/token"),
        asked_while_hanging("xsuaa", "POST /oauth/token"),
        asked_while_hanging("destination", "GET /destination-configuration/"),
    );
    for (got, code, word) in [
        (uaa, "uaa_unavailable", "CF login server"),
        (xsuaa, "destination_unavailable", "XSUAA"),
        (service, "destination_unavailable", "Destination service"),
    ] {
        assert_eq!((got.status, got.code().as_str()), (503, code), "{}", got.text);
        assert!(got.text.contains(word), "{}", got.text);
        let wait: u64 = got.headers["retry-after"].to_str().unwrap().parse().unwrap();
        assert!((3..=5).contains(&wait), "{wait}: {}", got.text);
    }
}

#[tokio::test]
async fn a_login_page_instead_of_a_token_endpoint_is_asked_again() {
    let sandbox = sandbox().await;
    pull(&sandbox, "uaa_fault", &json!({"row": "F25", "n": 1}));
    let broker = TestBroker::start(&sandbox).await;
    let got = broker.get("/spaces", &sandbox.developer_token()).await;
    assert_eq!(got.code(), "uaa_unavailable");
    let wait: u64 = got.headers["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((58..=63).contains(&wait), "{wait}");
    for word in ["HTTP 302", "check host and path", "without a password"] {
        assert!(got.text.contains(word), "{word}: {}", got.text);
    }
}

/// What the broker asks after something else has answered: a token endpoint refuses it as RFC 6749
/// says, and no password travels.
#[tokio::test]
async fn a_token_endpoint_answers_an_empty_refresh_token_with_an_oauth_error() {
    let sandbox = sandbox().await;
    let got = crate::support::answer(
        crate::support::client()
            .post(format!("{}/oauth/token", sandbox.uaa_url()))
            .header("authorization", "Basic Y2Y6")
            .header("content-type", "application/x-www-form-urlencoded")
            .body("grant_type=refresh_token&refresh_token="),
    )
    .await;
    assert!((400..=401).contains(&got.status), "{}", got.text);
    assert!(got.json()["error"].is_string(), "{}", got.text);
}
