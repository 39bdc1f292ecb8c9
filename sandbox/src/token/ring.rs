//! A published set of keys. One key signs, tokens of all good keys are accepted, and odd keys can
//! be added. Invariant: the `ETag` changes whenever the set does. Called by `token` (the UAA's
//! keys), `xsuaa` and `ias`.

use std::sync::Mutex;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::clock::Clock;
use crate::part::locked;
use crate::token::key::SigningKey;

/// What happens to the old key when a new one signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OldKey {
    /// It ends at once: a forced rotation.
    Ends,
    /// It stays published and accepted, as in the two hours after a planned rotation.
    Stays,
}

/// The keys of one issuer.
#[derive(Debug)]
pub struct KeyRing {
    name: String,
    clock: Clock,
    state: Mutex<KeyRingState>,
}

#[derive(Debug)]
struct KeyRingState {
    signing: SigningKey,
    /// At most one: an issuer publishes at most two keys (source).
    old: Option<SigningKey>,
    odd: Vec<Value>,
    changed: i64,
    made: u32,
}

impl KeyRing {
    /// Makes the first key. Its id is `{name}-key-1`.
    pub fn new(name: &str, clock: Clock) -> Self {
        let signing = SigningKey::first(&format!("{name}-key-1"));
        let changed = clock.millis();
        let state = KeyRingState { signing, old: None, odd: Vec::new(), changed, made: 1 };
        Self { name: name.to_owned(), clock, state: Mutex::new(state) }
    }

    /// Returns the key that signs now.
    pub fn signing(&self) -> SigningKey {
        locked(&self.state).signing.clone()
    }

    /// Returns the claims of a token that a published key signed, even if it has expired.
    pub fn verified(&self, token: &str) -> Option<Value> {
        let state = locked(&self.state);
        let keys = [Some(&state.signing), state.old.as_ref()];
        keys.into_iter().flatten().find_map(|key| key.verified(token))
    }

    /// Returns the body of `/token_keys` and its `ETag`, a bare number of milliseconds without
    /// quotes (source).
    pub fn key_set(&self) -> (Value, String) {
        let state = locked(&self.state);
        let good = [Some(&state.signing), state.old.as_ref()];
        let good = good.into_iter().flatten().map(SigningKey::jwk);
        let keys: Vec<Value> = good.chain(state.odd.iter().cloned()).collect();
        (json!({"keys": keys}), state.changed.to_string())
    }

    /// Signs with a new key from now on.
    pub fn rotate(&self, old: OldKey) {
        let mut state = locked(&self.state);
        state.made = state.made.saturating_add(1);
        let next = SigningKey::generate(&format!("{}-key-{}", self.name, state.made));
        let last = std::mem::replace(&mut state.signing, next);
        state.old = match old {
            OldKey::Ends => None,
            OldKey::Stays => Some(last),
        };
        state.touch(&self.clock);
    }

    /// Publishes additional keys. Without `keys` these are four keys that a reader must skip.
    pub fn add_odd(&self, keys: Option<Vec<Value>>) {
        let mut state = locked(&self.state);
        state.odd = keys.unwrap_or_else(odd_keys);
        state.touch(&self.clock);
    }
}

impl KeyRingState {
    /// Two changes within one millisecond get two different values.
    fn touch(&mut self, clock: &Clock) {
        self.changed = self.changed.saturating_add(1).max(clock.millis());
    }
}

/// Returns keys that a reader must skip: a symmetric one, an unknown type, one for encryption, and
/// a short one.
fn odd_keys() -> Vec<Value> {
    let short = URL_SAFE_NO_PAD.encode([0xC5; 64]);
    vec![
        json!({"kty": "oct", "alg": "HS256", "kid": "odd-symmetric", "use": "sig", "k": "c2FuZGJveC1vbmx5"}),
        json!({"kty": "SPHINX", "kid": "odd-kind", "alg": "SLH-DSA", "pub": "AA"}),
        json!({"kty": "RSA", "kid": "odd-encryption", "use": "enc", "alg": "RSA-OAEP", "e": "AQAB", "n": short}),
        json!({"kty": "RSA", "kid": "odd-short", "use": "sig", "alg": "RS256", "e": "AQAB", "n": short}),
    ]
}
