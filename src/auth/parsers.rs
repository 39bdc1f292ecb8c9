//! The parsers of this module for untrusted input. Built for tests and fuzz targets only; not part
//! of a release.

use super::{
    bearer::{CompactToken, bearer},
    claims::XsuaaClaims,
    jose,
    jwks::{KeySet, RsaKey},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use http::{HeaderMap, HeaderValue, header::AUTHORIZATION};

/// Reads a value of `Authorization` and the token in it. Returns whether there was one.
///
/// # Panics
/// If an accepted token has a second spelling.
pub fn token(value: &[u8]) -> bool {
    let Ok(value) = HeaderValue::from_bytes(value) else { return false };
    let headers = HeaderMap::from_iter([(AUTHORIZATION, value)]);
    let text = bearer(&headers).and_then(|presented| Ok(presented.text()?));
    let Some(token) = text.as_ref().ok().and_then(|text| CompactToken::parse(text).ok()) else {
        return false;
    };
    let segments = [token.header(), token.payload(), token.signature()];
    for segment in segments {
        let decoded = URL_SAFE_NO_PAD.decode(segment).ok();
        assert_eq!(decoded.map(|bytes| URL_SAFE_NO_PAD.encode(bytes)).as_deref(), Some(segment));
    }
    assert_eq!(text.ok(), Some(segments.join(".").as_str()));
    jose::key_id(&token).is_ok()
}

/// Reads a decoded JOSE header. Returns whether it names a key.
///
/// # Panics
/// If an accepted header names no key.
pub fn jose_header(document: &[u8]) -> bool {
    let text = format!("{}.e30.AA", URL_SAFE_NO_PAD.encode(document));
    let kid = CompactToken::parse(&text).ok().and_then(|token| jose::key_id(&token).ok());
    assert!(kid.as_ref().is_none_or(|kid| !kid.is_empty() && kid.len() <= 256));
    kid.is_some()
}

/// Reads decoded claims. Returns whether they are well-formed.
pub fn claims(document: &[u8]) -> bool {
    XsuaaClaims::read(document).is_ok()
}

/// Reads a key set. Returns whether it has a key with the `kid` `k`.
///
/// # Panics
/// If it has too many keys, or one of a size that is not accepted.
pub fn key_set(document: &[u8]) -> bool {
    let Ok(set) = KeySet::parse(document) else { return false };
    assert!(set.len() <= 64);
    let is_strong = |key: &RsaKey| (256..=1024).contains(&key.modulus().len());
    set.find("k").is_some_and(|key| {
        assert!(is_strong(key));
        true
    })
}
