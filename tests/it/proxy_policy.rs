//! Who may do what over `/v3`: the whole matrix of rows, methods and scopes, and the bounds of a
//! provider's entry.

use std::time::Duration;

use cfapi_broker::policy::Policy;
use cfapi_sandbox::{DEV_USER, TECHNICAL_USER};
use http::Method;
use rstest::rstest;
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::{
    proxy::{CLIENT, Landscape, six_calls},
    proxy_headers::{seen, user_of},
    support::{
        APP, Answer, TestBroker, pull, sandbox,
        tenant::{DOMAIN, HOST},
        variables_of,
    },
};

const DEV: &str = "4d57c4e2-59ab-4b1f-a6f1-e18e43abcd3a";
const DOMAIN_GUID: &str = "d75a8564-c07c-440a-b0d1-81fbd15d4c85";
const QUOTA: &str = "fc59742a-6a50-44d1-924f-972d47838789";
const OTHERS: [&str; 4] = ["Routes.Read", "Routes.Admin", "Spaces.Read", "Metrics.Read"];
const GENEROUS: [(&str, &str); 2] =
    [("CFAPI_AUTH__REQUESTS_PER_SECOND", "10000"), ("CFAPI_AUTH__BURST", "100000")];

/// Callers, by what they lack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum CallerRights {
    Anonymous,
    WithoutProxy,
    WithoutWrite,
    Complete,
}

impl CallerRights {
    const ALL: [Self; 4] =
        [Self::Anonymous, Self::WithoutProxy, Self::WithoutWrite, Self::Complete];

    fn token(self, cf: &Landscape) -> Option<String> {
        let own: &[&str] = match self {
            Self::Anonymous => return None,
            Self::WithoutProxy => &["Routes.Write"],
            Self::WithoutWrite => &["Api.Proxy"],
            Self::Complete => &["Api.Proxy", "Routes.Write"],
        };
        Some(cf.sandbox.caller_token(CLIENT, &[own, &OTHERS].concat()))
    }

    /// Status and code; no code where CF answers.
    fn expects(self, method: &str, is_listed: bool) -> (u16, &'static str) {
        match (self, is_listed) {
            (Self::Anonymous, _) => (401, "unauthenticated"),
            (Self::WithoutProxy, _) => (403, "forbidden_scope"),
            (_, false) => (403, "denied_by_policy"),
            (_, true) if matches!(method, "GET" | "HEAD") => (200, ""),
            (Self::WithoutWrite, true) => (403, "forbidden_scope"),
            (Self::Complete, true) => (if method == "DELETE" { 202 } else { 201 }, ""),
        }
    }
}

/// Resources of CF for the matrix, and a new host each time.
struct CfObjects {
    app: String,
    space: String,
    organization: String,
    route: String,
    job: String,
    hosts: u32,
}

impl CfObjects {
    async fn make(cf: &Landscape) -> Self {
        let gone = cf.post("/v3/routes", &cf.route_body("z-saas-approuter").await).await.json();
        let gone = format!("/v3/routes/{}", gone["guid"].as_str().unwrap());
        let gone = cf.broker.delete(&gone, &cf.token).await;
        let job = gone.headers["location"].to_str().unwrap().rsplit('/').next().unwrap().to_owned();
        let mut objects = Self {
            app: cf.first(&format!("/v3/apps?names={APP}")).await,
            space: cf.first("/v3/spaces?names=dev").await,
            organization: cf.first("/v3/organizations?names=provider-org").await,
            route: String::new(),
            job,
            hosts: 0,
        };
        objects.route = objects.fresh(cf).await;
        objects
    }

    async fn body(&mut self, cf: &Landscape) -> Value {
        self.hosts += 1;
        cf.route_body(&format!("a{}-saas-approuter", self.hosts)).await
    }

    async fn fresh(&mut self, cf: &Landscape) -> String {
        let body = self.body(cf).await;
        cf.post("/v3/routes", &body).await.json()["guid"].as_str().unwrap().to_owned()
    }

