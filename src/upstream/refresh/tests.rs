//! The mechanism on a paused clock, with a scripted renewal.

use super::{
    FailureHold, FlightKind, PreviousValue, Refreshed, Renew, RenewalAttempt, RenewalFailure,
    RenewalResult, ValueAge,
};
use std::{
    pin::pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};
use tokio::{
    runtime::Builder,
    task::JoinSet,
    time::{Instant, advance, sleep, timeout},
};
use tokio_util::task::TaskTracker;

const SECOND: Duration = Duration::from_secs(1);
const TAKES: Duration = Duration::from_millis(100);
const PAUSE: Duration = Duration::from_secs(10);

/// Fresh for 10 s, ageing to 20 s, stale to 30 s.
#[derive(Debug, PartialEq, Eq)]
struct Number(usize, Instant);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Good,
    Expired,
    Down,
    /// As `Down`, but only the background waits.
    NotYet,
    Wrong,
    /// As `Down`, but its pause is over already.
    Over,
    Panic,
}

/// What the renewal was told of a flight.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Told {
    previous: Option<usize>,
    last_error: Option<&'static str>,
    failures: u32,
    kind: FlightKind,
}

struct Script {
    answer: Mutex<Answer>,
    told: Mutex<Vec<Told>>,
    logged_panics: AtomicUsize,
}

impl Renew for Script {
    type Value = Number;
    type Error = &'static str;

    async fn renew(&self, attempt: RenewalAttempt<Self>) -> RenewalResult<Number, &'static str> {
        let number = {
            let mut told = self.told.lock().unwrap();
            told.push(Told {
                previous: attempt.previous.map(|number| number.0),
                last_error: attempt.last_error,
                failures: attempt.failures,
                kind: attempt.kind,
            });
            told.len()
        };
        sleep(TAKES).await;
        let now = Instant::now();
        let answer = *self.answer.lock().unwrap();
        match answer {
            Answer::Good => Ok(Number(number, now)),
            Answer::Expired => Ok(Number(number, now - 60 * SECOND)),
            Answer::Down => Err(RenewalFailure::new("down", now + PAUSE)),
            Answer::NotYet => Err(RenewalFailure {
                holds: FailureHold::Background,
                ..RenewalFailure::new("not yet", now + PAUSE)
            }),
            Answer::Wrong => Err(RenewalFailure {
                previous: PreviousValue::Removed,
                ..RenewalFailure::new("wrong", now + PAUSE)
            }),
            Answer::Over => Err(RenewalFailure::new("over", now - SECOND)),
            Answer::Panic => panic!("scripted"),
        }
    }

    fn age(&self, value: &Number, now: Instant) -> ValueAge {
        match (now - value.1).as_secs() {
            0..10 => ValueAge::Fresh,
            10..20 => ValueAge::Ageing,
            20..30 => ValueAge::Stale,
            _ => ValueAge::Expired,
        }
    }

    fn broken_off(&self, now: Instant) -> RenewalFailure<&'static str> {
        RenewalFailure::new("broken off", now + SECOND)
    }

    fn log_panic(&self) {
        self.logged_panics.fetch_add(1, Ordering::Relaxed);
    }

    fn is_outage(&self, error: &&'static str) -> bool {
        *error == "down"
    }
}

fn fixture() -> Refreshed<Script> {
    let (answer, told) = (Mutex::new(Answer::Good), Mutex::default());
    let script = Script { answer, told, logged_panics: AtomicUsize::new(0) };
    Refreshed::new(script, TaskTracker::new())
}

fn logged_panics(refreshed: &Refreshed<Script>) -> usize {
    refreshed.renewer().logged_panics.load(Ordering::Relaxed)
}

/// With value 1, which is `age` old.
async fn aged(age: Duration) -> Refreshed<Script> {
    let refreshed = fixture();
    refreshed.get().await.unwrap();
    advance(age).await;
    refreshed
}

fn answer(refreshed: &Refreshed<Script>, answer: Answer) {
    *refreshed.renewer().answer.lock().unwrap() = answer;
}

fn flights(refreshed: &Refreshed<Script>) -> usize {
    refreshed.renewer().told.lock().unwrap().len()
}

fn last_told(refreshed: &Refreshed<Script>) -> Told {
    refreshed.renewer().told.lock().unwrap().last().cloned().unwrap()
}

async fn get(refreshed: &Refreshed<Script>) -> Result<usize, &'static str> {
    refreshed.get().await.map(|number| number.0).map_err(|failure| failure.error)
}

/// Polls a call once; `None` if it waits.
fn poll<T>(call: impl Future<Output = T>) -> Option<T> {
    match pin!(call).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(result) => Some(result),
        Poll::Pending => None,
    }
}

/// Waits for the end of a flight in the background.
async fn settle() {
    sleep(2 * TAKES).await;
}

