//! Why a refresh is refused: the texts of the real UAA, verbatim. Called by `refresh` and by the
//! lever `refresh_fault`.

use http::StatusCode;

use crate::oauth::OAuthRefusal;

/// The causes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RefreshRefusal {
    Unknown,
    JwtExpired,
    Signature,
    JwtRevoked,
    UserGone(String),
    ScopeWithdrawn,
    KeyRemoved,
    IssuerChanged,
    AccessToken,
    WrongClient(String),
    Missing,
    /// As `Missing`, of the old release.
    Absent,
    /// Scopes that the refresh token does not hold.
    Wider(String),
    /// Rotating, unique and opaque at once, which the new release cannot do.
    Broken,
    GrantLacking,
    RfcStyle,
}

impl RefreshRefusal {
    /// The causes by the names that the lever `refresh_fault` takes.
    pub(crate) const CAUSES: [&str; 13] = [
        "unknown",
        "jwt_expired",
        "signature",
        "jwt_revoked",
        "user_gone",
        "scope_withdrawn",
        "key_removed",
        "issuer_changed",
        "access_token",
        "wrong_client",
        "missing",
        "grant_lacking",
        "rfc_style",
    ];

    /// Finds a cause by its name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "unknown" => Self::Unknown,
            "jwt_expired" => Self::JwtExpired,
            "signature" => Self::Signature,
            "jwt_revoked" => Self::JwtRevoked,
            "user_gone" => Self::UserGone("00000000-0000-4000-8000-000000000000".to_owned()),
            "scope_withdrawn" => Self::ScopeWithdrawn,
            "key_removed" => Self::KeyRemoved,
            "issuer_changed" => Self::IssuerChanged,
            "access_token" => Self::AccessToken,
            "wrong_client" => Self::WrongClient("cf".to_owned()),
            "missing" => Self::Missing,
            "grant_lacking" => Self::GrantLacking,
            "rfc_style" => Self::RfcStyle,
            _ => return None,
        })
    }
}

impl From<RefreshRefusal> for OAuthRefusal {
    fn from(cause: RefreshRefusal) -> Self {
        match cause {
            RefreshRefusal::Unknown => {
                Self::invalid_token("The token expired, was revoked, or the token ID is incorrect.")
            }
            RefreshRefusal::JwtExpired => {
                Self::invalid_token("Invalid refresh token expired at Thu Jan 01 00:00:00 UTC 2026")
            }
            RefreshRefusal::Signature => Self::invalid_token("revocable signature mismatch"),
            RefreshRefusal::JwtRevoked => Self::invalid_token(
                "The token has been revoked: 0f0e0d0c0b0a09080706050403020100-r",
            ),
            RefreshRefusal::UserGone(guid) => {
                Self::invalid_token(format!("Token bears a non-existent user ID: {guid}"))
            }
            RefreshRefusal::ScopeWithdrawn => Self::invalid_token(
                "Some required \"granted_scopes\" are missing: [cloud_controller.write]",
            ),
            RefreshRefusal::KeyRemoved => Self::invalid_token(
                "Token header claim [kid] references unknown signing key : [sandbox-uaa-key-0]",
            ),
            RefreshRefusal::IssuerChanged => Self::invalid_token(
                "Invalid issuer (https://old.example.test/oauth/token) for token did not match expected: https://new.example.test/oauth/token",
            ),
            RefreshRefusal::AccessToken => Self::invalid_token("Invalid refresh token."),
            RefreshRefusal::WrongClient(client) => Self::bad_request(
                "invalid_grant",
                format!("Wrong client for this refresh token: {client}"),
            ),
            RefreshRefusal::Missing => {
                Self::bad_request("invalid_request", "refresh_token parameter not provided")
            }
            RefreshRefusal::Absent => Self::invalid_token("Invalid refresh token (empty token)"),
            RefreshRefusal::Wider(asked) => {
                let text = format!(
                    "Unable to narrow the scope of the client authentication to [{asked}]."
                );
                Self::bad_request("invalid_scope", text)
            }
            RefreshRefusal::Broken => {
                let status = StatusCode::INTERNAL_SERVER_ERROR;
                Self::new(status, "server_error", "Internal Server Error")
            }
            RefreshRefusal::GrantLacking => Self::unauthorized_grant(),
            RefreshRefusal::RfcStyle => Self::bad_request("invalid_grant", ""),
        }
    }
}
