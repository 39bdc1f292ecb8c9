//! What the error texts of UAA, XSUAA and the identity providers behind them mean.
//!
//! Invariant: rows match by code and exact prefix. What matches no row is an unknown refusal.
//! Table: `docs/reference/uaa-faults.md`. Only [`Fault`](crate::oauth::Fault) calls this.

use crate::oauth::{
    fault::FaultKind,
    response::{ErrorParts, OAuthError},
};
use std::borrow::Cow;

/// A refused password has one of these codes; which one depends on the release of UAA.
const CREDENTIALS: &[&str] = &["invalid_client", "unauthorized"];

/// Codes with which UAA refuses a token of an identity provider. Releases differ here, too.
const ID_TOKEN: &[&str] = &["invalid_token", "invalid_client", "unauthorized"];

/// Codes with which an identity provider says that it does not work now.
const PROVIDER_TROUBLE: &[&str] =
    &["too_many_requests", "slow_down", "temporarily_unavailable", "server_error"];

/// Codes with which an identity provider refuses UAA as its client (RFC 6749, 5.2).
const TRUST_REFUSED: &[&str] =
    &["invalid_client", "unauthorized_client", "unsupported_grant_type", "invalid_scope"];

/// Texts for a wrong password, of identity providers that do not use the phrase: another UAA,
/// Keycloak, Okta.
const WRONG_PASSWORD: &[&str] = &[
    "Bad credentials",
    "Invalid user credentials",
    "The credentials provided were invalid.",
    "Unauthorized",
];

/// The five entities with which UAA before 77.9 escapes its descriptions. The ampersand is last, so
/// that one layer is removed and not two.
const ENTITIES: [(&str, &str); 5] =
    [("&quot;", "\""), ("&#39;", "'"), ("&lt;", "<"), ("&gt;", ">"), ("&amp;", "&")];

/// Phrase before the code of an IAS (F2, F3, F6, F7).
const PROVIDER_SAYS: &str = "User authentication failed: ";

/// What the user of F5 or F6 has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ActionCode {
    /// Also UAA's own `password change required` (F5).
    PasswordChangeRequired,
    /// The administrator has reset the password.
    PasswordResetRequired,
    /// The initial password was not changed in time.
    InitialPasswordExpired,
    /// Password logon is switched off for the user.
    PasswordDisabled,
    /// The user is deactivated.
    UserInactive,
    /// The e-mail address was never confirmed.
    MailNotVerified,
    /// A rule of risk-based authentication refused the logon.
    RiskRuleDenied,
}

impl ActionCode {
    /// Returns the identity provider's code, which is safe to print.
    pub fn code(self) -> &'static str {
        match self {
            Self::PasswordChangeRequired => "PASSWORD_CHANGE_REQUIRED",
            Self::PasswordResetRequired => "PASSWORD_RESET_REQUIRED",
            Self::InitialPasswordExpired => "INITIAL_PASSWORD_EXPIRED",
            Self::PasswordDisabled => "PASSWORD_DISABLED",
            Self::UserInactive => "USER_INACTIVE",
            Self::MailNotVerified => "MAIL_NOT_VERIFIED",
            Self::RiskRuleDenied => "RBA_RULE_ACTION_DENY",
        }
    }
}

/// Why UAA refuses a token of an identity provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum IdTokenFault {
    /// There was none.
    Missing,
    /// It has no form that UAA can read.
    Unreadable,
    /// It has another form than a JWT.
    Malformed,
    /// Its signature does not fit, or it has expired: UAA says the same of both.
    Signature,
    /// It is meant for somebody else.
    Audience,
    /// Anything else.
    Other,
}

/// One known error text of UAA.
struct FaultRow {
    codes: &'static [&'static str],
    text: TextMatch,
    kind: FaultKind,
}

enum TextMatch {
    StartsWith(&'static str),
    /// For the texts that begin with a list of scopes.
    Contains(&'static str),
    /// The code says it all.
    Any,
}

impl FaultRow {
    const fn credentials(text: &'static str, kind: FaultKind) -> Self {
        Self::with(CREDENTIALS, text, kind)
    }

    const fn with(codes: &'static [&'static str], text: &'static str, kind: FaultKind) -> Self {
        Self { codes, text: TextMatch::StartsWith(text), kind }
    }

    const fn client(text: &'static str) -> Self {
        Self::with(CREDENTIALS, text, FaultKind::ClientRejected)
    }

    const fn id_token(text: &'static str, fault: IdTokenFault) -> Self {
        Self::with(ID_TOKEN, text, FaultKind::IdTokenRejected(fault))
    }

    const fn any(codes: &'static [&'static str], kind: FaultKind) -> Self {
        Self { codes, text: TextMatch::Any, kind }
    }

