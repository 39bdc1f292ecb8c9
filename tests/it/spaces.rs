//! `GET /spaces` and `GET /spaces/{guid}`: what the technical user sees, read once for all viewers.

use std::{collections::BTreeMap, time::Duration};

use cfapi_sandbox::{Sandbox, TECHNICAL_USER};
use http::Method;
use rstest::rstest;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::support::{
    APP, Answer, TestBroker, answer, client, pull, sandbox,
    tenant::{DOMAIN, HOST, asked, cf, delete_async, routes_of, until},
    variables,
};

const OTHER_APP: &str = "bookshop-approuter";
const ADMIN_SCOPES: [&str; 2] = ["Spaces.Read", "Routes.Admin"];

fn guid_of(sandbox: &Sandbox, name: &str) -> String {
    let spaces = sandbox.world().spaces();
    spaces.into_iter().find(|space| space.name == name).unwrap().guid
}

async fn subscribe(broker: &TestBroker, sandbox: &Sandbox, tenant: &str, subdomain: &str) {
    let body = json!({"subdomain": subdomain, "app": APP});
    let got = broker.put(&format!("/routes/{tenant}"), &sandbox.provider_token(), &body).await;
    assert_eq!(got.status, 201, "{}", got.text);
}

/// `dev`, as a developer sees it.
async fn dev(broker: &TestBroker, sandbox: &Sandbox, query: &str) -> Value {
    let path = format!("/spaces/{}{query}", guid_of(sandbox, "dev"));
    let got = broker.get(&path, &sandbox.developer_token()).await;
    assert_eq!(got.status, 200, "{}", got.text);
    got.json()
}

fn column<'a>(list: &'a Value, member: &str) -> Vec<&'a str> {
    let rows = list["resources"].as_array().unwrap().iter();
    rows.map(|row| row[member].as_str().unwrap()).collect()
}

#[tokio::test]
async fn spaces_come_with_their_organisations_and_what_is_in_them() {
    let sandbox = sandbox().await;
    let broker = TestBroker::start(&sandbox).await;
    subscribe(&broker, &sandbox, "t1", "acme").await;
    subscribe(&broker, &sandbox, "t2", "beta").await;
    sandbox.world().take_host("website", DOMAIN, "dev").unwrap();
    let answer = broker.get("/spaces", &sandbox.developer_token()).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    let body = answer.json();
    assert_eq!(column(&body, "name"), ["dev", "other"]);
    assert_eq!(body["total"], 2);
    assert_eq!(body.get("pagination"), None);
    let dev = &body["resources"][0];
    assert_eq!(dev["organization"]["name"], "provider-org");
    assert_eq!((&dev["tenant_routes"], &dev["apps"]), (&json!(2), &json!(3)));
    let other = &body["resources"][1];
    assert_eq!((&other["tenant_routes"], &other["apps"]), (&json!(0), &json!(0)));
}

#[tokio::test]
async fn a_provider_app_without_the_scope_does_not_see_them() {
    let sandbox = sandbox().await;
    let broker = TestBroker::start(&sandbox).await;
    let one = format!("/spaces/{}", guid_of(&sandbox, "dev"));
    for path in ["/spaces", &one] {
        let answer = broker.get(path, &sandbox.provider_token()).await;
        assert_eq!((answer.status, answer.code().as_str()), (403, "forbidden_scope"));
        let challenge = answer.headers["www-authenticate"].to_str().unwrap();
        assert!(challenge.contains("insufficient_scope"), "{challenge}");
    }
}

