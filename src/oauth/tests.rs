//! The endpoint on a real socket: the exact bytes of a request, and the handling of odd answers.

use crate::{
    oauth::{
        ClientAuthentication, ExchangeError, Grant, LoginHint, OriginKey, TokenEndpoint,
        TokenResponse, UnreachableCause, client_identity, fault::FaultKind,
    },
    upstream::{
        ClientFactory, ConnectFault, HttpClient, Purpose, Settings, Timeouts, TransportError,
        raw_server::{RawServer, Reply},
    },
};
use http::{HeaderMap, HeaderValue, header::AUTHORIZATION};
use rstest::rstest;
use std::time::Duration;
use url::Url;

const TOKEN: &str = r#"{"access_token":"t","expires_in":1199}"#;

/// Far longer than loopback needs, also on a busy machine.
const AMPLE: Duration = Duration::from_secs(20);

fn client() -> HttpClient {
    client_within(AMPLE)
}

fn client_within(total: Duration) -> HttpClient {
    let factory = ClientFactory::new(&Settings::default()).unwrap();
    factory.client_with_timeouts(Purpose::Token, Timeouts::whole(AMPLE, total)).unwrap()
}

fn endpoint(url: &str) -> TokenEndpoint {
    let url = Url::parse(url).unwrap();
    TokenEndpoint::new(client(), url, cf(), HeaderMap::new())
}

fn cf() -> ClientAuthentication {
    ClientAuthentication::Basic { id: "cf".into(), secret: "".into() }
}

fn password(password: &str) -> Grant {
    Grant::Password {
        user: "tech+cfapi@example.com".into(),
        password: password.into(),
        login_hint: OriginKey::parse("acme-platform").ok().map(LoginHint::new),
        scope: None,
        extra: Vec::new(),
    }
}

fn refresh() -> Grant {
    Grant::RefreshToken { token: "7e54bae0-r".into() }
}

async fn exchanged(reply: Reply, grant: &Grant) -> Result<TokenResponse, ExchangeError> {
    let wire = RawServer::answering([reply]).await;
    endpoint(&wire.url("/oauth/token")).exchange(grant).await
}

/// Request line, sorted header lines in lower case, body; without the headers that the library
/// adds.
fn taken_apart(request: &str) -> (String, Vec<String>, String) {
    let (head, body) = request.split_once("\r\n\r\n").unwrap();
    let (line, headers) = head.split_once("\r\n").unwrap();
    let mut headers: Vec<_> = headers
        .lines()
        .map(|header| {
            let (name, value) = header.split_once(": ").unwrap();
            format!("{}: {value}", name.to_lowercase())
        })
        .filter(|header| !header.starts_with("host: ") && !header.starts_with("user-agent: "))
        .collect();
    headers.sort_unstable();
    (line.to_owned(), headers, body.to_owned())
}

async fn sent(
    endpoint: impl Fn(&str) -> TokenEndpoint,
    grant: &Grant,
) -> (String, Vec<String>, String) {
    let wire = RawServer::answering([Reply::json("200 OK", TOKEN)]).await;
    let endpoint = endpoint(&wire.url("/oauth/token?login_hint=x#y"));
    endpoint.exchange(grant).await.unwrap();
    let seen = wire.seen();
    assert_eq!(seen.len(), 1);
    taken_apart(&seen[0])
}

#[tokio::test]
async fn the_password_grant_has_its_exact_bytes() {
    let (line, headers, body) = sent(endpoint, &password("p&ss w=rd%ü")).await;
    assert_eq!(line, "POST /oauth/token HTTP/1.1");
    assert_eq!(
        headers,
        [
            "accept: application/json",
            "authorization: Basic Y2Y6",
            "content-length: 139",
            "content-type: application/x-www-form-urlencoded",
        ]
    );
    assert_eq!(
        body,
        "grant_type=password&username=tech%2Bcfapi%40example.com&password=p%26ss+w%3Drd%25%C3%BC\
         &login_hint=%7B%22origin%22%3A%22acme-platform%22%7D"
    );
}

