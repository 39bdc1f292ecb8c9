use super::{Attempt, Force, RetryError};
use crate::{
    destination::CachePolicy,
    oauth::fault::{ActionCode, FaultKind},
    token::{
        Freshness, GateState, LogonGrant, Reason, Revoked,
        fake::{Answer, LIFE, Stage, destination, name},
    },
};
use rstest::rstest;
use std::{sync::Arc, time::Duration};
use tokio::time::{Instant, sleep, timeout};

const PASSWORD: &str = "password";
const REFRESH: &str = "refresh_token";

async fn pass(seconds: u64) {
    sleep(Duration::from_secs(seconds)).await;
}

fn state(stage: &Stage) -> GateState {
    stage.vault.statuses()[0].gate
}

async fn reason(stage: &Stage) -> Reason {
    stage.lease().await.unwrap_err().reason
}

// --- cold start -------------------------------------------------------------------------------------------------

#[tokio::test(start_paused = true)]
async fn a_thousand_cold_callers_cost_one_logon_although_the_first_hangs_up() {
    let stage = Arc::new(Stage::new());
    stage.fake.latency(Duration::from_millis(300));
    assert!(timeout(Duration::from_millis(50), stage.lease()).await.is_err());
    let callers: Vec<_> = (0..1000)
        .map(|_| {
            let stage = Arc::clone(&stage);
            stage.tasks.clone().spawn(async move { stage.lease().await })
        })
        .collect();
    for caller in callers {
        assert!(caller.await.unwrap().is_ok());
    }
    assert_eq!(stage.fake.grants(), [PASSWORD]);
    assert_eq!(stage.fake.finds(CachePolicy::PastCache), 0);
}

#[tokio::test(start_paused = true)]
async fn the_destination_is_confirmed_before_the_password_leaves() {
    let stage = Stage::new();
    stage.lease().await.unwrap();
    assert_eq!(stage.fake.finds(CachePolicy::Confirmed), 1);
}

#[tokio::test(start_paused = true)]
async fn the_first_lease_comes_in_the_background_and_nobody_waits_for_its_delay() {
    let stage = Stage::new();
    stage.vault.warm(&name("CFAPI"), Duration::from_secs(5));
    let before = Instant::now();
    stage.lease().await.unwrap();
    assert_eq!(before.elapsed(), Duration::ZERO);
    let other = Stage::new();
    other.vault.warm(&name("CFAPI"), Duration::from_secs(5));
    pass(4).await;
    assert_eq!(other.fake.sent().len(), 0);
    pass(2).await;
    assert_eq!(other.fake.grants(), [PASSWORD]);
}

#[tokio::test(start_paused = true)]
async fn an_unknown_name_is_missing_and_asks_nobody() {
    let stage = Stage::new();
    let refusal = stage.lease_of("OTHER").await.unwrap_err();
    assert_eq!(refusal.reason, Reason::DestinationMissing);
    assert_eq!(stage.fake.finds(CachePolicy::Cached), 0);
}

// --- renewal ----------------------------------------------------------------------------------------------------

#[tokio::test(start_paused = true)]
async fn ten_lifetimes_under_load_cost_one_refresh_grant_each_and_no_caller_notices() {
    let stage = Stage::new();
    stage.fake.latency(Duration::from_millis(1500));
    stage.lease().await.unwrap();
    assert_eq!(stage.callers_for(10 * LIFE).await, 0);
    assert_eq!(stage.fake.count(PASSWORD), 1);
    let refreshed = stage.fake.count(REFRESH);
    // Each is renewed at 60 to 70 % of its life.
    assert!((14..=16).contains(&refreshed), "{refreshed}");
}

#[tokio::test(start_paused = true)]
async fn an_idle_broker_makes_no_call() {
    let stage = Stage::new();
    stage.lease().await.unwrap();
    let finds = stage.fake.finds(CachePolicy::Confirmed);
    pass(10 * LIFE).await;
    assert_eq!(stage.fake.sent().len(), 1);
    assert_eq!(stage.fake.finds(CachePolicy::Confirmed), finds);
    stage.lease().await.unwrap();
    assert_eq!(stage.fake.grants(), [PASSWORD, REFRESH]);
}

