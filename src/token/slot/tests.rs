use super::{Berth, Slot};
use crate::token::{
    Freshness, Reason, Refusal, Revoked,
    fake::{lease, name},
    holdoff::HoldOff,
    lease::Lease,
    source::TokenSource,
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
    /// Transient, for so many seconds.
    Later(u64),
    Never,
    Crash,
}

impl TokenSource for Scripted {
    async fn obtain(&self, previous: Option<&Lease>) -> Result<Lease, Refusal> {
        self.calls.lock().unwrap().push(previous.is_some());
        let sent_at = Instant::now();
        sleep(Duration::from_secs(1)).await;
        let answer = {
            let mut answers = self.answers.lock().unwrap();
            if answers.len() > 1 { answers.remove(0) } else { answers[0] }
        };
        let later = |wait| Some(Instant::now() + Duration::from_secs(wait));
        let refuse = |reason, at| Err(Refusal::new(&name("CFAPI"), reason, at));
        match answer {
            Answer::Lives(lifetime) => Ok(lease(sent_at, lifetime)),
            Answer::Later(wait) => refuse(Reason::UaaUnavailable, later(wait)),
            Answer::Never => refuse(Reason::Rejected, None),
            Answer::Crash => panic!("scripted"),
        }
    }
}

fn slot(answers: &[Answer]) -> Arc<Slot<Scripted>> {
    let source = Scripted { answers: Mutex::new(answers.to_vec()), calls: Mutex::default() };
    let berth = Berth {
        name: name("CFAPI"),
        tasks: TaskTracker::new(),
        forced: Arc::new(HoldOff::default()),
    };
    Arc::new(Slot::new(source, berth))
}

fn calls(slot: &Slot<Scripted>) -> usize {
    slot.source().calls.lock().unwrap().len()
}

/// Outcomes of so many callers at once.
async fn crowd(slot: &Arc<Slot<Scripted>>, count: usize) -> Vec<Result<Arc<Lease>, Refusal>> {
    let tasks: Vec<_> = (0..count)
        .map(|_| {
            let slot = Arc::clone(slot);
            slot.berth.tasks.clone().spawn(async move { slot.lease().await })
        })
        .collect();
    let mut outcomes = Vec::new();
    for task in tasks {
        outcomes.push(task.await.unwrap());
    }
    outcomes
}

#[tokio::test(start_paused = true)]
async fn two_hundred_callers_log_in_once() {
    let slot = slot(&[Answer::Lives(1199)]);
    let leases = crowd(&slot, 200).await;
    assert!(leases.iter().all(Result::is_ok));
    assert_eq!(calls(&slot), 1);
}

#[tokio::test(start_paused = true)]
async fn two_hundred_callers_are_refused_by_one_grant_and_again_only_after_the_pause() {
    let slot = slot(&[Answer::Later(7)]);
    let outcomes = crowd(&slot, 200).await;
    assert!(outcomes.iter().all(Result::is_err));
    assert_eq!(calls(&slot), 1);
    advance(Duration::from_secs(6)).await;
    assert!(slot.lease().await.is_err());
    assert_eq!(calls(&slot), 1);
    advance(Duration::from_secs(1)).await;
    crowd(&slot, 200).await;
    assert_eq!(calls(&slot), 2);
}

#[tokio::test(start_paused = true)]
async fn who_has_waited_shares_a_refusal_whose_time_is_over() {
    let slot = slot(&[Answer::Later(0)]);
    let outcomes = crowd(&slot, 200).await;
    assert!(outcomes.iter().all(Result::is_err));
    assert_eq!(calls(&slot), 1);
}

#[tokio::test(start_paused = true)]
async fn who_has_waited_shares_a_token_with_next_to_no_lifetime() {
    // The flight takes as long as such a token lives.
    let slot = slot(&[Answer::Lives(1)]);
    let outcomes = crowd(&slot, 200).await;
    assert!(outcomes.iter().all(Result::is_ok));
    assert_eq!(calls(&slot), 1);
}

#[tokio::test(start_paused = true)]
async fn a_caller_who_hangs_up_does_not_cancel_the_login() {
    let slot = slot(&[Answer::Lives(1199)]);
    let first = timeout(Duration::from_millis(10), slot.lease()).await;
    assert!(first.is_err());
    let leases = crowd(&slot, 10).await;
    assert!(leases.iter().all(Result::is_ok));
    assert_eq!(calls(&slot), 1);
}

#[tokio::test(start_paused = true)]
async fn an_ageing_token_is_served_while_its_successor_is_fetched_and_nobody_waits() {
    let slot = slot(&[Answer::Lives(1199)]);
    let first = slot.lease().await.unwrap();
    advance(Duration::from_secs(900)).await;
    let before = Instant::now();
    for _ in 0..100 {
        let (served, freshness) = slot.serve(Instant::now()).unwrap();
        assert!(Arc::ptr_eq(&served, &first));
        assert_eq!(freshness, Freshness::Ageing);
    }
    assert_eq!(Instant::now(), before);
    sleep(Duration::from_secs(2)).await;
    let (served, freshness) = slot.serve(Instant::now()).unwrap();
    assert!(!Arc::ptr_eq(&served, &first));
    assert_eq!(freshness, Freshness::Fresh);
    assert_eq!(*slot.source().calls.lock().unwrap(), [false, true]);
}

