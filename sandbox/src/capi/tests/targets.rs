//! Destinations of a route.

use http::Method;
use serde_json::{Value, json};

use crate::capi::tests::{APP, OTHER, SHARED, TestAnswer, TestApi};

async fn post(api: &TestApi, route: &str, entries: &str) -> TestAnswer {
    let body = format!("{{\"destinations\":[{entries}]}}");
    api.send(Method::POST, &format!("/v3/routes/{route}/destinations"), &body).await
}

fn app(more: &str) -> String {
    format!("{{\"app\":{{\"guid\":\"{APP}\"}}{more}}}")
}

#[tokio::test]
async fn the_same_target_twice_is_no_change() {
    let api = TestApi::new();
    let route = api.created("tenant").await;
    let first = post(&api, &route, &app("")).await;
    let again = post(&api, &route, &app("")).await;
    assert_eq!((first.status, again.status), (200, 200));
    assert_eq!(first.json, again.json);
    let target = &first.json["destinations"][0];
    assert_eq!(target["port"], 8080);
    assert_eq!(target["protocol"], "http1");
    assert_eq!(target["app"]["process"], json!({"type": "web"}));
    assert_eq!(api.world.routes()[0].apps, ["saas-approuter"]);
    let listed = api.get(&format!("/v3/apps/{APP}/routes?hosts=tenant")).await;
    assert_eq!(listed.hosts(), ["tenant"]);
}

#[tokio::test]
async fn destinations_are_sorted_by_guid() {
    let api = TestApi::new();
    let route = api.created("tenant").await;
    let guids = |targets: &Value| -> Vec<String> {
        let targets = targets.as_array().unwrap().iter();
        targets.map(|target| target["guid"].as_str().unwrap().to_owned()).collect()
    };
    let mut mapped = TestAnswer::default();
    for port in 9000..9008 {
        mapped = post(&api, &route, &app(&format!(",\"port\":{port}"))).await;
    }
    let shown = guids(&mapped.json["destinations"]);
    assert!(shown.len() == 8 && shown.is_sorted(), "{shown:?}");
    let path = format!("/v3/routes/{route}");
    assert_eq!(guids(&api.get(&path).await.json["destinations"]), shown);
    let listed = api.get(&format!("{path}/destinations")).await;
    assert_eq!(guids(&listed.json["destinations"]), shown);
}

#[tokio::test]
async fn the_same_target_twice_in_one_array_is_an_unknown_error() {
    let api = TestApi::new();
    let route = api.created("tenant").await;
    let twice = format!("{0},{0}", app(""));
    let answer = post(&api, &route, &twice).await;
    assert_eq!(answer.status, 500);
    let text = r#"{"errors":[{"title":"UnknownError","detail":"An unknown error occurred.","code":10001}]}"#;
    assert_eq!(answer.text, text);
    assert!(api.world.routes()[0].apps.is_empty());
    let path = format!("/v3/routes/{route}/destinations");
    let body = format!("{{\"destinations\":[{twice}]}}");
    let answer = api.send(Method::PATCH, &path, &body).await;
    assert_eq!(answer.refusal(), (422, 10_008, "Destinations cannot contain duplicate entries"));
}

