use super::{Attempt, Force, RetryError};
use crate::{
    destination::CachePolicy,
    oauth::fault::{ActionCode, FaultKind},
    token::{
        Freshness, GuardState, LogonGrant, PastEventKind, Reason, Revoked, UaaOutage,
        fake::{LIFE, LogMessages, ScriptedAnswer, TestVault, destination, destination_of, name},
    },
};
use rstest::rstest;
use std::{
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::time::{Instant, sleep, timeout};
use tracing_subscriber::layer::SubscriberExt;

const PASSWORD: &str = "password";
const REFRESH: &str = "refresh_token";
const ASSERTION: &str = "jwt_bearer";

async fn pass(seconds: u64) {
    sleep(Duration::from_secs(seconds)).await;
}

fn state(test: &TestVault) -> GuardState {
    test.vault.statuses()[0].guard
}

async fn reason(test: &TestVault) -> Reason {
    test.lease().await.unwrap_err().reason
}

// --- cold start ----------------------------------------------------------------------------------

#[tokio::test(start_paused = true)]
async fn a_thousand_cold_callers_cost_one_logon_although_the_first_hangs_up() {
    let test = Arc::new(TestVault::new());
    test.fake.latency(Duration::from_millis(300));
    assert!(timeout(Duration::from_millis(50), test.lease()).await.is_err());
    let callers: Vec<_> = (0..1000)
        .map(|_| {
            let test = Arc::clone(&test);
            test.tasks.clone().spawn(async move { test.lease().await })
        })
        .collect();
    for caller in callers {
        assert!(caller.await.unwrap().is_ok());
    }
    assert_eq!(test.fake.grants(), [PASSWORD]);
    assert_eq!(test.fake.finds(CachePolicy::PastCache), 0);
}

#[tokio::test(start_paused = true)]
async fn the_destination_is_confirmed_before_the_password_is_sent() {
    let test = TestVault::new();
    test.lease().await.unwrap();
    assert_eq!(test.fake.finds(CachePolicy::Confirmed), 1);
}

#[tokio::test(start_paused = true)]
async fn the_first_lease_is_fetched_in_the_background_and_no_caller_waits_for_the_delay() {
    let test = TestVault::new();
    test.vault.warm(&name("CFAPI"), Duration::from_secs(5));
    let before = Instant::now();
    test.lease().await.unwrap();
    assert_eq!(before.elapsed(), Duration::ZERO);
    let other = TestVault::new();
    other.vault.warm(&name("CFAPI"), Duration::from_secs(5));
    pass(4).await;
    assert_eq!(other.fake.sent().len(), 0);
    pass(2).await;
    assert_eq!(other.fake.grants(), [PASSWORD]);
}

#[tokio::test(start_paused = true)]
async fn an_unknown_name_is_missing_and_makes_no_call() {
    let test = TestVault::new();
    let refusal = test.lease_of("OTHER").await.unwrap_err();
    assert_eq!(refusal.reason, Reason::DestinationMissing);
    assert_eq!(test.fake.finds(CachePolicy::Cached), 0);
}

#[tokio::test(start_paused = true)]
async fn callers_that_have_waited_for_a_token_leave_in_their_order() {
    let test = Arc::new(TestVault::new());
    test.lease().await.unwrap();
    pass(LIFE).await;
    test.fake.latency(Duration::from_millis(300));
    let left = Arc::new(Mutex::new(Vec::new()));
    let callers: Vec<_> = (0..100)
        .map(|number| {
            let (test, left) = (Arc::clone(&test), Arc::clone(&left));
            test.tasks.clone().spawn(async move {
                test.lease().await.unwrap();
                left.lock().unwrap().push(number);
            })
        })
        .collect();
    for caller in callers {
        caller.await.unwrap();
    }
    assert_eq!(*left.lock().unwrap(), (0..100).collect::<Vec<_>>());
}

// --- renewal -------------------------------------------------------------------------------------

#[tokio::test(start_paused = true)]
async fn ten_lifetimes_under_load_cost_one_refresh_grant_each_and_no_caller_notices() {
    let test = TestVault::new();
    test.fake.latency(Duration::from_millis(1500));
    test.lease().await.unwrap();
    assert_eq!(test.callers_for(10 * LIFE).await, 0);
    assert_eq!(test.fake.count(PASSWORD), 1);
    let refreshed = test.fake.count(REFRESH);
    // Each token is renewed at 60 to 70 % of its lifetime.
    assert!((14..=16).contains(&refreshed), "{refreshed}");
}

#[tokio::test(start_paused = true)]
async fn an_idle_broker_makes_no_call() {
    let test = TestVault::new();
    test.lease().await.unwrap();
    let finds = test.fake.finds(CachePolicy::Confirmed);
    pass(10 * LIFE).await;
    assert_eq!(test.fake.sent().len(), 1);
    assert_eq!(test.fake.finds(CachePolicy::Confirmed), finds);
    test.lease().await.unwrap();
    assert_eq!(test.fake.grants(), [PASSWORD, REFRESH]);
}

#[rstest]
#[case::gone(ScriptedAnswer::Unsent)]
#[case::broken(ScriptedAnswer::Broken)]
#[case::failing(ScriptedAnswer::Fault(FaultKind::ServerError))]
#[case::unreadable(ScriptedAnswer::Fault(FaultKind::Unreadable))]
#[case::limited(ScriptedAnswer::Fault(FaultKind::RateLimited))]
#[tokio::test(start_paused = true)]
async fn an_outage_of_two_fifths_of_a_lifetime_fails_no_request(#[case] out: ScriptedAnswer) {
    let test = TestVault::new();
    test.lease().await.unwrap();
    assert_eq!(test.callers_for(LIFE / 2).await, 0);
    test.fake.usually(REFRESH, out);
    assert_eq!(test.callers_for(LIFE * 2 / 5).await, 0);
    test.fake.usually(REFRESH, ScriptedAnswer::Token(LIFE));
    assert_eq!(test.callers_for(LIFE).await, 0);
    assert_eq!(test.fake.count(PASSWORD), 1);
}

#[tokio::test(start_paused = true)]
async fn the_last_attempts_happen_before_the_end_of_a_lease() {
    let test = TestVault::new();
    test.lease().await.unwrap();
    assert_eq!(test.callers_for(LIFE / 2).await, 0);
    test.fake.usually(REFRESH, ScriptedAnswer::Fault(FaultKind::ServerError));
    // 20 s before the lease can no longer be served. The pauses have grown to a minute long before.
    assert_eq!(test.callers_for(1119 - LIFE / 2).await, 0);
    let tries = test.fake.count(REFRESH);
    // With constant pauses there would be one attempt each second.
    assert!((8..=40).contains(&tries), "{tries}");
    test.fake.usually(REFRESH, ScriptedAnswer::Token(LIFE));
    assert_eq!(test.callers_for(60).await, 0);
}

#[tokio::test(start_paused = true)]
async fn an_outage_past_expiry_gives_503_and_recovers_within_five_seconds_with_one_grant() {
    let test = TestVault::new();
    test.lease().await.unwrap();
    test.fake.usually(REFRESH, ScriptedAnswer::Unsent);
    test.fake.usually(PASSWORD, ScriptedAnswer::Unsent);
    test.callers_for(LIFE).await;
    let refusal = test.lease().await.unwrap_err();
    assert_eq!(refusal.reason, Reason::UaaUnavailable(UaaOutage::NotReached));
    let wait = refusal.retry_after(Instant::now()).unwrap();
    assert!((1..=5).contains(&wait.as_secs()), "{wait:?}");
    test.fake.usually(REFRESH, ScriptedAnswer::Token(LIFE));
    let before = test.fake.sent().len();
    pass(5).await;
    assert!(test.lease().await.is_ok());
    assert_eq!(test.fake.sent().len(), before + 1);
    assert_eq!(test.fake.count(PASSWORD), 1);
}

#[tokio::test(start_paused = true)]
async fn a_refused_refresh_token_costs_exactly_one_password() {
    let test = TestVault::new();
    test.lease().await.unwrap();
    test.fake.usually(REFRESH, ScriptedAnswer::Fault(FaultKind::RefreshTokenRejected));
    pass(LIFE).await;
    test.lease().await.unwrap();
    assert_eq!(test.fake.grants(), [PASSWORD, REFRESH, PASSWORD]);
}

#[tokio::test(start_paused = true)]
async fn a_refused_refresh_token_is_not_sent_again_although_its_lease_lives() {
    let test = TestVault::new();
    test.lease().await.unwrap();
    test.fake.usually(REFRESH, ScriptedAnswer::Fault(FaultKind::RefreshTokenRejected));
    test.fake.usually(PASSWORD, ScriptedAnswer::Unsent);
    pass(900).await;
    assert_eq!(test.callers_for(200).await, 0);
    assert_eq!(test.fake.count(REFRESH), 1);
    assert!(test.fake.count(PASSWORD) > 10);
}

#[tokio::test(start_paused = true)]
async fn a_transient_refresh_failure_keeps_the_refresh_token_and_sends_no_password() {
    let test = TestVault::new();
    test.lease().await.unwrap();
    test.fake
        .next(REFRESH, [ScriptedAnswer::Fault(FaultKind::ServerError), ScriptedAnswer::Broken]);
    pass(900).await;
    assert_eq!(test.callers_for(20).await, 0);
    assert_eq!(test.fake.grants(), [PASSWORD, REFRESH, REFRESH, REFRESH]);
    assert_eq!(state(&test), GuardState::Good);
}

#[tokio::test(start_paused = true)]
async fn an_answer_without_refresh_token_keeps_the_old_one() {
    let test = TestVault::new();
    test.lease().await.unwrap();
    test.fake.usually(REFRESH, ScriptedAnswer::NoRefresh(LIFE));
    for _ in 0..3 {
        pass(LIFE).await;
        test.lease().await.unwrap();
    }
    assert_eq!(test.fake.grants(), [PASSWORD, REFRESH, REFRESH, REFRESH]);
}

#[tokio::test(start_paused = true)]
async fn a_client_without_refresh_tokens_logs_on_each_time() {
    let test = TestVault::new();
    test.fake.usually(PASSWORD, ScriptedAnswer::NoRefresh(LIFE));
    for _ in 0..3 {
        test.lease().await.unwrap();
        pass(LIFE).await;
    }
    assert_eq!(test.fake.grants(), [PASSWORD; 3]);
}

#[tokio::test(start_paused = true)]
async fn a_missing_refresh_token_is_logged_once() {
    let log = LogMessages::default();
    let subscriber = tracing_subscriber::registry().with(log.clone());
    let _logging = tracing::subscriber::set_default(subscriber);
    let test = TestVault::new();
    test.fake.usually(PASSWORD, ScriptedAnswer::NoRefresh(LIFE));
    for password in [1, 1, 2, 2] {
        test.fake.put(destination("CFAPI", password));
        test.lease().await.unwrap();
        pass(LIFE).await;
    }
    assert_eq!(log.count("no refresh token: every renewal is a logon"), 1);
    assert!(test.fake.count(PASSWORD) >= 4);
}

#[tokio::test(start_paused = true)]
async fn a_lease_is_lent_without_a_check_for_a_second_and_never_once_it_ages() {
    let test = TestVault::new();
    let lease = test.lease().await.unwrap();
    let fresh = || test.vault.fresh(&name("CFAPI")).is_some();
    test.lease().await.unwrap();
    assert!(fresh());
    pass(1).await;
    assert!(!fresh());
    sleep(lease.renew_at() - Duration::from_millis(500) - Instant::now()).await;
    test.lease().await.unwrap();
    // The check of the destination is over.
    sleep(Duration::from_millis(1)).await;
    test.lease().await.unwrap();
    assert!(fresh());
    sleep(lease.renew_at() - Instant::now()).await;
    assert!(!fresh());
}

#[tokio::test(start_paused = true)]
async fn retry_after_of_a_429_is_honoured_up_to_a_minute() {
    let test = TestVault::new();
    test.lease().await.unwrap();
    for (asked, least, most) in [(20, 20, 22), (1_000_000_000, 60, 60)] {
        pass(LIFE).await;
        test.fake.next(REFRESH, [ScriptedAnswer::Later(FaultKind::RateLimited, asked)]);
        let refusal = test.lease().await.unwrap_err();
        let wait = refusal.retry_after(Instant::now()).unwrap();
        assert!((least..=most).contains(&wait.as_secs()), "{wait:?}");
        pass(61).await;
        test.lease().await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn cf_s_refusal_costs_one_refresh_grant_and_another_one_not_before_thirty_seconds() {
    let test = TestVault::new();
    let lease = test.lease().await.unwrap();
    assert_eq!(test.vault.revoke(&name("CFAPI"), &lease), Revoked::Renewing);
    let second = test.lease().await.unwrap();
    assert_eq!(test.fake.grants(), [PASSWORD, REFRESH]);
    assert_eq!(test.vault.revoke(&name("CFAPI"), &second), Revoked::Cooldown);
    assert_eq!(test.vault.revoke(&name("CFAPI"), &lease), Revoked::Renewing);
    assert!(Arc::ptr_eq(&test.lease().await.unwrap(), &second));
    pass(30).await;
    assert_eq!(test.vault.revoke(&name("CFAPI"), &second), Revoked::Renewing);
    test.lease().await.unwrap();
    assert_eq!(test.fake.grants(), [PASSWORD, REFRESH, REFRESH]);
}

#[rstest]
#[case::refused(FaultKind::RefreshTokenRejected)]
#[case::failing(FaultKind::ServerError)]
#[tokio::test(start_paused = true)]
async fn if_cf_refuses_every_token_and_refreshes_fail_logons_are_ten_minutes_apart(
    #[case] kind: FaultKind,
) {
    let test = TestVault::new();
    let mut lease = test.lease().await.unwrap();
    test.fake.usually(REFRESH, ScriptedAnswer::Fault(kind));
    for _ in 0..3600 {
        test.vault.revoke(&name("CFAPI"), &lease);
        lease = test.lease().await.unwrap();
        pass(1).await;
    }
    // The first one, the first forced one, and six in an hour.
    let logons = test.fake.count(PASSWORD);
    assert!((6..=8).contains(&logons), "{logons}");
}

/// Outcomes of this many callers at once.
async fn crowd(test: &Arc<TestVault>, count: usize) -> usize {
    let callers: Vec<_> = (0..count)
        .map(|_| {
            let test = Arc::clone(test);
            test.tasks.clone().spawn(async move { test.lease().await.is_ok() })
        })
        .collect();
    let mut served = 0;
    for caller in callers {
        served += usize::from(caller.await.unwrap());
    }
    served
}

#[tokio::test(start_paused = true)]
async fn a_crowd_is_refused_by_one_grant_and_again_only_after_the_pause() {
    let test = Arc::new(TestVault::new());
    test.fake.latency(Duration::from_secs(1));
    test.fake.usually(PASSWORD, ScriptedAnswer::Later(FaultKind::RateLimited, 7));
    assert_eq!(crowd(&test, 200).await, 0);
    assert_eq!(test.fake.grants(), [PASSWORD]);
    pass(6).await;
    assert_eq!(crowd(&test, 200).await, 0);
    assert_eq!(test.fake.grants(), [PASSWORD]);
    pass(2).await;
    crowd(&test, 200).await;
    assert_eq!(test.fake.grants(), [PASSWORD; 2]);
}

#[tokio::test(start_paused = true)]
async fn a_crowd_that_meets_401_costs_one_renewal() {
    let test = Arc::new(TestVault::new());
    test.fake.latency(Duration::from_secs(1));
    let used = test.lease().await.unwrap();
    for _ in 0..100 {
        assert_eq!(test.vault.revoke(&name("CFAPI"), &used), Revoked::Renewing);
    }
    assert_eq!(crowd(&test, 100).await, 100);
    assert_eq!(test.fake.grants(), [PASSWORD, REFRESH]);
}

#[tokio::test(start_paused = true)]
async fn an_ageing_token_is_served_while_its_renewal_runs_or_is_refused() {
    let test = TestVault::new();
    let first = test.lease().await.unwrap();
    test.fake.latency(Duration::from_secs(5));
    test.fake.usually(REFRESH, ScriptedAnswer::Fault(FaultKind::RefreshTokenRejected));
    test.fake.usually(PASSWORD, ScriptedAnswer::Fault(FaultKind::BadCredentials));
    pass(900).await;
    for _ in 0..100 {
        let before = Instant::now();
        assert!(Arc::ptr_eq(&test.lease().await.unwrap(), &first));
        assert_eq!(before.elapsed(), Duration::ZERO);
        pass(2).await;
    }
    assert_eq!(test.fake.grants(), [PASSWORD, REFRESH, PASSWORD]);
    pass(100).await;
    assert!(matches!(reason(&test).await, Reason::Rejected { .. }));
}

#[tokio::test(start_paused = true)]
async fn in_a_lasting_outage_only_the_caller_that_asks_the_server_waits() {
    let test = Arc::new(TestVault::new());
    test.fake.usually(PASSWORD, ScriptedAnswer::Unsent);
    for _ in 0..2 {
        assert!(test.lease().await.is_err());
        pass(6).await;
    }
    test.fake.usually(PASSWORD, ScriptedAnswer::Token(LIFE));
    test.fake.latency(Duration::from_secs(10));
    let asker = Arc::clone(&test);
    let asker = test.tasks.spawn(async move { asker.lease().await });
    pass(1).await;
    let before = Instant::now();
    let refusal = test.lease().await.unwrap_err();
    assert_eq!(before.elapsed(), Duration::ZERO);
    assert_eq!(refusal.reason, Reason::UaaUnavailable(UaaOutage::NotReached));
    assert_eq!(refusal.retry_after(before), Some(Duration::from_secs(1)));
    assert!(asker.await.unwrap().is_ok());
    assert!(test.lease().await.is_ok());
    assert_eq!(test.fake.count(PASSWORD), 6);
}

#[tokio::test(start_paused = true)]
async fn a_token_with_almost_no_lifetime_is_shared_by_those_who_waited() {
    let test = Arc::new(TestVault::new());
    test.fake.latency(Duration::from_secs(1));
    test.fake.usually(PASSWORD, ScriptedAnswer::Token(1));
    assert_eq!(crowd(&test, 200).await, 200);
    assert_eq!(test.fake.grants(), [PASSWORD]);
}

// --- a refresh that never works ------------------------------------------------------------------

/// Fifty callers at once each second. Returns how many were refused.
async fn fifty_a_second(test: &Arc<TestVault>, seconds: u64) -> usize {
    let mut refused = 0;
    for _ in 0..seconds {
        pass(1).await;
        let callers: Vec<_> = (0..50)
            .filter(|_| test.vault.fresh(&name("CFAPI")).is_none())
            .map(|_| {
                let test = Arc::clone(test);
                test.tasks.clone().spawn(async move { test.lease().await.is_err() })
            })
            .collect();
        for caller in callers {
            refused += usize::from(caller.await.unwrap());
        }
    }
    refused
}

#[tokio::test(start_paused = true)]
async fn a_refresh_that_always_fails_costs_one_logon_a_lifetime_and_no_caller_notices() {
    let test = Arc::new(TestVault::new());
    test.fake.latency(Duration::from_millis(200));
    test.fake.usually(REFRESH, ScriptedAnswer::Fault(FaultKind::ServerError));
    assert_eq!(fifty_a_second(&test, 10 * LIFE).await, 0);
    let logons = test.fake.count(PASSWORD);
    assert!((10..=11).contains(&logons), "{logons}");
}

#[rstest]
#[case::broken(ScriptedAnswer::Broken)]
#[case::unreadable(ScriptedAnswer::Fault(FaultKind::Unreadable))]
#[case::redirected(ScriptedAnswer::Fault(FaultKind::Redirect))]
#[case::not_found(ScriptedAnswer::Fault(FaultKind::NotFound))]
#[case::method(ScriptedAnswer::Fault(FaultKind::QueryNotAllowed))]
#[case::router(ScriptedAnswer::Fault(FaultKind::Unavailable))]
#[tokio::test(start_paused = true)]
async fn whatever_fails_each_refresh_costs_one_logon_a_lifetime(#[case] answer: ScriptedAnswer) {
    let test = TestVault::new();
    test.fake.usually(REFRESH, answer);
    assert_eq!(test.callers_for(5 * LIFE).await, 0);
    let logons = test.fake.count(PASSWORD);
    assert!((5..=6).contains(&logons), "{logons}");
}

#[tokio::test(start_paused = true)]
async fn an_idle_broker_logs_on_in_the_flight_whose_two_refreshes_failed() {
    let test = TestVault::new();
    test.lease().await.unwrap();
    test.fake.usually(REFRESH, ScriptedAnswer::Fault(FaultKind::ServerError));
    pass(LIFE).await;
    test.lease().await.unwrap();
    assert_eq!(test.fake.grants(), [PASSWORD, REFRESH, REFRESH, PASSWORD]);
    assert_eq!(test.vault.statuses()[0].failed_refreshes, 2);
    // A refresh that works ends it.
    test.fake.usually(REFRESH, ScriptedAnswer::Token(LIFE));
    pass(LIFE).await;
    test.lease().await.unwrap();
    assert_eq!(test.vault.statuses()[0].failed_refreshes, 0);
}

#[tokio::test(start_paused = true)]
async fn a_token_that_cf_revoked_while_refreshes_fail_costs_one_logon_at_once() {
    let test = TestVault::new();
    test.lease().await.unwrap();
    test.fake.usually(REFRESH, ScriptedAnswer::Fault(FaultKind::ServerError));
    pass(900).await;
    // Long pauses by now.
    assert_eq!(test.callers_for(90).await, 0);
    assert_eq!(test.fake.count(PASSWORD), 1);
    let lease = test.lease().await.unwrap();
    assert_eq!(test.vault.revoke(&name("CFAPI"), &lease), Revoked::Renewing);
    assert!(test.lease().await.is_ok());
    assert_eq!(test.fake.count(PASSWORD), 2);
}

#[tokio::test(start_paused = true)]
async fn a_429_is_waited_out_before_the_logon() {
    let test = TestVault::new();
    test.lease().await.unwrap();
    test.fake.usually(REFRESH, ScriptedAnswer::Later(FaultKind::RateLimited, 40));
    pass(LIFE).await;
    let start = Instant::now();
    test.callers_for(200).await;
    assert!(test.lease().await.is_ok());
    let sent = test.fake.sent();
    let limited: Vec<_> = sent.iter().filter(|sent| sent.grant == REFRESH).collect();
    let logon = sent.iter().rfind(|sent| sent.grant == PASSWORD).unwrap();
    assert_eq!((limited.len(), test.fake.count(PASSWORD)), (2, 2));
    assert!(limited[1].at - limited[0].at >= Duration::from_secs(40));
    assert!(logon.at - limited[1].at >= Duration::from_secs(40));
    assert!(logon.at - start <= Duration::from_secs(92));
}

#[tokio::test(start_paused = true)]
async fn no_password_is_sent_while_no_connection_can_be_made() {
    let test = TestVault::new();
    test.lease().await.unwrap();
    test.fake.next(REFRESH, [ScriptedAnswer::Broken]);
    test.fake.usually(REFRESH, ScriptedAnswer::Unsent);
    pass(LIFE).await;
    test.callers_for(600).await;
    assert_eq!(test.fake.count(PASSWORD), 1);
    test.fake.usually(REFRESH, ScriptedAnswer::Token(LIFE));
    pass(5).await;
    assert!(test.lease().await.is_ok());
    assert_eq!(test.fake.count(PASSWORD), 1);
}

#[rstest]
#[case::refused(FaultKind::BadCredentials, GuardState::Rejected)]
#[case::mfa(FaultKind::SecondFactor, GuardState::Blocked)]
#[tokio::test(start_paused = true)]
async fn while_the_guard_holds_refreshes_go_on(
    #[case] kind: FaultKind,
    #[case] expected: GuardState,
) {
    let test = TestVault::new();
    test.lease().await.unwrap();
    test.fake.usually(REFRESH, ScriptedAnswer::Fault(FaultKind::ServerError));
    test.fake.usually(PASSWORD, ScriptedAnswer::Fault(kind));
    pass(LIFE).await;
    assert!(test.lease().await.is_err());
    assert_eq!(state(&test), expected);
    test.callers_for(600).await;
    assert_eq!(test.fake.count(PASSWORD), 2);
    let refreshes = test.fake.count(REFRESH);
    assert!((8..=40).contains(&refreshes), "{refreshes}");
    test.fake.usually(REFRESH, ScriptedAnswer::Token(LIFE));
    pass(60).await;
    assert!(test.lease().await.is_ok());
    assert_eq!(test.fake.count(PASSWORD), 2);
}

#[tokio::test(start_paused = true)]
async fn unclear_logons_instead_of_a_refresh_count_and_refreshes_go_on() {
    let test = TestVault::new();
    test.lease().await.unwrap();
    test.fake.usually(REFRESH, ScriptedAnswer::Fault(FaultKind::ServerError));
    test.fake.usually(PASSWORD, ScriptedAnswer::Fault(FaultKind::ServerError));
    pass(LIFE).await;
    test.callers_for(3600).await;
    assert!(test.fake.count(PASSWORD) <= 4);
    test.fake.usually(REFRESH, ScriptedAnswer::Token(LIFE));
    pass(60).await;
    assert!(test.lease().await.is_ok());
}

#[rstest]
#[case::broken(ScriptedAnswer::Broken)]
#[case::failing(ScriptedAnswer::Fault(FaultKind::ServerError))]
#[case::not_reached(ScriptedAnswer::Fault(FaultKind::Unavailable))]
#[case::unreadable(ScriptedAnswer::Fault(FaultKind::Unreadable))]
#[case::redirected(ScriptedAnswer::Fault(FaultKind::Redirect))]
#[case::limited(ScriptedAnswer::Fault(FaultKind::RateLimited))]
#[case::limited_shortly(ScriptedAnswer::Later(FaultKind::RateLimited, 2))]
#[tokio::test(start_paused = true)]
async fn one_hiccup_of_a_refresh_stays_within_its_flight(#[case] hiccup: ScriptedAnswer) {
    let test = TestVault::new();
    test.lease().await.unwrap();
    pass(LIFE).await;
    test.fake.next(REFRESH, [hiccup]);
    let before = Instant::now();
    assert!(test.lease().await.is_ok());
    assert!(before.elapsed() <= Duration::from_millis(2500), "{:?}", before.elapsed());
    assert_eq!(test.fake.grants(), [PASSWORD, REFRESH, REFRESH]);
}

// --- the lockout guard ---------------------------------------------------------------------------

#[tokio::test(start_paused = true)]
async fn a_wrong_password_is_sent_once_per_process() {
    let mut fake = None;
    for life in 1..=3 {
        let test = match fake {
            None => TestVault::new(),
            Some(fake) => TestVault::on(fake, &["CFAPI"], LogonGrant::Password),
        };
        test.fake.usually(PASSWORD, ScriptedAnswer::Fault(FaultKind::BadCredentials));
        for _ in 0..600 {
            for _ in 0..10 {
                let refusal = test.lease().await.unwrap_err();
                assert!(matches!(refusal.reason, Reason::Rejected { .. }));
                assert_eq!(refusal.retry_after(Instant::now()), None);
            }
            pass(1).await;
        }
        assert_eq!(state(&test), GuardState::Rejected);
        assert_eq!(test.fake.count(PASSWORD), life);
        fake = Some(Arc::clone(&test.fake));
    }
}

#[tokio::test(start_paused = true)]
async fn a_remembered_refusal_comes_at_once() {
    let test = TestVault::new();
    test.fake.latency(Duration::from_secs(3));
    test.fake.usually(PASSWORD, ScriptedAnswer::Fault(FaultKind::BadCredentials));
    assert!(matches!(reason(&test).await, Reason::Rejected { .. }));
    for _ in 0..100 {
        let before = Instant::now();
        assert!(matches!(reason(&test).await, Reason::Rejected { .. }));
        assert_eq!(before.elapsed(), Duration::ZERO);
        pass(1).await;
    }
}

#[tokio::test(start_paused = true)]
async fn while_rejected_the_destination_is_read_each_minute_past_the_cache() {
    let test = TestVault::new();
    test.fake.usually(PASSWORD, ScriptedAnswer::Fault(FaultKind::BadCredentials));
    assert!(matches!(reason(&test).await, Reason::Rejected { .. }));
    assert_eq!(test.fake.finds(CachePolicy::PastCache), 1);
    pass(600).await;
    let polls = test.fake.finds(CachePolicy::PastCache) - 1;
    assert!((10..=11).contains(&polls), "{polls}");
    assert_eq!(test.fake.count(PASSWORD), 1);
}

#[tokio::test(start_paused = true)]
async fn a_corrected_password_serves_again_within_a_minute_without_a_caller() {
    let test = TestVault::new();
    test.fake.usually(PASSWORD, ScriptedAnswer::Fault(FaultKind::BadCredentials));
    assert!(matches!(reason(&test).await, Reason::Rejected { .. }));
    pass(1).await;
    test.fake.put(destination("CFAPI", 2));
    test.fake.usually(PASSWORD, ScriptedAnswer::Token(LIFE));
    pass(60).await;
    assert_eq!(state(&test), GuardState::Good);
    assert!(test.lease().await.is_ok());
    assert_eq!(test.fake.count(PASSWORD), 2);
    // Repaired: no further polls.
    let polls = test.fake.finds(CachePolicy::PastCache);
    pass(600).await;
    assert_eq!(test.fake.finds(CachePolicy::PastCache), polls);
}

#[tokio::test(start_paused = true)]
async fn a_password_corrected_while_it_was_refused_is_tried_at_once() {
    let test = TestVault::new();
    test.fake.next(PASSWORD, [ScriptedAnswer::Fault(FaultKind::BadCredentials)]);
    test.fake.put_after_logon(destination("CFAPI", 2));
    assert!(test.lease().await.is_ok());
    let sent = test.fake.sent();
    assert_eq!(sent.len(), 2);
    assert_ne!(sent[0].to, sent[1].to);
}

#[tokio::test(start_paused = true)]
async fn a_password_that_comes_before_the_first_answer_has_its_own_guard() {
    let test = TestVault::new();
    test.fake.usually(PASSWORD, ScriptedAnswer::Unsent);
    assert!(matches!(reason(&test).await, Reason::UaaUnavailable(_)));
    let first = test.fake.sent()[0].to;
    test.fake.put(destination("CFAPI", 2));
    test.fake.usually(PASSWORD, ScriptedAnswer::Fault(FaultKind::BadCredentials));
    pass(6).await;
    assert!(matches!(reason(&test).await, Reason::Rejected { .. }));
    let refused = test.fake.sent().last().unwrap().to;
    assert_ne!(refused, first);
    // The first password was never refused, so it may be tried again.
    test.fake.put(destination("CFAPI", 1));
    pass(61).await;
    assert_eq!(test.fake.sent().last().unwrap().to, first);
    // The hand-over to new credentials is not recorded as a refusal.
    let past = test.vault.statuses().remove(0).last_refusal.unwrap();
    assert!(matches!(past.refusal.reason, Reason::Rejected { .. }));
}

#[tokio::test(start_paused = true)]
async fn handing_over_to_new_credentials_is_no_refusal() {
    let test = TestVault::new();
    test.fake.next(PASSWORD, [ScriptedAnswer::Fault(FaultKind::BadCredentials)]);
    test.fake.put_after_logon(destination("CFAPI", 2));
    test.lease().await.unwrap();
    let status = test.vault.statuses().remove(0);
    assert!(status.last_refusal.is_none());
}

#[tokio::test(start_paused = true)]
async fn going_back_to_a_refused_password_sends_nothing() {
    let test = TestVault::new();
    test.fake.usually(PASSWORD, ScriptedAnswer::Fault(FaultKind::BadCredentials));
    for password in [1, 2, 1, 2, 1] {
        test.fake.put(destination("CFAPI", password));
        test.callers_for(3).await;
        assert!(matches!(reason(&test).await, Reason::Rejected { .. }));
        pass(61).await;
    }
    assert_eq!(test.fake.count(PASSWORD), 2);
}

#[rstest]
#[case::provider(FaultKind::ProviderLocked, 65 * 60)]
#[case::uaa(FaultKind::UaaLocked, 330)]
#[tokio::test(start_paused = true)]
async fn a_lock_is_waited_out_then_probed_once_and_the_wait_doubles(
    #[case] lock: FaultKind,
    #[case] base: u64,
) {
    let test = TestVault::new();
    test.fake.usually(PASSWORD, ScriptedAnswer::Fault(lock));
    let refusal = test.lease().await.unwrap_err();
    assert!(matches!(refusal.reason, Reason::Locked { .. }));
    let wait = refusal.retry_after(Instant::now()).unwrap();
    assert!(wait.as_secs() >= base && wait.as_secs() <= base + base / 20);
    test.callers_for(base - 1).await;
    assert_eq!(test.fake.count(PASSWORD), 1);
    test.callers_for(base / 20 + 2).await;
    assert_eq!(test.fake.count(PASSWORD), 2);
    test.callers_for(2 * base - 1 - base / 20).await;
    assert_eq!(test.fake.count(PASSWORD), 2);
    test.callers_for(base / 5 + 4).await;
    assert_eq!(test.fake.count(PASSWORD), 3);
    test.fake.usually(PASSWORD, ScriptedAnswer::Token(LIFE));
    pass(5 * base).await;
    assert!(test.lease().await.is_ok());
    assert_eq!(state(&test), GuardState::Good);
}

#[tokio::test(start_paused = true)]
async fn a_lock_never_waits_longer_than_a_day() {
    let test = TestVault::new();
    test.fake.usually(PASSWORD, ScriptedAnswer::Fault(FaultKind::ProviderLocked));
    for _ in 0..8 {
        let refusal = test.lease().await.unwrap_err();
        let wait = refusal.retry_after(Instant::now()).unwrap();
        assert!(wait.as_secs_f64() <= 86_400.0 * 1.05);
        sleep(wait).await;
    }
    let times: Vec<_> = test.fake.sent().iter().map(|sent| sent.at).collect();
    assert!(times[7] - times[6] >= Duration::from_secs(86_400));
}

#[tokio::test(start_paused = true)]
async fn a_broken_trust_is_probed_once_an_hour() {
    let test = TestVault::new();
    test.fake.usually(PASSWORD, ScriptedAnswer::Fault(FaultKind::IssuerMismatch));
    let refusal = test.lease().await.unwrap_err();
    assert!(matches!(refusal.reason, Reason::ActionRequired { .. }));
    assert_eq!(refusal.retry_after(Instant::now()), None);
    test.callers_for(3 * 3600 + 120).await;
    assert_eq!(test.fake.count(PASSWORD), 4);
}

#[rstest]
#[case::never_proven(false)]
#[case::proven(true)]
#[tokio::test(start_paused = true)]
async fn attempts_without_a_clear_result_are_counted(#[case] is_proven: bool) {
    let test = TestVault::new();
    if is_proven {
        test.fake.next(PASSWORD, [ScriptedAnswer::NoRefresh(LIFE)]);
        test.lease().await.unwrap();
        pass(LIFE).await;
    }
    let before = test.fake.count(PASSWORD);
    test.fake.usually(PASSWORD, ScriptedAnswer::Fault(FaultKind::ServerError));
    test.callers_for(60 * 60).await;
    assert_eq!(test.fake.count(PASSWORD) - before, 2);
    let refusal = test.lease().await.unwrap_err();
    assert!(matches!(refusal.reason, Reason::Unclear { .. }));
    assert_eq!(state(&test), GuardState::Waiting);
    test.callers_for(6 * 60).await;
    assert_eq!(test.fake.count(PASSWORD) - before, 3);
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_was_never_made_costs_nothing() {
    let test = TestVault::new();
    test.fake.usually(PASSWORD, ScriptedAnswer::Unsent);
    test.callers_for(120).await;
    assert!(test.fake.count(PASSWORD) > 20);
    test.fake.usually(PASSWORD, ScriptedAnswer::Token(LIFE));
    pass(5).await;
    assert!(test.lease().await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_sent_password_is_not_repeated_within_its_flight() {
    let test = TestVault::new();
    test.fake.usually(PASSWORD, ScriptedAnswer::Broken);
    assert!(matches!(reason(&test).await, Reason::Unclear { .. }));
    assert_eq!(test.fake.count(PASSWORD), 1);
}

#[tokio::test(start_paused = true)]
async fn attempts_without_a_clear_result_are_counted_over_all_credentials_of_a_user() {
    let test = TestVault::with(&["CFAPI", "OTHER"], LogonGrant::Password);
    test.fake.put(destination("OTHER", 2));
    test.fake.usually(PASSWORD, ScriptedAnswer::Broken);
    for _ in 0..600 {
        assert!(test.lease().await.is_err());
        assert!(test.lease_of("OTHER").await.is_err());
        pass(1).await;
    }
    assert_eq!(test.fake.count(PASSWORD), 2);
}

#[tokio::test(start_paused = true)]
async fn an_attempt_without_a_clear_result_does_not_hold_another_user() {
    let test = TestVault::with(&["CFAPI", "OTHER"], LogonGrant::Password);
    test.fake.put(destination_of("other@example.com", "OTHER", 2));
    test.fake.next(PASSWORD, [ScriptedAnswer::Broken]);
    assert!(test.lease().await.is_err());
    assert!(test.lease_of("OTHER").await.is_ok());
    assert!(test.lease().await.is_err());
}

#[tokio::test(start_paused = true)]
async fn within_one_flight_a_missing_connection_is_retried_three_times() {
    let test = TestVault::new();
    test.fake
        .next(PASSWORD, [ScriptedAnswer::Unsent, ScriptedAnswer::Unsent, ScriptedAnswer::Unsent]);
    let before = Instant::now();
    assert!(test.lease().await.is_ok());
    assert!(before.elapsed() <= Duration::from_millis(2100));
    assert_eq!(test.fake.count(PASSWORD), 4);
}

#[rstest]
#[case(FaultKind::SecondFactor, Reason::SecondFactor)]
#[case(FaultKind::BadRequest, Reason::Internal)]
#[tokio::test(start_paused = true)]
async fn what_must_be_repaired_blocks(#[case] kind: FaultKind, #[case] expected: Reason) {
    let test = TestVault::new();
    test.fake.usually(PASSWORD, ScriptedAnswer::Fault(kind));
    assert_eq!(reason(&test).await, expected);
    test.callers_for(2 * 3600).await;
    assert_eq!(state(&test), GuardState::Blocked);
    assert_eq!(test.fake.count(PASSWORD), 1);
}

#[tokio::test(start_paused = true)]
async fn the_provider_s_code_is_named() {
    let test = TestVault::new();
    let kind = FaultKind::ActionRequired(ActionCode::PasswordDisabled);
    test.fake.usually(PASSWORD, ScriptedAnswer::Fault(kind));
    let Reason::ActionRequired { advice } = reason(&test).await else {
        panic!("another reason");
    };
    assert!(advice.contains("(PASSWORD_DISABLED)"), "{advice}");
}

#[tokio::test(start_paused = true)]
async fn a_rejected_credential_with_a_live_refresh_token_keeps_serving() {
    let test = TestVault::with(&["CFAPI", "OTHER"], LogonGrant::Password);
    test.lease().await.unwrap();
    // The second name uses other parameters, so it must log on itself.
    let other = crate::destination::Destination {
        scope: Some("cloud_controller.read".to_owned()),
        ..destination("OTHER", 1)
    };
    test.fake.put(other);
    test.fake.usually(PASSWORD, ScriptedAnswer::Fault(FaultKind::BadCredentials));
    assert!(matches!(test.lease_of("OTHER").await.unwrap_err().reason, Reason::Rejected { .. }));
    assert_eq!(test.callers_for(3 * LIFE).await, 0);
    assert_eq!(test.fake.count(PASSWORD), 2);
    assert!(test.fake.count(REFRESH) > 3);
}

#[tokio::test(start_paused = true)]
async fn two_names_of_one_credential_send_one_password() {
    let test = TestVault::with(&["CFAPI", "OTHER"], LogonGrant::Password);
    test.fake.latency(Duration::from_secs(1));
    let (one, two) = tokio::join!(test.lease(), test.lease_of("OTHER"));
    assert!(one.is_ok() && two.is_ok());
    assert_eq!(test.fake.grants(), [PASSWORD]);
}

#[tokio::test(start_paused = true)]
async fn two_names_of_one_wrong_credential_send_one_password() {
    let test = TestVault::with(&["CFAPI", "OTHER"], LogonGrant::Password);
    test.fake.latency(Duration::from_secs(1));
    test.fake.usually(PASSWORD, ScriptedAnswer::Fault(FaultKind::BadCredentials));
    let (one, two) = tokio::join!(test.lease(), test.lease_of("OTHER"));
    assert!(matches!(one.unwrap_err().reason, Reason::Rejected { .. }));
    assert!(matches!(two.unwrap_err().reason, Reason::Rejected { .. }));
    assert_eq!(test.fake.grants(), [PASSWORD]);
}

#[tokio::test(start_paused = true)]
async fn one_destination_s_refusal_leaves_another_alone() {
    let test = TestVault::with(&["CFAPI", "OTHER"], LogonGrant::Password);
    test.fake.put(destination("OTHER", 2));
    test.fake.next(PASSWORD, [ScriptedAnswer::Fault(FaultKind::BadCredentials)]);
    assert!(matches!(reason(&test).await, Reason::Rejected { .. }));
    assert!(test.lease_of("OTHER").await.is_ok());
    let states: Vec<_> = test.vault.statuses().iter().map(|s| s.guard).collect();
    assert_eq!(states, [GuardState::Rejected, GuardState::Good]);
}

// --- logons without a clear answer ---------------------------------------------------------------

/// One call a second until it succeeds. Returns the seconds.
async fn seconds_until_served(test: &TestVault, most: u64) -> u64 {
    for second in 0..most {
        if test.lease().await.is_ok() {
            return second;
        }
        pass(1).await;
    }
    panic!("not served in {most} s");
}

#[rstest]
#[case::first(Some(0), 60)]
#[case::unknown(None, 60)]
#[case::second(Some(1), 600)]
#[tokio::test(start_paused = true)]
async fn a_provider_that_is_away_for_forty_seconds_at_the_start_costs_two_posts(
    #[case] index: Option<u32>,
    #[case] spread: u64,
) {
    let fake = TestVault::new().fake;
    let test = TestVault::instance(fake, &["CFAPI"], LogonGrant::Password, index);
    test.fake.usually(PASSWORD, ScriptedAnswer::Fault(FaultKind::ServerError));
    let refusal = test.lease().await.unwrap_err();
    assert!(matches!(refusal.reason, Reason::Unclear { .. }));
    assert_eq!(refusal.retry_after(Instant::now()).unwrap().as_secs(), spread);
    assert_eq!(test.callers_for(40).await, 40);
    test.fake.usually(PASSWORD, ScriptedAnswer::Token(LIFE));
    let served = 40 + seconds_until_served(&test, 600).await;
    assert!((spread..=spread + 5).contains(&served), "{served}");
    assert_eq!(test.fake.grants(), [PASSWORD; 2]);
}

#[tokio::test(start_paused = true)]
async fn after_two_unclear_posts_the_time_is_named_and_a_release_serves_at_once() {
    let test = TestVault::new();
    test.fake.usually(PASSWORD, ScriptedAnswer::Broken);
    let start = Instant::now();
    test.callers_for(120).await;
    let refusal = test.lease().await.unwrap_err();
    let until = start + Duration::from_secs(65 * 60);
    let Reason::Unclear { until: told } = refusal.reason else {
        panic!("another reason");
    };
    assert!(told - until <= Duration::from_secs(2) && told >= until);
    assert_eq!(refusal.retry_at, Some(told));
    let hint = refusal.reason.hint();
    assert!(hint.contains("/retry") && hint.contains("Z or later"), "{hint}");
    let status = test.vault.statuses().remove(0);
    assert_eq!(status.hold.unwrap().reason.hint(), hint);
    assert!(status.guard_opens_in.unwrap() > Duration::from_secs(60 * 60));
    test.fake.usually(PASSWORD, ScriptedAnswer::Token(LIFE));
    assert_eq!(test.callers_for(600).await, 600);
    let released = test.release(Force::No).await.unwrap();
    assert!(matches!(released.attempt, Attempt::Succeeded));
    assert!(test.lease().await.is_ok());
    assert_eq!(test.fake.grants(), [PASSWORD; 3]);
}

// --- no token endpoint ---------------------------------------------------------------------------

const PROBE: &str = "probe";

#[rstest]
#[case::redirect(ScriptedAnswer::Fault(FaultKind::Redirect), 302)]
#[case::not_found(ScriptedAnswer::Fault(FaultKind::NotFound), 404)]
#[case::method(ScriptedAnswer::Fault(FaultKind::QueryNotAllowed), 405)]
#[case::gone(ScriptedAnswer::Page(410), 410)]
#[case::firewall(ScriptedAnswer::Page(403), 403)]
#[tokio::test(start_paused = true)]
async fn what_is_no_token_endpoint_is_probed_without_a_password_until_one_answers(
    #[case] answer: ScriptedAnswer,
    #[case] status: u16,
) {
    let test = TestVault::new();
    test.fake.usually(PASSWORD, answer.clone());
    test.fake.usually(PROBE, answer);
    let refusal = test.lease().await.unwrap_err();
    assert_eq!(refusal.reason, Reason::NoTokenEndpoint { status });
    let wait = refusal.retry_after(Instant::now()).unwrap().as_secs();
    assert!((60..=63).contains(&wait), "{wait}");
    test.callers_for(3600).await;
    assert_eq!(test.fake.count(PASSWORD), 1);
    let times: Vec<_> = test.fake.sent().iter().map(|sent| sent.at).collect();
    let waits: Vec<_> = times.windows(2).map(|pair| (pair[1] - pair[0]).as_secs()).collect();
    for (wait, expected) in waits.iter().zip([60, 120, 240, 480, 600, 600]) {
        assert!((expected..=expected * 21 / 20 + 2).contains(wait), "{waits:?}");
    }
    test.fake.usually(PROBE, ScriptedAnswer::Fault(FaultKind::RefreshTokenRejected));
    test.fake.usually(PASSWORD, ScriptedAnswer::Token(LIFE));
    assert!(seconds_until_served(&test, 640).await <= 632);
    assert_eq!(test.fake.count(PASSWORD), 2);
    assert_eq!(test.fake.grants().last(), Some(&PASSWORD));
}

#[tokio::test(start_paused = true)]
async fn a_redirected_refresh_does_not_promise_to_send_no_password() {
    let test = TestVault::new();
    test.lease().await.unwrap();
    test.fake.usually(REFRESH, ScriptedAnswer::Fault(FaultKind::Redirect));
    assert_eq!(test.callers_for(900).await, 0);
    let past = test.vault.statuses().remove(0).last_refusal.unwrap();
    assert_eq!(past.refusal.reason, Reason::RefreshMisdirected { status: 302 });
    assert!(past.refusal.hint().contains("logs on instead"), "{}", past.refusal.hint());
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_finds_a_token_endpoint_is_no_refused_refresh() {
    let test = TestVault::new();
    test.fake.next(PASSWORD, [ScriptedAnswer::Fault(FaultKind::Redirect)]);
    test.fake.usually("probe", ScriptedAnswer::Fault(FaultKind::RefreshTokenRejected));
    assert!(test.lease().await.is_err());
    pass(70).await;
    test.lease().await.unwrap();
    let metrics = test.vault.0.metrics.encode();
    let counted: Vec<_> =
        metrics.lines().filter(|line| line.contains("token_fetch_total")).collect();
    assert!(
        counted.iter().any(|line| line.contains("probe") && line.contains("\"ok\"")),
        "{metrics}"
    );
    assert!(!counted.iter().any(|line| line.contains("\"refused\"")), "{metrics}");
}

#[tokio::test(start_paused = true)]
async fn one_redirect_costs_a_minute_and_a_broken_probe_no_password() {
    let test = TestVault::new();
    test.fake.next(PASSWORD, [ScriptedAnswer::Fault(FaultKind::Redirect)]);
    test.fake.next(PROBE, [ScriptedAnswer::Fault(FaultKind::ServerError), ScriptedAnswer::Unsent]);
    test.fake.usually(PROBE, ScriptedAnswer::Fault(FaultKind::RefreshTokenRejected));
    let served = seconds_until_served(&test, 90).await;
    assert!((60..=75).contains(&served), "{served}");
    assert_eq!(test.fake.grants(), [PASSWORD, PROBE, PROBE, PROBE, PASSWORD]);
}

#[tokio::test(start_paused = true)]
async fn a_release_needs_no_probe() {
    let test = TestVault::new();
    test.fake.next(PASSWORD, [ScriptedAnswer::Fault(FaultKind::NotFound)]);
    assert!(test.lease().await.is_err());
    let released = test.release(Force::No).await.unwrap();
    assert!(matches!(released.attempt, Attempt::Succeeded));
    assert_eq!(test.fake.grants(), [PASSWORD, PASSWORD]);
}

// --- the destination -----------------------------------------------------------------------------

#[tokio::test(start_paused = true)]
async fn changed_credentials_drop_both_tokens_and_log_on_anew() {
    let test = TestVault::new();
    let old = test.lease().await.unwrap();
    test.fake.put(destination("CFAPI", 2));
    assert_eq!(test.callers_for(3).await, 0);
    let new = test.lease().await.unwrap();
    assert!(!Arc::ptr_eq(&old, &new));
    assert_eq!(test.fake.grants(), [PASSWORD, PASSWORD]);
    // Nothing else holds the old token: the refresher is gone with its refresh token.
    let old = Arc::into_inner(old).expect("held elsewhere");
    assert_eq!(Arc::strong_count(old.token()), 1);
}

#[tokio::test(start_paused = true)]
async fn another_api_is_used_from_the_next_call_on_without_a_grant() {
    let test = TestVault::new();
    let first = test.lease().await.unwrap();
    let moved = crate::destination::Destination {
        api: "https://api.elsewhere.test".parse().unwrap(),
        ..destination("CFAPI", 1)
    };
    test.fake.put(moved);
    test.callers_for(3).await;
    let lease = test.lease().await.unwrap();
    assert_eq!(lease.api().host_str(), Some("api.elsewhere.test"));
    assert_eq!(test.fake.grants(), [PASSWORD]);
    // The older lease still knows the token that CF refused.
    assert_eq!(test.vault.revoke(&name("CFAPI"), &first), Revoked::Renewing);
    assert_eq!(lease.freshness(Instant::now()), Freshness::Expired);
}

#[tokio::test(start_paused = true)]
async fn a_destination_that_comes_later_is_found_within_a_minute() {
    let test = TestVault::new();
    test.fake.delete("CFAPI");
    assert_eq!(reason(&test).await, Reason::DestinationMissing);
    test.fake.put(destination("CFAPI", 1));
    pass(60).await;
    assert_eq!(test.fake.grants(), [PASSWORD]);
    assert!(test.lease().await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_deleted_destination_drops_its_tokens() {
    let test = TestVault::new();
    test.lease().await.unwrap();
    test.fake.delete("CFAPI");
    test.callers_for(3).await;
    assert_eq!(reason(&test).await, Reason::DestinationMissing);
    assert_eq!(test.vault.statuses()[0].freshness, None);
}

#[tokio::test(start_paused = true)]
async fn a_certificate_of_the_service_that_is_refused_keeps_what_is_known_in_service() {
    let test = TestVault::new();
    test.lease().await.unwrap();
    test.fake.service_is_untrusted();
    test.fake.usually(REFRESH, ScriptedAnswer::Fault(FaultKind::RefreshTokenRejected));
    assert_eq!(test.callers_for(2 * LIFE).await, 0);
    // Without a logon that has worked the password may be old: it is not sent.
    let cold = TestVault::new();
    cold.fake.service_is_untrusted();
    let refusal = cold.lease().await.unwrap_err();
    assert!(matches!(refusal.reason, Reason::DestinationUntrusted { .. }), "{refusal}");
    assert_eq!(refusal.retry_after(Instant::now()), None);
    assert_eq!(cold.fake.sent().len(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_caller_whose_time_ends_learns_which_system_has_not_answered() {
    let test = TestVault::new();
    test.fake.find_latency(Duration::from_secs(20));
    test.fake.latency(Duration::from_secs(20));
    assert!(timeout(Duration::from_secs(10), test.lease()).await.is_err());
    let late = test.vault.late(&name("CFAPI"));
    assert!(matches!(late.reason, Reason::DestinationUnavailable { .. }), "{late}");
    assert!(timeout(Duration::from_secs(15), test.lease()).await.is_err());
    let late = test.vault.late(&name("CFAPI"));
    assert_eq!(late.reason, Reason::UaaSlow);
    assert_eq!(late.retry_after(Instant::now()), Some(Duration::from_secs(5)));
}

#[tokio::test(start_paused = true)]
async fn without_the_service_only_a_proven_password_is_sent() {
    let test = TestVault::new();
    test.fake.service_is_down(true);
    let refusal = test.lease().await.unwrap_err();
    assert!(matches!(refusal.reason, Reason::DestinationUnavailable { .. }));
    assert!(refusal.retry_after(Instant::now()).is_some());
    assert_eq!(test.fake.sent().len(), 0);
    test.fake.service_is_down(false);
    pass(3).await;
    test.lease().await.unwrap();
    test.fake.service_is_down(true);
    test.fake.usually(REFRESH, ScriptedAnswer::Fault(FaultKind::RefreshTokenRejected));
    pass(LIFE).await;
    assert!(test.lease().await.is_ok());
    assert_eq!(test.fake.grants(), [PASSWORD, REFRESH, PASSWORD]);
}

// --- operator ------------------------------------------------------------------------------------

#[tokio::test(start_paused = true)]
async fn a_release_lets_exactly_one_attempt_through() {
    let test = TestVault::new();
    test.fake.usually(PASSWORD, ScriptedAnswer::Fault(FaultKind::SecondFactor));
    assert_eq!(reason(&test).await, Reason::SecondFactor);
    let first = test.release(Force::No).await.unwrap();
    assert_eq!(first.released, 1);
    let Attempt::Refused(refusal) = first.attempt else {
        panic!("succeeded");
    };
    assert_eq!(refusal.reason, Reason::SecondFactor);
    assert_eq!(test.fake.count(PASSWORD), 2);
    test.callers_for(600).await;
    assert_eq!(test.fake.count(PASSWORD), 2);
    test.fake.usually(PASSWORD, ScriptedAnswer::Token(LIFE));
    let repeated = test.release(Force::No).await.unwrap_err();
    let RetryError::Repeated(repeated) = repeated else {
        panic!("another error");
    };
    assert_eq!(repeated.earlier, 1);
    assert_eq!(test.fake.count(PASSWORD), 2);
    let second = test.release(Force::Yes).await.unwrap();
    assert!(matches!(second.attempt, Attempt::Succeeded));
    assert_eq!(second.released, 2);
    assert!(test.lease().await.is_ok());
    assert_eq!(test.fake.count(PASSWORD), 3);
    pass(65 * 60).await;
    let third = test.release(Force::No).await.unwrap();
    assert_eq!(third.released, 1);
}

#[tokio::test(start_paused = true)]
async fn a_release_respects_a_lock_unless_forced() {
    let test = TestVault::new();
    test.fake.usually(PASSWORD, ScriptedAnswer::Fault(FaultKind::ProviderLocked));
    assert!(matches!(reason(&test).await, Reason::Locked { .. }));
    let refused = test.release(Force::No).await.unwrap_err();
    let RetryError::Locked(refusal) = refused else {
        panic!("another error");
    };
    assert!(refusal.retry_after(Instant::now()).unwrap() > Duration::from_secs(3600));
    assert_eq!(test.fake.count(PASSWORD), 1);
    let forced = test.release(Force::Yes).await.unwrap();
    assert!(matches!(forced.attempt, Attempt::Refused(_)));
    assert_eq!(test.fake.count(PASSWORD), 2);
}

#[tokio::test(start_paused = true)]
async fn a_release_without_its_attempt_is_taken_back() {
    let test = TestVault::new();
    test.fake.usually(PASSWORD, ScriptedAnswer::Fault(FaultKind::BadCredentials));
    assert!(matches!(reason(&test).await, Reason::Rejected { .. }));
    test.fake.service_is_down(true);
    let released = test.release(Force::No).await.unwrap();
    assert!(matches!(released.attempt, Attempt::Refused(_)));
    // Nothing was sent, so it does not count.
    assert_eq!((released.is_sent, released.released), (false, 0));
    test.fake.service_is_down(false);
    test.callers_for(600).await;
    assert_eq!(test.fake.count(PASSWORD), 1);
    assert_eq!(test.release(Force::No).await.unwrap().released, 1);
}

#[rstest]
#[case::password(LogonGrant::Password, PASSWORD)]
#[case::assertion(LogonGrant::JwtBearer, ASSERTION)]
#[tokio::test(start_paused = true)]
async fn a_release_without_a_connection_does_not_count(
    #[case] grant: LogonGrant,
    #[case] sent: &'static str,
) {
    let test = TestVault::with(&["CFAPI"], grant);
    test.fake.usually(sent, ScriptedAnswer::Unsent);
    let away = test.release(Force::No).await.unwrap();
    assert!(matches!(away.attempt, Attempt::Refused(_)));
    assert_eq!((away.is_sent, away.released), (false, 0));
    test.fake.usually(sent, ScriptedAnswer::Token(LIFE));
    let back = test.release(Force::No).await.unwrap();
    assert!(matches!(back.attempt, Attempt::Succeeded));
    assert_eq!((back.is_sent, back.released), (true, 1));
    assert!(matches!(test.release(Force::No).await, Err(RetryError::Repeated(_))));
}

#[rstest]
#[case::password(LogonGrant::Password, PASSWORD)]
#[case::assertion(LogonGrant::JwtBearer, ASSERTION)]
#[tokio::test(start_paused = true)]
async fn a_release_ends_although_its_caller_hangs_up(
    #[case] grant: LogonGrant,
    #[case] sent: &'static str,
) {
    let test = TestVault::with(&["CFAPI"], grant);
    test.lease().await.unwrap();
    test.fake.latency(Duration::from_secs(2));
    let hung_up = timeout(Duration::from_secs(1), test.release(Force::No)).await;
    assert!(hung_up.is_err());
    pass(60).await;
    test.fake.latency(Duration::ZERO);
    assert_eq!(test.fake.count(sent), 2);
    assert!(matches!(test.release(Force::No).await, Err(RetryError::Repeated(_))));
    // Nothing is left of the release: renewals are refreshes.
    assert_eq!(test.callers_for(3 * LIFE).await, 0);
    assert_eq!(test.fake.count(sent), 2);
}

#[tokio::test(start_paused = true)]
async fn a_release_whose_caller_hung_up_before_nothing_was_sent_does_not_count() {
    let test = TestVault::new();
    test.fake.next(PASSWORD, [ScriptedAnswer::Unsent, ScriptedAnswer::Unsent]);
    test.fake.usually(PASSWORD, ScriptedAnswer::Unsent);
    test.fake.latency(Duration::from_secs(2));
    assert!(timeout(Duration::from_secs(1), test.release(Force::No)).await.is_err());
    pass(60).await;
    test.fake.usually(PASSWORD, ScriptedAnswer::Token(LIFE));
    assert_eq!(test.release(Force::No).await.unwrap().released, 1);
}

#[tokio::test(start_paused = true)]
async fn two_releases_at_once_are_one_attempt() {
    let test = Arc::new(TestVault::with(&["CFAPI"], LogonGrant::Password));
    test.fake.latency(Duration::from_secs(1));
    let (one, other) = tokio::join!(test.release(Force::No), test.release(Force::No));
    assert!(one.is_ok() != other.is_ok());
    assert_eq!(test.fake.count(PASSWORD), 1);
}

#[tokio::test(start_paused = true)]
async fn a_release_waits_for_another_password_of_the_user_that_is_under_way() {
    let test = Arc::new(TestVault::with(&["CFAPI", "OTHER"], LogonGrant::Password));
    test.fake.put(destination("OTHER", 2));
    test.fake.latency(Duration::from_secs(5));
    let other = Arc::clone(&test);
    let other = test.tasks.spawn(async move { other.lease_of("OTHER").await });
    pass(1).await;
    test.release(Force::No).await.unwrap();
    assert!(other.await.unwrap().is_ok());
    let times: Vec<_> = test.fake.sent().iter().map(|sent| sent.at).collect();
    assert_eq!(times.len(), 2);
    assert_eq!(times[1] - times[0], Duration::from_secs(5));
}

#[tokio::test(start_paused = true)]
async fn a_call_that_repeats_after_a_release_gets_the_new_token() {
    let test = TestVault::new();
    test.lease().await.unwrap();
    test.fake.latency(Duration::from_millis(500));
    let (released, old) = tokio::join!(test.release(Force::No), async {
        sleep(Duration::from_millis(400)).await;
        test.lease().await.unwrap()
    });
    assert!(matches!(released.unwrap().attempt, Attempt::Succeeded));
    assert_eq!(test.vault.revoke(&name("CFAPI"), &old), Revoked::Renewing);
    let new = test.lease().await.unwrap();
    assert!(!Arc::ptr_eq(new.token(), old.token()));
    assert_eq!(test.fake.grants(), [PASSWORD, PASSWORD]);
}

#[tokio::test(start_paused = true)]
async fn a_release_counts_all_logons_of_the_user_without_success() {
    let test = TestVault::instance(Arc::default(), &["CFAPI", "OTHER"], LogonGrant::Password, None);
    test.fake.put(destination("CFAPI", 1));
    test.fake.put(destination("OTHER", 2));
    test.fake.next(PASSWORD, [ScriptedAnswer::Broken]);
    test.fake.usually(PASSWORD, ScriptedAnswer::Fault(FaultKind::BadCredentials));
    assert!(test.lease().await.is_err());
    pass(60).await;
    assert!(test.lease_of("OTHER").await.is_err());
    let done = test.release(Force::No).await.unwrap();
    assert_eq!((done.released, done.unsuccessful), (1, 3));
    let Err(RetryError::Repeated(repeated)) = test.release(Force::No).await else {
        panic!("released again");
    };
    assert_eq!((repeated.earlier, repeated.unsuccessful), (1, 3));
    pass(65 * 60).await;
    test.fake.usually(PASSWORD, ScriptedAnswer::Token(LIFE));
    assert_eq!(test.release(Force::No).await.unwrap().unsuccessful, 0);
}

#[tokio::test(start_paused = true)]
async fn a_release_respects_a_lock_also_below_a_pause() {
    let test = TestVault::new();
    test.fake.next(PASSWORD, [ScriptedAnswer::Fault(FaultKind::ProviderLocked)]);
    test.fake.usually(PASSWORD, ScriptedAnswer::Later(FaultKind::RateLimited, 60));
    assert!(test.lease().await.is_err());
    test.release(Force::Yes).await.unwrap();
    assert_eq!(state(&test), GuardState::Waiting);
    assert!(matches!(test.release(Force::No).await, Err(RetryError::Locked(_))));
}

#[tokio::test(start_paused = true)]
async fn a_release_for_an_unknown_name_is_an_error() {
    let test = TestVault::new();
    let outcome = test.vault.retry(&name("OTHER"), Force::No, |_| ()).await;
    assert!(matches!(outcome, Err(RetryError::UnknownDestination(_))));
}

#[tokio::test(start_paused = true)]
async fn a_release_of_a_healthy_credential_logs_on_once() {
    let test = TestVault::new();
    test.lease().await.unwrap();
    let released = test.release(Force::No).await.unwrap();
    assert!(matches!(released.attempt, Attempt::Succeeded));
    assert_eq!(test.fake.grants(), [PASSWORD, PASSWORD]);
}

#[tokio::test(start_paused = true)]
async fn the_status_shows_everything_except_secrets() {
    let test = TestVault::new();
    let cold = test.vault.statuses().remove(0);
    assert_eq!((cold.guard, cold.freshness), (GuardState::Unknown, None));
    test.fake.latency(Duration::from_millis(200));
    test.lease().await.unwrap();
    pass(100).await;
    let good = test.vault.statuses().remove(0);
    assert_eq!((good.guard, good.freshness), (GuardState::Good, Some(Freshness::Fresh)));
    assert_eq!(good.origin.as_deref(), Some("acme-platform"));
    let renewal = good.last_renewal.unwrap();
    assert_eq!((renewal.grant, renewal.took.as_millis()), (PASSWORD, 200));
    assert_eq!(renewal.ago.as_secs(), 100);
    assert_eq!(good.expires_in.unwrap().as_secs(), LIFE - 101);
    test.fake.usually(REFRESH, ScriptedAnswer::Fault(FaultKind::RefreshTokenRejected));
    test.fake.usually(PASSWORD, ScriptedAnswer::Fault(FaultKind::ProviderLocked));
    pass(LIFE).await;
    assert!(test.lease().await.is_err());
    let locked = test.vault.statuses().remove(0);
    assert_eq!(locked.guard, GuardState::Locked);
    assert!(locked.guard_opens_in.unwrap() >= Duration::from_secs(65 * 60));
    assert!(matches!(locked.last_refusal.as_ref().unwrap().refusal.reason, Reason::Locked { .. }));
    let shown = format!("{locked:?} {:?}", test.vault);
    assert!(!shown.contains("canary"), "{shown}");
}

#[tokio::test(start_paused = true)]
async fn of_two_who_release_at_once_one_is_refused() {
    let test = TestVault::new();
    test.fake.usually(PASSWORD, ScriptedAnswer::Fault(FaultKind::SecondFactor));
    assert!(test.lease().await.is_err());
    test.fake.latency(Duration::from_secs(1));
    let (one, two) = tokio::join!(test.release(Force::No), test.release(Force::No));
    assert!(one.is_ok() && matches!(two, Err(RetryError::Repeated(_))));
    // Both know of that one.
    let known = Force::Knowing { released: 1, is_locked: false };
    let (one, two) = tokio::join!(test.release(known), test.release(known));
    assert_eq!(one.unwrap().released, 2);
    assert!(matches!(two, Err(RetryError::Repeated(_))));
    assert_eq!(test.fake.grants(), [PASSWORD; 3]);
    let events = test.vault.statuses().remove(0).events;
    let released = events.iter().filter(|event| matches!(event.kind, PastEventKind::Released));
    assert_eq!((released.count(), events.len()), (2, 5));
}

#[tokio::test(start_paused = true)]
async fn a_release_overrides_no_lock_that_nobody_was_told_of() {
    let test = TestVault::new();
    test.fake.usually(PASSWORD, ScriptedAnswer::Fault(FaultKind::SecondFactor));
    assert!(test.lease().await.is_err());
    test.release(Force::No).await.unwrap();
    test.fake.usually(PASSWORD, ScriptedAnswer::Fault(FaultKind::ProviderLocked));
    test.release(Force::Yes).await.unwrap();
    let sent = test.fake.grants().len();
    let known = |is_locked| Force::Knowing { released: 2, is_locked };
    assert!(matches!(test.release(known(false)).await, Err(RetryError::Locked(_))));
    assert_eq!(test.fake.grants().len(), sent);
    test.release(known(true)).await.unwrap();
    assert_eq!(test.fake.grants().len(), sent + 1);
}

// --- the other grant, and the end ----------------------------------------------------------------

#[tokio::test(start_paused = true)]
async fn the_assertion_replaces_the_password() {
    let test = TestVault::with(&["CFAPI"], LogonGrant::JwtBearer);
    test.lease().await.unwrap();
    pass(LIFE).await;
    test.lease().await.unwrap();
    assert_eq!(test.fake.grants(), ["jwt_bearer", REFRESH]);
}

#[tokio::test(start_paused = true)]
async fn a_refused_assertion_is_read_again_after_a_pause() {
    let test = TestVault::with(&["CFAPI"], LogonGrant::JwtBearer);
    test.fake.usually("jwt_bearer", ScriptedAnswer::Fault(FaultKind::BadCredentials));
    test.callers_for(300).await;
    let sent = test.fake.count("jwt_bearer");
    assert!((9..=11).contains(&sent), "{sent}");
    test.fake.usually("jwt_bearer", ScriptedAnswer::Token(LIFE));
    pass(30).await;
    assert!(test.lease().await.is_ok());
    assert_eq!(test.fake.count(PASSWORD), 0);
}

#[rstest]
#[case::error(ScriptedAnswer::Fault(FaultKind::ServerError))]
#[case::overloaded(ScriptedAnswer::Fault(FaultKind::Unavailable))]
#[case::not_json(ScriptedAnswer::Fault(FaultKind::Unreadable))]
#[case::cut(ScriptedAnswer::Broken)]
#[tokio::test(start_paused = true)]
async fn an_assertion_survives_one_hiccup(#[case] hiccup: ScriptedAnswer) {
    let test = TestVault::with(&["CFAPI"], LogonGrant::JwtBearer);
    test.fake.next(ASSERTION, [hiccup, ScriptedAnswer::Token(LIFE)]);
    assert!(test.lease().await.is_ok());
    assert_eq!(test.fake.count(ASSERTION), 2);
}

#[tokio::test(start_paused = true)]
async fn a_refresh_that_is_answered_503_with_retry_after_does_not_keep_callers_waiting() {
    let test = TestVault::new();
    test.lease().await.unwrap();
    test.fake.usually(REFRESH, ScriptedAnswer::Later(FaultKind::Unavailable, 60));
    let mut failed = 0;
    for _ in 0..(3 * LIFE) {
        failed += usize::from(test.lease().await.is_err());
        pass(1).await;
    }
    assert_eq!(failed, 0);
    assert!((2..=4).contains(&test.fake.count(PASSWORD)), "{}", test.fake.count(PASSWORD));
}

#[tokio::test(start_paused = true)]
async fn two_failed_refreshes_in_the_background_are_followed_by_a_logon_alone() {
    let test = TestVault::new();
    test.lease().await.unwrap();
    test.fake.usually(REFRESH, ScriptedAnswer::Fault(FaultKind::ServerError));
    while test.fake.count(REFRESH) < 2 {
        test.lease().await.unwrap();
        pass(1).await;
    }
    let sent = test.fake.count(REFRESH);
    // No caller, so that no refresh is sent until the token has ended.
    pass(LIFE).await;
    test.lease().await.unwrap();
    assert_eq!((test.fake.count(REFRESH), test.fake.count(PASSWORD)), (sent, 2));
}

#[tokio::test(start_paused = true)]
async fn polls_and_delays_end_with_the_broker() {
    let test = TestVault::new();
    test.fake.usually(PASSWORD, ScriptedAnswer::Fault(FaultKind::BadCredentials));
    assert!(matches!(reason(&test).await, Reason::Rejected { .. }));
    test.vault.warm(&name("CFAPI"), Duration::from_secs(1000));
    test.stop.cancel();
    test.tasks.close();
    let before = Instant::now();
    test.tasks.wait().await;
    assert_eq!(before.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_a_grant_frees_the_credential() {
    let test = TestVault::new();
    test.fake.next(PASSWORD, [ScriptedAnswer::Panic]);
    assert_eq!(reason(&test).await, Reason::Internal);
    // The password may have been sent.
    pass(61).await;
    assert!(test.lease().await.is_ok());
}

mod property;
