//! Raw bytes from a hostile client to the real port: the response to each, and that the CF API sees
//! none of them.

use std::{collections::BTreeMap, time::Duration};

use cfapi_sandbox::{PROVIDER_CLIENT, Part, Sandbox};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::{
    proxy_headers::seen,
    support::{TestBroker, parse, sandbox, variables},
};

/// Nothing here takes this long unless the broker hangs.
pub(crate) const READ_TIMEOUT: Duration = Duration::from_secs(60);

/// All scopes.
const SCOPES: &[&str] =
    &["Routes.Read", "Routes.Write", "Routes.Admin", "Spaces.Read", "Metrics.Read", "Api.Proxy"];

/// One response as received.
#[derive(Debug)]
pub(crate) struct Raw {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

/// The expected response to a row of the table.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Expected {
    /// This status from the parser itself, without a problem document.
    Bare(u16),
    /// A problem with this status and code.
    Problem(u16, &'static str),
    /// An answer that is not a problem.
    Served,
}

/// What is added to a row's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HeaderLines {
    /// `Host`, `Connection: close`, a token with all scopes.
    All,
    /// All but `Host`.
    NoHost,
    /// All but the token.
    NoToken,
    /// All but `Connection`.
    NoClose,
}

/// Number, first line (or more lines), what is added, the rest after the added lines, the expected
/// response.
pub(crate) type Row = (u16, Vec<u8>, HeaderLines, &'static str, Expected);

pub(crate) fn row(
    number: u16,
    first: impl AsRef<[u8]>,
    add: HeaderLines,
    rest: &'static str,
    must: Expected,
) -> Row {
    (number, first.as_ref().to_vec(), add, rest, must)
}

/// A sandbox, a broker in it, and a token with all scopes.
pub(crate) struct Wire {
    pub(crate) sandbox: Sandbox,
    pub(crate) broker: TestBroker,
    pub(crate) token: String,
}

impl Wire {
    pub(crate) async fn start(settings: &[(&str, &str)]) -> Self {
        Self::start_for(PROVIDER_CLIENT, SCOPES, settings).await
    }

    /// The same with another caller.
    pub(crate) async fn start_for(
        client: &str,
        scopes: &[&str],
        settings: &[(&str, &str)],
    ) -> Self {
        Self::within(sandbox().await, client, scopes, settings).await
    }

    /// The same in an existing sandbox.
    pub(crate) async fn within(
        sandbox: Sandbox,
        client: &str,
        scopes: &[&str],
        settings: &[(&str, &str)],
    ) -> Self {
        let own = settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let all: BTreeMap<_, _> = variables(&sandbox).into_iter().chain(own).collect();
        let broker = TestBroker::with(all).await;
        let token = sandbox.caller_token(client, scopes);
        Self { sandbox, broker, token }
    }

    pub(crate) fn own_host(&self) -> &str {
        self.broker.base.trim_start_matches("http://")
    }

    pub(crate) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.own_host()).await.unwrap()
    }

    /// Builds the bytes of a row; a line feed in the table means CRLF.
    pub(crate) fn bytes(&self, first: &[u8], add: HeaderLines, rest: &str) -> Vec<u8> {
        let mut bytes = first.to_vec();
        let mut line = |text: &str| bytes.extend_from_slice(format!("\r\n{text}").as_bytes());
        if add != HeaderLines::NoHost {
            line(&format!("Host: {}", self.own_host()));
        }
        if add != HeaderLines::NoClose {
            line("Connection: close");
        }
        if add != HeaderLines::NoToken {
            line(&format!("Authorization: Bearer {}", self.token));
        }
        if !rest.contains("\n\n") {
            bytes.extend_from_slice(b"\r\n");
        }
        bytes.extend_from_slice(rest.replace('\n', "\r\n").as_bytes());
        if !rest.contains("\n\n") {
            bytes.extend_from_slice(b"\r\n");
        }
        bytes
    }

    /// Sends and reads to the end of the connection.
    pub(crate) async fn exchange(&self, bytes: &[u8]) -> Vec<Raw> {
        let mut stream = self.connect().await;
        stream.write_all(bytes).await.unwrap();
        read(&mut stream).await
    }

    /// Requests that reached the CF API.
    pub(crate) fn upstream(&self) -> Vec<String> {
        let of_cf = self.sandbox.journal().into_iter().filter(|entry| entry.part == Part::Cf);
        of_cf.map(|e| format!("{} {}?{}", e.method, e.path, e.query)).collect()
    }

    /// Runs the rows and returns the failures by row number. `Served` rows need further checks by
    /// the caller.
    pub(crate) async fn run(&self, rows: Vec<Row>) -> Vec<String> {
        let mut wrong = Vec::new();
        for (number, first, add, rest, must) in rows {
            let before = self.upstream().len();
            let got = self.exchange(&self.bytes(&first, add, rest)).await;
            let seen = self.upstream().len() - before;
            let verdict = match (must, got.as_slice()) {
                (Expected::Bare(status), [one]) => one.status == status && seen == 0,
                (Expected::Problem(status, code), [one]) => {
                    (one.status, one.code().as_str()) == (status, code) && seen == 0
                }
                (Expected::Served, [one]) => one.status == 200,
                (Expected::Bare(_) | Expected::Problem(..) | Expected::Served, _) => false,
            };
            if !verdict {
                wrong.push(format!("row {number}: {must:?}, {seen} upstream, {got:?}"));
            }
        }
        wrong
    }
}

