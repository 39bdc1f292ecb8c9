//! The strict check of a token's JOSE header, and the check of its signature.
//!
//! Invariant: the algorithm is fixed, the token does not choose it. Header members in which a token
//! could bring its own key are not read. A [`VerifiedPayload`] exists only after its signature was
//! checked. For the issuers of this module.

use super::{
    bearer::CompactToken,
    duplicate_free::{DuplicateFree, present},
    error::AuthRejection,
    jwks::RsaKey,
};
use crate::upstream::body;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, DecodingKey, crypto};
use serde::{Deserialize, de::IgnoredAny};

/// The only accepted algorithm: XSUAA signs with it. More would only help an attacker.
const ALGORITHM: Algorithm = Algorithm::RS256;

/// [`ALGORITHM`] as written in a header, compared exactly (RFC 7515 §4.1.1).
const ALGORITHM_NAME: &str = "RS256";

/// Accepted values of `typ`: RFC 7519 §5.1 and RFC 9068 §2.1.
const TYPES: [&str; 2] = ["JWT", "at+jwt"];

/// Longest accepted `kid`. XSUAA's have about 20 characters.
const KEY_ID_LIMIT: usize = 256;

/// Checks the header and returns its `kid`.
///
/// # Errors
/// The [`AuthRejection`] of the first broken rule.
pub(super) fn key_id(token: &CompactToken<'_>) -> Result<String, AuthRejection> {
    let bytes = decode(token.header()).ok_or(AuthRejection::HeaderMalformed)?;
    let DuplicateFree(header) = body::decode::<DuplicateFree<JoseHeader>>(&bytes)
        .map_err(|_| AuthRejection::HeaderMalformed)?;
    if header.alg.as_deref() != Some(ALGORITHM_NAME) {
        return Err(AuthRejection::Algorithm);
    }
    if header.has_refused_member() {
        return Err(AuthRejection::HeaderMember);
    }
    if header.typ.is_some_and(|typ| !TYPES.contains(&typ.as_str())) {
        return Err(AuthRejection::Type);
    }
    header
        .kid
        .filter(|kid| !kid.is_empty() && kid.len() <= KEY_ID_LIMIT)
        .ok_or(AuthRejection::KeyId)
}

/// Decodes the payload. Nothing of it is verified.
///
/// # Errors
/// [`AuthRejection::ClaimsMalformed`] if it is not UTF-8: parsers disagree on the meaning of such a
/// text.
pub(super) fn unverified_payload(token: &CompactToken<'_>) -> Result<Vec<u8>, AuthRejection> {
    decode(token.payload()).ok_or(AuthRejection::ClaimsMalformed)
}

/// A payload whose signature was checked with a key of the issuer.
pub(super) struct VerifiedPayload(Vec<u8>);

impl VerifiedPayload {
    /// Checks the signature with `key` and [`ALGORITHM`].
    ///
    /// `jsonwebtoken::decode` is not used: it reads the system clock, keeps unknown header members
    /// as values, and refuses an odd `jwk`, which must be ignored here.
    ///
    /// # Errors
    /// [`AuthRejection::Signature`].
    pub(super) fn check(token: &CompactToken<'_>, key: &RsaKey) -> Result<Self, AuthRejection> {
        let key = DecodingKey::from_rsa_raw_components(key.modulus(), key.exponent());
        match crypto::verify(token.signature(), token.signed().as_bytes(), &key, ALGORITHM) {
            Ok(true) => unverified_payload(token).map(Self),
            Ok(false) | Err(_) => Err(AuthRejection::Signature),
        }
    }

    /// The signed bytes.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// The members that are read. `jku`, `jwk`, `x5u`, `x5c` and `x5t` are absent on purpose: a token
/// does not bring its key.
#[derive(Deserialize)]
struct JoseHeader {
    #[serde(default, deserialize_with = "present")]
    alg: Option<String>,
    #[serde(default, deserialize_with = "present")]
    typ: Option<String>,
    #[serde(default, deserialize_with = "present")]
    kid: Option<String>,
    #[serde(default, deserialize_with = "present")]
    crit: Option<IgnoredAny>,
    #[serde(default, deserialize_with = "present")]
    b64: Option<IgnoredAny>,
    #[serde(default, deserialize_with = "present")]
    zip: Option<IgnoredAny>,
    #[serde(default, deserialize_with = "present")]
    enc: Option<IgnoredAny>,
    #[serde(default, deserialize_with = "present")]
    cty: Option<IgnoredAny>,
}

impl JoseHeader {
    /// Whether there is a member that would change the meaning of the payload.
    fn has_refused_member(&self) -> bool {
        [&self.crit, &self.b64, &self.zip, &self.enc, &self.cty].into_iter().any(Option::is_some)
    }
}

/// Decodes a canonical segment; `None` if the bytes are not UTF-8.
fn decode(segment: &str) -> Option<Vec<u8>> {
    let bytes = URL_SAFE_NO_PAD.decode(segment).ok()?;
    String::from_utf8(bytes).ok().map(String::into_bytes)
}
