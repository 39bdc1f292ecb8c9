//! A request that is answered before its body was received, and the next one on its connection.

use std::time::Duration;

use rstest::rstest;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{sleep, timeout},
};

use crate::{
    support::{APP, answer, client, tenant::until},
    wire::{READ_TIMEOUT, Wire},
};

const BODY: &str = r#"{"subdomain":"acme","app":"saas-approuter"}"#;

/// Reads one response with a known length; returns its head and whether the connection stays open.
async fn one_answer(stream: &mut TcpStream) -> (String, bool) {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes).to_ascii_lowercase();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            if body.len() >= length.unwrap().parse().unwrap() {
                return (head.to_owned(), !head.contains("connection: close"));
            }
        }
        let read = timeout(READ_TIMEOUT, stream.read_buf(&mut bytes)).await;
        assert_ne!(read.expect("no answer").expect("reset"), 0, "closed after {text:?}");
    }
}

#[rstest]
#[case::nobody("PUT", "/routes/t1", "", 401)]
#[case::unknown_path("POST", "/nowhere", "", 404)]
#[case::unknown_method("PATCH", "/routes", "", 405)]
#[case::no_body_here("GET", "/spaces", "", 400)]
#[case::expected("PUT", "/routes/t1", "Expect: more\r\n", 417)]
#[case::coded("PUT", "/routes/t1", "Content-Encoding: gzip\r\n", 415)]
#[case::typed("PUT", "/routes/t1", "Content-Type: text/plain\r\nTOKEN", 415)]
#[case::denied("POST", "/v3/apps", "Content-Type: application/json\r\nTOKEN", 403)]
#[case::with_a_query("PUT", "/routes/t1?x=1", "Content-Type: application/json\r\nTOKEN", 400)]
#[tokio::test]
async fn the_next_request_is_served_whenever_the_body_comes(
    #[case] method: &str,
    #[case] path: &str,
    #[case] headers: &str,
    #[case] status: u16,
) {
    let wire = Wire::start(&[]).await;
    let host = wire.own_host();
    let headers = headers.replace("TOKEN", &format!("Authorization: Bearer {}\r\n", wire.token));
    let framed = |framing: &str| {
        format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\n{headers}{framing}\r\n\r\n")
    };
    let chunked = format!("{:x}\r\n{BODY}\r\n0\r\n\r\n", BODY.len());
    let messages = [
        (framed(&format!("Content-Length: {}", BODY.len())), BODY.to_owned()),
        (framed("Transfer-Encoding: chunked"), chunked),
    ];
    for (head, body) in messages {
        for micros in [0, 500, 2_000, 10_000] {
            let mut stream = wire.connect().await;
            stream.set_nodelay(true).unwrap();
            stream.write_all(head.as_bytes()).await.unwrap();
            sleep(Duration::from_micros(micros)).await;
            stream.write_all(body.as_bytes()).await.unwrap();
            let (first, open) = one_answer(&mut stream).await;
            assert!(first.starts_with(&format!("http/1.1 {status}")), "{first}");
            assert!(open, "{micros} µs: {first}");
            let next = format!("GET /health HTTP/1.1\r\nHost: {host}\r\n\r\n");
            stream.write_all(next.as_bytes()).await.unwrap();
            let (second, _) = one_answer(&mut stream).await;
            assert!(second.starts_with("http/1.1 200"), "{micros} µs: {second}");
        }
    }
}

#[rstest]
#[case::too_large("Content-Length: 900000", 413)]
#[case::largest("Content-Length: 18446744073709551613", 413)]
#[case::beyond_64_bits("Content-Length: 18446744073709551616", 400)]
#[case::far_beyond("Content-Length: 99999999999999999999999999", 400)]
#[case::announced("Content-Length: 900000\r\nExpect: 100-continue", 413)]
#[case::endless("Transfer-Encoding: chunked", 413)]
#[tokio::test]
async fn a_body_that_is_too_large_gets_its_answer_and_no_reset(
    #[case] framing: &str,
    #[case] status: u16,
) {
    let wire = Wire::start(&[]).await;
    let (host, token) = (wire.own_host(), &wire.token);
    let head = format!(
        "PUT /routes/t1 HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\n\
         Content-Type: application/json\r\n{framing}\r\n\r\n"
    );
    let mut stream = wire.connect().await;
    stream.write_all(head.as_bytes()).await.unwrap();
    let piece = "x".repeat(0x8000);
    let chunk = if framing.contains("chunked") { format!("8000\r\n{piece}\r\n") } else { piece };
    for _ in 0..20 {
        // The broker has closed its side only after it has answered.
        if stream.write_all(chunk.as_bytes()).await.is_err() {
            break;
        }
    }
    let (head, open) = one_answer(&mut stream).await;
    assert!(head.starts_with(&format!("http/1.1 {status}")) && !open, "{head}");
}

