//! What the cf CLI asks besides routes: processes, quotas, bindings, isolation segments; and the
//! headers that browsers and proxies ask for.

use axum::body::Body;
use http::{Method, Request};
use serde_json::{Value, json};

use crate::capi::tests::{APP, BASE, DEV, ORG, TestAnswer, TestApi};

const QUOTA: &str = "fc59742a-6a50-44d1-924f-972d47838789";

fn keys(value: &Value) -> Vec<&str> {
    let mut keys: Vec<&str> = value.as_object().unwrap().keys().map(String::as_str).collect();
    keys.sort_unstable();
    keys
}

#[tokio::test]
async fn each_app_has_a_web_process_whose_command_lists_hide() {
    let api = TestApi::new();
    let all = api.get(&format!("/v3/processes?space_guids={DEV}")).await.json;
    assert_eq!(all["pagination"]["total_results"], 3);
    let only = api.get(&format!("/v3/processes?app_guids={APP}&types=web")).await.json;
    let process = &only["resources"][0];
    assert_eq!(process["command"], "[PRIVATE DATA HIDDEN IN LISTS]");
    assert!(process.get("process_instances").is_none());
    assert_eq!(process["links"]["stats"]["href"], format!("{BASE}/v3/processes/{APP}/stats"));
    assert_eq!(process["links"]["scale"]["method"], "POST");
    let none = api.get(&format!("/v3/processes?app_guids={APP}&types=worker")).await.json;
    assert_eq!(none["resources"], json!([]));
    let nested = api.get(&format!("/v3/apps/{APP}/processes?embed=process_instances")).await.json;
    assert_eq!(nested["resources"][0]["process_instances"][0]["state"], "RUNNING");
    let one = api.get(&format!("/v3/apps/{APP}/processes/web")).await.json;
    assert!(one["command"].as_str().unwrap().contains("sandbox-only-command-secret"));
    api.world
        .set_role("helper@example.test", "dev", Some(crate::world::Role::SpaceSupporter))
        .unwrap();
    let helper = api.acting_as("helper@example.test");
    let hidden = helper.get(&format!("/v3/processes/{APP}")).await.json;
    assert_eq!(hidden["command"], "[PRIVATE DATA HIDDEN]");
    let stats = helper.get(&format!("/v3/processes/{APP}/stats")).await.json;
    assert_eq!(stats["resources"][0]["state"], "RUNNING");
    let nobody = api.acting_as("nobody@example.test");
    let gone = nobody.get(&format!("/v3/processes/{APP}/stats")).await;
    assert_eq!(gone.refusal(), (404, 10_010, "Process not found"));
    assert_eq!(nobody.get("/v3/processes").await.json["resources"], json!([]));
    let bad = api.get(&format!("/v3/apps/{APP}/processes?app_guids={APP}")).await;
    assert_eq!(
        bad.refusal().2,
        "The query parameter is invalid: Unknown query parameter(s): 'app_guids'"
    );
}

#[tokio::test]
async fn a_quota_of_an_organisation_is_for_every_user() {
    let api = TestApi::new();
    let members = [
        "apps",
        "created_at",
        "domains",
        "guid",
        "links",
        "name",
        "relationships",
        "routes",
        "services",
        "updated_at",
    ];
    let path = format!("/v3/organization_quotas/{QUOTA}");
    let quota = api.get(&path).await.json;
    assert_eq!(keys(&quota), members);
    assert_eq!(quota["routes"], json!({"total_routes": 1000, "total_reserved_ports": 0}));
    assert_eq!(quota["relationships"]["organizations"]["data"], json!([{"guid": ORG}]));
    let foreign = api.acting_as("nobody@example.test").get(&path).await;
    assert_eq!((foreign.status, keys(&foreign.json)), (200, members.to_vec()));
    assert_eq!(foreign.json["relationships"]["organizations"]["data"], json!([]));
    let gone = api.get("/v3/organization_quotas/x").await;
    assert_eq!(gone.refusal(), (404, 10_010, "Organization quota not found"));
}

