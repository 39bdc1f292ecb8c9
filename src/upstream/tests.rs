//! The client on a real socket: what it sends, what it refuses to send, how failures are
//! classified. The purposes `Token` and `CfApi` stand for the two libraries, which must behave the
//! same here.

use crate::upstream::{
    ClientFactory, ConnectFault, HttpClient, HttpResponse,
    Purpose::{self, CfApi, Token},
    Settings, Timeouts, TransportError, UpstreamError,
    raw_server::{RawServer, Reply},
};
use bytes::Bytes;
use http::{Method, Request, StatusCode, header::LOCATION};
use rstest::rstest;
use std::{io::Write, path::PathBuf, time::Duration};

const CAP: usize = 1024;

/// Far longer than loopback needs, also on a busy machine.
const AMPLE: Duration = Duration::from_secs(20);

fn client(purpose: Purpose) -> HttpClient {
    client_within(purpose, Timeouts::whole(AMPLE, AMPLE))
}

fn client_within(purpose: Purpose, timeouts: Timeouts) -> HttpClient {
    let factory = ClientFactory::new(&Settings::default()).unwrap();
    factory.client_with_timeouts(purpose, timeouts).unwrap()
}

fn get(url: &str) -> Request<Bytes> {
    Request::get(url).body(Bytes::new()).unwrap()
}

async fn fetched(purpose: Purpose, reply: Reply) -> Result<HttpResponse, TransportError> {
    let wire = RawServer::answering([reply]).await;
    client(purpose).fetch(get(&wire.url("/x")), CAP).await
}

fn bytes(text: &str) -> Reply {
    Reply::Bytes(text.into())
}

#[rstest]
#[tokio::test]
async fn an_answer_has_status_headers_and_body(#[values(Token, CfApi)] purpose: Purpose) {
    let answer = fetched(purpose, Reply::with_headers("418 I'm a teapot", "X-A: b\r\n", b"short"))
        .await
        .unwrap();
    assert_eq!(answer.status, StatusCode::IM_A_TEAPOT);
    assert_eq!(answer.headers["x-a"], "b");
    assert_eq!(answer.body.as_slice(), b"short");
}

#[rstest]
#[tokio::test]
async fn the_request_holds_no_header_but_ours_and_the_necessary_ones(
    #[values(Token, CfApi)] purpose: Purpose,
) {
    let wire = RawServer::answering([Reply::json("200 OK", "{}")]).await;
    let request = Request::builder()
        .method(Method::POST)
        .uri(wire.url("/a/b?c=%7Bd%7D"))
        .header("X-Ours", "1")
        .body(Bytes::from_static(b"body"))
        .unwrap();
    client(purpose).fetch(request, CAP).await.unwrap();
    let seen = wire.seen().join("");
    let (head, body) = seen.split_once("\r\n\r\n").unwrap();
    let mut names: Vec<_> =
        head.lines().skip(1).map(|line| line.split(':').next().unwrap().to_lowercase()).collect();
    names.sort_unstable();
    assert_eq!((head.lines().next().unwrap(), body), ("POST /a/b?c=%7Bd%7D HTTP/1.1", "body"));
    assert_eq!(names, ["accept", "content-length", "host", "user-agent", "x-ours"]);
    let agent = format!("user-agent: cfapi-broker/{}", env!("CARGO_PKG_VERSION"));
    assert!(head.contains(&agent));
}

#[rstest]
#[tokio::test]
async fn a_redirect_is_an_answer_and_is_not_followed(#[values(Token, CfApi)] purpose: Purpose) {
    let elsewhere = RawServer::answering([Reply::json("200 OK", "{}")]).await;
    let location = format!("Location: {}\r\n", elsewhere.url("/"));
    let answer = fetched(purpose, Reply::with_headers("302 Found", &location, b"")).await.unwrap();
    assert_eq!(answer.status, StatusCode::FOUND);
    assert!(answer.headers.contains_key(LOCATION));
    assert_eq!(elsewhere.seen(), [""; 0]);
}

#[rstest]
#[tokio::test]
async fn no_cookie_is_kept(#[values(Token, CfApi)] purpose: Purpose) {
    let wire = RawServer::answering([
        Reply::with_headers("200 OK", "Set-Cookie: a=b; Path=/\r\n", b""),
        Reply::json("200 OK", "{}"),
    ])
    .await;
    let client = client(purpose);
    for _ in 0..2 {
        client.fetch(get(&wire.url("/x")), CAP).await.unwrap();
    }
    assert!(!wire.seen().join("").to_lowercase().contains("cookie"));
}

