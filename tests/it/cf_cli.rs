//! What the cf CLI asks (recorded from a build of v9 at the sandbox), through the broker and
//! directly.

use http::Method;
use serde_json::{Value, json};

use crate::{
    proxy::Landscape,
    support::{APP, Answer, answer, client},
};

const ORG: &str = "e69eb72f-5f9a-448e-8e8f-757a9c1fa0b8";
const DEV: &str = "4d57c4e2-59ab-4b1f-a6f1-e18e43abcd3a";
const DOMAIN: &str = "d75a8564-c07c-440a-b0d1-81fbd15d4c85";
const QUOTA: &str = "fc59742a-6a50-44d1-924f-972d47838789";
const HOST: &str = "acme-saas-approuter";

/// Makes a mapped route through the broker; returns its guid, its destination's and the app's.
async fn mapped(cf: &Landscape) -> (String, String, String) {
    let app = cf.first(&format!("/v3/apps?names={APP}&space_guids={DEV}")).await;
    let created = cf.post("/v3/routes", &cf.route_body(HOST).await).await;
    assert_eq!(created.status, 201, "{}", created.text);
    let route = created.json()["guid"].as_str().unwrap().to_owned();
    let body = json!({"destinations": [{"app": {"guid": app}}]});
    let mapped = cf.post(&format!("/v3/routes/{route}/destinations"), &body).await;
    assert_eq!(mapped.status, 200, "{}", mapped.text);
    let target = mapped.json()["destinations"][0]["guid"].as_str().unwrap().to_owned();
    (route, target, app)
}

/// Asks through the broker and directly; both answers must be 200 and equal but for the links.
async fn both(cf: &Landscape, path: &str) -> Value {
    let through = cf.get(path).await;
    assert_eq!(through.status, 200, "{path}: {}", through.text);
    let direct = direct(cf, Method::GET, path).await;
    assert_eq!(direct.status, 200, "{path}: {}", direct.text);
    let moved = direct.text.replace(&cf.sandbox.cf_url(), &cf.broker.base);
    assert_eq!(through.text, moved, "{path}");
    through.json()
}

/// Asks the sandbox's CF API as the technical user.
async fn direct(cf: &Landscape, method: Method, path: &str) -> Answer {
    let token = cf.sandbox.cf_token(&cfapi_sandbox::token::CfTokenSpec::default());
    let request = client().request(method, format!("{}{path}", cf.sandbox.cf_url()));
    answer(request.header("authorization", format!("bearer {token}"))).await
}

#[tokio::test]
async fn cf_routes_works() {
    let cf = Landscape::start().await;
    let (route, _, app) = mapped(&cf).await;
    let routes = both(&cf, &format!("/v3/routes?per_page=5000&space_guids={DEV}")).await;
    assert_eq!(routes["resources"][0]["guid"], *route);
    both(&cf, &format!("/v3/spaces?guids={DEV}")).await;
    both(&cf, &format!("/v3/apps?guids={app}")).await;
    cf.sandbox.clear_journal();
    let path = format!("/v3/service_route_bindings?include=service_instance&route_guids={route}");
    let got = cf.get(&path).await;
    assert_eq!(got.status, 200, "{}", got.text);
    assert_eq!(got.json()["resources"], json!([]));
    assert!(got.json().get("included").is_none(), "{}", got.text);
    let sent: Vec<_> = cf.sandbox.journal().into_iter().map(|one| (one.path, one.query)).collect();
    let expected = ("/v3/service_route_bindings".to_owned(), format!("route_guids={route}"));
    assert_eq!(sent, [expected]);
    both(&cf, &format!("/v3/service_route_bindings?route_guids={route}")).await;
    let direct = direct(&cf, Method::GET, &path).await.json();
    assert_eq!(direct["included"], json!({"service_instances": []}));
}

#[tokio::test]
async fn cf_apps_works_and_shows_no_command() {
    let cf = Landscape::start().await;
    let (_, _, app) = mapped(&cf).await;
    both(&cf, &format!("/v3/apps?order_by=name&per_page=5000&space_guids={DEV}")).await;
    let path = format!("/v3/processes?embed=process_instances&space_guids={DEV}");
    let processes = both(&cf, &path).await;
    let of_app = |one: &&Value| one["relationships"]["app"]["data"]["guid"] == *app;
    let process = processes["resources"].as_array().unwrap().iter().find(of_app).unwrap().clone();
    assert_eq!(process["process_instances"][0]["state"], "RUNNING", "{process}");
    assert_eq!(process["command"], "[PRIVATE DATA HIDDEN IN LISTS]");
    both(&cf, &format!("/v3/routes?app_guids={app}")).await;
    // Older releases of CF, and `cf app`.
    both(&cf, &format!("/v3/processes?app_guids={app}")).await;
    let of_app = both(&cf, &format!("/v3/apps/{app}/processes")).await;
    assert_eq!(of_app["pagination"]["total_results"], 1);
    let guid = process["guid"].as_str().unwrap();
    let stats = both(&cf, &format!("/v3/processes/{guid}/stats")).await;
    assert_eq!(stats["resources"][0]["state"], "RUNNING", "{stats}");
    for path in [format!("/v3/processes/{guid}"), format!("/v3/apps/{app}/processes/web")] {
        assert_eq!(cf.get(&path).await.code(), "denied_by_policy", "{path}");
        let shown = direct(&cf, Method::GET, &path).await;
        assert!(shown.text.contains("sandbox-only-command-secret"), "{path}: {}", shown.text);
    }
}

