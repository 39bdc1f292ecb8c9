//! The rows of bad inputs that reach the proxy: what passes does so byte for byte, and nothing else goes with it.

use crate::{
    proxy_headers::seen,
    wire::{
        Add::{All, NoClose, NoToken},
        Must::{self, Be},
        Wire, row,
    },
};

const NOBODY: Must = Be(401, "unauthenticated");
const TARGETS: [&str; 2] = ["/v3/apps?x=/../", "/v3/apps?x=%0d%0aSet-Cookie:a"];

/// The only request that the CF API saw: its first line, and its headers in lower case.
fn only(wire: &Wire) -> (String, String) {
    let mut all = seen(&wire.sandbox);
    assert_eq!(all.len(), 1, "{all:?}");
    let one = all.remove(0);
    (one.first, one.head.to_lowercase())
}

#[tokio::test]
async fn rows_17_and_18_a_lawful_query_passes_byte_for_byte() {
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
async fn rows_36_40_and_41_are_served_and_what_came_with_them_goes_nowhere() {
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
            row(37, post, All, zz, Be(400, "bad_request")),
            row(38, post, NoClose, silent, Be(408, "request_timeout")),
            row(42, get, NoToken, "", NOBODY),
            row(43, get, NoToken, two, NOBODY),
            row(44, get, NoToken, "Authorization: Bearer  t\n", NOBODY),
            row(45, asking, NoToken, "", NOBODY),
            row(45, asking, All, "", Be(400, "malformed_path")),
        ])
        .await;
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
