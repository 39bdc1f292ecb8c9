//! Canaries: nothing secret in any output or answer, at TRACE, through start, success, refusal and faults.

use std::collections::BTreeSet;

use base64::Engine;
use serde_json::{Value, json};

use cfapi_sandbox::{Sandbox, TECHNICAL_USER};

use crate::support::{APP, answer, client, parse, process::Program, pull, sandbox, variables};

const PASSWORD: &str = "Canary-Pass+w&rd%9Ä";

/// A secret in every form in which it could slip out, and its beginning.
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

/// A caller that keeps every answer.
struct Witness {
    base: String,
    answers: String,
}

impl Witness {
    async fn note(&mut self, request: reqwest::RequestBuilder) {
        let got = answer(request).await;
        self.answers.extend([format!("{:?}", got.headers), got.text].map(|text| text + "\n"));
    }

    async fn get(&mut self, path: &str, token: &str) {
        let request = client().get(format!("{}{path}", self.base));
        self.note(request.bearer_auth(token)).await;
    }

    async fn put(&mut self, token: &str, body: &str) {
        let request = client().put(format!("{}/routes/t1", self.base));
        let request = request.header("content-type", "application/json");
        self.note(request.bearer_auth(token).body(body.to_owned())).await;
    }

    /// Success, a token in the wrong place, a body that does not parse, a refusal, garbage upstream.
    async fn meet_everything(&mut self, sandbox: &Sandbox, provider: &str, developer: &str) {
        let wish = json!({"subdomain": "acme", "app": APP}).to_string();
        self.put(provider, &wish).await;
        self.get("/spaces", developer).await;
        self.get("/routes", provider).await;
        self.get("/metrics", &sandbox.admin_token()).await;
        self.get("/health/ready", developer).await;
        assert!(self.answers.contains("created"), "{}", self.answers);
        self.get("/routes?access_token=Canary-Query-Token", provider).await;
        self.put(provider, r#"{"subdomain":{"Canary-Body-Text":1}}"#).await;
        let change = json!({"user": TECHNICAL_USER, "password": "something else"});
        pull(sandbox, "change_password", &change);
        pull(sandbox, "revoke_all", &json!({}));
        for _ in 0..3 {
            self.put(provider, &wish).await;
        }
        assert!(self.answers.contains("technical_user_rejected"), "{}", self.answers);
        let garbage = format!("{{\"Password\":\"{PASSWORD}\"");
        let fault = json!({"part": "destination", "n": 3, "status": 200, "body": garbage});
        pull(sandbox, "fail_next", &fault);
        self.get("/spaces", developer).await;
    }
}

#[tokio::test]
async fn no_secret_leaves_the_program_at_trace() {
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

    let mut program = Program::start(&["--log", "json"], &variables);
    let mut witness = Witness { base: program.base().await, answers: String::new() };
    witness.meet_everything(&sandbox, &provider, &developer).await;
    let ended = program.terminate().await;
    assert_eq!(ended.code, Some(0));
    assert!(ended.out.lines().count() > 10, "{}", ended.out);

    let canaries = [PASSWORD, "Canary-Query-Token", "Canary-Body-Text"].map(str::to_owned);
    let bound = [secret_of("destination"), secret_of("xsuaa"), provider, developer];
    for (place, text) in [("log", ended.out), ("answer", witness.answers)] {
        for form in canaries.iter().chain(&bound).flat_map(|secret| forms(secret)) {
            // All JWTs begin alike; the search below finds whole ones.
            let begins_alike = form.starts_with("eyJ") && form.len() <= 12;
            assert!(begins_alike || !text.contains(&form), "{place}: {form}");
        }
        assert_eq!(token_like(&text), None, "{place}");
    }
}

/// Finds anything that looks like a token of this landscape: a JWT, or an opaque refresh token (`…-r`).
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
