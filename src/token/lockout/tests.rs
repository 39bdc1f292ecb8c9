use super::{
    FAILURE_WINDOW, GuardState, LockoutGuard, LockoutGuards, LockoutState, MAX_GUARDS, Transition,
};
use crate::token::{
    LogonGrant, Reason, UaaOutage,
    failure_policy::{ClassifiedFailure, FailureClass, RetryClass},
    fake::destination,
};
use rstest::rstest;
use std::{sync::Arc, time::Duration};
use tokio::time::{Instant, advance, timeout};

const HOUR: Duration = Duration::from_secs(3600);

const fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

fn failure(class: FailureClass) -> ClassifiedFailure {
    let reason = match class {
        FailureClass::Rejected => Reason::Rejected { advice: String::new() },
        FailureClass::Blocked | FailureClass::BlockedWithProbe => Reason::SecondFactor,
        FailureClass::Locked(_) => Reason::Locked { advice: String::new() },
        FailureClass::Waiting { .. } => Reason::UaaUnavailable(UaaOutage::ServerError),
        FailureClass::NoTokenEndpoint { .. } => Reason::NoTokenEndpoint { status: 404 },
    };
    ClassifiedFailure { class, reason }
}

fn waiting(is_ambiguous: bool) -> ClassifiedFailure {
    failure(FailureClass::Waiting { retry_class: RetryClass::Asked(seconds(10)), is_ambiguous })
}

fn failed(lockout: &mut LockoutState, class: FailureClass, now: Instant) -> Transition {
    lockout.failed(&failure(class), now)
}

fn allows(lockout: &LockoutState, now: Instant) -> bool {
    lockout.check(LogonGrant::Password, now).is_ok()
}

#[test]
fn unknown_and_good_let_a_password_through() {
    let (mut lockout, now) = (LockoutState::default(), Instant::now());
    assert_eq!(lockout.state(now), GuardState::Unknown);
    assert!(allows(&lockout, now));
    assert!(!lockout.is_proven());
    let transition = lockout.succeeded(now);
    assert_eq!((transition.from, transition.to), (GuardState::Unknown, GuardState::Good));
    assert!(allows(&lockout, now));
    assert!(lockout.is_proven());
}

#[rstest]
#[case(FailureClass::Rejected, GuardState::Rejected, None)]
#[case(FailureClass::Blocked, GuardState::Blocked, None)]
#[case(FailureClass::BlockedWithProbe, GuardState::Blocked, Some((HOUR, HOUR)))]
#[case(FailureClass::Locked(seconds(330)), GuardState::Locked, Some((seconds(330), seconds(347))))]
#[case(FailureClass::Locked(seconds(3900)), GuardState::Locked, Some((seconds(3900), seconds(4095))))]
fn one_definite_refusal_closes_the_guard(
    #[case] class: FailureClass,
    #[case] state: GuardState,
    #[case] opens: Option<(Duration, Duration)>,
) {
    let (mut lockout, now) = (LockoutState::default(), Instant::now());
    let transition = failed(&mut lockout, class, now);
    assert_eq!((transition.from, transition.to), (GuardState::Unknown, state));
    assert!(lockout.is_closed());
    let hold = lockout.check(LogonGrant::Password, now).unwrap_err();
    assert_eq!(hold.reason, failure(class).reason);
    assert_eq!(hold.retry_at.is_some(), state == GuardState::Locked);
    match opens {
        None => assert!(!allows(&lockout, now + 10_000 * HOUR)),
        Some((least, most)) => {
            assert!(!allows(&lockout, now + least - seconds(1)));
            assert!(allows(&lockout, now + most));
        }
    }
    // The state is shown until an attempt has a result.
    assert_eq!(lockout.state(now + 10_000 * HOUR), state);
}

#[test]
fn a_success_opens_what_was_closed() {
    let (mut lockout, now) = (LockoutState::default(), Instant::now());
    failed(&mut lockout, FailureClass::Locked(seconds(330)), now);
    let transition = lockout.succeeded(now + HOUR);
    assert_eq!((transition.from, transition.to), (GuardState::Locked, GuardState::Good));
    assert!(!lockout.is_closed());
    assert!(allows(&lockout, now));
}

