//! Many connections and slow ones: they must not block other clients.

use std::time::Duration;

use cfapi_sandbox::Part;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{sleep, timeout},
};

use crate::{
    support::{answer, client, process::Program, pull, sandbox, variables},
    wire::{HeaderLines, READ_TIMEOUT, Wire, read},
};

/// Both ends of each connection are in this process: the usual soft limit of 1024 files is too low.
fn allow_files(count: u64) {
    let limit = getrlimit(Resource::Nofile);
    let enough = limit.maximum.is_none_or(|maximum| maximum >= count);
    assert!(enough, "this test needs {count} files: raise the hard limit");
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).unwrap();
}

/// Sends a request over its own connection and returns the statuses.
async fn asked(wire: &Wire, first: &str) -> Vec<u16> {
    let got = wire.exchange(&wire.bytes(first.as_bytes(), HeaderLines::All, "")).await;
    got.iter().map(|one| one.status).collect()
}

/// Sends over a connection that is kept, and returns the status.
async fn status_over(stream: &mut TcpStream, bytes: &[u8]) -> String {
    stream.write_all(bytes).await.unwrap();
    let mut piece = vec![0; 64 * 1024];
    let length = timeout(READ_TIMEOUT, stream.read(&mut piece)).await.unwrap().unwrap();
    String::from_utf8_lossy(&piece[..length]).chars().skip(9).take(3).collect()
}

#[tokio::test]
async fn three_thousand_idle_connections_and_slow_heads_block_no_other_client() {
    allow_files(8000);
    let wire = Wire::start(&[("CFAPI_SERVER__HEAD_TIMEOUT", "1s")]).await;
    let mut idle = Vec::new();
    for _ in 0..3000 {
        idle.push(wire.connect().await);
    }
    let mut slow = Vec::new();
    for _ in 0..200 {
        let mut stream = wire.connect().await;
        stream.write_all(b"GET / HTTP/1.1\r\nX-Slow: ").await.unwrap();
        slow.push(stream);
    }
    for _ in 0..20 {
        assert_eq!(asked(&wire, "GET /spaces HTTP/1.1").await, [200]);
    }
    for mut stream in slow {
        assert!(read(&mut stream).await.is_empty());
    }
    let get = wire.bytes(b"GET /health HTTP/1.1", HeaderLines::NoClose, "");
    for stream in idle.iter_mut().step_by(1000) {
        assert_eq!(status_over(stream, &get).await, "200");
    }
}

#[tokio::test]
async fn a_dribbled_head_is_closed_and_a_slow_body_is_served() {
    let wire = Wire::start(&[("CFAPI_SERVER__HEAD_TIMEOUT", "1s")]).await;
    let mut dribbled = wire.connect().await;
    let (mut reader, mut writer) = dribbled.split();
    let dribble = async {
        for byte in b"GET / HTTP/1.1\r\nX-Slow: ".iter().chain([b'a'; 1000].iter()) {
            if writer.write_all(&[*byte]).await.is_err() {
                return;
            }
            sleep(Duration::from_millis(100)).await;
        }
    };
    let mut rest = Vec::new();
    tokio::select! {
        () = dribble => panic!("the whole head was taken"),
        _ = reader.read_to_end(&mut rest) => {}
    }
    assert!(rest.is_empty());
    let body = r#"{"tenantId":"t1","subdomain":"acme","app":"saas-approuter"}"#;
    let head = format!("\nContent-Type: application/json\nContent-Length: {}\n\n", body.len());
    let mut slow = wire.connect().await;
    let head = wire.bytes(b"POST /routes HTTP/1.1", HeaderLines::All, &head);
    slow.write_all(&head).await.unwrap();
    for piece in body.as_bytes().chunks(10) {
        sleep(Duration::from_millis(300)).await;
        slow.write_all(piece).await.unwrap();
    }
    assert_eq!(read(&mut slow).await[0].status, 201);
}

#[tokio::test]
async fn beyond_the_limit_of_connections_new_ones_are_refused_and_the_others_served() {
    allow_files(4000);
    let wire = Wire::start(&[("CFAPI_SERVER__MAX_CONNECTIONS", "512")]).await;
    let mut first = Vec::new();
    for _ in 0..512 {
        first.push(wire.connect().await);
    }
    for _ in 512..600 {
        let refused = read(&mut wire.connect().await).await;
        assert_eq!((refused.len(), refused[0].status), (1, 503), "{refused:?}");
        assert!(refused[0].head.contains("retry-after: 1"), "{refused:?}");
        assert!(refused[0].head.contains("connection: close"), "{refused:?}");
    }
    let get = wire.bytes(b"GET /health HTTP/1.1", HeaderLines::NoClose, "");
    for stream in &mut first {
        assert_eq!(status_over(stream, &get).await, "200");
    }
    drop(first.pop());
    for _ in 0..600 {
        let mut stream = wire.connect().await;
        if status_over(&mut stream, &get).await == "200" {
            return;
        }
        sleep(Duration::from_millis(50)).await;
    }
    panic!("the freed connection slot is never used again");
}

