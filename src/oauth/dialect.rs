//! What the error texts of UAA, XSUAA and the identity providers behind them mean.
//!
//! Invariant: rows match by code and exact prefix. What matches no row is a refused credential.
//! Table: `docs/reference/uaa-faults.md`. Only [`Fault`](crate::oauth::Fault) calls this.

use crate::oauth::{
    fault::FaultKind,
    response::{ErrorParts, OAuthError},
};

/// A refused password has one of these codes; which one depends on the release of UAA.
const CREDENTIALS: &[&str] = &["invalid_client", "unauthorized"];

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

/// One known error text of UAA.
struct FaultRow {
    codes: &'static [&'static str],
    text: TextMatch,
    kind: FaultKind,
}

enum TextMatch {
    StartsWith(&'static str),
    /// For the one text that begins with a list of scopes.
    Contains(&'static str),
}

impl FaultRow {
    const fn credentials(text: &'static str, kind: FaultKind) -> Self {
        Self::with(CREDENTIALS, text, kind)
    }

    const fn with(codes: &'static [&'static str], text: &'static str, kind: FaultKind) -> Self {
        Self { codes, text: TextMatch::StartsWith(text), kind }
    }

    fn matches(&self, code: &str, description: &str) -> bool {
        self.codes.contains(&code)
            && match self.text {
                TextMatch::StartsWith(text) => description.starts_with(text),
                TextMatch::Contains(text) => description.contains(text),
            }
    }
}

/// F1, F4, F5 and F8–F18, with the texts of UAA's source code.
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
        FaultKind::OriginMissing,
    ),
    FaultRow::credentials(
        "Could not obtain id_token from external OpenID Connect provider.",
        FaultKind::TrustIncomplete,
    ),
    FaultRow::credentials("Request is missing username or password.", FaultKind::TrustIncomplete),
    FaultRow::credentials("No password supplied", FaultKind::TrustIncomplete),
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
    FaultRow::with(&["invalid_request"], "Missing grant type", FaultKind::BadRequest),
    FaultRow::with(&["unsupported_grant_type"], "Unsupported grant type", FaultKind::BadRequest),
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
        let inner = description.as_deref().and_then(OAuthError::nested).map(OAuthError::into_parts);
        Self { code, description, inner }
    }

    /// Returns the innermost description, or the innermost code if the provider sent no
    /// description.
    pub(super) fn description(&self) -> Option<&str> {
        match &self.inner {
            Some(inner) => inner.description.as_deref().or(inner.code.as_deref()),
            None => self.description.as_deref(),
        }
    }
}

/// Classifies a 400, 401 or 403 by its text.
pub(super) fn kind_of(answer: &ErrorAnswer) -> FaultKind {
    let description = answer.description().unwrap_or_default();
    if answer.inner.is_some() {
        // The provider has checked the password, so an unknown text counts as a refusal.
        return provider_word(description)
            .and_then(kind_of_word)
            .unwrap_or(FaultKind::BadCredentials);
    }
    let code = answer.code.as_deref().unwrap_or_default();
    ROWS.iter()
        .find(|row| row.matches(code, description))
        .map(|row| row.kind)
        // The endpoint passes the provider's text on without UAA's envelope.
        .or_else(|| kind_of_word(word_behind_phrase(description)?))
        .unwrap_or(FaultKind::BadCredentials)
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

/// The codes of F3, F6 and F7.
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
