//! Bodies and lists: content types, JSON, queries, pages, filters.

use axum::body::Body;
use http::{Method, Request};

use crate::capi::tests::{BASE, DEV, ORG, SHARED, TestApi};

const NO_BODY: &str =
    "Relationships can't be blank, Relationships 'relationships' is not an object";

#[tokio::test]
async fn only_application_json_is_a_body() {
    let api = TestApi::new();
    let body = format!(
        r#"{{"host":"a","relationships":{{"space":{{"data":{{"guid":"{DEV}"}}}},"domain":{{"data":{{"guid":"{SHARED}"}}}}}}}}"#
    );
    for (kind, status) in [
        (Some("text/plain"), 422),
        (Some("application/x-www-form-urlencoded"), 422),
        (Some("application/vnd.api+json"), 422),
        (None, 422),
        (Some("application/json; charset=utf-8"), 201),
    ] {
        let mut request = Request::post("/v3/routes").header("authorization", &api.bearer);
        if let Some(kind) = kind {
            request = request.header("content-type", kind);
        }
        let answer = api.raw(request.body(Body::from(body.clone())).unwrap()).await;
        assert_eq!(answer.status, status, "{kind:?}");
        if status == 422 {
            assert_eq!(answer.refusal().2, NO_BODY);
        }
    }
}

