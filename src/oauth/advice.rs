//! What an administrator reads about a failed grant: made of what is known about the answer and
//! about what was sent.
//!
//! Invariant: every text is ours, and none states what is not known. A text belongs to one cause,
//! or names all that give the same answer. Pure. `token` decides what follows from a fault, and
//! takes its words from here.

use crate::{
    oauth::{
        GrantKind, LoginHint, UnreachableCause,
        fault::{ActionCode, FaultKind, IdTokenFault},
    },
    upstream::CERTIFICATE_ADVICE,
};
use secrecy::SecretString;
use std::io;

/// The client of Cloud Foundry's own tools.
const CF_CLIENT: &str = "cf";

/// Identity providers inside UAA. All others are asked over the network and answer in their own
/// words.
const INSIDE_UAA: [&str; 2] = ["uaa", "ldap"];

/// Identity provider of SAP's own users.
const SAP_ID: &str = "sap.ids";

const SET_ORIGIN: &str =
    "set the origin (login_hint in the query of tokenServiceURL, or the property origin)";

const NO_FURTHER: &str = "no further logon happens by itself: change the destination, or release one attempt (POST \
                          /destinations/{name}/retry)";

const UNSEEN: &str = "the broker does not see a repair outside the destination: then release one \
                      attempt";

const SEE_LOG: &str = "the log line \"lockout guard closed\" has the words of the server";

const TRUST: &str = "repair the trust between UAA and the identity provider";

/// What was sent, as far as a text speaks of it.
#[derive(Clone, Copy, Debug)]
pub struct SentLogon<'a> {
    /// Kind of the grant.
    pub grant: GrantKind,
    /// The client.
    pub client_id: &'a str,
    /// The user of the destination.
    pub user: &'a str,
    /// The identity provider that the destination names.
    pub login_hint: Option<&'a LoginHint>,
    /// Whether the destination asks for certain scopes.
    pub has_scope: bool,
    /// Further fields of the body; only their names are read.
    pub extra: &'a [(String, SecretString)],
}

impl SentLogon<'_> {
    /// Returns whether an assertion was sent and no password.
    pub fn is_assertion(self) -> bool {
        self.grant == GrantKind::JwtBearer
    }

    /// The identity provider that was named. An assertion is sent without one.
    fn origin(&self) -> Option<&str> {
        let hint = self.login_hint.filter(|_| !self.is_assertion());
        hint.map(|hint| hint.origin().as_str())
    }

    fn is_client_cf(self) -> bool {
        self.client_id == CF_CLIENT
    }

    /// An assertion is read again for each attempt, so nothing has to be released.
    fn unseen(self, advice: &str) -> String {
        if self.is_assertion() { advice.to_owned() } else { format!("{advice}; {UNSEEN}") }
    }
}

/// Returns what to do where no connection can be made.
pub fn unreachable(cause: UnreachableCause) -> &'static str {
    match cause {
        UnreachableCause::Certificate => CERTIFICATE_ADVICE,
        UnreachableCause::Protocol => {
            "no TLS connection can be made: check host and port of the token URL"
        }
        UnreachableCause::Name => {
            "the name of its host has no address: check the host of the token URL and the DNS"
        }
    }
}

/// Returns why there is no assertion to send, and what to do.
#[expect(clippy::wildcard_enum_match_arm, reason = "the standard library may add kinds")]
pub fn no_assertion(error: &io::Error) -> String {
    let what = match error.kind() {
        io::ErrorKind::NotFound => "the assertion file (token.assertion_file) does not exist",
        io::ErrorKind::PermissionDenied => "the broker may not read the assertion file",
        io::ErrorKind::FileTooLarge => "the assertion file is larger than 64 KiB",
        io::ErrorKind::UnexpectedEof => "the assertion file is empty",
        io::ErrorKind::InvalidData => "the assertion file is not text",
        _ => "the assertion file cannot be read",
    };
    format!("{what}: provide the assertion of the JWT bearer grant")
}

