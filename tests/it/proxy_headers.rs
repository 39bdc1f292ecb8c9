//! What the CF API gets of a request: headers that the broker built, whatever the caller sent.

use base64::Engine;
use cfapi_sandbox::{Part, Sandbox, TECHNICAL_USER};
use http::Method;
use rstest::rstest;
use serde_json::{Value, json};

use crate::{
    proxy::Landscape,
    support::{APP, answer, client, parse},
    wire::HeaderLines,
};

/// One request as the CF API received it.
#[derive(Debug)]
pub(crate) struct ReceivedRequest {
    pub(crate) first: String,
    /// In lower case, sorted, with repetitions.
    pub(crate) names: Vec<String>,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl ReceivedRequest {
    fn of(bytes: Vec<u8>) -> Self {
        let text = String::from_utf8(bytes).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        let (first, head) = head.split_once("\r\n").unwrap();
        let mut names: Vec<_> =
            head.lines().map(|line| line.split_once(':').unwrap().0.to_ascii_lowercase()).collect();
        names.sort_unstable();
        Self { first: first.to_owned(), names, head: head.to_owned(), body: body.to_owned() }
    }

    pub(crate) fn value(&self, name: &str) -> &str {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(own, _)| own.eq_ignore_ascii_case(name)).unwrap().1
    }
}

/// Requests to CF since the journal was cleared, without the read of its version, which can come at
/// any time.
pub(crate) fn seen(sandbox: &Sandbox) -> Vec<ReceivedRequest> {
    let all = sandbox.requests(Part::Cf).into_iter().map(ReceivedRequest::of);
    all.filter(|seen| seen.first != "GET / HTTP/1.1").collect()
}

const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// Headers that must never reach the CF API.
const HOSTILE: &[(&str, &str)] = &[
    ("connection", "authorization, x-vcap-request-id, x-correlationid, x-anything"),
    ("cookie", "canary"),
    ("forwarded", "for=canary"),
    ("x-forwarded-for", "6.6.6.6"),
    ("x-forwarded-host", "canary.example"),
    ("x-forwarded-proto", "http"),
    ("x-forwarded-client-cert", "canary"),
    ("x_forwarded_for", "6.6.6.6"),
    ("proxy-authorization", "Basic canary"),
    ("te", "trailers"),
    ("trailer", "x-canary"),
    ("keep-alive", "timeout=5"),
    ("upgrade", "websocket"),
    ("idempotency-key", "canary"),
    ("x-idempotency-key", "canary"),
    ("user-agent", "cf/6.0 canary"),
    ("accept", "text/html"),
    ("accept-encoding", "gzip"),
    ("range", "bytes=0-1"),
    ("if-none-match", "\"canary\""),
    ("x-http-method-override", "DELETE"),
    ("x-user-guid", "canary"),
    ("x-anything", "canary"),
    ("x-vcap-request-id", "6ba7b810-9dad-41d1-80b4-00c04fd430c8"),
    ("x-correlationid", "my-id"),
    ("traceparent", TRACE),
];

const READ: [&str; 7] = [
    "accept",
    "accept-encoding",
    "authorization",
    "host",
    "traceparent",
    "user-agent",
    "x-vcap-request-id",
];

/// Checks every header name, and each value that is known beforehand.
fn assert_built(seen: &ReceivedRequest, cf: &Landscape) {
    let mut names = READ.map(str::to_owned).to_vec();
    if seen.first.starts_with("POST ") {
        names.extend(["content-length", "content-type"].map(str::to_owned));
        names.sort_unstable();
        assert_eq!(seen.value("content-type"), "application/json");
        assert_eq!(seen.value("content-length"), seen.body.len().to_string());
    }
    assert_eq!(seen.names, names, "{}", seen.first);
    assert_eq!(seen.value("host"), cf.sandbox.cf_url().trim_start_matches("http://"));
    assert_eq!(seen.value("accept"), "application/json");
    assert_eq!(seen.value("accept-encoding"), "identity");
    assert_eq!(seen.value("traceparent"), TRACE);
    assert_eq!(seen.value("x-vcap-request-id"), "my-id");
    assert_eq!(seen.value("user-agent"), format!("cfapi-broker/{}", env!("CARGO_PKG_VERSION")));
    assert_eq!(user_of(seen.value("authorization")), TECHNICAL_USER);
}

/// The user of the token.
pub(crate) fn user_of(authorization: &str) -> String {
    let token = authorization.strip_prefix("bearer ").unwrap();
    let claims = token.split('.').nth(1).unwrap();
    let claims = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(claims).unwrap();
    parse(&String::from_utf8(claims).unwrap())["user_name"].as_str().unwrap().to_owned()
}

