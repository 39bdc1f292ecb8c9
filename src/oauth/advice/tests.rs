//! What each refusal says, for what was sent.

use super::{SentLogon, no_assertion, of_refusal, unreachable};
use crate::oauth::{
    GrantKind, LoginHint, OriginKey, UnreachableCause,
    fault::{ActionCode, FaultKind, IdTokenFault},
};
use rstest::rstest;
use secrecy::SecretString;
use std::io;

const ORIGIN_FIRST: &str = "no origin was sent";
const CLIENT: &str = "clientId";
const NO_FURTHER: &str =
    "no further logon happens by itself: change the destination, or release one attempt";

/// A change of the usual destination, which has client `cf` and origin `acme-platform`.
#[derive(Clone, Copy, Debug)]
enum Change {
    None,
    Origin(&'static str),
    NoOrigin,
    /// No origin, but a further field of this name.
    Field(&'static str),
    User(&'static str),
    Client(&'static str),
    Scope,
}

fn advice(kind: FaultKind, change: Change, grant: GrantKind) -> String {
    let hint = LoginHint::new(OriginKey::parse("acme-platform").unwrap());
    let other;
    let field;
    let mut sent = SentLogon {
        grant,
        client_id: "cf",
        user: "tech@example.com",
        login_hint: Some(&hint),
        has_scope: false,
        extra: &[],
    };
    match change {
        Change::None => {}
        Change::Origin(key) => {
            other = LoginHint::new(OriginKey::parse(key).unwrap());
            sent.login_hint = Some(&other);
        }
        Change::NoOrigin => sent.login_hint = None,
        Change::Field(name) => {
            sent.login_hint = None;
            field = [(name.to_owned(), SecretString::from("canary-field"))];
            sent.extra = &field;
        }
        Change::User(user) => sent.user = user,
        Change::Client(id) => sent.client_id = id,
        Change::Scope => sent.has_scope = true,
    }
    of_refusal(kind, sent)
}

fn password(kind: FaultKind, change: Change) -> String {
    advice(kind, change, GrantKind::Password)
}

#[rstest]
#[case::nothing_odd(FaultKind::RejectedByProvider, Change::None, &["origin acme-platform was sent", "correct user and password"])]
#[case::no_origin(FaultKind::BadCredentials, Change::NoOrigin, &[ORIGIN_FIRST, "default identity provider", "set the origin"])]
#[case::no_origin_behind_uaa(FaultKind::RejectedByProvider, Change::NoOrigin, &[ORIGIN_FIRST, "set the origin"])]
#[case::no_origin_and_unknown(FaultKind::UnknownRefusal, Change::NoOrigin, &[ORIGIN_FIRST, "does not know"])]
#[case::idle(FaultKind::BadCredentials, Change::Field("origin"), &[ORIGIN_FIRST, "field origin of the token call has no effect"])]
#[case::idle_spelled(FaultKind::BadCredentials, Change::Field("loginHint"), &[ORIGIN_FIRST, "field loginhint of the token call has no effect"])]
#[case::blank(FaultKind::BadCredentials, Change::User("tech@example.com "), &["User begins or ends with a blank"])]
#[case::hard_blank(FaultKind::RejectedByProvider, Change::User("\u{a0}tech"), &["User begins or ends with a blank"])]
#[case::tab(FaultKind::UnknownRefusal, Change::User("tech\t"), &["User begins or ends with a blank"])]
#[case::uaa_answers(FaultKind::BadCredentials, Change::None, &["the answer is that of UAA itself", CLIENT])]
#[case::provider_answers(FaultKind::RejectedByProvider, Change::Origin("uaa"), &["another identity provider has answered"])]
#[case::client_cf(FaultKind::BadCredentials, Change::Client("CF"), &["clientId is not exactly cf"])]
#[case::client_blank(FaultKind::BadCredentials, Change::Client("cf "), &["clientId is not exactly cf"])]
#[case::other_client(FaultKind::BadCredentials, Change::Client("mine"), &["check clientId and clientSecret"])]
#[case::universal_id(FaultKind::RejectedByProvider, Change::Origin("sap.ids"), &["Universal ID"])]
#[case::perhaps_universal_id(FaultKind::RejectedByProvider, Change::NoOrigin, &["Universal ID"])]
#[case::unknown(FaultKind::UnknownRefusal, Change::None, &["refused for a reason that the broker does not know", "lockout guard closed"])]
fn a_refused_password_says_what_is_known(
    #[case] kind: FaultKind,
    #[case] change: Change,
    #[case] words: &[&str],
) {
    let hint = password(kind, change);
    for word in words.iter().chain(&[NO_FURTHER]) {
        assert!(hint.contains(word), "{word}: {hint}");
    }
    assert!(!hint.contains("canary"), "{hint}");
}

#[rstest]
#[case::origin(FaultKind::RejectedByProvider, Change::None, ORIGIN_FIRST)]
#[case::no_blank(FaultKind::RejectedByProvider, Change::User("te ch"), "blank")]
#[case::client_is_known(FaultKind::RejectedByProvider, Change::Client("mine"), CLIENT)]
#[case::cf_and_uaa(FaultKind::BadCredentials, Change::Origin("uaa"), CLIENT)]
#[case::no_universal_id(FaultKind::RejectedByProvider, Change::None, "Universal ID")]
#[case::from_uaa(FaultKind::BadCredentials, Change::Origin("uaa"), "UAA itself")]
#[case::from_ldap(FaultKind::BadCredentials, Change::Origin("ldap"), "UAA itself")]
#[case::useful_field(FaultKind::BadCredentials, Change::Field("resource"), "no effect")]
#[case::unknown_client(FaultKind::UnknownRefusal, Change::Client("mine"), CLIENT)]
#[case::unknown_is_not_wrong(FaultKind::UnknownRefusal, Change::None, "correct user and password")]
fn nothing_is_said_that_is_not_known(
    #[case] kind: FaultKind,
    #[case] change: Change,
    #[case] word: &str,
) {
    let hint = password(kind, change);
    assert!(!hint.contains(word), "{hint}");
}

#[rstest]
#[case::cf(Change::None, "client cf has an empty secret")]
#[case::capital(Change::Client("CF"), "clientId is not exactly cf")]
#[case::blank(Change::Client(" cf"), "clientId is not exactly cf")]
#[case::other(Change::Client("mine"), "correct clientId and clientSecret")]
fn a_refused_client_is_named(#[case] change: Change, #[case] word: &str) {
    let hint = password(FaultKind::ClientRejected, change);
    assert!(hint.contains(word) && hint.contains("clientSecret"), "{hint}");
    assert!(!hint.contains("user and password"), "{hint}");
}

#[rstest]
#[case::provider(FaultKind::ProviderLocked, Change::None, "unlock the user there")]
#[case::uaa(FaultKind::UaaLocked, Change::Origin("uaa"), "UAA itself has locked the user")]
#[case::elsewhere(
    FaultKind::UaaLocked,
    Change::None,
    "origin acme-platform was sent, but the answer"
)]
fn a_lock_says_who_has_locked(#[case] kind: FaultKind, #[case] change: Change, #[case] word: &str) {
    let hint = password(kind, change);
    assert!(hint.contains(word) && hint.contains("force=true"), "{hint}");
}

#[rstest]
#[case::f5(
    FaultKind::ActionRequired(ActionCode::PasswordChangeRequired),
    Change::None,
    "new one into the destination (PASSWORD_CHANGE_REQUIRED)"
)]
#[case::f6_reset(
    FaultKind::ActionRequired(ActionCode::PasswordResetRequired),
    Change::None,
    "new one into the destination (PASSWORD_RESET_REQUIRED)"
)]
#[case::f6_initial(
    FaultKind::ActionRequired(ActionCode::InitialPasswordExpired),
    Change::None,
    "new one into the destination (INITIAL_PASSWORD_EXPIRED)"
)]
#[case::f6_disabled(
    FaultKind::ActionRequired(ActionCode::PasswordDisabled),
    Change::None,
    "(PASSWORD_DISABLED); the broker does not see"
)]
#[case::f6_inactive(
    FaultKind::ActionRequired(ActionCode::UserInactive),
    Change::None,
    "(USER_INACTIVE); the broker does not see"
)]
#[case::f6_mail(
    FaultKind::ActionRequired(ActionCode::MailNotVerified),
    Change::None,
    "(MAIL_NOT_VERIFIED); the broker does not see"
)]
#[case::f6_risk(
    FaultKind::ActionRequired(ActionCode::RiskRuleDenied),
    Change::None,
    "(RBA_RULE_ACTION_DENY); the broker does not see"
)]
#[case::f11(
    FaultKind::TrustIncomplete,
    Change::None,
    "trust between UAA and the identity provider"
)]
#[case::f11_field(FaultKind::FieldMissing, Change::None, "did not reach the check")]
#[case::f12(
    FaultKind::UserNotCreated,
    Change::None,
    "add the user to org and space with origin acme-platform"
)]
#[case::f12_no_origin(
    FaultKind::UserNotCreated,
    Change::NoOrigin,
    "with the origin of its identity provider"
)]
#[case::f13(FaultKind::IssuerMismatch, Change::None, "tries again once an hour")]
#[case::f14(FaultKind::NotVerified, Change::None, "verify")]
#[case::f17(FaultKind::NoScopes, Change::None, "role")]
#[case::f17_scope(FaultKind::NoScopes, Change::Scope, "property scope")]
#[case::id_token(
    FaultKind::IdTokenRejected(IdTokenFault::Audience),
    Change::None,
    "gave for the password: repair the trust"
)]
fn what_the_user_needs_is_advised(
    #[case] kind: FaultKind,
    #[case] change: Change,
    #[case] word: &str,
) {
    let hint = password(kind, change);
    assert!(hint.contains(word), "{hint}");
}