#[tokio::test]
async fn a_space_comes_with_its_routes_apps_and_quotas() {
    let sandbox = sandbox().await;
    let broker = TestBroker::start(&sandbox).await;
    subscribe(&broker, &sandbox, "t1", "acme").await;
    let world = sandbox.world();
    world.take_host("website", DOMAIN, "dev").unwrap();
    world.map_host("website", DOMAIN, OTHER_APP).unwrap();
    world.take_host("elsewhere", DOMAIN, "other").unwrap();
    world.space_quota("dev", Some(20)).unwrap();
    world.quota("provider-org", Some(100)).unwrap();
    let space = dev(&broker, &sandbox, "").await;
    assert_eq!(space["guid"], guid_of(&sandbox, "dev"));
    assert_eq!(
        (&space["name"], &space["organization"]["name"]),
        (&json!("dev"), &json!("provider-org"))
    );
    let route = &space["tenant_routes"]["resources"][0];
    let url = format!("https://{HOST}.{DOMAIN}");
    for (member, expected) in [
        ("host", json!(HOST)),
        ("domain", json!(DOMAIN)),
        ("url", json!(url)),
        ("apps", json!([APP])),
    ] {
        assert_eq!(route[member], expected, "{space}");
    }
    assert_eq!((&route["state"], &route["reason"]), (&json!("ok"), &Value::Null), "{space}");
    assert_eq!(space["tenant_routes"]["total"], 1);
    let other = &space["other_routes"]["resources"][0];
    assert_eq!((&other["host"], &other["apps"]), (&json!("website"), &json!([OTHER_APP])));
    assert_eq!(column(&space["apps"], "name"), [OTHER_APP, "cfapi-broker", APP]);
    assert_eq!(column(&space["apps"], "state"), ["started"; 3]);
    let quota =
        json!({"space": {"limit": 20, "used": 2}, "organization": {"limit": 100, "used": 3}});
    assert_eq!(space["quota"], quota);
}

#[tokio::test]
async fn what_has_no_limit_or_is_not_visible_has_no_head_room() {
    let sandbox = sandbox().await;
    let broker = TestBroker::start(&sandbox).await;
    sandbox.world().quota("provider-org", None).unwrap();
    let space = dev(&broker, &sandbox, "").await;
    assert_eq!(space["quota"], json!({"space": null, "organization": null}), "{space}");
}

/// The states of the tenant routes by host, with the reasons.
fn states(space: &Value) -> BTreeMap<String, (String, Option<String>)> {
    let rows = space["tenant_routes"]["resources"].as_array().unwrap().iter();
    let text = |value: &Value| value.as_str().map(ToOwned::to_owned);
    rows.map(|row| {
        (text(&row["host"]).unwrap(), (text(&row["state"]).unwrap(), text(&row["reason"])))
    })
    .collect()
}

#[tokio::test]
async fn each_state_has_its_reason_in_words() {
    let sandbox = sandbox().await;
    let broker = TestBroker::start(&sandbox).await;
    for (tenant, subdomain) in [
        ("t1", "acme"),
        ("t2", "beta"),
        ("t2", "beta2"),
        ("t3", "bare"),
        ("t4", "more"),
        ("t5", "odd"),
    ] {
        subscribe(&broker, &sandbox, tenant, subdomain).await;
    }
    sandbox.world().pause_jobs();
    assert_eq!(delete_async(&broker, &sandbox).await.status, 202);
    let route = |host: &str| routes_of(&sandbox, host)[0].guid.clone();
    let bare = format!("/v3/routes/{}/destinations", route("bare-saas-approuter"));
    cf(&sandbox, Method::PATCH, &bare, &json!({"destinations": []})).await;
    sandbox.world().map_host("more-saas-approuter", DOMAIN, OTHER_APP).unwrap();
    let odd = format!("/v3/routes/{}", route("odd-saas-approuter"));
    let forged =
        json!({"metadata": {"annotations": {"cfapi-broker.internal/owner-id": "another"}}});
    cf(&sandbox, Method::PATCH, &odd, &forged).await;
    let states = states(&dev(&broker, &sandbox, "").await);
    for (subdomain, state, word) in [
        ("acme", "deleting", Some("deleting it")),
        ("beta", "drifted", Some("newer route")),
        ("beta2", "ok", None),
        ("bare", "unmapped", Some("No app is mapped")),
        ("more", "drifted", Some("Something else is mapped")),
        ("odd", "drifted", Some("contradict")),
    ] {
        let (found, reason) = &states[&format!("{subdomain}-{APP}")];
        assert_eq!(found, state, "{subdomain}: {states:?}");
        let reason = reason.as_deref();
        assert_eq!(reason.is_some(), word.is_some(), "{subdomain}: {states:?}");
        assert!(word.is_none_or(|word| reason.unwrap().contains(word)), "{subdomain}: {reason:?}");
    }
}