    fn matches(&self, code: &str, description: &str) -> bool {
        self.codes.contains(&code)
            && match self.text {
                TextMatch::StartsWith(text) => description.starts_with(text),
                TextMatch::Contains(text) => description.contains(text),
                TextMatch::Any => true,
            }
    }
}

/// F1, F4, F5, F8–F18, the refused client and the refused token of a provider, with UAA's own
/// texts. The first row that matches counts.
const ROWS: &[FaultRow] = &[
    FaultRow::credentials("Bad credentials", FaultKind::BadCredentials),
    FaultRow::credentials(
        "Your account has been locked because of too many failed attempts to login.",
        FaultKind::UaaLocked,
    ),
    FaultRow::credentials(
        "password change required",
        FaultKind::ActionRequired(ActionCode::PasswordChangeRequired),
    ),
    FaultRow::credentials(
        "The origin provided in the login_hint does not match an active Identity Provider",
        FaultKind::OriginUnknown,
    ),
    FaultRow::credentials(
        "Client is not authorized for specified user's identity provider.",
        FaultKind::ProviderNotAllowed,
    ),
    FaultRow::credentials(
        "The client is authorized for multiple identity providers",
        FaultKind::OriginMissing,
    ),
    FaultRow::credentials(
        "The client is not authorized for any identity provider",
        FaultKind::NoProvider,
    ),
    FaultRow::credentials(
        "Could not obtain id_token from external OpenID Connect provider.",
        FaultKind::TrustIncomplete,
    ),
    FaultRow::credentials("Request is missing username or password.", FaultKind::FieldMissing),
    FaultRow::credentials("No password supplied", FaultKind::FieldMissing),
    FaultRow::credentials(
        "External OpenID Connect provider configuration is missing relyingParty",
        FaultKind::TrustIncomplete,
    ),
    FaultRow::credentials("The user account must be pre-created.", FaultKind::UserNotCreated),
    FaultRow::credentials("Unable to map issuer, ", FaultKind::IssuerMismatch),
    FaultRow::with(&["access_denied"], "Account not verified", FaultKind::NotVerified),
    FaultRow::credentials("Unauthorized grant type", FaultKind::GrantNotAllowed),
    FaultRow {
        codes: &["invalid_scope"],
        text: TextMatch::Contains(
            " is invalid. This user is not allowed any of the requested scopes",
        ),
        kind: FaultKind::NoScopes,
    },
    FaultRow::with(
        &["invalid_scope"],
        "User does not meet the client's required group criteria.",
        FaultKind::NoScopes,
    ),
    // "… is invalid. Please use a valid scope name …", and what other servers write.
    FaultRow::any(&["invalid_scope"], FaultKind::ScopeUnknown),
    FaultRow::with(&["invalid_request"], "Missing grant type", FaultKind::BadRequest),
    FaultRow::with(&["unsupported_grant_type"], "Unsupported grant type", FaultKind::BadRequest),
    FaultRow::client("Missing credentials"),
    FaultRow::client("Client authentication failed"),
    FaultRow::client("No client authentication found."),
    FaultRow::client("Client with requested ID does not exist"),
    FaultRow::client("Given client ID does not match"),
    FaultRow::client("Invalid basic authentication token"),
    FaultRow::client("Failed to decode basic authentication token"),
    FaultRow::client("Failed to URL Decode credentials"),
    FaultRow::client("An Authentication object was not found in the SecurityContext"),
    FaultRow::any(&["unauthorized_client"], FaultKind::GrantNotAllowed),
    FaultRow::id_token("Some parties were not in the token audience", IdTokenFault::Audience),
    FaultRow::id_token("Could not verify token signature", IdTokenFault::Signature),
    FaultRow::id_token("Token expired", IdTokenFault::Signature),
    FaultRow::id_token("Invalid token", IdTokenFault::Malformed),
    FaultRow::id_token("Unable to decode expected id_token", IdTokenFault::Unreadable),
    FaultRow::id_token("Assertion is missing", IdTokenFault::Missing),
    FaultRow::any(&["invalid_token"], FaultKind::IdTokenRejected(IdTokenFault::Other)),
    // Not UAA's, but RFC 6749, 5.2.
    FaultRow::any(&["invalid_grant"], FaultKind::BadCredentials),
];

/// The parts of an error answer.
pub(super) struct ErrorAnswer {
    pub(super) code: Option<String>,
    description: Option<String>,
    /// The provider's own answer, which UAA puts into the description.
    inner: Option<ErrorParts>,
}

