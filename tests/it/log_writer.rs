//! Standard output that is not read must not block the broker.

use std::{
    io::{BufRead, BufReader, PipeReader, pipe},
    process::{Child, Command, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use tokio::time::{Duration, Instant, sleep};

use crate::support::{APP, client, parse, sandbox, variables};

/// A program whose output is read up to its first matching line and then no more.
struct ProgramWithUnreadLog {
    child: Child,
    base: String,
    _out: BufReader<PipeReader>,
}

impl ProgramWithUnreadLog {
    fn start(variables: &std::collections::BTreeMap<String, String>) -> Self {
        let (reader, writer) = pipe().unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_cfapi-broker"))
            .args(["--log", "json"])
            .env_clear()
            .envs(variables)
            .current_dir(std::env::temp_dir())
            .stdin(Stdio::null())
            .stdout(writer)
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut out = BufReader::new(reader);
        let address = loop {
            let mut line = String::new();
            assert_ne!(out.read_line(&mut line).unwrap(), 0, "ended early");
            if let Some(address) = parse(&line)["address"].as_str() {
                break address.to_owned();
            }
        };
        Self { child, base: format!("http://{address}"), _out: out }
    }
}

impl Drop for ProgramWithUnreadLog {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[tokio::test]
async fn an_unread_log_blocks_neither_requests_nor_the_stop() {
    let sandbox = sandbox().await;
    let mut program = ProgramWithUnreadLog::start(&variables(&sandbox));
    let client = client();
    // A pipe buffers 64 KiB, about 150 lines.
    for _ in 0..600 {
        let got = client.get(format!("{}/routes", program.base)).send().await.unwrap();
        assert_eq!(got.status(), 401);
    }
    let body = json!({"subdomain": "acme", "app": APP}).to_string();
    let put = client.put(format!("{}/routes/t1", program.base));
    let put = put.bearer_auth(sandbox.provider_token()).header("content-type", "application/json");
    assert_eq!(put.body(body).send().await.unwrap().status(), 201);
    let health = client.get(format!("{}/health", program.base)).send().await.unwrap();
    assert_eq!(health.status(), 200);

    let begun = Instant::now();
    let pid = i32::try_from(program.child.id()).unwrap();
    kill_process(Pid::from_raw(pid).unwrap(), Signal::TERM).unwrap();
    let status = loop {
        if let Some(status) = program.child.try_wait().unwrap() {
            break status;
        }
        assert!(begun.elapsed() < Duration::from_secs(10), "the platform would kill it");
        sleep(Duration::from_millis(50)).await;
    };
    assert_eq!(status.code(), Some(0));
}