#[tokio::test]
async fn a_space_with_a_quota_names_it() {
    let api = TestApi::new();
    let space = api.get(&format!("/v3/spaces/{DEV}")).await.json;
    assert_eq!(space["relationships"]["quota"]["data"], Value::Null);
    assert!(space["links"].get("quota").is_none());
    api.world.space_quota("dev", Some(7)).unwrap();
    let space = api.get(&format!("/v3/spaces/{DEV}")).await.json;
    let guid = space["relationships"]["quota"]["data"]["guid"].as_str().unwrap();
    assert_eq!(space["links"]["quota"]["href"], format!("{BASE}/v3/space_quotas/{guid}"));
    let path = format!("/v3/space_quotas/{guid}");
    let quota = api.get(&path).await.json;
    assert_eq!(quota["routes"]["total_routes"], 7);
    assert_eq!(quota["relationships"]["spaces"]["data"], json!([{"guid": DEV}]));
    let foreign = api.acting_as("nobody@example.test").get(&path).await;
    assert_eq!(foreign.refusal(), (404, 10_010, "Space quota not found"));
    api.world.space_quota("dev", None).unwrap();
    assert_eq!(api.get(&path).await.status, 404);
}

#[tokio::test]
async fn usage_has_eight_numbers_and_links() {
    let api = TestApi::new();
    api.created("a").await;
    for (path, related) in [
        (format!("/v3/organizations/{ORG}"), "organization"),
        (format!("/v3/spaces/{DEV}"), "space"),
    ] {
        let usage = api.get(&format!("{path}/usage_summary")).await.json;
        assert_eq!(keys(&usage["usage_summary"]).len(), 8, "{usage}");
        assert_eq!(usage["usage_summary"]["routes"], 1);
        assert_eq!(usage["usage_summary"]["started_instances"], 3);
        assert_eq!(usage["links"][related]["href"], format!("{BASE}{path}"));
    }
}

#[tokio::test]
async fn what_this_world_does_not_have_is_an_empty_list() {
    let api = TestApi::new();
    let plain = api.get("/v3/service_route_bindings?route_guids=x").await;
    assert_eq!((plain.status, &plain.json["resources"]), (200, &json!([])));
    assert!(plain.json.get("included").is_none());
    let more = api.get("/v3/service_route_bindings?include=service_instance").await.json;
    assert_eq!(more["included"], json!({"service_instances": []}));
    let bad = api.get("/v3/service_route_bindings?include=app").await;
    assert_eq!(bad.refusal().1, 10_005);
    let bad = api.get("/v3/isolation_segments?foo=1").await;
    assert_eq!(
        bad.refusal().2,
        "The query parameter is invalid: Unknown query parameter(s): 'foo'. Valid parameters are: 'page', 'per_page', 'order_by', 'created_ats', 'updated_ats', 'guids', 'names', 'organization_guids', 'label_selector'"
    );
    let path = format!("/v3/organizations/{ORG}/relationships/default_isolation_segment");
    let segment = api.get(&path).await.json;
    assert_eq!(
        segment,
        json!({"data": null, "links": {"self": {"href": format!("{BASE}{path}")}}})
    );
}

async fn ask(api: &TestApi, method: Method, headers: &[(&str, &str)], body: &str) -> TestAnswer {
    let request = Request::builder().method(method).uri("/v3/routes");
    let request = request.header("authorization", &api.bearer);
    let request =
        headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    api.raw(request.body(Body::from(body.to_owned())).unwrap()).await
}

#[tokio::test]
async fn vary_names_accept_where_rails_looks_at_it() {
    let api = TestApi::new();
    for (accept, vary) in [
        ("application/json", Some("Accept")),
        ("*/*", Some("Accept")),
        ("text/html,application/xml;q=0.9,*/*;q=0.8", None),
    ] {
        let got = ask(&api, Method::GET, &[("accept", accept)], "").await;
        assert_eq!((got.status, got.header("vary")), (200, vary), "{accept}");
    }
    assert_eq!(api.get("/v3/routes").await.header("vary"), None);
}

#[tokio::test]
async fn a_body_with_an_empty_content_type_is_not_acceptable() {
    let api = TestApi::new();
    let got = ask(&api, Method::POST, &[("content-type", "")], "{}").await;
    assert_eq!((got.status, got.text.as_str()), (406, ""));
    assert_eq!(got.header("content-type"), Some("text/html; charset=utf-8"));
    let got = ask(&api, Method::GET, &[("content-type", "")], "").await;
    assert_eq!(got.status, 200);
}

