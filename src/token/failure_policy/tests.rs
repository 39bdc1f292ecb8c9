use super::{ClassifiedFailure, FailureClass, RetryClass, classify};
use crate::{
    oauth::{
        ExchangeError, GrantKind,
        fault::{ActionCode, FaultKind, IdTokenFault},
    },
    token::{
        Reason, UaaOutage,
        fake::{broken, destination, page, refused, unsent},
    },
    upstream::{ConnectFault, TransportError},
};
use proptest::{prop_assert, proptest};
use rstest::rstest;
use std::time::Duration;

fn failure(error: &ExchangeError) -> ClassifiedFailure {
    classify(error, &destination("CFAPI", 1), GrantKind::Password)
}

fn class_of(error: &ExchangeError) -> FailureClass {
    failure(error).class
}

fn reason(kind: FaultKind) -> Reason {
    failure(&refused(kind, None)).reason
}

#[rstest]
#[case::f1(FaultKind::BadCredentials, FailureClass::Rejected)]
#[case::f2(FaultKind::RejectedByProvider, FailureClass::Rejected)]
#[case::unknown(FaultKind::UnknownRefusal, FailureClass::Rejected)]
#[case::never_seen_here(FaultKind::RefreshTokenRejected, FailureClass::Rejected)]
#[case::f3(FaultKind::ProviderLocked, FailureClass::Locked(Duration::from_secs(3900)))]
#[case::f4(FaultKind::UaaLocked, FailureClass::Locked(Duration::from_secs(330)))]
#[case::f13(FaultKind::IssuerMismatch, FailureClass::BlockedWithProbe)]
fn a_definite_fault_has_its_class(#[case] kind: FaultKind, #[case] class: FailureClass) {
    assert_eq!(class_of(&refused(kind, Some(7))), class);
    assert!(class.is_definite() && !class.is_ambiguous());
}

#[rstest]
fn what_must_be_repaired_blocks(
    #[values(
        FaultKind::ActionRequired(ActionCode::UserInactive),
        FaultKind::BadRequest,
        FaultKind::ClientRejected,
        FaultKind::FieldMissing,
        FaultKind::GrantNotAllowed,
        FaultKind::IdTokenRejected(IdTokenFault::Audience),
        FaultKind::NoProvider,
        FaultKind::NoScopes,
        FaultKind::NotVerified,
        FaultKind::OriginMissing,
        FaultKind::OriginUnknown,
        FaultKind::ProviderNotAllowed,
        FaultKind::ScopeUnknown,
        FaultKind::SecondFactor,
        FaultKind::TrustIncomplete,
        FaultKind::UserNotCreated,
        FaultKind::WrongPath
    )]
    kind: FaultKind,
) {
    assert_eq!(class_of(&refused(kind, Some(7))), FailureClass::Blocked);
    assert!(FailureClass::Blocked.is_definite());
}

#[rstest]
#[case::f7(FaultKind::SecondFactor, Reason::SecondFactor)]
#[case::f18(FaultKind::BadRequest, Reason::Internal)]
#[case::f20(FaultKind::RateLimited, Reason::UaaUnavailable(UaaOutage::RateLimited))]
#[case::f21(FaultKind::Unavailable, Reason::UaaUnavailable(UaaOutage::NotRunning))]
#[case::f22(FaultKind::ServerError, Reason::UaaUnavailable(UaaOutage::ServerError))]
#[case::f26(FaultKind::Unreadable, Reason::UaaUnavailable(UaaOutage::Unreadable))]
#[case::provider(
    FaultKind::ProviderUnavailable,
    Reason::UaaUnavailable(UaaOutage::ProviderTrouble)
)]
fn some_faults_need_no_advice_of_their_own(#[case] kind: FaultKind, #[case] expected: Reason) {
    assert_eq!(reason(kind), expected);
}

