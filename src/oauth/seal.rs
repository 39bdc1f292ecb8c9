//! Keys derived from a binding's secret, so that all instances have the same key without a store
//! (HKDF, RFC 5869).
//!
//! Invariant: a derived key reveals nothing about the secret, and each purpose has its own key.
//! Called by `app`, which gives the keys to the modules that encrypt something.

use aws_lc_rs::{hkdf, rand};
use secrecy::{ExposeSecret, SecretString};

/// Bytes of a sealing key (AES-256).
const KEY: usize = 32;
/// Separates these keys from other keys that may be derived from the same secret.
const SALT: &[u8] = b"cfapi-broker sealing 1";

/// Derives the sealing key for a purpose.
pub fn sealing_key(secret: &SecretString, purpose: &str) -> [u8; KEY] {
    #[expect(
        clippy::disallowed_methods,
        reason = "derives a key, which does not reveal the secret"
    )]
    let secret = secret.expose_secret();
    let source = hkdf::Salt::new(hkdf::HKDF_SHA256, SALT).extract(secret.as_bytes());
    let mut key = [0; KEY];
    let purpose = [purpose.as_bytes()];
    let filled =
        source.expand(&purpose, hkdf::HKDF_SHA256).and_then(|derived| derived.fill(&mut key));
    // Expansion fails only above 255 hash lengths. If it ever does, a random key is the safe
    // result.
    if filled.is_err() { random_key() } else { key }
}

/// Makes a key that only this process knows.
pub fn random_key() -> [u8; KEY] {
    let mut key = [0; KEY];
    // The system's generator does not fail once it is seeded. Two UUIDs are a weaker but acceptable
    // fallback.
    if rand::fill(&mut key).is_err() {
        let (left, right) = key.split_at_mut(KEY / 2);
        left.copy_from_slice(uuid::Uuid::new_v4().as_bytes());
        right.copy_from_slice(uuid::Uuid::new_v4().as_bytes());
    }
    key
}

#[cfg(test)]
mod tests {
    use super::{random_key, sealing_key};

    #[test]
    fn the_same_secret_and_purpose_give_the_same_key_and_nothing_else_does() {
        let secret = |text: &str| text.to_owned().into();
        assert_eq!(sealing_key(&secret("a"), "x"), sealing_key(&secret("a"), "x"));
        assert_ne!(sealing_key(&secret("a"), "x"), sealing_key(&secret("a"), "y"));
        assert_ne!(sealing_key(&secret("a"), "x"), sealing_key(&secret("b"), "x"));
        assert_ne!(random_key(), random_key());
    }
}