#[tokio::test]
async fn another_origin_and_zipkins_ids_are_answered() {
    let api = TestApi::new();
    let origin = ("origin", "https://ui.example.test");
    let got = ask(&api, Method::GET, &[origin, ("accept", "application/json")], "").await;
    assert_eq!(got.header("access-control-allow-origin"), Some(origin.1));
    assert_eq!(got.header("access-control-allow-credentials"), Some("true"));
    assert_eq!(got.header("vary"), Some("Accept,Origin"));
    let asks = [
        origin,
        ("access-control-request-method", "PUT"),
        ("access-control-request-headers", "X-A, Authorization"),
    ];
    let got = ask(&api, Method::OPTIONS, &asks, "").await;
    assert_eq!((got.status, got.text.as_str()), (200, ""));
    let allowed = "origin,content-type,authorization,x-a";
    assert_eq!(got.header("access-control-allow-headers"), Some(allowed));
    assert_eq!(got.header("vary"), Some("Origin"));
    let got = ask(&api, Method::OPTIONS, &[origin], "").await;
    assert_eq!(got.refusal(), (404, 10_000, "Unknown request"));
    let ids = [("x-b3-traceid", "a1"), ("x-b3-spanid", "b2")];
    let got = ask(&api, Method::GET, &ids, "").await;
    assert_eq!((got.header("x-b3-traceid"), got.header("x-b3-spanid")), (Some("a1"), Some("b2")));
    let got = ask(&api, Method::GET, &ids[..1], "").await;
    assert_eq!(got.header("x-b3-traceid"), None);
}

#[tokio::test]
async fn both_rate_limits_apply_at_once() {
    let api = TestApi::new();
    api.world.rate_limit(Some(1), 60);
    api.world.rate_limit_addresses(Some(0), 30);
    let nameless = api.raw(Request::get("/v3/info").body(Body::empty()).unwrap()).await;
    assert_eq!(nameless.refusal().1, 10_014);
    assert_eq!(api.get("/v3/spaces").await.status, 200);
    assert_eq!(api.get("/v3/spaces").await.refusal().1, 10_013);
    let pull = |args: Value| api.world.pull("rate_limit", &args).unwrap().unwrap();
    pull(json!({"n": 5, "unauthenticated": 5}));
    assert_eq!(api.get("/v3/spaces").await.header("x-ratelimit-limit"), Some("5"));
    pull(json!({"n": null}));
    assert_eq!(api.get("/v3/spaces").await.header("x-ratelimit-limit"), None);
    let nameless = api.raw(Request::get("/v3/info").body(Body::empty()).unwrap()).await;
    assert_eq!(nameless.header("x-ratelimit-limit"), Some("5"));
}

#[tokio::test]
async fn lists_of_the_landscape_and_of_its_limits() {
    let api = TestApi::new();
    let flags = api.get("/v3/feature_flags").await.json;
    assert_eq!(flags["pagination"]["total_results"], 19);
    assert_eq!(flags["resources"][0]["name"], "app_bits_upload");
    api.world
        .pull("feature", &json!({"name": "route_creation", "on": false, "message": "later"}))
        .unwrap()
        .unwrap();
    let flag = api.get("/v3/feature_flags/route_creation").await.json;
    assert_eq!((&flag["enabled"], &flag["custom_error_message"]), (&json!(false), &json!("later")));
    assert_eq!(api.get("/v3/feature_flags/x").await.refusal().2, "Feature flag not found");
    let stacks = api.get("/v3/stacks?names=cflinuxfs4&page=1&per_page=1").await.json;
    assert_eq!(stacks["resources"][0]["name"], "cflinuxfs4");
    let quotas = api.get("/v3/organization_quotas").await.json;
    assert_eq!(quotas["resources"][0]["guid"], QUOTA);
    assert_eq!(api.get("/v3/space_quotas").await.json["resources"], json!([]));
    api.world.space_quota("dev", Some(7)).unwrap();
    let own = api.get(&format!("/v3/space_quotas?organization_guids={ORG}")).await.json;
    assert_eq!(own["resources"][0]["routes"]["total_routes"], 7);
}

