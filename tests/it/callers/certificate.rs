//! Tokens that are bound to a client certificate, and scopes that are restricted to some clients.

use std::collections::BTreeMap;

use aws_lc_rs::digest::{SHA256, digest};
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE, URL_SAFE_NO_PAD},
};
use cfapi_sandbox::Sandbox;
use http::Method;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};

use super::{PATH, TokenIssuer};
use crate::support::{TestBroker, answer, client, sandbox, variables};

const OWN: &[u8] = b"\x30\x82\x03\x01the caller's certificate in DER, as far as it is read here";
const OTHER: &[u8] = b"\x30\x82\x03\x01another caller's certificate";
const HOST: &str = "broker.cert.cfapps.example.test";

/// All hosts that the broker accepts here. It refuses others before it reads a certificate.
const NAMES: &str =
    "broker.cert.cfapps.example.test,broker.cfapps.example.test,x.broker.cert.cfapps.example.test";

fn pem(der: &[u8], line_break: &str) -> String {
    let text = STANDARD.encode(der);
    format!("-----BEGIN CERTIFICATE-----{line_break}{text}{line_break}-----END CERTIFICATE-----")
}

fn envoy(der: &[u8]) -> String {
    format!("Hash=00ff;Cert=\"{}\"", utf8_percent_encode(&pem(der, "\n"), NON_ALPHANUMERIC))
}

fn bound_to(der: &[u8]) -> Value {
    json!({"cnf": {"x5t#S256": URL_SAFE_NO_PAD.encode(digest(&SHA256, der))}})
}

fn with_certificates_required(sandbox: &Sandbox) -> BTreeMap<String, String> {
    let mut variables = variables(sandbox);
    variables.insert("CFAPI_SERVER__NAMES".to_owned(), NAMES.to_owned());
    variables.insert("CFAPI_AUTH__REQUIRE_MTLS".to_owned(), "true".to_owned());
    variables.insert("CFAPI_AUTH__CERT_HOSTS".to_owned(), format!("other.example.test,{HOST}"));
    variables
}

async fn status(broker: &TestBroker, token: &str, host: &str, shown: &[&str]) -> u16 {
    let request = client().get(format!("{}{PATH}", broker.base)).bearer_auth(token);
    let request = request.header("host", host);
    let add = |request: reqwest::RequestBuilder, value: &&str| {
        request.header("x-forwarded-client-cert", *value)
    };
    answer(shown.iter().fold(request, add)).await.status
}

