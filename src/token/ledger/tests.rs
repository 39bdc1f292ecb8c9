use super::Ledger;
use crate::token::{
    Reason,
    backoff::Trouble,
    state::{GateState, Sending, Transition},
    verdict::{Ruling, Verdict},
};
use rstest::rstest;
use std::time::Duration;
use tokio::time::Instant;

const HOUR: Duration = Duration::from_secs(3600);

const fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

fn ruling(verdict: Verdict) -> Ruling {
    let reason = match verdict {
        Verdict::Rejected => Reason::Rejected,
        Verdict::Blocked | Verdict::BlockedWithProbe => Reason::SecondFactor,
        Verdict::Locked(_) => Reason::Locked,
        Verdict::Waiting { .. } => Reason::UaaUnavailable,
    };
    Ruling { verdict, reason }
}

fn waiting(is_ambiguous: bool) -> Ruling {
    ruling(Verdict::Waiting { trouble: Trouble::Asked(seconds(10)), is_ambiguous })
}

fn failed(ledger: &mut Ledger, verdict: Verdict, now: Instant) -> Transition {
    ledger.failed(Sending::Password, &ruling(verdict), now)
}

fn allows(ledger: &Ledger, now: Instant) -> bool {
    ledger.check(Sending::Password, now).is_ok()
}

#[test]
fn unknown_and_good_let_a_password_through() {
    let (mut ledger, now) = (Ledger::default(), Instant::now());
    assert_eq!(ledger.state(now), GateState::Unknown);
    assert!(allows(&ledger, now));
    assert!(!ledger.is_proven());
    let transition = ledger.succeeded(now);
    assert_eq!((transition.from, transition.to), (GateState::Unknown, GateState::Good));
    assert!(allows(&ledger, now));
    assert!(ledger.is_proven());
}

#[rstest]
#[case(Verdict::Rejected, GateState::Rejected, None)]
#[case(Verdict::Blocked, GateState::Blocked, None)]
#[case(Verdict::BlockedWithProbe, GateState::Blocked, Some((HOUR, HOUR)))]
#[case(Verdict::Locked(seconds(330)), GateState::Locked, Some((seconds(330), seconds(347))))]
#[case(Verdict::Locked(seconds(3900)), GateState::Locked, Some((seconds(3900), seconds(4095))))]
fn one_definite_refusal_closes(
    #[case] verdict: Verdict,
    #[case] state: GateState,
    #[case] opens: Option<(Duration, Duration)>,
) {
    let (mut ledger, now) = (Ledger::default(), Instant::now());
    let transition = failed(&mut ledger, verdict, now);
    assert_eq!((transition.from, transition.to), (GateState::Unknown, state));
    assert!(ledger.is_closed());
    let hold = ledger.check(Sending::Password, now).unwrap_err();
    assert_eq!(hold.reason, ruling(verdict).reason);
    assert_eq!(hold.retry_at.is_some(), state == GateState::Locked);
    match opens {
        None => assert!(!allows(&ledger, now + 10_000 * HOUR)),
        Some((least, most)) => {
            assert!(!allows(&ledger, now + least - seconds(1)));
            assert!(allows(&ledger, now + most));
        }
    }
    // The state is shown until an attempt has an outcome.
    assert_eq!(ledger.state(now + 10_000 * HOUR), state);
}

#[test]
fn a_success_opens_what_was_closed() {
    let (mut ledger, now) = (Ledger::default(), Instant::now());
    failed(&mut ledger, Verdict::Locked(seconds(330)), now);
    let transition = ledger.succeeded(now + HOUR);
    assert_eq!((transition.from, transition.to), (GateState::Locked, GateState::Good));
    assert!(!ledger.is_closed());
    assert!(allows(&ledger, now));
}

#[test]
fn a_lock_that_still_holds_doubles_and_one_after_a_success_starts_anew() {
    let (mut ledger, mut now) = (Ledger::default(), Instant::now());
    let mut waits = Vec::new();
    for _ in 0..12 {
        failed(&mut ledger, Verdict::Locked(seconds(330)), now);
        let until = ledger.check(Sending::Password, now).unwrap_err().retry_at.unwrap();
        waits.push((until - now).as_secs_f64());
        now = until;
    }
    let expected = [330, 660, 1320, 2640, 5280, 10_560, 21_120, 42_240, 84_480, 86_400, 86_400];
    for (wait, expected) in waits.iter().zip(expected.map(f64::from)) {
        assert!((expected..=expected * 1.05).contains(wait), "{wait} {expected}");
    }
    ledger.succeeded(now);
    failed(&mut ledger, Verdict::Locked(seconds(330)), now);
    assert!(allows(&ledger, now + seconds(347)));
}

#[test]
fn the_provider_s_lock_after_uaa_s_waits_at_least_its_own_time() {
    let (mut ledger, now) = (Ledger::default(), Instant::now());
    failed(&mut ledger, Verdict::Locked(seconds(330)), now);
    failed(&mut ledger, Verdict::Locked(seconds(3900)), now);
    assert!(!allows(&ledger, now + seconds(3899)));
    assert!(allows(&ledger, now + seconds(4095)));
}

