use super::{Refresher, RefresherDeps};
use crate::token::{
    Freshness, LeaseRefusal, Reason, Revoked, UaaOutage,
    cooldown::Cooldown,
    fake::{lease, name},
    lease::Lease,
    provider::TokenProvider,
};
use std::{
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::time::{Instant, advance, sleep, timeout};
use tokio_util::task::TaskTracker;

/// Answers after a second: a lifetime, or a refusal.
struct Scripted {
    answers: Mutex<Vec<Answer>>,
    calls: Mutex<Vec<bool>>,
}

#[derive(Clone, Copy)]
enum Answer {
    Lives(u64),
    /// Transient, for this many seconds.
    Later(u64),
    Never,
    Panic,
}

impl TokenProvider for Scripted {
    async fn obtain(&self, previous: Option<&Lease>) -> Result<Lease, LeaseRefusal> {
        self.calls.lock().unwrap().push(previous.is_some());
        let sent_at = Instant::now();
        sleep(Duration::from_secs(1)).await;
        let answer = {
            let mut answers = self.answers.lock().unwrap();
            if answers.len() > 1 { answers.remove(0) } else { answers[0] }
        };
        let later = |wait| Some(Instant::now() + Duration::from_secs(wait));
        let refuse = |reason, at| Err(LeaseRefusal::new(&name("CFAPI"), reason, at));
        match answer {
            Answer::Lives(lifetime) => Ok(lease(sent_at, lifetime)),
            Answer::Later(wait) => {
                refuse(Reason::UaaUnavailable(UaaOutage::ServerError), later(wait))
            }
            Answer::Never => refuse(Reason::Rejected { advice: String::new() }, None),
            Answer::Panic => panic!("scripted"),
        }
    }
}

fn refresher(answers: &[Answer]) -> Arc<Refresher<Scripted>> {
    let provider = Scripted { answers: Mutex::new(answers.to_vec()), calls: Mutex::default() };
    let deps = RefresherDeps {
        name: name("CFAPI"),
        tasks: TaskTracker::new(),
        forced_renewals: Arc::new(Cooldown::default()),
    };
    Arc::new(Refresher::new(provider, deps))
}

fn calls(refresher: &Refresher<Scripted>) -> usize {
    refresher.provider().calls.lock().unwrap().len()
}

/// Outcomes of this many concurrent callers.
async fn crowd(
    refresher: &Arc<Refresher<Scripted>>,
    count: usize,
) -> Vec<Result<Arc<Lease>, LeaseRefusal>> {
    let tasks: Vec<_> = (0..count)
        .map(|_| {
            let refresher = Arc::clone(refresher);
            refresher.deps.tasks.clone().spawn(async move { refresher.lease().await })
        })
        .collect();
    let mut outcomes = Vec::new();
    for task in tasks {
        outcomes.push(task.await.unwrap());
    }
    outcomes
}

#[tokio::test(start_paused = true)]
async fn two_hundred_callers_log_on_once() {
    let refresher = refresher(&[Answer::Lives(1199)]);
    let leases = crowd(&refresher, 200).await;
    assert!(leases.iter().all(Result::is_ok));
    assert_eq!(calls(&refresher), 1);
}

#[tokio::test(start_paused = true)]
async fn two_hundred_callers_are_refused_by_one_grant_and_again_only_after_the_pause() {
    let refresher = refresher(&[Answer::Later(7)]);
    let outcomes = crowd(&refresher, 200).await;
    assert!(outcomes.iter().all(Result::is_err));
    assert_eq!(calls(&refresher), 1);
    advance(Duration::from_secs(6)).await;
    assert!(refresher.lease().await.is_err());
    assert_eq!(calls(&refresher), 1);
    advance(Duration::from_secs(1)).await;
    crowd(&refresher, 200).await;
    assert_eq!(calls(&refresher), 2);
}

#[tokio::test(start_paused = true)]
async fn a_waiter_shares_a_refusal_whose_time_is_over() {
    let refresher = refresher(&[Answer::Later(0)]);
    let outcomes = crowd(&refresher, 200).await;
    assert!(outcomes.iter().all(Result::is_err));
    assert_eq!(calls(&refresher), 1);
}

#[tokio::test(start_paused = true)]
async fn a_waiter_shares_a_token_with_almost_no_lifetime() {
    // The flight takes as long as such a token lives.
    let refresher = refresher(&[Answer::Lives(1)]);
    let outcomes = crowd(&refresher, 200).await;
    assert!(outcomes.iter().all(Result::is_ok));
    assert_eq!(calls(&refresher), 1);
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_hangs_up_does_not_cancel_the_logon() {
    let refresher = refresher(&[Answer::Lives(1199)]);
    let first = timeout(Duration::from_millis(10), refresher.lease()).await;
    assert!(first.is_err());
    let leases = crowd(&refresher, 10).await;
    assert!(leases.iter().all(Result::is_ok));
    assert_eq!(calls(&refresher), 1);
}

#[tokio::test(start_paused = true)]
async fn an_ageing_token_is_served_without_waiting_for_its_renewal() {
    let refresher = refresher(&[Answer::Lives(1199)]);
    let first = refresher.lease().await.unwrap();
    advance(Duration::from_secs(900)).await;
    let before = Instant::now();
    for _ in 0..100 {
        let (served, freshness) = refresher.serve(Instant::now()).unwrap();
        assert!(Arc::ptr_eq(&served, &first));
        assert_eq!(freshness, Freshness::Ageing);
    }
    assert_eq!(Instant::now(), before);
    sleep(Duration::from_secs(2)).await;
    let (served, freshness) = refresher.serve(Instant::now()).unwrap();
    assert!(!Arc::ptr_eq(&served, &first));
    assert_eq!(freshness, Freshness::Fresh);
    assert_eq!(*refresher.provider().calls.lock().unwrap(), [false, true]);
}

#[tokio::test(start_paused = true)]
async fn a_refused_renewal_leaves_the_live_token_in_service() {
    let refresher = refresher(&[Answer::Lives(1199), Answer::Never]);
    let first = refresher.lease().await.unwrap();
    advance(Duration::from_secs(900)).await;
    for _ in 0..10 {
        assert!(Arc::ptr_eq(&refresher.lease().await.unwrap(), &first));
        sleep(Duration::from_secs(2)).await;
    }
    // Remembered for 30 s: no flight per caller.
    assert_eq!(calls(&refresher), 2);
    advance(Duration::from_secs(300)).await;
    assert!(matches!(refresher.lease().await.unwrap_err().reason, Reason::Rejected { .. }));
}

#[tokio::test(start_paused = true)]
async fn revoking_an_old_lease_changes_nothing() {
    let refresher = refresher(&[Answer::Lives(1199)]);
    let old = refresher.lease().await.unwrap();
    assert_eq!(refresher.revoke(&old, Instant::now()), Revoked::Renewing);
    let new = refresher.lease().await.unwrap();
    assert!(!Arc::ptr_eq(&old, &new));
    for _ in 0..10 {
        assert_eq!(refresher.revoke(&old, Instant::now()), Revoked::Renewing);
    }
    assert!(Arc::ptr_eq(&refresher.lease().await.unwrap(), &new));
    assert_eq!(calls(&refresher), 2);
}

#[tokio::test(start_paused = true)]
async fn a_crowd_that_meets_401_costs_one_renewal() {
    let refresher = refresher(&[Answer::Lives(1199)]);
    let used = refresher.lease().await.unwrap();
    for _ in 0..100 {
        assert_eq!(refresher.revoke(&used, Instant::now()), Revoked::Renewing);
    }
    let leases = crowd(&refresher, 100).await;
    assert!(leases.iter().all(Result::is_ok));
    assert_eq!(calls(&refresher), 2);
}

#[tokio::test(start_paused = true)]
async fn forced_renewals_happen_at_most_once_in_thirty_seconds() {
    let refresher = refresher(&[Answer::Lives(1199)]);
    let mut renewed = 0;
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(300) {
        let lease = refresher.lease().await.unwrap();
        match refresher.revoke(&lease, Instant::now()) {
            Revoked::Renewing => renewed += 1,
            Revoked::Cooldown => sleep(Duration::from_secs(1)).await,
        }
    }
    assert_eq!(renewed, 10);
    // The last renewal may not have started yet.
    assert!((10..=11).contains(&calls(&refresher)));
}

#[tokio::test(start_paused = true)]
async fn a_lease_stays_in_service_during_the_cooldown() {
    let refresher = refresher(&[Answer::Lives(1199)]);
    let first = refresher.lease().await.unwrap();
    refresher.revoke(&first, Instant::now());
    let second = refresher.lease().await.unwrap();
    assert_eq!(refresher.revoke(&second, Instant::now()), Revoked::Cooldown);
    assert!(Arc::ptr_eq(&refresher.lease().await.unwrap(), &second));
}

#[tokio::test(start_paused = true)]
async fn a_panicking_flight_releases_the_lock_and_gives_internal() {
    let refresher = refresher(&[Answer::Panic, Answer::Lives(1199)]);
    let outcomes = crowd(&refresher, 50).await;
    let internal = |outcome: &Result<_, LeaseRefusal>| matches!(outcome, Err(refusal) if refusal.reason == Reason::Internal);
    assert!(outcomes.iter().all(internal));
    assert_eq!(calls(&refresher), 1);
    advance(Duration::from_secs(6)).await;
    assert!(refresher.lease().await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn in_an_outage_only_the_probing_caller_waits() {
    let refresher = refresher(&[Answer::Later(1), Answer::Later(1), Answer::Lives(1199)]);
    for _ in 0..2 {
        assert!(refresher.lease().await.is_err());
        advance(Duration::from_secs(1)).await;
    }
    let prober = Arc::clone(&refresher);
    let prober = refresher.deps.tasks.spawn(async move { prober.lease().await });
    sleep(Duration::from_millis(100)).await;
    let before = Instant::now();
    let refusal = refresher.lease().await.unwrap_err();
    assert_eq!(before, Instant::now());
    assert_eq!(refusal.retry_after(before), Some(Duration::from_secs(1)));
    assert!(prober.await.unwrap().is_ok());
    assert!(refresher.lease().await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn an_attempt_ignores_the_negative_cache() {
    let refresher = refresher(&[Answer::Never, Answer::Lives(1199)]);
    assert!(refresher.lease().await.is_err());
    assert!(refresher.attempt(|_| {}).await.is_ok());
    assert_eq!(calls(&refresher), 2);
}

#[tokio::test(start_paused = true)]
async fn a_changed_api_keeps_the_token() {
    let refresher = refresher(&[Answer::Lives(1199)]);
    let first = refresher.lease().await.unwrap();
    refresher.readdress(&"https://api.elsewhere.test".parse().unwrap());
    let moved = refresher.lease().await.unwrap();
    assert_eq!(moved.api().host_str(), Some("api.elsewhere.test"));
    assert_eq!(moved.authorization(), first.authorization());
    // The older lease still knows the token that CF refused.
    assert_eq!(refresher.revoke(&first, Instant::now()), Revoked::Renewing);
    assert_eq!(moved.freshness(Instant::now()), Freshness::Expired);
}

#[tokio::test(start_paused = true)]
async fn no_debug_shows_a_token() {
    let refresher = refresher(&[Answer::Lives(1199)]);
    let lease = refresher.lease().await.unwrap();
    let text = format!("{refresher:?} {lease:?} {:?}", lease.token());
    assert!(!text.contains("canary"), "{text}");
    assert!(text.contains("Lease"));
}
