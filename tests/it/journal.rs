//! What a fixed scenario costs the upstreams: the requests in the sandbox's journal, counted.
//!
//! A change that must not change behaviour leaves the snapshot as it is. Any other change shows
//! here which calls to the Destination service, the UAA and the CF API it adds or saves.

use std::collections::BTreeMap;

use cfapi_sandbox::{JournalEntry, Sandbox, TECHNICAL_USER};
use serde_json::json;
use uuid::Uuid;

use crate::support::{APP, READ, TestBroker, pull, reader_token, sandbox};

/// Tenants that subscribe, subscribe again and leave.
const TENANTS: usize = 20;

/// Reads of the CF API through `/v3`.
const READS: usize = 30;

#[tokio::test]
async fn a_fixed_scenario_sends_the_same_requests() {
    let sandbox = sandbox().await;
    let mut journal = String::new();

    let broker = started(&sandbox).await;
    journal.push_str(&chapter(&sandbox, "start and three views of the spaces"));

    let token = sandbox.provider_token();
    for (title, status) in [("20 tenants created", 201), ("the same 20 again", 200)] {
        for tenant in 0..TENANTS {
            let body = json!({"subdomain": format!("tenant-{tenant}"), "app": APP});
            let got = broker.put(&format!("/routes/t{tenant}"), &token, &body).await;
            assert_eq!(got.status, status, "{}", got.text);
        }
        journal.push_str(&chapter(&sandbox, title));
    }

    let reader = sandbox.caller_token("sb-reader!t1", &["Api.Proxy"]);
    for _ in 0..READS {
        let got = broker.get("/v3/routes?per_page=50", &reader).await;
        assert_eq!(got.status, 200, "{}", got.text);
    }
    journal.push_str(&chapter(&sandbox, "30 reads on /v3"));

    for tenant in 0..TENANTS {
        let got = broker.delete(&format!("/routes/t{tenant}"), &token).await;
        assert_eq!(got.status, 204, "{}", got.text);
    }
    journal.push_str(&chapter(&sandbox, "20 tenants deleted"));

    pull(&sandbox, "revoke_all", &json!({}));
    let got = broker.get(READ, &reader_token(&sandbox)).await;
    assert_eq!(got.status, 200, "{}", got.text);
    journal.push_str(&chapter(&sandbox, "a revoked token"));
    broker.stop().await;

    sandbox.clear_journal();
    pull(&sandbox, "change_password", &json!({"user": TECHNICAL_USER, "password": "another"}));
    let broker = TestBroker::start(&sandbox).await;
    for _ in 0..10 {
        let got = broker.get("/spaces", &sandbox.developer_token()).await;
        assert_eq!(got.code(), "technical_user_rejected");
    }
    journal.push_str(&chapter(&sandbox, "a new start with a wrong password, 10 reads"));

    insta::assert_snapshot!(journal);
}

/// A broker whose first view of the spaces has been answered, so its start is over. Two more views
/// cost nothing.
async fn started(sandbox: &Sandbox) -> TestBroker {
    let broker = TestBroker::start(sandbox).await;
    for _ in 0..3 {
        let got = broker.get("/spaces", &sandbox.developer_token()).await;
        assert_eq!(got.status, 200, "{}", got.text);
    }
    broker
}

/// What was asked since the last chapter: count, part, method, path and grant.
fn chapter(sandbox: &Sandbox, title: &str) -> String {
    let mut counts = BTreeMap::new();
    for entry in sandbox.journal() {
        *counts.entry(line(&entry)).or_insert(0_usize) += 1;
    }
    sandbox.clear_journal();
    // How often a job is asked depends on the machine's speed; all else does not.
    let times = |line: &str, count: &usize| {
        if line.contains("/v3/jobs/") { "n".to_owned() } else { count.to_string() }
    };
    let lines = counts.iter().map(|(line, count)| format!("{:>4} {line}\n", times(line, count)));
    format!("{title}\n{}", lines.collect::<String>())
}

/// A request without what differs from run to run.
fn line(entry: &JournalEntry) -> String {
    let segment = |part: &str| match Uuid::parse_str(part) {
        Ok(_) => "{guid}".to_owned(),
        Err(_) => part.to_owned(),
    };
    let path: Vec<String> = entry.path.split('/').map(segment).collect();
    let grant = entry.grant_type.as_deref().map(|grant| format!(" ({grant})"));
    let grant = grant.unwrap_or_default();
    format!("{:?} {} {}{grant}", entry.part, entry.method, path.join("/"))
}
