//! What a token costs: a fresh lease compared with a bare pointer load, and a renewal that many
//! callers wait for.
//!
//! `benches/ratios.sh` runs this and adds ratios to the times. `docs/reference/performance.md`
//! keeps the figures.

mod support;

use std::{
    hint::black_box,
    sync::{Arc, Barrier},
    thread,
    time::Duration,
};

use arc_swap::ArcSwap;
use cfapi_broker::token::{Freshness, Lease, Revoked};
use cfapi_sandbox::Sandbox;
use criterion::{BenchmarkId, Criterion, SamplingMode, Throughput};
use support::{Lender, must};
use tokio::{
    runtime::{Handle, Runtime},
    sync::Mutex,
    task::JoinSet,
    time::Instant,
};

/// Threads that get a lease at the same time: one, more than a small instance has cores, and many
/// more.
const THREADS: [usize; 3] = [1, 4, 16];

/// Tasks that ask while there is no usable token. One task alone shows what the renewal itself
/// costs.
const CROWDS: [usize; 3] = [1, 64, 1000];

/// Each iteration of a renewal builds a broker, because a credential can be renewed by force only
/// once in 30 s.
const RENEWALS: usize = 20;

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let runtime = support::runtime();
    let sandbox = runtime.block_on(support::sandbox());
    fresh_lease(&mut criterion, &runtime, &sandbox);
    renewal(&mut criterion, &runtime, &sandbox);
    criterion.final_summary();
    runtime.block_on(sandbox.stop());
}

/// The read path of every request, compared with a lower and an upper bound.
fn fresh_lease(criterion: &mut Criterion, runtime: &Runtime, sandbox: &Sandbox) {
    let lender = runtime.block_on(Lender::of(sandbox));
    let lease = must(runtime.block_on(lender.vault.lease(&lender.name)));
    let pointer = ArcSwap::new(Arc::clone(&lease));
    let guarded = Mutex::new(lease);
    let handle = runtime.handle();
    let mut group = criterion.benchmark_group("fresh_lease");
    group.warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(3));
    for threads in THREADS {
        group.throughput(Throughput::Elements(threads as u64));
        group.bench_function(BenchmarkId::new("load_full", threads), |bencher| {
            bencher.iter_custom(|times| {
                crowd(handle, threads, || async {
                    for _ in 0..times {
                        black_box(pointer.load_full());
                    }
                })
            });
        });
        // A lease has an end, so its user must read the clock.
        group.bench_function(BenchmarkId::new("load_full_and_clock", threads), |bencher| {
            bencher.iter_custom(|times| {
                crowd(handle, threads, || async {
                    for _ in 0..times {
                        black_box((Instant::now(), pointer.load_full()));
                    }
                })
            });
        });
        group.bench_function(BenchmarkId::new("vault", threads), |bencher| {
            bencher.iter_custom(|times| {
                crowd(handle, threads, || async {
                    for _ in 0..times {
                        black_box(must(lender.vault.lease(&lender.name).await));
                    }
                })
            });
        });
        group.bench_function(BenchmarkId::new("tokio_mutex", threads), |bencher| {
            bencher.iter_custom(|times| {
                crowd(handle, threads, || async {
                    for _ in 0..times {
                        black_box(lend_guarded(&guarded).await);
                    }
                })
            });
        });
    }
    group.finish();
}

/// The naive way: one mutex for all.
async fn lend_guarded(guarded: &Mutex<Arc<Lease>>) -> Arc<Lease> {
    let lease = guarded.lock().await;
    assert_eq!(lease.freshness(Instant::now()), Freshness::Fresh);
    Arc::clone(&lease)
}

/// Runs the work once in each thread. Returns the time from the start of the first to the end of
/// the last.
fn crowd<W, F>(handle: &Handle, threads: usize, work: W) -> Duration
where
    W: Fn() -> F + Sync,
    F: Future<Output = ()>,
{
    let start = Barrier::new(threads);
    let spans: Vec<_> = thread::scope(|scope| {
        let running: Vec<_> = (0..threads)
            .map(|_| {
                scope.spawn(|| {
                    start.wait();
                    let begin = Instant::now();
                    handle.block_on(work());
                    (begin, Instant::now())
                })
            })
            .collect();
        running.into_iter().map(|thread| must(thread.join())).collect()
    });
    let begin = spans.iter().map(|(begin, _)| *begin).min();
    let end = spans.iter().map(|(_, end)| *end).max();
    begin.zip(end).map(|(begin, end)| end - begin).unwrap_or_default()
}

/// Many tasks ask after CF has refused the token. One refresh grant serves all.
fn renewal(criterion: &mut Criterion, runtime: &Runtime, sandbox: &Sandbox) {
    let mut group = criterion.benchmark_group("renewal");
    group.sampling_mode(SamplingMode::Flat).sample_size(RENEWALS);
    group.warm_up_time(Duration::from_millis(100)).measurement_time(Duration::from_secs(1));
    for tasks in CROWDS {
        group.throughput(Throughput::Elements(tasks as u64));
        group.bench_function(BenchmarkId::new("tasks", tasks), |bencher| {
            bencher.iter_custom(|times| {
                (0..times).map(|_| runtime.block_on(renew_for(sandbox, tasks))).sum()
            });
        });
    }
    group.finish();
}

/// Returns the time from the first question to the last answer.
async fn renew_for(sandbox: &Sandbox, tasks: usize) -> Duration {
    let lender = Lender::of(sandbox).await;
    let used = must(lender.vault.lease(&lender.name).await);
    assert_eq!(lender.vault.revoke(&lender.name, &used), Revoked::Renewing);
    sandbox.clear_journal();
    let mut asking = JoinSet::new();
    let begin = Instant::now();
    for _ in 0..tasks {
        let lender = lender.clone();
        asking.spawn(async move { lender.vault.lease(&lender.name).await });
    }
    let leases = asking.join_all().await;
    let taken = begin.elapsed();
    assert_eq!((sandbox.refresh_grants(), sandbox.password_grants()), (1, 0), "one flight");
    assert!(leases.into_iter().map(must).all(|lease| !Arc::ptr_eq(&lease, &used)));
    taken
}