/// Returns what is known about a refusal, and what to do. Empty where the fault needs no words of
/// its own.
pub fn of_refusal(kind: FaultKind, sent: SentLogon<'_>) -> String {
    match kind {
        FaultKind::BadCredentials if sent.is_assertion() => client_rejected(sent),
        FaultKind::BadCredentials
        | FaultKind::RejectedByProvider
        | FaultKind::UnknownRefusal
        | FaultKind::RefreshTokenRejected => rejected(kind, sent),
        FaultKind::ClientRejected => client_rejected(sent),
        FaultKind::ProviderLocked | FaultKind::UaaLocked => locked(kind, sent),
        FaultKind::ActionRequired(code) => demanded(code, sent),
        FaultKind::TrustIncomplete
        | FaultKind::FieldMissing
        | FaultKind::IdTokenRejected(_)
        | FaultKind::IssuerMismatch => trust(kind, sent),
        FaultKind::UserNotCreated => user_not_created(sent),
        FaultKind::NotVerified => sent.unseen("verify the user's e-mail address in UAA"),
        FaultKind::NoScopes | FaultKind::ScopeUnknown => scopes(kind, sent),
        FaultKind::OriginUnknown
        | FaultKind::ProviderNotAllowed
        | FaultKind::OriginMissing
        | FaultKind::NoProvider => origin(kind, sent),
        FaultKind::GrantNotAllowed => grant_not_allowed(sent),
        FaultKind::WrongPath => sent.unseen(
            "a page of UAA answers at the token URL, and not its token endpoint; check host and path: \
             the path of UAA's token endpoint is /oauth/token",
        ),
        FaultKind::SecondFactor
        | FaultKind::BadRequest
        | FaultKind::QueryNotAllowed
        | FaultKind::NotFound
        | FaultKind::Redirect
        | FaultKind::RateLimited
        | FaultKind::Unavailable
        | FaultKind::ProviderUnavailable
        | FaultKind::ServerError
        | FaultKind::Unreadable => String::new(),
    }
}

/// F1, F2, F15 and unknown refusals. What is known to be odd comes first.
fn rejected(kind: FaultKind, sent: SentLogon<'_>) -> String {
    if sent.is_assertion() {
        return format!(
            "the assertion was refused for a reason that the broker does not know; {SEE_LOG}"
        );
    }
    let mut clauses = Vec::new();
    if kind == FaultKind::UnknownRefusal {
        clauses.push("refused for a reason that the broker does not know".to_owned());
        clauses.push(SEE_LOG.to_owned());
    }
    clauses.push(origin_sent(sent));
    clauses.extend(other_provider(kind, sent));
    if has_outer_blanks(sent.user) {
        clauses.push("User begins or ends with a blank, which is sent as it is".to_owned());
    }
    clauses.extend(client_in_doubt(kind, sent));
    if kind != FaultKind::UnknownRefusal {
        clauses.push("correct user and password".to_owned());
        clauses.extend(universal_id(sent));
    }
    clauses.push(NO_FURTHER.to_owned());
    clauses.join("; ")
}

fn origin_sent(sent: SentLogon<'_>) -> String {
    match sent.origin() {
        Some(key) => format!("origin {key} was sent"),
        None => format!(
            "{}, and then UAA asks its default identity provider, which need not know this user: \
             {SET_ORIGIN}",
            no_origin(sent)
        ),
    }
}

fn no_origin(sent: SentLogon<'_>) -> String {
    match idle_origin(sent) {
        Some(field) => {
            format!("no origin was sent (the field {field} of the token call has no effect)")
        }
        None => "no origin was sent".to_owned(),
    }
}

