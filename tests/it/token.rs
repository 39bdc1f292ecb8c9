//! Renewal of tokens as callers see it.

use cfapi_sandbox::Part;
use serde_json::json;

use crate::support::{APP, TestBroker, pull, sandbox};

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

async fn futures_join<F: Future>(futures: Vec<F>) -> Vec<F::Output> {
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
