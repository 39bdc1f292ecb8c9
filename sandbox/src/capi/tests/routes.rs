//! The row "routes" of the sandbox's promises, and the order of the checks.

use http::Method;
use serde_json::json;
use tokio::task::JoinSet;

use crate::capi::tests::{BASE, DEV, Land, ORG, OTHER, PRIVATE, SHARED};
use crate::world::Role;

const TAKEN: &str = "Route already exists with host 'tenant' for domain 'cfapps.example.test'.";

#[tokio::test]
async fn a_route_is_created_with_its_labels_and_absolute_links() {
    let land = Land::new();
    let more = r#""metadata":{"labels":{"x.test/tenant":"t1"},"annotations":{"x":"y"}},"#;
    let seen = land.create("tenant", more).await;
    assert_eq!(seen.status, 201);
    let guid = seen.json["guid"].as_str().unwrap();
    assert!(seen.text.starts_with("{\"guid\":\"") && seen.text.contains("\"options\":{}"));
    assert_eq!(seen.json["url"], "tenant.cfapps.example.test");
    assert_eq!(seen.json["links"]["self"]["href"], format!("{BASE}/v3/routes/{guid}"));
    let [route] = &land.world.routes()[..] else {
        panic!("one route");
    };
    assert_eq!(route.labels["x.test/tenant"], "t1");
    assert_eq!(route.annotations["x"], "y");
    assert_eq!((route.space.as_str(), route.domain.as_str()), ("dev", "cfapps.example.test"));
}

#[tokio::test]
async fn a_host_is_taken_whatever_its_case_and_whoever_holds_it() {
    let land = Land::new();
    land.world.take_host("tenant", "cfapps.example.test", "fspace").unwrap();
    let seen = land.create("tenant", "").await;
    assert_eq!(seen.refusal(), (422, 10_008, TAKEN));
    let seen = land.create("TENANT", "").await;
    assert_eq!(seen.refusal().2, TAKEN.replace("tenant", "TENANT"));
    let listed = land.get("/v3/routes?hosts=tenant").await;
    assert!(listed.hosts().is_empty(), "a foreign route is invisible");
    let path = format!("/v3/domains/{SHARED}/route_reservations?host=Tenant");
    assert_eq!(land.get(&path).await.json, json!({"matching_route": true}));
}

