//! The rows of bad inputs that reach the proxy: what passes is sent byte for byte, and nothing else
//! is sent with it.

use std::time::Duration;

use rstest::rstest;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::{Instant, sleep},
};

use crate::{
    proxy_headers::seen,
    support::parse,
    wire::{
        Expected::{self, Problem},
        HeaderLines::{All, NoClose, NoToken},
        Wire, row,
    },
};

const UNAUTHENTICATED: Expected = Problem(401, "unauthenticated");
const TARGETS: [&str; 2] = ["/v3/apps?x=/../", "/v3/apps?x=%0d%0aSet-Cookie:a"];

/// The only request that the CF API received: its request line, and its headers in lower case.
fn only(wire: &Wire) -> (String, String) {
    let mut all = seen(&wire.sandbox);
    assert_eq!(all.len(), 1, "{all:?}");
    let one = all.remove(0);
    (one.first, one.head.to_lowercase())
}

#[tokio::test]
async fn rows_17_and_18_a_valid_query_passes_byte_for_byte() {
    let wire = Wire::start(&[]).await;
    for target in TARGETS {
        wire.sandbox.clear_journal();
        let first = format!("GET {target} HTTP/1.1");
        let got = wire.exchange(&wire.bytes(first.as_bytes(), All, "")).await;
        assert_eq!(got.len(), 1, "{got:?}");
        assert!(!got[0].head.contains("set-cookie"), "{got:?}");
        assert_eq!(only(&wire).0, first);
    }
}

#[tokio::test]
async fn rows_36_40_and_41_are_served_without_forwarding_their_headers() {
    let wire = Wire::start(&[]).await;
    let underscores = "X_Forwarded_For: 6.6.6.6\nProxy_Authorization: canary\n";
    let upgrade = "Connection: Upgrade\nUpgrade: websocket\nSec-WebSocket-Key: canary\nSec-WebSocket-Version: 13\n";
    let hops = "Connection: X-A\nConnection: close, X-B\nX-A: canary\nX-B: canary\n";
    for (number, add, rest) in [(36, All, underscores), (40, All, upgrade), (41, NoClose, hops)] {
        wire.sandbox.clear_journal();
        let got = wire.exchange(&wire.bytes(b"GET /v3/apps HTTP/1.1", add, rest)).await;
        assert_eq!(got.iter().map(|one| one.status).collect::<Vec<_>>(), [200], "row {number}");
        let (first, headers) = only(&wire);
        assert_eq!(first, "GET /v3/apps HTTP/1.1");
        for word in ["canary", "6.6.6.6", "upgrade", "x-a:", "x-b:"] {
            assert!(!headers.contains(word), "row {number}, {word}: {headers}");
        }
        let names = headers.lines().filter_map(|line| line.split_once(':')).map(|(name, _)| name);
        assert!(!names.into_iter().any(|name| name.contains('_')), "row {number}: {headers}");
    }
}

