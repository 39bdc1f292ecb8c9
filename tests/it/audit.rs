//! Each mutation writes an intent line before it and exactly one outcome line after it, in all
//! cases.

use std::{collections::BTreeMap, time::Duration};

use cfapi_sandbox::Sandbox;
use http::Method;
use rstest::rstest;
use serde_json::{Value, json};

use crate::support::{
    APP,
    audited_program::AuditedProgram,
    client, parse, pull, sandbox,
    tenant::{CREATE, DOMAIN, HOST, MAP, until},
    variables,
};

const SPACE: &str = "4d57c4e2-59ab-4b1f-a6f1-e18e43abcd3a";
const UNKNOWN_GUID: &str = "1b2f0a3c-0000-4000-8000-000000000001";
const CLIENT: &str = "sb-bookshop!t4711";

fn entry(sandbox: &Sandbox) -> BTreeMap<String, String> {
    let mut variables = variables(sandbox);
    let entry = json!([{"client_ids": [CLIENT], "space": SPACE, "apps": [APP]}]);
    variables.insert("CFAPI_PROVIDERS".to_owned(), entry.to_string());
    variables
}

fn route_request() -> String {
    json!({"subdomain": "acme", "app": APP}).to_string()
}

fn fail(sandbox: &Sandbox, call: &str, lever: &str, status: u16) {
    let mut args = json!({"part": "cf", "n": 9, "only": call});
    if lever == "fail_next" {
        (args["status"], args["body"]) = (json!(status), json!(""));
    }
    pull(sandbox, lever, &args);
}

/// Prepares the sandbox before the request. `mapped`: the tenant has a route.
fn prepare(sandbox: &Sandbox, what: &str) {
    match what {
        "adopted" => drop(sandbox.world().take_host(HOST, DOMAIN, "dev").unwrap()),
        "host_taken" => drop(sandbox.world().take_host(HOST, DOMAIN, "other").unwrap()),
        "cf_error" => fail(sandbox, CREATE, "fail_next", 500),
        "cf_timeout" => fail(sandbox, CREATE, "cut", 0),
        "cf_job_failed" => sandbox.world().fail_jobs(2, "disk full"),
        "running" => sandbox.world().pause_jobs(),
        _ => {}
    }
}

/// The phases, and the one outcome line.
fn phases_and_outcome(lines: &[Value]) -> (Vec<&str>, &Value) {
    let phases: Vec<_> = lines.iter().map(|line| line["phase"].as_str().unwrap()).collect();
    let outcomes: Vec<_> = lines.iter().filter(|line| line["phase"] == "outcome").collect();
    assert_eq!(outcomes.len(), 1, "{lines:#?}");
    (phases, outcomes[0])
}

/// The members that every line of a mutation has.
fn assert_complete(line: &Value) {
    for member in ["action", "caller", "subject", "zone", "token_hash", "correlation_id"] {
        assert!(line[member].as_str().is_some_and(|text| !text.is_empty()), "{member}: {line}");
    }
}

/// State before, request, status, outcome and code.
#[rstest]
#[case::created("nothing", "PUT", 201, "created", "")]
#[case::unchanged("there", "PUT", 200, "unchanged", "")]
#[case::repaired("unmapped", "PUT", 200, "repaired", "")]
#[case::adopted("adopted", "PUT", 200, "adopted", "")]
#[case::host_taken("host_taken", "PUT", 409, "host_taken", "host_taken")]
#[case::cf_error("cf_error", "PUT", 502, "cf_error", "cf_error")]
#[case::cf_timeout("cf_timeout", "PUT", 504, "cf_timeout", "cf_timeout")]
#[case::removed("there", "DELETE", 204, "removed", "")]
#[case::running("running", "DELETE", 202, "running", "")]
#[case::job_failed("cf_job_failed", "DELETE", 502, "cf_job_failed", "cf_job_failed")]
#[tokio::test]
async fn a_mutation_of_a_tenant_route_writes_two_lines(
    #[case] before: &str,
    #[case] method: &str,
    #[case] status: u16,
    #[case] outcome: &str,
    #[case] code: &str,
) {
    let sandbox = sandbox().await;
    let mut audited_program = AuditedProgram::start(&entry(&sandbox)).await;
    let token = sandbox.provider_token();
    if before == "unmapped" {
        // The map fails and so does the rollback.
        fail(&sandbox, MAP, "fail_next", 403);
        fail(&sandbox, "GET /v3/routes/", "fail_next", 403);
        assert_eq!(
            audited_program.ask(Method::PUT, "/routes/t1", &token, &route_request()).await.0,
            502
        );
        let is_end = |line: &Value| line["outcome"] == "not_taken_back";
        audited_program.program.wait_for(|line| Some(parse(line)).filter(is_end)).await;
        pull(&sandbox, "clear", &json!({"part": "cf"}));
    } else if before == "there" || method == "DELETE" {
        assert_eq!(
            audited_program.ask(Method::PUT, "/routes/t1", &token, &route_request()).await.0,
            201
        );
    }
    prepare(&sandbox, before);
    let (got, lines) = match (before, method) {
        ("running", _) => audited_program.ask_async("/routes/t1", &token).await,
        (_, "PUT") => {
            audited_program.ask(Method::PUT, "/routes/t1", &token, &route_request()).await
        }
        _ => audited_program.ask(Method::DELETE, "/routes/t1", &token, "").await,
    };
    let (phases, end) = phases_and_outcome(&lines);
    assert_eq!((got, phases.first(), phases.last()), (status, Some(&"intent"), Some(&"outcome")));
    assert_eq!((&end["outcome"], &end["status"]), (&json!(outcome), &json!(status)), "{end}");
    assert_eq!(end["code"].as_str().unwrap_or_default(), code, "{end}");
    let place = ["tenant", "space", "domain", "host"].map(|name| end[name].as_str());
    assert_eq!(place, ["t1", SPACE, DOMAIN, HOST].map(Some), "{end}");
    let known = !matches!(before, "cf_error" | "cf_timeout");
    assert_eq!(end["route"].is_string(), known, "{end}");
    assert!(end["upstream_request_id"].is_string() && end["took_ms"].is_f64(), "{end}");
    lines.iter().for_each(assert_complete);
}