impl Raw {
    /// The problem's code; empty if the body is not a problem.
    pub(crate) fn code(&self) -> String {
        let is_problem = self.head.contains("content-type: application/problem+json");
        let body = parse(&self.body);
        let code = body["code"].as_str().filter(|_| is_problem && body["status"] == self.status);
        code.unwrap_or_default().to_owned()
    }
}

/// Reads until the peer closes and parses the responses.
pub(crate) async fn read(stream: &mut TcpStream) -> Vec<Raw> {
    let mut bytes = Vec::new();
    timeout(READ_TIMEOUT, stream.read_to_end(&mut bytes)).await.expect("never closed").unwrap();
    let mut text = String::from_utf8(bytes).unwrap();
    let mut answers = Vec::new();
    while !text.is_empty() {
        let (head, rest) = text.split_once("\r\n\r\n").expect("half a head");
        let head = head.to_ascii_lowercase();
        let status = head.get(9..12).and_then(|digits| digits.parse().ok()).expect("no status");
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let length = length.map_or(rest.len(), |length| length.parse().unwrap());
        let (body, rest) = rest.split_at(length);
        answers.push(Raw { status, head: head.clone(), body: body.to_owned() });
        text = rest.to_owned();
    }
    answers
}

fn lines(name: &str, count: usize) -> String {
    (0..count).map(|n| format!("{name}-{n}: 1")).collect::<Vec<_>>().join("\n")
}

/// Rows 1 to 35 of the table of bad inputs (`docs/reference/proxy-rules.md`): refused before the
/// caller is authenticated, or for the broker's own paths.
fn rows() -> Vec<Row> {
    use Expected::{Bare, Problem, Served};
    use HeaderLines::{All, NoHost, NoToken};
    const MALFORMED_PATH: Expected = Problem(400, "malformed_path");
    const BAD_REQUEST: Expected = Problem(400, "bad_request");
    const NOT_FOUND: Expected = Problem(404, "not_found");
    const MISDIRECTED: Expected = Problem(421, "misdirected");
    const METHOD: Expected = Problem(405, "method_not_allowed");
    const LONG: Expected = Problem(414, "uri_too_long");
    let get = |target: &str| format!("GET {target} HTTP/1.1");
    let long = "a".repeat(8200);
    let post = "POST /v3/routes HTTP/1.1";
    vec![
        row(1, get("/v3/../v2/info"), All, "", MALFORMED_PATH),
        row(2, get("/v3/.%2E/v2/info"), All, "", MALFORMED_PATH),
        row(3, get("/v3/..;/oauth/token"), All, "", MALFORMED_PATH),
        row(4, get("/v3/%252e%252e/v2"), All, "", MALFORMED_PATH),
        row(5, get("//evil.example/v3/apps"), All, "", MALFORMED_PATH),
        row(6, get("/v3//apps"), All, "", MALFORMED_PATH),
        row(7, get("/v3/apps%2f..%2f.."), All, "", MALFORMED_PATH),
        row(8, get("/v3\\..\\v2"), All, "", MALFORMED_PATH),
        row(9, get("/v3/apps%00.json"), All, "", MALFORMED_PATH),
        row(10, get("/v3/apps%0d%0aX-Evil:1"), All, "", MALFORMED_PATH),
        row(11, get("/v3@evil.example/"), All, "", NOT_FOUND),
        row(12, get("/v3/apps#x"), All, "", MALFORMED_PATH),
        row(13, get("/v3/%c0%ae%c0%ae/x"), All, "", MALFORMED_PATH),
        row(14, b"GET /v3/\xe9 HTTP/1.1", All, "", Bare(400)),
        row(15, get("/V3/apps"), All, "", NOT_FOUND),
        row(16, get(&format!("/v3/{long}")), All, "", LONG),
        row(19, get(&format!("/v3/apps?{long}")), All, "", LONG),
        row(20, get("/v3/apps?names={x}"), All, "", MALFORMED_PATH),
        row(21, get("*"), All, "", BAD_REQUEST),
        row(22, get("v3/apps"), All, "", Bare(400)),
        row(23, get("http://evil.example/v3/apps"), All, "", MISDIRECTED),
        row(24, "TRACE /v3/apps HTTP/1.1", All, "", METHOD),
        row(25, "CONNECT b.example:443 HTTP/1.1", All, "", METHOD),
        row(26, "get /v3/apps HTTP/1.1", All, "", METHOD),
        row(27, get("/"), NoHost, "", BAD_REQUEST),
        row(28, get("/"), All, "Host: evil.example\n", BAD_REQUEST),
        row(29, get("/"), NoHost, "Host: evil.example\n", MISDIRECTED),
        row(30, get("/"), NoToken, "X-Forwarded-Host: evil.example\n", Served),
        row(32, post, All, "\nContent-Length: 4\nContent-Length: 5\n\nabcde", Bare(400)),
        row(33, post, All, "\nContent-Length: +4\n\nabcd", Bare(400)),
        row(34, post, All, "\nTransfer-Encoding: gzip, chunked\n\n0\n\n", BAD_REQUEST),
        row(35, get("/"), All, "X-A: 1\n 2\n", Bare(400)),
    ]
}

