//! Every state of guard and token with every refusal.

use std::time::Duration;

use rstest::rstest;
use tokio::time::Instant;

use super::{StateWord, UserState};
use crate::{
    destination::{DestinationName, SourceKind},
    pages::StatusMood,
    token::{
        AttemptCounts, DestinationStatus, Freshness, GuardState, LeaseRefusal, PastRefusal, Reason,
        UaaOutage,
    },
};

const GUARDS: [GuardState; 6] = [
    GuardState::Unknown,
    GuardState::Good,
    GuardState::Rejected,
    GuardState::Blocked,
    GuardState::Locked,
    GuardState::Waiting,
];
const AGES: [Option<Freshness>; 4] =
    [None, Some(Freshness::Fresh), Some(Freshness::Ageing), Some(Freshness::Expired)];
const WAIT: Duration = Duration::from_secs(600);

fn advice() -> String {
    "correct user and password; release one attempt (POST /destinations/{name}/retry) with force=true".to_owned()
}

fn reasons(now: Instant) -> Vec<Reason> {
    let advice = advice();
    let findings = vec!["User is missing".to_owned()];
    let mut reasons = vec![
        Reason::DestinationMissing,
        Reason::DestinationInvalid { findings },
        Reason::DestinationUnavailable { advice: advice.clone() },
        Reason::DestinationUntrusted { advice: advice.clone() },
        Reason::Rejected { advice: advice.clone() },
        Reason::AssertionRejected { advice: advice.clone() },
        Reason::SecondFactor,
        Reason::ActionRequired { advice: advice.clone() },
        Reason::Misconfigured { advice: advice.clone() },
        Reason::Locked { advice: advice.clone() },
        Reason::UaaSlow,
        Reason::UaaUnreachable { advice: advice.clone() },
        Reason::UaaUntrusted { advice },
        Reason::Unclear { until: now + WAIT },
        Reason::NoTokenEndpoint { status: 302 },
        Reason::RefreshMisdirected { status: 302 },
        Reason::Internal,
    ];
    let outages = [
        UaaOutage::NotReached,
        UaaOutage::NoAnswer,
        UaaOutage::RateLimited,
        UaaOutage::NotRunning,
        UaaOutage::ServerError,
        UaaOutage::ProviderTrouble,
        UaaOutage::Unreadable,
        UaaOutage::Changing,
    ];
    reasons.extend(outages.map(Reason::UaaUnavailable));
    reasons
}

fn refusal(reason: Reason, retry_at: Option<Instant>) -> LeaseRefusal {
    let read_from = Some(SourceKind::SubaccountLevel);
    LeaseRefusal { destination: "CFAPI".to_owned(), reason, retry_at, read_from }
}

fn status(guard: GuardState, freshness: Option<Freshness>) -> DestinationStatus {
    DestinationStatus {
        name: DestinationName::parse("CFAPI").unwrap(),
        source: Some(SourceKind::SubaccountLevel),
        user: Some("user".to_owned()),
        origin: None,
        guard,
        guard_opens_in: None,
        hold: None,
        freshness,
        expires_in: freshness.map(|_| Duration::from_secs(660)),
        failed_refreshes: 0,
        warning: None,
        last_renewal: None,
        last_refusal: None,
        events: Vec::new(),
        attempts: AttemptCounts::default(),
    }
}

fn past(reason: Reason, is_over: bool) -> PastRefusal {
    PastRefusal { refusal: refusal(reason, None), ago: WAIT, is_over }
}

/// Asserts what holds for every state.
fn assert_whole(state: &UserState, what: &str) {
    for text in [&state.cause, &state.next_step].into_iter().flatten() {
        assert!(text.ends_with('.') && !text.contains(".."), "{what}: {text}");
        assert!(text.starts_with(|c: char| c.is_ascii_uppercase()), "{what}: {text}");
        assert!(!text.contains("POST") && !text.contains("force"), "{what}: {text}");
    }
    assert_eq!(state.cause.is_some(), state.next_step.is_some(), "{what}");
    assert!(state.mood == StatusMood::Good || state.next_step.is_some(), "{what}");
    let ends = matches!(state.word, StateWord::Locked | StateWord::Waiting);
    assert!(ends || state.until.is_none(), "{what}");
}

