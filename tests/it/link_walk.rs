//! Follows every link of every answer that the allow list lets through.

use std::collections::BTreeSet;

use http::Method;
use serde_json::{Value, json};

use crate::{proxy::Landscape, support::pull};

/// Links of allowed answers that the allow list refuses, and why. `METHOD path`, guids as `{guid}`.
const REFUSED: &[(&str, &str)] = &[
    ("GET /v3/app_usage_events", EVENTS),
    ("GET /v3/apps/{guid}/droplets", SECRETS),
    ("GET /v3/apps/{guid}/droplets/current", SECRETS),
    ("GET /v3/apps/{guid}/environment_variables", SECRETS),
    ("GET /v3/apps/{guid}/features", APPS),
    ("GET /v3/apps/{guid}/packages", SECRETS),
    ("GET /v3/apps/{guid}/revisions", SECRETS),
    ("GET /v3/apps/{guid}/revisions/deployed", SECRETS),
    ("GET /v3/apps/{guid}/tasks", SECRETS),
    ("GET /v3/audit_events", EVENTS),
    ("GET /v3/buildpacks", APPS),
    ("GET /v3/builds", APPS),
    ("GET /v3/deployments", APPS),
    ("GET /v3/domains/{guid}/relationships/shared_organizations", OTHERS),
    ("GET /v3/droplets", SECRETS),
    ("GET /v3/environment_variable_groups", SECRETS),
    ("GET /v3/feature_flags", ADMIN),
    ("GET /v3/organization_quotas", ADMIN),
    ("GET /v3/packages", SECRETS),
    ("GET /v3/processes/{guid}", SECRETS),
    ("GET /v3/processes/{guid}/process_instances", APPS),
    ("GET /v3/resource_matches", APPS),
    ("GET /v3/roles", OTHERS),
    ("GET /v3/security_groups", ADMIN),
    ("GET /v3/service_brokers", ADMIN),
    ("GET /v3/service_credential_bindings", SECRETS),
    ("GET /v3/service_instances", SECRETS),
    ("GET /v3/service_instances/{guid}", SECRETS),
    ("GET /v3/service_offerings", SERVICES),
    ("GET /v3/service_plans", SERVICES),
    ("GET /v3/service_route_bindings/{guid}", SERVICES),
    ("GET /v3/service_route_bindings/{guid}/parameters", SECRETS),
    ("GET /v3/service_usage_events", EVENTS),
    ("GET /v3/space_quotas", ADMIN),
    ("GET /v3/space_quotas/{guid}", ADMIN),
    ("GET /v3/spaces/{guid}/features", APPS),
    ("GET /v3/stacks", APPS),
    ("GET /v3/tasks", SECRETS),
    ("GET /v3/users", OTHERS),
    ("POST /v3/apps/{guid}/actions/clear_buildpack_cache", CHANGES),
    ("POST /v3/apps/{guid}/actions/start", CHANGES),
    ("POST /v3/apps/{guid}/actions/stop", CHANGES),
    ("POST /v3/processes/{guid}/actions/scale", CHANGES),
    ("POST /v3/spaces/{guid}/actions/apply_manifest", CHANGES),
];
const SECRETS: &str = "shows commands, variables, credentials, or where apps come from";
const APPS: &str = "is about apps, not about routes";
const SERVICES: &str = "is about the marketplace, not about routes";
const ADMIN: &str = "is about the landscape or its limits, and no call on routes needs it";
const EVENTS: &str = "shows what others did";
const OTHERS: &str = "shows other people or organizations";
const CHANGES: &str = "changes apps";

/// What the allow list has, but no answer links to: where it is below a visited path.
const NOT_LINKED: &[(&str, &str)] = &[
    ("/v3/apps/{guid}", "/routes"),
    ("/v3/organizations/{guid}", "/relationships/default_isolation_segment"),
];