#[tokio::test]
async fn services_events_and_tasks_are_empty() {
    let api = TestApi::new();
    for path in [
        format!(
            "/v3/service_instances?fields%5Bservice_plan%5D=guid%2Cname&order_by=name&space_guids={DEV}"
        ),
        "/v3/service_plans?available=true&include=service_offering".to_owned(),
        format!("/v3/audit_events?order_by=-created_at&page=1&target_guids={APP}"),
        // `cf buildpacks`
        "/v3/buildpacks?order_by=position".to_owned(),
        format!("/v3/apps/{APP}/tasks?per_page=5000"),
        format!("/v3/processes/{APP}/sidecars"),
        format!("/v3/spaces/{DEV}/running_security_groups"),
    ] {
        let got = api.get(&path).await;
        assert_eq!((got.status, &got.json["resources"]), (200, &json!([])), "{path}");
        let first = got.json["pagination"]["first"]["href"].as_str().unwrap();
        let bare = path.split('?').next().unwrap();
        assert!(first.starts_with(&format!("{BASE}{bare}?")), "{first}");
    }
    assert_eq!(api.get("/v3/apps/x/tasks").await.refusal().2, "App not found");
}

#[tokio::test]
async fn a_route_binding_is_listed_and_its_route_included() {
    let api = TestApi::new();
    let route = api.created("bound").await;
    let made = api.world.pull("bind_route", &json!({"host": "bound"})).unwrap().unwrap();
    let path = format!("/v3/service_route_bindings?include=route&route_guids={route}");
    let listed = api.get(&path).await.json;
    let binding = &listed["resources"][0];
    assert_eq!(binding["guid"], made["guid"]);
    assert_eq!(binding["relationships"]["route"]["data"]["guid"], *route);
    assert_eq!(binding["route_service_url"], "https://route-service.example.test");
    assert_eq!(keys(&binding["links"]), ["parameters", "route", "self", "service_instance"]);
    assert_eq!(listed["included"]["routes"][0]["guid"], *route);
    let other = api.get("/v3/service_route_bindings?route_guids=x").await.json;
    assert_eq!(other["resources"], json!([]));
}

#[tokio::test]
async fn an_empty_list_has_the_orders_of_the_real_one() {
    let api = TestApi::new();
    for (list, more) in [
        ("buildpacks", ", 'position', 'lifecycle'"),
        ("service_instances", ", 'name'"),
        ("audit_events", ""),
    ] {
        let refusal = api.get(&format!("/v3/{list}?order_by=color")).await;
        let expected = format!(
            "The query parameter is invalid: Order by can only be: 'created_at', 'updated_at'{more}"
        );
        assert_eq!(refusal.refusal(), (400, 10_005, expected.as_str()), "{list}");
    }
}

#[tokio::test]
async fn variables_are_for_developers_and_labels_can_be_set() {
    let api = TestApi::new();
    let path = format!("/v3/apps/{APP}");
    let env = api.get(&format!("{path}/env")).await.json;
    assert_eq!(env["environment_variables"]["TOKEN"], "sandbox-only-env-secret");
    api.world
        .set_role("helper@example.test", "dev", Some(crate::world::Role::SpaceSupporter))
        .unwrap();
    let helper = api.acting_as("helper@example.test");
    assert_eq!(helper.get(&format!("{path}/env")).await.refusal().1, 10_003);
    let body = r#"{"metadata":{"labels":{"a":"b"}}}"#;
    assert_eq!(helper.send(Method::PATCH, &path, body).await.refusal().1, 10_003);
    let changed = api.send(Method::PATCH, &path, body).await;
    assert_eq!((changed.status, &changed.json["metadata"]["labels"]), (200, &json!({"a": "b"})));
    assert_eq!(api.get(&path).await.json["metadata"]["labels"]["a"], "b");
}

