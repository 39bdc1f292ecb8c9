//! Canaries: no secret appears in any output or answer, at TRACE, during start, success, refusal
//! and faults.

use std::collections::BTreeSet;

use base64::Engine;
use rstest::rstest;
use serde_json::{Value, json};

use cfapi_sandbox::{Sandbox, TECHNICAL_USER};

use crate::support::{APP, answer, client, parse, process::Program, pull, sandbox, variables};

const PASSWORD: &str = "Canary-Pass+w&rd%9Ä";

/// Returns a secret in every form in which it could appear, and its beginning.
fn forms(secret: &str) -> BTreeSet<String> {
    let encoded: String = form_urlencoded::byte_serialize(secret.as_bytes()).collect();
    let json = Value::from(secret).to_string();
    let engines = [
        base64::engine::general_purpose::STANDARD,
        base64::engine::general_purpose::URL_SAFE_NO_PAD,
    ];
    let mut forms: BTreeSet<String> = engines.iter().map(|engine| engine.encode(secret)).collect();
    forms.insert(secret.to_owned());
    forms.insert(encoded);
    forms.insert(json.trim_matches('"').to_owned());
    forms.insert(secret.chars().take(12).collect());
    forms
}

/// A caller that stores every answer.
struct Recorder {
    base: String,
    answers: String,
}

impl Recorder {
    async fn note(&mut self, request: reqwest::RequestBuilder) {
        let got = answer(request).await;
        self.answers.extend([format!("{:?}", got.headers), got.text].map(|text| text + "\n"));
    }

    async fn get(&mut self, path: &str, token: &str) {
        let request = client().get(format!("{}{path}", self.base));
        self.note(request.bearer_auth(token)).await;
    }

    /// Any other request with a JSON body, or none where it is empty.
    async fn send(&mut self, request: &str, token: &str, body: &str) {
        let (method, path) = request.split_once(' ').unwrap();
        let request = client().request(method.parse().unwrap(), format!("{}{path}", self.base));
        let request = request.bearer_auth(token);
        let request = match body {
            "" => request,
            body => request.header("content-type", "application/json").body(body.to_owned()),
        };
        self.note(request).await;
    }

    async fn put(&mut self, token: &str, body: &str) {
        let request = client().put(format!("{}/routes/t1", self.base));
        let request = request.header("content-type", "application/json");
        self.note(request.bearer_auth(token).body(body.to_owned())).await;
    }

