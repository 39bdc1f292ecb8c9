//! Callers that send requests and do not read the answers: their capacity is freed.

use std::time::Duration;

use cfapi_sandbox::Part;
use serde_json::json;
use tokio::{
    io::AsyncWriteExt,
    net::{TcpSocket, TcpStream},
    time::{Instant, sleep},
};

use crate::{
    support::pull,
    wire::{READ_TIMEOUT, Wire},
};

/// Most calls to the CF API in flight.
const CF: usize = 64;
/// Most requests of one caller in flight.
const CALLER: usize = 16;

/// Requests a large page over a socket with a small buffer, and reads nothing.
async fn ask_and_wait(wire: &Wire, token: &str) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut stream = socket.connect(wire.own_host().parse().unwrap()).await.unwrap();
    let head = format!(
        "GET /v3/apps HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {token}\r\n\r\n",
        wire.own_host()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream
}

#[tokio::test]
async fn callers_that_read_nothing_do_not_keep_their_capacity() {
    let wire = Wire::start(&[("CFAPI_SERVER__BODY_TIMEOUT", "1s")]).await;
    let token = |client: &str| wire.sandbox.caller_token(client, &["Api.Proxy"]);
    let large = json!({
        "part": "cf", "n": CF, "status": 200, "headers": {"content-type": "application/json"},
        "body_size": 8 * 1024 * 1024, "only": "GET /v3/apps"
    });
    pull(&wire.sandbox, "fail_next", &large);
    let mut stuck = Vec::new();
    for caller in 0..CF / CALLER {
        let token = token(&format!("sb-stuck{caller}!t1"));
        for _ in 0..CALLER {
            stuck.push(ask_and_wait(&wire, &token).await);
        }
    }
    let asked = || {
        let journal = wire.sandbox.journal();
        journal.iter().filter(|entry| entry.part == Part::Cf && entry.path == "/v3/apps").count()
    };
    let began = Instant::now();
    while asked() < CF {
        assert!(began.elapsed() < READ_TIMEOUT, "{} of {CF} calls", asked());
        sleep(Duration::from_millis(20)).await;
    }
    let patient = token("sb-patient!t1");
    let full = Instant::now();
    while wire.broker.get("/v3/spaces", &patient).await.status != 200 {
        assert!(full.elapsed() < Duration::from_secs(10), "the capacity is still held");
        sleep(Duration::from_millis(100)).await;
    }
}