#[tokio::test]
async fn the_last_of_equal_keys_wins_and_bad_json_is_refused() {
    let api = TestApi::new();
    let answer = api.create("first", r#""host":"last","#).await;
    assert_eq!(answer.json["host"], "last");
    for body in ["{bad", "\u{feff}{}", "{} {}"] {
        let answer = api.send(Method::POST, "/v3/routes", body).await;
        let text = "Request invalid due to parse error: invalid request body";
        assert_eq!(answer.refusal(), (400, 1001, text), "{body}");
    }
    let answer = api.send(Method::POST, "/v3/routes", r#"{"z":1,"a":2,"relationships":{}}"#).await;
    let text = "Relationships can't be blank, Unknown field(s): 'z', 'a', Relationships 'relationships' must include one or more valid relationships";
    assert_eq!(answer.refusal().2, text);
}

#[tokio::test]
async fn a_query_over_ten_kilobytes_gets_nothing_but_400() {
    let api = TestApi::new();
    let query = |length: usize| format!("/v3/routes?hosts={}", "a".repeat(length));
    let answer = api.get(&query(10_300)).await;
    assert_eq!((answer.status, answer.text.as_str()), (400, ""));
    assert_eq!(answer.header("content-type"), None);
    assert_eq!(api.get(&query(10_000)).await.status, 200);
}

#[tokio::test]
async fn pages_are_followed_by_absolute_hrefs() {
    let api = TestApi::new();
    for host in ["a", "b", "c"] {
        api.created(host).await;
    }
    let first = api.get("/v3/routes?per_page=2&order_by=-created_at").await;
    assert_eq!(first.hosts(), ["c", "b"]);
    let next = format!("{BASE}/v3/routes?order_by=-created_at&page=2&per_page=2");
    assert_eq!(first.json["pagination"]["next"]["href"], next);
    assert!(first.text.contains("order_by=-created_at\\u0026page=2\\u0026per_page=2"));
    let second = api.get(next.strip_prefix(BASE).unwrap()).await;
    assert_eq!(second.hosts(), ["a"]);
    assert!(second.json["pagination"]["next"].is_null());
    let past = api.get("/v3/routes?page=9&per_page=2").await;
    assert_eq!(past.status, 200);
    assert_eq!(past.json["pagination"]["total_results"], 0);
    assert_eq!(past.json["pagination"]["total_pages"], 1);
    assert!(past.json["pagination"]["previous"]["href"].is_string());
}

#[tokio::test]
async fn bad_parameters_are_refused_with_ccs_texts() {
    let api = TestApi::new();
    for (query, text) in [
        ("per_page=5001", "Per page must be between 1 and 5000"),
        ("per_page=x", "Per page must be a positive integer"),
        ("page=0", "Page must be a positive integer"),
        ("order_by=host", "Order by can only be: 'created_at', 'updated_at'"),
        (
            "include=bad",
            "Invalid included resource: 'bad'. Valid included resources are: 'domain', 'space', 'space.organization', 'route_policies'",
        ),
        ("include=space,space", "Duplicate included resource: 'space'"),
        (
            "updated_ats=now",
            "Updated ats has an invalid timestamp format. Timestamps should be formatted as 'YYYY-MM-DDThh:mm:ssZ'",
        ),
        (
            "page=0&per_page=0",
            "Page must be a positive integer, Per page must be a positive integer",
        ),
    ] {
        let answer = api.get(&format!("/v3/routes?{query}")).await;
        let text = format!("The query parameter is invalid: {text}");
        assert_eq!(answer.refusal(), (400, 10_005, text.as_str()), "{query}");
    }
}

#[tokio::test]
async fn only_lists_of_routes_do_not_check_the_label_selector() {
    let api = TestApi::new();
    api.created("a").await;
    let long = format!("a%3D{}", "v".repeat(64));
    for selector in ["a%3Db%20c", "nodot%2Fa%3Db", "-a%3Db", long.as_str()] {
        let answer = api.get(&format!("/v3/routes?label_selector={selector}")).await;
        assert_eq!((answer.status, answer.hosts()), (200, vec![]), "{selector}");
        let answer = api.get(&format!("/v3/spaces?label_selector={selector}")).await;
        assert_eq!((answer.status, answer.refusal().1), (400, 10_005), "{selector}");
    }
    for selector in ["%3Da", "a%20in()", "a%20b%3Dc", "a%20in%20(b"] {
        let answer = api.get(&format!("/v3/routes?label_selector={selector}")).await;
        assert_eq!(answer.refusal(), (500, 10_001, "An unknown error occurred."), "{selector}");
        let answer = api.get(&format!("/v3/spaces?label_selector={selector}")).await;
        let text = "The query parameter is invalid: Invalid label_selector value";
        assert_eq!(answer.refusal(), (400, 10_005, text), "{selector}");
    }
    let answer = api.get("/v3/spaces?label_selector=").await;
    let text = "The query parameter is invalid: Missing label_selector value";
    assert_eq!(answer.refusal(), (400, 10_005, text));
}

#[tokio::test]
async fn filters_select_by_label_host_time_and_name() {
    let api = TestApi::new();
    api.created("a").await;
    api.create("b", r#""metadata":{"labels":{"x.test/t":"1"}},"#).await;
    for (query, hosts) in [
        ("label_selector=x.test%2Ft%3D1", vec!["b"]),
        ("label_selector=!x.test/t", vec!["a"]),
        ("hosts=a,b", vec!["a", "b"]),
        ("hosts[]=a", vec![]),
        ("created_ats[gt]=2001-01-01T00:00:00Z", vec!["a", "b"]),
        ("created_ats[lt]=2001-01-01T00:00:00Z", vec![]),
        ("ports=80", vec![]),
        ("service_instance_guids=x", vec![]),
    ] {
        assert_eq!(api.get(&format!("/v3/routes?{query}")).await.hosts(), hosts, "{query}");
    }
    let names = |answer: &crate::capi::tests::TestAnswer| -> Vec<String> {
        let items = answer.json["resources"].as_array().unwrap();
        items.iter().map(|item| item["name"].as_str().unwrap().to_owned()).collect()
    };
    let apps = api.get("/v3/apps?order_by=name&names=CFAPI-BROKER,saas-approuter").await;
    assert_eq!(names(&apps), ["cfapi-broker", "saas-approuter"]);
    assert!(apps.text.contains("order_by=%2Bname"));
    let owned = api.get(&format!("/v3/domains?organization_guids={ORG}")).await;
    assert_eq!(names(&owned), ["saas.example.test"]);
    let usable = api.get(&format!("/v3/organizations/{ORG}/domains")).await;
    assert_eq!(names(&usable), ["cfapps.example.test", "saas.example.test", "apps.internal"]);
    assert_eq!(names(&api.get("/v3/spaces").await), ["dev", "other"]);
    assert_eq!(names(&api.get("/v3/organizations").await), ["provider-org"]);
}

#[tokio::test]
async fn a_head_has_the_length_and_no_body() {
    let api = TestApi::new();
    let path = format!("/v3/spaces/{DEV}");
    let answer = api.get(&path).await;
    let head = api.send(Method::HEAD, &path, "").await;
    assert_eq!((head.status, head.text.as_str()), (200, ""));
    assert_eq!(head.header("content-length"), answer.header("content-length"));
}

#[tokio::test]
async fn a_filled_world_has_long_lists() {
    let api = TestApi::new();
    let args = serde_json::json!({
        "spaces": 1200, "apps": 1000, "routes": 2500,
        "labels": {"cfapi-broker.internal/tenant": "t{n}"}, "annotations": {"a.test/b": "{n}"},
    });
    api.world.pull("fill", &args).unwrap().unwrap();
    let api = api.acting_as(crate::world::TECHNICAL_USER);
    let total = async |path: &str| api.get(path).await.json["pagination"]["total_results"].clone();
    assert_eq!(total("/v3/spaces?per_page=1").await, 1202);
    assert_eq!(total("/v3/apps?per_page=1").await, 1003);
    let tenants = "/v3/routes?label_selector=cfapi-broker.internal/tenant&per_page=1000";
    let third = api.get(&format!("{tenants}&page=3")).await.json;
    assert_eq!(third["pagination"]["total_pages"], 3);
    let last = &third["resources"][499];
    assert_eq!(
        (&last["host"], &last["metadata"]["annotations"]["a.test/b"]),
        (&"tenant-2500".into(), &"2500".into())
    );
    assert_eq!(last["destinations"][0]["app"]["process"]["type"], "web");
    assert_eq!(total("/v3/routes?hosts=tenant-1201&per_page=1").await, 1);
    let none = api.world.pull("fill", &serde_json::json!({"routes": 1})).unwrap();
    assert!(none.is_err());
}
