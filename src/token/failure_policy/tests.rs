use super::{FailureClass, classify};
use crate::{
    oauth::{
        ExchangeError,
        fault::{ActionCode, FaultKind},
    },
    token::{
        Reason,
        backoff::RetryClass,
        fake::{broken, page, refused, unsent},
    },
};
use rstest::rstest;
use std::time::Duration;

/// Returns whether the advice contains this word.
fn advises(reason: &Reason, word: &str) -> bool {
    reason.hint().contains(word)
}

fn is_misconfigured(reason: &Reason) -> bool {
    matches!(reason, Reason::Misconfigured { .. })
}

#[rstest]
#[case::f1(FaultKind::BadCredentials, FailureClass::Rejected, Reason::Rejected)]
#[case::never_seen_here(FaultKind::RefreshTokenRejected, FailureClass::Rejected, Reason::Rejected)]
#[case::f3(
    FaultKind::ProviderLocked,
    FailureClass::Locked(Duration::from_secs(3900)),
    Reason::Locked
)]
#[case::f4(FaultKind::UaaLocked, FailureClass::Locked(Duration::from_secs(330)), Reason::Locked)]
#[case::f7(FaultKind::SecondFactor, FailureClass::Blocked, Reason::SecondFactor)]
#[case::f18(FaultKind::BadRequest, FailureClass::Blocked, Reason::Internal)]
fn a_fault_has_its_row(
    #[case] kind: FaultKind,
    #[case] class: FailureClass,
    #[case] reason: Reason,
) {
    let failure = classify(&refused(kind, Some(7)));
    assert_eq!((failure.class, failure.reason), (class, reason));
    assert!(class.is_definite() && !class.is_ambiguous());
}

#[rstest]
#[case::f11(FaultKind::TrustIncomplete, "trust between UAA and the identity provider")]
#[case::f12(FaultKind::UserNotCreated, "add the user to org and space")]
#[case::f14(FaultKind::NotVerified, "verify")]
#[case::f17(FaultKind::NoScopes, "role")]
#[case(FaultKind::ActionRequired(ActionCode::PasswordChangeRequired), "(PASSWORD_CHANGE_REQUIRED)")]
#[case(FaultKind::ActionRequired(ActionCode::PasswordResetRequired), "(PASSWORD_RESET_REQUIRED)")]
#[case(FaultKind::ActionRequired(ActionCode::InitialPasswordExpired), "(INITIAL_PASSWORD_EXPIRED)")]
#[case(FaultKind::ActionRequired(ActionCode::PasswordDisabled), "(PASSWORD_DISABLED)")]
#[case(FaultKind::ActionRequired(ActionCode::UserInactive), "(USER_INACTIVE)")]
#[case(FaultKind::ActionRequired(ActionCode::MailNotVerified), "(MAIL_NOT_VERIFIED)")]
#[case(FaultKind::ActionRequired(ActionCode::RiskRuleDenied), "(RBA_RULE_ACTION_DENY)")]
fn what_the_user_needs_is_advised(#[case] kind: FaultKind, #[case] word: &str) {
    let failure = classify(&refused(kind, None));
    assert_eq!(failure.class, FailureClass::Blocked);
    assert!(advises(&failure.reason, word), "{:?}", failure.reason);
    assert!(matches!(failure.reason, Reason::ActionRequired { .. }));
}

#[test]
fn a_broken_trust_is_probed_again() {
    let failure = classify(&refused(FaultKind::IssuerMismatch, None));
    assert_eq!(failure.class, FailureClass::BlockedWithProbe);
    assert!(failure.class.is_definite());
    assert!(advises(&failure.reason, "repair the trust"));
}

#[rstest]
#[case::f8(FaultKind::OriginUnknown, "not an active identity provider")]
#[case::f9(FaultKind::ProviderNotAllowed, "another origin")]
#[case::f10(FaultKind::OriginMissing, "set the origin")]
#[case::f16(FaultKind::GrantNotAllowed, "RFC 0037")]
fn what_the_destination_needs_is_advised(#[case] kind: FaultKind, #[case] word: &str) {
    let failure = classify(&refused(kind, None));
    assert_eq!(failure.class, FailureClass::Blocked);
    assert!(is_misconfigured(&failure.reason));
    assert!(advises(&failure.reason, word), "{:?}", failure.reason);
}

#[rstest]
#[case::f20(FaultKind::RateLimited, RetryClass::RateLimited, false)]
#[case::f21(FaultKind::Unavailable, RetryClass::BadAnswer, false)]
#[case::f22(FaultKind::ServerError, RetryClass::BadAnswer, true)]
#[case::f26(FaultKind::Unreadable, RetryClass::BadAnswer, true)]
fn a_transient_fault_waits(
    #[case] kind: FaultKind,
    #[case] retry_class: RetryClass,
    #[case] is_ambiguous: bool,
) {
    let failure = classify(&refused(kind, None));
    let class = FailureClass::Waiting { retry_class, is_ambiguous };
    assert_eq!((failure.class, failure.reason), (class, Reason::UaaUnavailable));
    assert_eq!(class.is_ambiguous(), is_ambiguous);
    assert!(!class.is_definite());
    let asked = classify(&refused(kind, Some(7)));
    let retry_class = RetryClass::Asked(Duration::from_secs(7));
    assert_eq!(asked.class, FailureClass::Waiting { retry_class, is_ambiguous });
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
    let failure = classify(&error);
    assert_eq!(failure.class, FailureClass::NoTokenEndpoint { is_ambiguous });
    assert_eq!(failure.reason, Reason::NoTokenEndpoint { status });
    assert!(advises(&failure.reason, "host and path"));
    assert!(!failure.class.is_definite());
}

#[test]
fn only_what_was_sent_may_hide_a_failure() {
    let retry_class = RetryClass::NoAnswer;
    let expected = |is_ambiguous| FailureClass::Waiting { retry_class, is_ambiguous };
    assert_eq!(classify(&unsent()).class, expected(false));
    assert_eq!(classify(&broken()).class, expected(true));
}