#[rstest]
#[case::announced(Reply::with_headers("200 OK", "", &[b'x'; CAP + 1]))]
#[case::announced_only(bytes("HTTP/1.1 200 OK\r\nContent-Length: 10000000000\r\n\r\n"))]
#[case::without_length(Reply::Bytes([&b"HTTP/1.1 200 OK\r\n\r\n"[..], &[b'x'; CAP + 1]].concat()))]
#[case::long_head(Reply::with_headers("200 OK", &format!("X: {}\r\n", "x".repeat(70_000)), b""))]
#[tokio::test]
async fn an_answer_beyond_the_cap_is_not_read(
    #[values(Token, CfApi)] purpose: Purpose,
    #[case] reply: Reply,
) {
    assert!(matches!(fetched(purpose, reply).await, Err(TransportError::TooLarge)));
}

#[rstest]
#[case::announced(Reply::with_headers("200 OK", "", &[b'x'; CAP]))]
#[case::without_length(Reply::Bytes([&b"HTTP/1.1 200 OK\r\n\r\n"[..], &[b'x'; CAP]].concat()))]
#[tokio::test]
async fn an_answer_of_exactly_the_cap_is_read(
    #[values(Token, CfApi)] purpose: Purpose,
    #[case] reply: Reply,
) {
    assert_eq!(fetched(purpose, reply).await.unwrap().body.len(), CAP);
}

#[rstest]
#[case::not_http(bytes("pardon?\r\n\r\n"))]
#[case::two_lengths(bytes("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab"))]
#[case::many_headers(Reply::with_headers("200 OK", &"X: y\r\n".repeat(101), b""))]
#[tokio::test]
async fn an_answer_that_is_no_http_is_unreadable(
    #[values(Token, CfApi)] purpose: Purpose,
    #[case] reply: Reply,
) {
    let error = fetched(purpose, reply).await.unwrap_err();
    assert!(matches!(error, TransportError::Unreadable { .. }), "{error:?}");
    assert!(error.may_have_been_sent());
}

#[rstest]
#[case::closed_without_answer(Reply::Hangup)]
#[case::truncated_head(bytes("HTTP/1.1 200 OK\r\nContent-Le"))]
#[case::truncated_body(bytes("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc"))]
#[tokio::test]
async fn a_broken_answer_is_an_interruption_after_sending(
    #[values(Token, CfApi)] purpose: Purpose,
    #[case] reply: Reply,
) {
    let error = fetched(purpose, reply).await.unwrap_err();
    assert!(matches!(error, TransportError::Interrupted { .. }), "{error:?}");
}

#[rstest]
#[case::head(Reply::Silence, 50, 50)]
#[case::body(Reply::Stall("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc".into()), 20_000, 500)]
#[tokio::test]
async fn silence_is_a_time_out_after_sending(
    #[values(Token, CfApi)] purpose: Purpose,
    #[case] reply: Reply,
    #[case] head: u64,
    #[case] total: u64,
) {
    let wire = RawServer::answering([reply]).await;
    let client = client_within(
        purpose,
        Timeouts {
            connect: AMPLE,
            head: Duration::from_millis(head),
            total: Duration::from_millis(total),
        },
    );
    let error = client.fetch(get(&wire.url("/")), CAP).await.unwrap_err();
    assert!(matches!(error, TransportError::Timeout { .. }), "{error:?}");
    assert!(error.may_have_been_sent());
}

#[rstest]
#[case::refused("http", ConnectFault::Refused)]
#[case::refused_tls("https", ConnectFault::Refused)]
#[tokio::test]
async fn a_closed_port_is_a_refused_connection(
    #[values(Token, CfApi)] purpose: Purpose,
    #[case] scheme: &str,
    #[case] fault: ConnectFault,
) {
    let url = format!("{scheme}://{}/", RawServer::closed_port().await);
    assert_connect_fault(&client(purpose).fetch(get(&url), CAP).await, fault);
}

#[rstest]
#[tokio::test]
async fn a_name_without_address_has_a_fault_of_its_own(#[values(Token, CfApi)] purpose: Purpose) {
    // RFC 6761 reserves this top level: it has no names. A machine without a resolver fails in the
    // same way.
    let answer = client(purpose).fetch(get("https://nowhere.invalid/"), CAP).await;
    assert_connect_fault(&answer, ConnectFault::Dns);
}

#[rstest]
#[case::plain_text(bytes("HTTP/1.1 400 Bad Request\r\n\r\n"))]
#[case::early_end(Reply::Hangup)]
// A TLS alert: protocol version.
#[case::old_version(Reply::Bytes(vec![0x15, 3, 1, 0, 2, 2, 70]))]
#[tokio::test]
async fn a_peer_without_our_tls_gets_no_byte_of_the_request(
    #[values(Token, CfApi)] purpose: Purpose,
    #[case] reply: Reply,
) {
    let wire = RawServer::answering([reply]).await;
    let url = wire.url("/secret-path").replace("http:", "https:");
    let request = Request::post(url).body(Bytes::from("secret-body")).unwrap();
    let answer = client(purpose).fetch(request, CAP).await;
    assert_connect_fault(&answer, ConnectFault::TlsProtocol);
    assert!(!wire.seen().join("").contains("secret"));
}