#[tokio::test]
async fn a_refresh_carries_no_hint_and_no_client_id() {
    let (_, headers, body) = sent(endpoint, &refresh()).await;
    assert!(headers.contains(&"authorization: Basic Y2Y6".to_owned()));
    assert_eq!(body, "grant_type=refresh_token&refresh_token=7e54bae0-r");
}

#[tokio::test]
async fn our_three_headers_have_a_fixed_order() {
    let wire = RawServer::answering([Reply::json("200 OK", TOKEN)]).await;
    let url = wire.url("/oauth/token");
    endpoint(&url).exchange(&refresh()).await.unwrap();
    let request = wire.seen().join("").to_lowercase();
    let places = ["authorization:", "content-type:", "accept:"].map(|name| request.find(name));
    assert!(places.is_sorted() && places.iter().all(Option::is_some));
}

#[tokio::test]
async fn encoded_basic_parts_are_announced() {
    let odd = |url: &str| {
        let authentication = ClientAuthentication::Basic { id: "a!b".into(), secret: "c+d".into() };
        TokenEndpoint::new(client(), Url::parse(url).unwrap(), authentication, HeaderMap::new())
    };
    let (_, headers, _) = sent(odd, &refresh()).await;
    assert!(headers.contains(&"authorization: Basic YSUyMWI6YyUyQmQ=".to_owned()));
    assert!(headers.contains(&"x-cf-encoded-credentials: true".to_owned()));
}

#[tokio::test]
async fn a_client_in_the_body_sends_no_authorization() {
    let binding = |url: &str| {
        let authentication =
            ClientAuthentication::Body { id: "sb-x!b1".into(), secret: "s+=$".into() };
        TokenEndpoint::new(client(), Url::parse(url).unwrap(), authentication, HeaderMap::new())
    };
    let (_, headers, body) = sent(binding, &Grant::ClientCredentials).await;
    assert!(!headers.iter().any(|header| header.starts_with("authorization")));
    assert_eq!(body, "grant_type=client_credentials&client_id=sb-x%21b1&client_secret=s%2B%3D%24");
}

#[tokio::test]
async fn further_headers_are_sent_but_replace_none_of_ours() {
    let with_headers = |url: &str| {
        let mut headers = HeaderMap::new();
        headers.insert("x-further", HeaderValue::from_static("1"));
        headers.insert("accept", HeaderValue::from_static("text/html"));
        headers.insert(AUTHORIZATION, HeaderValue::from_static("Basic eDp5"));
        TokenEndpoint::new(client(), Url::parse(url).unwrap(), cf(), headers)
    };
    let (_, headers, _) = sent(with_headers, &refresh()).await;
    assert_eq!(
        headers,
        [
            "accept: application/json",
            "authorization: Basic Y2Y6",
            "content-length: 49",
            "content-type: application/x-www-form-urlencoded",
            "x-further: 1",
        ]
    );
}

#[tokio::test]
async fn an_empty_password_makes_no_request() {
    let wire = RawServer::answering([Reply::json("200 OK", TOKEN)]).await;
    let endpoint = endpoint(&wire.url("/oauth/token"));
    let refused = endpoint.exchange(&password("")).await;
    assert!(matches!(refused, Err(ExchangeError::Transport(TransportError::Refused))));
    assert_eq!(wire.seen(), [""; 0]);
}

#[tokio::test]
async fn a_lifetime_counts_from_the_moment_of_sending() {
    let before = tokio::time::Instant::now();
    let token = exchanged(Reply::json("200 OK", TOKEN), &refresh()).await.unwrap();
    assert!((before..=tokio::time::Instant::now()).contains(&token.sent_at));
}

fn kind(result: Result<TokenResponse, ExchangeError>) -> FaultKind {
    let Err(ExchangeError::Refused(fault)) = result else {
        panic!("not refused: {result:?}");
    };
    fault.kind
}

/// One byte too many; otherwise a success.
fn large(status: &str) -> Reply {
    Reply::json(status, &padded(256 * 1024 + 1))
}

fn padded(length: usize) -> String {
    [TOKEN, &" ".repeat(length - TOKEN.len())].concat()
}

