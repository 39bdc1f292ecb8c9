//! Links in CF's responses: every `href` and `Location` leads to the broker or is dropped.

use cfapi_broker::policy::Policy;
use http::Method;
use rstest::rstest;
use serde_json::{Value, json};

use crate::{
    proxy::{Landscape, hrefs},
    support::{APP, Answer, answer, client, pull, sandbox},
};

const HOST: &str = "acme-saas-approuter";
const DOMAIN: &str = "d75a8564-c07c-440a-b0d1-81fbd15d4c85";
const QUOTA: &str = "fc59742a-6a50-44d1-924f-972d47838789";

impl Landscape {
    /// Checks that CF's own address does not appear, and that there are links.
    fn assert_leads_here(&self, what: &str, got: &Answer) {
        let api = self.sandbox.cf_url();
        assert!(!got.text.contains(&api), "{what}: {}", got.text);
        assert!(!format!("{:?}", got.headers).contains(&api), "{what}: {:?}", got.headers);
        let links = hrefs(&got.json());
        assert!(!links.is_empty(), "{what}: {}", got.text);
        assert!(links.iter().all(|link| link.starts_with(&self.broker.base)), "{what}: {links:?}");
        assert_eq!(got.headers["content-length"], got.text.len().to_string(), "{what}");
    }

    /// Makes a mapped route; returns its guid and the app's.
    pub(crate) async fn mapped_route(&self) -> (String, String) {
        let app = self.first(&format!("/v3/apps?names={APP}")).await;
        let created = self.post("/v3/routes", &self.route_body(HOST).await).await;
        assert_eq!(created.status, 201, "{}", created.text);
        self.assert_leads_here("the 201 of a route", &created);
        let route = created.json()["guid"].as_str().unwrap().to_owned();
        let targets = json!({"destinations": [{"app": {"guid": app}}]});
        let mapped = self.post(&format!("/v3/routes/{route}/destinations"), &targets).await;
        assert_eq!(mapped.status, 200, "{}", mapped.text);
        self.assert_leads_here("the 200 of destinations", &mapped);
        (route, app)
    }

    /// The broker's response to a call that CF answers with this status and these headers.
    async fn answered(&self, method: &Method, status: u16, headers: &Value) -> Answer {
        let (only, path, body) = match *method {
            Method::POST => ("POST /v3/routes", "/v3/routes", Some(self.route_body(HOST).await)),
            Method::DELETE => {
                let created = self.post("/v3/routes", &self.route_body(HOST).await).await.json();
                let path = format!("/v3/routes/{}", created["guid"].as_str().unwrap());
                return self.answered_on(&format!("DELETE {path}"), status, headers, None).await;
            }
            _ => ("GET /v3/apps", "/v3/apps", None),
        };
        debug_assert!(only.ends_with(path));
        self.answered_on(only, status, headers, body.as_ref()).await
    }

    async fn answered_on(
        &self,
        call: &str,
        status: u16,
        headers: &Value,
        body: Option<&Value>,
    ) -> Answer {
        let fault = json!({"part": "cf", "only": call, "status": status, "headers": headers});
        pull(&self.sandbox, "fail_next", &fault);
        let (method, path) = call.split_once(' ').unwrap();
        self.broker.send(method.parse().unwrap(), path, Some(&self.token), body).await
    }
}

