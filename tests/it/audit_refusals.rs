//! Refused mutations write an audit line. Reads and unknown callers write none.

use std::collections::BTreeMap;

use cfapi_sandbox::{Part, Sandbox};
use http::Method;
use rstest::rstest;
use serde_json::{Value, json};

use crate::support::{APP, TestBroker, audited_program::AuditedProgram, sandbox, variables};

const SPACE: &str = "4d57c4e2-59ab-4b1f-a6f1-e18e43abcd3a";

fn entry(sandbox: &Sandbox) -> BTreeMap<String, String> {
    let mut variables = variables(sandbox);
    let entry = json!([{"client_ids": ["sb-bookshop!t4711"], "space": SPACE, "apps": [APP]}]);
    variables.insert("CFAPI_PROVIDERS".to_owned(), entry.to_string());
    variables
}

fn one(lines: &[Value]) -> &Value {
    assert_eq!(lines.len(), 1, "{lines:?}");
    &lines[0]
}

/// Request, client, body, status, path template, code. `BODY` stands for a valid body.
type Row = (&'static str, &'static str, &'static str, u16, &'static str, &'static str);

const READER: &str = "sb-reader!t1";
const WRITER: &str = "sb-bookshop!t4711";
const TENANT: &str = "/routes/{tenant}";
const RETRY: &str = "/destinations/{name}/retry";

const REFUSED: &[Row] = &[
    ("PUT /routes/t1", READER, "BODY", 403, TENANT, "forbidden_scope"),
    ("DELETE /routes/t1", READER, "", 403, TENANT, "forbidden_scope"),
    ("POST /routes", READER, "{}", 403, "/routes", "forbidden_scope"),
    ("POST /routes/batch", READER, "{}", 403, "/routes/batch", "forbidden_scope"),
    ("POST /routes/reconcile", READER, "{}", 403, "/routes/reconcile", "forbidden_scope"),
    ("POST /destinations/CFAPI/retry", WRITER, "", 403, RETRY, "forbidden_scope"),
    ("PUT /routes/t1", WRITER, "{", 400, TENANT, "bad_request"),
    ("PUT /routes/t1", WRITER, "{}", 400, TENANT, "bad_request"),
    ("PUT /routes/t1?x=1", WRITER, "BODY", 400, TENANT, "bad_request"),
    ("DELETE /routes/operations", WRITER, "", 400, TENANT, "bad_request"),
];

#[tokio::test]
async fn a_mutation_that_is_refused_before_it_starts_writes_one_line_with_caller_and_reason() {
    let sandbox = sandbox().await;
    let mut audited_program = AuditedProgram::start(&entry(&sandbox)).await;
    for (request, client, body, status, template, code) in REFUSED {
        let (method, path) = request.split_once(' ').unwrap();
        let scope = if *client == READER { "Routes.Read" } else { "Routes.Write" };
        let token = sandbox.caller_token(client, &[scope]);
        let body = match *body {
            "BODY" => json!({"subdomain": "acme", "app": APP}).to_string(),
            other => other.to_owned(),
        };
        let (got, lines) = audited_program.ask(method.parse().unwrap(), path, &token, &body).await;
        let line = one(&lines);
        assert_eq!(got, *status, "{request}: {line}");
        let fields = ["phase", "outcome", "action", "code", "caller", "subject", "zone", "path"];
        let fields = fields.map(|field| line[field].as_str().unwrap_or_default().to_owned());
        let action = format!("{method} {template}");
        let path = path.split('?').next().unwrap();
        let zone = sandbox.zone_id();
        assert_eq!(
            fields,
            ["outcome", "denied", &action, code, client, client, zone, path],
            "{line}"
        );
        assert_eq!(line["status"], *status);
        assert_eq!(line["token_hash"].as_str().map(str::len), Some(64));
    }
}

#[tokio::test]
async fn a_mutation_that_the_policy_refuses_has_the_outcome_denied_and_a_code() {
    let sandbox = sandbox().await;
    let mut audited_program = AuditedProgram::start(&entry(&sandbox)).await;
    let stranger = sandbox.caller_token("sb-stranger!t1", &["Routes.Write"]);
    let provider = sandbox.provider_token();
    let body_of = |app: &str, domain: Option<&str>| {
        json!({"subdomain": "a", "app": app, "domain": domain}).to_string()
    };
    let cases = [
        (Method::PUT, "/routes/t1", &stranger, body_of(APP, None), "forbidden_provider"),
        (Method::DELETE, "/routes/t1", &stranger, String::new(), "forbidden_provider"),
        (Method::PUT, "/routes/t1", &provider, body_of("another-app", None), "forbidden_app"),
        (
            Method::PUT,
            "/routes/t1",
            &provider,
            body_of(APP, Some("far.example")),
            "forbidden_domain",
        ),
        (
            Method::PUT,
            "/routes/t1?on_behalf_of=x",
            &provider,
            body_of(APP, None),
            "forbidden_scope",
        ),
    ];
    for (method, path, token, body, code) in cases {
        let (status, lines) = audited_program.ask(method, path, token, &body).await;
        assert_eq!(status, 403, "{lines:?}");
        let phases: Vec<_> = lines.iter().map(|line| line["phase"].as_str().unwrap()).collect();
        assert_eq!(phases, ["intent", "outcome"]);
        assert_eq!((&lines[1]["outcome"], &lines[1]["code"]), (&json!("denied"), &json!(code)));
    }
}

#[tokio::test]
async fn reads_unknown_callers_and_started_mutations_write_no_denied_line() {
    let sandbox = sandbox().await;
    let mut audited_program = AuditedProgram::start(&entry(&sandbox)).await;
    let reader = sandbox.caller_token("sb-reader!t1", &["Spaces.Read"]);
    let put_body = json!({"subdomain": "acme", "app": APP}).to_string();
    for (method, path, token, status) in [
        (Method::GET, "/routes", reader.as_str(), 403),
        (Method::GET, "/routes/t1", reader.as_str(), 403),
        (Method::PUT, "/routes/t1", "a.b.c", 401),
        (Method::PATCH, "/routes/t1", reader.as_str(), 405),
    ] {
        let body = if method == Method::GET { "" } else { put_body.as_str() };
        assert_eq!(
            audited_program.ask(method, path, token, body).await,
            (status, Vec::new()),
            "{path}"
        );
    }
    let (status, lines) =
        audited_program.ask(Method::PUT, "/routes/t1", &sandbox.provider_token(), &put_body).await;
    assert_eq!(status, 201);
    let outcomes: Vec<_> = lines.iter().filter_map(|line| line["outcome"].as_str()).collect();
    assert_eq!(outcomes, ["created"]);
}

#[rstest]
#[case::list("GET", "/routes", json!(null))]
#[case::read("GET", "/routes/t1", json!(null))]
#[case::operation("GET", "/routes/operations/abc", json!(null))]
#[case::ensure("PUT", "/routes/t1", json!({"subdomain": "acme", "app": APP}))]
#[case::create("POST", "/routes", json!({"tenantId": "t1", "subdomain": "acme", "app": APP}))]
#[case::remove("DELETE", "/routes/t1", json!(null))]
#[case::reconcile("POST", "/routes/reconcile", json!({"tenants": [{"tenantId": "t1", "subdomain": "acme", "app": APP}]}))]
#[tokio::test]
async fn acting_for_another_owner_needs_the_admin_scope(
    #[case] method: &str,
    #[case] path: &str,
    #[case] body: Value,
) {
    let sandbox = sandbox().await;
    let broker = TestBroker::with(entry(&sandbox)).await;
    sandbox.clear_journal();
    let all = ["Routes.Read", "Routes.Write", "Spaces.Read", "Api.Proxy", "Metrics.Read"];
    let token = sandbox.caller_token("sb-other!t1", &all);
    let (method, body) =
        (method.parse::<Method>().unwrap(), Some(&body).filter(|body| !body.is_null()));
    let path = format!("{path}?on_behalf_of=sb-bookshop!t4711");
    let got = broker.send(method.clone(), &path, Some(&token), body).await;
    assert_eq!((got.status, got.code().as_str()), (403, "forbidden_scope"), "{}", got.text);
    assert_eq!(
        got.headers["www-authenticate"],
        r#"Bearer realm="cfapi-broker", error="insufficient_scope""#
    );
    let writes = sandbox.journal().into_iter().filter(|one| one.part == Part::Cf);
    assert_eq!(writes.filter(|one| one.method != "GET").count(), 0);
    let admin = sandbox.caller_token("sb-other!t1", &[&all[..], &["Routes.Admin"]].concat());
    let got = broker.send(method, &path, Some(&admin), body).await;
    assert!(got.status < 300 || got.status == 404, "{}", got.text);
}

#[tokio::test]
async fn in_a_batch_for_another_owner_each_item_is_refused_without_the_admin_scope() {
    let sandbox = sandbox().await;
    let broker = TestBroker::with(entry(&sandbox)).await;
    let token = sandbox.caller_token("sb-other!t1", &["Routes.Write"]);
    let ensure = json!({"op": "ensure", "tenantId": "t1", "subdomain": "acme", "app": APP});
    let items = json!({"items": [ensure, {"op": "remove", "tenantId": "t2"}]});
    let path = "/routes/batch?on_behalf_of=sb-bookshop!t4711";
    let got = broker.send(Method::POST, path, Some(&token), Some(&items)).await.json();
    for item in got["results"].as_array().unwrap() {
        assert_eq!(
            (&item["status"], &item["problem"]["code"]),
            (&json!(403), &json!("forbidden_scope"))
        );
    }
    assert_eq!(got["results"].as_array().unwrap().len(), 2);
    let writes = sandbox.journal().into_iter().filter(|one| one.part == Part::Cf);
    assert_eq!(writes.filter(|one| one.method != "GET").count(), 0);
}