#[rstest]
#[case::html(Reply::with_headers("200 OK", "", b"<html></html>"), FaultKind::Unreadable)]
#[case::too_large(large("200 OK"), FaultKind::Unreadable)]
#[case::too_large_refusal(large("401 Unauthorized"), FaultKind::UnknownRefusal)]
#[case::created(Reply::json("201 Created", TOKEN), FaultKind::Unreadable)]
#[case::illegal_token(Reply::json("200 OK", r#"{"access_token":"a\nb"}"#), FaultKind::Unreadable)]
#[case::refused(
    Reply::json(
        "401 Unauthorized",
        r#"{"error":"invalid_client","error_description":"Bad credentials"}"#
    ),
    FaultKind::BadCredentials
)]
#[case::rate_limited(Reply::with_headers("429 Too Many Requests", "", b""), FaultKind::RateLimited)]
#[tokio::test]
async fn an_answer_without_token_is_classified(#[case] reply: Reply, #[case] expected: FaultKind) {
    assert_eq!(kind(exchanged(reply, &password("p")).await), expected);
}

#[tokio::test]
async fn an_answer_of_exactly_256_kib_is_read() {
    let reply = Reply::json("200 OK", &padded(256 * 1024));
    assert!(exchanged(reply, &refresh()).await.is_ok());
}