#[rstest]
#[tokio::test]
async fn a_silent_tls_peer_is_a_connection_that_was_never_made(
    #[values(Token, CfApi)] purpose: Purpose,
) {
    let wire = RawServer::answering([Reply::Silence]).await;
    let client = client_within(purpose, Timeouts::whole(Duration::from_millis(50), AMPLE));
    let url = wire.url("/").replace("http:", "https:");
    assert_connect_fault(&client.fetch(get(&url), CAP).await, ConnectFault::Timeout);
}

fn assert_connect_fault(answer: &Result<HttpResponse, TransportError>, fault: ConnectFault) {
    let Err(TransportError::Connect { kind, .. }) = answer else {
        panic!("not a connect fault: {answer:?}");
    };
    assert_eq!(*kind, fault, "{answer:?}");
}

#[rstest]
#[case::plain_text_to_a_stranger("http://example.com/")]
#[case::plain_text_to_a_private_host("http://10.0.0.1/")]
#[case::name_that_begins_like_loopback("http://localhost.example.com/")]
#[case::other_scheme("ftp://127.0.0.1/")]
#[case::user_in_the_url("https://user:pw@example.com/")]
#[case::dot_segments("https://example.com/v3/../v2/info")]
#[case::encoded_dot_segments("https://example.com/v3/%2e%2e/v2/info")]
#[case::decimal_address("http://2130706433/")]
#[case::short_address("http://127.1/")]
#[tokio::test]
async fn a_target_that_is_unsafe_or_would_be_rewritten_is_refused(
    #[values(Token, CfApi)] purpose: Purpose,
    #[case] url: &str,
) {
    let answer = client(purpose).fetch(get(url), CAP).await;
    assert!(matches!(answer, Err(TransportError::Refused)), "{answer:?}");
}

#[rstest]
#[tokio::test]
async fn a_relative_target_is_refused(#[values(Token, CfApi)] purpose: Purpose) {
    let answer = client(purpose).fetch(get("/v3/apps"), CAP).await;
    assert!(matches!(answer, Err(TransportError::Refused)));
}

#[rstest]
#[tokio::test]
async fn debug_shows_status_and_sizes_only(#[values(Token, CfApi)] purpose: Purpose) {
    let answer = fetched(purpose, Reply::with_headers("200 OK", "X-A: canary\r\n", b"canary"))
        .await
        .unwrap();
    let shown = format!("{answer:?}");
    assert_eq!(shown, "HttpResponse { status: 200, headers: 3, body: 6, .. }");
}

#[rstest]
#[tokio::test]
async fn an_error_shows_no_query(#[values(Token, CfApi)] purpose: Purpose) {
    let url = format!("http://{}/?a=canary", RawServer::closed_port().await);
    let error = client(purpose).fetch(get(&url), CAP).await.unwrap_err();
    assert!(!format!("{error:?} {error}").contains("canary"));
}

#[rstest]
#[case::token(Purpose::Token, 5, 15, 15)]
#[case::destination(Purpose::Destination, 3, 10, 10)]
#[case::keys(Purpose::Keys, 2, 5, 5)]
#[case::cf_api(Purpose::CfApi, 3, 20, 30)]
fn each_purpose_has_its_time_outs(
    #[case] purpose: Purpose,
    #[case] connect: u64,
    #[case] head: u64,
    #[case] total: u64,
) {
    let timeouts = Timeouts {
        connect: Duration::from_secs(connect),
        head: Duration::from_secs(head),
        total: Duration::from_secs(total),
    };
    assert_eq!(purpose.timeouts(), timeouts);
}

fn factory_with_ca(content: &[u8]) -> Result<ClientFactory, UpstreamError> {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(content).unwrap();
    ClientFactory::new(&Settings { extra_ca_file: Some(file.path().into()) })
}

#[test]
fn a_missing_ca_file_is_an_error_that_names_it() {
    let error =
        ClientFactory::new(&Settings { extra_ca_file: Some(PathBuf::from("/no/such/file.pem")) })
            .unwrap_err();
    assert!(matches!(error, UpstreamError::CaFile { .. }));
    assert!(error.to_string().contains("/no/such/file.pem"));
}

#[rstest]
#[case::empty(b"")]
#[case::text(b"not a certificate")]
#[case::broken(b"-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n")]
fn a_ca_file_without_certificate_is_an_error(#[case] content: &[u8]) {
    assert!(matches!(factory_with_ca(content), Err(UpstreamError::CaContent { .. })));
}