#[tokio::test]
async fn every_link_of_every_row_leads_to_the_broker() {
    let cf = Landscape::start().await;
    let (route, app) = cf.mapped_route().await;
    let space = cf.first("/v3/spaces?names=dev").await;
    let organization = cf.first("/v3/organizations?names=provider-org").await;
    let other = cf.post("/v3/routes", &cf.route_body("b-saas-approuter").await).await.json();
    let other = format!("/v3/routes/{}", other["guid"].as_str().unwrap());
    let gone = cf.broker.delete(&other, &cf.token).await;
    let job = gone.headers["location"].to_str().unwrap();
    let job = job.rsplit('/').next().unwrap().to_owned();
    let rows = Policy::shipped().unwrap();
    let reads = rows.rows().filter_map(|row| Some(row.as_str().strip_prefix("GET ")?.to_owned()));
    let reads: Vec<_> = reads.collect();
    assert_eq!(reads.len(), 25);
    // CF's own contact leads elsewhere, and an empty page of a list has links too.
    let reads = reads.into_iter().filter(|row| row != "/v3/info" && !row.ends_with("/stats"));
    for row in reads.filter(|row| !row.ends_with("/route_reservations")) {
        let guid = match row.split('/').nth(2).unwrap_or_default() {
            "apps" | "processes" => &app,
            "routes" => &route,
            "spaces" => &space,
            "organizations" => &organization,
            "domains" => DOMAIN,
            "organization_quotas" => QUOTA,
            _ => &job,
        };
        let path = row.replace("{guid}", guid);
        let got = cf.get(&path).await;
        assert_eq!(got.status, 200, "{path}: {}", got.text);
        cf.assert_leads_here(&path, &got);
        let slash = cf.get(&format!("{path}/?per_page=1")).await;
        if slash.status == 200 {
            cf.assert_leads_here(&format!("{path}/"), &slash);
        }
    }
}

#[rstest]
#[case::foreign("https://evil.example/")]
#[case::without_scheme("//evil.example/v3/apps")]
#[case::begins_alike("API.evil.example/v3/apps")]
#[case::another_port("API1/v3/apps")]
#[case::login_server("UAA/oauth/authorize")]
#[case::climbs("/v3/../v2/info")]
#[case::escaped("/v3/%2e%2e/v2/info")]
#[case::another_scheme("javascript:alert(1)")]
#[tokio::test]
async fn a_location_that_leads_elsewhere_is_dropped(
    #[case] location: &str,
    #[values((Method::GET, 302), (Method::POST, 201), (Method::DELETE, 202))] call: (Method, u16),
) {
    let cf = Landscape::start().await;
    let location =
        location.replace("API", &cf.sandbox.cf_url()).replace("UAA", &cf.sandbox.uaa_url());
    let (method, status) = call;
    let got = cf.answered(&method, status, &json!({"Location": location})).await;
    assert_eq!(got.status, status, "{}", got.text);
    assert!(!got.headers.contains_key("location"), "{:?}", got.headers);
}

#[rstest]
#[case::absolute("API/v3/jobs/1b2f?x=1", "OWN/v3/jobs/1b2f?x=1")]
#[case::bare("API", "OWN")]
#[case::relative("/v3/jobs/1b2f", "/v3/jobs/1b2f")]
#[tokio::test]
async fn a_location_of_the_api_leads_to_the_broker(
    #[case] location: &str,
    #[case] expected: &str,
    #[values((Method::GET, 302), (Method::POST, 201), (Method::DELETE, 202))] call: (Method, u16),
) {
    let cf = Landscape::start().await;
    let location = location.replace("API", &cf.sandbox.cf_url());
    let (method, status) = call;
    let got = cf.answered(&method, status, &json!({"Location": location})).await;
    assert_eq!(got.status, status, "{}", got.text);
    assert_eq!(got.headers["location"], expected.replace("OWN", &cf.broker.base));
}

