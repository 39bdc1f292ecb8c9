//! The one accepted form of `Authorization`, and of the token in it.
//!
//! Invariant: a [`CompactToken`] has three non-empty segments of canonical base64url, so that
//! decoding has exactly one result. Nothing is decoded here. For [`Verifier`](super::Verifier)
//! only.

use super::{AuthError, error::AuthRejection};
use aws_lc_rs::digest;
use http::{HeaderMap, HeaderValue, header};
use std::hash::{BuildHasherDefault, Hash, Hasher};

/// Longest accepted token. XSUAA itself takes 16 KB of headers, so no valid caller has a longer
/// one.
const TOKEN_LIMIT: usize = 16 * 1024;

/// Scheme and blank (RFC 6750 §2.1), in any case.
const SCHEME: &[u8] = b"bearer ";

/// The token of a request, not yet parsed. Only the scheme in front of it was checked.
#[derive(Clone, Copy)]
pub(super) struct PresentedToken<'h>(&'h [u8]);

/// Takes the bearer token out of the request's headers (RFC 6750 §2.1).
///
/// # Errors
/// `Missing` without any `Authorization`. `Invalid` if there are two, or if the value does not
/// begin with `Bearer` and a blank.
pub(super) fn bearer(headers: &HeaderMap) -> Result<PresentedToken<'_>, AuthError> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let Some(value) = values.next() else {
        return Err(AuthError::Missing);
    };
    if values.next().is_some() {
        return Err(AuthRejection::HeaderRepeated.into());
    }
    Ok(PresentedToken::of(value)?)
}

impl<'h> PresentedToken<'h> {
    /// Takes the token out of one value of `Authorization`.
    ///
    /// # Errors
    /// [`AuthRejection::HeaderForm`] if it does not begin with `Bearer` and a blank.
    pub(super) fn of(value: &'h HeaderValue) -> Result<Self, AuthRejection> {
        match value.as_bytes().split_at_checked(SCHEME.len()) {
            Some((scheme, token)) if scheme.eq_ignore_ascii_case(SCHEME) && !token.is_empty() => {
                Ok(Self(token))
            }
            Some(_) | None => Err(AuthRejection::HeaderForm),
        }
    }

    /// SHA-256 of the whole token: identifies it without keeping it. Equal fingerprints mean equal
    /// bytes, so a token that was verified before is not parsed again.
    ///
    /// # Errors
    /// [`AuthRejection::TokenSize`]: a token that is too long is not even hashed.
    pub(super) fn fingerprint(self) -> Result<TokenFingerprint, AuthRejection> {
        if self.0.len() > TOKEN_LIMIT {
            return Err(AuthRejection::TokenSize);
        }
        let hash = digest::digest(&digest::SHA256, self.0);
        let mut bytes = [0; digest::SHA256_OUTPUT_LEN];
        bytes.copy_from_slice(hash.as_ref());
        Ok(TokenFingerprint(bytes))
    }

    /// The token as text.
    ///
    /// # Errors
    /// [`AuthRejection::HeaderForm`] if it is more than one token or has other than visible
    /// characters.
    pub(super) fn text(self) -> Result<&'h str, AuthRejection> {
        let is_odd = |byte: &u8| !byte.is_ascii_graphic() || *byte == b',';
        if self.0.iter().any(is_odd) {
            return Err(AuthRejection::HeaderForm);
        }
        str::from_utf8(self.0).map_err(|_| AuthRejection::HeaderForm)
    }
}

/// A token of the right form. Its content is not verified yet.
#[derive(Clone, Copy)]
pub(super) struct CompactToken<'t> {
    text: &'t str,
    header: &'t str,
    payload: &'t str,
    signature: &'t str,
}

impl<'t> CompactToken<'t> {
    /// Parses the compact serialisation (RFC 7515 §7.1), stricter than most parsers.
    ///
    /// # Errors
    /// [`AuthRejection::TokenSize`] or [`AuthRejection::TokenForm`].
    pub(super) fn parse(text: &'t str) -> Result<Self, AuthRejection> {
        if text.len() > TOKEN_LIMIT {
            return Err(AuthRejection::TokenSize);
        }
        let mut segments = text.split('.');
        let (Some(header), Some(payload), Some(signature), None) =
            (segments.next(), segments.next(), segments.next(), segments.next())
        else {
            return Err(AuthRejection::TokenForm);
        };
        if ![header, payload, signature].into_iter().all(is_canonical) {
            return Err(AuthRejection::TokenForm);
        }
        Ok(Self { text, header, payload, signature })
    }

    /// The first segment, still encoded.
    pub(super) fn header(&self) -> &'t str {
        self.header
    }

    /// The second segment, still encoded.
    pub(super) fn payload(&self) -> &'t str {
        self.payload
    }

    /// The third segment, still encoded.
    pub(super) fn signature(&self) -> &'t str {
        self.signature
    }

    /// The bytes that are signed: everything before the second dot (RFC 7515 §5.2).
    pub(super) fn signed(&self) -> &'t str {
        let end = self.text.len() - self.signature.len() - 1;
        self.text.get(..end).unwrap_or_default()
    }
}

/// SHA-256 of a token.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct TokenFingerprint([u8; digest::SHA256_OUTPUT_LEN]);

impl Hash for TokenFingerprint {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.0.first_chunk().map_or(0, |first| u64::from_ne_bytes(*first)));
    }
}

/// Hashes a [`TokenFingerprint`] to its first bytes, which SHA-256 has already distributed evenly.
/// An attacker cannot fill a table with fingerprints that begin alike: only those of verified
/// tokens are kept, and the issuer chooses what it signs.
pub(super) type FingerprintHashBuilder = BuildHasherDefault<FingerprintHasher>;

/// The hasher of [`FingerprintHashBuilder`].
#[derive(Default)]
pub(super) struct FingerprintHasher(u64);

impl Hasher for FingerprintHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = number;
    }

    /// Required by the trait; not used for fingerprints.
    fn write(&mut self, bytes: &[u8]) {
        self.0 = bytes.iter().fold(self.0, |hash, byte| hash.rotate_left(8) ^ u64::from(*byte));
    }
}

/// Whether `segment` is the only way to write its bytes in base64url without padding (RFC 4648
/// §3.5). The unused low bits of the last character must be zero; otherwise two texts would be the
/// same token.
fn is_canonical(segment: &str) -> bool {
    let Some(last) = segment.bytes().last() else {
        return false;
    };
    let unused_bits = match segment.len() % 4 {
        0 => 0,
        2 => 4,
        3 => 2,
        _ => return false,
    };
    let Some(last) = sextet(last) else {
        return false;
    };
    let mask = (1_u8 << unused_bits) - 1;
    last & mask == 0 && segment.bytes().all(|byte| sextet(byte).is_some())
}

/// The six bits of a character of the base64url alphabet.
fn sextet(byte: u8) -> Option<u8> {
    match byte {
        b'A'..=b'Z' => Some(byte - b'A'),
        b'a'..=b'z' => Some(byte - b'a' + 26),
        b'0'..=b'9' => Some(byte - b'0' + 52),
        b'-' => Some(62),
        b'_' => Some(63),
        _ => None,
    }
}