#[test]
fn every_state_says_what_is_known_and_what_to_do() {
    let now = Instant::now();
    let mut seen = 0;
    for (guard, age, reason) in GUARDS.into_iter().flat_map(|guard| {
        AGES.into_iter()
            .flat_map(move |age| reasons(now).into_iter().map(move |reason| (guard, age, reason)))
    }) {
        for retry_at in [None, Some(now + WAIT), Some(now)] {
            let what = format!("{guard:?} {age:?} {reason:?} {retry_at:?}");
            let hold = Some(refusal(reason.clone(), retry_at));
            let waiting = UserState::of(&DestinationStatus { hold, ..status(guard, age) }, now);
            assert_whole(&waiting, &what);
            for is_over in [false, true] {
                let last_refusal = Some(past(reason.clone(), is_over));
                let refused = DestinationStatus { last_refusal, ..status(guard, age) };
                let state = UserState::of(&refused, now);
                assert_whole(&state, &what);
                let is_served = matches!(age, Some(Freshness::Fresh | Freshness::Ageing));
                // What is over, or does not matter now, is not told.
                let without = UserState::of(&status(guard, age), now);
                assert_eq!(state == without, is_over || is_served, "{what}");
                seen += 1;
            }
        }
    }
    assert_eq!(seen, 6 * 4 * 25 * 3 * 2);
}

#[rstest]
#[case(GuardState::Unknown, None, StateWord::Unused)]
#[case(GuardState::Unknown, Some(Freshness::Fresh), StateWord::Healthy)]
#[case(GuardState::Good, None, StateWord::Renewing)]
#[case(GuardState::Good, Some(Freshness::Fresh), StateWord::Healthy)]
#[case(GuardState::Good, Some(Freshness::Ageing), StateWord::Renewing)]
#[case(GuardState::Good, Some(Freshness::Expired), StateWord::Renewing)]
#[case(GuardState::Rejected, None, StateWord::Refused)]
#[case(GuardState::Blocked, None, StateWord::NeedsAttention)]
#[case(GuardState::Locked, None, StateWord::Locked)]
#[case(GuardState::Waiting, None, StateWord::Waiting)]
#[case(GuardState::Waiting, Some(Freshness::Fresh), StateWord::Healthy)]
fn a_state_without_a_refusal_follows_from_guard_and_token(
    #[case] guard: GuardState,
    #[case] age: Option<Freshness>,
    #[case] expected: StateWord,
) {
    assert_eq!(UserState::of(&status(guard, age), Instant::now()).word, expected);
}

#[test]
fn a_refusal_decides_the_word_and_when_it_ends() {
    let now = Instant::now();
    for reason in reasons(now) {
        let (word, ends) = match &reason {
            Reason::Rejected { .. } | Reason::AssertionRejected { .. } => {
                (StateWord::Refused, false)
            }
            Reason::Locked { .. } => (StateWord::Locked, true),
            Reason::DestinationUnavailable { .. }
            | Reason::UaaUnavailable(_)
            | Reason::UaaSlow
            | Reason::UaaUnreachable { .. }
            | Reason::Unclear { .. }
            | Reason::NoTokenEndpoint { .. }
            | Reason::RefreshMisdirected { .. } => (StateWord::Waiting, true),
            Reason::DestinationMissing
            | Reason::DestinationInvalid { .. }
            | Reason::DestinationUntrusted { .. }
            | Reason::SecondFactor
            | Reason::ActionRequired { .. }
            | Reason::Misconfigured { .. }
            | Reason::UaaUntrusted { .. }
            | Reason::Internal => (StateWord::NeedsAttention, false),
        };
        let hold = Some(refusal(reason.clone(), Some(now + WAIT)));
        let waiting = DestinationStatus { hold, ..status(GuardState::Waiting, None) };
        let state = UserState::of(&waiting, now);
        let until = ends.then_some(now + WAIT);
        assert_eq!((state.word, state.until), (word, until), "{reason:?}");
    }
}

