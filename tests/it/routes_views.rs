//! What `GET /routes` and `GET /routes/{tenant}` return: pages, states, warnings, quota usage. And
//! what a dry run knows without CF.

use std::collections::BTreeMap;

use cfapi_sandbox::{Part, Sandbox, TECHNICAL_USER};
use rstest::rstest;
use serde_json::{Value, json};

use crate::support::{
    APP, Answer, TestBroker, pull, sandbox,
    tenant::{DOMAIN, HOST, delete_async, route_request, until},
    variables,
};

const OTHER_APP: &str = "bookshop-approuter";

/// Variables of a broker with one entry, which has these additional members.
fn with_entry(sandbox: &Sandbox, more: &Value) -> BTreeMap<String, String> {
    let mut variables = variables(sandbox);
    let mut entry = json!({
        "client_ids": ["sb-bookshop!t4711"], "organization": "provider-org", "space": "dev",
        "apps": [APP],
    });
    entry.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    variables.insert("CFAPI_PROVIDERS".to_owned(), json!([entry]).to_string());
    variables
}

async fn subscribe(broker: &TestBroker, sandbox: &Sandbox, path: &str, body: &Value) -> Answer {
    let got = broker.put(path, &sandbox.provider_token(), body).await;
    assert!(got.status < 300, "{}", got.text);
    got
}