#[test]
fn a_continued_lock_doubles_its_wait_and_a_success_resets_it() {
    let (mut lockout, mut now) = (LockoutState::default(), Instant::now());
    let mut waits = Vec::new();
    for _ in 0..12 {
        failed(&mut lockout, FailureClass::Locked(seconds(330)), now);
        let until = lockout.check(LogonGrant::Password, now).unwrap_err().retry_at.unwrap();
        waits.push((until - now).as_secs_f64());
        now = until;
    }
    let expected = [330, 660, 1320, 2640, 5280, 10_560, 21_120, 42_240, 84_480, 86_400, 86_400];
    for (wait, expected) in waits.iter().zip(expected.map(f64::from)) {
        assert!((expected..=expected * 1.05).contains(wait), "{wait} {expected}");
    }
    lockout.succeeded(now);
    failed(&mut lockout, FailureClass::Locked(seconds(330)), now);
    assert!(allows(&lockout, now + seconds(347)));
}

#[test]
fn the_provider_s_lock_after_uaa_s_waits_at_least_its_own_time() {
    let (mut lockout, now) = (LockoutState::default(), Instant::now());
    failed(&mut lockout, FailureClass::Locked(seconds(330)), now);
    failed(&mut lockout, FailureClass::Locked(seconds(3900)), now);
    assert!(!allows(&lockout, now + seconds(3899)));
    assert!(allows(&lockout, now + seconds(4095)));
}

#[test]
fn a_pause_hides_the_state_below_it() {
    let (mut lockout, now) = (LockoutState::default(), Instant::now());
    lockout.succeeded(now);
    let transition = lockout.failed(&waiting(false), now);
    assert_eq!((transition.from, transition.to), (GuardState::Good, GuardState::Waiting));
    let hold = lockout.check(LogonGrant::Password, now).unwrap_err();
    assert_eq!(hold.reason, Reason::UaaUnavailable(UaaOutage::ServerError));
    let until = hold.retry_at.unwrap();
    assert!((10..=11).contains(&(until - now).as_secs()));
    assert_eq!(lockout.state(until), GuardState::Good);
    assert!(allows(&lockout, until));
}

#[test]
fn only_a_result_ends_a_pause() {
    let (mut lockout, now) = (LockoutState::default(), Instant::now());
    lockout.succeeded(now);
    lockout.failed(&waiting(false), now);
    let later = now + HOUR;
    let again = lockout.failed(&waiting(false), later);
    assert_eq!((again.from, again.to), (GuardState::Waiting, GuardState::Waiting));
    let transition = lockout.succeeded(later + HOUR);
    assert_eq!((transition.from, transition.to), (GuardState::Waiting, GuardState::Good));
}

#[test]
fn a_definite_refusal_ends_a_pause() {
    let (mut lockout, now) = (LockoutState::default(), Instant::now());
    lockout.failed(&waiting(false), now);
    failed(&mut lockout, FailureClass::Rejected, now);
    assert_eq!(lockout.state(now), GuardState::Rejected);
    assert_eq!(lockout.rounds(), 0);
}

#[test]
fn a_pause_over_a_lock_does_not_open_it() {
    let (mut lockout, now) = (LockoutState::default(), Instant::now());
    failed(&mut lockout, FailureClass::Locked(seconds(330)), now);
    let probe = now + seconds(347);
    lockout.failed(&waiting(true), probe);
    assert_eq!(lockout.state(probe), GuardState::Waiting);
    assert!(lockout.is_closed());
    assert!(!allows(&lockout, probe + seconds(9)));
    assert_eq!(lockout.state(probe + seconds(12)), GuardState::Locked);
}

#[test]
fn transient_failures_are_counted_until_a_success() {
    let (mut lockout, now) = (LockoutState::default(), Instant::now());
    for round in 0..3 {
        assert_eq!(lockout.rounds(), round);
        lockout.failed(&waiting(false), now);
    }
    lockout.succeeded(now);
    assert_eq!(lockout.rounds(), 0);
}

#[test]
fn without_attempts_left_a_password_waits_and_the_longer_pause_counts() {
    let (mut lockout, now) = (LockoutState::default(), Instant::now());
    lockout.failed(&waiting(true), now);
    let until = now + seconds(60);
    let hold = lockout.exhaust(until, now);
    assert_eq!((hold.reason, hold.retry_at), (Reason::Unclear { until }, Some(until)));
    assert_eq!(lockout.state(until - seconds(1)), GuardState::Waiting);
    assert!(allows(&lockout, until));
    let asked = failure(FailureClass::NoTokenEndpoint { is_ambiguous: true });
    lockout.failed(&asked, now);
    let hold = lockout.exhaust(now + seconds(1), now);
    assert_eq!(hold.reason, Reason::NoTokenEndpoint { status: 404 });
    assert!(hold.retry_at.unwrap() >= now + seconds(60));
}

