//! Below HTTP: the bytes as received, reset connections, slow and cut answers.

use std::io::ErrorKind;
use std::time::Duration;

use cfapi_sandbox::token::CfTokenSpec;
use cfapi_sandbox::{Part, Sandbox, TECHNICAL_PASSWORD};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::support::{client, landscape, password_grant, send};

const INFO: &str = "GET /info HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n";

async fn socket(sandbox: &Sandbox) -> TcpStream {
    let address = sandbox.uaa_url().trim_start_matches("http://").to_owned();
    TcpStream::connect(address).await.unwrap()
}

/// Sends bytes and reads until the connection ends. Returns the bytes, and the error of the end.
async fn exchange(sandbox: &Sandbox, request: &str) -> (Vec<u8>, Option<ErrorKind>) {
    let mut socket = socket(sandbox).await;
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let end = socket.read_to_end(&mut answer).await.err().map(|error| error.kind());
    (answer, end)
}

#[tokio::test]
async fn the_last_token_request_is_kept_byte_for_byte() {
    let sandbox = landscape().await;
    let body = "grant_type=password&username=tech%2Bcfapi%40example.com&password=p%26ss";
    let request = format!(
        "POST /oauth/token HTTP/1.1\r\nhOsT: login.example.test\r\nAuthorization: Basic Y2Y6\r\nContent-Type: application/x-www-form-urlencoded\r\nAccept: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let second = "GET /info HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n";
    let (answer, _) = exchange(&sandbox, &format!("{request}{second}")).await;
    assert!(String::from_utf8_lossy(&answer).contains("HTTP/1.1 401"));
    assert_eq!(String::from_utf8(sandbox.last_uaa_request()).unwrap(), request);
    let over_http = send(client().get(format!("{}/wire/uaa", sandbox.levers_url()))).await;
    assert_eq!(over_http.text, request);
}

#[tokio::test]
async fn a_request_that_arrives_in_pieces_is_kept_complete() {
    let sandbox = landscape().await;
    let request = "POST /oauth/token HTTP/1.1\r\nHost: here\r\nConnection: close\r\nContent-Length: 3\r\n\r\na=b";
    let mut socket = socket(&sandbox).await;
    for piece in request.as_bytes().chunks(7) {
        socket.write_all(piece).await.unwrap();
        socket.flush().await.unwrap();
        tokio::task::yield_now().await;
    }
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer).await.unwrap();
    assert_eq!(sandbox.last_request(Part::Uaa), request.as_bytes());
}

#[tokio::test]
async fn a_cut_is_a_reset_without_an_answer() {
    let sandbox = landscape().await;
    sandbox.pull("cut", &json!({"part": "uaa"})).unwrap();
    let (answer, end) = exchange(&sandbox, INFO).await;
    assert_eq!((answer.len(), end), (0, Some(ErrorKind::ConnectionReset)));
    let (answer, end) = exchange(&sandbox, INFO).await;
    assert!(answer.starts_with(b"HTTP/1.1 200 OK\r\n"));
    assert_eq!(end, None);
}