#[test]
fn a_pause_lies_over_the_state_before() {
    let (mut ledger, now) = (Ledger::default(), Instant::now());
    ledger.succeeded(now);
    let transition = ledger.failed(Sending::Password, &waiting(false), now);
    assert_eq!((transition.from, transition.to), (GateState::Good, GateState::Waiting));
    let hold = ledger.check(Sending::Password, now).unwrap_err();
    assert_eq!(hold.reason, Reason::UaaUnavailable);
    let until = hold.retry_at.unwrap();
    assert!((10..=11).contains(&(until - now).as_secs()));
    assert_eq!(ledger.state(until), GateState::Good);
    assert!(allows(&ledger, until));
}

#[test]
fn a_pause_is_overcome_by_an_outcome_only() {
    let (mut ledger, now) = (Ledger::default(), Instant::now());
    ledger.succeeded(now);
    ledger.failed(Sending::Password, &waiting(false), now);
    let later = now + HOUR;
    let again = ledger.failed(Sending::Password, &waiting(false), later);
    assert_eq!((again.from, again.to), (GateState::Waiting, GateState::Waiting));
    let transition = ledger.succeeded(later + HOUR);
    assert_eq!((transition.from, transition.to), (GateState::Waiting, GateState::Good));
}

#[test]
fn a_definite_refusal_ends_a_pause() {
    let (mut ledger, now) = (Ledger::default(), Instant::now());
    ledger.failed(Sending::Password, &waiting(false), now);
    failed(&mut ledger, Verdict::Rejected, now);
    assert_eq!(ledger.state(now), GateState::Rejected);
    assert_eq!(ledger.rounds(), 0);
}

#[test]
fn a_pause_over_a_lock_does_not_open_it() {
    let (mut ledger, now) = (Ledger::default(), Instant::now());
    failed(&mut ledger, Verdict::Locked(seconds(330)), now);
    let probe = now + seconds(347);
    ledger.failed(Sending::Password, &waiting(true), probe);
    assert_eq!(ledger.state(probe), GateState::Waiting);
    assert!(ledger.is_closed());
    assert!(!allows(&ledger, probe + seconds(9)));
    assert_eq!(ledger.state(probe + seconds(12)), GateState::Locked);
}

#[test]
fn pauses_count_their_rounds_until_something_definite_happens() {
    let (mut ledger, now) = (Ledger::default(), Instant::now());
    for round in 0..3 {
        assert_eq!(ledger.rounds(), round);
        ledger.failed(Sending::Password, &waiting(false), now);
    }
    ledger.succeeded(now);
    assert_eq!(ledger.rounds(), 0);
}

#[test]
fn only_ambiguous_passwords_use_the_budget_up() {
    let (mut ledger, now) = (Ledger::default(), Instant::now());
    for _ in 0..5 {
        ledger.failed(Sending::Password, &waiting(false), now);
        ledger.failed(Sending::Assertion, &waiting(true), now);
    }
    assert!(ledger.admit(now).is_ok());
    ledger.failed(Sending::Password, &waiting(true), now);
    assert!(ledger.admit(now).is_ok());
    ledger.failed(Sending::Password, &waiting(true), now);
    let until = ledger.admit(now).unwrap_err();
    assert_eq!(until - now, seconds(65 * 60));
    let hold = ledger.exhaust(until);
    assert_eq!(hold.retry_at, Some(until));
    assert_eq!(ledger.state(until - seconds(1)), GateState::Waiting);
    assert!(allows(&ledger, until));
}

#[test]
fn an_assertion_passes_a_closed_gate_but_not_a_pause() {
    let (mut ledger, now) = (Ledger::default(), Instant::now());
    failed(&mut ledger, Verdict::Rejected, now);
    assert!(ledger.check(Sending::Assertion, now).is_ok());
    ledger.failed(Sending::Assertion, &waiting(true), now);
    assert!(ledger.check(Sending::Assertion, now).is_err());
    assert!(ledger.check(Sending::Assertion, now + seconds(12)).is_ok());
}

#[test]
fn a_release_opens_once() {
    let (mut ledger, now) = (Ledger::default(), Instant::now());
    failed(&mut ledger, Verdict::Rejected, now);
    ledger.release();
    assert!(ledger.is_released());
    assert!(allows(&ledger, now));
    assert!(ledger.take_release());
    assert!(!ledger.take_release());
    assert!(!allows(&ledger, now));
}

#[rstest]
#[case(GateState::Unknown, "unknown")]
#[case(GateState::Good, "good")]
#[case(GateState::Rejected, "rejected")]
#[case(GateState::Blocked, "blocked")]
#[case(GateState::Locked, "locked")]
#[case(GateState::Waiting, "waiting")]
fn states_have_the_names_of_the_metric(#[case] state: GateState, #[case] name: &str) {
    assert_eq!(state.name(), name);
}