#[tokio::test]
async fn a_replace_keeps_equal_destinations_and_an_empty_one_removes_all() {
    let api = TestApi::new();
    let route = api.created("tenant").await;
    let first = post(&api, &route, &app("")).await;
    let path = format!("/v3/routes/{route}/destinations");
    let body = format!("{{\"destinations\":[{},{}]}}", app(""), app(",\"port\":9000"));
    let answer = api.send(Method::PATCH, &path, &body).await;
    let kept = &first.json["destinations"][0]["guid"];
    let left = answer.json["destinations"].as_array().unwrap();
    assert!(left.len() == 2 && left.iter().any(|target| target["guid"] == *kept));
    let answer = api.send(Method::PATCH, &path, r#"{"destinations":[]}"#).await;
    assert_eq!((answer.status, &answer.json["destinations"]), (200, &json!([])));
}

#[tokio::test]
async fn weights_are_allowed_only_in_a_replace() {
    let api = TestApi::new();
    let route = api.created("tenant").await;
    let path = format!("/v3/routes/{route}/destinations");
    let replace = |entries: String| {
        let body = format!("{{\"destinations\":[{entries}]}}");
        let (api, path) = (api.clone(), path.clone());
        async move { api.send(Method::PATCH, &path, &body).await }
    };
    let answer = replace(format!("{},{}", app(",\"weight\":50"), app(",\"port\":9000"))).await;
    assert_eq!(
        answer.refusal().2,
        "Destinations cannot contain both weighted and unweighted destinations."
    );
    let answer = replace(app(",\"weight\":101")).await;
    assert_eq!(
        answer.refusal().2,
        "Destinations[0]: weight must be a positive integer between 1 and 100."
    );
    let answer = replace(app(",\"weight\":100")).await;
    assert_eq!(answer.json["destinations"][0]["weight"], 100);
    let target = answer.json["destinations"][0]["guid"].as_str().unwrap();
    let answer = api.send(Method::DELETE, &format!("{path}/{target}"), "").await;
    assert_eq!(answer.refusal().2, "Weighted destinations cannot be deleted individually.");
    let answer = post(&api, &route, &app(",\"port\":9000")).await;
    assert_eq!(
        answer.refusal().2,
        "Destinations cannot be inserted when there are weighted destinations already configured."
    );
}

#[tokio::test]
async fn an_app_that_cannot_be_mapped_is_refused() {
    let api = TestApi::new();
    let foreign = api.world.add_app("foreign", "fspace").unwrap();
    let elsewhere = api.world.add_app("elsewhere", "other").unwrap();
    let route = api.created("tenant").await;
    let of = |guid: &str| format!("{{\"app\":{{\"guid\":\"{guid}\"}}}}");
    let answer = post(&api, &route, &of(&foreign)).await;
    assert_eq!(
        answer.refusal().2,
        format!("App(s) with guid(s) \"{foreign}\" you do not have access.")
    );
    let answer = post(&api, &route, &of(&elsewhere)).await;
    let text =
        "Routes destinations must be in either the route's space or the route's shared spaces";
    assert_eq!(answer.refusal().2, text);
    assert_eq!(post(&api, &route, &of("a\\u0000")).await.status, 500);
    let many: Vec<String> = (0..11).map(|n| app(&format!(",\"port\":{}", 2000 + n))).collect();
    let answer = post(&api, &route, &many.join(",")).await;
    assert_eq!(answer.refusal().2, "Process must have at most 10 exposed ports.");
    let home = api.create_at("second", OTHER, SHARED, "").await;
    let home = home.json["guid"].as_str().unwrap();
    assert_eq!(post(&api, home, &of(&elsewhere)).await.status, 200);
}

#[tokio::test]
async fn an_unknown_destination_is_unprocessable() {
    let api = TestApi::new();
    let route = api.created("tenant").await;
    let answer = post(&api, &route, &app("")).await;
    let target = answer.json["destinations"][0]["guid"].as_str().unwrap();
    let path = format!("/v3/routes/{route}/destinations/{target}");
    let patched = api.send(Method::PATCH, &path, r#"{"protocol":"http2"}"#).await;
    assert_eq!((patched.status, &patched.json["protocol"]), (200, &json!("http2")));
    let answer = api.send(Method::DELETE, &path, "").await;
    assert_eq!(
        (answer.status, answer.text.as_str(), answer.header("content-type")),
        (204, "", None)
    );
    let answer = api.send(Method::DELETE, &path, "").await;
    let text = "Unable to unmap route from destination. Ensure the route has a destination with this guid.";
    assert_eq!(answer.refusal(), (422, 10_008, text));
}