/// The routes of `sb-bookshop!t4711` in `dev`, seen by a broker whose only entry is this one.
#[rstest]
#[case::another_app(json!({"apps": [OTHER_APP]}), "unmapped", "No app of its provider entry")]
#[case::another_domain(json!({"domains": ["saas.example.test"]}), "drifted", "Its domain")]
#[case::another_host(json!({"host_template": "x-{subdomain}"}), "drifted", "another host")]
#[case::another_space(json!({"space": "other"}), "drifted", "another space")]
#[case::another_client(json!({"client_ids": ["sb-orders!t4712"]}), "drifted", "No provider entry")]
#[case::the_same(json!({}), "ok", "")]
#[tokio::test]
async fn a_route_is_compared_with_the_entry_of_its_owner(
    #[case] changed: Value,
    #[case] state: &str,
    #[case] word: &str,
) {
    let sandbox = sandbox().await;
    let before = TestBroker::start(&sandbox).await;
    subscribe(&before, &sandbox, "t1", "acme").await;
    before.stop().await;
    let mut entry = json!({
        "client_ids": ["sb-bookshop!t4711"], "organization": "provider-org", "space": "dev",
        "apps": [APP],
    });
    entry.as_object_mut().unwrap().extend(changed.as_object().unwrap().clone());
    let mut variables = variables(&sandbox);
    variables.insert("CFAPI_PROVIDERS".to_owned(), json!([entry]).to_string());
    let broker = TestBroker::with(variables).await;
    let states = states(&dev(&broker, &sandbox, "").await);
    let (found, reason) = &states[HOST];
    assert_eq!(found, state, "{states:?}");
    assert!(reason.as_deref().unwrap_or_default().contains(word), "{states:?}");
}

#[tokio::test]
async fn only_an_administrator_sees_tenants_and_owners() {
    let sandbox = sandbox().await;
    let broker = TestBroker::start(&sandbox).await;
    subscribe(&broker, &sandbox, "tenant-4711", "acme").await;
    let path = format!("/spaces/{}", guid_of(&sandbox, "dev"));
    let admin = sandbox.caller_token("sb-admin!t1", &ADMIN_SCOPES);
    // The read is shared, what is shown is not: whoever comes first.
    for _ in 0..2 {
        let got = broker.get(&path, &admin).await.json();
        let route = &got["tenant_routes"]["resources"][0];
        assert_eq!(
            (&route["tenant"], &route["owner"]),
            (&json!("tenant-4711"), &json!("sb-bookshop!t4711")),
            "{got}"
        );
        let got = broker.get(&path, &sandbox.developer_token()).await;
        for secret in ["tenant-4711", "sb-bookshop", "owner", "\"tenant\""] {
            assert!(!got.text.contains(secret), "{secret}: {}", got.text);
        }
    }
    let filters = [("tenant-4711", 1), ("sb-BOOKSHOP", 1), (HOST, 1), ("nothing", 0), ("copy", 0)];
    for (filter, of_admin) in filters {
        let path = format!("{path}?filter={filter}");
        let found = broker.get(&path, &admin).await.json()["tenant_routes"]["total"].clone();
        assert_eq!(found, of_admin, "{filter}");
        let of_developer = i32::from(filter == HOST);
        let found = dev(&broker, &sandbox, &format!("?filter={filter}")).await;
        assert_eq!(found["tenant_routes"]["total"], of_developer, "{filter}");
    }
    let html = client().get(format!("{}{path}", broker.base)).header("accept", "text/html");
    let html = answer(html.bearer_auth(sandbox.developer_token())).await;
    assert!(html.text.contains(HOST) && !html.text.contains("tenant-4711"), "{}", html.text);
}