/// A further field that looks like an origin, which UAA does not read.
fn idle_origin(sent: SentLogon<'_>) -> Option<&'static str> {
    let is_like = |name: &str, wanted: &str| {
        name.bytes()
            .filter(u8::is_ascii_alphanumeric)
            .map(|byte| byte.to_ascii_lowercase())
            .eq(wanted.bytes())
    };
    sent.extra.iter().find_map(|(name, _)| {
        ["origin", "loginhint", "idp"].into_iter().find(|wanted| is_like(name, wanted))
    })
}

/// An answer that does not come from where the origin points.
#[expect(clippy::wildcard_enum_match_arm, reason = "only these answers tell who has answered")]
fn other_provider(kind: FaultKind, sent: SentLogon<'_>) -> Option<String> {
    let key = sent.origin()?;
    let is_inside = INSIDE_UAA.contains(&key);
    match kind {
        FaultKind::BadCredentials | FaultKind::UaaLocked if !is_inside => Some(
            "but the answer is that of UAA itself: the identity provider was not asked, or \
             another one than named"
                .to_owned(),
        ),
        FaultKind::RejectedByProvider | FaultKind::ProviderLocked if is_inside => {
            Some("but another identity provider has answered: check the origin".to_owned())
        }
        _ => None,
    }
}

/// UAA answers a wrong client and a wrong user alike (F15).
#[expect(clippy::wildcard_enum_match_arm, reason = "only these answers may be about the client")]
fn client_in_doubt(kind: FaultKind, sent: SentLogon<'_>) -> Option<String> {
    let almost = almost_cf(sent).map(str::to_owned);
    match kind {
        FaultKind::UnknownRefusal => almost,
        FaultKind::BadCredentials => almost.or_else(|| {
            let is_outside = sent.origin().is_some_and(|key| !INSIDE_UAA.contains(&key));
            (!sent.is_client_cf() || is_outside).then(|| {
                "the same answer is given to a wrong client: check clientId and clientSecret"
                    .to_owned()
            })
        }),
        _ => None,
    }
}

fn almost_cf(sent: SentLogon<'_>) -> Option<&'static str> {
    let id = sent.client_id;
    let is_almost = !sent.is_client_cf() && id.trim().eq_ignore_ascii_case(CF_CLIENT);
    is_almost.then_some(
        "clientId is not exactly cf, but differs by capital letters or blanks: correct clientId, and \
         leave clientSecret empty",
    )
}

fn has_outer_blanks(text: &str) -> bool {
    let is_blank = |c: char| c.is_whitespace() || c.is_control() || "\u{200b}\u{feff}".contains(c);
    text.starts_with(is_blank) || text.ends_with(is_blank)
}

/// Only where SAP's own users may be meant.
fn universal_id(sent: SentLogon<'_>) -> Option<String> {
    let is_possible = sent.origin().is_none_or(|key| key == SAP_ID);
    is_possible.then(|| {
        "if the user has an SAP Universal ID, use name and password of its own account in SAP ID \
         service, for those of the Universal ID may not count here"
            .to_owned()
    })
}

/// Refused before the user was looked at.
fn client_rejected(sent: SentLogon<'_>) -> String {
    let advice = almost_cf(sent).unwrap_or(if sent.is_client_cf() {
        "UAA refuses the client and not the user: check clientId and clientSecret (client cf has an \
         empty secret), and that the token URL leads to the UAA of Cloud Foundry"
    } else {
        "UAA refuses the client and not the user: correct clientId and clientSecret"
    });
    sent.unseen(advice)
}

/// F3 and F4: who can unlock differs.
fn locked(kind: FaultKind, sent: SentLogon<'_>) -> String {
    let text = if kind == FaultKind::UaaLocked {
        "UAA itself has locked the user, until some minutes after the last failed logon; wait"
    } else {
        "the identity provider has locked the password; wait until it unlocks it, or unlock the user \
         there"
    };
    let mut clauses = vec![text.to_owned()];
    if let Some(odd) = other_provider(kind, sent) {
        clauses.push(format!("{}, {odd}", origin_sent(sent)));
    }
    if !sent.is_assertion() {
        clauses.push("after an earlier unlock release one attempt with force=true".to_owned());
    }
    clauses.join("; ")
}

/// F5 and F6. Of the provider's text only the code is safe to print.
fn demanded(code: ActionCode, sent: SentLogon<'_>) -> String {
    let (advice, is_in_destination) = match code {
        ActionCode::PasswordChangeRequired => ("change the user's password", true),
        ActionCode::PasswordResetRequired => ("reset the user's password", true),
        ActionCode::InitialPasswordExpired => {
            ("the initial password has expired: set a new one", true)
        }
        ActionCode::PasswordDisabled => ("allow the user to log on with a password", false),
        ActionCode::UserInactive => ("activate the user at the identity provider", false),
        ActionCode::MailNotVerified => {
            ("verify the user's e-mail address at the identity provider", false)
        }
        ActionCode::RiskRuleDenied => {
            ("let the identity provider's risk-based authentication allow the user", false)
        }
    };
    let code = code.code();
    if is_in_destination && !sent.is_assertion() {
        return format!("{advice} and put the new one into the destination ({code})");
    }
    sent.unseen(&format!("{advice} ({code})"))
}

/// F11, F13, and tokens of the provider that UAA refuses.
#[expect(clippy::wildcard_enum_match_arm, reason = "all other kinds get the general advice")]
fn trust(kind: FaultKind, sent: SentLogon<'_>) -> String {
    let is_assertion = sent.is_assertion();
    match kind {
        FaultKind::IdTokenRejected(fault) if is_assertion => sent.unseen(assertion(fault)),
        FaultKind::IdTokenRejected(_) => sent.unseen(&format!(
            "UAA refuses the token that the identity provider gave for the password: {TRUST}"
        )),
        FaultKind::IssuerMismatch if is_assertion => sent.unseen(
            "the issuer of the assertion is not exactly one identity provider that UAA knows: \
             provide an assertion of the trusted identity provider, or repair the trust",
        ),
        FaultKind::IssuerMismatch => format!(
            "{TRUST}; the issuer of its tokens is not the one that UAA knows; the broker tries again \
             once an hour, or release one attempt"
        ),
        FaultKind::FieldMissing if !is_assertion => sent.unseen(&format!(
            "user or password did not reach the check, although the broker has sent both: look for \
             a proxy in between, or {TRUST}"
        )),
        _ => sent.unseen(TRUST),
    }
}

/// The assertion of the JWT bearer grant was refused. No password was sent.
fn assertion(fault: IdTokenFault) -> &'static str {
    match fault {
        IdTokenFault::Missing => "no assertion has reached UAA: look for a proxy in between",
        IdTokenFault::Unreadable => {
            "UAA cannot decode the assertion: put an id token of the identity provider into the \
             assertion file"
        }
        IdTokenFault::Malformed => {
            "the assertion is no valid token: put an id token (JWT) of the identity provider into \
             the assertion file"
        }
        IdTokenFault::Signature => {
            "UAA cannot verify the assertion: it has expired, or no key of the trusted identity \
             provider has signed it; provide a new assertion"
        }
        IdTokenFault::Audience => {
            "the assertion is meant for somebody else: its audience (aud) must contain the client \
             id with which UAA is registered at the identity provider"
        }
        IdTokenFault::Other => {
            "UAA refuses the assertion; the log line \"lockout guard closed\" has its words; provide \
             a new assertion"
        }
    }
}

fn user_not_created(sent: SentLogon<'_>) -> String {
    let whose = match sent.origin() {
        Some(key) => format!("with origin {key}"),
        None if sent.is_assertion() => {
            "with the origin of the identity provider that issued the assertion".to_owned()
        }
        None => "with the origin of its identity provider".to_owned(),
    };
    sent.unseen(&format!("add the user to org and space {whose}, so that UAA knows it"))
}

fn scopes(kind: FaultKind, sent: SentLogon<'_>) -> String {
    let has_scope = sent.has_scope && !sent.is_assertion();
    match (kind, has_scope) {
        (FaultKind::ScopeUnknown, true) => sent.unseen(
            "the property scope names a scope that UAA does not know or does not give to the client: \
             correct or remove it",
        ),
        (FaultKind::ScopeUnknown, false) => sent.unseen(
            "UAA refuses the scopes of the client, although the destination asks for none: check \
             clientId",
        ),
        (_, true) => sent.unseen(
            "the user has none of the scopes that the property scope asks for: correct or remove \
             the property, or give the user a role in org and space",
        ),
        (_, false) => sent.unseen(
            "give the user a role in org and space; it has none of the scopes that the CF API needs",
        ),
    }
}

/// F8, F9, F10.
fn origin(kind: FaultKind, sent: SentLogon<'_>) -> String {
    let advice = match (kind, sent.origin()) {
        (FaultKind::ProviderNotAllowed, _) if sent.is_assertion() => {
            "the client may not use the identity provider that issued the assertion: allow it in UAA, \
             or provide an assertion of another one"
                .to_owned()
        }
        _ if sent.is_assertion() => return rejected(FaultKind::UnknownRefusal, sent),
        (FaultKind::NoProvider, _) => {
            "the client may use no identity provider that supports the password grant: set an origin \
             that it may use, or use another client"
                .to_owned()
        }
        (FaultKind::ProviderNotAllowed, Some(key)) => {
            format!("the client may not use identity provider {key}; name another origin")
        }
        (FaultKind::OriginMissing, Some(key)) => {
            format!("UAA did not take origin {key} and cannot choose an identity provider itself")
        }
        (_, Some(key)) => format!(
            "origin {key} is not an active identity provider that supports the password grant; name \
             the custom platform identity provider's origin key{}",
            platform_note(sent)
        ),
        (FaultKind::OriginMissing, None) => format!(
            "{}, and UAA has several identity providers to choose from: {SET_ORIGIN}",
            no_origin(sent)
        ),
        (FaultKind::ProviderNotAllowed, None) => format!(
            "{}, and the client may not use the identity provider of this user: {SET_ORIGIN}, or name \
             another client",
            no_origin(sent)
        ),
        (_, None) => format!(
            "{}, and UAA's default identity provider does not support the password grant: {SET_ORIGIN}",
            no_origin(sent)
        ),
    };
    sent.unseen(&advice)
}

fn platform_note(sent: SentLogon<'_>) -> &'static str {
    match sent.login_hint {
        Some(hint) if !hint.origin().is_of_platform() => {
            "; such keys end in -platform, or are sap.ids or uaa"
        }
        Some(_) | None => "",
    }
}

fn grant_not_allowed(sent: SentLogon<'_>) -> String {
    let advice = match (sent.is_assertion(), sent.is_client_cf()) {
        (true, _) => {
            "the client may not use the JWT bearer grant: allow it in UAA, or use another client"
        }
        (false, true) => {
            "the password grant was withdrawn for client cf (CF RFC 0037); use the JWT bearer grant \
             (token.grant)"
        }
        (false, false) => {
            "the client may not use the password grant: allow it in UAA, use client cf, or use the \
             JWT bearer grant (CF RFC 0037)"
        }
    };
    sent.unseen(advice)
}

#[cfg(test)]
mod tests;