#[rstest]
#[case::gone(Answer::Unsent)]
#[case::broken(Answer::Broken)]
#[case::failing(Answer::Fault(FaultKind::ServerError))]
#[case::unreadable(Answer::Fault(FaultKind::Unreadable))]
#[case::limited(Answer::Fault(FaultKind::RateLimited))]
#[tokio::test(start_paused = true)]
async fn a_login_server_that_is_out_for_two_fifths_of_a_life_fails_no_request(#[case] out: Answer) {
    let stage = Stage::new();
    stage.lease().await.unwrap();
    assert_eq!(stage.callers_for(LIFE / 2).await, 0);
    stage.fake.usually(REFRESH, out);
    assert_eq!(stage.callers_for(LIFE * 2 / 5).await, 0);
    stage.fake.usually(REFRESH, Answer::Token(LIFE));
    assert_eq!(stage.callers_for(LIFE).await, 0);
    assert_eq!(stage.fake.count(PASSWORD), 1);
}

#[tokio::test(start_paused = true)]
async fn the_last_tries_fall_before_the_end_of_a_lease() {
    let stage = Stage::new();
    stage.lease().await.unwrap();
    assert_eq!(stage.callers_for(LIFE / 2).await, 0);
    stage.fake.usually(REFRESH, Answer::Fault(FaultKind::ServerError));
    // 20 s before the lease can no longer be served: pauses have long grown to a minute.
    assert_eq!(stage.callers_for(1119 - LIFE / 2).await, 0);
    let tries = stage.fake.count(REFRESH);
    // Without growth there would be one each second.
    assert!((8..=40).contains(&tries), "{tries}");
    stage.fake.usually(REFRESH, Answer::Token(LIFE));
    assert_eq!(stage.callers_for(60).await, 0);
}

#[tokio::test(start_paused = true)]
async fn an_outage_past_expiry_gives_503_and_heals_within_five_seconds_with_one_grant() {
    let stage = Stage::new();
    stage.lease().await.unwrap();
    stage.fake.usually(REFRESH, Answer::Unsent);
    stage.fake.usually(PASSWORD, Answer::Unsent);
    stage.callers_for(LIFE).await;
    let refusal = stage.lease().await.unwrap_err();
    assert_eq!(refusal.reason, Reason::UaaUnavailable);
    let wait = refusal.retry_after(Instant::now()).unwrap();
    assert!((1..=5).contains(&wait.as_secs()), "{wait:?}");
    stage.fake.usually(REFRESH, Answer::Token(LIFE));
    let before = stage.fake.sent().len();
    pass(5).await;
    assert!(stage.lease().await.is_ok());
    assert_eq!(stage.fake.sent().len(), before + 1);
    assert_eq!(stage.fake.count(PASSWORD), 1);
}

#[tokio::test(start_paused = true)]
async fn a_refused_refresh_token_costs_exactly_one_password() {
    let stage = Stage::new();
    stage.lease().await.unwrap();
    stage.fake.usually(REFRESH, Answer::Fault(FaultKind::RefreshTokenRejected));
    pass(LIFE).await;
    stage.lease().await.unwrap();
    assert_eq!(stage.fake.grants(), [PASSWORD, REFRESH, PASSWORD]);
}

#[tokio::test(start_paused = true)]
async fn a_refused_refresh_token_is_not_sent_again_although_its_lease_lives() {
    let stage = Stage::new();
    stage.lease().await.unwrap();
    stage.fake.usually(REFRESH, Answer::Fault(FaultKind::RefreshTokenRejected));
    stage.fake.usually(PASSWORD, Answer::Unsent);
    pass(900).await;
    assert_eq!(stage.callers_for(200).await, 0);
    assert_eq!(stage.fake.count(REFRESH), 1);
    assert!(stage.fake.count(PASSWORD) > 10);
}

#[tokio::test(start_paused = true)]
async fn a_transient_refresh_failure_keeps_the_refresh_token_and_sends_no_password() {
    let stage = Stage::new();
    stage.lease().await.unwrap();
    stage.fake.next(REFRESH, [Answer::Fault(FaultKind::ServerError), Answer::Broken]);
    pass(LIFE).await;
    stage.callers_for(20).await;
    assert!(stage.lease().await.is_ok());
    assert_eq!(stage.fake.grants(), [PASSWORD, REFRESH, REFRESH, REFRESH]);
    assert_eq!(state(&stage), GateState::Good);
}

#[tokio::test(start_paused = true)]
async fn an_answer_without_refresh_token_keeps_the_old_one() {
    let stage = Stage::new();
    stage.lease().await.unwrap();
    stage.fake.usually(REFRESH, Answer::NoRefresh(LIFE));
    for _ in 0..3 {
        pass(LIFE).await;
        stage.lease().await.unwrap();
    }
    assert_eq!(stage.fake.grants(), [PASSWORD, REFRESH, REFRESH, REFRESH]);
}

