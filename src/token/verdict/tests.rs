use super::{Verdict, judge};
use crate::{
    oauth::fault::{ActionCode, FaultKind},
    token::{
        Reason,
        backoff::Trouble,
        fake::{broken, refused, unsent},
    },
};
use rstest::rstest;
use std::time::Duration;

/// A word of the advice that must not be lost.
fn advises(reason: &Reason, word: &str) -> bool {
    reason.hint().contains(word)
}

fn is_misconfigured(reason: &Reason) -> bool {
    matches!(reason, Reason::Misconfigured { .. })
}

#[rstest]
#[case::f1(FaultKind::BadCredentials, Verdict::Rejected, Reason::Rejected)]
#[case::never_seen_here(FaultKind::RefreshTokenRejected, Verdict::Rejected, Reason::Rejected)]
#[case::f3(FaultKind::ProviderLocked, Verdict::Locked(Duration::from_secs(3900)), Reason::Locked)]
#[case::f4(FaultKind::UaaLocked, Verdict::Locked(Duration::from_secs(330)), Reason::Locked)]
#[case::f7(FaultKind::SecondFactor, Verdict::Blocked, Reason::SecondFactor)]
#[case::f18(FaultKind::BadRequest, Verdict::Blocked, Reason::Internal)]
fn a_fault_has_its_row(#[case] kind: FaultKind, #[case] verdict: Verdict, #[case] reason: Reason) {
    let ruling = judge(&refused(kind, Some(7)));
    assert_eq!((ruling.verdict, ruling.reason), (verdict, reason));
    assert!(verdict.is_definite() && !verdict.is_ambiguous());
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
    let ruling = judge(&refused(kind, None));
    assert_eq!(ruling.verdict, Verdict::Blocked);
    assert!(advises(&ruling.reason, word), "{:?}", ruling.reason);
    assert!(matches!(ruling.reason, Reason::ActionRequired { .. }));
}

#[test]
fn a_broken_trust_is_looked_at_again() {
    let ruling = judge(&refused(FaultKind::IssuerMismatch, None));
    assert_eq!(ruling.verdict, Verdict::BlockedWithProbe);
    assert!(ruling.verdict.is_definite());
    assert!(advises(&ruling.reason, "repair the trust"));
}

#[rstest]
#[case::f8(FaultKind::OriginUnknown, "not an active identity provider")]
#[case::f9(FaultKind::ProviderNotAllowed, "another origin")]
#[case::f10(FaultKind::OriginMissing, "set the origin")]
#[case::f16(FaultKind::GrantNotAllowed, "RFC 0037")]
#[case::f19(FaultKind::QueryNotAllowed, "token URL")]
#[case::f24(FaultKind::NotFound, "host and path")]
#[case::f25(FaultKind::Redirect, "login page")]
fn what_the_destination_needs_is_advised(#[case] kind: FaultKind, #[case] word: &str) {
    let ruling = judge(&refused(kind, None));
    assert_eq!(ruling.verdict, Verdict::Blocked);
    assert!(is_misconfigured(&ruling.reason));
    assert!(advises(&ruling.reason, word), "{:?}", ruling.reason);
}

#[rstest]
#[case::f20(FaultKind::RateLimited, Trouble::RateLimited, false)]
#[case::f21(FaultKind::Unavailable, Trouble::BadAnswer, false)]
#[case::f22(FaultKind::ServerError, Trouble::BadAnswer, true)]
#[case::f26(FaultKind::Unreadable, Trouble::BadAnswer, true)]
fn what_time_may_heal_waits(
    #[case] kind: FaultKind,
    #[case] trouble: Trouble,
    #[case] is_ambiguous: bool,
) {
    let ruling = judge(&refused(kind, None));
    let verdict = Verdict::Waiting { trouble, is_ambiguous };
    assert_eq!((ruling.verdict, ruling.reason), (verdict, Reason::UaaUnavailable));
    assert_eq!(verdict.is_ambiguous(), is_ambiguous);
    assert!(!verdict.is_definite());
    let asked = judge(&refused(kind, Some(7)));
    let trouble = Trouble::Asked(Duration::from_secs(7));
    assert_eq!(asked.verdict, Verdict::Waiting { trouble, is_ambiguous });
}

#[test]
fn only_what_was_sent_may_hide_a_failure() {
    let trouble = Trouble::NoAnswer;
    let expected = |is_ambiguous| Verdict::Waiting { trouble, is_ambiguous };
    assert_eq!(judge(&unsent()).verdict, expected(false));
    assert_eq!(judge(&broken()).verdict, expected(true));
}