#[tokio::test]
async fn malformed_requests_are_refused_before_the_caller_is_authenticated() {
    let wire = Wire::start(&[]).await;
    let wrong = wire.run(rows()).await;
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(wire.upstream(), Vec::<String>::new());
}

#[tokio::test]
async fn row_30_a_forged_host_does_not_appear_in_the_response() {
    let wire = Wire::start(&[]).await;
    let first = b"GET / HTTP/1.1";
    let rest = "X-Forwarded-Host: evil.example\nForwarded: host=evil.example\n";
    let got = wire.exchange(&wire.bytes(first, HeaderLines::All, rest)).await;
    assert_eq!(got[0].status, 200);
    assert!(!got[0].head.contains("evil") && !got[0].body.contains("evil"), "{got:?}");
}

#[tokio::test]
async fn row_39_too_many_or_too_long_headers_are_431() {
    let wire = Wire::start(&[]).await;
    let long = format!("x-long: {}\n", "a".repeat(70 * 1024));
    for (case, headers) in [lines("x", 200), lines("x", 99), long].into_iter().enumerate() {
        let first = format!("GET / HTTP/1.1\n{headers}").trim_end().replace('\n', "\r\n");
        let got = wire.exchange(&wire.bytes(first.as_bytes(), HeaderLines::All, "")).await;
        assert_eq!(got.iter().map(|one| one.status).collect::<Vec<_>>(), [431], "{case}");
    }
    // With the three added headers these are 101.
    let first = format!("GET / HTTP/1.1\n{}", lines("x", 98)).trim_end().replace('\n', "\r\n");
    let got = wire.exchange(&wire.bytes(first.as_bytes(), HeaderLines::All, "")).await;
    assert_eq!(got[0].status, 200);
}