#[tokio::test(start_paused = true)]
async fn a_refused_renewal_leaves_the_live_token_in_service() {
    let slot = slot(&[Answer::Lives(1199), Answer::Never]);
    let first = slot.lease().await.unwrap();
    advance(Duration::from_secs(900)).await;
    for _ in 0..10 {
        assert!(Arc::ptr_eq(&slot.lease().await.unwrap(), &first));
        sleep(Duration::from_secs(2)).await;
    }
    // Remembered for 30 s: no flight per caller.
    assert_eq!(calls(&slot), 2);
    advance(Duration::from_secs(300)).await;
    assert_eq!(slot.lease().await.unwrap_err().reason, Reason::Rejected);
}

#[tokio::test(start_paused = true)]
async fn revoking_an_old_lease_changes_nothing() {
    let slot = slot(&[Answer::Lives(1199)]);
    let old = slot.lease().await.unwrap();
    assert_eq!(slot.revoke(&old, Instant::now()), Revoked::Renewing);
    let new = slot.lease().await.unwrap();
    assert!(!Arc::ptr_eq(&old, &new));
    for _ in 0..10 {
        assert_eq!(slot.revoke(&old, Instant::now()), Revoked::Renewing);
    }
    assert!(Arc::ptr_eq(&slot.lease().await.unwrap(), &new));
    assert_eq!(calls(&slot), 2);
}

#[tokio::test(start_paused = true)]
async fn a_crowd_that_meets_401_costs_one_renewal() {
    let slot = slot(&[Answer::Lives(1199)]);
    let used = slot.lease().await.unwrap();
    for _ in 0..100 {
        assert_eq!(slot.revoke(&used, Instant::now()), Revoked::Renewing);
    }
    let leases = crowd(&slot, 100).await;
    assert!(leases.iter().all(Result::is_ok));
    assert_eq!(calls(&slot), 2);
}

#[tokio::test(start_paused = true)]
async fn forced_renewals_happen_at_most_once_in_thirty_seconds() {
    let slot = slot(&[Answer::Lives(1199)]);
    let mut renewed = 0;
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(300) {
        let lease = slot.lease().await.unwrap();
        match slot.revoke(&lease, Instant::now()) {
            Revoked::Renewing => renewed += 1,
            Revoked::HoldOff => sleep(Duration::from_secs(1)).await,
        }
    }
    assert_eq!(renewed, 10);
    // The last one may still be to come.
    assert!((10..=11).contains(&calls(&slot)));
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_is_held_off_stays_in_service() {
    let slot = slot(&[Answer::Lives(1199)]);
    let first = slot.lease().await.unwrap();
    slot.revoke(&first, Instant::now());
    let second = slot.lease().await.unwrap();
    assert_eq!(slot.revoke(&second, Instant::now()), Revoked::HoldOff);
    assert!(Arc::ptr_eq(&slot.lease().await.unwrap(), &second));
}

#[tokio::test(start_paused = true)]
async fn a_crashing_flight_frees_the_slot_and_gives_internal() {
    let slot = slot(&[Answer::Crash, Answer::Lives(1199)]);
    let outcomes = crowd(&slot, 50).await;
    let internal = |outcome: &Result<_, Refusal>| matches!(outcome, Err(refusal) if refusal.reason == Reason::Internal);
    assert!(outcomes.iter().all(internal));
    assert_eq!(calls(&slot), 1);
    advance(Duration::from_secs(6)).await;
    assert!(slot.lease().await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn in_an_outage_nobody_but_the_prober_waits() {
    let slot = slot(&[Answer::Later(1), Answer::Later(1), Answer::Lives(1199)]);
    for _ in 0..2 {
        assert!(slot.lease().await.is_err());
        advance(Duration::from_secs(1)).await;
    }
    let prober = Arc::clone(&slot);
    let prober = slot.berth.tasks.spawn(async move { prober.lease().await });
    sleep(Duration::from_millis(100)).await;
    let before = Instant::now();
    let refusal = slot.lease().await.unwrap_err();
    assert_eq!(before, Instant::now());
    assert_eq!(refusal.retry_after(before), Some(Duration::from_secs(1)));
    assert!(prober.await.unwrap().is_ok());
    assert!(slot.lease().await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn an_attempt_happens_whatever_is_remembered() {
    let slot = slot(&[Answer::Never, Answer::Lives(1199)]);
    assert!(slot.lease().await.is_err());
    assert!(slot.attempt(|_| {}).await.is_ok());
    assert_eq!(calls(&slot), 2);
}

#[tokio::test(start_paused = true)]
async fn an_api_that_moved_keeps_its_token() {
    let slot = slot(&[Answer::Lives(1199)]);
    let first = slot.lease().await.unwrap();
    slot.readdress(&"https://api.elsewhere.test".parse().unwrap());
    let moved = slot.lease().await.unwrap();
    assert_eq!(moved.api().host_str(), Some("api.elsewhere.test"));
    assert_eq!(moved.authorization(), first.authorization());
    // The token that CF refused is still known by the older lease.
    assert_eq!(slot.revoke(&first, Instant::now()), Revoked::Renewing);
    assert_eq!(moved.freshness(Instant::now()), Freshness::Expired);
}

#[tokio::test(start_paused = true)]
async fn no_debug_shows_a_token() {
    let slot = slot(&[Answer::Lives(1199)]);
    let lease = slot.lease().await.unwrap();
    let text = format!("{slot:?} {lease:?} {:?}", lease.token());
    assert!(!text.contains("canary"), "{text}");
    assert!(text.contains("Lease"));
}
