//! Gets a fresh lease a given number of times, so that callgrind can count.
//!
//! `lease_instructions <way> <times>`; ways: `lease`, `lease_by_equal_name`, `load_full`. Only
//! `measured` is counted. `benches/instructions.sh` runs this with two numbers of times, so that
//! one-time costs cancel out.

mod support;

use std::{
    env,
    hint::black_box,
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use arc_swap::ArcSwap;
use cfapi_broker::{
    destination::DestinationName,
    token::{Lease, LeaseRefusal},
};
use support::{Lender, must};

/// Without arguments the program only shows that it works.
const TIMES: u64 = 10;

fn main() {
    // Cargo adds its own flags.
    let mut arguments = env::args().skip(1).filter(|argument| !argument.starts_with('-'));
    let way = arguments.next().unwrap_or_else(|| "lease".to_owned());
    let times = arguments.next().map_or(TIMES, |times| must(times.parse()));
    let runtime = support::runtime();
    let sandbox = runtime.block_on(support::sandbox());
    let mut lender = runtime.block_on(Lender::of(&sandbox));
    if way == "lease_by_equal_name" {
        lender.name = must(DestinationName::parse(lender.name.as_str()).ok_or("no name"));
    }
    let lend = || runtime.block_on(lender.vault.lease(&lender.name));
    let pointer = ArcSwap::new(must(lend()));
    // The first call waits for the token, the second publishes the snapshot. All later calls take
    // the usual way.
    must(lend());
    // Once a second a lease starts a check of the destination, which needs a runtime.
    let _entered = runtime.enter();
    match way.as_str() {
        "lease" | "lease_by_equal_name" => measured(times, || must(lend_at_once(&lender))),
        "load_full" => measured(times, || pointer.load_full()),
        _ => must(Err(format!("no such way: {way}"))),
    }
    runtime.block_on(sandbox.stop());
}

/// Callgrind looks for this name.
#[inline(never)]
fn measured(times: u64, lend: impl Fn() -> Arc<Lease>) {
    for _ in 0..times {
        black_box(lend());
    }
}

/// A fresh lease is there at the first poll, so no runtime is counted.
fn lend_at_once(lender: &Lender) -> Result<Arc<Lease>, LeaseRefusal> {
    let future = pin!(lender.vault.lease(&lender.name));
    match future.poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(outcome) => outcome,
        Poll::Pending => must(Err("a fresh lease was not there at once")),
    }
}