impl ErrorAnswer {
    /// Reads a body. Anything but a JSON object has no parts.
    pub(super) fn read(body: &[u8]) -> Self {
        let ErrorParts { code, description } = OAuthError::read(body).into_parts();
        let Some(description) = description else {
            return Self { code, description, inner: None };
        };
        if let Some(inner) = OAuthError::nested(&description).map(OAuthError::into_parts) {
            return Self { code, description: Some(description), inner: Some(inner) };
        }
        let description = unescaped(&description).into_owned();
        let inner = OAuthError::nested(&description).map(OAuthError::into_parts);
        Self { code, description: Some(description), inner }
    }

    /// Returns the innermost description, or the innermost code if the provider sent no
    /// description.
    pub(super) fn description(&self) -> Option<&str> {
        match &self.inner {
            Some(inner) => inner.description.as_deref().or(inner.code.as_deref()),
            None => self.description.as_deref(),
        }
    }

    /// Returns whether a page of UAA answers, which wants a CSRF token. The sentence stands in the
    /// code.
    pub(super) fn misses_csrf_token(&self) -> bool {
        let texts = [self.code.as_deref(), self.description.as_deref()];
        texts.into_iter().flatten().any(|text| text.to_ascii_lowercase().contains("csrf token"))
    }
}

/// Removes one layer of the escapes of HTML.
pub(super) fn unescaped(text: &str) -> Cow<'_, str> {
    ENTITIES.iter().fold(Cow::Borrowed(text), |text, (entity, character)| {
        if text.contains(entity) { Cow::Owned(text.replace(entity, character)) } else { text }
    })
}

/// Classifies a 400, 401 or 403 by its text.
pub(super) fn kind_of(answer: &ErrorAnswer) -> FaultKind {
    if let Some(inner) = &answer.inner {
        return kind_of_provider(inner);
    }
    let description = answer.description().unwrap_or_default();
    let code = answer.code.as_deref().unwrap_or_default();
    ROWS.iter()
        .find(|row| row.matches(code, description))
        .map(|row| row.kind)
        // The endpoint passes the provider's text on without UAA's envelope.
        .or_else(|| kind_of_word(word_behind_phrase(description)?))
        .unwrap_or(FaultKind::UnknownRefusal)
}

/// Classifies the provider's own answer. It has the password by now, so an unknown text is no
/// reason to send it again.
fn kind_of_provider(inner: &ErrorParts) -> FaultKind {
    let code = inner.code.as_deref().unwrap_or_default();
    let description = inner.description.as_deref().unwrap_or_default();
    if let Some(kind) = provider_word(description).and_then(kind_of_word) {
        return kind;
    }
    // A code alone says what RFC 6749 says of it.
    let is_password = WRONG_PASSWORD.contains(&description.trim())
        || (code == "invalid_grant" && description.is_empty());
    if is_password {
        FaultKind::RejectedByProvider
    } else if PROVIDER_TROUBLE.contains(&code) {
        FaultKind::ProviderUnavailable
    } else if TRUST_REFUSED.contains(&code) {
        FaultKind::TrustIncomplete
    } else {
        FaultKind::UnknownRefusal
    }
}

/// Returns the code after the phrase, or the last word: some texts end with the code (F3).
fn provider_word(text: &str) -> Option<&str> {
    word_behind_phrase(text).or_else(|| text.split_whitespace().next_back().map(bare))
}

fn word_behind_phrase(text: &str) -> Option<&str> {
    let (_, rest) = text.split_once(PROVIDER_SAYS)?;
    rest.split_whitespace().next().map(bare)
}

fn bare(word: &str) -> &str {
    word.trim_matches(|character: char| !character.is_ascii_alphanumeric())
}

/// The codes of F2, F3, F6 and F7.
fn kind_of_word(word: &str) -> Option<FaultKind> {
    let action = match word {
        "Unauthorized" => return Some(FaultKind::RejectedByProvider),
        "PASSWORD_LOCKED" => return Some(FaultKind::ProviderLocked),
        "INVALID_AUTHORIZATION_HEADER_LENGTH" | "INVALID_OTP_CODE" => {
            return Some(FaultKind::SecondFactor);
        }
        "PASSWORD_CHANGE_REQUIRED" => ActionCode::PasswordChangeRequired,
        "PASSWORD_RESET_REQUIRED" => ActionCode::PasswordResetRequired,
        "INITIAL_PASSWORD_EXPIRED" => ActionCode::InitialPasswordExpired,
        "PASSWORD_DISABLED" => ActionCode::PasswordDisabled,
        "USER_INACTIVE" => ActionCode::UserInactive,
        "MAIL_NOT_VERIFIED" => ActionCode::MailNotVerified,
        "RBA_RULE_ACTION_DENY" => ActionCode::RiskRuleDenied,
        _ => return None,
    };
    Some(FaultKind::ActionRequired(action))
}
