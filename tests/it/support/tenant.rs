//! One tenant and its route, used by most tests of tenant routes.

use std::time::Duration;

use cfapi_sandbox::{Part, Sandbox, TECHNICAL_USER, world::RouteView};
use http::Method;
use serde_json::{Value, json};

use super::{APP, Answer, TestBroker, answer, client};

/// The tenant's host.
pub(crate) const HOST: &str = "acme-saas-approuter";
pub(crate) const DOMAIN: &str = "cfapps.example.test";
pub(crate) const CREATE: &str = "POST /v3/routes";
/// The slash excludes the create itself.
pub(crate) const MAP: &str = "POST /v3/routes/";

pub(crate) fn route_request() -> Value {
    json!({"subdomain": "acme", "app": APP})
}

pub(crate) async fn put(broker: &TestBroker, sandbox: &Sandbox) -> Answer {
    broker.put("/routes/t1", &sandbox.provider_token(), &route_request()).await
}

pub(crate) async fn delete(broker: &TestBroker, sandbox: &Sandbox) -> Answer {
    broker.delete("/routes/t1", &sandbox.provider_token()).await
}

pub(crate) async fn delete_async(broker: &TestBroker, sandbox: &Sandbox) -> Answer {
    let request = client().delete(format!("{}/routes/t1", broker.base));
    let request = request.header("prefer", "respond-async");
    answer(request.bearer_auth(sandbox.provider_token())).await
}

/// The routes of a host, of any owner.
pub(crate) fn routes_of(sandbox: &Sandbox, host: &str) -> Vec<RouteView> {
    sandbox.world().routes().into_iter().filter(|route| route.host == host).collect()
}

pub(crate) fn the_route(sandbox: &Sandbox) -> RouteView {
    let routes = routes_of(sandbox, HOST);
    assert_eq!(routes.len(), 1, "{routes:?}");
    routes.into_iter().next().unwrap()
}

/// The requests to the CF API, as `METHOD path`.
pub(crate) fn asked(sandbox: &Sandbox) -> Vec<String> {
    let journal = sandbox.journal().into_iter().filter(|entry| entry.part == Part::Cf);
    journal.map(|entry| format!("{} {}", entry.method, entry.path)).collect()
}

/// Waits until a condition holds; panics after 10 s.
pub(crate) async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..400 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    panic!("never: {what}");
}

/// Sends a request straight to the CF API, as the technical user.
pub(crate) async fn cf(sandbox: &Sandbox, method: Method, path: &str, body: &Value) -> Answer {
    let form = form_urlencoded::Serializer::new(String::new())
        .append_pair("grant_type", "password")
        .append_pair("username", TECHNICAL_USER)
        .append_pair("password", "sandbox-only-p&ss w=rd%ü")
        .append_pair("login_hint", r#"{"origin":"sandbox-platform"}"#)
        .finish();
    let post = client().post(format!("{}/oauth/token", sandbox.uaa_url()));
    let post = post.basic_auth("cf", Some("")).body(form);
    let post = post.header("content-type", "application/x-www-form-urlencoded");
    let token = answer(post).await.json()["access_token"].as_str().unwrap().to_owned();
    let request = client().request(method, format!("{}{path}", sandbox.cf_url()));
    let request = request.bearer_auth(token).header("content-type", "application/json");
    let got = answer(request.body(body.to_string())).await;
    assert!(got.status < 300, "{path}: {}", got.text);
    got
}

/// The guid of an app.
pub(crate) fn app_guid(sandbox: &Sandbox, name: &str) -> String {
    let apps = sandbox.world().apps();
    apps.iter().find(|app| app.name == name).unwrap().guid.clone()
}
