//! The key set of an issuer: which entries may verify a token.
//!
//! Invariant: an unusable entry is left out and does not break the set. A key in a [`KeySet`] is an
//! RSA key for signatures, has 2048 to 8192 bit, and is the only one with its `kid`. Pure. For
//! [`key_cache`](super::key_cache) and its source.

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

/// Largest accepted answer. XSUAA's has about 2 KiB; 64 keys of 8192 bit fit.
pub(super) const DOCUMENT_LIMIT: usize = 256 * 1024;

/// Most entries of a set. An issuer that rotates its keys has two (SAP documentation).
const KEY_LIMIT: usize = 64;

/// Accepted sizes of a modulus. A smaller key can be broken; a larger one makes a check too
/// expensive.
const MODULUS_BITS: RangeInclusive<usize> = 2048..=8192;

/// Accepted length of an exponent in bytes. The crypto library takes 33 bit; the usual 65537 has
/// three bytes.
const EXPONENT_BYTES: RangeInclusive<usize> = 1..=5;

/// Why an answer is no key set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum KeySetError {
    /// Not JSON, or no object with a list of `keys`.
    #[error("key set is malformed")]
    Malformed,
    /// The set has too many entries.
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
    /// [`KeySetError`]. An unusable entry is no error; it is left out.
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

    /// Returns the key with exactly this `kid`.
    pub(super) fn find(&self, kid: &str) -> Option<&Arc<RsaKey>> {
        self.keys.get(kid)
    }

    /// The names of the usable keys.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.keys.keys().map(String::as_str)
    }

    /// How many keys are usable.
    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }
}

/// A public RSA key that may verify tokens.
#[derive(PartialEq, Eq)]
pub(super) struct RsaKey {
    modulus: Vec<u8>,
    exponent: Vec<u8>,
}

impl RsaKey {
    /// Reads an entry; `None` if it must not verify a token.
    fn read(entry: &RawJwk) -> Option<Self> {
        let is_usable = !entry.is_ambiguous()
            && entry.text("kty") == Some("RSA")
            && entry.is_absent_or("use", "sig")
            && entry.is_absent_or("alg", "RS256");
        if !is_usable {
            return None;
        }
        Self::new(entry.text("n")?, entry.text("e")?)
    }

    /// Decodes `n` and `e` (RFC 7518 §6.3.1) and checks their sizes.
    fn new(modulus: &str, exponent: &str) -> Option<Self> {
        let modulus = integer(modulus)?;
        let exponent = integer(exponent)?;
        let bits = modulus.len() * 8 - usize::try_from(modulus.first()?.leading_zeros()).ok()?;
        let is_accepted = MODULUS_BITS.contains(&bits)
            && EXPONENT_BYTES.contains(&exponent.len())
            && exponent.last()? % 2 == 1
            && exponent != [1];
        is_accepted.then_some(Self { modulus, exponent })
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

/// Decodes an integer. Some issuers write leading zero bytes; they are dropped, because the crypto
/// library refuses them.
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
                return Err(A::Error::custom("duplicate member"));
            }
        }
        entries.map(JwksDocument).ok_or_else(|| A::Error::custom("no keys"))
    }
}