#[tokio::test]
async fn a_mutation_of_a_disconnected_caller_has_its_outcome() {
    let sandbox = sandbox().await;
    let mut audited_program = AuditedProgram::start(&entry(&sandbox)).await;
    let (base, token) = (audited_program.base.clone(), sandbox.provider_token());
    assert_eq!(
        audited_program.ask(Method::PUT, "/routes/t0", &token, &route_request()).await.0,
        201
    );
    pull(&sandbox, "latency", &json!({"part": "cf", "ms": 700}));
    let body = json!({"subdomain": "beta", "app": APP}).to_string();
    let request = client().put(format!("{base}/routes/t1")).bearer_auth(&token).body(body);
    let request = request.header("content-type", "application/json");
    let request = request.header("x-correlationid", "left-1").timeout(Duration::from_millis(300));
    request.send().await.unwrap_err();
    let is_end = |line: &Value| line["correlation_id"] == "left-1" && line["outcome"].is_string();
    audited_program.program.wait_for(|line| Some(parse(line)).filter(is_end)).await;
    let lines = audited_program.audited("left-1");
    let (phases, end) = phases_and_outcome(&lines);
    assert_eq!((phases, &end["outcome"]), (vec!["intent", "outcome"], &json!("created")));
    assert!(end["upstream_request_id"].is_string(), "{end}");
}

#[tokio::test]
async fn a_delete_for_a_put_has_an_intent_before_it_is_sent() {
    let sandbox = sandbox().await;
    let mut audited_program = AuditedProgram::start(&entry(&sandbox)).await;
    let token = sandbox.provider_token();
    // The map is refused, the route is rolled back, and CF never answers the delete.
    fail(&sandbox, MAP, "fail_next", 403);
    pull(&sandbox, "hang", &json!({"part": "cf", "n": 1, "only": "DELETE /v3/routes/"}));
    let (_, lines) = audited_program.ask(Method::PUT, "/routes/t1", &token, &route_request()).await;
    let id = lines[0]["correlation_id"].as_str().unwrap().to_owned();
    let sent = || {
        let journal = sandbox.journal();
        journal.iter().any(|entry| entry.method == "DELETE" && entry.path.starts_with("/v3/routes"))
    };
    until("the delete was sent", sent).await;
    let lines = audited_program.audited(&id);
    let intent = lines.iter().find(|line| line["action"] == "take_back");
    let intent = intent.unwrap_or_else(|| panic!("no intent: {lines:#?}"));
    let place = ["phase", "host", "domain"].map(|name| intent[name].as_str());
    assert_eq!(place, ["intent", HOST, DOMAIN].map(Some), "{intent}");
    assert!(intent["route"].is_string(), "{intent}");
}

#[tokio::test]
async fn every_item_of_a_batch_has_its_outcome() {
    let sandbox = sandbox().await;
    let mut audited_program = AuditedProgram::start(&entry(&sandbox)).await;
    let items = json!({"items": [
        {"op": "ensure", "tenantId": "t1", "subdomain": "acme"},
        {"op": "ensure", "tenantId": "t2"},
        {"op": "nothing", "tenantId": "t3"},
    ]});
    let token = sandbox.provider_token();
    let (status, lines) =
        audited_program.ask(Method::POST, "/routes/batch", &token, &items.to_string()).await;
    assert_eq!(status, 200, "{lines:#?}");
    let outcomes = lines.iter().filter(|line| line["phase"] == "outcome");
    let mut sorted: Vec<_> = outcomes
        .map(|line| {
            let [action, outcome] = ["action", "outcome"].map(|name| line[name].as_str().unwrap());
            (action, outcome, line["status"].as_u64())
        })
        .collect();
    sorted.sort_unstable();
    let refused = ("batch", "bad_request", Some(400));
    assert_eq!(sorted, [refused, refused, ("ensure", "created", Some(201))]);
}

/// Request, body, client, status, outcome, code, phases. `ROUTE` is a route of the caller.
type Row = (
    &'static str,
    &'static str,
    &'static [&'static str],
    u16,
    &'static str,
    &'static str,
    &'static [&'static str],
);

