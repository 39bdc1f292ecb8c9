//! The claims of an XSUAA token as typed data.
//!
//! Invariant: reading checks types only. A claim that is present has its type. Unknown claims are
//! skipped without recursion, whatever their depth. For the issuers of this module. [`XsuaaClaims`]
//! are for [`xsuaa`](super::xsuaa) only.

use super::{
    duplicate_free::{DuplicateFree, present},
    error::AuthRejection,
    time::Lifetime,
};
use crate::upstream::body;
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, Error, SeqAccess, Visitor, value::SeqAccessDeserializer},
};
use std::{fmt, time::Duration};

/// The claims that the rules use.
#[derive(Deserialize)]
pub(super) struct XsuaaClaims {
    /// Issuer.
    #[serde(default, deserialize_with = "present")]
    pub(super) iss: Option<String>,
    /// Zone (subaccount).
    #[serde(default, deserialize_with = "present")]
    pub(super) zid: Option<String>,
    /// Client id.
    #[serde(default, deserialize_with = "present")]
    pub(super) cid: Option<String>,
    /// Audience.
    #[serde(default)]
    pub(super) aud: OneOrMany,
    /// Scopes.
    #[serde(default, deserialize_with = "present")]
    pub(super) scope: Option<Vec<String>>,
    /// Time from which the token is no longer valid.
    #[serde(default, deserialize_with = "present")]
    pub(super) exp: Option<NumericDate>,
    /// Time from which the token is valid.
    #[serde(default, deserialize_with = "present")]
    pub(super) nbf: Option<NumericDate>,
    /// Issued at.
    #[serde(default, deserialize_with = "present")]
    pub(super) iat: Option<NumericDate>,
    /// Token id.
    #[serde(default, deserialize_with = "present")]
    pub(super) jti: Option<String>,
    /// Subject.
    #[serde(default, deserialize_with = "present")]
    pub(super) sub: Option<String>,
    /// User name.
    #[serde(default, deserialize_with = "present")]
    pub(super) user_name: Option<String>,
    /// Identity provider of the user.
    #[serde(default, deserialize_with = "present")]
    pub(super) origin: Option<String>,
    /// Confirmation: what the token is bound to (RFC 7800 §3.1).
    #[serde(default, deserialize_with = "present")]
    pub(super) cnf: Option<DuplicateFree<Confirmation>>,
}

/// The part of `cnf` that is about certificates.
#[derive(Deserialize)]
pub(super) struct Confirmation {
    /// Base64url of SHA-256 over the certificate in DER (RFC 8705 §3.1).
    #[serde(rename = "x5t#S256", default, deserialize_with = "present")]
    pub(super) thumbprint: Option<String>,
}

impl XsuaaClaims {
    /// Reads a payload.
    ///
    /// # Errors
    /// [`AuthRejection::ClaimsMalformed`] unless it is an object of members with the right types,
    /// each once.
    pub(super) fn read(payload: &[u8]) -> Result<Self, AuthRejection> {
        read(payload)
    }

    /// The claims about the time in which the token is valid.
    pub(super) fn lifetime(&self) -> Lifetime<'_> {
        Lifetime { exp: self.exp, nbf: self.nbf, iat: self.iat, jti: self.jti.as_deref() }
    }
}

/// What an id token has besides.
#[derive(Deserialize)]
pub(super) struct IdTokenClaims {
    /// The text of the authorization request.
    #[serde(default, deserialize_with = "present")]
    pub(super) nonce: Option<String>,
}

impl IdTokenClaims {
    /// Reads a payload.
    ///
    /// # Errors
    /// As [`XsuaaClaims::read`].
    pub(super) fn read(payload: &[u8]) -> Result<Self, AuthRejection> {
        read(payload)
    }
}

/// Reads a payload as claims of this kind.
///
/// # Errors
/// As [`XsuaaClaims::read`].
pub(super) fn read<T: DeserializeOwned>(payload: &[u8]) -> Result<T, AuthRejection> {
    match body::decode::<DuplicateFree<T>>(payload) {
        Ok(DuplicateFree(claims)) => Ok(claims),
        Err(_) => Err(AuthRejection::ClaimsMalformed),
    }
}

/// `aud` and similar claims: one text or a list of texts (RFC 7519 §4.1.3). An absent one is an
/// empty list.
#[derive(Default)]
pub(super) struct OneOrMany(pub(super) Vec<String>);

impl<'de> Deserialize<'de> for OneOrMany {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(OneOrManyVisitor).map(Self)
    }
}

struct OneOrManyVisitor;

impl<'de> Visitor<'de> for OneOrManyVisitor {
    type Value = Vec<String>;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a string or an array of strings")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Vec<String>, E> {
        Ok(vec![text.to_owned()])
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Vec<String>, A::Error> {
        Vec::deserialize(SeqAccessDeserializer::new(list))
    }
}

/// Time since 1970 (RFC 7519 §2): a number that is finite and not negative.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct NumericDate(pub(super) Duration);

impl<'de> Deserialize<'de> for NumericDate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NumericDateVisitor).map(Self)
    }
}

struct NumericDateVisitor;

impl Visitor<'_> for NumericDateVisitor {
    type Value = Duration;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("seconds since 1970")
    }

    fn visit_u64<E: Error>(self, seconds: u64) -> Result<Duration, E> {
        Ok(Duration::from_secs(seconds))
    }

    fn visit_f64<E: Error>(self, seconds: f64) -> Result<Duration, E> {
        Duration::try_from_secs_f64(seconds).map_err(|_| E::custom("not a time"))
    }
}