#[rstest]
#[case::f8(
    FaultKind::OriginUnknown,
    Change::None,
    "origin acme-platform is not an active identity provider"
)]
#[case::f8_application(
    FaultKind::OriginUnknown,
    Change::Origin("sap.custom"),
    "such keys end in -platform"
)]
#[case::f8_default(FaultKind::OriginUnknown, Change::NoOrigin, "set the origin")]
#[case::f9(FaultKind::ProviderNotAllowed, Change::None, "name another origin")]
#[case::f9_default(FaultKind::ProviderNotAllowed, Change::NoOrigin, "no origin was sent")]
#[case::f10(FaultKind::OriginMissing, Change::NoOrigin, "set the origin")]
#[case::f10_idle(
    FaultKind::OriginMissing,
    Change::Field("Origin"),
    "field origin of the token call has no effect"
)]
#[case::f10_sent(FaultKind::OriginMissing, Change::None, "UAA did not take origin acme-platform")]
#[case::f10_none(FaultKind::NoProvider, Change::None, "may use no identity provider")]
#[case::f16(FaultKind::GrantNotAllowed, Change::None, "withdrawn for client cf (CF RFC 0037)")]
#[case::f16_other(FaultKind::GrantNotAllowed, Change::Client("mine"), "use client cf")]
#[case::scope(FaultKind::ScopeUnknown, Change::Scope, "the property scope")]
#[case::no_scope(FaultKind::ScopeUnknown, Change::None, "asks for none")]
#[case::path(FaultKind::WrongPath, Change::None, "check host and path")]
fn what_the_destination_needs_is_advised(
    #[case] kind: FaultKind,
    #[case] change: Change,
    #[case] word: &str,
) {
    let hint = password(kind, change);
    assert!(hint.contains(word), "{hint}");
}

