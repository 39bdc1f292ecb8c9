//! The row "delete" of the sandbox's promises.

use std::time::Duration;

use http::Method;
use serde_json::json;

use crate::capi::tests::{BASE, DEV, Land, Seen};

async fn delete(land: &Land, guid: &str) -> Seen {
    land.send(Method::DELETE, &format!("/v3/routes/{guid}"), "").await
}

/// Returns the path of the job that the answer names.
fn job(seen: &Seen) -> String {
    let location = seen.header("location").unwrap();
    location.strip_prefix(BASE).unwrap().to_owned()
}

#[tokio::test]
async fn while_a_delete_is_pending_the_route_stays_and_its_host_is_taken() {
    let land = Land::new();
    land.world.job_delay(Duration::ZERO);
    land.world.pause_jobs();
    let guid = land.created("tenant").await;
    let first = delete(&land, &guid).await;
    assert_eq!((first.status, first.text.as_str()), (202, ""));
    assert_eq!(first.header("content-type"), Some("text/html"));
    assert_eq!(first.header("content-length"), Some("0"));
    let second = delete(&land, &guid).await;
    assert_eq!(second.status, 202);
    assert_ne!(job(&first), job(&second));
    assert_eq!(land.get(&format!("/v3/routes/{guid}")).await.status, 200);
    assert_eq!(land.create("tenant", "").await.refusal().1, 10_008);
    assert!(land.world.routes()[0].deleting);
    let pending = land.get(&job(&first)).await;
    assert_eq!(pending.json["state"], "PROCESSING");
    assert_eq!(pending.json["links"]["route"]["href"], format!("{BASE}/v3/routes/{guid}"));

    land.world.resume_jobs();
    for seen in [&first, &second] {
        let done = land.get(&job(seen)).await;
        assert_eq!(done.json["state"], "COMPLETE");
        assert!(done.json["links"].get("route").is_none());
    }
    assert_eq!(delete(&land, &guid).await.refusal(), (404, 10_010, "Route not found"));
    assert_eq!(land.create("tenant", "").await.status, 201);
}

#[tokio::test]
async fn a_job_takes_its_time() {
    let land = Land::new();
    land.world.job_delay(Duration::from_secs(3600));
    let guid = land.created("tenant").await;
    let seen = delete(&land, &guid).await;
    assert_eq!(land.get(&job(&seen)).await.json["state"], "PROCESSING");
}

#[tokio::test]
async fn a_failed_job_says_why_and_leaves_the_route() {
    let land = Land::new();
    land.world.job_delay(Duration::ZERO);
    land.world.fail_jobs(1, "The job execution has timed out.");
    let guid = land.created("tenant").await;
    let failed = delete(&land, &guid).await;
    let seen = land.get(&job(&failed)).await;
    assert_eq!(seen.json["state"], "FAILED");
    let error = json!([{"detail": "The job execution has timed out.", "title": "CF-JobTimeout", "code": 290_006}]);
    assert_eq!(seen.json["errors"], error);
    assert_eq!(land.world.routes().len(), 1);
    let done = delete(&land, &guid).await;
    assert_eq!(land.get(&job(&done)).await.json["state"], "COMPLETE");
    assert!(land.world.routes().is_empty());
}

#[tokio::test]
async fn the_mass_delete_takes_everybodys_unmapped_routes() {
    let land = Land::new();
    land.world.job_delay(Duration::ZERO);
    land.world.take_host("foreign", "cfapps.example.test", "dev").unwrap();
    let path = format!("/v3/spaces/{DEV}/routes");
    assert_eq!(land.send(Method::DELETE, &path, "").await.status, 422);
    let seen = land.send(Method::DELETE, &format!("{path}?unmapped=true"), "").await;
    assert_eq!(seen.status, 202);
    assert!(land.world.routes().is_empty());
}

#[tokio::test]
async fn any_user_may_read_any_job() {
    let land = Land::new();
    let guid = land.created("tenant").await;
    let path = job(&delete(&land, &guid).await);
    assert_eq!(land.acting_as("stranger@example.test").get(&path).await.status, 200);
    assert_eq!(land.get("/v3/jobs/nope").await.refusal(), (404, 10_010, "Job not found"));
}
