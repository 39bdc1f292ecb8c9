//! Deleting a route: the job, and what is visible while it runs.

use std::time::Duration;

use axum::body::Body;
use http::{Method, Request};
use serde_json::json;

use crate::capi::tests::{BASE, DEV, TestAnswer, TestApi};

async fn delete(api: &TestApi, guid: &str) -> TestAnswer {
    api.send(Method::DELETE, &format!("/v3/routes/{guid}"), "").await
}

/// Returns the path of the job that the answer names.
fn job(answer: &TestAnswer) -> String {
    let location = answer.header("location").unwrap();
    location.strip_prefix(BASE).unwrap().to_owned()
}

#[tokio::test]
async fn while_a_delete_is_pending_the_route_stays_and_its_host_is_taken() {
    let api = TestApi::new();
    api.world.job_delay(Duration::ZERO);
    api.world.pause_jobs();
    let guid = api.created("tenant").await;
    let first = delete(&api, &guid).await;
    assert_eq!((first.status, first.text.as_str()), (202, ""));
    assert_eq!(first.header("content-type"), Some("text/html"));
    assert_eq!(first.header("content-length"), Some("0"));
    let second = delete(&api, &guid).await;
    assert_eq!(second.status, 202);
    assert_ne!(job(&first), job(&second));
    assert_eq!(api.get(&format!("/v3/routes/{guid}")).await.status, 200);
    assert_eq!(api.create("tenant", "").await.refusal().1, 10_008);
    assert!(api.world.routes()[0].deleting);
    let pending = api.get(&job(&first)).await;
    assert_eq!(pending.json["state"], "PROCESSING");
    assert_eq!(pending.json["links"]["route"]["href"], format!("{BASE}/v3/routes/{guid}"));

    api.world.resume_jobs();
    for answer in [&first, &second] {
        let done = api.get(&job(answer)).await;
        assert_eq!(done.json["state"], "COMPLETE");
        assert!(done.json["links"].get("route").is_none());
    }
    assert_eq!(delete(&api, &guid).await.refusal(), (404, 10_010, "Route not found"));
    assert_eq!(api.create("tenant", "").await.status, 201);
}

const LABEL: &str = r#"{"metadata":{"labels":{"a.test/b":"c"}}}"#;

/// A route whose delete job has failed or is complete although a label was written meanwhile.
/// Returns the answers to the label and about the job.
async fn race(api: &TestApi, label: &str) -> (TestAnswer, TestAnswer) {
    api.world.job_delay(Duration::ZERO);
    api.world.pause_jobs();
    let guid = api.created("tenant").await;
    let deleted = delete(api, &guid).await;
    let labelled = api.send(Method::PATCH, &format!("/v3/routes/{guid}"), label).await;
    api.world.resume_jobs();
    (labelled, api.get(&job(&deleted)).await)
}

#[tokio::test]
async fn a_label_that_is_written_during_a_delete_lets_the_job_fail() {
    let api = TestApi::new();
    let (labelled, failed) = race(&api, LABEL).await;
    assert_eq!((labelled.status, &failed.json["state"]), (200, &json!("FAILED")));
    let error =
        json!([{"detail": "An unknown error occurred.", "title": "UnknownError", "code": 10_001}]);
    assert_eq!(failed.json["errors"], error);
    let route = api.world.routes().remove(0);
    assert_eq!(route.labels["a.test/b"], "c");
    // A delete after the label is complete.
    let done = delete(&api, &route.guid).await;
    assert_eq!(api.get(&job(&done)).await.json["state"], "COMPLETE");
    assert!(api.world.routes().is_empty());
}