#[rstest]
#[case::unknown("00000000-0000-4000-8000-000000000000", 1)]
#[case::without_a_role("fspace", 1)]
#[case::no_guid("no.guid", 0)]
#[case::another_form("~dev", 0)]
#[case::too_long(&"a".repeat(201), 0)]
#[tokio::test]
async fn a_space_that_is_not_visible_is_not_found(#[case] guid: &str, #[case] reads: usize) {
    let sandbox = sandbox().await;
    let broker = TestBroker::start(&sandbox).await;
    let guid = if guid == "fspace" { guid_of(&sandbox, guid) } else { guid.to_owned() };
    let got = broker.get(&format!("/spaces/{guid}"), &sandbox.developer_token()).await;
    assert_eq!((got.status, got.code().as_str()), (404, "not_found"), "{}", got.text);
    let read = format!("GET /v3/spaces/{guid}");
    assert_eq!(asked(&sandbox).into_iter().filter(|call| *call == read).count(), reads);
}

#[tokio::test]
async fn lists_have_pages_and_a_filter() {
    let sandbox = sandbox().await;
    let broker = TestBroker::start(&sandbox).await;
    let token = sandbox.developer_token();
    for index in 0..5 {
        subscribe(&broker, &sandbox, &format!("t{index}"), &format!("sub{index}")).await;
    }
    let list = async |query: &str| broker.get(&format!("/spaces?{query}"), &token).await.json();
    for (page, names, next) in [(1, vec!["dev"], json!(2)), (2, vec!["other"], Value::Null)] {
        let body = list(&format!("per_page=1&page={page}")).await;
        assert_eq!(column(&body, "name"), names, "{body}");
        let expected = json!({"total": 2, "page": page, "per_page": 1, "next": next});
        assert_eq!((&body["pagination"], &body["total"]), (&expected, &json!(2)));
    }
    for (filter, names) in [
        ("OTH", vec!["other"]),
        ("provider-ORG", vec!["dev", "other"]),
        (&guid_of(&sandbox, "dev"), vec!["dev"]),
        ("none", vec![]),
        ("", vec!["dev", "other"]),
    ] {
        let body = list(&format!("filter={filter}")).await;
        assert_eq!((column(&body, "name"), &body["total"]), (names.clone(), &json!(names.len())));
    }
    let beyond = list(&format!("page={}", u64::MAX)).await;
    assert_eq!((&beyond["resources"], &beyond["total"]), (&json!([]), &json!(2)), "{beyond}");
    let mut seen = Vec::new();
    for (page, next) in [(1, json!(2)), (2, json!(3)), (3, Value::Null)] {
        let space = dev(&broker, &sandbox, &format!("?per_page=2&page={page}")).await;
        let expected = json!({"total": 5, "page": page, "per_page": 2, "next": next});
        assert_eq!(space["pagination"], expected);
        assert_eq!(
            (&space["tenant_routes"]["total"], &space["apps"]["total"]),
            (&json!(5), &json!(3))
        );
        seen.extend(column(&space["tenant_routes"], "host").into_iter().map(ToOwned::to_owned));
    }
    assert_eq!(seen, (0..5).map(|index| format!("sub{index}-{APP}")).collect::<Vec<_>>());
    let found = dev(&broker, &sandbox, "?filter=SUB3").await;
    assert_eq!(column(&found["tenant_routes"], "host"), [format!("sub3-{APP}")]);
    assert_eq!((&found["apps"]["total"], &found["other_routes"]["total"]), (&json!(0), &json!(0)));
    let one = format!("/spaces/{}", guid_of(&sandbox, "dev"));
    for path in ["/spaces", &one] {
        for query in ["page=0", "per_page=0", "page=-1", "colour=red"] {
            let got = broker.get(&format!("{path}?{query}"), &token).await;
            assert_eq!((got.status, got.code().as_str()), (400, "bad_request"), "{path}?{query}");
        }
    }
}

/// The calls for one read of a path. The first read also reads the root document of the CF API.
fn reads(sandbox: &Sandbox) -> Vec<String> {
    let mut calls = asked(sandbox);
    calls.retain(|call| call != "GET /");
    calls.sort();
    calls
}

