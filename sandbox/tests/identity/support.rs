//! A landscape and a client for it.

use cfapi_sandbox::{Options, Sandbox, TECHNICAL_PASSWORD, TECHNICAL_USER};
use http::{HeaderMap, StatusCode};
use serde_json::Value;

pub(crate) const FORM: &str = "application/x-www-form-urlencoded";
pub(crate) const HINT: &str = r#"{"origin":"sandbox-platform"}"#;

/// An answer, read to its end.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

pub(crate) async fn landscape() -> Sandbox {
    Sandbox::start(Options::default()).await.unwrap()
}

pub(crate) fn client() -> reqwest::Client {
    reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap()
}

pub(crate) async fn send(request: reqwest::RequestBuilder) -> Answer {
    let answer = request.send().await.unwrap();
    let (status, headers) = (answer.status(), answer.headers().clone());
    Answer { status, headers, text: answer.text().await.unwrap() }
}

pub(crate) fn form(pairs: &[(&str, &str)]) -> String {
    form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish()
}

/// A token call of client `cf`.
pub(crate) fn cf_call(sandbox: &Sandbox, pairs: &[(&str, &str)]) -> reqwest::RequestBuilder {
    client()
        .post(format!("{}/oauth/token", sandbox.uaa_url()))
        .header("authorization", "Basic Y2Y6")
        .header("content-type", FORM)
        .body(form(pairs))
}

pub(crate) async fn password_grant(sandbox: &Sandbox, password: &str) -> Answer {
    let pairs = [
        ("grant_type", "password"),
        ("username", TECHNICAL_USER),
        ("password", password),
        ("login_hint", HINT),
    ];
    send(cf_call(sandbox, &pairs)).await
}

pub(crate) async fn good_grant(sandbox: &Sandbox) -> Value {
    let answer = password_grant(sandbox, TECHNICAL_PASSWORD).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer.json()
}

pub(crate) async fn refresh_grant(sandbox: &Sandbox, token: &str) -> Answer {
    send(cf_call(sandbox, &[("grant_type", "refresh_token"), ("refresh_token", token)])).await
}

/// The claims of a token, unverified.
pub(crate) fn claims(token: &str) -> Value {
    use base64::Engine as _;
    let body = token.split('.').nth(1).unwrap();
    let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(body).unwrap();
    serde_json::from_slice(&bytes).unwrap()
}