#[tokio::test]
async fn rows_37_38_and_42_to_45_are_refused_without_a_call() {
    let wire = Wire::start(&[("CFAPI_SERVER__BODY_TIMEOUT", "1s")]).await;
    let (get, post) = ("GET /v3/apps HTTP/1.1", "POST /v3/routes HTTP/1.1");
    let two = "Authorization: Bearer a\nAuthorization: Bearer b\n";
    let asking = "GET /v3/apps?access_token=t HTTP/1.1";
    let zz = "\nTransfer-Encoding: chunked\n\nzz\nabc\n0\n\n";
    let silent = "\nTransfer-Encoding: chunked\n\n5\nab";
    let wrong = wire
        .run(vec![
            row(37, post, All, zz, Problem(400, "bad_request")),
            row(38, post, NoClose, silent, Problem(408, "request_timeout")),
            row(42, get, NoToken, "", UNAUTHENTICATED),
            row(43, get, NoToken, two, UNAUTHENTICATED),
            row(44, get, NoToken, "Authorization: Bearer  t\n", UNAUTHENTICATED),
            row(45, asking, NoToken, "", UNAUTHENTICATED),
            row(45, asking, All, "", Problem(400, "malformed_path")),
        ])
        .await;
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

const JSON: &str = "Content-Type: application/json";

#[rstest]
#[tokio::test]
async fn a_slow_body_is_408_at_its_time_limit_although_it_never_pauses(
    #[values("/routes", "/v3/routes")] path: &str,
    #[values("Content-Length: 1000", "Transfer-Encoding: chunked")] framing: &str,
) {
    let wire = Wire::start(&[("CFAPI_SERVER__BODY_TIMEOUT", "1s")]).await;
    let mut stream = wire.connect().await;
    let head = format!("\n{JSON}\n{framing}\n\n");
    let head = wire.bytes(format!("POST {path} HTTP/1.1").as_bytes(), NoClose, &head);
    stream.write_all(&head).await.unwrap();
    let started = Instant::now();
    let (mut reader, mut writer) = stream.split();
    let drip = async {
        // Twenty times as long as a body may take.
        for _ in 0..100 {
            let piece: &[u8] = if framing.starts_with('C') { b" " } else { b"1\r\n \r\n" };
            if writer.write_all(piece).await.is_err() {
                break;
            }
            sleep(Duration::from_millis(200)).await;
        }
        std::future::pending::<()>().await;
    };
    let mut got = [0; 4096];
    let length = tokio::select! {
        () = drip => unreachable!("it never ends"),
        length = reader.read(&mut got) => length.unwrap(),
    };
    let took = started.elapsed();
    assert!(took >= Duration::from_millis(900) && took < Duration::from_secs(5), "{took:?}");
    let text = String::from_utf8_lossy(&got[..length]).to_lowercase();
    assert!(text.starts_with("http/1.1 408 ") && text.contains("connection: close"), "{text}");
    let body = text.split_once("\r\n\r\n").unwrap().1;
    assert_eq!(parse(body)["code"], "request_timeout", "{text}");
    assert_eq!(wire.upstream(), Vec::<String>::new());
}

#[rstest]
#[tokio::test]
async fn a_body_in_chunks_that_grows_over_the_limit_is_413(
    #[values("/routes", "/v3/routes")] path: &str,
) {
    let wire = Wire::start(&[("CFAPI_SERVER__BODY_LIMIT", "1KiB")]).await;
    let first = format!("POST {path} HTTP/1.1");
    let of_size = |size: usize| {
        let chunks = format!("100\n{}\n", " ".repeat(256)).repeat(size / 256);
        format!("\n{JSON}\nTransfer-Encoding: chunked\n\n{chunks}1\n \n0\n\n")
    };
    let got = wire.exchange(&wire.bytes(first.as_bytes(), All, &of_size(1024))).await;
    assert_eq!((got.len(), got[0].status, got[0].code().as_str()), (1, 413, "too_large"));
    let fits = wire.exchange(&wire.bytes(first.as_bytes(), All, &of_size(768))).await;
    assert_eq!((fits[0].status, fits[0].code().as_str()), (400, "bad_request"), "{fits:?}");
    assert_eq!(wire.upstream(), Vec::<String>::new());
}

#[rstest]
#[case::none("", 415)]
#[case::text("Content-Type: text/plain\n", 415)]
#[case::form("Content-Type: application/x-www-form-urlencoded\n", 415)]
#[case::latin1("Content-Type: application/json; charset=latin1\n", 415)]
#[case::problem("Content-Type: application/problem+json\n", 415)]
#[case::longer_name("Content-Type: application/jsonx\n", 415)]
#[case::another_parameter("Content-Type: application/json; x=y\n", 415)]
#[case::two_lines("Content-Type: application/json\nContent-Type: text/plain\n", 415)]
#[case::two_equal_lines("Content-Type: application/json\nContent-Type: application/json\n", 415)]
#[case::two_in_one_line("Content-Type: application/json, text/plain\n", 415)]
#[case::plain("Content-Type: application/json\n", 400)]
#[case::utf8("Content-Type: Application/JSON ; charset=UTF-8\n", 400)]
#[case::utf8_in_quotes("Content-Type: application/json;charset=\"utf-8\"\n", 400)]
#[tokio::test]
async fn only_json_in_utf8_is_a_body_of_the_proxy(#[case] kind: &str, #[case] status: u16) {
    let wire = Wire::start(&[]).await;
    // Valid JSON of an invalid form: a body that is read gets 400.
    let rest = format!("\n{kind}Content-Length: 2\n\n{{}}");
    let got = wire.exchange(&wire.bytes(b"POST /v3/routes HTTP/1.1", All, &rest)).await;
    let code = if status == 415 { "unsupported_media_type" } else { "bad_request" };
    assert_eq!((got.len(), got[0].status, got[0].code().as_str()), (1, status, code), "{got:?}");
    assert_eq!(wire.upstream(), Vec::<String>::new());
}
