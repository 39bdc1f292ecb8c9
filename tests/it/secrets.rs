//! Canaries: no secret appears in any output or answer, at TRACE, during start, success, refusal
//! and faults.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use base64::Engine;
use rstest::rstest;
use serde_json::{Value, json};

use cfapi_sandbox::{PROVIDER_CLIENT, Sandbox, TECHNICAL_USER};

use crate::support::{
    APP, answer,
    browser::{Browser, location},
    client, parse,
    process::Program,
    pull, sandbox, variables,
};

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

    /// Sends a secret where a name, another type or another place is expected.
    async fn send_values_in_wrong_places(&mut self, sandbox: &Sandbox, provider: &str) {
        let secrets = [PASSWORD, provider, "Canary-Body-Text, expected `Canary-Body-Text`"];
        for (index, secret) in secrets.into_iter().enumerate() {
            let secret = Value::from(secret).to_string();
            // One caller may send 100 requests at once.
            let client = format!("sb-canary-{index}!t1");
            let token = &sandbox.caller_token(&client, &["Routes.Write", "Routes.Admin"]);
            let bodies = [
                secret.clone(),
                format!("[{secret}]"),
                format!("{{{secret}:1}}"),
                format!("{{\"tenants\":{secret},\"items\":[{secret}],\"from\":[{secret}]}}"),
                format!("{{\"tenants\":[{{\"tenantId\":\"t1\",\"adopt\":{secret}}}]}}"),
                format!("{{\"tenants\":[{{{secret}:{secret}}}],\"apply\":{secret}}}"),
                format!("{{\"items\":[{{\"op\":{secret},\"tenantId\":{{{secret}:1}}}}]}}"),
                format!("{{\"from\":\"a\",\"to\":\"b\",\"apply\":{secret}}}"),
                format!("{{\"subdomain\":\"a\",\"adopt\":{secret}}}"),
                format!("{{\"tenantId\":{secret},\"subdomain\":\"a\"}}"),
                format!("{{\"subdomain\":\"a\" {secret}"),
            ];
            for body in bodies {
                for path in ["/routes", "/routes/reconcile", "/routes/batch", "/routes/transfer"] {
                    self.send(&format!("POST {path}"), token, &body).await;
                }
                self.put(token, &body).await;
            }
        }
        assert!(self.answers.contains("has an unknown name"), "{}", self.answers);
        assert!(self.answers.contains("#/tenants/0/adopt"), "{}", self.answers);
    }

    /// Calls hosts that are not the broker's.
    async fn call_elsewhere(&mut self, provider: &str) {
        for path in ["/routes/t1", "/v3/apps?access_token=Canary-Query-Token", "/Canary-Path"] {
            let request = client().get(format!("{}{path}", self.base)).bearer_auth(provider);
            self.note(request.header("host", "elsewhere.example")).await;
        }
        assert!(self.answers.contains("misdirected"), "{}", self.answers);
    }

    /// Calls everything: success, a token in the wrong place, a body that does not parse, a
    /// refusal, garbage from upstream.
    async fn call_everything(&mut self, sandbox: &Sandbox, provider: &str, developer: &str) {
        let body = json!({"subdomain": "acme", "app": APP}).to_string();
        self.put(provider, &body).await;
        self.get("/spaces", developer).await;
        let dev = sandbox.world().spaces().remove(0).guid;
        self.get(&format!("/spaces/{dev}?filter=Canary-Query-Token"), developer).await;
        self.get("/status", developer).await;
        self.get("/routes", provider).await;
        self.get("/metrics", &sandbox.admin_token()).await;
        let item = json!({"tenantId": "t2", "subdomain": "two", "app": APP, "op": "ensure"});
        self.send("POST /routes/batch", provider, &json!({"items": [item]}).to_string()).await;
        let wanted = json!([{"tenantId": "t1", "subdomain": "acme"}]);
        let wanted = json!({"tenants": wanted, "app": APP, "apply": true}).to_string();
        self.send("POST /routes/reconcile", provider, &wanted).await;
        self.send("DELETE /routes/t2", provider, "").await;
        for (from, caller) in
            [(json!("gone"), sandbox.admin_token()), (json!("gone"), provider.into())]
        {
            let body = json!({"from": from, "to": PROVIDER_CLIENT, "apply": true}).to_string();
            self.send("POST /routes/transfer", &caller, &body).await;
        }
        let odd = r#"{"from":{"Canary-Body-Text":1},"to":"Canary-Body-Text""#;
        self.send("POST /routes/transfer", &sandbox.admin_token(), odd).await;
        self.call_elsewhere(provider).await;
        self.send("POST /destinations/CFAPI/retry", &sandbox.admin_token(), "").await;
        self.call_proxy(sandbox, provider).await;
        self.get("/health/ready", developer).await;
        assert!(self.answers.contains("created"), "{}", self.answers);
        self.get("/routes?access_token=Canary-Query-Token", provider).await;
        self.put(provider, r#"{"subdomain":{"Canary-Body-Text":1}}"#).await;
        self.send_values_in_wrong_places(sandbox, provider).await;
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
        // Not read before, so it is not there without a call.
        self.get("/spaces/other", developer).await;
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

/// A person logs in, twice with a fault, and logs out.
#[tokio::test]
async fn no_secret_of_a_login_is_logged_at_trace() {
    let sandbox = sandbox().await;
    let mut variables = variables(&sandbox);
    variables.insert("RUST_LOG".to_owned(), "trace".to_owned());
    let services = parse(&variables["VCAP_SERVICES"]);
    let bound = services["xsuaa"][0]["credentials"]["clientsecret"].as_str().unwrap().to_owned();
    let mut program = Program::start(&["--log", "json"], &variables);
    let base = program.base().await;
    let browser = Browser::default();
    let (mut secrets, mut texts) = (vec![bound], String::new());
    let faults = [
        json!({"error": "invalid_grant", "error_description": "ECHO"}),
        json!({"error": "ECHO", "error_description": "ECHO"}),
        json!({"access_token": "ECHO", "id_token": "ECHO"}),
        Value::Null,
    ];
    for fault in faults {
        let led = location(&browser.open(&format!("{base}/login")).await);
        let back = browser.choose(&led, "developer").await;
        for url in [&led, &back] {
            let pairs: Vec<(String, String)> =
                url::Url::parse(url).unwrap().query_pairs().into_owned().collect();
            let of_login =
                |name: &str| ["state", "nonce", "code", "code_challenge"].contains(&name);
            secrets
                .extend(pairs.into_iter().filter(|(name, _)| of_login(name)).map(|(_, text)| text));
        }
        secrets.extend(browser.cookies.lock().unwrap().values().cloned());
        if !fault.is_null() {
            let code =
                secrets.iter().rev().find(|text| back.contains(&format!("code={text}"))).unwrap();
            let body = parse(&fault.to_string().replace("ECHO", code));
            let status = if body["error"].is_null() { 200 } else { 400 };
            echo(&sandbox, "xsuaa", "/oauth/token", status, &body);
        }
        let done = browser.open(&back).await;
        secrets.extend(browser.cookies.lock().unwrap().values().cloned());
        texts.push_str(&done.text);
    }
    let spaces = browser.open(&format!("{base}/spaces")).await;
    assert_eq!(spaces.status, 200, "{}", spaces.text);
    texts.push_str(&spaces.text);
    browser.send(client().post(format!("{base}/logout"))).await;
    let ended = program.terminate().await;
    assert!(ended.out.contains("login_failed") && ended.out.contains("a person has logged in"));
    assert!(secrets.len() > 20, "{}", secrets.len());
    for (output, text) in [("log", ended.out), ("page", texts)] {
        for form in secrets.iter().flat_map(|secret| forms(secret)) {
            assert!(!text.contains(&form), "{output}: {form}");
        }
        assert_eq!(token_like(&text), None, "{output}");
    }
}

/// A token that no server has issued, as a stranger would send it.
const JWT: &str = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJjYW5hcnkifQ.Y2FuYXJ5LXNpZ25hdHVyZQ";
/// One with blanks in its JSON, so that it begins in another way.
const BLANK_JWT: &str =
    "eyAiYWxnIiA6ICJSUzI1NiIgfQ.eyAic3ViIiA6ICJjYW5hcnkiIH0.Y2FuYXJ5LXNpZ25hdHVyZS0y";

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
    for text in [SPECIAL, JWT, BLANK_JWT].into_iter().flat_map(echoes) {
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
        for token in [JWT, BLANK_JWT] {
            recorder.get(&path.replace("JWT", token), &provider).await;
            recorder.send(&format!("DELETE {}", path.replace("JWT", token)), &provider, "").await;
        }
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
    for part in BLANK_JWT.split('.') {
        assert!(!ended.out.contains(part), "{part}");
        assert!(!recorder.answers.contains(part), "{part}");
    }
    assert!(recorder.answers.contains("cf_refused"), "{}", recorder.answers);
    assert_eq!(token_like(&recorder.answers), None);
}

/// The variables of a program at TRACE that reads its destination from a file with this text.
fn with_file(sandbox: &Sandbox, directory: &Path, text: &str) -> BTreeMap<String, String> {
    let path = directory.join("destination.json");
    let secret = Value::from(PASSWORD).to_string();
    std::fs::write(&path, text.replace("SECRET", secret.trim_matches('"'))).unwrap();
    let mut variables = variables(sandbox);
    let mut services = parse(&variables["VCAP_SERVICES"]);
    services.as_object_mut().unwrap().remove("destination");
    variables.remove("VCAP_APPLICATION");
    variables.insert("RUST_LOG".to_owned(), "trace".to_owned());
    variables.insert("VCAP_SERVICES".to_owned(), services.to_string());
    variables.insert("CFAPI_DESTINATION__FILE".to_owned(), path.display().to_string());
    variables
}

fn assert_no_password(output: &str, text: &str) {
    for form in forms(PASSWORD).iter().map(String::as_str).chain([NUMBER]) {
        assert!(!text.contains(form), "{output}: {form}: {text}");
    }
}

/// A password that is no text.
const NUMBER: &str = "90210775533113";

#[rstest]
#[case::incomplete(
    r#"{"init_data":{"subaccount":{"destinations":[{"Name":"CFAPI","Password":"SECRET"}]}}}"#,
    "destination_invalid"
)]
#[case::number(
    r#"{"init_data":{"instance":{"destinations":[{"Name":"CFAPI","Password":90210775533113}]}}}"#,
    "destination_invalid"
)]
#[case::of_another(
    r#"{"init_data":{"instance":{"destinations":[{"Name":"OTHER","Password":"SECRET"}]}}}"#,
    "destination_missing"
)]
#[tokio::test]
async fn a_file_with_destinations_shows_no_password(#[case] text: &str, #[case] code: &str) {
    let sandbox = sandbox().await;
    let directory = tempfile::tempdir().unwrap();
    let variables = with_file(&sandbox, directory.path(), text);
    let mut program = Program::start(&["--log", "json"], &variables);
    let base = program.base().await;
    let mut recorder = Recorder { base, answers: String::new() };
    recorder.get("/spaces", &sandbox.developer_token()).await;
    recorder.get("/destinations", &sandbox.admin_token()).await;
    program.hang_up();
    recorder.send("POST /destinations/CFAPI/retry", &sandbox.admin_token(), "").await;
    let ended = program.terminate().await;
    assert!(recorder.answers.contains(code), "{}", recorder.answers);
    assert_no_password("log", &ended.out);
    assert_no_password("answer", &recorder.answers);
}

#[rstest]
#[case::broken(r#"{"init_data":{"subaccount":{"destinations":[{"Password":"SECRET","Name":}]}}}"#)]
#[case::cut(r#"{"init_data":{"instance":{"destinations":[{"Name":"CFAPI","Password":"SECRET"#)]
#[tokio::test]
async fn a_broken_file_with_destinations_shows_no_password(#[case] text: &str) {
    let sandbox = sandbox().await;
    let directory = tempfile::tempdir().unwrap();
    let variables = with_file(&sandbox, directory.path(), text);
    let ended = Program::start(&["--log", "json"], &variables).ended().await;
    assert_eq!(ended.code, Some(78), "{}", ended.out);
    assert_no_password("log", &ended.out);
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