#[tokio::test]
async fn mixed_lengths_get_one_answer_and_a_closed_connection() {
    let wire = Wire::start(&[]).await;
    // A request that would reach the CF API.
    let (host, token) = (wire.own_host(), &wire.token);
    let hidden = format!("GET /v3/apps HTTP/1.1\nHost: {host}\nAuthorization: Bearer {token}\n\n");
    let smuggled = format!("0\n\n{hidden}");
    let headers = [
        "Content-Length: 4\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\nContent-Length: 4",
        "Transfer-Encoding: chunked\nTransfer-Encoding: chunked\nContent-Length: 4",
        "Transfer-Encoding: identity\nContent-Length: 4",
        "Transfer-Encoding: xchunked\nContent-Length: 4",
        "Transfer-Encoding: chunked, identity\nContent-Length: 4",
        "Transfer-Encoding:\nContent-Length: 4",
        "Transfer-Encoding: \u{b}chunked\nContent-Length: 4",
        "Transfer-Encoding : chunked\nContent-Length: 4",
        "Content-Length: 4\nContent-Length: 4, 5",
        "Content-Length: 0x4",
        "Content-Length: -1",
        "Content-Length: 99999999999999999999",
    ];
    for path in ["/v3/routes", "/routes"] {
        for header in headers {
            let first = format!("POST {path} HTTP/1.1");
            let rest = format!("\n{header}\nContent-Type: application/json\n\n{smuggled}");
            let got =
                wire.exchange(&wire.bytes(first.as_bytes(), HeaderLines::NoClose, &rest)).await;
            assert_eq!(got.len(), 1, "{path} {header}: {got:?}");
            assert!((400..500).contains(&got[0].status), "{path} {header}: {got:?}");
            assert!(got[0].head.contains("connection: close"), "{path} {header}: {got:?}");
        }
    }
    assert_eq!(wire.upstream(), Vec::<String>::new());
    let alone =
        format!("{}\n\n", hidden.trim_end().replace("HTTP/1.1", "HTTP/1.1\nConnection: close"));
    assert_eq!(wire.exchange(alone.replace('\n', "\r\n").as_bytes()).await[0].status, 200);
    assert!(wire.upstream().contains(&"GET /v3/apps?".to_owned()));
}

#[tokio::test]
async fn a_broken_chunk_is_400_and_the_connection_closes() {
    let wire = Wire::start(&[]).await;
    let rest = "\nTransfer-Encoding: chunked\nContent-Type: application/json\n\nzz\nabc\n0\n\n";
    let got =
        wire.exchange(&wire.bytes(b"POST /routes HTTP/1.1", HeaderLines::NoClose, rest)).await;
    assert_eq!((got.len(), got[0].status, got[0].code().as_str()), (1, 400, "bad_request"));
    assert!(got[0].head.contains("connection: close"), "{got:?}");
}

