use super::LockoutState;
use crate::token::{
    Reason, UaaOutage,
    backoff::RetryClass,
    failure_policy::{ClassifiedFailure, FailureClass},
    settings::LogonGrant,
    state::{GuardState, Transition},
};
use rstest::rstest;
use std::time::Duration;
use tokio::time::Instant;

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