#[test]
fn after_foreign_answers_a_token_endpoint_must_be_seen() {
    let (mut lockout, mut now) = (LockoutState::default(), Instant::now());
    let foreign = failure(FailureClass::NoTokenEndpoint { is_ambiguous: false });
    assert!(!lockout.needs_probe());
    for wait in [60, 120, 240, 480, 600, 600] {
        lockout.failed(&foreign, now);
        assert!(lockout.needs_probe());
        let until = lockout.check(LogonGrant::JwtBearer, now).unwrap_err().retry_at.unwrap();
        assert!((wait..=wait * 21 / 20).contains(&(until - now).as_secs()), "{wait}");
        now = until;
    }
    lockout.release();
    assert!(!lockout.needs_probe());
    lockout.take_release();
    lockout.succeeded(now);
    assert!(!lockout.needs_probe());
}

#[test]
fn an_assertion_passes_a_closed_guard_but_not_a_pause() {
    let (mut lockout, now) = (LockoutState::default(), Instant::now());
    failed(&mut lockout, FailureClass::Rejected, now);
    assert!(lockout.check(LogonGrant::JwtBearer, now).is_ok());
    lockout.failed(&waiting(true), now);
    assert!(lockout.check(LogonGrant::JwtBearer, now).is_err());
    assert!(lockout.check(LogonGrant::JwtBearer, now + seconds(12)).is_ok());
}

#[test]
fn a_release_opens_once() {
    let (mut lockout, now) = (LockoutState::default(), Instant::now());
    failed(&mut lockout, FailureClass::Rejected, now);
    lockout.release();
    assert!(lockout.is_released());
    assert!(allows(&lockout, now));
    assert!(lockout.take_release());
    assert!(!lockout.take_release());
    assert!(!allows(&lockout, now));
}

#[rstest]
#[case(GuardState::Unknown, "unknown")]
#[case(GuardState::Good, "good")]
#[case(GuardState::Rejected, "rejected")]
#[case(GuardState::Blocked, "blocked")]
#[case(GuardState::Locked, "locked")]
#[case(GuardState::Waiting, "waiting")]
fn states_have_the_names_of_the_metric(#[case] state: GuardState, #[case] name: &str) {
    assert_eq!(state.name(), name);
}

// --- the attempts of a user ----------------------------------------------------------------------

fn guard(instance_index: Option<u32>) -> Arc<LockoutGuard> {
    LockoutGuards::new(instance_index).of(destination("CFAPI", 1).fingerprint, "user")
}

/// When the next attempt may be sent; each wait is for the budget only.
async fn refused_until(guard: &LockoutGuard) -> Instant {
    guard.permit().await.unwrap_err().retry_at.unwrap()
}

#[rstest]
#[case::unknown(None, 60)]
#[case::first(Some(0), 60)]
#[case::second(Some(1), 600)]
#[case::last(Some(9), 600)]
#[tokio::test(start_paused = true)]
async fn two_unclear_attempts_are_spread_and_use_up_the_budget(
    #[case] index: Option<u32>,
    #[case] spread: u64,
) {
    let guard = guard(index);
    let (start, spread) = (Instant::now(), seconds(spread));
    // A permit that is only dropped counts as unclear.
    drop(guard.permit().await.unwrap());
    assert_eq!(refused_until(&guard).await, start + spread);
    advance(spread).await;
    drop(guard.permit().await.unwrap());
    assert_eq!(refused_until(&guard).await, start + FAILURE_WINDOW);
    advance(start + FAILURE_WINDOW - Instant::now()).await;
    drop(guard.permit().await.unwrap());
    assert_eq!(refused_until(&guard).await, start + spread + FAILURE_WINDOW);
}

#[tokio::test(start_paused = true)]
async fn a_clear_result_and_a_refusal_return_the_permit() {
    let guard = guard(None);
    for _ in 0..10 {
        guard.permit().await.unwrap().clear();
    }
    for count in 1..=10 {
        let permit = guard.permit().await.unwrap();
        guard.failed(&failure(FailureClass::Rejected), Some(permit), Instant::now());
        assert_eq!(guard.unsuccessful(Instant::now()), count);
    }
    advance(FAILURE_WINDOW).await;
    assert_eq!(guard.unsuccessful(Instant::now()), 0);
}

