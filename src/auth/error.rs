//! Why a caller was not let in, and the constant words that say so in log and metric.
//!
//! Invariant: no variant holds anything of the token. Handed to whoever calls
//! [`Verifier`](super::Verifier).

use std::time::Duration;

/// Why there is no [`Caller`](super::Caller) for this request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// There is no `Authorization` at all (RFC 6750 §3.1: answered without an error code).
    #[error("no bearer token")]
    Missing,
    /// The token, or the way it was sent, is refused.
    #[error("token refused: {reason}")]
    Invalid {
        /// Constant word for log and metric; it never leaves the broker.
        reason: &'static str,
    },
    /// The keys that could decide are not to be had: a refusal would be a guess.
    #[error("no usable keys")]
    KeysUnavailable {
        /// When asking again may help.
        retry_after: Duration,
    },
    /// The caller is known and asks more than one caller may.
    #[error("too many requests of one caller: {reason}")]
    TooMany {
        /// Constant word for log and metric.
        reason: &'static str,
        /// When the next request may be taken.
        retry_after: Duration,
    },
}

impl AuthError {
    /// Whether the same token may be accepted a little later.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::KeysUnavailable { .. } | Self::TooMany { .. } => true,
            Self::Missing | Self::Invalid { .. } => false,
        }
    }

    /// When asking again may help, where waiting helps at all.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::KeysUnavailable { retry_after } | Self::TooMany { retry_after, .. } => {
                Some(*retry_after)
            }
            Self::Missing | Self::Invalid { .. } => None,
        }
    }

    /// The constant word for log and metric.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Invalid { reason } | Self::TooMany { reason, .. } => reason,
            Self::KeysUnavailable { .. } => "keys_unavailable",
        }
    }
}

/// One broken rule; becomes [`AuthError::Invalid`] at the room's door.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AuthRejection {
    /// A1: `Authorization` twice.
    HeaderRepeated,
    /// A1: not `Bearer`, one blank, one token.
    HeaderForm,
    /// A2: longer than 16 KiB.
    TokenSize,
    /// A2: not three canonical base64url segments.
    TokenForm,
    /// A3: the JOSE header is no object, has a repeated member or one of a wrong type.
    HeaderMalformed,
    /// A3: another algorithm than ours.
    Algorithm,
    /// A3: a `typ` of something that is no access token.
    Type,
    /// A3: `crit`, `b64`, `zip`, `enc` or `cty`.
    HeaderMember,
    /// A5: no `kid`, or one that is too long.
    KeyId,
    /// A5: the key set does not hold this `kid`.
    KeyUnknown,
    /// The signature is not that of the key.
    Signature,
    /// A4: the claims are no object, have a repeated member or one of a wrong type.
    ClaimsMalformed,
    /// A7: over, missing, or too far ahead.
    Expiry,
    /// A7: not valid yet.
    NotBefore,
    /// A7: issued in the future.
    IssuedAt,
    /// A7: a refresh token.
    RefreshToken,
    /// A8: meant for somebody else.
    Audience,
    /// A9: of a zone or tenant that is not ours.
    Zone,
    /// A10: from another issuer.
    Issuer,
    /// A8: no client id, or none that could own what the call makes.
    Client,
    /// A11: no list of scopes.
    Scope,
    /// A12: the call did not come with the certificate that the token is bound to.
    Certificate,
}

impl AuthRejection {
    /// The word for log and metric.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::HeaderRepeated => "authorization_repeated",
            Self::HeaderForm => "authorization_form",
            Self::TokenSize => "token_size",
            Self::TokenForm => "token_form",
            Self::HeaderMalformed => "header_malformed",
            Self::Algorithm => "algorithm",
            Self::Type => "type",
            Self::HeaderMember => "header_member",
            Self::KeyId => "key_id",
            Self::KeyUnknown => "key_unknown",
            Self::Signature => "signature",
            Self::ClaimsMalformed => "claims_malformed",
            Self::Expiry => "expiry",
            Self::NotBefore => "not_before",
            Self::IssuedAt => "issued_at",
            Self::RefreshToken => "refresh_token",
            Self::Audience => "audience",
            Self::Zone => "zone",
            Self::Issuer => "issuer",
            Self::Client => "client",
            Self::Scope => "scope",
            Self::Certificate => "certificate",
        }
    }
}

impl From<AuthRejection> for AuthError {
    fn from(refusal: AuthRejection) -> Self {
        Self::Invalid { reason: refusal.word() }
    }
}
