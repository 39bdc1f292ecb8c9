//! Admits a caller with an already verified token a given number of times, so that callgrind can
//! count.
//!
//! `caller_instructions <way> <times>`; ways: `admit` (the decision and then the caller's limits),
//! `verify` (only the decision). `benches/instructions.sh` runs a program like this with two
//! numbers of times, so that one-time costs cancel out. Nine tenths are the SHA-256 of the token;
//! callgrind counts it without the processor's own instructions for it.

use std::{
    env, fmt,
    hint::black_box,
    pin::pin,
    task::{Context, Poll, Waker},
    time::SystemTime,
};

use cfapi_broker::{
    auth::{AuthError, IssuerBindings, Settings, Verifier},
    binding::{self, BindingSources, Bindings},
    telemetry::metrics::Metrics,
    upstream::{self, ClientFactory, Purpose},
};
use cfapi_sandbox::{Options, Sandbox};
use http::{HeaderMap, HeaderValue, header::AUTHORIZATION};
use tokio::runtime::Builder;
use tokio_util::task::TaskTracker;

/// Without arguments the program only shows that it works.
const TIMES: u64 = 10;

fn main() {
    // Cargo adds its own flags.
    let mut arguments = env::args().skip(1).filter(|argument| !argument.starts_with('-'));
    let way = arguments.next().unwrap_or_else(|| "admit".to_owned());
    let times = arguments.next().map_or(TIMES, |times| must(times.parse()));
    let runtime = must(Builder::new_multi_thread().worker_threads(2).enable_all().build());
    let sandbox = must(runtime.block_on(Sandbox::start(Options::default())));
    let verifier = verifier(&sandbox);
    let value = format!("Bearer {}", sandbox.provider_token());
    let headers = HeaderMap::from_iter([(AUTHORIZATION, must(HeaderValue::try_from(value)))]);
    #[expect(clippy::disallowed_methods, reason = "one time for all decisions")]
    let now = SystemTime::now();
    must(runtime.block_on(verifier.verify(&headers, now)));
    let _entered = runtime.enter();
    match way.as_str() {
        "admit" => measured(times, || must(at_once(verifier.admit(&headers, now)))),
        "verify" => measured(times, || must(at_once(verifier.verify(&headers, now)))),
        _ => must(Err(format!("no such way: {way}"))),
    }
    runtime.block_on(sandbox.stop());
}

/// A verifier for this landscape that does not limit its callers: the measurement is one caller
/// with many requests.
fn verifier(sandbox: &Sandbox) -> Verifier {
    let vcap_services = Some(sandbox.vcap_services().into());
    let sources = BindingSources { vcap_services, ..BindingSources::default() };
    let bindings = must(Bindings::read(&sources));
    let xsuaa = must(bindings.xsuaa(&binding::Settings::default()));
    let clients = must(ClientFactory::new(&upstream::Settings::default()));
    let limits = u32::MAX;
    let settings = Settings { requests_per_second: limits, burst: limits, ..Settings::default() };
    let keys = must(clients.client(Purpose::Keys));
    let bound = IssuerBindings { xsuaa, identity: None };
    Verifier::new(&settings, &bound, &keys, &TaskTracker::new(), Metrics::default())
}

/// Callgrind looks for this name.
#[inline(never)]
fn measured<T>(times: u64, decide: impl Fn() -> T) {
    for _ in 0..times {
        black_box(decide());
    }
}

/// A known token is decided at the first poll, so no runtime is counted.
fn at_once<T>(decision: impl Future<Output = Result<T, AuthError>>) -> Result<T, AuthError> {
    match pin!(decision).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(outcome) => outcome,
        Poll::Pending => must(Err("a known token was not decided at once")),
    }
}

/// Returns the value, or ends the bench.
#[expect(clippy::panic, reason = "a bench that cannot run must not yield a figure")]
fn must<T, E: fmt::Debug>(outcome: Result<T, E>) -> T {
    match outcome {
        Ok(value) => value,
        Err(error) => panic!("{error:?}"),
    }
}