async fn crowd(refreshed: &Refreshed<Script>, callers: usize) -> Vec<Result<usize, &'static str>> {
    let mut crowd = JoinSet::new();
    for _ in 0..callers {
        let refreshed = refreshed.clone();
        crowd.spawn(async move { get(&refreshed).await });
    }
    crowd.join_all().await
}

#[tokio::test(start_paused = true)]
async fn a_thousand_callers_share_one_flight_and_its_value() {
    let refreshed = fixture();
    assert_eq!(flights(&refreshed), 0);
    assert_eq!(crowd(&refreshed, 1000).await, [Ok(1); 1000]);
    assert_eq!(flights(&refreshed), 1);
    let told = Told { previous: None, last_error: None, failures: 0, kind: FlightKind::Normal };
    assert_eq!(last_told(&refreshed), told);
}

#[tokio::test(start_paused = true)]
async fn a_thousand_callers_share_one_flight_and_its_failure() {
    let refreshed = fixture();
    answer(&refreshed, Answer::Down);
    assert_eq!(crowd(&refreshed, 1000).await, [Err("down"); 1000]);
    assert_eq!(flights(&refreshed), 1);
}

#[tokio::test(start_paused = true)]
async fn a_thousand_callers_share_a_value_that_has_expired_already() {
    let refreshed = fixture();
    answer(&refreshed, Answer::Expired);
    assert_eq!(crowd(&refreshed, 1000).await, [Ok(1); 1000]);
    assert_eq!(flights(&refreshed), 1);
    assert_eq!(get(&refreshed).await, Ok(2));
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_goes_away_neither_stops_nor_repeats_the_flight() {
    let refreshed = fixture();
    for _ in 0..3 {
        assert!(timeout(TAKES / 10, refreshed.get()).await.is_err());
    }
    settle().await;
    assert_eq!(refreshed.latest().unwrap().0, 1);
    assert_eq!(flights(&refreshed), 1);
}

#[tokio::test(start_paused = true)]
async fn an_ageing_value_is_served_while_one_flight_renews_it() {
    let refreshed = aged(15 * SECOND).await;
    let began = Instant::now();
    assert_eq!(crowd(&refreshed, 100).await, [Ok(1); 100]);
    assert_eq!(began.elapsed(), Duration::ZERO);
    settle().await;
    assert_eq!((get(&refreshed).await, flights(&refreshed)), (Ok(2), 2));
}

#[tokio::test(start_paused = true)]
async fn a_fresh_value_starts_nothing() {
    let refreshed = aged(9 * SECOND).await;
    assert_eq!(refreshed.serve(Instant::now()).unwrap().1, ValueAge::Fresh);
    settle().await;
    assert_eq!(flights(&refreshed), 1);
}

#[tokio::test(start_paused = true)]
async fn an_ageing_value_outlives_failures_and_each_pause_has_one_flight() {
    let refreshed = aged(10 * SECOND).await;
    answer(&refreshed, Answer::Down);
    for _ in 0..9 {
        assert_eq!(get(&refreshed).await, Ok(1));
        sleep(SECOND).await;
    }
    assert_eq!(flights(&refreshed), 2);
}

#[tokio::test(start_paused = true)]
async fn a_stale_value_is_served_only_if_its_renewal_fails() {
    let refreshed = aged(25 * SECOND).await;
    assert!(refreshed.serve(Instant::now()).is_none());
    assert_eq!(get(&refreshed).await, Ok(2));
    advance(25 * SECOND).await;
    answer(&refreshed, Answer::Down);
    let began = Instant::now();
    assert_eq!(get(&refreshed).await, Ok(2));
    assert_eq!(began.elapsed(), TAKES);
    assert_eq!(get(&refreshed).await, Ok(2));
    assert_eq!(
        (began.elapsed(), flights(&refreshed)),
        (TAKES, 3),
        "known to fail: no caller waits"
    );
}

#[tokio::test(start_paused = true)]
async fn during_the_pause_callers_get_the_failure_and_start_nothing() {
    let refreshed = fixture();
    answer(&refreshed, Answer::Down);
    let failure = refreshed.get().await.unwrap_err();
    assert_eq!(failure.retry_at, Instant::now() + PAUSE);
    advance(PAUSE.saturating_sub(SECOND)).await;
    answer(&refreshed, Answer::Good);
    assert_eq!(refreshed.get().await.unwrap_err(), failure);
    assert_eq!(refreshed.failure(), Some(failure));
    assert_eq!(flights(&refreshed), 1);
    advance(SECOND).await;
    assert_eq!((get(&refreshed).await, flights(&refreshed)), (Ok(2), 2));
    let told = last_told(&refreshed);
    assert_eq!((told.last_error, told.failures), (Some("down"), 1));
    assert_eq!(refreshed.failure(), None);
}

#[tokio::test(start_paused = true)]
async fn a_failure_whose_pause_is_over_when_it_lands_is_shared_and_holds_no_caller() {
    let refreshed = fixture();
    answer(&refreshed, Answer::Over);
    assert_eq!(crowd(&refreshed, 1000).await, [Err("over"); 1000]);
    assert_eq!(flights(&refreshed), 1);
    answer(&refreshed, Answer::Good);
    assert_eq!((get(&refreshed).await, flights(&refreshed)), (Ok(2), 2));
}

#[tokio::test(start_paused = true)]
async fn failures_in_a_row_are_counted_until_a_success() {
    let refreshed = fixture();
    answer(&refreshed, Answer::Down);
    for failures in 0..3 {
        assert_eq!(get(&refreshed).await, Err("down"));
        assert_eq!(last_told(&refreshed).failures, failures);
        advance(PAUSE).await;
    }
    answer(&refreshed, Answer::Good);
    assert_eq!(get(&refreshed).await, Ok(4));
    advance(60 * SECOND).await;
    assert_eq!(get(&refreshed).await, Ok(5));
    assert_eq!((last_told(&refreshed).failures, last_told(&refreshed).previous), (0, Some(4)));
}

#[tokio::test(start_paused = true)]
async fn a_failure_that_holds_the_background_ends_with_the_value() {
    let refreshed = aged(18 * SECOND).await;
    answer(&refreshed, Answer::NotYet);
    assert_eq!(get(&refreshed).await, Ok(1));
    settle().await;
    advance(SECOND).await;
    assert_eq!((get(&refreshed).await, flights(&refreshed)), (Ok(1), 2));
    refreshed.clear();
    answer(&refreshed, Answer::Good);
    assert_eq!((get(&refreshed).await, flights(&refreshed)), (Ok(3), 3));
}

#[tokio::test(start_paused = true)]
async fn waiters_of_a_lasting_outage_get_the_last_failure_at_once() {
    let refreshed = fixture();
    answer(&refreshed, Answer::Down);
    for _ in 0..2 {
        assert_eq!(get(&refreshed).await, Err("down"));
        advance(PAUSE).await;
    }
    let first = TaskTracker::new().spawn({
        let refreshed = refreshed.clone();
        async move { get(&refreshed).await }
    });
    sleep(TAKES / 2).await;
    answer(&refreshed, Answer::Good);
    let asked = Instant::now();
    assert_eq!((get(&refreshed).await, asked.elapsed()), (Err("down"), Duration::ZERO));
    assert_eq!(first.await.unwrap(), Ok(3));
}

#[tokio::test(start_paused = true)]
async fn one_failure_is_no_lasting_outage() {
    let refreshed = fixture();
    answer(&refreshed, Answer::Down);
    assert_eq!(get(&refreshed).await, Err("down"));
    advance(PAUSE).await;
    answer(&refreshed, Answer::Good);
    assert_eq!(crowd(&refreshed, 10).await, [Ok(2); 10]);
}

#[tokio::test(start_paused = true)]
async fn a_flight_that_panics_gives_all_waiters_an_error_and_a_pause() {
    let refreshed = fixture();
    answer(&refreshed, Answer::Panic);
    assert_eq!(crowd(&refreshed, 100).await, [Err("broken off"); 100]);
    assert_eq!(logged_panics(&refreshed), 1);
    answer(&refreshed, Answer::Good);
    assert_eq!((get(&refreshed).await, flights(&refreshed)), (Err("broken off"), 1));
    advance(SECOND).await;
    assert_eq!(get(&refreshed).await, Ok(2));
}

#[tokio::test(start_paused = true)]
async fn a_failure_that_removes_the_value_holds_callers() {
    let refreshed = aged(15 * SECOND).await;
    answer(&refreshed, Answer::Wrong);
    assert_eq!(get(&refreshed).await, Ok(1));
    settle().await;
    assert!(refreshed.latest().is_none());
    assert_eq!((get(&refreshed).await, flights(&refreshed)), (Err("wrong"), 2));
}

#[tokio::test(start_paused = true)]
async fn a_doubted_value_is_renewed_once_and_only_if_it_is_the_last_one() {
    let refreshed = aged(Duration::ZERO).await;
    let used = refreshed.latest().unwrap();
    let (one, other) = tokio::join!(refreshed.renew(Some(&used)), refreshed.renew(Some(&used)));
    assert_eq!((one.unwrap().0, other.unwrap().0, flights(&refreshed)), (2, 2, 2));
    assert_eq!(refreshed.renew(Some(&used)).await.unwrap().0, 2);
    assert_eq!(flights(&refreshed), 2);
}

#[tokio::test(start_paused = true)]
async fn a_doubted_value_waits_for_the_pause_and_stays_in_service() {
    let refreshed = aged(Duration::ZERO).await;
    let used = refreshed.latest().unwrap();
    answer(&refreshed, Answer::Down);
    for _ in 0..5 {
        assert_eq!(refreshed.renew(Some(&used)).await.unwrap_err().error, "down");
    }
    assert_eq!((get(&refreshed).await, flights(&refreshed)), (Ok(1), 2));
}

#[tokio::test(start_paused = true)]
async fn a_forced_attempt_passes_the_pause_and_returns_its_own_result() {
    let refreshed = fixture();
    answer(&refreshed, Answer::Down);
    assert_eq!(get(&refreshed).await, Err("down"));
    assert_eq!(refreshed.force().await.unwrap_err().error, "down");
    answer(&refreshed, Answer::Good);
    assert_eq!(refreshed.force().await.unwrap().0, 3);
    assert_eq!(last_told(&refreshed).kind, FlightKind::Forced);
}

#[tokio::test(start_paused = true)]
async fn a_forced_attempt_follows_a_normal_flight_and_is_joined_by_others() {
    let refreshed = fixture();
    let (normal, one, other) = tokio::join!(refreshed.get(), refreshed.force(), refreshed.force());
    let numbers = [normal, one, other].map(|result| result.unwrap().0);
    assert_eq!((numbers, flights(&refreshed)), ([1, 2, 2], 2));
}

#[tokio::test(start_paused = true)]
async fn a_flight_is_joined_but_not_started() {
    let refreshed = fixture();
    assert_eq!(poll(refreshed.join()), Some(()));
    let (_, joined) = tokio::join!(refreshed.get(), async {
        let began = Instant::now();
        refreshed.join().await;
        (began.elapsed(), refreshed.latest().is_some())
    });
    assert_eq!((joined, flights(&refreshed)), ((TAKES, true), 1));
}

#[tokio::test(start_paused = true)]
async fn only_the_last_value_is_replaced_or_removed() {
    let refreshed = aged(Duration::ZERO).await;
    let first = refreshed.latest().unwrap();
    refreshed.replace(&first, Some(Number(7, first.1)));
    assert_eq!(get(&refreshed).await, Ok(7));
    refreshed.replace(&first, None);
    assert_eq!(get(&refreshed).await, Ok(7));
    refreshed.replace(&refreshed.latest().unwrap(), None);
    assert_eq!(get(&refreshed).await, Ok(2));
    refreshed.clear();
    assert!(refreshed.latest().is_none());
}

#[tokio::test(start_paused = true)]
async fn what_was_got_before_the_first_flight_counts() {
    let refreshed = fixture();
    let retry_at = Instant::now() + PAUSE;
    refreshed.prime(Err(RenewalFailure::new("invalid", retry_at)));
    assert_eq!(get(&refreshed).await, Err("invalid"));
    refreshed.prime(Ok(Number(9, Instant::now())));
    assert_eq!((get(&refreshed).await, flights(&refreshed)), (Ok(9), 0));
}

#[test]
fn debug_shows_no_value() {
    assert_eq!(format!("{:?}", fixture()), "Refreshed { .. }");
}

#[tokio::test(start_paused = true)]
async fn readers_get_the_very_same_value() {
    let refreshed = aged(Duration::ZERO).await;
    let (one, other) = (refreshed.get().await.unwrap(), refreshed.get().await.unwrap());
    assert!(Arc::ptr_eq(&one, &other));
}

#[test]
fn a_runtime_that_has_stopped_starts_no_flight_and_blocks_no_caller() {
    let runtime = Builder::new_current_thread().build().unwrap();
    let handle = runtime.handle().clone();
    drop(runtime);
    let _entered = handle.enter();
    let refreshed = fixture();
    assert_eq!(poll(get(&refreshed)), Some(Err("broken off")));
    assert_eq!(logged_panics(&refreshed), 0);
}

#[test]
fn a_flight_that_the_end_of_the_process_breaks_off_logs_nothing() {
    let refreshed = fixture();
    let runtime = Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async { assert!(timeout(TAKES / 2, refreshed.get()).await.is_err()) });
    drop(runtime);
    assert_eq!(refreshed.failure().map(|failure| failure.error), Some("broken off"));
    assert_eq!((flights(&refreshed), logged_panics(&refreshed)), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_newer_value_is_returned_although_a_flight_runs() {
    let refreshed = fixture();
    let used = refreshed.get().await.unwrap();
    let newer = refreshed.renew(Some(&used)).await.unwrap();
    assert!(poll(refreshed.force()).is_none());
    assert_eq!(poll(refreshed.renew(Some(&used))), Some(Ok(newer)));
    settle().await;
    assert_eq!(flights(&refreshed), 3);
}
