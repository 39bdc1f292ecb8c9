//! Over a socket: the request line that the CF API receives is, byte for byte, the one that the
//! caller sent.
//!
//! The same property for many more targets, without sockets, is in `src/http/test_harness.rs`.

use cfapi_sandbox::Part;
use proptest::{
    prelude::{Just, Strategy, prop_oneof},
    strategy::ValueTree as _,
    test_runner::TestRunner,
};

use crate::wire::{HeaderLines::All, Wire};

/// How many accepted targets are sent.
const SENT: usize = 500;

/// Paths of the allow list with queries of all allowed bytes.
fn targets() -> impl Strategy<Value = String> {
    let path = prop_oneof![
        "/v3/?",
        "/v3/(apps|domains|organizations|routes|spaces)/?",
        "/v3/apps/[a-zA-Z0-9-]{1,64}/routes",
        "/v3/(jobs|routes|organizations|spaces)/[a-zA-Z0-9-]{1,64}",
        "/v3/routes/[a-zA-Z0-9-]{1,12}/destinations",
    ];
    let query = prop_oneof![
        1 => Just(String::new()),
        4 => "[?][-_.~!$'()*+,;:@/?&=a-zA-Z0-9\\[\\]]{0,40}",
        4 => "[?]([a-z=&,/'@:.]|%[2-7][0-9a-fA-F]|%[cC]3%[aA][0-9a-fA-F]){0,16}",
        1 => "[?][ -~]{0,12}",
    ];
    (path, query).prop_map(|(path, query)| path + &query)
}

#[tokio::test]
async fn the_cf_api_receives_the_request_line_that_the_caller_sent() {
    let fast = [("CFAPI_AUTH__REQUESTS_PER_SECOND", "10000"), ("CFAPI_AUTH__BURST", "100000")];
    let wire = Wire::start(&fast).await;
    // The version is read once, after the first successful call.
    wire.exchange(&wire.bytes(b"GET /v3/spaces HTTP/1.1", All, "")).await;
    while !wire.upstream().iter().any(|call| call == "GET /?") {
        tokio::task::yield_now().await;
    }
    let (mut runner, strategy) = (TestRunner::deterministic(), targets());
    let (mut sent, mut refused) = (0, 0);
    while sent < SENT {
        let target = strategy.new_tree(&mut runner).unwrap().current();
        let first = format!("GET {target} HTTP/1.1");
        wire.sandbox.clear_journal();
        let got = wire.exchange(&wire.bytes(first.as_bytes(), All, "")).await;
        assert_eq!(got.len(), 1, "{target}: {got:?}");
        match wire.upstream().as_slice() {
            // Refused by request validation, or by the parser before it.
            [] => {
                assert_eq!(got[0].status, 400, "{target}: {got:?}");
                refused += 1;
            }
            [_] => {
                let read = wire.sandbox.last_request(Part::Cf);
                let line = read.split(|byte| *byte == b'\r').next().unwrap();
                assert_eq!(String::from_utf8_lossy(line), first);
                sent += 1;
            }
            several => panic!("{target}: {several:?}"),
        }
    }
    assert!(refused > 20, "too few generated targets are refused: {refused}");
}