#[tokio::test]
async fn slow_heads_free_all_connections_after_the_head_timeout() {
    let limits = [("CFAPI_SERVER__MAX_CONNECTIONS", "64"), ("CFAPI_SERVER__HEAD_TIMEOUT", "2s")];
    let wire = Wire::start(&limits).await;
    let mut slow = Vec::new();
    for _ in 0..64 {
        let mut stream = wire.connect().await;
        stream.write_all(b"GET / HTTP/1.1\r\nX-Slow: ").await.unwrap();
        slow.push(stream);
    }
    // Sends nothing: the server closes without reading, and a client that has sent something may
    // lose the answer to a reset.
    let refused = read(&mut wire.connect().await).await;
    assert_eq!(refused[0].status, 503, "all connection slots are taken");
    for stream in &mut slow {
        assert!(read(stream).await.is_empty());
    }
    let get = wire.bytes(b"GET /health HTTP/1.1", HeaderLines::NoClose, "");
    for _ in 0..200 {
        // A slot is free a moment after its connection is closed.
        if status_over(&mut wire.connect().await, &get).await == "200" {
            return;
        }
        sleep(Duration::from_millis(20)).await;
    }
    panic!("the connection slots of slow heads are never freed");
}

#[tokio::test]
async fn a_stop_answers_what_is_under_way_and_waits_for_nothing_else() {
    let wire = Wire::start(&[("CFAPI_SERVER__DRAIN_TIMEOUT", "50s")]).await;
    assert_eq!(asked(&wire, "GET /spaces HTTP/1.1").await, [200]);
    let mut used = wire.connect().await;
    let get = wire.bytes(b"GET /health HTTP/1.1", HeaderLines::NoClose, "");
    assert_eq!(status_over(&mut used, &get).await, "200");
    let mut idle = wire.connect().await;
    let mut stuck = wire.connect().await;
    stuck.write_all(b"GET / HTTP/1.1\r\nX-Slow: ").await.unwrap();
    pull(&wire.sandbox, "latency", &json!({"part": "cf", "ms": 1000}));
    let before = wire.upstream().len();
    let mut under_way = wire.connect().await;
    let slow = wire.bytes(b"GET /v3/spaces HTTP/1.1", HeaderLines::NoClose, "");
    under_way.write_all(&slow).await.unwrap();
    while wire.upstream().len() == before {
        sleep(Duration::from_millis(10)).await;
    }
    let Wire { broker, sandbox, .. } = wire;
    // Half of the drain time: the test fails if the stop waits for an idle or half-open connection.
    timeout(Duration::from_secs(25), broker.stop()).await.expect("waits for idle connections");
    let got = read(&mut under_way).await;
    assert_eq!((got.len(), got[0].status), (1, 200), "{got:?}");
    assert!(got[0].head.contains("connection: close"), "{got:?}");
    for stream in [&mut used, &mut idle, &mut stuck] {
        assert!(read(stream).await.is_empty());
    }
    assert!(sandbox.journal().iter().any(|entry| entry.part == Part::Cf));
}

#[tokio::test]
async fn with_64_files_accepting_pauses_and_recovers() {
    let sandbox = sandbox().await;
    let mut program = Program::start_with_files(64, &[], &variables(&sandbox));
    let base = program.base().await;
    let address = base.trim_start_matches("http://");
    let mut crowd = Vec::new();
    // More than 64, and few enough that the rest fits into the listener's queue.
    for _ in 0..100 {
        crowd.push(TcpStream::connect(address).await.unwrap());
    }
    // The longest pause is reached, so accepting has failed again and again. A busy loop would have
    // logged without end.
    program.wait_for(|line| line.contains("\"pause_ms\":1000").then_some(())).await;
    let failed = program.output().matches("accept failed").count();
    assert!((5..=12).contains(&failed), "{failed} lines");
    drop(crowd);
    let health = client().get(format!("{base}/health"));
    assert_eq!(answer(health).await.status, 200);
    let spaces = client().get(format!("{base}/spaces")).bearer_auth(sandbox.developer_token());
    assert_eq!(answer(spaces).await.status, 200);
    assert_eq!(program.terminate().await.code, Some(0));
}