#[tokio::test(start_paused = true)]
async fn a_caller_waits_while_another_attempt_of_the_user_is_in_flight() {
    let guards = LockoutGuards::new(None);
    let of = |password, user| guards.of(destination("CFAPI", password).fingerprint, user);
    let permit = of(1, "User").permit().await.unwrap();
    assert!(timeout(seconds(1), of(2, "user").permit()).await.is_err());
    assert!(of(3, "another").permit().await.is_ok());
    permit.clear();
    assert!(of(2, "user").permit().await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn released_attempts_count_and_two_must_be_forgotten_before_the_next() {
    let (guard, start) = (guard(None), Instant::now());
    for _ in 0..3 {
        guard.lock().release();
        drop(guard.permit().await.unwrap());
        advance(seconds(10)).await;
    }
    assert_eq!(refused_until(&guard).await, start + FAILURE_WINDOW + seconds(10));
}

#[tokio::test(start_paused = true)]
async fn an_unclear_attempt_holds_the_next_one_at_once() {
    let (guard, now) = (guard(None), Instant::now());
    let permit = guard.permit().await.unwrap();
    let (transition, hold) = guard.failed(&waiting(true), Some(permit), now);
    assert_eq!(transition.to, GuardState::Waiting);
    assert_eq!(hold.unwrap().reason, Reason::Unclear { until: now + seconds(60) });
}

// --- all guards ----------------------------------------------------------------------------------

#[test]
fn a_credential_has_one_guard() {
    let guards = LockoutGuards::new(None);
    let of = |password| guards.of(destination("CFAPI", password).fingerprint, "user");
    assert!(Arc::ptr_eq(&of(1), &of(1)));
    assert!(!Arc::ptr_eq(&of(1), &of(2)));
}

#[test]
fn the_number_of_guards_is_bounded_and_refusals_stay_longest() {
    let guards = LockoutGuards::new(None);
    let of = |password| guards.of(destination("CFAPI", password).fingerprint, "user");
    of(0).failed(&failure(FailureClass::Rejected), None, Instant::now());
    let held = of(1);
    for password in 2..3000 {
        of(password);
    }
    assert!(of(0).lock().is_closed());
    assert!(Arc::ptr_eq(&held, &of(1)));
    assert!(guards.guards.lock().unwrap().len() <= MAX_GUARDS);
}

#[test]
fn a_guard_whose_user_has_an_unclear_attempt_is_kept() {
    let guards = LockoutGuards::new(None);
    let of = |password, user: &str| guards.of(destination("CFAPI", password).fingerprint, user);
    of(0, "unclear").budget.past(Instant::now()).unclear.push_back(Instant::now());
    for password in 1..3000 {
        of(password, "other");
    }
    assert_eq!(of(0, "unclear").unsuccessful(Instant::now()), 1);
}

#[test]
fn a_refusal_is_kept_although_its_user_has_an_unclear_attempt() {
    let guards = LockoutGuards::new(None);
    let of = |password| guards.of(destination("CFAPI", password).fingerprint, "user");
    for password in 0..100 {
        of(password).failed(&failure(FailureClass::Rejected), None, Instant::now());
    }
    of(0).budget.past(Instant::now()).unclear.push_back(Instant::now());
    for password in 100..10_000 {
        of(password);
    }
    assert!((0..100).all(|password| of(password).lock().is_closed()));
    assert_eq!(of(0).unsuccessful(Instant::now()), 1);
}

#[test]
fn many_guards_of_a_user_with_an_unclear_attempt_drop_no_other_user_s_attempts() {
    let guards = LockoutGuards::new(None);
    let of = |password, user: &str| guards.of(destination("CFAPI", password).fingerprint, user);
    let unclear = |password, user: &str| {
        of(password, user).budget.past(Instant::now()).unclear.push_back(Instant::now());
    };
    for password in 0..100 {
        unclear(password, &format!("user-{password}"));
    }
    unclear(100, "busy");
    for password in 101..10_000 {
        of(password, "busy");
    }
    for password in 0..100 {
        let guard = of(password, &format!("user-{password}"));
        assert_eq!(guard.unsuccessful(Instant::now()), 1, "{password}");
    }
}

#[test]
fn if_every_guard_remembers_something_a_refusal_is_forgotten_last() {
    let guards = LockoutGuards::new(None);
    let of = |password, user: &str| guards.of(destination("CFAPI", password).fingerprint, user);
    let refused = |password| of(password, &format!("refused-{password}"));
    for password in 0..100 {
        refused(password).failed(&failure(FailureClass::Rejected), None, Instant::now());
    }
    for password in 100..5000 {
        let guard = of(password, &format!("user-{password}"));
        guard.budget.past(Instant::now()).unclear.push_back(Instant::now());
    }
    assert!((0..100).all(|password| refused(password).lock().is_closed()));
    assert!(guards.guards.lock().unwrap().len() <= MAX_GUARDS);
}
