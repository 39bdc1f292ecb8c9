//! All tokens of the technical user end while the broker is busy.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use cfapi_sandbox::Part;
use rstest::rstest;
use serde_json::json;
use tokio::task::JoinSet;

use crate::support::{APP, TestBroker, answer, client, pull, sandbox, variables};

const WORKERS: usize = 32;

/// What the workers have counted.
#[derive(Default)]
struct AnswerCount {
    answered: AtomicUsize,
    enough: AtomicBool,
}

impl AnswerCount {
    /// Waits until this many more requests were answered.
    async fn see(&self, more: usize) {
        let goal = self.answered.load(Ordering::SeqCst) + more;
        for _ in 0..6000 {
            if self.answered.load(Ordering::SeqCst) >= goal {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        panic!("the broker stopped answering");
    }
}

#[rstest]
#[case::routes("/routes", "revoke_all", (1, 1))]
#[case::access_tokens_only("/routes", "expire_all", (1, 0))]
#[case::access_tokens_of_the_cf_api("/v3/spaces", "expire_all", (1, 0))]
#[case::spaces_of_the_cf_api("/v3/spaces", "revoke_all", (1, 1))]
#[case::apps_of_the_cf_api("/v3/apps", "expire_all", (1, 0))]
#[tokio::test]
async fn tokens_that_end_under_load_cost_two_token_calls_and_no_caller_a_refusal(
    #[case] path: &'static str,
    #[case] lever: &str,
    #[case] (refreshes, passwords): (usize, usize),
) {
    let sandbox = sandbox().await;
    let mut variables = variables(&sandbox);
    for (key, value) in
        [("REQUESTS_PER_SECOND", "10000"), ("BURST", "100000"), ("MAX_IN_FLIGHT", "64")]
    {
        variables.insert(format!("CFAPI_AUTH__{key}"), value.to_owned());
    }
    let broker = TestBroker::with(variables).await;
    let scopes = ["Spaces.Read", "Routes.Read", "Routes.Write", "Api.Proxy"];
    let token = sandbox.caller_token("sb-bookshop!t4711", &scopes);
    let put = broker.put("/routes/t1", &token, &json!({"subdomain": "one", "app": APP})).await;
    assert_eq!(put.status, 201, "{}", put.text);
    let tally = Arc::new(AnswerCount::default());
    let (http, mut workers) = (client(), JoinSet::new());
    for _ in 0..WORKERS {
        let request = http.get(format!("{}{path}", broker.base)).bearer_auth(&token);
        let tally = Arc::clone(&tally);
        workers.spawn(async move {
            let mut odd = Vec::new();
            while !tally.enough.load(Ordering::SeqCst) {
                let got = answer(request.try_clone().unwrap()).await;
                if got.status != 200 {
                    odd.push((got.status, got.text));
                }
                tally.answered.fetch_add(1, Ordering::SeqCst);
            }
            odd
        });
    }
    tally.see(2 * WORKERS).await;
    sandbox.clear_journal();
    pull(&sandbox, lever, &json!({}));
    tally.see(4 * WORKERS).await;
    tally.enough.store(true, Ordering::SeqCst);
    let odd: Vec<_> = workers.join_all().await.into_iter().flatten().collect();
    assert_eq!(odd, Vec::new());
    assert_eq!((sandbox.refresh_grants(), sandbox.password_grants()), (refreshes, passwords));
    let journal = sandbox.journal();
    let refused =
        journal.iter().filter(|entry| entry.part == Part::Cf && entry.status == Some(401)).count();
    assert!(refused >= 1, "the tokens ended while they were in use");
}