#[tokio::test(start_paused = true)]
async fn a_client_without_refresh_tokens_logs_on_each_time() {
    let stage = Stage::new();
    stage.fake.usually(PASSWORD, Answer::NoRefresh(LIFE));
    for _ in 0..3 {
        stage.lease().await.unwrap();
        pass(LIFE).await;
    }
    assert_eq!(stage.fake.grants(), [PASSWORD; 3]);
}

#[tokio::test(start_paused = true)]
async fn retry_after_of_a_429_is_honoured_up_to_a_minute() {
    let stage = Stage::new();
    stage.lease().await.unwrap();
    for (asked, least, most) in [(7, 7, 8), (1_000_000_000, 60, 60)] {
        pass(LIFE).await;
        stage.fake.next(REFRESH, [Answer::Later(FaultKind::RateLimited, asked)]);
        let refusal = stage.lease().await.unwrap_err();
        let wait = refusal.retry_after(Instant::now()).unwrap();
        assert!((least..=most).contains(&wait.as_secs()), "{wait:?}");
        pass(61).await;
        stage.lease().await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn cf_s_refusal_costs_one_refresh_grant_and_another_one_not_before_thirty_seconds() {
    let stage = Stage::new();
    let lease = stage.lease().await.unwrap();
    assert_eq!(stage.vault.revoke(&name("CFAPI"), &lease), Revoked::Renewing);
    let second = stage.lease().await.unwrap();
    assert_eq!(stage.fake.grants(), [PASSWORD, REFRESH]);
    assert_eq!(stage.vault.revoke(&name("CFAPI"), &second), Revoked::HoldOff);
    assert_eq!(stage.vault.revoke(&name("CFAPI"), &lease), Revoked::Renewing);
    assert!(Arc::ptr_eq(&stage.lease().await.unwrap(), &second));
    pass(30).await;
    assert_eq!(stage.vault.revoke(&name("CFAPI"), &second), Revoked::Renewing);
    stage.lease().await.unwrap();
    assert_eq!(stage.fake.grants(), [PASSWORD, REFRESH, REFRESH]);
}

// --- the gate ---------------------------------------------------------------------------------------------------

#[tokio::test(start_paused = true)]
async fn a_wrong_password_is_sent_once_in_each_process_life() {
    let mut fake = None;
    for life in 1..=3 {
        let stage = match fake {
            None => Stage::new(),
            Some(fake) => Stage::on(fake, &["CFAPI"], LogonGrant::Password),
        };
        stage.fake.usually(PASSWORD, Answer::Fault(FaultKind::BadCredentials));
        for _ in 0..600 {
            for _ in 0..10 {
                let refusal = stage.lease().await.unwrap_err();
                assert_eq!(refusal.reason, Reason::Rejected);
                assert_eq!(refusal.retry_after(Instant::now()), None);
            }
            pass(1).await;
        }
        assert_eq!(state(&stage), GateState::Rejected);
        assert_eq!(stage.fake.count(PASSWORD), life);
        fake = Some(Arc::clone(&stage.fake));
    }
}

#[tokio::test(start_paused = true)]
async fn a_remembered_refusal_comes_at_once() {
    let stage = Stage::new();
    stage.fake.latency(Duration::from_secs(3));
    stage.fake.usually(PASSWORD, Answer::Fault(FaultKind::BadCredentials));
    assert_eq!(reason(&stage).await, Reason::Rejected);
    for _ in 0..100 {
        let before = Instant::now();
        assert_eq!(reason(&stage).await, Reason::Rejected);
        assert_eq!(before.elapsed(), Duration::ZERO);
        pass(1).await;
    }
}

#[tokio::test(start_paused = true)]
async fn while_rejected_the_destination_is_read_each_minute_past_the_cache() {
    let stage = Stage::new();
    stage.fake.usually(PASSWORD, Answer::Fault(FaultKind::BadCredentials));
    assert_eq!(reason(&stage).await, Reason::Rejected);
    assert_eq!(stage.fake.finds(CachePolicy::PastCache), 1);
    pass(600).await;
    let polls = stage.fake.finds(CachePolicy::PastCache) - 1;
    assert!((10..=11).contains(&polls), "{polls}");
    assert_eq!(stage.fake.count(PASSWORD), 1);
}

#[tokio::test(start_paused = true)]
async fn a_corrected_password_serves_again_within_a_minute_without_a_caller() {
    let stage = Stage::new();
    stage.fake.usually(PASSWORD, Answer::Fault(FaultKind::BadCredentials));
    assert_eq!(reason(&stage).await, Reason::Rejected);
    pass(1).await;
    stage.fake.put(destination("CFAPI", 2));
    stage.fake.usually(PASSWORD, Answer::Token(LIFE));
    pass(60).await;
    assert_eq!(state(&stage), GateState::Good);
    assert!(stage.lease().await.is_ok());
    assert_eq!(stage.fake.count(PASSWORD), 2);
    // Healed: no further polls.
    let polls = stage.fake.finds(CachePolicy::PastCache);
    pass(600).await;
    assert_eq!(stage.fake.finds(CachePolicy::PastCache), polls);
}

#[tokio::test(start_paused = true)]
async fn a_password_corrected_while_it_was_refused_is_tried_at_once() {
    let stage = Stage::new();
    stage.fake.next(PASSWORD, [Answer::Fault(FaultKind::BadCredentials)]);
    stage.fake.put_after_logon(destination("CFAPI", 2));
    assert!(stage.lease().await.is_ok());
    let sent = stage.fake.sent();
    assert_eq!(sent.len(), 2);
    assert_ne!(sent[0].to, sent[1].to);
}

#[tokio::test(start_paused = true)]
async fn a_password_that_comes_before_the_first_answer_has_its_own_gate() {
    let stage = Stage::new();
    stage.fake.usually(PASSWORD, Answer::Unsent);
    assert_eq!(reason(&stage).await, Reason::UaaUnavailable);
    let first = stage.fake.sent()[0].to;
    stage.fake.put(destination("CFAPI", 2));
    stage.fake.usually(PASSWORD, Answer::Fault(FaultKind::BadCredentials));
    pass(6).await;
    assert_eq!(reason(&stage).await, Reason::Rejected);
    let refused = stage.fake.sent().last().unwrap().to;
    assert_ne!(refused, first);
    // The first one was never refused, so that it may still be tried.
    stage.fake.put(destination("CFAPI", 1));
    pass(61).await;
    assert_eq!(stage.fake.sent().last().unwrap().to, first);
    // What was handed over is no refusal of anybody.
    let past = stage.vault.statuses().remove(0).last_refusal.unwrap();
    assert_eq!(past.reason, Reason::Rejected);
}

#[tokio::test(start_paused = true)]
async fn handing_over_to_new_credentials_is_no_refusal() {
    let stage = Stage::new();
    stage.fake.next(PASSWORD, [Answer::Fault(FaultKind::BadCredentials)]);
    stage.fake.put_after_logon(destination("CFAPI", 2));
    stage.lease().await.unwrap();
    let status = stage.vault.statuses().remove(0);
    assert_eq!(status.last_refusal, None);
}

#[tokio::test(start_paused = true)]
async fn going_back_to_a_refused_password_sends_nothing() {
    let stage = Stage::new();
    stage.fake.usually(PASSWORD, Answer::Fault(FaultKind::BadCredentials));
    for password in [1, 2, 1, 2, 1] {
        stage.fake.put(destination("CFAPI", password));
        stage.callers_for(3).await;
        assert_eq!(reason(&stage).await, Reason::Rejected);
        pass(61).await;
    }
    assert_eq!(stage.fake.count(PASSWORD), 2);
}

#[tokio::test(start_paused = true)]
async fn eviction_forgets_no_refusal() {
    let stage = Stage::new();
    stage.fake.usually(PASSWORD, Answer::Fault(FaultKind::BadCredentials));
    assert_eq!(reason(&stage).await, Reason::Rejected);
    for _ in 0..10 {
        stage.vault.house.slots.invalidate_all();
        pass(10).await;
        assert_eq!(reason(&stage).await, Reason::Rejected);
    }
    assert_eq!(stage.fake.count(PASSWORD), 1);
}

#[rstest]
#[case::provider(FaultKind::ProviderLocked, 65 * 60)]
#[case::uaa(FaultKind::UaaLocked, 330)]
#[tokio::test(start_paused = true)]
async fn a_lock_is_waited_out_then_probed_once_and_the_wait_doubles(
    #[case] lock: FaultKind,
    #[case] base: u64,
) {
    let stage = Stage::new();
    stage.fake.usually(PASSWORD, Answer::Fault(lock));
    let refusal = stage.lease().await.unwrap_err();
    assert_eq!(refusal.reason, Reason::Locked);
    let wait = refusal.retry_after(Instant::now()).unwrap();
    assert!(wait.as_secs() >= base && wait.as_secs() <= base + base / 20);
    stage.callers_for(base - 1).await;
    assert_eq!(stage.fake.count(PASSWORD), 1);
    stage.callers_for(base / 20 + 2).await;
    assert_eq!(stage.fake.count(PASSWORD), 2);
    stage.callers_for(2 * base - 1 - base / 20).await;
    assert_eq!(stage.fake.count(PASSWORD), 2);
    stage.callers_for(base / 5 + 4).await;
    assert_eq!(stage.fake.count(PASSWORD), 3);
    stage.fake.usually(PASSWORD, Answer::Token(LIFE));
    pass(5 * base).await;
    assert!(stage.lease().await.is_ok());
    assert_eq!(state(&stage), GateState::Good);
}

#[tokio::test(start_paused = true)]
async fn a_lock_never_waits_longer_than_a_day() {
    let stage = Stage::new();
    stage.fake.usually(PASSWORD, Answer::Fault(FaultKind::ProviderLocked));
    for _ in 0..8 {
        let refusal = stage.lease().await.unwrap_err();
        let wait = refusal.retry_after(Instant::now()).unwrap();
        assert!(wait.as_secs_f64() <= 86_400.0 * 1.05);
        sleep(wait).await;
    }
    let times: Vec<_> = stage.fake.sent().iter().map(|sent| sent.at).collect();
    assert!(times[7] - times[6] >= Duration::from_secs(86_400));
}

#[tokio::test(start_paused = true)]
async fn a_broken_trust_is_probed_once_an_hour() {
    let stage = Stage::new();
    stage.fake.usually(PASSWORD, Answer::Fault(FaultKind::IssuerMismatch));
    let refusal = stage.lease().await.unwrap_err();
    assert!(matches!(refusal.reason, Reason::ActionRequired { .. }));
    assert_eq!(refusal.retry_after(Instant::now()), None);
    stage.callers_for(3 * 3600 + 120).await;
    assert_eq!(stage.fake.count(PASSWORD), 4);
}

#[rstest]
#[case::never_proven(false, 2)]
#[case::proven(true, 3)]
#[tokio::test(start_paused = true)]
async fn posts_without_a_clear_end_are_counted(#[case] is_proven: bool, #[case] most: usize) {
    let stage = Stage::new();
    if is_proven {
        stage.fake.next(PASSWORD, [Answer::NoRefresh(LIFE)]);
        stage.lease().await.unwrap();
        pass(LIFE).await;
    }
    let before = stage.fake.count(PASSWORD);
    stage.fake.usually(PASSWORD, Answer::Fault(FaultKind::ServerError));
    stage.callers_for(60 * 60).await;
    assert_eq!(stage.fake.count(PASSWORD) - before, most);
    let refusal = stage.lease().await.unwrap_err();
    assert_eq!(refusal.reason, Reason::UaaUnavailable);
    assert_eq!(state(&stage), GateState::Waiting);
    stage.callers_for(6 * 60).await;
    assert!(stage.fake.count(PASSWORD) - before > most);
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_was_never_made_costs_nothing() {
    let stage = Stage::new();
    stage.fake.usually(PASSWORD, Answer::Unsent);
    stage.callers_for(120).await;
    assert!(stage.fake.count(PASSWORD) > 20);
    stage.fake.usually(PASSWORD, Answer::Token(LIFE));
    pass(5).await;
    assert!(stage.lease().await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_post_that_was_sent_is_not_repeated_within_its_flight() {
    let stage = Stage::new();
    stage.fake.usually(PASSWORD, Answer::Broken);
    assert_eq!(reason(&stage).await, Reason::UaaUnavailable);
    assert_eq!(stage.fake.count(PASSWORD), 1);
}

#[tokio::test(start_paused = true)]
async fn posts_without_a_clear_end_are_counted_over_all_credentials() {
    let stage = Stage::with(&["CFAPI", "OTHER"], LogonGrant::Password);
    stage.fake.put(destination("OTHER", 2));
    stage.fake.usually(PASSWORD, Answer::Broken);
    for _ in 0..600 {
        assert!(stage.lease().await.is_err());
        assert!(stage.lease_of("OTHER").await.is_err());
        pass(1).await;
    }
    assert_eq!(stage.fake.count(PASSWORD), 3);
}

#[tokio::test(start_paused = true)]
async fn within_one_flight_a_missing_connection_is_tried_three_times_more() {
    let stage = Stage::new();
    stage.fake.next(PASSWORD, [Answer::Unsent, Answer::Unsent, Answer::Unsent]);
    let before = Instant::now();
    assert!(stage.lease().await.is_ok());
    assert!(before.elapsed() <= Duration::from_millis(2100));
    assert_eq!(stage.fake.count(PASSWORD), 4);
}

#[rstest]
#[case(FaultKind::SecondFactor, Reason::SecondFactor)]
#[case(FaultKind::BadRequest, Reason::Internal)]
#[tokio::test(start_paused = true)]
async fn what_must_be_repaired_blocks(#[case] kind: FaultKind, #[case] expected: Reason) {
    let stage = Stage::new();
    stage.fake.usually(PASSWORD, Answer::Fault(kind));
    assert_eq!(reason(&stage).await, expected);
    stage.callers_for(2 * 3600).await;
    assert_eq!(state(&stage), GateState::Blocked);
    assert_eq!(stage.fake.count(PASSWORD), 1);
}

#[tokio::test(start_paused = true)]
async fn the_provider_s_code_is_named() {
    let stage = Stage::new();
    let kind = FaultKind::ActionRequired(ActionCode::PasswordDisabled);
    stage.fake.usually(PASSWORD, Answer::Fault(kind));
    let Reason::ActionRequired { advice } = reason(&stage).await else {
        panic!("another reason");
    };
    assert!(advice.ends_with("(PASSWORD_DISABLED)"));
}

#[tokio::test(start_paused = true)]
async fn a_rejected_credential_with_a_live_refresh_token_goes_on() {
    let stage = Stage::with(&["CFAPI", "OTHER"], LogonGrant::Password);
    stage.lease().await.unwrap();
    // The second name asks on other terms, so that it must log on itself.
    let other = crate::destination::Destination {
        scope: Some("cloud_controller.read".to_owned()),
        ..destination("OTHER", 1)
    };
    stage.fake.put(other);
    stage.fake.usually(PASSWORD, Answer::Fault(FaultKind::BadCredentials));
    assert_eq!(stage.lease_of("OTHER").await.unwrap_err().reason, Reason::Rejected);
    assert_eq!(stage.callers_for(3 * LIFE).await, 0);
    assert_eq!(stage.fake.count(PASSWORD), 2);
    assert!(stage.fake.count(REFRESH) > 3);
}

#[tokio::test(start_paused = true)]
async fn two_names_of_one_credential_send_one_password() {
    let stage = Stage::with(&["CFAPI", "OTHER"], LogonGrant::Password);
    stage.fake.latency(Duration::from_secs(1));
    let (one, two) = tokio::join!(stage.lease(), stage.lease_of("OTHER"));
    assert!(one.is_ok() && two.is_ok());
    assert_eq!(stage.fake.grants(), [PASSWORD]);
}

#[tokio::test(start_paused = true)]
async fn two_names_of_one_wrong_credential_send_one_password() {
    let stage = Stage::with(&["CFAPI", "OTHER"], LogonGrant::Password);
    stage.fake.latency(Duration::from_secs(1));
    stage.fake.usually(PASSWORD, Answer::Fault(FaultKind::BadCredentials));
    let (one, two) = tokio::join!(stage.lease(), stage.lease_of("OTHER"));
    assert_eq!(one.unwrap_err().reason, Reason::Rejected);
    assert_eq!(two.unwrap_err().reason, Reason::Rejected);
    assert_eq!(stage.fake.grants(), [PASSWORD]);
}

#[tokio::test(start_paused = true)]
async fn one_destination_s_refusal_leaves_another_alone() {
    let stage = Stage::with(&["CFAPI", "OTHER"], LogonGrant::Password);
    stage.fake.put(destination("OTHER", 2));
    stage.fake.next(PASSWORD, [Answer::Fault(FaultKind::BadCredentials)]);
    assert_eq!(reason(&stage).await, Reason::Rejected);
    assert!(stage.lease_of("OTHER").await.is_ok());
    let states: Vec<_> = stage.vault.statuses().iter().map(|s| s.gate).collect();
    assert_eq!(states, [GateState::Rejected, GateState::Good]);
}

// --- the destination --------------------------------------------------------------------------------------------

#[tokio::test(start_paused = true)]
async fn changed_credentials_drop_both_tokens_and_log_on_anew() {
    let stage = Stage::new();
    let old = stage.lease().await.unwrap();
    stage.fake.put(destination("CFAPI", 2));
    assert_eq!(stage.callers_for(3).await, 0);
    let new = stage.lease().await.unwrap();
    assert!(!Arc::ptr_eq(&old, &new));
    assert_eq!(stage.fake.grants(), [PASSWORD, PASSWORD]);
    // Nobody else holds the old token: the slot is gone with its refresh token.
    let old = Arc::into_inner(old).expect("held elsewhere");
    assert_eq!(Arc::strong_count(old.token()), 1);
}

#[tokio::test(start_paused = true)]
async fn another_api_is_used_from_the_next_call_on_without_a_grant() {
    let stage = Stage::new();
    stage.lease().await.unwrap();
    let moved = crate::destination::Destination {
        api: "https://api.elsewhere.test".parse().unwrap(),
        ..destination("CFAPI", 1)
    };
    stage.fake.put(moved);
    stage.callers_for(3).await;
    let lease = stage.lease().await.unwrap();
    assert_eq!(lease.api().host_str(), Some("api.elsewhere.test"));
    assert_eq!(stage.fake.grants(), [PASSWORD]);
}

#[tokio::test(start_paused = true)]
async fn a_destination_that_comes_later_is_found_within_a_minute() {
    let stage = Stage::new();
    stage.fake.delete("CFAPI");
    assert_eq!(reason(&stage).await, Reason::DestinationMissing);
    stage.fake.put(destination("CFAPI", 1));
    pass(60).await;
    assert_eq!(stage.fake.grants(), [PASSWORD]);
    assert!(stage.lease().await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_destination_that_goes_takes_its_tokens_along() {
    let stage = Stage::new();
    stage.lease().await.unwrap();
    stage.fake.delete("CFAPI");
    stage.callers_for(3).await;
    assert_eq!(reason(&stage).await, Reason::DestinationMissing);
    assert_eq!(stage.vault.statuses()[0].freshness, None);
}

#[tokio::test(start_paused = true)]
async fn without_the_service_only_a_proven_password_is_sent() {
    let stage = Stage::new();
    stage.fake.service_is_down(true);
    let refusal = stage.lease().await.unwrap_err();
    assert_eq!(refusal.reason, Reason::DestinationUnavailable);
    assert!(refusal.retry_after(Instant::now()).is_some());
    assert_eq!(stage.fake.sent().len(), 0);
    stage.fake.service_is_down(false);
    pass(3).await;
    stage.lease().await.unwrap();
    stage.fake.service_is_down(true);
    stage.fake.usually(REFRESH, Answer::Fault(FaultKind::RefreshTokenRejected));
    pass(LIFE).await;
    assert!(stage.lease().await.is_ok());
    assert_eq!(stage.fake.grants(), [PASSWORD, REFRESH, PASSWORD]);
}

// --- operator ---------------------------------------------------------------------------------------------------

#[tokio::test(start_paused = true)]
async fn a_release_lets_exactly_one_attempt_through() {
    let stage = Stage::new();
    let cfapi = name("CFAPI");
    stage.fake.usually(PASSWORD, Answer::Fault(FaultKind::SecondFactor));
    assert_eq!(reason(&stage).await, Reason::SecondFactor);
    let attempt = stage.vault.retry(&cfapi, Force::No).await.unwrap();
    let Attempt::Refused(refusal) = attempt else {
        panic!("succeeded");
    };
    assert_eq!(refusal.reason, Reason::SecondFactor);
    assert_eq!(stage.fake.count(PASSWORD), 2);
    stage.callers_for(600).await;
    assert_eq!(stage.fake.count(PASSWORD), 2);
    stage.fake.usually(PASSWORD, Answer::Token(LIFE));
    let attempt = stage.vault.retry(&cfapi, Force::No).await.unwrap();
    assert!(matches!(attempt, Attempt::Succeeded));
    assert!(stage.lease().await.is_ok());
    assert_eq!(stage.fake.count(PASSWORD), 3);
}

#[tokio::test(start_paused = true)]
async fn a_release_respects_a_lock_unless_forced() {
    let stage = Stage::new();
    let cfapi = name("CFAPI");
    stage.fake.usually(PASSWORD, Answer::Fault(FaultKind::ProviderLocked));
    assert_eq!(reason(&stage).await, Reason::Locked);
    let refused = stage.vault.retry(&cfapi, Force::No).await.unwrap_err();
    let RetryError::Locked(refusal) = refused else {
        panic!("another error");
    };
    assert!(refusal.retry_after(Instant::now()).unwrap() > Duration::from_secs(3600));
    assert_eq!(stage.fake.count(PASSWORD), 1);
    let forced = stage.vault.retry(&cfapi, Force::Yes).await.unwrap();
    assert!(matches!(forced, Attempt::Refused(_)));
    assert_eq!(stage.fake.count(PASSWORD), 2);
}

#[tokio::test(start_paused = true)]
async fn a_release_without_its_attempt_is_taken_back() {
    let stage = Stage::new();
    stage.fake.usually(PASSWORD, Answer::Fault(FaultKind::BadCredentials));
    assert_eq!(reason(&stage).await, Reason::Rejected);
    stage.fake.service_is_down(true);
    let attempt = stage.vault.retry(&name("CFAPI"), Force::No).await.unwrap();
    assert!(matches!(attempt, Attempt::Refused(_)));
    stage.fake.service_is_down(false);
    stage.callers_for(600).await;
    assert_eq!(stage.fake.count(PASSWORD), 1);
}

#[tokio::test(start_paused = true)]
async fn a_release_for_an_unknown_name_is_an_error() {
    let stage = Stage::new();
    let outcome = stage.vault.retry(&name("OTHER"), Force::No).await;
    assert!(matches!(outcome, Err(RetryError::UnknownDestination(_))));
}

#[tokio::test(start_paused = true)]
async fn a_release_of_a_healthy_credential_logs_on_once() {
    let stage = Stage::new();
    stage.lease().await.unwrap();
    let attempt = stage.vault.retry(&name("CFAPI"), Force::No).await.unwrap();
    assert!(matches!(attempt, Attempt::Succeeded));
    assert_eq!(stage.fake.grants(), [PASSWORD, PASSWORD]);
}

#[tokio::test(start_paused = true)]
async fn the_status_tells_everything_but_secrets() {
    let stage = Stage::new();
    let cold = stage.vault.statuses().remove(0);
    assert_eq!((cold.gate, cold.freshness), (GateState::Unknown, None));
    stage.fake.latency(Duration::from_millis(200));
    stage.lease().await.unwrap();
    pass(100).await;
    let good = stage.vault.statuses().remove(0);
    assert_eq!((good.gate, good.freshness), (GateState::Good, Some(Freshness::Fresh)));
    assert_eq!(good.origin.as_deref(), Some("acme-platform"));
    let renewal = good.last_renewal.unwrap();
    assert_eq!((renewal.grant, renewal.took.as_millis()), (PASSWORD, 200));
    assert_eq!(renewal.ago.as_secs(), 100);
    assert_eq!(good.expires_in.unwrap().as_secs(), LIFE - 101);
    stage.fake.usually(REFRESH, Answer::Fault(FaultKind::RefreshTokenRejected));
    stage.fake.usually(PASSWORD, Answer::Fault(FaultKind::ProviderLocked));
    pass(LIFE).await;
    assert!(stage.lease().await.is_err());
    let locked = stage.vault.statuses().remove(0);
    assert_eq!(locked.gate, GateState::Locked);
    assert!(locked.gate_opens_in.unwrap() >= Duration::from_secs(65 * 60));
    assert_eq!(locked.last_refusal.as_ref().unwrap().reason, Reason::Locked);
    let text = format!("{locked:?} {:?}", stage.vault);
    assert!(!text.contains("canary"), "{text}");
}

// --- the other grant, and the end -------------------------------------------------------------------------------

#[tokio::test(start_paused = true)]
async fn the_assertion_takes_the_password_s_place() {
    let stage = Stage::with(&["CFAPI"], LogonGrant::JwtBearer);
    stage.lease().await.unwrap();
    pass(LIFE).await;
    stage.lease().await.unwrap();
    assert_eq!(stage.fake.grants(), ["jwt_bearer", REFRESH]);
}

#[tokio::test(start_paused = true)]
async fn a_refused_assertion_is_read_anew_after_a_pause() {
    let stage = Stage::with(&["CFAPI"], LogonGrant::JwtBearer);
    stage.fake.usually("jwt_bearer", Answer::Fault(FaultKind::BadCredentials));
    stage.callers_for(300).await;
    let sent = stage.fake.count("jwt_bearer");
    assert!((9..=11).contains(&sent), "{sent}");
    stage.fake.usually("jwt_bearer", Answer::Token(LIFE));
    pass(30).await;
    assert!(stage.lease().await.is_ok());
    assert_eq!(stage.fake.count(PASSWORD), 0);
}

#[tokio::test(start_paused = true)]
async fn polls_and_delays_end_with_the_broker() {
    let stage = Stage::new();
    stage.fake.usually(PASSWORD, Answer::Fault(FaultKind::BadCredentials));
    assert_eq!(reason(&stage).await, Reason::Rejected);
    stage.vault.warm(&name("CFAPI"), Duration::from_secs(1000));
    stage.stop.cancel();
    stage.tasks.close();
    let before = Instant::now();
    stage.tasks.wait().await;
    assert_eq!(before.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_crash_in_a_grant_frees_the_credential() {
    let stage = Stage::new();
    stage.fake.next(PASSWORD, [Answer::Crash]);
    assert_eq!(reason(&stage).await, Reason::Internal);
    pass(6).await;
    assert!(stage.lease().await.is_ok());
}

mod property;