const ALL: &[&str] = &["Api.Proxy", "Routes.Write"];
const ONE: &[&str] = &["outcome"];
const BOTH: &[&str] = &["intent", "outcome"];
const DENIED: &str = "denied_by_policy";

const ROWS: &[Row] = &[
    ("POST /v3/roles", "{}", ALL, 403, "denied", DENIED, ONE),
    ("POST /v3/routes", "NEW", &["Api.Proxy"], 403, "denied", "forbidden_scope", ONE),
    ("POST /v3/routes", "{}", ALL, 400, "denied", "bad_request", ONE),
    ("POST /v3/routes", "ELSEWHERE", ALL, 403, "denied", DENIED, ONE),
    ("DELETE /v3/routes/FOREIGN", "", ALL, 403, "denied", DENIED, ONE),
    ("DELETE /v3/routes/UNKNOWN_GUID", "", ALL, 404, "refused", "", ONE),
    ("POST /v3/routes", "NEW", ALL, 201, "done", "", BOTH),
    ("POST /v3/routes", "NEW", ALL, 422, "refused", "", BOTH),
    ("POST /v3/routes/ROUTE/destinations", "APP", ALL, 200, "done", "", BOTH),
    ("DELETE /v3/routes/ROUTE", "", ALL, 202, "done", "", BOTH),
];

#[tokio::test]
async fn a_write_through_v3_has_exactly_one_outcome() {
    let sandbox = sandbox().await;
    let mut audited_program = AuditedProgram::start(&entry(&sandbox)).await;
    let foreign = sandbox.world().take_host("other-saas-approuter", DOMAIN, "other").unwrap();
    let domain = domain(&sandbox, &mut audited_program).await;
    let app = sandbox.world().apps().into_iter().find(|app| app.name == APP).unwrap().guid;
    let create = |space: &str| {
        let to = |guid: &str| json!({"data": {"guid": guid}});
        json!({"host": HOST, "relationships": {"space": to(space), "domain": to(&domain)}})
            .to_string()
    };
    for (request, body, scopes, status, outcome, code, phases) in ROWS {
        let routes = sandbox.world().routes();
        let route = routes.iter().find(|route| route.host == HOST).map(|route| route.guid.clone());
        let request = request.replace("ROUTE", &route.unwrap_or_default());
        let request = request.replace("FOREIGN", &foreign).replace("UNKNOWN_GUID", UNKNOWN_GUID);
        let (method, path) = request.split_once(' ').unwrap();
        let body = match *body {
            "NEW" => create(SPACE),
            "ELSEWHERE" => create(UNKNOWN_GUID),
            "APP" => json!({"destinations": [{"app": {"guid": app}}]}).to_string(),
            other => other.to_owned(),
        };
        let token = sandbox.caller_token(CLIENT, scopes);
        let (got, lines) = audited_program.ask(method.parse().unwrap(), path, &token, &body).await;
        let (seen, end) = phases_and_outcome(&lines);
        assert_eq!((got, seen.as_slice()), (*status, *phases), "{request}: {lines:#?}");
        let facts = (&end["outcome"], end["code"].as_str().unwrap_or_default(), &end["status"]);
        assert_eq!(facts, (&json!(outcome), *code, &json!(status)), "{request}: {end}");
        let upstream = *outcome != "denied" || path.ends_with(&foreign);
        assert_eq!(end["upstream_request_id"].is_string(), upstream, "{request}: {end}");
        lines.iter().for_each(assert_complete);
    }
}

#[tokio::test]
async fn a_write_through_v3_that_cf_does_not_answer_has_its_outcome() {
    let sandbox = sandbox().await;
    let mut audited_program = AuditedProgram::start(&entry(&sandbox)).await;
    let domain = domain(&sandbox, &mut audited_program).await;
    fail(&sandbox, CREATE, "cut", 0);
    let to = |guid: &str| json!({"data": {"guid": guid}});
    let body = json!({"host": HOST, "relationships": {"space": to(SPACE), "domain": to(&domain)}});
    let token = sandbox.caller_token(CLIENT, ALL);
    let (status, lines) =
        audited_program.ask(Method::POST, "/v3/routes", &token, &body.to_string()).await;
    let (phases, end) = phases_and_outcome(&lines);
    assert_eq!((status, phases), (502, vec!["intent", "outcome"]), "{lines:#?}");
    assert_eq!((&end["outcome"], &end["host"]), (&json!("cf_unavailable"), &json!(HOST)));
    assert_eq!((&end["space"], &end["domain"]), (&json!(SPACE), &json!(domain)), "{end}");
}

/// The guid of the shared domain, as the proxy shows it.
async fn domain(sandbox: &Sandbox, audited_program: &mut AuditedProgram) -> String {
    let token = sandbox.caller_token(CLIENT, ALL);
    let url = format!("{}/v3/domains?names={DOMAIN}", audited_program.base);
    let got = crate::support::answer(client().get(url).bearer_auth(token)).await;
    got.json()["resources"][0]["guid"].as_str().unwrap().to_owned()
}