/// Sends a request with all headers that must not be passed on.
async fn hostile(cf: &Landscape, method: Method, path: &str, body: Option<&Value>) -> u16 {
    let request = client().request(method, format!("{}{path}", cf.broker.base));
    let request =
        HOSTILE.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    let request = request.bearer_auth(&cf.token);
    let request = match body {
        Some(body) => request.header("content-type", "application/json").body(body.to_string()),
        None => request,
    };
    let got = answer(request).await;
    assert!(got.status < 300, "{}", got.text);
    got.status
}

#[tokio::test]
async fn the_cf_api_sees_exactly_the_built_headers() {
    let cf = Landscape::start().await;
    let body = cf.route_body("acme-saas-approuter").await;
    let app = cf.first(&format!("/v3/apps?names={APP}")).await;
    cf.sandbox.clear_journal();

    assert_eq!(hostile(&cf, Method::GET, "/v3/apps?names=a%2Cb", None).await, 200);
    let read = seen(&cf.sandbox);
    assert_eq!(read.len(), 1, "{read:?}");
    assert_eq!(read[0].first, "GET /v3/apps?names=a%2Cb HTTP/1.1");
    assert_built(&read[0], &cf);

    let mut last = Vec::new();
    assert_eq!(hostile(&cf, Method::POST, "/v3/routes", Some(&body)).await, 201);
    last.push("POST /v3/routes HTTP/1.1".to_owned());
    let route = cf.sandbox.world().routes()[0].guid.clone();
    let targets = json!({"destinations": [{"app": {"guid": app}}]});
    let path = format!("/v3/routes/{route}/destinations");
    assert_eq!(hostile(&cf, Method::POST, &path, Some(&targets)).await, 200);
    last.push(format!("POST {path} HTTP/1.1"));
    assert_eq!(hostile(&cf, Method::DELETE, &format!("/v3/routes/{route}"), None).await, 202);
    last.push(format!("DELETE /v3/routes/{route} HTTP/1.1"));
    let all = seen(&cf.sandbox);
    for seen in &all {
        assert_built(seen, &cf);
    }
    let writes =
        all.iter().map(|seen| seen.first.as_str()).filter(|first| !first.starts_with("GET"));
    assert_eq!(writes.collect::<Vec<_>>(), last);
    let canaries = all.iter().filter(|seen| format!("{seen:?}").contains("canary"));
    assert_eq!(canaries.count(), 0);
}

/// A chunked body with a trailer, announced by `TE` and `Trailer`.
fn chunked(body: &str, trailers: &str) -> String {
    let head =
        "Content-Type: application/json\nTransfer-Encoding: chunked\nTE: trailers\nTrailer: X-Evil";
    format!("\n{head}\n\n{:x}\n{body}\n0\n{trailers}\n\n", body.len())
}

#[rstest]
#[case::token("Authorization: Bearer canary")]
#[case::length("Content-Length: 1")]
#[case::unknown("X-Evil: canary\nHost: evil.example\nTransfer-Encoding: chunked")]
#[tokio::test]
async fn trailers_of_a_write_are_dropped_and_never_merged(#[case] trailers: &str) {
    let cf = Landscape::start().await;
    let body = cf.route_body("acme-saas-approuter").await.to_string();
    cf.sandbox.clear_journal();
    let first = b"POST /v3/routes HTTP/1.1";
    let forged = format!("{trailers}\nAuthorization: Bearer {}", cf.token);
    let refused =
        cf.exchange(&cf.bytes(first, HeaderLines::NoToken, &chunked(&body, &forged))).await;
    assert_eq!((refused.len(), refused[0].status), (1, 401), "{refused:?}");
    assert_eq!(seen(&cf.sandbox).len(), 0);
    let made = cf.exchange(&cf.bytes(first, HeaderLines::All, &chunked(&body, trailers))).await;
    assert_eq!((made.len(), made[0].status), (1, 201), "{made:?}");
    let all = seen(&cf.sandbox);
    let writes: Vec<_> = all.iter().filter(|seen| seen.first.starts_with("POST")).collect();
    assert_eq!(writes.len(), 1, "{all:?}");
    for one in &all {
        let text = format!("{one:?}").to_lowercase();
        for word in ["canary", "evil", "trailer", "chunked"] {
            assert!(!text.contains(word), "{word}: {text}");
        }
        assert_eq!(one.names.iter().filter(|name| *name == "authorization").count(), 1);
    }
    assert_eq!(writes[0].value("content-length"), writes[0].body.len().to_string());
}
