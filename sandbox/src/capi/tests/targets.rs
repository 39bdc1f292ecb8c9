//! The row "targets" of the sandbox's promises.

use http::Method;
use serde_json::json;

use crate::capi::tests::{APP, Land, OTHER, SHARED, Seen};

async fn post(land: &Land, route: &str, entries: &str) -> Seen {
    let body = format!("{{\"destinations\":[{entries}]}}");
    land.send(Method::POST, &format!("/v3/routes/{route}/destinations"), &body).await
}

fn app(more: &str) -> String {
    format!("{{\"app\":{{\"guid\":\"{APP}\"}}{more}}}")
}

#[tokio::test]
async fn the_same_target_twice_is_no_change() {
    let land = Land::new();
    let route = land.created("tenant").await;
    let first = post(&land, &route, &app("")).await;
    let again = post(&land, &route, &app("")).await;
    assert_eq!((first.status, again.status), (200, 200));
    assert_eq!(first.json, again.json);
    let target = &first.json["destinations"][0];
    assert_eq!(target["port"], 8080);
    assert_eq!(target["protocol"], "http1");
    assert_eq!(target["app"]["process"], json!({"type": "web"}));
    assert_eq!(land.world.routes()[0].apps, ["saas-approuter"]);
    let listed = land.get(&format!("/v3/apps/{APP}/routes?hosts=tenant")).await;
    assert_eq!(listed.hosts(), ["tenant"]);
}

#[tokio::test]
async fn the_same_target_twice_in_one_array_is_an_unknown_error() {
    let land = Land::new();
    let route = land.created("tenant").await;
    let twice = format!("{0},{0}", app(""));
    let seen = post(&land, &route, &twice).await;
    assert_eq!(seen.status, 500);
    let text = r#"{"errors":[{"title":"UnknownError","detail":"An unknown error occurred.","code":10001}]}"#;
    assert_eq!(seen.text, text);
    assert!(land.world.routes()[0].apps.is_empty());
    let path = format!("/v3/routes/{route}/destinations");
    let body = format!("{{\"destinations\":[{twice}]}}");
    let seen = land.send(Method::PATCH, &path, &body).await;
    assert_eq!(seen.refusal(), (422, 10_008, "Destinations cannot contain duplicate entries"));
}

#[tokio::test]
async fn a_replace_keeps_what_stays_and_an_empty_one_unmaps() {
    let land = Land::new();
    let route = land.created("tenant").await;
    let first = post(&land, &route, &app("")).await;
    let path = format!("/v3/routes/{route}/destinations");
    let body = format!("{{\"destinations\":[{},{}]}}", app(""), app(",\"port\":9000"));
    let seen = land.send(Method::PATCH, &path, &body).await;
    assert_eq!(seen.json["destinations"][0]["guid"], first.json["destinations"][0]["guid"]);
    assert_eq!(seen.json["destinations"].as_array().unwrap().len(), 2);
    let seen = land.send(Method::PATCH, &path, r#"{"destinations":[]}"#).await;
    assert_eq!((seen.status, &seen.json["destinations"]), (200, &json!([])));
}

#[tokio::test]
async fn weights_belong_to_replaces() {
    let land = Land::new();
    let route = land.created("tenant").await;
    let path = format!("/v3/routes/{route}/destinations");
    let replace = |entries: String| {
        let body = format!("{{\"destinations\":[{entries}]}}");
        let (land, path) = (land.clone(), path.clone());
        async move { land.send(Method::PATCH, &path, &body).await }
    };
    let seen = replace(format!("{},{}", app(",\"weight\":50"), app(",\"port\":9000"))).await;
    assert_eq!(
        seen.refusal().2,
        "Destinations cannot contain both weighted and unweighted destinations."
    );
    let seen = replace(app(",\"weight\":101")).await;
    assert_eq!(
        seen.refusal().2,
        "Destinations[0]: weight must be a positive integer between 1 and 100."
    );
    let seen = replace(app(",\"weight\":100")).await;
    assert_eq!(seen.json["destinations"][0]["weight"], 100);
    let target = seen.json["destinations"][0]["guid"].as_str().unwrap();
    let seen = land.send(Method::DELETE, &format!("{path}/{target}"), "").await;
    assert_eq!(seen.refusal().2, "Weighted destinations cannot be deleted individually.");
    let seen = post(&land, &route, &app(",\"port\":9000")).await;
    assert_eq!(
        seen.refusal().2,
        "Destinations cannot be inserted when there are weighted destinations already configured."
    );
}

#[tokio::test]
async fn what_cannot_be_mapped_is_told() {
    let land = Land::new();
    let foreign = land.world.add_app("foreign", "fspace").unwrap();
    let elsewhere = land.world.add_app("elsewhere", "other").unwrap();
    let route = land.created("tenant").await;
    let of = |guid: &str| format!("{{\"app\":{{\"guid\":\"{guid}\"}}}}");
    let seen = post(&land, &route, &of(&foreign)).await;
    assert_eq!(
        seen.refusal().2,
        format!("App(s) with guid(s) \"{foreign}\" you do not have access.")
    );
    let seen = post(&land, &route, &of(&elsewhere)).await;
    let text =
        "Routes destinations must be in either the route's space or the route's shared spaces";
    assert_eq!(seen.refusal().2, text);
    assert_eq!(post(&land, &route, &of("a\\u0000")).await.status, 500);
    let many: Vec<String> = (0..11).map(|n| app(&format!(",\"port\":{}", 2000 + n))).collect();
    let seen = post(&land, &route, &many.join(",")).await;
    assert_eq!(seen.refusal().2, "Process must have at most 10 exposed ports.");
    let home = land.create_at("second", OTHER, SHARED, "").await;
    let home = home.json["guid"].as_str().unwrap();
    assert_eq!(post(&land, home, &of(&elsewhere)).await.status, 200);
}

#[tokio::test]
async fn a_target_that_is_gone_is_unprocessable() {
    let land = Land::new();
    let route = land.created("tenant").await;
    let seen = post(&land, &route, &app("")).await;
    let target = seen.json["destinations"][0]["guid"].as_str().unwrap();
    let path = format!("/v3/routes/{route}/destinations/{target}");
    let patched = land.send(Method::PATCH, &path, r#"{"protocol":"http2"}"#).await;
    assert_eq!((patched.status, &patched.json["protocol"]), (200, &json!("http2")));
    let seen = land.send(Method::DELETE, &path, "").await;
    assert_eq!((seen.status, seen.text.as_str(), seen.header("content-type")), (204, "", None));
    let seen = land.send(Method::DELETE, &path, "").await;
    let text = "Unable to unmap route from destination. Ensure the route has a destination with this guid.";
    assert_eq!(seen.refusal(), (422, 10_008, text));
}
