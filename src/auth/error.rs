//! Why a caller was refused, with constant words for log and metric.
//!
//! Invariant: no variant contains any part of the token. Returned by [`Verifier`](super::Verifier).

use super::CallerLimit;
use crate::upstream::ConnectFault;
use std::time::Duration;

/// Why there is no [`Caller`](super::Caller) for this request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// There is no `Authorization`. RFC 6750 §3.1: the answer has no error code.
    #[error("no bearer token")]
    Missing,
    /// The token or the form of the header is refused.
    #[error("token refused: {reason}")]
    Invalid {
        /// Constant word for log and metric. It is not in the answer.
        reason: &'static str,
    },
    /// The keys that are needed for the check cannot be fetched. A refusal would be a guess.
    #[error("no usable keys")]
    KeysUnavailable {
        /// Time until a retry may succeed.
        retry_after: Duration,
        /// Why there is no connection to the issuer, if there is none.
        cause: Option<ConnectFault>,
    },
    /// The key that the token names is not there, and its issuer may not be asked again yet.
    #[error("key not known yet")]
    KeyUndecided {
        /// Time until the issuer may be asked.
        retry_after: Duration,
    },
    /// There is no usable binding of the issuer. Only a restart with one helps.
    #[error("no usable binding of the issuer")]
    NotBound(UnboundIssuer),
    /// The caller is verified and sends more than one caller may.
    #[error("too many requests of one caller: {}", limit.as_str())]
    TooMany {
        /// The limit.
        limit: CallerLimit,
        /// The pause before a repeat. It grows with the number of refused requests.
        retry_after: Duration,
    },
}

impl AuthError {
    /// Whether the same token may be accepted later.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::KeysUnavailable { cause, .. } => *cause != Some(ConnectFault::TlsCertificate),
            Self::KeyUndecided { .. } | Self::TooMany { .. } => true,
            Self::Missing | Self::Invalid { .. } | Self::NotBound(_) => false,
        }
    }

    /// Time until a retry may succeed, if it can succeed at all.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::KeysUnavailable { retry_after, .. }
            | Self::KeyUndecided { retry_after }
            | Self::TooMany { retry_after, .. } => Some(*retry_after),
            Self::Missing | Self::Invalid { .. } | Self::NotBound(_) => None,
        }
    }

    /// The constant word for log and metric.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Invalid { reason } => reason,
            Self::TooMany { limit, .. } => limit.as_str(),
            Self::KeysUnavailable { .. } => "keys_unavailable",
            Self::KeyUndecided { .. } => "key_undecided",
            Self::NotBound(_) => "not_bound",
        }
    }
}

/// Which binding is missing or cannot be used, so that no token can be verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnboundIssuer {
    /// There is no xsuaa binding, and IAS is off.
    Xsuaa,
    /// The xsuaa binding lacks a usable field.
    XsuaaUnusable,
    /// IAS is on without an identity binding.
    Identity,
    /// The identity binding lacks a usable field.
    IdentityUnusable,
    /// IAS is on; neither xsuaa nor identity is bound.
    Both,
}

/// The rule that a request breaks. Becomes [`AuthError::Invalid`]. See
/// `docs/reference/caller-rules.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AuthRejection {
    /// There are two `Authorization` headers.
    HeaderRepeated,
    /// The header is not `Bearer`, one blank and one token.
    HeaderForm,
    /// The token is longer than 16 KiB.
    TokenSize,
    /// The token is not three segments of canonical base64url.
    TokenForm,
    /// The JOSE header is no object, or has a duplicate member or a wrong type.
    HeaderMalformed,
    /// The algorithm is not RS256.
    Algorithm,
    /// The `typ` is not that of an access token.
    Type,
    /// The JOSE header has `crit`, `b64`, `zip`, `enc` or `cty`.
    HeaderMember,
    /// There is no `kid`, or it is too long.
    KeyId,
    /// The key set does not have this `kid`.
    KeyUnknown,
    /// The signature does not match the key.
    Signature,
    /// The claims are no object, or have a duplicate member or a wrong type.
    ClaimsMalformed,
    /// `exp` is past, missing, or too far ahead.
    Expiry,
    /// `nbf` is in the future.
    NotBefore,
    /// `iat` is in the future.
    IssuedAt,
    /// The token is a refresh token.
    RefreshToken,
    /// The token is for another audience.
    Audience,
    /// The zone or tenant is not one of ours.
    Zone,
    /// The issuer is not trusted.
    Issuer,
    /// There is no client id, or one that must not own routes.
    Client,
    /// There is no list of scopes.
    Scope,
    /// The call did not show the certificate that the token is bound to.
    Certificate,
    /// The id token of a login is for another login, client or person.
    Login,
}

impl AuthRejection {
    /// The word for log and metric.
    pub(super) fn as_str(self) -> &'static str {
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
            Self::Login => "login",
        }
    }
}

impl From<AuthRejection> for AuthError {
    fn from(refusal: AuthRejection) -> Self {
        Self::Invalid { reason: refusal.as_str() }
    }
}