#[tokio::test]
async fn a_space_has_no_isolation_segment() {
    let api = TestApi::new();
    let path = format!("/v3/spaces/{DEV}/relationships/isolation_segment");
    let segment = api.get(&path).await;
    let href = format!("{BASE}{path}");
    let bytes = format!(r#"{{"data":null,"links":{{"self":{{"href":"{href}"}}}}}}"#);
    assert_eq!((segment.status, segment.text), (200, bytes));
    let hidden = api.acting_as("nobody@example.test").get(&path).await;
    assert_eq!(hidden.refusal(), (404, 10_010, "Space not found"));
}

#[tokio::test]
async fn users_of_an_organisation_and_of_a_space_are_their_roles() {
    let api = TestApi::new();
    let set = |user: &str, holder: &str, role: crate::world::Role| {
        api.world.set_role(user, holder, Some(role)).unwrap();
    };
    set("boss@example.test", "provider-org", crate::world::Role::OrgManager);
    let org = api.get(&format!("/v3/roles?organization_guids={ORG}&include=user")).await.json;
    let types: Vec<&Value> =
        org["resources"].as_array().unwrap().iter().map(|role| &role["type"]).collect();
    assert_eq!(
        types,
        ["organization_user", "organization_user", "organization_user", "organization_manager"]
    );
    assert_eq!(
        org["pagination"]["first"]["href"],
        format!(
            "{BASE}/v3/roles?include=user&order_by=%2Bcreated_at&organization_guids={ORG}&page=1&per_page=50"
        )
    );
    let boss = &org["resources"][3];
    let guid = boss["relationships"]["user"]["data"]["guid"].as_str().unwrap();
    let written = format!(
        r#""type":"organization_manager","relationships":{{"user":{{"data":{{"guid":"{guid}"}}}},"organization":{{"data":{{"guid":"{ORG}"}}}},"space":{{"data":null}}}},"links":{{"self":{{"href":"{BASE}/v3/roles/{}"}},"user":{{"href":"{BASE}/v3/users/{guid}"}},"organization":{{"href":"{BASE}/v3/organizations/{ORG}"}}}}}}"#,
        boss["guid"].as_str().unwrap(),
    );
    let one = api.get(&format!("/v3/roles/{}", boss["guid"].as_str().unwrap())).await;
    assert!(one.text.ends_with(&written), "{}\n{written}", one.text);
    let users = org["included"]["users"].as_array().unwrap();
    assert_eq!(users.len(), 3);
    let technical = &users[0];
    assert_eq!(
        keys(technical),
        [
            "created_at",
            "guid",
            "links",
            "metadata",
            "origin",
            "presentation_name",
            "updated_at",
            "username"
        ]
    );
    assert_eq!(technical["username"], "technical.user@example.test");
    assert_eq!(technical["origin"], "sandbox-platform");
    let space = api.get(&format!("/v3/roles?space_guids={DEV}&include=user,space")).await.json;
    assert_eq!(space["pagination"]["total_results"], 2);
    assert_eq!(space["resources"][0]["type"], "space_developer");
    assert_eq!(space["resources"][0]["relationships"]["organization"]["data"], Value::Null);
    assert_eq!(space["included"]["spaces"][0]["guid"], DEV);
    let bad = api.get("/v3/roles?include=app").await;
    let text = "Invalid included resource: 'app'. Valid included resources are: 'user', 'organization', 'space'";
    assert_eq!(bad.refusal(), (422, 10_008, text));
    let stranger = api.acting_as("nobody@example.test").get("/v3/roles").await.json;
    assert_eq!(stranger["resources"], json!([]));
}

#[tokio::test]
async fn users_are_found_by_name_and_seen_by_members_of_their_organisation() {
    let api = TestApi::new();
    let found =
        api.get("/v3/users?usernames=dev.user%40example.test&origins=sandbox-platform").await;
    let user = &found.json["resources"][0];
    assert_eq!(user["presentation_name"], "dev.user@example.test");
    let path = format!("/v3/users/{}", user["guid"].as_str().unwrap());
    assert_eq!(api.get(&path).await.json, *user);
    let stranger = api.acting_as("nobody@example.test");
    assert_eq!(stranger.get(&path).await.refusal(), (404, 10_010, "User not found"));
    let own = stranger.get("/v3/users").await.json;
    assert_eq!(own["resources"][0]["username"], "nobody@example.test");
    let text = "Origins filter cannot be provided without usernames or partial_usernames filter.";
    assert_eq!(api.get("/v3/users?origins=uaa").await.refusal(), (422, 10_008, text));
    api.world.set_role("dev.user@example.test", "dev", None).unwrap();
    assert_eq!(api.get(&path).await.status, 404, "no member any more");
}
