//! Keyed hash of everything that identifies a logon.
//!
//! Invariant: two fingerprints are equal exactly when all parts are equal. A fingerprint reveals
//! nothing outside this process. `destination` computes them, `token` compares them: only a changed
//! fingerprint allows another attempt after a refused password.

use crate::oauth::hint::LoginHint;
use aws_lc_rs::hmac::{Context, HMAC_SHA256, Key};
use secrecy::{ExposeSecret, SecretString};
use std::fmt;

/// Length of an HMAC-SHA-256 tag (RFC 2104, FIPS 180-4).
const TAG: usize = 32;

/// Random per process; never leaves it.
#[derive(Clone)]
pub struct FingerprintKey(Key);

impl FingerprintKey {
    /// Makes a new key.
    ///
    /// # Panics
    /// When the system has no random numbers. TLS would not work either, and with a known key
    /// fingerprints could be compared outside the process.
    #[expect(
        clippy::expect_used,
        reason = "only without a random source, where nothing else works; see Panics"
    )]
    pub fn random() -> Self {
        let mut seed = zeroize::Zeroizing::new([0; TAG]);
        aws_lc_rs::rand::fill(seed.as_mut_slice()).expect("the system has a random source");
        Self(Key::new(HMAC_SHA256, seed.as_slice()))
    }

    /// HMAC-SHA-256 over token URL, client id, client secret, user, password, origin, each
    /// length-prefixed.
    #[expect(
        clippy::disallowed_methods,
        reason = "the secrets go into the keyed hash and nowhere else"
    )]
    pub fn fingerprint(&self, of: &Credentials<'_>) -> Fingerprint {
        let mut hash = Context::with_key(&self.0);
        for part in [
            of.token_url,
            of.client_id,
            of.client_secret.expose_secret(),
            of.user,
            of.password.expose_secret(),
        ] {
            add(&mut hash, part);
        }
        // An origin has at least one character, so the empty text means "none".
        add(&mut hash, of.login_hint.map_or("", |hint| hint.origin().as_str()));
        let tag = hash.sign();
        let mut fingerprint = [0; TAG];
        // Both have the same length by the algorithm, so `zip` drops nothing.
        for (target, byte) in fingerprint.iter_mut().zip(tag.as_ref()) {
            *target = *byte;
        }
        Fingerprint(fingerprint)
    }
}

impl fmt::Debug for FingerprintKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FingerprintKey(..)")
    }
}

/// The length comes first, so that different lists of parts never give the same bytes.
fn add(hash: &mut Context, part: &str) {
    hash.update(&part.len().to_be_bytes());
    hash.update(part.as_bytes());
}

/// The parts of a fingerprint.
#[derive(Clone, Copy, Debug)]
pub struct Credentials<'a> {
    /// Without its query.
    pub token_url: &'a str,
    /// Usually `cf`.
    pub client_id: &'a str,
    /// Usually empty.
    pub client_secret: &'a SecretString,
    /// As it is sent.
    pub user: &'a str,
    /// As it is sent.
    pub password: &'a SecretString,
    /// The identity provider, which counts the failed logons.
    pub login_hint: Option<&'a LoginHint>,
}

/// Stands for one set of credentials within this process.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; TAG]);

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fingerprint(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::{Credentials, Fingerprint, FingerprintKey};
    use crate::oauth::hint::{LoginHint, OriginKey};
    use std::collections::HashSet;

    /// Parts in the order of [`Credentials`], the origin last.
    fn fingerprint(key: &FingerprintKey, parts: [&str; 6]) -> Fingerprint {
        let [token_url, client_id, secret, user, password, origin] = parts;
        let hint = OriginKey::parse(origin).ok().map(LoginHint::new);
        key.fingerprint(&Credentials {
            token_url,
            client_id,
            client_secret: &secret.into(),
            user,
            password: &password.into(),
            login_hint: hint.as_ref(),
        })
    }

    #[test]
    fn equal_credentials_have_equal_fingerprints() {
        let key = FingerprintKey::random();
        let parts = ["url", "cf", "", "user", "pw", "sap.ids"];
        assert_eq!(fingerprint(&key, parts), fingerprint(&key.clone(), parts));
    }

    #[test]
    fn each_part_and_each_border_between_parts_counts() {
        let key = FingerprintKey::random();
        let all = [
            ["url", "cf", "", "user", "pw", "uaa"],
            ["url2", "cf", "", "user", "pw", "uaa"],
            ["url", "cf2", "", "user", "pw", "uaa"],
            ["url", "cf", "s", "user", "pw", "uaa"],
            ["url", "cf", "", "user2", "pw", "uaa"],
            ["url", "cf", "", "user", "pw2", "uaa"],
            ["url", "cf", "", "user", "pw", "uaa2"],
            ["url", "cf", "", "user", "pw", ""],
            ["url", "c", "f", "user", "pw", "uaa"],
            ["url", "cf", "", "userp", "w", "uaa"],
            ["url", "cf", "", "user", "pwuaa", ""],
        ];
        let different: HashSet<_> = all.map(|parts| fingerprint(&key, parts)).into();
        assert_eq!(different.len(), all.len());
    }

    #[test]
    fn another_process_has_other_fingerprints() {
        let parts = ["url", "cf", "", "user", "pw", "uaa"];
        let here = fingerprint(&FingerprintKey::random(), parts);
        let there = fingerprint(&FingerprintKey::random(), parts);
        assert_ne!(here, there);
    }

    #[test]
    fn debug_shows_nothing_usable() {
        let key = FingerprintKey::random();
        let fingerprint = fingerprint(&key, ["url", "cf", "", "user", "pw", "uaa"]);
        assert_eq!(format!("{key:?} {fingerprint:?}"), "FingerprintKey(..) Fingerprint(..)");
    }
}
