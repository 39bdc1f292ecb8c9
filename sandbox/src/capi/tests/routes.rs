//! Creating, reading and changing routes, and the order of the checks.

use http::Method;
use serde_json::json;
use tokio::task::JoinSet;

use crate::capi::tests::{BASE, DEV, ORG, OTHER, PRIVATE, SHARED, TestApi};
use crate::world::Role;

const TAKEN: &str = "Route already exists with host 'tenant' for domain 'cfapps.example.test'.";

#[tokio::test]
async fn a_route_is_created_with_its_labels_and_absolute_links() {
    let api = TestApi::new();
    let more = r#""metadata":{"labels":{"x.test/tenant":"t1"},"annotations":{"x":"y"}},"#;
    let answer = api.create("tenant", more).await;
    assert_eq!(answer.status, 201);
    let guid = answer.json["guid"].as_str().unwrap();
    assert!(answer.text.starts_with("{\"guid\":\"") && answer.text.contains("\"options\":{}"));
    assert_eq!(answer.json["url"], "tenant.cfapps.example.test");
    assert_eq!(answer.json["links"]["self"]["href"], format!("{BASE}/v3/routes/{guid}"));
    let [route] = &api.world.routes()[..] else {
        panic!("one route");
    };
    assert_eq!(route.labels["x.test/tenant"], "t1");
    assert_eq!(route.annotations["x"], "y");
    assert_eq!((route.space.as_str(), route.domain.as_str()), ("dev", "cfapps.example.test"));
}

#[tokio::test]
async fn a_host_is_taken_in_any_case_and_for_any_owner() {
    let api = TestApi::new();
    api.world.take_host("tenant", "cfapps.example.test", "fspace").unwrap();
    let answer = api.create("tenant", "").await;
    assert_eq!(answer.refusal(), (422, 10_008, TAKEN));
    let answer = api.create("TENANT", "").await;
    assert_eq!(answer.refusal().2, TAKEN.replace("tenant", "TENANT"));
    let listed = api.get("/v3/routes?hosts=tenant").await;
    assert!(listed.hosts().is_empty(), "a foreign route is invisible");
    let path = format!("/v3/domains/{SHARED}/route_reservations?host=Tenant");
    assert_eq!(api.get(&path).await.json, json!({"matching_route": true}));
}