#[tokio::test]
async fn cf_org_works() {
    let cf = Landscape::start().await.warmed().await;
    both(&cf, "/v3/organizations?names=provider-org&page=1&per_page=1").await;
    both(&cf, &format!("/v3/organizations/{ORG}/domains")).await;
    let quota = both(&cf, &format!("/v3/organization_quotas/{QUOTA}")).await;
    assert_eq!(quota["routes"]["total_routes"], 1000);
    both(&cf, &format!("/v3/spaces?order_by=name&organization_guids={ORG}")).await;
    let path = format!("/v3/organizations/{ORG}/relationships/default_isolation_segment");
    assert_eq!(both(&cf, &path).await["data"], Value::Null);
    both(&cf, &format!("/v3/isolation_segments?organization_guids={ORG}")).await;
    both(&cf, &format!("/v3/organizations/{ORG}/domains/default")).await;
    both(&cf, "/v3/info").await;
}

#[tokio::test]
async fn cf_check_route_works() {
    let cf = Landscape::start().await;
    mapped(&cf).await;
    both(&cf, "/v3/domains?names=cfapps.example.test&page=1&per_page=1").await;
    both(&cf, &format!("/v3/domains/{DOMAIN}")).await;
    for (host, taken) in [(HOST, true), ("free", false)] {
        let path = format!("/v3/domains/{DOMAIN}/route_reservations?host={host}");
        assert_eq!(both(&cf, &path).await["matching_route"], taken);
    }
}

#[tokio::test]
async fn cf_unmap_route_works_for_the_callers_own_app_and_route_only() {
    let cf = Landscape::start().await;
    let (route, target, app) = mapped(&cf).await;
    both(&cf, &format!("/v3/apps?names={APP}&space_guids={DEV}")).await;
    let found = format!("/v3/routes?domain_guids={DOMAIN}&hosts={HOST}&page=1&paths=&per_page=1");
    assert_eq!(both(&cf, &found).await["resources"][0]["guid"], *route);
    // No caller may unmap the broker's own app, on whatever route.
    let world = cf.sandbox.world();
    world.map_host(HOST, "cfapps.example.test", "cfapi-broker").unwrap();
    let listed = cf.get(&format!("/v3/routes/{route}/destinations")).await.json();
    let of_others = |one: &&Value| one["app"]["guid"] != *app;
    let other = listed["destinations"].as_array().unwrap().iter().find(of_others).unwrap();
    let other = other["guid"].as_str().unwrap();
    let foreign = world.take_host("foreign", "cfapps.example.test", "dev").unwrap();
    world.map_host("foreign", "cfapps.example.test", APP).unwrap();
    let of_foreign = cf.get(&format!("/v3/routes/{foreign}/destinations")).await.json();
    let of_foreign = of_foreign["destinations"][0]["guid"].as_str().unwrap().to_owned();
    cf.sandbox.clear_journal();
    let (denied, unmapped) = ((403, "denied_by_policy"), (422, "not_mapped"));
    for (route, target, expected) in [
        (&*route, other, denied),
        (&*route, &*of_foreign, unmapped),
        (&*route, "00000000-0000-4000-8000-000000000000", unmapped),
        (&*foreign, &*of_foreign, denied),
    ] {
        let path = format!("/v3/routes/{route}/destinations/{target}");
        let got = cf.broker.delete(&path, &cf.token).await;
        assert_eq!((got.status, got.code().as_str()), expected, "{}", got.text);
    }
    let calls = cf.calls();
    assert!(calls.iter().all(|call| call.starts_with("GET ")), "{calls:?}");
    let own = format!("/v3/routes/{route}/destinations/{target}");
    let reader = cf.sandbox.caller_token(crate::proxy::CLIENT, &["Api.Proxy"]);
    assert_eq!(cf.broker.delete(&own, &reader).await.code(), "forbidden_scope");
    let done = cf.broker.delete(&own, &cf.token).await;
    assert_eq!((done.status, done.text.as_str()), (204, ""));
    let again = cf.broker.delete(&own, &cf.token).await;
    assert_eq!((again.status, again.code().as_str()), unmapped, "{}", again.text);
    assert_eq!(again.json()["errors"][0]["title"], "CF-UnprocessableEntity");
    let left = cf.get(&format!("/v3/routes/{route}/destinations")).await.json();
    assert_eq!(left["destinations"].as_array().map(Vec::len), Some(1), "{left}");
    let gone = cf.broker.delete("/v3/routes/gone/destinations/gone", &cf.token).await;
    assert_eq!((gone.status, &gone.json()["errors"][0]["code"]), (404, &json!(10_010)));
}