#[tokio::test]
async fn the_grant_kind_decides_what_a_401_means() {
    let refused = Reply::json("401 Unauthorized", r#"{"error":"invalid_token"}"#);
    let result = exchanged(refused, &refresh()).await;
    assert_eq!(kind(result), FaultKind::RefreshTokenRejected);
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let elsewhere = RawServer::answering([Reply::json("200 OK", TOKEN)]).await;
    let location = format!("Location: {}\r\n", elsewhere.url("/login"));
    let redirect = Reply::with_headers("307 Temporary Redirect", &location, b"");
    let result = exchanged(redirect, &password("p")).await;
    assert_eq!(kind(result), FaultKind::Redirect);
    assert_eq!(elsewhere.seen(), [""; 0]);
}

#[tokio::test]
async fn silence_is_a_time_out_that_may_have_counted() {
    let wire = RawServer::answering([Reply::Silence]).await;
    let url = Url::parse(&wire.url("/oauth/token")).unwrap();
    let client = client_within(Duration::from_millis(50));
    let endpoint = TokenEndpoint::new(client, url, cf(), HeaderMap::new());
    let result = endpoint.exchange(&password("p")).await;
    let Err(ExchangeError::Transport(error)) = result else {
        panic!("{result:?}");
    };
    assert!(matches!(error, TransportError::Timeout { .. }));
    assert!(error.may_have_been_sent());
}

#[tokio::test]
async fn a_lost_connection_is_not_repeated() {
    let wire = RawServer::answering([Reply::Hangup, Reply::json("200 OK", TOKEN)]).await;
    let endpoint = endpoint(&wire.url("/oauth/token"));
    let result = endpoint.exchange(&password("p")).await;
    assert!(matches!(result, Err(ExchangeError::Transport(TransportError::Interrupted { .. }))));
    assert_eq!(wire.seen().len(), 1);
}

#[tokio::test]
async fn a_refused_connection_counts_nowhere() {
    let url = format!("http://{}/oauth/token", RawServer::closed_port().await);
    let result = endpoint(&url).exchange(&password("p")).await;
    let Err(ExchangeError::Transport(error)) = result else {
        panic!("{result:?}");
    };
    assert!(matches!(error, TransportError::Connect { kind: ConnectFault::Refused, .. }));
    assert!(!error.may_have_been_sent());
}

#[tokio::test]
async fn each_grant_has_a_connection_of_its_own() {
    let wire = RawServer::answering([
        Reply::Bytes(
            format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{TOKEN}", TOKEN.len()).into(),
        ),
        Reply::json("200 OK", TOKEN),
    ])
    .await;
    let endpoint = endpoint(&wire.url("/oauth/token"));
    for _ in 0..2 {
        endpoint.exchange(&refresh()).await.unwrap();
    }
    assert_eq!(wire.seen().len(), 2);
}

#[test]
fn debug_shows_the_url_and_no_header() {
    let mut headers = HeaderMap::new();
    headers.insert("x-key", HeaderValue::from_static("canary"));
    let url = Url::parse("https://login.example.com/oauth/token?canary").unwrap();
    let endpoint = TokenEndpoint::new(client(), url, cf(), headers);
    assert_eq!(
        format!("{endpoint:?}"),
        r#"TokenEndpoint { url: "https://login.example.com/oauth/token", .. }"#
    );
}

#[rstest]
#[case::empty("", "")]
#[case::no_pem("certificate", "key")]
#[case::no_key("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----", "")]
#[case::no_certificate("", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----")]
fn an_identity_needs_a_certificate_and_a_key(#[case] chain: &str, #[case] key: &str) {
    assert!(client_identity(&chain.into(), &key.into()).is_err());
}

/// What the endpoint may repeat of a request, in each form.
fn repeated(secret: &str) -> [String; 4] {
    let form: String = form_urlencoded::byte_serialize(secret.as_bytes()).collect();
    let html = secret.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;");
    let json = serde_json::Value::from(secret).to_string().trim_matches('"').to_owned();
    [secret.to_owned(), form, html, json]
}

#[tokio::test]
async fn what_was_sent_is_struck_from_the_answer_before_it_is_cut() {
    // The entity would vanish when the escapes of older UAAs are removed.
    const SECRET: &str = "Canary<1&2 \"3&amp;4";
    let basic = ClientAuthentication::Basic { id: "cf".into(), secret: SECRET.into() };
    let body = ClientAuthentication::Body { id: "cf".into(), secret: SECRET.into() };
    let extra = Grant::Password {
        user: "tech".into(),
        password: "p".into(),
        login_hint: None,
        scope: None,
        extra: vec![("x".into(), SECRET.into())],
    };
    let grants = [
        (password(SECRET), cf()),
        (extra, cf()),
        (Grant::JwtBearer { assertion: SECRET.into() }, cf()),
        (Grant::RefreshToken { token: SECRET.into() }, cf()),
        (refresh(), basic),
        (Grant::ClientCredentials, body),
    ];
    for (grant, authentication) in grants {
        for form in repeated(SECRET) {
            for before in [0, 190] {
                let text = format!("{}{form}", "-".repeat(before));
                let answer = serde_json::json!({"error": text, "error_description": text});
                let reply = Reply::json("401 Unauthorized", &answer.to_string());
                let wire = RawServer::answering([reply]).await;
                let url = Url::parse(&wire.url("/oauth/token")).unwrap();
                let endpoint =
                    TokenEndpoint::new(client(), url, authentication.clone(), HeaderMap::new());
                let Err(ExchangeError::Refused(fault)) = endpoint.exchange(&grant).await else {
                    panic!("not refused");
                };
                let (error, excerpt) = (fault.error.unwrap(), fault.excerpt.unwrap());
                assert!(!error.contains("Canary") && !excerpt.contains("Canary"), "{excerpt}");
                assert!(excerpt.contains("(struck)"), "{excerpt}");
            }
        }
    }
}

#[rstest]
#[case::certificate(ConnectFault::TlsCertificate, Some(UnreachableCause::Certificate))]
#[case::protocol(ConnectFault::TlsProtocol, Some(UnreachableCause::Protocol))]
#[case::name(ConnectFault::Dns, Some(UnreachableCause::Name))]
#[case::refused(ConnectFault::Refused, None)]
#[case::slow(ConnectFault::Timeout, None)]
#[case::other(ConnectFault::Other, None)]
fn what_waiting_may_not_repair_has_a_cause(
    #[case] kind: ConnectFault,
    #[case] cause: Option<UnreachableCause>,
) {
    let error = ExchangeError::from(TransportError::Connect { kind, source: None });
    assert_eq!(error.unreachable(), cause);
    assert_eq!(error.is_certificate(), kind == ConnectFault::TlsCertificate);
}