#[tokio::test]
async fn a_body_that_stops_is_408_and_the_connection_closes() {
    let wire = Wire::start(&[("CFAPI_SERVER__BODY_TIMEOUT", "1s")]).await;
    for length in ["Transfer-Encoding: chunked\n\n5\nab", "Content-Length: 5\n\nab"] {
        let rest = format!("\nContent-Type: application/json\n{length}");
        let got =
            wire.exchange(&wire.bytes(b"POST /routes HTTP/1.1", HeaderLines::NoClose, &rest)).await;
        assert_eq!((got.len(), got[0].status, got[0].code().as_str()), (1, 408, "request_timeout"));
        assert!(got[0].head.contains("connection: close"), "{got:?}");
    }
    assert_eq!(wire.upstream(), Vec::<String>::new());
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_by_its_length_without_being_read() {
    let wire = Wire::start(&[]).await;
    let rest = "\nContent-Type: application/json\nContent-Length: 2000000\n\nab";
    for (path, add) in [
        ("/v3/routes", HeaderLines::NoToken),
        ("/routes", HeaderLines::NoToken),
        ("/routes/reconcile", HeaderLines::All),
    ] {
        let first = format!("POST {path} HTTP/1.1");
        let got = wire.exchange(&wire.bytes(first.as_bytes(), add, rest)).await;
        assert_eq!((got[0].status, got[0].code().as_str()), (413, "too_large"), "{path}");
    }
    let large = "\nContent-Type: application/json\nContent-Length: 70000\n\nab";
    let large = wire.bytes(b"POST /routes/reconcile HTTP/1.1", HeaderLines::NoToken, large);
    assert_eq!(wire.exchange(&large).await[0].status, 401);
}

#[tokio::test]
async fn other_heads_that_are_refused_or_accepted() {
    let wire = Wire::start(&[]).await;
    let json = "\nContent-Type: application/json\n";
    for (first, rest, status) in [
        ("GET / HTTP/1.0", String::new(), 400),
        ("PRI * HTTP/1.1", String::new(), 400),
        ("OPTIONS * HTTP/1.1", String::new(), 405),
        ("GET / HTTP/1.1", "Expect: 200-ok\n".to_owned(), 417),
        (
            "POST /routes HTTP/1.1",
            format!("{json}Content-Encoding: gzip\nContent-Length: 2\n\n{{}}"),
            415,
        ),
        ("DELETE /v3/routes/g1 HTTP/1.1", format!("{json}Content-Length: 2\n\n{{}}"), 400),
        ("GET /routes HTTP/1.1", "\nTransfer-Encoding: chunked\n\n0\n\n".to_owned(), 400),
        ("GET /health HTTP/1.1", "Upgrade: websocket\n".to_owned(), 200),
    ] {
        let got = wire.exchange(&wire.bytes(first.as_bytes(), HeaderLines::All, &rest)).await;
        assert_eq!(
            got.iter().map(|one| one.status).collect::<Vec<_>>(),
            [status],
            "{first} {rest}"
        );
    }
    let probe = wire.bytes(b"GET /health HTTP/1.1", HeaderLines::NoHost, "Host: 10.1.2.3:8080\n");
    assert_eq!(wire.exchange(&probe).await[0].status, 200);
    assert_eq!(wire.upstream(), Vec::<String>::new());
}

#[tokio::test]
async fn at_a_foundation_no_loopback_name_is_served() {
    let wire = Wire::start(&[("CFAPI_SERVER__NAMES", "extra.example.test")]).await;
    let application = wire.sandbox.vcap_application("broker.cfapps.example.test");
    let mut application = parse(&application);
    application["cf_api"] = "https://api.cf.example.test".into();
    let mut all = variables(&wire.sandbox);
    all.insert("VCAP_APPLICATION".to_owned(), application.to_string());
    all.insert("CFAPI_SERVER__NAMES".to_owned(), "extra.example.test".to_owned());
    let there = Wire { broker: TestBroker::with(all).await, ..wire };
    for (host, status) in [
        ("localhost", 421),
        ("127.0.0.1:8080", 421),
        ("broker.cfapps.example.test", 200),
        ("EXTRA.example.test:443", 200),
    ] {
        let rest = format!("Host: {host}\n");
        let got = there.exchange(&there.bytes(b"GET / HTTP/1.1", HeaderLines::NoHost, &rest)).await;
        assert_eq!(got[0].status, status, "{host}");
    }
}

#[tokio::test]
async fn the_preface_of_http2_is_closed_without_an_answer() {
    let wire = Wire::start(&[]).await;
    let got = wire.exchange(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await;
    assert!(got.is_empty(), "{got:?}");
}

#[tokio::test]
async fn an_upgrade_to_http2_is_ignored() {
    let wire = Wire::start(&[]).await;
    let first = b"GET / HTTP/1.1\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk";
    let got = wire.exchange(&wire.bytes(first, HeaderLines::All, "")).await;
    assert_eq!(got.iter().map(|one| one.status).collect::<Vec<_>>(), [200]);
}

#[tokio::test]
async fn trailers_are_dropped_and_never_merged() {
    let wire = Wire::start(&[]).await;
    let forged = format!("Authorization: Bearer {}", wire.token);
    let body = r#"{"tenantId":"t1","subdomain":"acme","app":"saas-approuter"}"#;
    let chunked = |trailer: &str| {
        let head = "Content-Type: application/json\nTransfer-Encoding: chunked\nTE: trailers\nTrailer: X-Evil";
        format!("\n{head}\n\n{:x}\n{body}\n0\n{trailer}\n\n", body.len())
    };
    let first = b"POST /routes HTTP/1.1";
    let refused = wire.exchange(&wire.bytes(first, HeaderLines::NoToken, &chunked(&forged))).await;
    assert_eq!((refused.len(), refused[0].status), (1, 401), "{refused:?}");
    assert_eq!(wire.upstream(), Vec::<String>::new());
    let made = wire
        .exchange(&wire.bytes(first, HeaderLines::All, &chunked("X-Evil: trailer-canary")))
        .await;
    assert_eq!((made.len(), made[0].status), (1, 201), "{made:?}");
    let all = seen(&wire.sandbox);
    assert!(all.iter().any(|seen| seen.first.starts_with("POST /v3/routes ")), "{all:?}");
    let evil = all.iter().filter(|seen| format!("{seen:?}").to_lowercase().contains("evil"));
    assert_eq!(evil.count(), 0);
}

#[tokio::test]
async fn headers_named_by_two_connection_lines_are_not_forwarded() {
    let wire = Wire::start(&[]).await;
    let first = b"GET /spaces HTTP/1.1\r\nConnection: X-A, Authorization\r\nConnection: X-B";
    let rest = "X-A: hop-canary\nX-B: hop-canary\nKeep-Alive: hop-canary\nTE: hop-canary\n";
    let got = wire.exchange(&wire.bytes(first, HeaderLines::All, rest)).await;
    assert_eq!(got.iter().map(|one| one.status).collect::<Vec<_>>(), [200], "{got:?}");
    let all = seen(&wire.sandbox);
    assert!(!all.is_empty() && !format!("{all:?}").contains("hop-canary"), "{all:?}");
}
