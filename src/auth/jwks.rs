//! The key set of an issuer: which entries of `/token_keys` may verify a token (rule A5).
//!
//! Invariant: an odd entry costs itself, never the set; a key in a [`KeySet`] is RSA, for
//! signatures, of 2048 to 8192 bit, and the only one of its name. Pure. For [`key_cache`](super::key_cache)
//! and its source.

use super::raw_jwk::RawJwk;
use crate::upstream::body;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{
    Deserialize, Deserializer,
    de::{Error, IgnoredAny, MapAccess, Visitor},
};
use std::{
    collections::{HashMap, HashSet},
    fmt,
    ops::RangeInclusive,
    sync::Arc,
};

/// Largest answer that is read: XSUAA's has about 2 KiB, and 64 keys of 8192 bit fit.
pub(super) const DOCUMENT_LIMIT: usize = 256 * 1024;

/// Most entries that are looked at: an issuer that rotates holds two (SAP-docs).
const KEY_LIMIT: usize = 64;

/// Lawful sizes of a modulus: below, forging is in reach; above, one check costs too much.
const MODULUS_BITS: RangeInclusive<usize> = 2048..=8192;

/// Longest exponent in bytes; the crypto back end takes 33 bit, common is 65537 in three bytes.
const EXPONENT_BYTES: RangeInclusive<usize> = 1..=5;

/// Why an answer is no key set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum KeySetError {
    /// Not JSON, or no object with a list of `keys`.
    #[error("key set is malformed")]
    Malformed,
    /// More entries than an issuer has reason to hold.
    #[error("key set has too many entries")]
    TooMany,
}

/// The usable keys by their `kid`.
#[derive(Default, PartialEq, Eq)]
pub(super) struct KeySet {
    keys: HashMap<String, Arc<RsaKey>>,
}

impl KeySet {
    /// Reads the answer of `/token_keys` (RFC 7517 §5).
    ///
    /// # Errors
    /// [`KeySetError`]; odd entries are no error, they are left out.
    pub(super) fn parse(document: &[u8]) -> Result<Self, KeySetError> {
        let JwksDocument(entries) = body::decode(document).map_err(|_| KeySetError::Malformed)?;
        if entries.len() > KEY_LIMIT {
            return Err(KeySetError::TooMany);
        }
        let mut names = HashSet::new();
        let twice: HashSet<String> = entries
            .iter()
            .filter_map(name)
            .filter(|name| !names.insert(*name))
            .map(ToOwned::to_owned)
            .collect();
        let keys = entries
            .iter()
            .filter_map(|entry| Some((name(entry)?.to_owned(), Arc::new(RsaKey::read(entry)?))))
            .filter(|(name, _)| !twice.contains(name))
            .collect();
        Ok(Self { keys })
    }

    /// The key of exactly this name.
    pub(super) fn find(&self, kid: &str) -> Option<&Arc<RsaKey>> {
        self.keys.get(kid)
    }

    /// How many keys are usable.
    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }
}

/// A public RSA key that passed A5.
#[derive(PartialEq, Eq)]
pub(super) struct RsaKey {
    modulus: Vec<u8>,
    exponent: Vec<u8>,
}

impl RsaKey {
    /// Reads an entry, if it is one that may verify a token.
    fn read(entry: &RawJwk) -> Option<Self> {
        let lawful = !entry.is_ambiguous()
            && entry.text("kty") == Some("RSA")
            && entry.is_absent_or("use", "sig")
            && entry.is_absent_or("alg", "RS256");
        if !lawful {
            return None;
        }
        Self::new(entry.text("n")?, entry.text("e")?)
    }

    /// Decodes `n` and `e` (RFC 7518 §6.3.1) and judges their size.
    fn new(modulus: &str, exponent: &str) -> Option<Self> {
        let modulus = integer(modulus)?;
        let exponent = integer(exponent)?;
        let bits = modulus.len() * 8 - usize::try_from(modulus.first()?.leading_zeros()).ok()?;
        let lawful = MODULUS_BITS.contains(&bits)
            && EXPONENT_BYTES.contains(&exponent.len())
            && exponent.last()? % 2 == 1
            && exponent != [1];
        lawful.then_some(Self { modulus, exponent })
    }

    /// Big-endian bytes without leading zeros.
    pub(super) fn modulus(&self) -> &[u8] {
        &self.modulus
    }

    /// Big-endian bytes without leading zeros.
    pub(super) fn exponent(&self) -> &[u8] {
        &self.exponent
    }
}

/// The `kid` of an entry, if it is a text.
fn name(entry: &RawJwk) -> Option<&str> {
    entry.text("kid").filter(|kid| !kid.is_empty())
}

/// Decodes an integer; leading zero bytes, which some issuers write, are dropped as the back end
/// refuses them.
fn integer(text: &str) -> Option<Vec<u8>> {
    let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
    let start = bytes.iter().position(|byte| *byte != 0)?;
    bytes.get(start..).map(<[u8]>::to_vec)
}

/// `{"keys": […]}`; other members are skipped.
struct JwksDocument(Vec<RawJwk>);

impl<'de> Deserialize<'de> for JwksDocument {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(JwksDocumentVisitor)
    }
}

struct JwksDocumentVisitor;

impl<'de> Visitor<'de> for JwksDocumentVisitor {
    type Value = JwksDocument;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a key set")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<JwksDocument, A::Error> {
        let mut entries = None;
        while let Some(name) = map.next_key::<String>()? {
            if name != "keys" {
                map.next_value::<IgnoredAny>()?;
            } else if entries.replace(map.next_value::<Vec<RawJwk>>()?).is_some() {
                return Err(A::Error::custom("repeated member"));
            }
        }
        entries.map(JwksDocument).ok_or_else(|| A::Error::custom("no keys"))
    }
}
