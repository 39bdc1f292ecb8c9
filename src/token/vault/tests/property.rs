//! Whatever the login server answers, the user is not locked by this process.

use super::{PASSWORD, REFRESH};
use crate::{
    oauth::fault::{ActionCode, FaultKind},
    token::fake::{Answer, Stage},
};
use proptest::{
    collection::vec,
    prelude::{Just, Strategy, prop_oneof},
    prop_assert, proptest,
    test_runner::Config,
};
use std::time::Duration;
use tokio::time::sleep;

/// The window in which identity providers count failures, and ours.
const WINDOW: Duration = Duration::from_secs(65 * 60);

fn answers() -> impl Strategy<Value = Answer> {
    prop_oneof![
        4 => kinds().prop_map(Answer::Fault),
        1 => (kinds(), 0_u64..100).prop_map(|(kind, wait)| Answer::Later(kind, wait)),
        1 => Just(Answer::Unsent),
        1 => Just(Answer::Broken),
        1 => (0_u64..5000).prop_map(Answer::Token),
        1 => (0_u64..5000).prop_map(Answer::NoRefresh),
        1 => Just(Answer::Crash),
    ]
}

fn kinds() -> impl Strategy<Value = FaultKind> {
    proptest::sample::select(vec![
        FaultKind::BadCredentials,
        FaultKind::ProviderLocked,
        FaultKind::UaaLocked,
        FaultKind::ActionRequired(ActionCode::PasswordChangeRequired),
        FaultKind::SecondFactor,
        FaultKind::OriginUnknown,
        FaultKind::ProviderNotAllowed,
        FaultKind::OriginMissing,
        FaultKind::TrustIncomplete,
        FaultKind::UserNotCreated,
        FaultKind::IssuerMismatch,
        FaultKind::NotVerified,
        FaultKind::GrantNotAllowed,
        FaultKind::NoScopes,
        FaultKind::BadRequest,
        FaultKind::QueryNotAllowed,
        FaultKind::RateLimited,
        FaultKind::Unavailable,
        FaultKind::ServerError,
        FaultKind::NotFound,
        FaultKind::Redirect,
        FaultKind::Unreadable,
        FaultKind::RefreshTokenRejected,
    ])
}

/// UAA's own lock is told before the password is looked at and counts nowhere (F4).
fn is_definite(answer: &Answer) -> bool {
    match answer {
        Answer::Fault(kind) | Answer::Later(kind, _) => {
            !kind.is_transient() && *kind != FaultKind::UaaLocked
        }
        Answer::Token(_)
        | Answer::NoRefresh(_)
        | Answer::Unsent
        | Answer::Broken
        | Answer::Crash => false,
    }
}

/// May hide a failure; a crash of ours after sending as well.
fn is_unclear(answer: &Answer) -> bool {
    match answer {
        Answer::Fault(kind) | Answer::Later(kind, _) => kind.is_ambiguous(),
        Answer::Broken | Answer::Crash => true,
        Answer::Token(_) | Answer::NoRefresh(_) | Answer::Unsent => false,
    }
}

/// Most of `times` that fall into one window.
fn densest(times: &[Duration]) -> usize {
    let within = |start: &Duration| {
        let end = *start + WINDOW;
        times.iter().filter(|time| (*start..end).contains(*time)).count()
    };
    times.iter().map(within).max().unwrap_or(0)
}

proptest! {
    #![proptest_config(Config { cases: 48, ..Config::default() })]

    #[test]
    fn for_any_sequence_of_answers_definite_logons_stay_at_two_in_sixty_five_minutes(
        passwords in vec(answers(), 1..25),
        refreshes in vec(answers(), 0..10),
        pauses in vec(1_u64..1200, 40..60),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        let sent = runtime.block_on(async {
            let stage = Stage::new();
            let last = passwords.last().unwrap().clone();
            stage.fake.next(PASSWORD, passwords.clone());
            stage.fake.usually(PASSWORD, last);
            stage.fake.next(REFRESH, refreshes);
            for pause in pauses {
                // Whoever comes: the outcome does not matter, only what was sent.
                drop(stage.lease().await);
                sleep(Duration::from_secs(pause)).await;
            }
            stage.fake.sent()
        });
        let start = sent[0].at;
        let logons: Vec<_> = sent.iter().filter(|sent| sent.grant == PASSWORD).collect();
        let answered = |index: usize| passwords.get(index).or(passwords.last()).unwrap();
        let times = |wanted: fn(&Answer) -> bool| -> Vec<Duration> {
            let numbered = logons.iter().enumerate();
            numbered
                .filter(|(index, _)| wanted(answered(*index)))
                .map(|(_, sent)| sent.at - start)
                .collect()
        };
        prop_assert!(densest(&times(is_definite)) <= 2);
        prop_assert!(densest(&times(is_unclear)) <= 3);
        let both = |answer: &Answer| is_definite(answer) || is_unclear(answer);
        prop_assert!(densest(&times(both)) <= 4);
    }
}