#[rstest]
#[case::list("/spaces", &["GET /v3/apps", "GET /v3/routes", "GET /v3/spaces"])]
#[case::one("/spaces/{dev}", &[
    "GET /v3/apps", "GET /v3/organization_quotas/{quota}", "GET /v3/organizations/{org}/usage_summary",
    "GET /v3/routes", "GET /v3/spaces/{dev}",
])]
#[tokio::test]
async fn two_hundred_viewers_cost_one_set_of_calls(#[case] path: &str, #[case] calls: &[&str]) {
    let sandbox = sandbox().await;
    let broker = TestBroker::start(&sandbox).await;
    pull(&sandbox, "latency", &json!({"part": "cf", "ms": 300}));
    let dev = sandbox.world().spaces().into_iter().find(|space| space.name == "dev").unwrap();
    let filled = |text: &str| {
        let text = text.replace("{dev}", &dev.guid).replace("{org}", &dev.org_guid);
        text.replace("{quota}", "fc59742a-6a50-44d1-924f-972d47838789")
    };
    let mut viewers = JoinSet::new();
    for number in 0..200 {
        // Twenty callers, because one caller alone may not have so many requests in flight.
        let token = sandbox.caller_token(&format!("sb-{}!t1", number % 20), &["Spaces.Read"]);
        let request = client().get(format!("{}{}", broker.base, filled(path))).bearer_auth(token);
        viewers.spawn(async move { answer(request).await });
    }
    let answers = viewers.join_all().await;
    assert!(answers.iter().all(|one| one.status == 200), "{:?}", answers[0]);
    assert!(answers.iter().all(|one| one.text == answers[0].text));
    assert_eq!(reads(&sandbox), calls.iter().map(|call| filled(call)).collect::<Vec<_>>());
}

#[tokio::test]
async fn later_pages_of_a_grown_landscape_are_read_too() {
    let sandbox = sandbox().await;
    let broker = TestBroker::start(&sandbox).await;
    let marks = json!({
        "cfapi-broker.internal/managed-by": "cfapi-broker", "cfapi-broker.internal/tenant": "t{n}",
    });
    let fill = json!({"spaces": 1100, "apps": 1100, "routes": 2200, "labels": marks});
    pull(&sandbox, "fill", &fill);
    let body = broker.get("/spaces", &sandbox.developer_token()).await.json();
    assert_eq!(body["total"], 1102);
    for row in body["resources"].as_array().unwrap().iter().skip(2) {
        assert_eq!((&row["tenant_routes"], &row["apps"]), (&json!(2), &json!(1)), "{row}");
        assert_eq!(row["organization"]["name"], "provider-org");
    }
    let mut counts = BTreeMap::new();
    for call in reads(&sandbox) {
        *counts.entry(call).or_insert(0) += 1;
    }
    let expected = [("GET /v3/apps", 2), ("GET /v3/routes", 3), ("GET /v3/spaces", 2)];
    assert_eq!(counts, expected.map(|(call, count)| (call.to_owned(), count)).into());
}

#[tokio::test]
async fn each_destination_is_read_for_itself() {
    let sandbox = sandbox().await;
    pull(&sandbox, "add_destination", &json!({"name": "OTHER"}));
    let mut variables = variables(&sandbox);
    variables.insert("CFAPI_DESTINATION__NAMES".to_owned(), "OTHER".to_owned());
    let entry = json!([{
        "client_ids": ["sb-orders!t4712"], "destination": "OTHER", "organization": "provider-org",
        "space": "dev", "apps": [APP],
    }]);
    variables.insert("CFAPI_PROVIDERS".to_owned(), entry.to_string());
    let broker = TestBroker::with(variables).await;
    let of_other = sandbox.caller_token("sb-orders!t4712", &["Spaces.Read"]);
    for token in [&sandbox.developer_token(), &of_other, &of_other] {
        assert_eq!(broker.get("/spaces", token).await.status, 200);
    }
    let journal = sandbox.journal();
    let lists = journal.iter().filter(|entry| entry.query.contains("include=organization"));
    assert_eq!(lists.count(), 2);
}