/// The broker's public name has a path: a gateway in front takes it away.
#[tokio::test]
async fn behind_a_path_prefix_every_link_begins_with_the_public_base() {
    let names = "gw.example.test/cfapi";
    let cf = Landscape::with(&[("CFAPI_SERVER__NAMES", names)]).await.warmed().await;
    let base = "https://gw.example.test/cfapi";
    let located = |got: &Answer| got.headers["location"].to_str().unwrap().to_owned();
    let root = cf.broker.send(Method::GET, "/", None, None).await;
    let others = cf.get("/v3/apps").await;
    for got in [root, others] {
        let links = hrefs(&got.json());
        assert!(!links.is_empty() && links.iter().all(|link| link.starts_with(base)), "{links:?}");
    }
    let page = client().get(format!("{}/", cf.broker.base)).header("accept", "text/html");
    assert_eq!(located(&answer(page).await), format!("{base}/spaces"));

    let token = cf.sandbox.provider_token();
    let body = json!({"subdomain": "acme", "app": APP});
    let created = cf.broker.put("/routes/t1", &token, &body).await;
    assert_eq!(located(&created), format!("{base}/routes/t1"), "{}", created.text);
    let body = json!({"subdomain": "nine", "app": APP, "tenantId": "t9"});
    let created = cf.broker.send(Method::POST, "/routes", Some(&token), Some(&body)).await;
    assert_eq!(located(&created), format!("{base}/routes/t9"), "{}", created.text);

    cf.sandbox.world().pause_jobs();
    let items = json!({"items": [{"op": "remove", "tenantId": "t9"}]});
    let batch = cf.broker.send(Method::POST, "/routes/batch", Some(&token), Some(&items)).await;
    let operation = format!("{base}/routes/operations/");
    let told = batch.json()["results"][0]["location"].clone();
    assert!(told.as_str().is_some_and(|link| link.starts_with(&operation)), "{}", batch.text);
    let request = client().delete(format!("{}/routes/t1", cf.broker.base)).bearer_auth(&token);
    let accepted = answer(request.header("prefer", "respond-async")).await;
    assert!(located(&accepted).starts_with(&operation), "{}", accepted.text);
    let path = located(&accepted).replace(base, "");
    assert_eq!(cf.broker.get(&path, &token).await.json()["status"], "running");
}

/// A client resolves a relative `Location` against the public address.
#[tokio::test]
async fn a_relative_location_of_the_api_stays_behind_the_path_prefix() {
    let names = "gw.example.test/cfapi";
    let cf = Landscape::with(&[("CFAPI_SERVER__NAMES", names)]).await;
    let got = cf.answered(&Method::GET, 302, &json!({"Location": "/v3/jobs/1b2f"})).await;
    assert_eq!(got.headers["location"], "/cfapi/v3/jobs/1b2f");
}

#[rstest]
#[tokio::test]
async fn a_redirect_is_passed_on_and_never_followed(
    #[values(301, 302, 303, 307, 308)] status: u16,
    #[values(Method::GET, Method::POST)] method: Method,
) {
    let cf = Landscape::start().await.warmed().await;
    let location = json!({"Location": format!("{}/v3/info", cf.sandbox.cf_url())});
    let got = cf.answered(&method, status, &location).await;
    assert_eq!(got.status, status, "{}", got.text);
    assert_eq!(got.headers["location"], format!("{}/v3/info", cf.broker.base));
    let calls = cf.calls();
    assert!(!calls.iter().any(|call| call.ends_with("/v3/info")), "{calls:?}");
}

#[tokio::test]
async fn links_lead_to_the_name_of_the_app_whatever_host_the_caller_names() {
    let sandbox = sandbox().await;
    let application = sandbox.vcap_application("broker.cfapps.example.test");
    let cf = Landscape::within(sandbox, &[("VCAP_APPLICATION", &application)]).await.warmed().await;
    for path in ["/", "/v3", "/v3/spaces", "/v3/apps"] {
        let request = client().get(format!("{}{path}", cf.broker.base)).bearer_auth(&cf.token);
        let request =
            request.header("host", "localhost:1").header("x-forwarded-host", "evil.example");
        let request = request.header("forwarded", "host=evil.example;proto=http");
        let got = answer(request).await;
        assert_eq!(got.status, 200, "{path}: {}", got.text);
        let links = hrefs(&got.json());
        let own = |link: &String| link.starts_with("https://broker.cfapps.example.test");
        assert!(!links.is_empty() && links.iter().all(own), "{path}: {links:?}");
        let all = format!("{} {:?}", got.text, got.headers);
        for name in ["localhost", "127.0.0.1", "evil.example"] {
            assert!(!all.contains(name), "{path}: {all}");
        }
    }
}