#[rstest]
#[case::f20(FaultKind::RateLimited, RetryClass::RateLimited, false)]
#[case::f21(FaultKind::Unavailable, RetryClass::BadAnswer, false)]
#[case::f22(FaultKind::ServerError, RetryClass::BadAnswer, true)]
#[case::provider(FaultKind::ProviderUnavailable, RetryClass::BadAnswer, true)]
#[case::f26(FaultKind::Unreadable, RetryClass::BadAnswer, true)]
fn a_transient_fault_waits(
    #[case] kind: FaultKind,
    #[case] retry_class: RetryClass,
    #[case] is_ambiguous: bool,
) {
    let class = class_of(&refused(kind, None));
    assert_eq!(class, FailureClass::Waiting { retry_class, is_ambiguous });
    assert_eq!(class.is_ambiguous(), is_ambiguous);
    assert!(!class.is_definite());
    let asked = class_of(&refused(kind, Some(7)));
    let retry_class = RetryClass::Asked(Duration::from_secs(7));
    assert_eq!(asked, FailureClass::Waiting { retry_class, is_ambiguous });
}

#[rstest]
#[case::f19(refused(FaultKind::QueryNotAllowed, None))]
#[case::f24(refused(FaultKind::NotFound, None))]
#[case::f25(refused(FaultKind::Redirect, None))]
#[case::gone(page(410))]
#[case::firewall(page(403))]
#[case::proxy(page(407))]
fn what_is_no_token_endpoint_is_asked_again(#[case] error: ExchangeError) {
    let ExchangeError::Refused(fault) = &error else { panic!("refused") };
    let status = fault.status.as_u16();
    // A page with the status of a refused logon may hide UAA's own answer.
    let is_ambiguous = matches!(status, 401 | 403);
    let failure = failure(&error);
    assert_eq!(failure.class, FailureClass::NoTokenEndpoint { is_ambiguous });
    assert_eq!(failure.reason, Reason::NoTokenEndpoint { status });
    assert!(failure.reason.hint().contains("host and path"));
    assert!(!failure.class.is_definite());
}

#[test]
fn only_what_was_sent_may_hide_a_failure() {
    let retry_class = RetryClass::NoAnswer;
    let expected = |is_ambiguous| FailureClass::Waiting { retry_class, is_ambiguous };
    assert_eq!(class_of(&unsent()), expected(false));
    assert_eq!(class_of(&broken()), expected(true));
}

/// The public reason follows from the fault and from what was sent.
#[rstest]
#[case::f1(FaultKind::BadCredentials, "Rejected", "Misconfigured")]
#[case::f2(FaultKind::RejectedByProvider, "Rejected", "AssertionRejected")]
#[case::unknown(FaultKind::UnknownRefusal, "Rejected", "AssertionRejected")]
#[case::client(FaultKind::ClientRejected, "Misconfigured", "Misconfigured")]
#[case::f3(FaultKind::ProviderLocked, "Locked", "Locked")]
#[case::f4(FaultKind::UaaLocked, "Locked", "Locked")]
#[case::f5(FaultKind::ActionRequired(ActionCode::UserInactive), "ActionRequired", "ActionRequired")]
#[case::f8(FaultKind::OriginUnknown, "Misconfigured", "AssertionRejected")]
#[case::f9(FaultKind::ProviderNotAllowed, "Misconfigured", "Misconfigured")]
#[case::f10(FaultKind::OriginMissing, "Misconfigured", "AssertionRejected")]
#[case::f10_none(FaultKind::NoProvider, "Misconfigured", "AssertionRejected")]
#[case::f11(FaultKind::TrustIncomplete, "ActionRequired", "ActionRequired")]
#[case::field(FaultKind::FieldMissing, "ActionRequired", "ActionRequired")]
#[case::id_token(
    FaultKind::IdTokenRejected(IdTokenFault::Audience),
    "ActionRequired",
    "ActionRequired"
)]
#[case::f12(FaultKind::UserNotCreated, "ActionRequired", "ActionRequired")]
#[case::f13(FaultKind::IssuerMismatch, "ActionRequired", "ActionRequired")]
#[case::f14(FaultKind::NotVerified, "ActionRequired", "ActionRequired")]
#[case::f16(FaultKind::GrantNotAllowed, "Misconfigured", "Misconfigured")]
#[case::f17(FaultKind::NoScopes, "ActionRequired", "ActionRequired")]
#[case::scope(FaultKind::ScopeUnknown, "Misconfigured", "Misconfigured")]
#[case::path(FaultKind::WrongPath, "Misconfigured", "Misconfigured")]
fn a_fault_has_its_reason(
    #[case] kind: FaultKind,
    #[case] password: &str,
    #[case] assertion: &str,
) {
    for (grant, expected) in [(GrantKind::Password, password), (GrantKind::JwtBearer, assertion)] {
        let failure = classify(&refused(kind, None), &destination("CFAPI", 1), grant);
        let found = format!("{:?}", failure.reason);
        assert!(found.starts_with(expected), "{grant:?}: {found}");
        assert!(!failure.reason.hint().is_empty());
    }
}

