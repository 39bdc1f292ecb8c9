use super::{FailureClass, class_of, classify};
use crate::{
    oauth::{
        ExchangeError, GrantKind,
        fault::{ActionCode, FaultKind, IdTokenFault},
    },
    token::{
        Reason, UaaOutage,
        advice::SentLogon,
        backoff::RetryClass,
        fake::{broken, destination, page, refused, unsent},
    },
};
use rstest::rstest;
use std::time::Duration;

fn reason(kind: FaultKind) -> Reason {
    let destination = destination("CFAPI", 1);
    classify(
        &refused(kind, None),
        SentLogon { destination: &destination, grant: GrantKind::Password },
    )
    .reason
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
    let destination = destination("CFAPI", 1);
    let failure =
        classify(&error, SentLogon { destination: &destination, grant: GrantKind::Password });
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
