//! What the texts of UAA, XSUAA and the identity providers behind them mean (`uaa.md` 7).
//!
//! Invariant: rows match by exact prefix and code; what matches no row is a refused credential.
//! Only [`Fault`](crate::oauth::Fault) asks.

use crate::oauth::{
    fault::FaultKind,
    response::{ErrorParts, OAuthError},
};

/// A refused password has either code, depending on the release of UAA (`uaa.md` 1, fact 1).
const CREDENTIALS: &[&str] = &["invalid_client", "unauthorized"];

/// Stands before the word of an IAS (F2, F3, F6, F7).
const PROVIDER_SAYS: &str = "User authentication failed: ";

/// What the user of F5 or F6 has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ActionCode {
    /// Also UAA's own `password change required` (F5).
    PasswordChangeRequired,
    /// The administrator has reset it.
    PasswordResetRequired,
    /// Never changed in time.
    InitialPasswordExpired,
    /// Password logon is off for the user.
    PasswordDisabled,
    /// The user is deactivated.
    UserInactive,
    /// The e-mail address was never confirmed.
    MailNotVerified,
    /// A rule of risk-based authentication refused.
    RiskRuleDenied,
}

impl ActionCode {
    /// Returns the identity provider's word, which may be printed.
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

/// One text that UAA is known to give.
struct Row {
    codes: &'static [&'static str],
    text: Text,
    kind: FaultKind,
}

enum Text {
    Begins(&'static str),
    /// For the one whose beginning is a list of scopes.
    Holds(&'static str),
}

impl Row {
    const fn told(text: &'static str, kind: FaultKind) -> Self {
        Self::with(CREDENTIALS, text, kind)
    }

    const fn with(codes: &'static [&'static str], text: &'static str, kind: FaultKind) -> Self {
        Self { codes, text: Text::Begins(text), kind }
    }

    fn matches(&self, code: &str, description: &str) -> bool {
        self.codes.contains(&code)
            && match self.text {
                Text::Begins(text) => description.starts_with(text),
                Text::Holds(text) => description.contains(text),
            }
    }
}

/// F1 and F4–F18 as UAA writes them (source).
const ROWS: &[Row] = &[
    Row::told("Bad credentials", FaultKind::BadCredentials),
    Row::told(
        "Your account has been locked because of too many failed attempts to login.",
        FaultKind::UaaLocked,
    ),
    Row::told(
        "password change required",
        FaultKind::ActionRequired(ActionCode::PasswordChangeRequired),
    ),
    Row::told(
        "The origin provided in the login_hint does not match an active Identity Provider",
        FaultKind::OriginUnknown,
    ),
    Row::told(
        "Client is not authorized for specified user's identity provider.",
        FaultKind::ProviderNotAllowed,
    ),
    Row::told("The client is authorized for multiple identity providers", FaultKind::OriginMissing),
    Row::told("The client is not authorized for any identity provider", FaultKind::OriginMissing),
    Row::told(
        "Could not obtain id_token from external OpenID Connect provider.",
        FaultKind::TrustIncomplete,
    ),
    Row::told("Request is missing username or password.", FaultKind::TrustIncomplete),
    Row::told("No password supplied", FaultKind::TrustIncomplete),
    Row::told(
        "External OpenID Connect provider configuration is missing relyingParty",
        FaultKind::TrustIncomplete,
    ),
    Row::told("The user account must be pre-created.", FaultKind::UserNotCreated),
    Row::told("Unable to map issuer, ", FaultKind::IssuerMismatch),
    Row::with(&["access_denied"], "Account not verified", FaultKind::NotVerified),
    Row::told("Unauthorized grant type", FaultKind::GrantNotAllowed),
    Row {
        codes: &["invalid_scope"],
        text: Text::Holds(" is invalid. This user is not allowed any of the requested scopes"),
        kind: FaultKind::NoScopes,
    },
    Row::with(
        &["invalid_scope"],
        "User does not meet the client's required group criteria.",
        FaultKind::NoScopes,
    ),
    Row::with(&["invalid_request"], "Missing grant type", FaultKind::BadRequest),
    Row::with(&["unsupported_grant_type"], "Unsupported grant type", FaultKind::BadRequest),
];

/// An error answer, taken apart.
pub(super) struct Told {
    pub(super) code: Option<String>,
    description: Option<String>,
    /// The provider's own answer, which UAA hands on inside the description.
    inner: Option<ErrorParts>,
}

impl Told {
    /// Reads a body; what is no JSON object tells nothing.
    pub(super) fn read(body: &[u8]) -> Self {
        let ErrorParts { code, description } = OAuthError::read(body).into_parts();
        let inner = description.as_deref().and_then(OAuthError::nested).map(OAuthError::into_parts);
        Self { code, description, inner }
    }

    /// Returns the innermost description, or the innermost code where the provider gave no more.
    pub(super) fn description(&self) -> Option<&str> {
        match &self.inner {
            Some(inner) => inner.description.as_deref().or(inner.code.as_deref()),
            None => self.description.as_deref(),
        }
    }
}

/// Steps 6 to 8 of `uaa.md` 8, for 400, 401 and 403.
pub(super) fn kind_of(told: &Told) -> FaultKind {
    let description = told.description().unwrap_or_default();
    if told.inner.is_some() {
        // The provider looked at the password; any text of it that is not known is a refusal.
        return provider_word(description)
            .and_then(kind_of_word)
            .unwrap_or(FaultKind::BadCredentials);
    }
    let code = told.code.as_deref().unwrap_or_default();
    ROWS.iter()
        .find(|row| row.matches(code, description))
        .map(|row| row.kind)
        // An endpoint that hands the provider's text on without its envelope.
        .or_else(|| kind_of_word(word_behind_phrase(description)?))
        .unwrap_or(FaultKind::BadCredentials)
}

/// Returns the word behind the phrase, or the last word: the text ends with it (F3).
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

/// The words of F3, F6 and F7.
fn kind_of_word(word: &str) -> Option<FaultKind> {
    let action = match word {
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