#[tokio::test]
async fn a_refused_caller_without_its_body_holds_no_permit_while_it_is_waited_for() {
    let wire =
        Wire::start(&[("CFAPI_AUTH__MAX_IN_FLIGHT", "1"), ("CFAPI_SERVER__MAX_IN_FLIGHT", "1")]);
    let wire = wire.await;
    let (host, token) = (wire.own_host(), &wire.token);
    let head = format!(
        "PUT /routes/t1 HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\n\
         Content-Type: text/plain\r\nContent-Length: 5\r\n\r\n"
    );
    let mut waiting = wire.connect().await;
    waiting.write_all(head.as_bytes()).await.unwrap();
    let other = client().get(format!("{}/destinations", wire.broker.base)).bearer_auth(token);
    assert_eq!(answer(other).await.status, 200);
    waiting.write_all(b"hello").await.unwrap();
    assert!(one_answer(&mut waiting).await.1);
}

#[tokio::test]
async fn the_payload_of_a_delete_is_received_and_ignored() {
    let wire = Wire::start(&[]).await;
    let (base, token) = (&wire.broker.base, wire.sandbox.provider_token());
    let payload =
        json!({"subscribedTenantId": "other", "subscribedSubdomain": "x", "eventType": "DELETE"});
    let put = json!({"subdomain": "acme", "app": APP});
    assert_eq!(wire.broker.put("/routes/t1", &token, &put).await.status, 201);
    let delete = |path: &str| client().delete(format!("{base}{path}")).bearer_auth(&token);
    let typed = |path: &str| delete(path).header("content-type", "application/json");
    let too_much = typed("/routes/t1").body("x".repeat(64 * 1024 + 1));
    assert_eq!(answer(too_much).await.status, 413);
    let passed = typed("/v3/routes/g1").body(payload.to_string());
    assert_eq!(answer(passed).await.status, 400);
    let list = wire.broker.get("/routes", &token).await;
    assert!(list.text.contains("\"t1\""), "nothing was deleted: {}", list.text);
    let got = answer(typed("/routes/t1").body(payload.to_string())).await;
    assert_eq!(got.status, 204, "{}", got.text);
    let list = wire.broker.get("/routes", &token).await;
    assert!(!list.text.contains("\"t1\""), "{}", list.text);
    assert_eq!(answer(delete("/routes/t1").body("no json")).await.status, 204);
    // A payload that never ends deletes nothing.
    let before = wire.upstream().len();
    let broken = format!(
        "DELETE /routes/t1 HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {token}\r\n\
         Transfer-Encoding: chunked\r\n\r\nno number\r\n",
        wire.own_host()
    );
    let got = wire.exchange(broken.as_bytes()).await;
    assert_eq!((got.len(), got[0].status, wire.upstream().len()), (1, 400, before), "{got:?}");
}

#[rstest]
#[case::javascript("undefined")]
#[case::java("null")]
#[case::python("None")]
#[case::not_a_number("NaN")]
#[tokio::test]
async fn no_route_is_made_for_a_tenant_that_a_program_did_not_have(#[case] tenant: &str) {
    let wire = Wire::start(&[]).await;
    let token = wire.sandbox.provider_token();
    let body = json!({"subdomain": "acme", "app": APP, "tenantId": tenant});
    let batch =
        json!({"items": [{"op": "ensure", "tenantId": tenant, "subdomain": "acme", "app": APP}]});
    let path = format!("/routes/{tenant}");
    let put = wire.broker.put(&path, &token, &json!({"subdomain": "acme", "app": APP})).await;
    let odd = json!({"subdomain": "undefined", "app": APP});
    let subdomain = wire.broker.put("/routes/t1", &token, &odd).await;
    let post = wire.broker.send(http::Method::POST, "/routes", Some(&token), Some(&body)).await;
    for got in [put, subdomain, post] {
        assert_eq!((got.status, got.code().as_str()), (400, "bad_request"), "{}", got.text);
        assert!(got.text.contains("missing value"), "{}", got.text);
    }
    let got =
        wire.broker.send(http::Method::POST, "/routes/batch", Some(&token), Some(&batch)).await;
    assert_eq!(got.json()["results"][0]["status"], 400, "{}", got.text);
    assert!(wire.sandbox.world().routes().iter().all(|route| !route.host.contains("acme")));
    assert_eq!(wire.broker.delete(&path, &token).await.status, 204);
}

