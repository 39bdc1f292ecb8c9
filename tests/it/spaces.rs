//! `GET /spaces`: spaces with their organisations, as the technical user sees them.

use crate::support::{TestBroker, sandbox};

#[tokio::test]
async fn spaces_come_with_their_organisations() {
    let sandbox = sandbox().await;
    let broker = TestBroker::start(&sandbox).await;
    let answer = broker.get("/spaces", &sandbox.developer_token()).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    let body = answer.json();
    let names: Vec<_> = body["resources"]
        .as_array()
        .unwrap()
        .iter()
        .map(|space| space["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["dev", "other"]);
    assert_eq!(body["total"], 2);
    assert_eq!(body["resources"][0]["organization"]["name"], "provider-org");
}

#[tokio::test]
async fn a_provider_app_without_the_scope_does_not_see_them() {
    let sandbox = sandbox().await;
    let broker = TestBroker::start(&sandbox).await;
    let answer = broker.get("/spaces", &sandbox.provider_token()).await;
    assert_eq!((answer.status, answer.code().as_str()), (403, "forbidden_scope"));
    let challenge = answer.headers["www-authenticate"].to_str().unwrap();
    assert!(challenge.contains("insufficient_scope"), "{challenge}");
}
