//! For any answers of the login server, this process does not lock the user.

use super::{PASSWORD, REFRESH};
use crate::{
    oauth::fault::{ActionCode, FaultKind},
    token::fake::{ScriptedAnswer, TestVault},
};
use proptest::{
    collection::vec,
    prelude::{Just, Strategy, prop_oneof},
    prop_assert, proptest,
    test_runner::Config,
};
use std::time::Duration;
use tokio::time::sleep;

/// The window in which identity providers count failures, with our margin.
const WINDOW: Duration = Duration::from_secs(65 * 60);

fn answers() -> impl Strategy<Value = ScriptedAnswer> {
    prop_oneof![
        4 => kinds().prop_map(ScriptedAnswer::Fault),
        1 => (kinds(), 0_u64..100).prop_map(|(kind, wait)| ScriptedAnswer::Later(kind, wait)),
        1 => proptest::sample::select(vec![400, 401, 403, 410]).prop_map(ScriptedAnswer::Page),
        1 => Just(ScriptedAnswer::Unsent),
        1 => Just(ScriptedAnswer::Broken),
        1 => (0_u64..5000).prop_map(ScriptedAnswer::Token),
        1 => (0_u64..5000).prop_map(ScriptedAnswer::NoRefresh),
        1 => Just(ScriptedAnswer::Panic),
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

/// UAA reports its own lock before it looks at the password, so it is not counted (F4).
fn is_definite(answer: &ScriptedAnswer) -> bool {
    match answer {
        ScriptedAnswer::Fault(kind) | ScriptedAnswer::Later(kind, _) => {
            let is_elsewhere = matches!(
                kind,
                FaultKind::NotFound | FaultKind::QueryNotAllowed | FaultKind::Redirect
            );
            !kind.is_transient() && !is_elsewhere && *kind != FaultKind::UaaLocked
        }
        ScriptedAnswer::Token(_)
        | ScriptedAnswer::NoRefresh(_)
        | ScriptedAnswer::Page(_)
        | ScriptedAnswer::Unsent
        | ScriptedAnswer::Broken
        | ScriptedAnswer::Panic => false,
    }
}

/// May hide a failure; so may our own panic after sending.
fn is_unclear(answer: &ScriptedAnswer) -> bool {
    match answer {
        ScriptedAnswer::Fault(kind) | ScriptedAnswer::Later(kind, _) => kind.is_ambiguous(),
        ScriptedAnswer::Page(status) => matches!(status, 400 | 401 | 403),
        ScriptedAnswer::Broken | ScriptedAnswer::Panic => true,
        ScriptedAnswer::Token(_) | ScriptedAnswer::NoRefresh(_) | ScriptedAnswer::Unsent => false,
    }
}

/// Largest number of `times` within one window.
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
            let test = TestVault::new();
            let last = passwords.last().unwrap().clone();
            test.fake.next(PASSWORD, passwords.clone());
            test.fake.usually(PASSWORD, last);
            test.fake.next(REFRESH, refreshes);
            for pause in pauses {
                // The outcome does not matter, only what was sent.
                drop(test.lease().await);
                sleep(Duration::from_secs(pause)).await;
            }
            test.fake.sent()
        });
        let start = sent[0].at;
        let logons: Vec<_> = sent.iter().filter(|sent| sent.grant == PASSWORD).collect();
        let answered = |index: usize| passwords.get(index).or(passwords.last()).unwrap();
        let times = |wanted: fn(&ScriptedAnswer) -> bool| -> Vec<Duration> {
            let numbered = logons.iter().enumerate();
            numbered
                .filter(|(index, _)| wanted(answered(*index)))
                .map(|(_, sent)| sent.at - start)
                .collect()
        };
        prop_assert!(densest(&times(is_definite)) <= 2);
        prop_assert!(densest(&times(is_unclear)) <= 2);
        let both = |answer: &ScriptedAnswer| is_definite(answer) || is_unclear(answer);
        prop_assert!(densest(&times(both)) <= 3);
    }
}