#[rstest]
#[case::alive("/health", "")]
#[case::ready("/health/ready", "")]
#[case::with_any_host("/health", "Host: 10.0.0.7:8080\r\n")]
#[case::that_wants_more("/health/ready", "Host: a\r\nConnection: keep-alive\r\n")]
#[tokio::test]
async fn a_probe_in_http_1_0_is_answered_and_its_connection_closed(
    #[case] path: &str,
    #[case] headers: &str,
) {
    let wire = Wire::start(&[]).await;
    for method in ["GET", "HEAD", "OPTIONS"] {
        let probe = format!("{method} {path} HTTP/1.0\r\n{headers}\r\n");
        let mut stream = wire.connect().await;
        stream.write_all(probe.as_bytes()).await.unwrap();
        let mut text = String::new();
        let closed = timeout(READ_TIMEOUT, stream.read_to_string(&mut text)).await;
        closed.expect("stays open").unwrap();
        assert!(text.starts_with("HTTP/1.0 200 "), "{text}");
        assert!(text.to_ascii_lowercase().contains("\r\nconnection: close\r\n"), "{text}");
        assert!(!text.to_ascii_lowercase().contains("keep-alive"), "{text}");
        assert_eq!(text.contains(r#""status":"UP""#), method != "HEAD", "{text}");
    }
    let twice = wire.exchange(b"GET /health HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n").await;
    let others = ["/", "/routes", "/v3", "/health/", "/healthy"];
    for path in others {
        let got = wire.exchange(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes()).await;
        assert_eq!((got.len(), got[0].status), (1, 400), "{path}: {got:?}");
        let got = wire.exchange(format!("OPTIONS {path} HTTP/1.0\r\n\r\n").as_bytes()).await;
        assert_eq!((got.len(), got[0].status), (1, 405), "{path}: {got:?}");
    }
    assert_eq!(twice[0].status, 400);
}

/// Opens a connection with a request of `token` whose body does not come.
async fn slow_body(wire: &Wire, token: &str) -> TcpStream {
    let head = format!(
        "PUT /routes/t1 HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {token}\r\n\
         Content-Type: application/json\r\nContent-Length: 100\r\n\r\n",
        wire.own_host()
    );
    let mut stream = wire.connect().await;
    stream.write_all(head.as_bytes()).await.unwrap();
    stream
}

#[tokio::test]
async fn two_dozen_callers_with_slow_bodies_leave_a_healthy_one_alone() {
    let wire = Wire::start(&[]).await;
    let mut open = Vec::new();
    for number in 0..24 {
        let slow = wire.sandbox.caller_token(&format!("sb-slow-{number}!t1"), &["Routes.Write"]);
        for _ in 0..16 {
            open.push(slow_body(&wire, &slow).await);
        }
    }
    let token = wire.sandbox.provider_token();
    let put = json!({"subdomain": "acme", "app": APP});
    for number in 0..5 {
        let got = wire.broker.put(&format!("/routes/t{number}"), &token, &put).await;
        // The host belongs to the first tenant.
        assert!(matches!(got.status, 201 | 409), "{}", got.text);
    }
    assert_eq!(open.len(), 24 * 16);
}

#[tokio::test]
async fn one_caller_that_sends_all_at_once_leaves_room_for_another() {
    let wire = Wire::start(&[]).await;
    crate::support::pull(
        &wire.sandbox,
        "hang",
        &json!({"part": "cf", "n": 16, "only": "/v3/apps"}),
    );
    let mut all = tokio::task::JoinSet::new();
    for _ in 0..300 {
        let get = client().get(format!("{}/v3/apps", wire.broker.base)).bearer_auth(&wire.token);
        all.spawn(async move { answer(get).await.status });
    }
    let hangs = || wire.upstream().iter().filter(|call| call.contains("/v3/apps")).count() == 16;
    until("sixteen calls that hang", hangs).await;
    let other = wire.sandbox.developer_token();
    assert_eq!(wire.broker.get("/destinations", &other).await.status, 200);
    crate::support::pull(&wire.sandbox, "release", &json!({"part": "cf"}));
    let answers = all.join_all().await;
    assert!(answers.iter().all(|status| matches!(status, 200 | 429)), "{answers:?}");
}

#[tokio::test]
async fn five_callers_whose_calls_hang_leave_permits_for_a_healthy_one() {
    let wire = Wire::start(&[]).await;
    crate::support::pull(
        &wire.sandbox,
        "hang",
        &json!({"part": "cf", "n": 80, "only": "/v3/jobs"}),
    );
    let mut all = tokio::task::JoinSet::new();
    for number in 0..5 {
        let token = wire.sandbox.caller_token(&format!("sb-hung-{number}!t1"), &["Api.Proxy"]);
        for _ in 0..16 {
            let get = client().get(format!("{}/v3/jobs/j1", wire.broker.base)).bearer_auth(&token);
            all.spawn(async move { answer(get).await.status });
        }
    }
    let hangs = || wire.upstream().iter().filter(|call| call.contains("/v3/jobs")).count() >= 40;
    until("most permits are taken", hangs).await;
    let token = wire.sandbox.provider_token();
    for number in 0..3 {
        let put = json!({"subdomain": format!("acme{number}"), "app": APP});
        let got = wire.broker.put(&format!("/routes/t{number}"), &token, &put).await;
        assert_eq!(got.status, 201, "{}", got.text);
    }
}
