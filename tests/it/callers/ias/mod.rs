//! IAS as the second issuer, over HTTP: a corpus of tokens, scopes, owners of routes, bindings and
//! settings. All cases of the issuer rule are in `src/auth/ias/domains/tests.rs`.

mod keys;
mod pressure;

use std::collections::{BTreeMap, HashSet};

use cfapi_broker::{
    app::Broker,
    config::{self, Flags, env::EnvSnapshot},
};
use cfapi_sandbox::{
    IAS_BROKER_CLIENT, IAS_PROVIDER_CLIENT, IAS_SECOND_CLIENT, IAS_SECOND_TENANT, IAS_TENANT,
    PROVIDER_CLIENT, Part, Sandbox, token::key::SigningKey,
};
use http::Method;
use serde_json::{Value, json};

use super::{Case, PATH, Results, decoded, send_all, set, split};
use crate::support::{APP, TestBroker, parse, process::Program, sandbox, variables, variables_of};

/// The API of the valid token. It grants Spaces.Read.
const API: &str = "look";

/// Variables of a broker with both issuers. `more` is for the section `[auth.ias]`.
fn both(sandbox: &Sandbox, more: &[(&str, &str)]) -> BTreeMap<String, String> {
    let services = sandbox.vcap_services_with_identity();
    let mut variables = variables_of(&services, &sandbox.vcap_application("127.0.0.1"));
    let valid = [("ENABLED", "true"), ("APIS__SPACES_READ", API)];
    let settings = valid.iter().chain(more);
    variables.extend(
        settings.map(|(key, value)| (format!("CFAPI_AUTH__IAS__{key}"), (*value).to_owned())),
    );
    variables
}

async fn broker(sandbox: &Sandbox, more: &[(&str, &str)]) -> TestBroker {
    TestBroker::with(both(sandbox, more)).await
}

/// The valid token of a client. It may read destinations.
fn token(sandbox: &Sandbox, client: &str) -> String {
    sandbox.ias_token(client, &json!({"ias_apis": [API]}))
}

fn good(sandbox: &Sandbox) -> String {
    token(sandbox, IAS_PROVIDER_CLIENT)
}

fn asked(sandbox: &Sandbox, path: &str) -> usize {
    let journal = sandbox.journal().into_iter().filter(|entry| entry.part == Part::Ias);
    journal.filter(|entry| entry.path == path).count()
}

fn fetches(sandbox: &Sandbox) -> usize {
    asked(sandbox, "/oauth2/certs")
}

