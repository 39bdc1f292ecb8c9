//! The program ends although its work does not end.

use std::time::Duration;

use rstest::rstest;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
    time::{Instant, sleep, timeout},
};

use crate::support::{APP, client, process::Program, pull, sandbox, tenant::until, variables};

/// Returns whether the peer has closed without sending anything.
async fn is_closed(stream: &mut TcpStream) -> bool {
    let mut rest = Vec::new();
    let read = timeout(Duration::from_secs(5), stream.read_to_end(&mut rest)).await;
    read.is_ok() && rest.is_empty()
}

#[rstest]
#[case::a_read("GET", "/v3/spaces", "GET /v3/spaces")]
#[case::a_write_that_outlives_its_caller("PUT", "/routes/t1", "POST /v3/routes")]
#[tokio::test]
async fn work_that_does_not_end_is_abandoned_eight_seconds_after_the_signal(
    #[case] method: &str,
    #[case] path: &str,
    #[case] hangs: &str,
) {
    let sandbox = sandbox().await;
    let mut program = Program::start(&["--log", "json"], &variables(&sandbox));
    let base = program.base().await;
    let address = base.trim_start_matches("http://").to_owned();
    pull(&sandbox, "hang", &json!({"part": "cf", "n": 9, "only": hangs}));
    let body = json!({"subdomain": "acme", "app": APP}).to_string();
    let request = client().request(method.parse().unwrap(), format!("{base}{path}"));
    let request = request.bearer_auth(sandbox.provider_token());
    let request = if method == "PUT" {
        request.header("content-type", "application/json").body(body)
    } else {
        request
    };
    let mut under_way = JoinSet::new();
    under_way.spawn(request.send());
    let (verb, target) = hangs.split_once(' ').unwrap();
    let asked = || sandbox.journal().iter().any(|one| one.method == verb && one.path == target);
    until("the call that hangs", asked).await;
    let mut kept = TcpStream::connect(&address).await.unwrap();
    let health = format!("GET /health HTTP/1.1\r\nHost: {address}\r\n\r\n");
    kept.write_all(health.as_bytes()).await.unwrap();
    assert_ne!(kept.read(&mut [0; 4096]).await.unwrap(), 0);

    let started = Instant::now();
    program.stop();
    assert!(is_closed(&mut kept).await, "idle connections are not waited for");
    while TcpStream::connect(&address).await.is_ok() {
        assert!(started.elapsed() < Duration::from_secs(5), "the listener stays open");
        sleep(Duration::from_millis(20)).await;
    }
    let ended = program.ended().await;
    let took = started.elapsed();
    assert_eq!(ended.code, Some(0), "{}", ended.out);
    assert!(took >= Duration::from_millis(7900), "{took:?}: the work was not waited for");
    // After 10 s the platform would kill it.
    assert!(took < Duration::from_secs(10), "{took:?}");
    assert!(ended.out.contains("still running at the end of the drain time"), "{}", ended.out);
    assert!(under_way.join_next().await.unwrap().unwrap().is_err(), "there is no answer");
}