#[rstest]
#[case::audience(FaultKind::IdTokenRejected(IdTokenFault::Audience), "audience (aud)")]
#[case::signature(FaultKind::IdTokenRejected(IdTokenFault::Signature), "expired, or no key")]
#[case::garbage(FaultKind::IdTokenRejected(IdTokenFault::Malformed), "no valid token")]
#[case::unreadable(
    FaultKind::IdTokenRejected(IdTokenFault::Unreadable),
    "cannot decode the assertion"
)]
#[case::missing(FaultKind::IdTokenRejected(IdTokenFault::Missing), "no assertion has reached UAA")]
#[case::other(FaultKind::IdTokenRejected(IdTokenFault::Other), "refuses the assertion")]
#[case::issuer(FaultKind::IssuerMismatch, "the issuer of the assertion")]
#[case::user(FaultKind::UserNotCreated, "identity provider that issued the assertion")]
#[case::client(FaultKind::BadCredentials, "refuses the client and not the user")]
#[case::client_text(FaultKind::ClientRejected, "refuses the client and not the user")]
#[case::grant(FaultKind::GrantNotAllowed, "may not use the JWT bearer grant")]
#[case::provider(FaultKind::ProviderNotAllowed, "identity provider that issued the assertion")]
#[case::scopes(FaultKind::NoScopes, "role")]
#[case::trust(FaultKind::TrustIncomplete, "trust")]
#[case::field(FaultKind::FieldMissing, "trust")]
#[case::unknown(FaultKind::UnknownRefusal, "the assertion was refused for a reason")]
#[case::by_provider(FaultKind::RejectedByProvider, "the assertion was refused for a reason")]
#[case::no_origin(FaultKind::OriginMissing, "the assertion was refused for a reason")]
#[case::change(
    FaultKind::ActionRequired(ActionCode::PasswordChangeRequired),
    "(PASSWORD_CHANGE_REQUIRED)"
)]
#[case::uaa_lock(FaultKind::UaaLocked, "UAA itself has locked the user")]
fn an_assertion_has_texts_of_its_own(
    #[case] kind: FaultKind,
    #[case] word: &str,
    #[values(Change::None, Change::NoOrigin, Change::Scope)] change: Change,
) {
    let hint = advice(kind, change, GrantKind::JwtBearer);
    assert!(hint.contains(word), "{hint}");
    for foreign in ["correct user", "into the destination", "release one attempt", "was sent"] {
        assert!(!hint.contains(foreign), "{foreign}: {hint}");
    }
}

#[rstest]
#[case::missing(io::ErrorKind::NotFound, "does not exist")]
#[case::denied(io::ErrorKind::PermissionDenied, "may not read")]
#[case::empty(io::ErrorKind::UnexpectedEof, "is empty")]
#[case::large(io::ErrorKind::FileTooLarge, "larger than 64 KiB")]
#[case::binary(io::ErrorKind::InvalidData, "is not text")]
#[case::other(io::ErrorKind::Other, "cannot be read")]
fn a_missing_assertion_says_why(#[case] kind: io::ErrorKind, #[case] word: &str) {
    assert!(no_assertion(&kind.into()).contains(word));
}

#[rstest]
#[case::certificate(UnreachableCause::Certificate, "upstream.extra_ca_file")]
#[case::protocol(UnreachableCause::Protocol, "host and port")]
#[case::name(UnreachableCause::Name, "has no address")]
fn what_waiting_may_not_repair_is_named(#[case] cause: UnreachableCause, #[case] word: &str) {
    assert!(unreachable(cause).contains(word));
}