#[test]
fn a_pause_does_not_matter_while_the_token_is_fresh_but_a_refusal_does() {
    let now = Instant::now();
    let word = |reason, age| {
        let hold = Some(refusal(reason, Some(now + WAIT)));
        UserState::of(&DestinationStatus { hold, ..status(GuardState::Waiting, age) }, now).word
    };
    let (fresh, ageing) = (Some(Freshness::Fresh), Some(Freshness::Ageing));
    assert_eq!(word(Reason::UaaUnavailable(UaaOutage::NoAnswer), fresh), StateWord::Healthy);
    assert_eq!(word(Reason::UaaUnavailable(UaaOutage::NoAnswer), ageing), StateWord::Waiting);
    assert_eq!(word(Reason::SecondFactor, fresh), StateWord::NeedsAttention);
    let locked = Reason::Locked { advice: advice() };
    assert_eq!(word(locked, fresh), StateWord::Locked);
}

#[test]
fn a_refused_logon_says_where_to_correct_what() {
    let now = Instant::now();
    let state_of = |read_from| {
        let refusal =
            LeaseRefusal { read_from, ..refusal(Reason::Rejected { advice: advice() }, None) };
        let hold = Some(refusal);
        UserState::of(&DestinationStatus { hold, ..status(GuardState::Rejected, None) }, now)
    };
    let read_again = state_of(Some(SourceKind::SubaccountLevel));
    assert_eq!(read_again.cause.as_deref(), Some("The CF login server refused the logon."));
    assert_eq!(
        read_again.next_step.as_deref(),
        Some(
            "Correct user and password; release one attempt. Correct what is wrong in the \
             destination; the broker notices within 60 seconds."
        )
    );
    let fixed = state_of(Some(SourceKind::UserProvided)).next_step.unwrap();
    assert!(fixed.contains("user-provided service; then restart"), "{fixed}");
}

#[test]
fn a_lock_that_should_be_over_says_so() {
    let now = Instant::now();
    let locked = |retry_at| {
        let refusal = refusal(Reason::Locked { advice: "wait".to_owned() }, Some(retry_at));
        let last_refusal = Some(PastRefusal { refusal, ago: WAIT, is_over: false });
        let status = DestinationStatus { last_refusal, ..status(GuardState::Locked, None) };
        UserState::of(&status, now)
    };
    assert_eq!(locked(now + WAIT).until, Some(now + WAIT));
    let over = locked(now);
    assert_eq!((over.word, over.until), (StateWord::Locked, None));
    assert!(over.next_step.unwrap().contains("should be over"));
}

#[rstest]
#[case(1, Freshness::Ageing, StatusMood::Good, false)]
#[case(2, Freshness::Ageing, StatusMood::Waiting, true)]
#[case(3, Freshness::Fresh, StatusMood::Waiting, true)]
fn refreshes_that_keep_failing_are_told_while_requests_are_served(
    #[case] failed_refreshes: u32,
    #[case] age: Freshness,
    #[case] mood: StatusMood,
    #[case] is_told: bool,
) {
    let last_refusal = Some(past(Reason::UaaSlow, age == Freshness::Fresh));
    let status = status(GuardState::Good, Some(age));
    let status = DestinationStatus { failed_refreshes, last_refusal, ..status };
    let state = UserState::of(&status, Instant::now());
    assert_eq!((state.mood, state.cause.is_some()), (mood, is_told));
    let cause = state.cause.unwrap_or_default();
    assert_eq!(cause.contains("has not answered"), is_told && age == Freshness::Ageing, "{cause}");
}