/// The paths with `GET` of the shipped allow list.
fn allowed() -> BTreeSet<String> {
    let list: toml::Value = toml::from_str(include_str!("../../config/policy.toml")).unwrap();
    let rules = list["rules"].as_array().unwrap().iter();
    let reads = rules.filter(|rule| rule["methods"].as_array().unwrap().contains(&"GET".into()));
    let paths = reads.flat_map(|rule| rule["paths"].as_array().unwrap());
    paths.map(|path| path.as_str().unwrap().to_owned()).collect()
}

/// The links of a document: method and address.
fn links(value: &Value) -> Vec<(String, String)> {
    match value {
        Value::Object(members) => {
            let method = members.get("method").and_then(Value::as_str).unwrap_or("GET");
            let own = members.get("href").and_then(Value::as_str);
            let own = own.map(|href| (method.to_owned(), href.to_owned()));
            own.into_iter().chain(members.values().flat_map(links)).collect()
        }
        Value::Array(items) => items.iter().flat_map(links).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Vec::new(),
    }
}

/// A path with `{guid}` in place of guids.
fn template(path: &str) -> String {
    let is_guid = |text: &&str| text.len() == 36 && text.matches('-').count() == 4;
    let segments = path.split('/').map(|text| if is_guid(&text) { "{guid}" } else { text });
    segments.collect::<Vec<_>>().join("/")
}

/// Follows every link from `/` on. A caller can go wherever an answer points, or the link is listed
/// above with its reason.
#[tokio::test]
async fn every_link_of_an_allowed_answer_is_allowed_or_listed_with_its_reason() {
    let generous = [("CFAPI_AUTH__REQUESTS_PER_SECOND", "10000"), ("CFAPI_AUTH__BURST", "100000")];
    let cf = Landscape::with(&generous).await;
    cf.mapped_route().await;
    pull(&cf.sandbox, "quota", &json!({"space": "dev", "n": 100}));
    pull(&cf.sandbox, "pause_jobs", &json!({}));
    let other = cf.post("/v3/routes", &cf.route_body("b-saas-approuter").await).await.json();
    let guid = format!("/v3/routes/{}", other["guid"].as_str().unwrap());
    let host = other["host"].as_str().unwrap();
    pull(&cf.sandbox, "bind_route", &json!({"host": host}));
    let gone = cf.broker.delete(&guid, &cf.token).await;
    let job = gone.headers["location"].to_str().unwrap().to_owned();
    let mut open =
        vec![("GET".to_owned(), format!("{}/", cf.broker.base)), ("GET".to_owned(), job)];
    let (mut visited, mut refused, mut wrong) = (BTreeSet::new(), BTreeSet::new(), Vec::new());
    let mut missing = allowed();
    while let Some((method, href)) = open.pop() {
        let Some(path) = href.strip_prefix(&cf.broker.base).map(str::to_owned) else {
            assert_eq!(href, "http://support.example.test", "leads elsewhere");
            continue;
        };
        if !visited.insert((method.clone(), path.clone())) {
            continue;
        }
        let body = (method == "POST").then(|| json!({}));
        let verb: Method = method.parse().unwrap();
        let got = cf.broker.send(verb, &path, Some(&cf.token), body.as_ref()).await;
        let bare = path.split('?').next().unwrap();
        let name = format!("{method} {}", template(bare));
        match got.status {
            200 => {
                missing.remove(&template(bare));
                let below = NOT_LINKED.iter().filter(|(above, _)| *above == template(bare));
                let href = |path: &str| format!("{}{bare}{path}", cf.broker.base);
                open.extend(below.map(|(_, path)| ("GET".to_owned(), href(path))));
                open.extend(links(&got.json()));
            }
            403 if got.code() == "denied_by_policy" => drop(refused.insert(name)),
            _ => wrong.push(format!("{name}: {} {}", got.status, got.text)),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let listed: BTreeSet<_> = REFUSED.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(refused, listed);
    assert!(missing.is_empty(), "never visited: {missing:?}");
    assert!(visited.len() > 60, "{visited:?}");
}