/// Waits until the journal has a call to the CF API with this path that was or was not answered.
async fn until_journal(sandbox: &Sandbox, path: &str, answered: bool) {
    for _ in 0..200 {
        let journal = sandbox.journal();
        if journal.iter().any(|entry| entry.path == path && entry.status.is_some() == answered) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("never: {path}");
}

#[tokio::test]
async fn a_request_is_executed_although_its_client_has_gone() {
    let sandbox = landscape().await;
    sandbox.world().take_host("acme", "cfapps.example.test", "dev").unwrap();
    sandbox.world().job_delay(Duration::ZERO);
    let guid = sandbox.world().routes().remove(0).guid;
    let (path, token) = (format!("/v3/routes/{guid}"), sandbox.cf_token(&CfTokenSpec::default()));
    sandbox.pull("hang", &json!({"part": "cf"})).unwrap();
    let address = sandbox.cf_url().trim_start_matches("http://").to_owned();
    let mut gone = TcpStream::connect(address).await.unwrap();
    let request =
        format!("DELETE {path} HTTP/1.1\r\nHost: here\r\nAuthorization: bearer {token}\r\n\r\n");
    gone.write_all(request.as_bytes()).await.unwrap();
    until_journal(&sandbox, &path, false).await;
    drop(gone);
    assert_eq!(sandbox.world().routes().len(), 1);
    sandbox.pull("release", &json!({"part": "cf"})).unwrap();
    until_journal(&sandbox, &path, true).await;
    assert!(sandbox.world().routes().is_empty());
}

#[tokio::test]
async fn one_of_two_maps_at_the_same_moment_fails_if_the_lever_says_so() {
    let sandbox = landscape().await;
    sandbox.world().take_host("acme", "cfapps.example.test", "dev").unwrap();
    let (route, app) = (sandbox.world().routes().remove(0).guid, sandbox.world().apps().remove(0));
    let token = sandbox.cf_token(&CfTokenSpec::default());
    sandbox.pull("latency", &json!({"part": "cf", "ms": 150})).unwrap();
    let map = async || {
        let url = format!("{}/v3/routes/{route}/destinations", sandbox.cf_url());
        let body = json!({"destinations": [{"app": {"guid": app.guid}}]}).to_string();
        let request = client().post(url).header("content-type", "application/json").body(body);
        send(request.header("authorization", format!("bearer {token}"))).await.status.as_u16()
    };
    sandbox.pull("map_race", &json!({})).unwrap();
    let (one, other) = tokio::join!(map(), map());
    assert_eq!((one.min(other), one.max(other)), (200, 500));
    assert_eq!(sandbox.world().routes().remove(0).apps.len(), 1);
    // Nothing else runs now.
    assert_eq!(map().await, 200);
}

#[tokio::test]
async fn a_truncated_answer_has_its_head_and_a_part_of_its_body() {
    let sandbox = landscape().await;
    let (whole, _) = exchange(&sandbox, INFO).await;
    sandbox.pull("truncate", &json!({"part": "uaa", "after": 10})).unwrap();
    let (half, _) = exchange(&sandbox, INFO).await;
    let end_of_head =
        |bytes: &[u8]| bytes.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
    assert_eq!(half.len(), end_of_head(&half) + 10);
    assert_eq!(half[end_of_head(&half)..], whole[end_of_head(&whole)..][..10]);
    sandbox.pull("truncate", &json!({"part": "uaa", "after": 10})).unwrap();
    let answer = client().get(format!("{}/info", sandbox.uaa_url())).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    assert!(answer.text().await.is_err());
}

#[tokio::test]
async fn a_slow_answer_arrives_in_chunks_and_is_complete() {
    let sandbox = landscape().await;
    sandbox.pull("drip", &json!({"part": "uaa", "chunk": 200, "ms": 20})).unwrap();
    let started = Instant::now();
    let (answer, end) = exchange(&sandbox, INFO).await;
    assert_eq!(end, None);
    let pauses = answer.len() / 200;
    assert!(pauses >= 2);
    assert!(started.elapsed() >= Duration::from_millis(20) * u32::try_from(pauses - 1).unwrap());
    assert!(String::from_utf8_lossy(&answer).ends_with('}'));
}

#[tokio::test]
async fn an_answer_can_be_bytes_that_are_not_http() {
    let sandbox = landscape().await;
    sandbox
        .pull("fail_next", &json!({"part": "uaa", "raw": "220 mail.example.test ESMTP\r\n"}))
        .unwrap();
    let (answer, _) = exchange(&sandbox, INFO).await;
    assert_eq!(answer, b"220 mail.example.test ESMTP\r\n");
    assert_eq!(password_grant(&sandbox, TECHNICAL_PASSWORD).await.status, 200);
}