fn hosts(list: &Value) -> Vec<&str> {
    list.as_array().unwrap().iter().map(|route| route["host"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn the_list_has_pages() {
    let sandbox = sandbox().await;
    let broker = TestBroker::start(&sandbox).await;
    let token = sandbox.provider_token();
    for index in 0..5 {
        let body = json!({"subdomain": format!("sub{index}"), "app": APP});
        subscribe(&broker, &sandbox, &format!("/routes/t{index}"), &body).await;
    }
    let mut seen = Vec::new();
    for (page, next) in [(1, json!(2)), (2, json!(3)), (3, Value::Null)] {
        let got = broker.get(&format!("/routes?per_page=2&page={page}"), &token).await;
        let body = got.json();
        let pagination = json!({"total": 5, "page": page, "per_page": 2, "next": next});
        assert_eq!(body["pagination"], pagination, "{}", got.text);
        seen.extend(hosts(&body["resources"]).into_iter().map(ToOwned::to_owned));
    }
    let all = (0..5).map(|index| format!("sub{index}-{APP}")).collect::<Vec<_>>();
    assert_eq!(seen, all);
    let beyond = broker.get(&format!("/routes?page={}", u64::MAX), &token).await;
    assert_eq!((beyond.status, &beyond.json()["resources"]), (200, &json!([])), "{}", beyond.text);
    for query in ["page=0", "per_page=0", "page=-1", "state=odd", "colour=red"] {
        let got = broker.get(&format!("/routes?{query}"), &token).await;
        assert_eq!((got.status, got.code().as_str()), (400, "bad_request"), "{query}");
    }
}

#[tokio::test]
async fn the_list_is_filtered_by_tenant_and_state() {
    let sandbox = sandbox().await;
    let broker = TestBroker::start(&sandbox).await;
    let token = sandbox.provider_token();
    for (tenant, subdomain) in [("t1", "acme"), ("t2", "beta"), ("t2", "gamma"), ("t3", "delta")] {
        let body = json!({"subdomain": subdomain, "app": APP});
        subscribe(&broker, &sandbox, &format!("/routes/{tenant}"), &body).await;
    }
    sandbox.world().pause_jobs();
    assert_eq!(delete_async(&broker, &sandbox).await.status, 202);
    let listed = async |query: &str| broker.get(&format!("/routes?{query}"), &token).await.json();
    assert_eq!(hosts(&listed("state=deleting").await["resources"]), [HOST]);
    let ok = listed("state=ok").await;
    assert_eq!(hosts(&ok["resources"]), [format!("delta-{APP}"), format!("gamma-{APP}")]);
    assert_eq!(ok["pagination"]["total"], 2);
    assert_eq!(hosts(&listed("state=drifted").await["resources"]), [format!("beta-{APP}")]);
    assert_eq!(listed("state=unmapped").await["resources"], json!([]));
    let tenant = listed("tenant=t2&state=ok").await;
    assert_eq!(hosts(&tenant["resources"]), [format!("gamma-{APP}")]);
    assert_eq!(listed("tenant=t9").await["resources"], json!([]));
}

#[tokio::test]
async fn a_route_under_an_older_host_name_is_drifted_and_stays() {
    let sandbox = sandbox().await;
    let broker = TestBroker::start(&sandbox).await;
    subscribe(&broker, &sandbox, "/routes/t1", &route_request()).await;
    let body = json!({"subdomain": "acme2", "app": APP});
    subscribe(&broker, &sandbox, "/routes/t1", &body).await;
    let body = json!({"subdomain": "acme", "app": OTHER_APP});
    subscribe(&broker, &sandbox, "/routes/t1", &body).await;
    let got = broker.get("/routes/t1", &sandbox.provider_token()).await.json();
    let states = got["routes"].as_array().unwrap().iter();
    let states = states.map(|one| (one["host"].as_str().unwrap(), one["state"].as_str().unwrap()));
    let other = format!("acme-{OTHER_APP}");
    let newer = format!("acme2-{APP}");
    let expected = [(HOST, "drifted"), (newer.as_str(), "ok"), (other.as_str(), "ok")];
    assert_eq!(states.collect::<BTreeMap<_, _>>(), BTreeMap::from(expected), "{got}");
}

#[tokio::test]
async fn put_and_get_report_another_mapped_app() {
    let sandbox = sandbox().await;
    let entry = json!({"apps": [APP, OTHER_APP], "host_template": "{subdomain}"});
    let broker = TestBroker::with(with_entry(&sandbox, &entry)).await;
    let first = subscribe(&broker, &sandbox, "/routes/t1", &route_request()).await;
    assert_eq!(first.json()["warnings"], json!([]));
    let shown = broker.get("/routes/t1", &sandbox.provider_token()).await.json();
    assert_eq!(
        (&shown["routes"][0]["warnings"], &shown["routes"][0]["state"]),
        (&json!([]), &json!("ok"))
    );
    assert_eq!(shown["routes"][0].get("outcome"), None);
    let body = json!({"subdomain": "acme", "app": OTHER_APP});
    let second = subscribe(&broker, &sandbox, "/routes/t1", &body).await;
    assert_eq!(second.json()["warnings"][0]["code"], "extra_destinations", "{}", second.text);
    let shown = broker.get("/routes/t1", &sandbox.provider_token()).await.json();
    let route = &shown["routes"][0];
    assert_eq!(route["warnings"], second.json()["warnings"], "{shown}");
    assert_eq!(route["state"], "drifted");
    let listed = broker.get("/routes", &sandbox.provider_token()).await.json();
    assert_eq!(listed["resources"][0], *route);
}

#[rstest]
#[case::zero_configuration(None, 2)]
#[case::several_apps(Some(json!({"apps": [APP, OTHER_APP], "domains": [DOMAIN]})), 2)]
#[case::one_app(Some(json!({"apps": [OTHER_APP], "domains": [DOMAIN], "max_routes_per_app": 7})), 1)]
#[tokio::test]
async fn quota_usage_is_of_the_whole_organization_and_of_the_app_with_most_routes(
    #[case] entry: Option<Value>,
    #[case] used: u64,
) {
    let sandbox = sandbox().await;
    let with_entry = entry.as_ref().map(|entry| with_entry(&sandbox, entry));
    let broker = TestBroker::with(with_entry.unwrap_or_else(|| variables(&sandbox))).await;
    let apps = if used == 1 { vec![OTHER_APP] } else { vec![APP, APP, OTHER_APP] };
    for (index, app) in apps.into_iter().enumerate() {
        let body = json!({"subdomain": format!("sub{index}"), "app": app});
        subscribe(&broker, &sandbox, &format!("/routes/t{index}"), &body).await;
    }
    sandbox.world().take_host("elsewhere", DOMAIN, "other").unwrap();
    // The technical user does not see that space.
    sandbox.world().set_role(TECHNICAL_USER, "other", None).unwrap();
    sandbox.world().quota("provider-org", Some(100)).unwrap();
    let spaces = sandbox.world().spaces();
    let of_org =
        |space: &str| spaces.iter().any(|one| one.name == space && one.org == "provider-org");
    let all = sandbox.world().routes().iter().filter(|route| of_org(&route.space)).count();
    let quota = broker.get("/routes", &sandbox.provider_token()).await.json()["quota"].clone();
    assert_eq!(quota["organization"], json!({"limit": 100, "used": all}), "{quota}");
    assert_eq!(quota["space"], Value::Null);
    let limit = if used == 1 { 7 } else { 900 };
    // The count of an app is cached for five minutes.
    assert_eq!(quota["app"]["limit"], limit, "{quota}");
    assert!(quota["app"]["used"].as_u64().unwrap() <= used, "{quota}");
}

#[tokio::test]
async fn the_usage_of_an_organization_is_null_if_cf_does_not_report_it() {
    let sandbox = sandbox().await;
    let broker = TestBroker::start(&sandbox).await;
    sandbox.world().quota("provider-org", Some(100)).unwrap();
    let refusal = r#"{"errors":[{"code":10003,"title":"CF-NotAuthorized","detail":"x"}]}"#;
    let fault = json!({
        "part": "cf", "status": 403, "headers": {"content-type": "application/json"}, "body": refusal,
    });
    let mut fault = fault.as_object().unwrap().clone();
    let organization = &sandbox.world().spaces()[0].org_guid;
    fault.insert(
        "only".into(),
        json!(format!("GET /v3/organizations/{organization}/usage_summary")),
    );
    pull(&sandbox, "fail_next", &Value::Object(fault));
    let got = broker.get("/routes", &sandbox.provider_token()).await;
    assert_eq!(
        (got.status, &got.json()["quota"]["organization"]),
        (200, &Value::Null),
        "{}",
        got.text
    );
}

#[rstest]
#[case::names_alone(json!({"domains": [DOMAIN]}), HOST)]
#[case::names_in_the_template(
    json!({"domains": [DOMAIN], "host_template": "{subdomain}-{space}-{app}"}),
    "acme-dev-saas-approuter"
)]
#[tokio::test]
async fn a_dry_run_answers_the_url_without_the_space_while_cf_is_down(
    #[case] entry: Value,
    #[case] host: &str,
    #[values(Part::Cf, Part::Uaa, Part::Destination)] away: Part,
) {
    let sandbox = sandbox().await;
    sandbox.stop_part(away).await;
    let broker = TestBroker::with(with_entry(&sandbox, &entry)).await;
    let body = json!({"subdomain": "acme"});
    let got = broker.put("/routes/t1?dry_run=true", &sandbox.provider_token(), &body).await;
    assert_eq!((got.status, &got.json()["outcome"]), (200, &json!("unknown")), "{}", got.text);
    assert_eq!(got.json()["url"], format!("https://{host}.{DOMAIN}"));
    assert_eq!((&got.json()["space"], &got.json()["route"]), (&Value::Null, &Value::Null));
    assert_eq!(got.json()["warnings"][0]["code"], "cf_unchecked");
}

#[tokio::test]
async fn a_dry_run_refuses_a_host_and_reports_an_unknown_domain_while_cf_is_down() {
    let sandbox = sandbox().await;
    sandbox.stop_part(Part::Cf).await;
    let broker = TestBroker::with(with_entry(&sandbox, &json!({}))).await;
    let ask = async |subdomain: &str| {
        let body = json!({"subdomain": subdomain});
        broker.put("/routes/t1?dry_run=true", &sandbox.provider_token(), &body).await
    };
    assert_eq!(ask("not_a_host").await.code(), "host_invalid");
    // The organization's default domain was never read.
    assert_eq!(ask("acme").await.code(), "cf_unavailable");
}

#[tokio::test]
async fn a_failed_delete_is_a_complete_problem() {
    let sandbox = sandbox().await;
    let broker = TestBroker::start(&sandbox).await;
    subscribe(&broker, &sandbox, "/routes/t1", &route_request()).await;
    sandbox.world().fail_jobs(2, "disk full");
    let accepted = delete_async(&broker, &sandbox).await;
    let place = accepted.headers["location"].to_str().unwrap().to_owned();
    // Both jobs have failed.
    until("the mark is removed", || {
        let routes = sandbox.world().routes();
        let marked =
            |labels: &BTreeMap<String, String>| labels.keys().any(|key| key.ends_with("/state"));
        let jobs = sandbox.journal().iter().filter(|call| call.method == "DELETE").count();
        jobs == 2 && !routes.iter().any(|route| route.deleting || marked(&route.labels))
    })
    .await;
    let told = broker.get(&place, &sandbox.provider_token()).await;
    assert_eq!((told.status, &told.json()["status"]), (200, &json!("failed")), "{}", told.text);
    let problem = told.json()["problem"].clone();
    for member in ["type", "title", "detail", "instance", "correlation_id"] {
        assert!(problem[member].is_string(), "{member}: {problem}");
    }
    let told = (&problem["code"], &problem["status"], &problem["retryable"]);
    assert_eq!(told, (&json!("cf_job_failed"), &json!(502), &json!(true)));
    assert_eq!(problem["cf_errors"][0]["detail"], "disk full");
}

#[tokio::test]
async fn a_missing_admin_scope_is_a_challenge() {
    let sandbox = sandbox().await;
    let broker = TestBroker::start(&sandbox).await;
    let path = "/routes/t1?on_behalf_of=sb-orders!t4712";
    let got = broker.get(path, &sandbox.provider_token()).await;
    assert_eq!((got.status, got.code().as_str()), (403, "forbidden_scope"), "{}", got.text);
    let challenge = got.headers["www-authenticate"].to_str().unwrap();
    assert!(challenge.contains("error=\"insufficient_scope\""), "{challenge}");
}

#[rstest]
#[case::wildcard("wildcard", true, 200, "wildcard")]
#[case::auto("auto", true, 200, "wildcard")]
#[case::wildcard_without("wildcard", false, 409, "wildcard_not_mapped")]
#[case::auto_without("auto", false, 201, "created")]
#[tokio::test]
async fn a_wildcard_route_serves_if_the_mode_allows_it(
    #[case] mode: &str,
    #[case] mapped: bool,
    #[case] status: u16,
    #[case] word: &str,
) {
    let sandbox = sandbox().await;
    sandbox.world().add_domain("tenants.example.test", Some("provider-org")).unwrap();
    let entry = json!({
        "domains": ["tenants.example.test"], "host_template": "{subdomain}", "mode": mode,
    });
    let broker = TestBroker::with(with_entry(&sandbox, &entry)).await;
    if mapped {
        sandbox.world().take_host("*", "tenants.example.test", "dev").unwrap();
        sandbox.world().map_host("*", "tenants.example.test", APP).unwrap();
    }
    let token = sandbox.provider_token();
    let body = json!({"subdomain": "acme"});
    for (query, status) in
        [("?dry_run=true", if status == 201 { 200 } else { status }), ("", status)]
    {
        let got = broker.put(&format!("/routes/t1{query}"), &token, &body).await;
        assert_eq!(got.status, status, "{}", got.text);
        if status < 300 {
            assert_eq!(got.json()["outcome"], word, "{}", got.text);
            assert_eq!(got.json()["url"], "https://acme.tenants.example.test");
        } else {
            assert_eq!((got.code().as_str(), &got.json()["retryable"]), (word, &json!(false)));
        }
    }
    assert_eq!(broker.delete("/routes/t1", &token).await.status, 204);
    let left = sandbox.world().routes().into_iter().map(|route| route.host);
    assert_eq!(left.filter(|host| host == "*").count(), usize::from(mapped));
}