#[tokio::test]
async fn a_label_that_is_written_before_a_delete_or_removed_during_it_is_harmless() {
    let api = TestApi::new();
    api.world.job_delay(Duration::ZERO);
    let guid = api.created("early").await;
    assert_eq!(api.send(Method::PATCH, &format!("/v3/routes/{guid}"), LABEL).await.status, 200);
    let done = delete(&api, &guid).await;
    assert_eq!(api.get(&job(&done)).await.json["state"], "COMPLETE");
    let (_, done) = race(&api, r#"{"metadata":{"labels":{"a.test/b":null}}}"#).await;
    assert_eq!(done.json["state"], "COMPLETE");
}

#[tokio::test]
async fn the_lever_chooses_who_loses_the_race_of_a_label_and_a_delete() {
    for (status, fails, state, left) in [
        (200, Some(false), "COMPLETE", 0),
        (500, None, "FAILED", 1),
        (500, Some(false), "COMPLETE", 0),
        (404, None, "COMPLETE", 0),
    ] {
        let api = TestApi::new();
        api.world.label_race(status, fails).unwrap();
        let (labelled, ended) = race(&api, LABEL).await;
        assert_eq!(u64::from(labelled.status), status);
        assert_eq!(ended.json["state"], state, "{status} {fails:?}");
        assert_eq!(api.world.routes().len(), left);
        assert!(api.world.routes().iter().all(|route| route.labels.is_empty()));
    }
    TestApi::new().world.label_race(201, None).unwrap_err();
}

#[tokio::test]
async fn the_content_type_of_an_accepted_delete_follows_accept() {
    let api = TestApi::new();
    let guid = api.created("tenant").await;
    for (accept, kind) in [
        ("application/json", "application/json"),
        ("application/json;q=0.9, text/plain", "application/json"),
        ("text/plain", "text/plain"),
        ("*/*", "text/html"),
        ("text/html,application/json;q=0.9,*/*;q=0.8", "text/html"),
        ("application/unknown", "text/html"),
    ] {
        let request = Request::builder()
            .method(Method::DELETE)
            .uri(format!("/v3/routes/{guid}"))
            .header("authorization", &api.bearer)
            .header("accept", accept);
        let answer = api.raw(request.body(Body::empty()).unwrap()).await;
        assert_eq!((answer.status, answer.header("content-type")), (202, Some(kind)), "{accept}");
    }
}

#[tokio::test]
async fn a_job_is_pending_until_its_delay_is_over() {
    let api = TestApi::new();
    api.world.job_delay(Duration::from_secs(3600));
    let guid = api.created("tenant").await;
    let answer = delete(&api, &guid).await;
    assert_eq!(api.get(&job(&answer)).await.json["state"], "PROCESSING");
}

#[tokio::test]
async fn a_failed_job_says_why_and_leaves_the_route() {
    let api = TestApi::new();
    api.world.job_delay(Duration::ZERO);
    api.world.fail_jobs(1, "The job execution has timed out.");
    let guid = api.created("tenant").await;
    let failed = delete(&api, &guid).await;
    let answer = api.get(&job(&failed)).await;
    assert_eq!(answer.json["state"], "FAILED");
    let error = json!([{"detail": "The job execution has timed out.", "title": "CF-JobTimeout", "code": 290_006}]);
    assert_eq!(answer.json["errors"], error);
    assert_eq!(api.world.routes().len(), 1);
    let done = delete(&api, &guid).await;
    assert_eq!(api.get(&job(&done)).await.json["state"], "COMPLETE");
    assert!(api.world.routes().is_empty());
}

#[tokio::test]
async fn the_mass_delete_removes_unmapped_routes_of_all_owners() {
    let api = TestApi::new();
    api.world.job_delay(Duration::ZERO);
    api.world.take_host("foreign", "cfapps.example.test", "dev").unwrap();
    let path = format!("/v3/spaces/{DEV}/routes");
    assert_eq!(api.send(Method::DELETE, &path, "").await.status, 422);
    let answer = api.send(Method::DELETE, &format!("{path}?unmapped=true"), "").await;
    assert_eq!(answer.status, 202);
    assert!(api.world.routes().is_empty());
}

#[tokio::test]
async fn any_user_may_read_any_job() {
    let api = TestApi::new();
    let guid = api.created("tenant").await;
    let path = job(&delete(&api, &guid).await);
    assert_eq!(api.acting_as("stranger@example.test").get(&path).await.status, 200);
    assert_eq!(api.get("/v3/jobs/nope").await.refusal(), (404, 10_010, "Job not found"));
}