#[tokio::test]
async fn a_host_filter_returns_the_path_routes_too() {
    let land = Land::new();
    land.created("tenant").await;
    assert_eq!(land.create("tenant", r#""path":"/p","#).await.status, 201);
    assert_eq!(land.get("/v3/routes?hosts=TENANT").await.hosts().len(), 2);
    assert_eq!(land.get("/v3/routes?hosts=tenant&paths=").await.hosts().len(), 1);
}

#[tokio::test]
async fn a_path_of_a_shared_host_in_another_space_fails_in_raw_words_though_the_host_seems_free() {
    let land = Land::new();
    let first = land.create_at("tenant", OTHER, SHARED, r#""path":"/a","#).await;
    assert_eq!(first.status, 201);
    let path = format!("/v3/domains/{SHARED}/route_reservations?host=tenant");
    assert_eq!(land.get(&path).await.json["matching_route"], false);
    let seen = land.create("tenant", "").await;
    let raw = "domain_id and host host_and_domain_taken_different_space";
    assert_eq!(seen.refusal(), (422, 10_008, raw));
    assert_eq!(land.create_at("t", OTHER, PRIVATE, r#""path":"/a","#).await.status, 201);
    assert_eq!(land.create_at("t", DEV, PRIVATE, "").await.status, 201);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_eight_parallel_creates_one_wins() {
    let land = Land::new();
    let mut creates = JoinSet::new();
    for _ in 0..8 {
        let land = land.clone();
        creates.spawn(async move { land.create("tenant", "").await.status });
    }
    let mut statuses = creates.join_all().await;
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 422, 422, 422, 422, 422, 422, 422]);
    assert_eq!(land.world.routes().len(), 1);
}

#[tokio::test]
async fn an_exhausted_quota_hides_a_taken_host() {
    let land = Land::new();
    land.created("tenant").await;
    land.world.quota("provider-org", Some(1)).unwrap();
    let text = "Routes quota exceeded for organization 'provider-org'.";
    assert_eq!(land.create("tenant", "").await.refusal().2, text);
    land.world.space_quota("dev", Some(1)).unwrap();
    let text = "Routes quota exceeded for space 'dev'.";
    assert_eq!(land.create("free", "").await.refusal().2, text);
    land.world.quota("provider-org", None).unwrap();
    land.world.space_quota("dev", None).unwrap();
    assert_eq!(land.create("free", "").await.status, 201);
}

#[tokio::test]
async fn checks_come_in_ccs_order() {
    let land = Land::new();
    land.world.set_role("nobody@example.test", "dev", None).unwrap();
    let nobody = land.acting_as("nobody@example.test");
    let seen = nobody.create("a b", "").await;
    assert_eq!(seen.status, 422, "the body before the role");
    let seen = nobody.create_at("a", "nope", SHARED, "").await;
    assert_eq!(
        seen.refusal().2,
        "Invalid space. Ensure that the space exists and you have access to it."
    );
    let seen = nobody.create_at("a", DEV, "nope", "").await;
    assert_eq!(
        seen.refusal().2,
        "Invalid domain. Ensure that the domain exists and you have access to it."
    );
    land.world.suspend("provider-org", true).unwrap();
    assert_eq!(nobody.create("a", "").await.refusal().1, 10_003, "the role before the suspension");
    assert_eq!(
        land.create("*", "").await.refusal().1,
        10_017,
        "the suspension before the wildcard"
    );
    land.world.suspend("provider-org", false).unwrap();
    land.world.suspend_space("dev", true).unwrap();
    assert_eq!(land.create("a", "").await.refusal(), (403, 10_019, "The space is suspended"));
    land.world.space_deleting("dev", true).unwrap();
    assert_eq!(land.create("a", "").await.refusal(), (422, 10_020, "The space is being deleted"));
    land.world.feature("route_creation", false, Some("ask the admin"));
    assert_eq!(
        land.create("a", "").await.refusal(),
        (403, 330_002, "Feature Disabled: ask the admin")
    );
}

#[tokio::test]
async fn hosts_and_domains_that_the_platform_keeps_are_refused() {
    let land = Land::new();
    land.world.reserve_host("api", "cfapps.example.test");
    land.world.add_domain("sub.cfapps.example.test", None).unwrap();
    let text = "Route conflicts with a reserved system route.";
    assert_eq!(land.create("api", "").await.refusal().2, text);
    let text = "Route conflicts with domain 'sub.cfapps.example.test'.";
    assert_eq!(land.create("sub", "").await.refusal().2, text);
    let long = format!("{}.example.test", ["a".repeat(63).as_str(); 3].join("."));
    let domain = land.world.add_domain(&long, Some("provider-org")).unwrap();
    let seen = land.create_at(&"b".repeat(60), DEV, &domain, "").await;
    assert_eq!(
        seen.refusal().2,
        "Host combined with domain name must be no more than 253 characters."
    );
}

#[tokio::test]
async fn a_patch_changes_metadata_and_options_only() {
    let land = Land::new();
    let guid = land.created("tenant").await;
    let path = format!("/v3/routes/{guid}");
    let change = |body: &'static str| land.send(Method::PATCH, &path, body);
    let seen = change(r#"{"metadata":{"labels":{"a":"1","b":"2"}}}"#).await;
    assert_eq!(seen.json["metadata"]["labels"], json!({"a": "1", "b": "2"}));
    let seen =
        change(r#"{"metadata":{"labels":{"a":null}},"options":{"loadbalancing":"round-robin"}}"#)
            .await;
    assert_eq!(seen.json["metadata"]["labels"], json!({"b": "2"}));
    assert_eq!(seen.json["options"], json!({"loadbalancing": "round-robin"}));
    let seen = change(r#"{"options":{"loadbalancing":null}}"#).await;
    assert_eq!(seen.json["options"], json!({}));
    assert_eq!(change(r#"{"host":"x"}"#).await.refusal().2, "Unknown field(s): 'host'");
}

#[tokio::test]
async fn an_older_release_leaves_the_newer_fields_out() {
    let land = Land::new();
    land.world.older_release(true);
    let seen = land.create("tenant", "").await;
    assert!(seen.json.get("options").is_none());
    let seen = land.create("b", r#""options":{"loadbalancing":"round-robin"},"#).await;
    assert_eq!(seen.refusal().2, "Unknown field(s): 'options'");
    let space = land.get(&format!("/v3/spaces/{DEV}")).await;
    assert!(space.json.get("suspended").is_none());
    land.world.older_release(false);
    let space = land.get(&format!("/v3/spaces/{DEV}")).await;
    assert_eq!(space.json["suspended"], false);
}

#[tokio::test]
async fn roles_decide_who_sees_and_who_writes() {
    let land = Land::new();
    let guid = land.created("tenant").await;
    let route = format!("/v3/routes/{guid}");
    let user = "somebody@example.test";
    let somebody = land.acting_as(user);
    for (place, role, read, write) in [
        ("dev", None, 404, 404),
        ("dev", Some(Role::SpaceAuditor), 200, 403),
        ("dev", Some(Role::SpaceManager), 200, 403),
        ("dev", Some(Role::SpaceSupporter), 200, 200),
        ("dev", Some(Role::SpaceDeveloper), 200, 200),
        ("provider-org", Some(Role::OrgManager), 200, 403),
        ("provider-org", Some(Role::OrgAuditor), 200, 403),
    ] {
        land.world.set_role(user, "dev", None).unwrap();
        land.world.set_role(user, place, role).unwrap();
        assert_eq!(somebody.get(&route).await.status, read, "{role:?}");
        let body = r#"{"metadata":{"labels":{"a":"1"}}}"#;
        let patched = somebody.send(Method::PATCH, &route, body).await;
        assert_eq!(patched.status, write, "{role:?}");
    }
    let space = format!("/v3/spaces/{DEV}");
    assert_eq!(somebody.get(&space).await.status, 404, "an org's auditor does not see spaces");
    assert_eq!(somebody.get(&format!("/v3/organizations/{ORG}")).await.status, 200);
}