#[rstest]
#[case::router("GET /v3/apps", json!({"status": 503}), (503, "cf_unavailable"))]
#[case::refused("GET /v3/routes", json!({"status": 422}), (502, "cf_refused"))]
#[case::rate_limited("GET /v3/spaces",
    json!({"status": 429, "headers": {"retry-after": "1"}}), (503, "cf_rate_limited"))]
#[tokio::test]
async fn an_error_of_cf_is_told_and_not_kept(
    #[case] only: &str,
    #[case] fault: Value,
    #[case] expected: (u16, &str),
) {
    let sandbox = sandbox().await;
    let mut variables = variables(&sandbox);
    variables.insert("CFAPI_SERVER__REQUEST_TIMEOUT".to_owned(), "5s".to_owned());
    let broker = TestBroker::with(variables).await;
    let mut lever = json!({"part": "cf", "n": 100, "only": only});
    lever.as_object_mut().unwrap().extend(fault.as_object().unwrap().clone());
    pull(&sandbox, "fail_next", &lever);
    let token = sandbox.developer_token();
    for path in ["/spaces".to_owned(), format!("/spaces/{}", guid_of(&sandbox, "dev"))] {
        let got = broker.get(&path, &token).await;
        assert_eq!((got.status, got.code().as_str()), expected, "{path}: {}", got.text);
    }
    pull(&sandbox, "clear", &json!({"part": "cf"}));
    let mut last = None;
    for _ in 0..100 {
        let got = broker.get("/spaces", &token).await;
        if got.status == 200 {
            return;
        }
        last = Some(got);
        // As long as CF asked for, or the breaker waits.
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("{last:?}");
}

#[tokio::test]
async fn a_cf_api_that_hangs_is_a_time_out_and_the_next_viewer_gets_the_page() {
    let sandbox = sandbox().await;
    pull(&sandbox, "hang", &json!({"part": "cf", "n": 20, "only": "GET /v3/apps"}));
    let mut variables = variables(&sandbox);
    variables.insert("CFAPI_SERVER__REQUEST_TIMEOUT".to_owned(), "5s".to_owned());
    let broker = TestBroker::with(variables).await;
    let got = broker.get("/spaces", &sandbox.developer_token()).await;
    assert_eq!((got.status, got.code().as_str()), (504, "cf_timeout"), "{}", got.text);
    pull(&sandbox, "clear", &json!({"part": "cf"}));
    pull(&sandbox, "release", &json!({"part": "cf"}));
    assert_eq!(broker.get("/spaces", &sandbox.developer_token()).await.status, 200);
}

#[tokio::test]
async fn a_viewer_that_goes_away_takes_nothing_from_the_others() {
    let sandbox = sandbox().await;
    let broker = TestBroker::start(&sandbox).await;
    let token = sandbox.developer_token();
    pull(&sandbox, "hang", &json!({"part": "cf", "n": 1, "only": "GET /v3/apps"}));
    let request = client().get(format!("{}/spaces", broker.base)).bearer_auth(&token);
    let hasty = request.try_clone().unwrap().timeout(Duration::from_millis(700));
    let mut viewers = JoinSet::<Option<Answer>>::new();
    viewers.spawn(async move {
        assert!(hasty.send().await.is_err());
        None
    });
    let apps = || asked(&sandbox).iter().any(|call| call == "GET /v3/apps");
    until("the first viewer reads", apps).await;
    viewers.spawn(async move { Some(answer(request).await) });
    let outcomes = viewers.join_all().await;
    let got = outcomes.into_iter().flatten().next().unwrap();
    assert_eq!(got.status, 200, "{}", got.text);
    pull(&sandbox, "release", &json!({"part": "cf"}));
}

#[tokio::test]
async fn a_user_without_a_role_sees_an_empty_list() {
    let sandbox = sandbox().await;
    for space in ["dev", "other"] {
        sandbox.world().set_role(TECHNICAL_USER, space, None).unwrap();
    }
    let broker = TestBroker::start(&sandbox).await;
    let got = broker.get("/spaces", &sandbox.developer_token()).await;
    assert_eq!((got.status, got.json()), (200, json!({"resources": [], "total": 0})));
}