#[tokio::test]
async fn a_bound_token_is_accepted_with_its_certificate_on_the_right_host_only() {
    let sandbox = sandbox().await;
    let broker = TestBroker::with(with_certificates_required(&sandbox)).await;
    let issuer = TokenIssuer::of(&sandbox);
    let token =
        |changes: &Value| issuer.claims("", 0, changes).authorization[0].replace("Bearer ", "");
    let bound = token(&bound_to(OWN));
    let (flat, blanks, joined) = (STANDARD.encode(OWN), pem(OWN, " "), pem(OWN, ""));
    let two = |first: &[u8], last: &[u8]| format!("{},{}", envoy(first), envoy(last));
    let without = format!("{},Hash=00ff", envoy(OWN));
    let (own, other, good, bad) = (envoy(OWN), envoy(OTHER), two(OTHER, OWN), two(OWN, OTHER));
    let shown: [(&str, &str, &[&str], u16); 15] = [
        ("flat", HOST, &[&flat], 200),
        ("PEM with blanks", HOST, &[&blanks], 200),
        ("PEM joined", HOST, &[&joined], 200),
        ("Envoy", HOST, &[&own], 200),
        ("two elements, the last is right", HOST, &[&good], 200),
        ("host in capital letters", "BROKER.CERT.cfapps.example.test", &[&own], 200),
        ("two elements, the last is wrong", HOST, &[&bad], 401),
        ("two elements, the last has none", HOST, &[&without], 401),
        ("another certificate", HOST, &[&other], 401),
        ("no header", HOST, &[], 401),
        ("garbage", HOST, &["garbage"], 401),
        ("two headers", HOST, &[&own, &own], 401),
        ("on a host that is not the router's", "broker.cfapps.example.test", &[&own], 401),
        ("on a longer host", "x.broker.cert.cfapps.example.test", &[&own], 401),
        ("on a host with a port", "broker.cert.cfapps.example.test:443", &[&own], 401),
    ];
    for (name, host, values, expected) in shown {
        assert_eq!(status(&broker, &bound, host, values).await, expected, "{name}");
    }
    let hash = digest(&SHA256, OWN);
    let hex = format!("{:064x}", 1);
    let tokens = [
        ("bound to another", bound_to(OTHER)),
        ("no cnf", json!({})),
        ("empty cnf", json!({"cnf": {}})),
        ("padded thumbprint", json!({"cnf": {"x5t#S256": URL_SAFE.encode(hash)}})),
        ("thumbprint of another form", json!({"cnf": {"x5t#S256": hex}})),
        ("thumbprint empty", json!({"cnf": {"x5t#S256": ""}})),
        ("thumbprint of another name", json!({"cnf": {"x5t": URL_SAFE_NO_PAD.encode(hash)}})),
        ("thumbprint a list", json!({"cnf": {"x5t#S256": [URL_SAFE_NO_PAD.encode(hash)]}})),
        ("cnf a text", json!({"cnf": URL_SAFE_NO_PAD.encode(hash)})),
    ];
    for (name, changes) in tokens {
        assert_eq!(status(&broker, &token(&changes), HOST, &[&own]).await, 401, "{name}");
    }
    assert_eq!(status(&broker, &bound, HOST, &[&own]).await, 200, "still");
}

#[tokio::test]
async fn without_the_setting_certificates_are_neither_required_nor_read() {
    let sandbox = sandbox().await;
    let mut variables = variables(&sandbox);
    variables.insert("CFAPI_SERVER__NAMES".to_owned(), NAMES.to_owned());
    let broker = TestBroker::with(variables).await;
    let token = sandbox.developer_token();
    assert_eq!(status(&broker, &token, HOST, &[&envoy(OTHER)]).await, 200);
    assert_eq!(status(&broker, &token, HOST, &["garbage", "garbage"]).await, 200);
}

#[tokio::test]
async fn a_pinned_scope_is_only_for_the_listed_clients() {
    let sandbox = sandbox().await;
    let mut variables = variables(&sandbox);
    let pins = "sb-first!t1, sb-second!t1".to_owned();
    variables.insert("CFAPI_AUTH__PINS__SPACES_READ".to_owned(), pins);
    let broker = TestBroker::with(variables).await;
    let call = async |caller: &str, scope: &str, path: &str| {
        let token = sandbox.caller_token(caller, &[scope]);
        let got = broker.send(Method::GET, path, Some(&token), None).await;
        (got.status, got.headers.contains_key("www-authenticate"))
    };
    assert_eq!(call("sb-first!t1", "Spaces.Read", PATH).await, (200, false));
    assert_eq!(call("sb-second!t1", "Spaces.Read", PATH).await, (200, false));
    assert_eq!(call("sb-third!t1", "Spaces.Read", PATH).await, (403, true));
    assert_eq!(
        call("sb-second!t1", "Routes.Read", PATH).await,
        (403, true),
        "a pin grants nothing"
    );
    assert_eq!(call("sb-third!t1", "Routes.Read", "/routes/t1").await, (404, false));
}

#[tokio::test]
async fn required_certificates_without_a_host_are_a_startup_error() {
    let sandbox = sandbox().await;
    let mut variables = with_certificates_required(&sandbox);
    variables.remove("CFAPI_AUTH__CERT_HOSTS");
    let snapshot = cfapi_broker::config::env::EnvSnapshot::from_vars(variables);
    let problems = cfapi_broker::config::load(&snapshot, &cfapi_broker::config::Flags::default());
    assert!(problems.unwrap_err().to_string().contains("auth.cert_hosts"));
}