    /// Calls `/v3`: successful, denied, malformed and failed.
    async fn call_proxy(&mut self, sandbox: &Sandbox, provider: &str) {
        self.get("/v3/apps?names=none", provider).await;
        self.get("/v3/apps?access_token=Canary-Query-Token", provider).await;
        self.get("/v3/apps/Canary-Path/env", provider).await;
        self.send("POST /v3/routes", provider, r#"{"host":{"Canary-Body-Text":1}}"#).await;
        let guid = sandbox.world().spaces().into_iter().find(|one| one.name == "dev").unwrap().guid;
        let data = json!({"space": {"data": {"guid": guid}}, "domain": {"data": {"guid": "none"}}});
        let denied = json!({"host": "denied", "relationships": data}).to_string();
        self.send("POST /v3/routes", provider, &denied).await;
        let route = sandbox.world().routes()[0].guid.clone();
        self.send(&format!("DELETE /v3/routes/{route}"), &sandbox.admin_token(), "").await;
        pull(sandbox, "cut", &json!({"part": "cf", "n": 3, "only": "/v3/domains"}));
        self.get("/v3/domains", provider).await;
        assert!(self.answers.contains("cf_unavailable"), "{}", self.answers);
    }

    /// Calls everything: success, a token in the wrong place, a body that does not parse, a
    /// refusal, garbage from upstream.
    async fn call_everything(&mut self, sandbox: &Sandbox, provider: &str, developer: &str) {
        let body = json!({"subdomain": "acme", "app": APP}).to_string();
        self.put(provider, &body).await;
        self.get("/spaces", developer).await;
        self.get("/routes", provider).await;
        self.get("/metrics", &sandbox.admin_token()).await;
        let item = json!({"tenantId": "t2", "subdomain": "two", "app": APP, "op": "ensure"});
        self.send("POST /routes/batch", provider, &json!({"items": [item]}).to_string()).await;
        let wanted = json!([{"tenantId": "t1", "subdomain": "acme"}]);
        let wanted = json!({"tenants": wanted, "app": APP, "apply": true}).to_string();
        self.send("POST /routes/reconcile", provider, &wanted).await;
        self.send("DELETE /routes/t2", provider, "").await;
        self.send("POST /destinations/CFAPI/retry", &sandbox.admin_token(), "").await;
        self.call_proxy(sandbox, provider).await;
        self.get("/health/ready", developer).await;
        assert!(self.answers.contains("created"), "{}", self.answers);
        self.get("/routes?access_token=Canary-Query-Token", provider).await;
        self.put(provider, r#"{"subdomain":{"Canary-Body-Text":1}}"#).await;
        let change = json!({"user": TECHNICAL_USER, "password": "something else"});
        pull(sandbox, "change_password", &change);
        pull(sandbox, "revoke_all", &json!({}));
        for _ in 0..3 {
            self.put(provider, &body).await;
            self.get("/v3/apps", provider).await;
            self.send("DELETE /routes/t1", provider, "").await;
        }
        assert!(self.answers.contains("technical_user_rejected"), "{}", self.answers);
        let garbage = format!("{{\"Password\":\"{PASSWORD}\"");
        let fault = json!({"part": "destination", "n": 3, "status": 200, "body": garbage});
        pull(sandbox, "fail_next", &fault);
        self.get("/spaces", developer).await;
    }
}

#[rstest]
#[case::json("json", "\"level\":\"debug\"")]
#[case::human("human", "DEBUG")]
#[tokio::test]
async fn no_secret_leaves_the_program_at_trace(#[case] format: &str, #[case] debug: &str) {
    let sandbox = sandbox().await;
    pull(&sandbox, "change_password", &json!({"user": TECHNICAL_USER, "password": PASSWORD}));
    pull(&sandbox, "edit_destination", &json!({"name": "CFAPI", "set": {"Password": PASSWORD}}));
    let mut variables = variables(&sandbox);
    variables.insert("RUST_LOG".to_owned(), "trace".to_owned());
    let services = parse(&variables["VCAP_SERVICES"]);
    let secret_of = |label: &str| {
        services[label][0]["credentials"]["clientsecret"].as_str().unwrap().to_owned()
    };
    let (provider, developer) = (sandbox.provider_token(), sandbox.developer_token());

    let mut program = Program::start(&["--log", format], &variables);
    let base = program.wait_for(address_in).await;
    let mut recorder = Recorder { base: format!("http://{base}"), answers: String::new() };
    recorder.call_everything(&sandbox, &provider, &developer).await;
    let ended = program.terminate().await;
    assert_eq!(ended.code, Some(0));
    assert!(ended.out.lines().count() > 10, "{}", ended.out);
    assert!(ended.out.contains(debug), "RUST_LOG has no effect: {}", ended.out);

    let canaries = [PASSWORD, "Canary-Query-Token", "Canary-Body-Text"].map(str::to_owned);
    let bound = [secret_of("destination"), secret_of("xsuaa"), provider, developer];
    for (output, text) in [("log", ended.out), ("answer", recorder.answers)] {
        for form in canaries.iter().chain(&bound).flat_map(|secret| forms(secret)) {
            // All JWTs have the same beginning; the search below finds whole ones.
            let same_beginning = form.starts_with("eyJ") && form.len() <= 12;
            assert!(same_beginning || !text.contains(&form), "{output}: {form}");
        }
        assert_eq!(token_like(&text), None, "{output}");
    }
}

/// A token that no server has issued, as a stranger would send it.
const JWT: &str = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJjYW5hcnkifQ.Y2FuYXJ5LXNpZ25hdHVyZQ";

/// Texts with a secret in each form, in the middle and where a long text is cut.
fn echoes(secret: &str) -> Vec<String> {
    let form: String = form_urlencoded::byte_serialize(secret.as_bytes()).collect();
    let html = secret.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;");
    let json = Value::from(secret).to_string().trim_matches('"').to_owned();
    let forms = [secret.to_owned(), form.replace('+', "%20"), form, html, json];
    let texts = forms.iter().flat_map(|form| {
        [format!("Could not check {form} now"), format!("{}{form}", "x".repeat(192))]
    });
    texts.collect()
}

fn echo(sandbox: &Sandbox, part: &str, only: &str, status: u16, body: &Value) {
    let headers = json!({
        "content-type": "application/json", "x-request-id": JWT, "x-vcap-request-id": JWT,
    });
    let fault = json!({
        "part": part, "n": 1, "only": only, "status": status, "headers": headers, "body": body,
    });
    pull(sandbox, "fail_next", &fault);
}

/// Each system repeats in its answers what it was sent.
#[tokio::test]
async fn what_a_system_repeats_is_struck() {
    const SPECIAL: &str = "Canary<Pass&w\"rd 9Ä";
    let sandbox = sandbox().await;
    pull(&sandbox, "change_password", &json!({"user": TECHNICAL_USER, "password": SPECIAL}));
    pull(&sandbox, "edit_destination", &json!({"name": "CFAPI", "set": {"Password": SPECIAL}}));
    let mut variables = variables(&sandbox);
    variables.insert("RUST_LOG".to_owned(), "trace".to_owned());
    let services = parse(&variables["VCAP_SERVICES"]);
    let bound = services["destination"][0]["credentials"]["clientsecret"].as_str().unwrap();
    let (provider, admin) = (sandbox.provider_token(), sandbox.admin_token());
    let oauth = |text: &str| json!({"error": text, "error_description": text});
    echo(&sandbox, "xsuaa", "/oauth/token", 401, &oauth(&format!("{bound} {JWT}")));
    let mut program = Program::start(&["--log", "json"], &variables);
    let base = program.base().await;
    let mut recorder = Recorder { base, answers: String::new() };
    recorder.get("/spaces", &admin).await;
    for text in echoes(SPECIAL).into_iter().chain(echoes(JWT)) {
        echo(&sandbox, "destination", "", 403, &json!({"ErrorMessage": text}));
        recorder.send("POST /destinations/CFAPI/retry?force=true", &admin, "").await;
        echo(&sandbox, "uaa", "/oauth/token", 401, &oauth(&text));
        recorder.send("POST /destinations/CFAPI/retry?force=true", &admin, "").await;
    }
    recorder.send("POST /destinations/CFAPI/retry?force=true", &admin, "").await;
    let body = json!({"subdomain": "acme", "app": APP}).to_string();
    for text in echoes(&provider) {
        let errors = json!({"errors": [{"code": 10008, "title": text, "detail": text}]});
        echo(&sandbox, "cf", "POST /v3/routes", 422, &errors);
        recorder.put(&provider, &body).await;
    }
    for path in ["/v3/apps/JWT/env", "/v3/JWT", "/routes/JWT", "/nothing/JWT", "/%2e/JWT"] {
        recorder.get(&path.replace("JWT", JWT), &provider).await;
        recorder.send(&format!("DELETE {}", path.replace("JWT", JWT)), &provider, "").await;
    }
    let ended = program.terminate().await;
    assert!(ended.out.contains("lockout guard closed"), "{}", ended.out);
    assert!(ended.out.contains("(struck)"), "{}", ended.out);
    for secret in [SPECIAL, bound, TECHNICAL_USER] {
        for text in echoes(secret).iter().chain(&forms(secret)) {
            let form = text.trim_start_matches("Could not check ").trim_end_matches(" now");
            let form = form.trim_start_matches('x');
            assert!(!ended.out.contains(form), "{form}");
        }
    }
    assert_eq!(token_like(&ended.out), None);
    assert!(recorder.answers.contains("cf_refused"), "{}", recorder.answers);
    assert_eq!(token_like(&recorder.answers), None);
}

/// Returns the address from the line in which the broker says that it listens, in either format.
fn address_in(line: &str) -> Option<String> {
    let (_, port) = line.split_once("127.0.0.1:").filter(|_| line.contains("listens"))?;
    let port: String = port.chars().take_while(char::is_ascii_digit).collect();
    Some(format!("127.0.0.1:{port}"))
}

/// Returns anything that looks like a token of this landscape: a JWT, or an opaque refresh token
/// (`…-r`).
fn token_like(text: &str) -> Option<String> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.')));
    words
        .filter(|word| word.len() >= 24)
        .find(|word| {
            word.starts_with("eyJ")
                || word.ends_with("-r") && word.bytes().any(|b| b.is_ascii_digit())
        })
        .map(str::to_owned)
}

#[test]
fn the_search_finds_tokens() {
    assert!(token_like("x eyJhbGciOiJSUzI1NiIsImtpZCI6.abc.def y").is_some());
    assert!(token_like("\"7e5469e0a7de4b1b9a8bae0bae0b-r\"").is_some());
    assert_eq!(token_like("a line without one, 0d3f1a52-5d41-4c9e-8f55-2f1d2a2e8c77"), None);
}