#[tokio::test]
async fn a_host_filter_returns_the_path_routes_too() {
    let api = TestApi::new();
    api.created("tenant").await;
    assert_eq!(api.create("tenant", r#""path":"/p","#).await.status, 201);
    assert_eq!(api.get("/v3/routes?hosts=TENANT").await.hosts().len(), 2);
    assert_eq!(api.get("/v3/routes?hosts=tenant&paths=").await.hosts().len(), 1);
}

#[tokio::test]
async fn a_shared_host_with_a_path_in_another_space_is_refused_with_a_raw_text() {
    let api = TestApi::new();
    let first = api.create_at("tenant", OTHER, SHARED, r#""path":"/a","#).await;
    assert_eq!(first.status, 201);
    let path = format!("/v3/domains/{SHARED}/route_reservations?host=tenant");
    assert_eq!(api.get(&path).await.json["matching_route"], false);
    let answer = api.create("tenant", "").await;
    let raw = "domain_id and host host_and_domain_taken_different_space";
    assert_eq!(answer.refusal(), (422, 10_008, raw));
    assert_eq!(api.create_at("t", OTHER, PRIVATE, r#""path":"/a","#).await.status, 201);
    assert_eq!(api.create_at("t", DEV, PRIVATE, "").await.status, 201);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_eight_parallel_creates_one_wins() {
    let api = TestApi::new();
    let mut creates = JoinSet::new();
    for _ in 0..8 {
        let api = api.clone();
        creates.spawn(async move { api.create("tenant", "").await.status });
    }
    let mut statuses = creates.join_all().await;
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 422, 422, 422, 422, 422, 422, 422]);
    assert_eq!(api.world.routes().len(), 1);
}

#[tokio::test]
async fn an_exhausted_quota_hides_a_taken_host() {
    let api = TestApi::new();
    api.created("tenant").await;
    api.world.quota("provider-org", Some(1)).unwrap();
    let text = "Routes quota exceeded for organization 'provider-org'.";
    assert_eq!(api.create("tenant", "").await.refusal().2, text);
    api.world.space_quota("dev", Some(1)).unwrap();
    let text = "Routes quota exceeded for space 'dev'.";
    assert_eq!(api.create("free", "").await.refusal().2, text);
    api.world.quota("provider-org", None).unwrap();
    api.world.space_quota("dev", None).unwrap();
    assert_eq!(api.create("free", "").await.status, 201);
}

#[tokio::test]
async fn the_checks_have_ccs_order() {
    let api = TestApi::new();
    api.world.set_role("nobody@example.test", "dev", None).unwrap();
    let outsider = api.acting_as("nobody@example.test");
    let answer = outsider.create("a b", "").await;
    assert_eq!(answer.status, 422, "the body before the role");
    let answer = outsider.create_at("a", "nope", SHARED, "").await;
    assert_eq!(
        answer.refusal().2,
        "Invalid space. Ensure that the space exists and you have access to it."
    );
    let answer = outsider.create_at("a", DEV, "nope", "").await;
    assert_eq!(
        answer.refusal().2,
        "Invalid domain. Ensure that the domain exists and you have access to it."
    );
    api.world.suspend("provider-org", true).unwrap();
    assert_eq!(
        outsider.create("a", "").await.refusal().1,
        10_003,
        "the role before the suspension"
    );
    assert_eq!(api.create("*", "").await.refusal().1, 10_017, "the suspension before the wildcard");
    api.world.suspend("provider-org", false).unwrap();
    api.world.suspend_space("dev", true).unwrap();
    assert_eq!(api.create("a", "").await.refusal(), (403, 10_019, "The space is suspended"));
    api.world.space_deleting("dev", true).unwrap();
    assert_eq!(api.create("a", "").await.refusal(), (422, 10_020, "The space is being deleted"));
    api.world.feature("route_creation", false, Some("ask the admin"));
    assert_eq!(
        api.create("a", "").await.refusal(),
        (403, 330_002, "Feature Disabled: ask the admin")
    );
}

#[tokio::test]
async fn reserved_hosts_and_names_of_domains_are_refused() {
    let api = TestApi::new();
    api.world.reserve_host("api", "cfapps.example.test");
    api.world.add_domain("sub.cfapps.example.test", None).unwrap();
    let text = "Route conflicts with a reserved system route.";
    assert_eq!(api.create("api", "").await.refusal().2, text);
    let text = "Route conflicts with domain 'sub.cfapps.example.test'.";
    assert_eq!(api.create("sub", "").await.refusal().2, text);
    let long = format!("{}.example.test", ["a".repeat(63).as_str(); 3].join("."));
    let domain = api.world.add_domain(&long, Some("provider-org")).unwrap();
    let answer = api.create_at(&"b".repeat(60), DEV, &domain, "").await;
    assert_eq!(
        answer.refusal().2,
        "Host combined with domain name must be no more than 253 characters."
    );
}

#[tokio::test]
async fn a_patch_changes_metadata_and_options_only() {
    let api = TestApi::new();
    let guid = api.created("tenant").await;
    let path = format!("/v3/routes/{guid}");
    let change = |body: &'static str| api.send(Method::PATCH, &path, body);
    let answer = change(r#"{"metadata":{"labels":{"a":"1","b":"2"}}}"#).await;
    assert_eq!(answer.json["metadata"]["labels"], json!({"a": "1", "b": "2"}));
    let answer =
        change(r#"{"metadata":{"labels":{"a":null}},"options":{"loadbalancing":"round-robin"}}"#)
            .await;
    assert_eq!(answer.json["metadata"]["labels"], json!({"b": "2"}));
    assert_eq!(answer.json["options"], json!({"loadbalancing": "round-robin"}));
    let answer = change(r#"{"options":{"loadbalancing":null}}"#).await;
    assert_eq!(answer.json["options"], json!({}));
    assert_eq!(change(r#"{"host":"x"}"#).await.refusal().2, "Unknown field(s): 'host'");
}

#[tokio::test]
async fn an_older_release_leaves_the_newer_fields_out() {
    let api = TestApi::new();
    api.world.older_release(true);
    let answer = api.create("tenant", "").await;
    assert!(answer.json.get("options").is_none());
    let answer = api.create("b", r#""options":{"loadbalancing":"round-robin"},"#).await;
    assert_eq!(answer.refusal().2, "Unknown field(s): 'options'");
    let space = api.get(&format!("/v3/spaces/{DEV}")).await;
    assert!(space.json.get("suspended").is_none());
    api.world.older_release(false);
    let space = api.get(&format!("/v3/spaces/{DEV}")).await;
    assert_eq!(space.json["suspended"], false);
}

#[tokio::test]
async fn roles_decide_who_sees_and_who_writes() {
    let api = TestApi::new();
    let guid = api.created("tenant").await;
    let route = format!("/v3/routes/{guid}");
    let user = "somebody@example.test";
    let somebody = api.acting_as(user);
    for (place, role, read, write) in [
        ("dev", None, 404, 404),
        ("dev", Some(Role::SpaceAuditor), 200, 403),
        ("dev", Some(Role::SpaceManager), 200, 403),
        ("dev", Some(Role::SpaceSupporter), 200, 200),
        ("dev", Some(Role::SpaceDeveloper), 200, 200),
        ("provider-org", Some(Role::OrgManager), 200, 403),
        ("provider-org", Some(Role::OrgAuditor), 200, 403),
    ] {
        api.world.set_role(user, "dev", None).unwrap();
        api.world.set_role(user, place, role).unwrap();
        assert_eq!(somebody.get(&route).await.status, read, "{role:?}");
        let body = r#"{"metadata":{"labels":{"a":"1"}}}"#;
        let patched = somebody.send(Method::PATCH, &route, body).await;
        assert_eq!(patched.status, write, "{role:?}");
    }
    let space = format!("/v3/spaces/{DEV}");
    assert_eq!(somebody.get(&space).await.status, 404, "an org's auditor does not see spaces");
    assert_eq!(somebody.get(&format!("/v3/organizations/{ORG}")).await.status, 200);
}

#[tokio::test]
async fn a_route_on_an_internal_domain_is_allowed() {
    let api = TestApi::new();
    let internal = "5930476f-657d-4277-941a-c8fb4c08bd39";
    let answer = api.create_at("backend", DEV, internal, "").await;
    assert_eq!((answer.status, &answer.json["url"]), (201, &"backend.apps.internal".into()));
    let answer = api.create_at("*", DEV, internal, "").await;
    assert_eq!(answer.refusal().0, 422);
    let answer = api.create_at("path", DEV, internal, r#""path":"/p","#).await;
    assert_eq!(answer.refusal().2, "Paths are not supported for internal domains.");
}
