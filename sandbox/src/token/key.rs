//! Signing keys: one RSA pair, its signatures, and its public key in the formats of key sets and
//! bindings. Invariant: the private key never leaves [`SigningKey`]. Called by `token`, `xsuaa`,
//! `ias`, and by tests.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{
    KeyPair as _, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512,
    RSA_PSS_SHA256, RSA_PSS_SHA384, RSA_PSS_SHA512, RsaEncoding, UnparsedPublicKey,
};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use crate::part::locked;

/// The keys that every landscape of this process starts with. To make one takes about 0.2 s, and
/// tests start hundreds of landscapes. Landscapes differ by their issuers.
static FIRST: Mutex<BTreeMap<String, Arc<KeyPair>>> = Mutex::new(BTreeMap::new());

/// An RSA signature algorithm (RFC 7518 section 3.1). The issuers here use only RS256.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are those of RFC 7518")]
pub enum Scheme {
    Rs256,
    Rs384,
    Rs512,
    Ps256,
    Ps384,
    Ps512,
}

impl Scheme {
    fn encoding(self) -> &'static dyn RsaEncoding {
        match self {
            Self::Rs256 => &RSA_PKCS1_SHA256,
            Self::Rs384 => &RSA_PKCS1_SHA384,
            Self::Rs512 => &RSA_PKCS1_SHA512,
            Self::Ps256 => &RSA_PSS_SHA256,
            Self::Ps384 => &RSA_PSS_SHA384,
            Self::Ps512 => &RSA_PSS_SHA512,
        }
    }
}

/// An RSA signing key with its key id; clones share the key.
#[derive(Clone, Debug)]
pub struct SigningKey {
    kid: String,
    pair: Arc<KeyPair>,
}

impl SigningKey {
    /// Makes a new 2048-bit key.
    ///
    /// # Panics
    /// The machine has no random source.
    #[expect(
        clippy::expect_used,
        reason = "no key, no landscape: only a broken random source fails here"
    )]
    pub fn generate(kid: &str) -> Self {
        let pair = KeyPair::generate(KeySize::Rsa2048).expect("the machine can make an RSA key");
        Self { kid: kid.to_owned(), pair: Arc::new(pair) }
    }

    /// Makes a new 3072-bit key, for tests. The platform's issuers have shorter keys.
    ///
    /// # Panics
    /// As [`SigningKey::generate`].
    #[expect(clippy::expect_used, reason = "as above")]
    pub fn generate_long(kid: &str) -> Self {
        let pair = KeyPair::generate(KeySize::Rsa3072).expect("the machine can make an RSA key");
        Self { kid: kid.to_owned(), pair: Arc::new(pair) }
    }

    /// Returns the key with this id that every landscape of this process starts with.
    ///
    /// # Panics
    /// As [`SigningKey::generate`].
    pub fn first(kid: &str) -> Self {
        let mut first = locked(&FIRST);
        let made = first.get(kid).map(Arc::clone);
        let pair = made.unwrap_or_else(|| Self::generate(kid).pair);
        first.insert(kid.to_owned(), Arc::clone(&pair));
        Self { kid: kid.to_owned(), pair }
    }

    /// Returns the key id.
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// Signs claims with RS256. The header has `kid` and `typ: JWT`.
    ///
    /// # Panics
    /// As [`SigningKey::sign_with`].
    pub fn sign(&self, claims: &Value) -> String {
        self.sign_with(&json!({"alg": "RS256", "kid": self.kid, "typ": "JWT"}), claims)
    }

    /// Signs claims with a JOSE header of the caller. The signature is RS256, whatever the header
    /// says.
    ///
    /// # Panics
    /// As [`SigningKey::signature`].
    pub fn sign_with(&self, header: &Value, claims: &Value) -> String {
        self.sign_texts(&header.to_string(), &claims.to_string())
    }

    /// Signs two texts with RS256. They do not have to be JSON.
    ///
    /// # Panics
    /// As [`SigningKey::signature`].
    pub fn sign_texts(&self, header: &str, claims: &str) -> String {
        let signed =
            format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
        let signature = self.signature(&signed, Scheme::Rs256);
        format!("{signed}.{signature}")
    }

    /// Returns the third segment of a token: the signature of `signed`, by any RSA algorithm.
    ///
    /// # Panics
    /// The machine has no random source.
    #[expect(clippy::expect_used, reason = "signing fails only without a random source")]
    pub fn signature(&self, signed: &str, scheme: Scheme) -> String {
        let mut signature = vec![0; self.pair.public_modulus_len()];
        self.pair
            .sign(scheme.encoding(), &SystemRandom::new(), signed.as_bytes(), &mut signature)
            .expect("an RSA key can sign");
        URL_SAFE_NO_PAD.encode(signature)
    }

    /// Returns the claims of a token that this key signed. The claims are not checked.
    pub fn verified(&self, token: &str) -> Option<Value> {
        let (signed, signature) = token.rsplit_once('.')?;
        let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
        UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, self.pair.public_key().as_ref())
            .verify(signed.as_bytes(), &signature)
            .ok()?;
        let (_, body) = signed.split_once('.')?;
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(body).ok()?).ok()
    }

    /// Returns the public key as a JWK with the members that UAA writes: `kty, e, use, kid, alg,
    /// value` (PEM) and `n`.
    pub fn jwk(&self) -> Value {
        let (n, e) = modulus_and_exponent(self.pair.public_key().as_ref()).unwrap_or_default();
        json!({"kty": "RSA", "e": URL_SAFE_NO_PAD.encode(e), "use": "sig", "kid": self.kid, "alg": "RS256",
            "value": self.pem(), "n": URL_SAFE_NO_PAD.encode(n)})
    }

    /// Returns the public key as PEM (`verificationkey` of a binding, `value` of a key set).
    pub fn pem(&self) -> String {
        let Ok(der) = self.pair.public_key().as_der() else {
            return String::new();
        };
        let text = STANDARD.encode(der.as_ref());
        let mut pem = String::from("-----BEGIN PUBLIC KEY-----\n");
        for (index, character) in text.chars().enumerate() {
            if index > 0 && index % 64 == 0 {
                pem.push('\n');
            }
            pem.push(character);
        }
        pem.push_str("\n-----END PUBLIC KEY-----");
        pem
    }
}

/// Reads `SEQUENCE { INTEGER n, INTEGER e }` (PKCS#1) and removes leading zeros.
fn modulus_and_exponent(der: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let (sequence, _) = element(der)?;
    let (modulus, rest) = element(sequence)?;
    let (exponent, _) = element(rest)?;
    let unsigned = |bytes: &[u8]| bytes.iter().copied().skip_while(|byte| *byte == 0).collect();
    Some((unsigned(modulus), unsigned(exponent)))
}

/// Splits the first DER element into its content and the rest.
fn element(der: &[u8]) -> Option<(&[u8], &[u8])> {
    let (_tag, rest) = der.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = if first < 0x80 {
        (usize::from(first), rest)
    } else {
        let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
        (bytes.iter().fold(0_usize, |sum, byte| (sum << 8) | usize::from(*byte)), rest)
    };
    rest.split_at_checked(length)
}