#[test]
fn without_an_answer_the_reason_says_what_is_known() {
    let outage = |error: ExchangeError| failure(&error).reason;
    assert_eq!(outage(unsent()), Reason::UaaUnavailable(UaaOutage::NotReached));
    assert_eq!(outage(broken()), Reason::UaaUnavailable(UaaOutage::NoAnswer));
    for kind in [ConnectFault::TlsCertificate, ConnectFault::TlsProtocol, ConnectFault::Dns] {
        let error = TransportError::Connect { kind, source: None };
        let reason = outage(ExchangeError::Transport(error));
        assert_eq!(
            matches!(&reason, Reason::UaaUntrusted { advice } if advice.contains("extra_ca_file")),
            kind == ConnectFault::TlsCertificate
        );
        assert_eq!(
            matches!(&reason, Reason::UaaUnreachable { advice } if advice.contains("token URL")),
            kind != ConnectFault::TlsCertificate
        );
    }
}

#[rstest]
#[case(RetryClass::NoAnswer, 0, 1.0, 1.25)]
#[case(RetryClass::NoAnswer, 1, 2.0, 2.5)]
#[case(RetryClass::NoAnswer, 9, 4.0, 5.0)]
#[case(RetryClass::BadAnswer, 3, 8.0, 10.0)]
#[case(RetryClass::BadAnswer, 40, 48.0, 60.0)]
#[case(RetryClass::RateLimited, 0, 30.0, 37.5)]
#[case(RetryClass::RateLimited, 5, 48.0, 60.0)]
#[case(RetryClass::Asked(Duration::from_secs(7)), 4, 7.0, 7.7)]
#[case(RetryClass::Asked(Duration::from_secs(1_000_000_000)), 0, 60.0, 60.0)]
#[case(RetryClass::Asked(Duration::ZERO), 0, 1.0, 1.1)]
#[case(RetryClass::NoTokenEndpoint, 0, 60.0, 63.0)]
#[case(RetryClass::NoTokenEndpoint, 1, 120.0, 126.0)]
#[case(RetryClass::NoTokenEndpoint, 9, 600.0, 630.0)]
fn pauses_grow_to_their_limit(
    #[case] retry_class: RetryClass,
    #[case] rounds: u32,
    #[case] least: f64,
    #[case] most: f64,
) {
    let close = |a: Duration, b: f64| (a.as_secs_f64() - b).abs() < 1e-6;
    assert!(close(retry_class.pause(rounds, 0.0), least));
    assert!(close(retry_class.pause(rounds, 1.0), most));
}

proptest! {
    #[test]
    fn no_pause_leaves_its_bounds(rounds in 0_u32..100, draw in 0.0_f64..1.0, asked in 0_u64..1_000_000) {
        for retry_class in [
            RetryClass::NoAnswer,
            RetryClass::BadAnswer,
            RetryClass::RateLimited,
            RetryClass::Asked(Duration::from_secs(asked)),
        ] {
            let pause = retry_class.pause(rounds, draw);
            prop_assert!(pause >= Duration::from_secs(1));
            prop_assert!(pause <= Duration::from_secs(60));
        }
    }
}
