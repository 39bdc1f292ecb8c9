//! Seals what the broker gives to others and wants back unchanged and unread.
//!
//! Invariant: what [`SealingKey::open`] returns was sealed with the same key for the same purpose.

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use std::{fmt, sync::Arc};

/// AES-256-GCM with random nonces; a clone is shallow.
#[derive(Clone)]
pub struct SealingKey(Arc<RandomizedNonceKey>);

impl SealingKey {
    /// Makes the key. It never fails with 32 bytes.
    pub fn new(bytes: &[u8; 32]) -> Option<Self> {
        RandomizedNonceKey::new(&AES_256_GCM, bytes).ok().map(|key| Self(Arc::new(key)))
    }

    /// Encrypts a text for a purpose. The result is safe in paths and cookies.
    pub fn seal(&self, purpose: &[u8], mut text: Vec<u8>) -> Option<String> {
        let nonce = self.0.seal_in_place_append_tag(Aad::from(purpose), &mut text).ok()?;
        let sealed = [nonce.as_ref().as_slice(), &text].concat();
        Some(URL_SAFE_NO_PAD.encode(sealed))
    }

    /// Decrypts it; `None` if this key did not encrypt it, or for another purpose.
    pub fn open(&self, purpose: &[u8], sealed: &str) -> Option<Vec<u8>> {
        let sealed = URL_SAFE_NO_PAD.decode(sealed).ok()?;
        let (nonce, text) = sealed.split_at_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut text = text.to_vec();
        self.0.open_in_place(nonce, Aad::from(purpose), &mut text).ok().map(|text| text.to_vec())
    }
}

impl fmt::Debug for SealingKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("SealingKey")
    }
}