/// One changed claim each. `ISSUER`, `HOST`, `TENANT`, `OWN` and `CLIENT` stand for those of the
/// landscape, `@+5` for a time.
const ROWS: &[(&str, u16, &str, &str)] = &[
    ("issuer without scheme", 200, "iss", r#""HOST""#),
    ("issuer that is ours, in both claims", 200, "ias_iss", r#""ISSUER""#),
    ("no ias issuer of a trusted domain", 401, "ias_iss", r#""https://login.attacker.example""#),
    ("issuer of another host", 401, "iss", r#""https://t.attacker.example""#),
    ("issuer with a path", 401, "iss", r#""ISSUER/oauth/token""#),
    ("issuer with a slash", 401, "iss", r#""ISSUER/""#),
    ("issuer with a query", 401, "iss", r#""ISSUER?redirect=https://evil.example""#),
    ("issuer with a fragment", 401, "iss", r#""ISSUER#x""#),
    ("issuer with an escape", 401, "iss", r#""ISSUER%2f""#),
    ("issuer with user", 401, "iss", r#""http://user@HOST""#),
    ("issuer that contains ours", 401, "iss", r#""https://evil.example///ISSUER""#),
    ("issuer before an at sign", 401, "iss", r#""ISSUER@evil.example""#),
    ("issuer with a longer port", 401, "iss", r#""ISSUER0""#),
    ("issuer with a tab", 401, "iss", "\"ISSUER\\t\""),
    ("issuer empty", 401, "iss", r#""""#),
    ("issuer a list", 401, "iss", r#"["ISSUER"]"#),
    ("issuer a number", 401, "iss", "7"),
    ("no issuer", 401, "iss", ""),
    ("ias issuer a list", 401, "ias_iss", r#"["ISSUER"]"#),
    ("ias issuer a number", 401, "ias_iss", "1"),
    ("ias issuer null", 401, "ias_iss", "null"),
    ("ias issuer empty", 401, "ias_iss", r#""""#),
    ("audience a text", 200, "aud", r#""OWN""#),
    ("audience among others", 200, "aud", r#"["x","OWN"]"#),
    ("audience a part", 401, "aud", r#"["OWN.data"]"#),
    ("audience of the caller", 401, "aud", r#"["CLIENT"]"#),
    ("audience in upper case", 401, "aud", r#"["3F8A1C52-0001-4C9E-8F55-2F1D2A2E8C77"]"#),
    ("audience empty", 401, "aud", "[]"),
    ("no audience", 401, "aud", ""),
    ("audience a number", 401, "aud", "1"),
    ("tenant of a subscriber", 401, "app_tid", r#""9a6f1b20-0002-4711-8899-aabbccddeeff""#),
    ("tenant with a blank", 401, "app_tid", r#""TENANT ""#),
    ("tenant with a line break", 401, "app_tid", r#""TENANT\r\nx-azp: y""#),
    ("tenant empty", 401, "app_tid", r#""""#),
    ("no tenant", 401, "app_tid", ""),
    ("tenant a list", 401, "app_tid", r#"["TENANT"]"#),
    ("tenant by both names", 200, "zone_uuid", r#""TENANT""#),
    ("tenant by two names", 401, "zone_uuid", r#""9a6f1b20-0002-4711-8899-aabbccddeeff""#),
    ("no azp", 200, "azp", ""),
    ("azp that IAS does not know", 401, "azp", r#""unknown""#),
    ("azp with a line break", 401, "azp", r#""CLIENT\r\nx-app_tid: y""#),
    ("azp beyond ASCII", 401, "azp", r#""CLIENTé""#),
    ("azp empty", 401, "azp", r#""""#),
    ("azp a list", 401, "azp", r#"["CLIENT"]"#),
    ("exp 50 s ago", 200, "exp", "@-50"),
    ("exp 70 s ago", 401, "exp", "@-70"),
    ("exp in two days", 401, "exp", "@172800"),
    ("exp a text", 401, "exp", r#""4102444800""#),
    ("no exp", 401, "exp", ""),
    ("nbf in 50 s", 200, "nbf", "@50"),
    ("nbf in two minutes", 401, "nbf", "@120"),
    ("iat in two minutes", 401, "iat", "@120"),
    ("refresh token", 401, "jti", r#""0815-r""#),
    ("logout token", 401, "events", "{}"),
    ("user", 200, "user_uuid", r#""0d3f1a52""#),
    ("user a number", 401, "user_uuid", "7"),
    ("apis a text", 200, "ias_apis", r#""look""#),
    ("apis of another name", 403, "ias_apis", r#"["LOOK","look "]"#),
    ("apis empty", 403, "ias_apis", "[]"),
    ("no apis", 403, "ias_apis", ""),
    (
        "apis named like a scope",
        403,
        "ias_apis",
        r#"["Spaces.Read","cfapi-broker!t1.Spaces.Read"]"#,
    ),
    ("apis a number", 401, "ias_apis", "1"),
    ("a scope of XSUAA has no effect", 200, "scope", r#"["x"]"#),
    ("a zone of XSUAA has no effect", 200, "zid", r#""x""#),
];

/// One changed header member each.
const HEADERS: &[(&str, u16, &str, &str)] = &[
    ("ias: no kid", 401, "kid", ""),
    ("ias: other kid", 401, "kid", r#""default-kid""#),
    ("ias: kid of XSUAA", 401, "kid", r#""sandbox-xsuaa-key-1""#),
    ("ias: alg none", 401, "alg", r#""none""#),
    ("ias: alg in lower case", 401, "alg", r#""rs256""#),
    ("ias: HS256", 401, "alg", r#""HS256""#),
    ("ias: crit", 401, "crit", r#"["exp"]"#),
    ("ias: logout token", 401, "typ", r#""logout+jwt""#),
    ("ias: at+jwt", 200, "typ", r#""at+jwt""#),
    ("ias: jku of an attacker ignored", 200, "jku", r#""https://attacker.example/certs""#),
];

fn cases(sandbox: &Sandbox) -> Vec<Case> {
    let [header, claims, _] = split(&good(sandbox)).map(decoded);
    let key = sandbox.ias_key();
    let text = |text: &str| match text.strip_prefix('@') {
        Some(offset) => {
            (claims["iat"].as_i64().unwrap() + offset.parse::<i64>().unwrap()).to_string()
        }
        None => text
            .replace("ISSUER", &sandbox.ias_url())
            .replace("HOST", &sandbox.ias_domain())
            .replace("TENANT", IAS_TENANT)
            .replace("OWN", IAS_BROKER_CLIENT)
            .replace("CLIENT", IAS_PROVIDER_CLIENT),
    };
    let rows = ROWS.iter().map(|(name, status, claim, value)| {
        let mut claims = claims.clone();
        set(&mut claims, claim, &text(value));
        Case::token(name, *status, &key.sign_with(&header, &claims))
    });
    let headers = HEADERS.iter().map(|(name, status, member, value)| {
        let mut header = header.clone();
        set(&mut header, member, value);
        Case::token(name, *status, &key.sign_with(&header, &claims))
    });
    rows.chain(headers).chain(whole(sandbox)).chain(crossed(sandbox)).collect()
}

/// Tokens with several changes.
fn whole(sandbox: &Sandbox) -> Vec<Case> {
    let [header, claims, _] = split(&good(sandbox)).map(decoded);
    let by = |key: &SigningKey| key.sign_with(&header, &claims);
    let custom = json!({"iss": "https://login.customer.example", "ias_iss": sandbox.ias_url(),
        "ias_apis": [API]});
    let cases = [
        ("ias: valid", 200, good(sandbox)),
        ("ias: valid, second client", 200, token(sandbox, IAS_SECOND_CLIENT)),
        ("ias: custom domain", 200, sandbox.ias_token(IAS_PROVIDER_CLIENT, &custom)),
        ("ias: foreign key under our name", 401, by(&SigningKey::first("foreign"))),
        ("ias: key of XSUAA", 401, by(&sandbox.xsuaa_key())),
    ];
    cases.map(|(name, status, token)| Case::token(name, status, &token)).into()
}

/// XSUAA tokens that name IAS as issuer, and the other way round.
fn crossed(sandbox: &Sandbox) -> Vec<Case> {
    let (ias, xsuaa) = (sandbox.ias_key(), sandbox.xsuaa_key());
    let token = sandbox.caller_token(PROVIDER_CLIENT, &["Spaces.Read"]);
    let [valid_header, valid, _] = split(&token).map(decoded);
    let changed = |changes: &Value, key: &SigningKey| {
        let (mut header, mut claims) = (valid_header.clone(), valid.clone());
        claims.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        header["kid"] = json!(key.kid());
        key.sign_with(&header, &claims)
    };
    let [_, mut all, _] = split(&good(sandbox)).map(decoded);
    all["aud"] = json!([IAS_BROKER_CLIENT, sandbox.xsappname()]);
    let url = sandbox.ias_url();
    let issuer = json!({"iss": format!("{}/oauth/token", sandbox.xsuaa_url())});
    let name = json!({"cid": format!("ias:{IAS_TENANT}:{IAS_PROVIDER_CLIENT}")});
    let cases = [
        ("xsuaa: valid", 200, changed(&json!({}), &xsuaa)),
        ("xsuaa: key of IAS", 401, changed(&json!({}), &ias)),
        ("xsuaa: with an IAS issuer", 401, changed(&json!({"ias_iss": url}), &xsuaa)),
        ("xsuaa: with an odd IAS issuer", 401, changed(&json!({"ias_iss": 1}), &xsuaa)),
        ("xsuaa: issued by IAS", 401, changed(&json!({"iss": url}), &xsuaa)),
        ("xsuaa: all claims of IAS, key of XSUAA", 401, changed(&all, &xsuaa)),
        ("ias: issued by XSUAA, key of IAS", 401, changed(&issuer, &ias)),
        ("xsuaa: client called like one of IAS", 401, changed(&name, &xsuaa)),
    ];
    cases.map(|(name, status, token)| Case::token(name, status, &token)).into()
}

#[tokio::test]
async fn each_token_of_the_corpus_gets_the_status_that_it_must() {
    let sandbox = sandbox().await;
    let cases = cases(&sandbox);
    let start = async || broker(&sandbox, &[]).await;
    let Results { faults, refusals, brokers, .. } = send_all(start, &cases).await;
    assert_eq!(faults, Vec::<String>::new());
    assert_eq!(refusals.len(), 1, "all 401 say the same: {refusals:?}");
    // Three callers (one has no azp), one that IAS does not know, and one fetch for the first
    // unknown key of each caller that had a key.
    assert!((4..=6 * brokers).contains(&fetches(&sandbox)), "{}", fetches(&sandbox));
    assert!(asked(&sandbox, "/.well-known/openid-configuration") <= brokers);
    assert!(brokers <= 6, "only unknown key ids: {brokers}");
    let names: HashSet<_> = cases.iter().map(|case| case.name).collect();
    let accepted = cases.iter().filter(|case| case.status == 200).count();
    assert_eq!(names.len(), cases.len());
    assert!(cases.len() >= 80 && accepted >= 18, "{} cases, {accepted} accepted", cases.len());
}

#[tokio::test]
async fn scopes_come_only_from_granted_apis_and_clients() {
    let sandbox = sandbox().await;
    let listed = format!("ias:{IAS_TENANT}:{IAS_SECOND_CLIENT}");
    let elsewhere = format!("ias:{IAS_SECOND_TENANT}:{IAS_PROVIDER_CLIENT}");
    let more = [
        ("APIS__ROUTES_READ", "routes, all"),
        ("CLIENTS__METRICS_READ", listed.as_str()),
        ("CLIENTS__ROUTES_ADMIN", &elsewhere),
    ];
    let broker = broker(&sandbox, &more).await;
    let status = async |client: &str, apis: Value, method: Method, path: &str| {
        let token = sandbox.ias_token(client, &json!({"ias_apis": apis}));
        let got = broker.send(method, path, Some(&token), None).await;
        let challenge =
            got.headers.get("www-authenticate").map(|it| it.to_str().unwrap().to_owned());
        assert_eq!(
            got.status == 403,
            challenge.is_some_and(|it| it.contains("insufficient_scope"))
        );
        got.status
    };
    let (first, second, get) = (IAS_PROVIDER_CLIENT, IAS_SECOND_CLIENT, || Method::GET);
    assert_eq!(status(first, json!(["routes"]), get(), "/routes").await, 200);
    assert_eq!(status(first, json!(["x", "all"]), get(), "/routes").await, 200);
    assert_eq!(status(first, json!(["routes"]), get(), PATH).await, 403);
    assert_eq!(status(first, json!([]), get(), "/routes").await, 403);
    assert_eq!(status(first, Value::Null, get(), "/routes").await, 403);
    assert_eq!(status(second, Value::Null, get(), "/metrics").await, 200);
    assert_eq!(status(second, Value::Null, get(), "/routes").await, 403);
    assert_eq!(status(first, Value::Null, get(), "/metrics").await, 403);
    let retry = "/destinations/CFAPI/retry";
    assert_eq!(status(first, Value::Null, Method::POST, retry).await, 403, "another tenant's");
    assert_eq!(status(second, json!(["routes"]), get(), "/v3/spaces").await, 403);
}

/// Scopes for routes and the proxy.
const ALL: [(&str, &str); 4] = [
    ("APIS__ROUTES_READ", "all"),
    ("APIS__ROUTES_WRITE", "all"),
    ("APIS__API_PROXY", "all"),
    ("TENANTS", IAS_SECOND_TENANT),
];

fn owner(sandbox: &Sandbox, tenant: &str, client: &str) -> String {
    sandbox.ias_token(client, &json!({"ias_apis": ["all"], "app_tid": tenant}))
}

#[tokio::test]
async fn a_client_owns_its_routes_in_its_own_tenant_only() {
    let sandbox = sandbox().await;
    let broker = broker(&sandbox, &ALL).await;
    let one = owner(&sandbox, IAS_TENANT, IAS_PROVIDER_CLIENT);
    let others = [
        owner(&sandbox, IAS_SECOND_TENANT, IAS_PROVIDER_CLIENT),
        owner(&sandbox, IAS_TENANT, IAS_SECOND_CLIENT),
        sandbox.caller_token(IAS_PROVIDER_CLIENT, &["Routes.Read", "Routes.Write"]),
    ];
    let body = json!({"subdomain": "acme", "app": APP});
    assert_eq!(broker.put("/routes/t1", &one, &body).await.status, 201);
    assert_eq!(broker.get("/routes/t1", &one).await.status, 200);
    for other in &others {
        assert_eq!(broker.get("/routes/t1", other).await.code(), "not_found");
        assert!(!broker.get("/routes", other).await.text.contains("acme"));
        let taken = broker.put("/routes/t1", other, &body).await;
        assert_eq!((taken.status, taken.code().as_str()), (409, "host_taken"), "{}", taken.text);
        assert_eq!(broker.delete("/routes/t1", other).await.status, 204);
    }
    assert_eq!(broker.get("/routes/t1", &one).await.status, 200);
    // A token without azp names its client by sub. It is the same owner.
    let bare = json!({"ias_apis": ["all"], "azp": null});
    let bare = sandbox.ias_token(IAS_PROVIDER_CLIENT, &bare);
    assert_eq!(broker.get("/routes/t1", &bare).await.status, 200);
}

#[tokio::test]
async fn a_provider_entry_names_a_caller_of_ias_in_full() {
    let sandbox = sandbox().await;
    let mut variables = both(&sandbox, &ALL);
    let application = parse(&sandbox.vcap_application("127.0.0.1"));
    let entry = json!([{"client_ids": [format!("ias:{IAS_TENANT}:{IAS_PROVIDER_CLIENT}")],
        "owner": "bookshop", "space": application["space_id"], "apps": [APP]}]);
    variables.insert("CFAPI_PROVIDERS".to_owned(), entry.to_string());
    let broker = TestBroker::with(variables).await;
    let body = json!({"subdomain": "acme", "app": APP});
    let put = async |token: &str| broker.put("/routes/t1", token, &body).await;
    let named = put(&owner(&sandbox, IAS_TENANT, IAS_PROVIDER_CLIENT)).await;
    assert_eq!(named.status, 201, "{}", named.text);
    for token in [
        owner(&sandbox, IAS_SECOND_TENANT, IAS_PROVIDER_CLIENT),
        owner(&sandbox, IAS_TENANT, IAS_SECOND_CLIENT),
        sandbox.provider_token(),
    ] {
        assert_eq!(put(&token).await.code(), "forbidden_provider");
    }
}

#[tokio::test]
async fn bound_but_not_enabled_it_is_off() {
    let sandbox = sandbox().await;
    let services = sandbox.vcap_services_with_identity();
    let broker =
        TestBroker::with(variables_of(&services, &sandbox.vcap_application("127.0.0.1"))).await;
    assert_eq!(broker.get(PATH, &good(&sandbox)).await.status, 401);
    assert_eq!(broker.get(PATH, &sandbox.developer_token()).await.status, 200);
    assert!(sandbox.journal().iter().all(|entry| entry.part != Part::Ias));
}

#[tokio::test]
async fn enabled_without_a_binding_it_logs_an_error_and_xsuaa_works() {
    let sandbox = sandbox().await;
    let mut variables = variables(&sandbox);
    variables.insert("CFAPI_AUTH__IAS__ENABLED".to_owned(), "true".to_owned());
    let mut program = Program::start(&[], &variables);
    let base = program.base().await;
    let line = "auth.ias is on without an identity binding: IAS tokens are refused";
    program.wait_for(|text| text.contains(line).then_some(())).await;
    assert!(program.output().contains("bind a service instance of identity"));
    let get = async |token: String| {
        crate::support::answer(
            crate::support::client().get(format!("{base}{PATH}")).bearer_auth(token),
        )
        .await
    };
    assert_eq!(get(sandbox.developer_token()).await.status, 200);
    let refused = get(good(&sandbox)).await;
    assert_eq!((refused.status, refused.code().as_str()), (500, "issuer_not_bound"));
    assert_eq!(refused.json()["retryable"], false);
    assert!(!refused.headers.contains_key("retry-after"));
    assert!(refused.text.contains("Bind a service instance of identity"), "{}", refused.text);
    assert_eq!(get("a.b.c".to_owned()).await.status, 401);
}

#[tokio::test]
async fn it_may_be_the_only_issuer() {
    let sandbox = sandbox().await;
    let mut variables = both(&sandbox, &[]);
    let mut services = parse(&variables["VCAP_SERVICES"]);
    services.as_object_mut().unwrap().remove("xsuaa");
    variables.insert("VCAP_SERVICES".to_owned(), services.to_string());
    let broker = TestBroker::with(variables).await;
    assert_eq!(broker.get(PATH, &good(&sandbox)).await.status, 200);
    assert_eq!(broker.get(PATH, &sandbox.developer_token()).await.status, 401);
    let ready = broker.send(Method::GET, "/health/ready", None, None).await;
    assert_eq!(ready.json()["parts"]["keys"], "ok", "{}", ready.text);
}

/// Starts a broker whose identity binding has other `domains`. Returns the error text if it does
/// not start.
async fn with_domains(
    sandbox: &Sandbox,
    domains: Value,
    enabled: &str,
) -> Result<TestBroker, String> {
    let mut variables = both(sandbox, &[("ENABLED", enabled)]);
    let mut services = parse(&variables["VCAP_SERVICES"]);
    services["identity"][0]["credentials"]["domains"] = domains;
    variables.insert("VCAP_SERVICES".to_owned(), services.to_string());
    let snapshot = EnvSnapshot::from_vars(variables.clone());
    let loaded = config::load(&snapshot, &Flags::default()).unwrap();
    match Broker::build(loaded.settings, &snapshot).await {
        Ok(_) => Ok(TestBroker::with(variables).await),
        Err(error) => Err(error.to_string()),
    }
}

#[tokio::test]
async fn domains_may_be_a_list_or_its_text_and_an_empty_list_trusts_no_issuer() {
    let sandbox = sandbox().await;
    let own = sandbox.ias_domain();
    let text = format!("[\"accounts.example.test\",\"{own}\"]");
    for (domains, expected) in [
        (json!([own]), 200),
        (json!(["accounts.example.test", own]), 200),
        (json!(text), 200),
        (json!([]), 500),
        (json!("[]"), 500),
        (json!(["accounts.example.test"]), 401),
    ] {
        let broker = with_domains(&sandbox, domains.clone(), "true").await.unwrap();
        assert_eq!(broker.get(PATH, &good(&sandbox)).await.status, expected, "{domains}");
        assert_eq!(broker.get(PATH, &sandbox.developer_token()).await.status, 200);
    }
    for domains in [Value::Null, json!(own), json!(7)] {
        let problems = with_domains(&sandbox, domains.clone(), "true").await.err().unwrap();
        assert!(problems.contains("lacks domains"), "{domains}: {problems}");
        assert!(with_domains(&sandbox, domains, "false").await.is_ok(), "not read when off");
    }
}

#[tokio::test]
async fn names_that_can_never_match_are_startup_errors() {
    let sandbox = sandbox().await;
    let bad = [("CLIENTS__ROUTES_READ", IAS_PROVIDER_CLIENT), ("TENANTS", "a:b")];
    let snapshot = EnvSnapshot::from_vars(both(&sandbox, &bad));
    let problems = config::load(&snapshot, &Flags::default()).unwrap_err().to_string();
    for text in ["auth.ias.clients.routes_read", "ias:<app_tid>:<client>", "auth.ias.tenants"] {
        assert!(problems.contains(text), "{problems}");
    }
}