    async fn path(&mut self, cf: &Landscape, template: &str, method: &str) -> String {
        if (method, template) == ("DELETE", "/v3/routes/{guid}") {
            return format!("/v3/routes/{}", self.fresh(cf).await);
        }
        if template == "/v3/routes/{guid}/destinations/{guid}" {
            let destinations = format!("/v3/routes/{}/destinations", self.fresh(cf).await);
            let body = json!({"destinations": [{"app": {"guid": self.app}}]});
            let mapped = cf.post(&destinations, &body).await.json();
            return format!(
                "{destinations}/{}",
                mapped["destinations"][0]["guid"].as_str().unwrap()
            );
        }
        let guid = match template.split('/').nth(2).unwrap_or_default() {
            "apps" | "processes" => &self.app,
            "domains" => DOMAIN_GUID,
            "organization_quotas" => QUOTA,
            "spaces" => &self.space,
            "organizations" => &self.organization,
            "jobs" => &self.job,
            _ => &self.route,
        };
        template.replace("{guid}", guid)
    }
}

#[tokio::test]
async fn every_row_with_every_method_and_every_lack_of_scope() {
    let cf = Landscape::with(&GENEROUS).await.warmed().await;
    let mut objects = CfObjects::make(&cf).await;
    let policy = Policy::shipped().unwrap();
    let rows: Vec<String> = policy.rows().map(|row| row.as_str().to_owned()).collect();
    let mut templates: Vec<&str> = rows.iter().map(|row| row.split_once(' ').unwrap().1).collect();
    templates.sort_unstable();
    templates.dedup();
    assert_eq!((rows.len(), templates.len()), (29, 26));
    let tokens = CallerRights::ALL.map(|who| (who, who.token(&cf)));
    let mut wrong = Vec::new();
    for template in templates {
        for method in ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"] {
            let row = if method == "HEAD" { "GET" } else { method };
            let is_listed = rows.contains(&format!("{row} {template}"));
            for (who, token) in &tokens {
                let path = objects.path(&cf, template, method).await;
                let body = match (method, template) {
                    ("POST", "/v3/routes") => Some(objects.body(&cf).await),
                    ("POST", "/v3/routes/{guid}/destinations") => {
                        Some(json!({"destinations": [{"app": {"guid": objects.app}}]}))
                    }
                    ("POST" | "PUT" | "PATCH", _) => Some(json!({})),
                    _ => None,
                };
                cf.sandbox.clear_journal();
                let verb: Method = method.parse().unwrap();
                let got = cf.broker.send(verb, &path, token.as_deref(), body.as_ref()).await;
                let (status, code) = who.expects(method, is_listed);
                let status = match (template, status) {
                    ("/v3/routes/{guid}/destinations", 201) => 200,
                    ("/v3/routes/{guid}/destinations/{guid}", 202) => 204,
                    (_, status) => status,
                };
                if let Some(fault) = what_is_wrong(&cf, &got, (method, &path), (status, code)) {
                    wrong.push(format!("{method} {template}, {who:?}: {fault}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Compares one response, and the calls to CF, with the expectation.
fn what_is_wrong(
    cf: &Landscape,
    got: &Answer,
    (method, path): (&str, &str),
    (status, code): (u16, &str),
) -> Option<String> {
    let calls = cf.calls();
    if got.status != status {
        return Some(format!("{} instead of {status}: {}", got.status, got.text));
    }
    if code.is_empty() {
        let asked = calls.contains(&format!("{method} {path}"));
        return (!asked).then(|| format!("CF was not asked: {calls:?}"));
    }
    let challenge = got.headers.get("www-authenticate").map(|value| value.to_str().unwrap());
    let wanted = match code {
        "unauthenticated" => Some(r#"Bearer realm="cfapi-broker""#),
        "forbidden_scope" => Some(r#"Bearer realm="cfapi-broker", error="insufficient_scope""#),
        _ => None,
    };
    let has_code = method == "HEAD" && got.text.is_empty()
        || method != "HEAD" && got.code() == code && got.cf_error().0 > 0;
    let right = has_code && challenge == wanted && calls.is_empty();
    (!right).then(|| format!("{challenge:?}, CF saw {calls:?}: {}", got.text))
}

/// Provider settings: an entry for [`CLIENT`] with these members and the usual ones.
fn entry(more: &Value) -> String {
    let mut entry =
        json!({"client_ids": [CLIENT], "space": DEV, "apps": [APP], "domains": [DOMAIN]});
    entry.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json!([entry]).to_string()
}

impl Landscape {
    async fn with_entry(more: &Value) -> Self {
        let cf = Self::with(&[("CFAPI_PROVIDERS", &entry(more))]).await;
        cf.resolved().await
    }

    /// Waits until the names in the entry are resolved.
    async fn resolved(self) -> Self {
        for _ in 0..400 {
            let ready = self.broker.send(Method::GET, "/health/ready", None, None).await;
            if ready.json()["parts"]["providers"] == "ok" {
                return self.warmed().await;
            }
            sleep(Duration::from_millis(20)).await;
        }
        panic!("the entry is never resolved");
    }

    /// Makes a route without marks; returns its path.
    fn unmarked(&self, host: &str) -> String {
        format!("/v3/routes/{}", self.sandbox.world().take_host(host, DOMAIN, "dev").unwrap())
    }

    async fn map(&self, route: &str, app: &str) -> Answer {
        let targets = json!({"destinations": [{"app": {"guid": app}}]});
        self.post(&format!("{route}/destinations"), &targets).await
    }

    fn app(&self, name: &str) -> String {
        let apps = self.sandbox.world().apps();
        apps.into_iter().find(|app| app.name == name).unwrap().guid
    }

    /// Checks that CF got only reads.
    fn assert_only_read(&self) {
        let calls = self.calls();
        assert!(calls.iter().all(|call| call.starts_with("GET ")), "{calls:?}");
    }
}

fn assert_denied(got: &Answer) {
    assert_eq!((got.status, got.code().as_str()), (403, "denied_by_policy"), "{}", got.text);
}

#[rstest]
#[case::listed(json!({}))]
#[case::space_by_name(json!({"organization": "provider-org", "space": "dev"}))]
#[case::several(json!({"apps": ["bookshop-approuter", APP], "domains": ["saas.example.test", DOMAIN]}))]
#[case::default_domain(json!({"domains": []}))]
#[tokio::test]
async fn the_six_calls_work_within_a_providers_entry(#[case] more: Value) {
    six_calls(&Landscape::with_entry(&more).await).await;
}

#[rstest]
#[case::guid(json!({}))]
#[case::name(json!({"organization": "provider-org", "space": "dev"}))]
#[tokio::test]
async fn what_is_outside_of_a_providers_entry_is_denied(#[case] more: Value) {
    let cf = Landscape::with_entry(&more).await;
    let good = cf.route_body(HOST).await;
    let created = cf.post("/v3/routes", &good).await;
    assert_eq!(created.status, 201, "{}", created.text);
    let route = format!("/v3/routes/{}", created.json()["guid"].as_str().unwrap());
    let other_space = cf.first("/v3/spaces?names=other").await;
    let other_domain = cf.first("/v3/domains?names=saas.example.test").await;
    let changed = |pointer: &str, value: Value| {
        let mut body = good.clone();
        *body.pointer_mut(pointer).unwrap() = value;
        body
    };
    cf.sandbox.clear_journal();
    for body in [
        changed("/relationships/space/data/guid", json!(other_space)),
        changed("/relationships/domain/data/guid", json!(other_domain)),
        changed("/host", json!("acme-bookshop-approuter")),
        changed("/host", json!("saas-approuter")),
        changed("/host", json!("*")),
    ] {
        assert_denied(&cf.post("/v3/routes", &body).await);
    }
    // In the space, but not in the entry.
    for app in ["bookshop-approuter", "cfapi-broker"] {
        assert_denied(&cf.map(&route, &cf.app(app)).await);
    }
    cf.assert_only_read();
    assert_eq!(cf.map(&route, &cf.app(APP)).await.status, 200);
}

#[rstest]
#[case::by_default(json!({}), (200, 403))]
#[case::neither(json!({"adopt": false}), (403, 403))]
#[case::deleted(json!({"adopt": false, "allow_legacy_delete": true}), (403, 202))]
#[case::both(json!({"allow_legacy_delete": true}), (200, 202))]
#[tokio::test]
async fn an_unmarked_route_is_changed_as_far_as_the_entry_allows(
    #[case] more: Value,
    #[case] (mapped, deleted): (u16, u16),
) {
    let cf = Landscape::with_entry(&more).await;
    let route = cf.unmarked("old-saas-approuter");
    let unmapped = cf.broker.delete(&route, &cf.token).await;
    assert_denied(&unmapped);
    // Maps the route as a provider's former code did. A broker with the built-in rules allows that.
    let former = TestBroker::start(&cf.sandbox).await;
    let targets = json!({"destinations": [{"app": {"guid": cf.app(APP)}}]});
    let path = format!("{route}/destinations");
    let got = former.send(Method::POST, &path, Some(&cf.token), Some(&targets)).await;
    assert_eq!(got.status, 200, "{}", got.text);
    let got = cf.map(&route, &cf.app(APP)).await;
    assert_eq!(got.status, mapped, "{}", got.text);
    let got = cf.broker.delete(&route, &cf.token).await;
    assert_eq!(got.status, deleted, "{}", got.text);
    let far = cf.unmarked("old-bookshop-approuter");
    assert_denied(&cf.broker.delete(&far, &cf.token).await);
}

#[tokio::test]
async fn a_client_without_an_entry_writes_nothing_and_cf_is_not_asked() {
    let cf = Landscape::with_entry(&json!({})).await;
    let body = cf.route_body(HOST).await;
    let route = cf.post("/v3/routes", &body).await.json()["guid"].as_str().unwrap().to_owned();
    let stranger = cf.sandbox.caller_token("sb-stranger!t1", &["Api.Proxy", "Routes.Write"]);
    let targets = json!({"destinations": [{"app": {"guid": cf.app(APP)}}]});
    cf.sandbox.clear_journal();
    for (method, path, body) in [
        (Method::POST, "/v3/routes".to_owned(), Some(&body)),
        (Method::POST, format!("/v3/routes/{route}/destinations"), Some(&targets)),
        (Method::DELETE, format!("/v3/routes/{route}"), None),
    ] {
        let got = cf.broker.send(method, &path, Some(&stranger), body).await;
        assert_eq!((got.status, got.code().as_str()), (403, "forbidden_provider"), "{path}");
    }
    assert_eq!(cf.calls(), Vec::<String>::new());
    assert_eq!(cf.broker.get("/v3/apps", &stranger).await.status, 200, "reads need no entry");
}

#[tokio::test]
async fn a_caller_reads_and_writes_as_the_technical_user_of_its_entry() {
    let sandbox = sandbox().await;
    let second =
        json!({"name": "SECOND", "set": {"User": DEV_USER, "Password": "sandbox-only-dev"}});
    pull(&sandbox, "add_destination", &second);
    let providers = entry(&json!({"destination": "SECOND"}));
    let settings =
        [("CFAPI_PROVIDERS", providers.as_str()), ("CFAPI_DESTINATION__NAMES", "SECOND")];
    let cf = Landscape::within(sandbox, &settings).await.resolved().await;
    six_calls(&cf).await;
    let users = |cf: &Landscape| {
        let mut users: Vec<_> =
            seen(&cf.sandbox).iter().map(|seen| user_of(seen.value("authorization"))).collect();
        users.sort_unstable();
        users.dedup();
        users
    };
    assert_eq!(users(&cf), [DEV_USER]);
    let stranger = cf.sandbox.caller_token("sb-stranger!t1", &["Api.Proxy"]);
    cf.sandbox.clear_journal();
    assert_eq!(cf.broker.get("/v3/apps", &stranger).await.status, 200);
    assert_eq!(users(&cf), [TECHNICAL_USER]);
}

#[tokio::test]
async fn the_brokers_own_hosts_cannot_be_mapped_or_deleted() {
    let cf = Landscape::start().await;
    let route = cf.post("/v3/routes", &cf.route_body(HOST).await).await.json();
    let route = format!("/v3/routes/{}", route["guid"].as_str().unwrap());
    // The same route of the same caller, but for a broker with this host name.
    let own = cf.sandbox.vcap_application(&format!("{HOST}.{DOMAIN}"));
    let there = TestBroker::with(variables_of(&cf.sandbox.vcap_services(), &own)).await;
    let targets = json!({"destinations": [{"app": {"guid": cf.app(APP)}}]});
    cf.sandbox.clear_journal();
    for (method, path, body) in [
        (Method::DELETE, route.clone(), None),
        (Method::POST, format!("{route}/destinations"), Some(&targets)),
        (Method::POST, "/v3/routes".to_owned(), Some(&cf.route_body(HOST).await)),
    ] {
        let got = there.send(method, &path, Some(&cf.token), body).await;
        assert_denied(&got);
        let detail = got.json()["detail"].to_string();
        assert!(detail.contains("belongs to the broker"), "{path}: {detail}");
    }
    cf.assert_only_read();
    assert_eq!(cf.map(&route, &cf.app(APP)).await.status, 200);
    assert_eq!(cf.broker.delete(&route, &cf.token).await.status, 202);
}
