//! Signatures: algorithms and keys, with keys in the set that must not verify.

use aws_lc_rs::{
    hmac,
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use cfapi_sandbox::{
    Sandbox,
    token::key::{Scheme, SigningKey},
};
use serde_json::{Value, json};

use super::{Case, TokenIssuer, split};
use crate::support::pull;

/// Other keys than the usual one.
pub(super) struct ExtraKeys {
    /// A second valid key of the set.
    second: SigningKey,
    /// A third one, of 3072 bit.
    long: SigningKey,
    /// In the set with `use: enc`, with `alg: RS512`, without a name, and twice under one name.
    unfit: SigningKey,
    /// In no set.
    pub(super) foreign: SigningKey,
    elliptic: EcdsaKeyPair,
}

impl ExtraKeys {
    /// Makes the keys and publishes them in the set of XSUAA.
    pub(super) fn publish(sandbox: &Sandbox) -> Self {
        let others = Self {
            second: SigningKey::first("second"),
            long: SigningKey::generate_long("long"),
            unfit: SigningKey::first("unfit"),
            foreign: SigningKey::first("foreign"),
            elliptic: EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap(),
        };
        pull(sandbox, "add_odd_keys", &json!({"part": "xsuaa", "keys": others.entries()}));
        others
    }

    fn entries(&self) -> Value {
        let unfit = |kid: &str, member: &str, value: Value| {
            let mut jwk = self.unfit.jwk();
            jwk["kid"] = json!(kid);
            jwk[member] = value;
            jwk
        };
        let point = self.elliptic.public_key().as_ref();
        let [x, y] = [&point[1..33], &point[33..]].map(|half| URL_SAFE_NO_PAD.encode(half));
        json!([
            self.second.jwk(),
            self.long.jwk(),
            unfit("enc", "use", json!("enc")),
            unfit("rs512", "alg", json!("RS512")),
            unfit("named by a number", "kid", json!(7)),
            unfit("even", "e", json!("AQAC")),
            unfit("not base64url", "n", json!("+/+/")),
            unfit("twice", "x", json!(1)),
            unfit("twice", "x", json!(2)),
            {"kty": "oct", "kid": "oct", "k": URL_SAFE_NO_PAD.encode("sesame"), "alg": "HS256"},
            {"kty": "EC", "crv": "P-256", "kid": "elliptic", "x": x, "y": y},
            {"kty": "LATTICE", "kid": "lattice"},
            null, 1, "RSA", [[], {}],
        ])
    }
}

/// A valid token with another algorithm, key id and signature.
fn signed(issuer: &TokenIssuer, alg: &str, kid: &str, sign: impl Fn(&str) -> String) -> String {
    let mut header = issuer.header.clone();
    header["alg"] = json!(alg);
    header["kid"] = json!(kid);
    let [header, claims] =
        [&header, &issuer.claims].map(|part| URL_SAFE_NO_PAD.encode(part.to_string()));
    let text = format!("{header}.{claims}");
    let signature = sign(&text);
    format!("{text}.{signature}")
}

/// Only RS256 is accepted, whatever the token was signed with and whatever the set contains.
pub(super) fn algorithms(issuer: &TokenIssuer) -> Vec<Case> {
    let rsa = [
        ("RS384", "RS384", Scheme::Rs384),
        ("RS512", "RS512", Scheme::Rs512),
        ("PS256", "PS256", Scheme::Ps256),
        ("PS384", "PS384", Scheme::Ps384),
        ("PS512", "PS512", Scheme::Ps512),
        ("PS256 signature under RS256", "RS256", Scheme::Ps256),
        ("RS512 signature under RS256", "RS256", Scheme::Rs512),
        ("RS256 signature under RS512", "RS512", Scheme::Rs256),
    ];
    let key = &issuer.key;
    let rsa = rsa.map(|(name, alg, scheme)| {
        let token = signed(issuer, alg, key.kid(), |text| key.signature(text, scheme));
        Case::token(name, 401, &token)
    });
    let hmac = |secret: &[u8], text: &str| {
        URL_SAFE_NO_PAD
            .encode(hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), text.as_bytes()))
    };
    let pem = key.pem();
    let elliptic = |text: &str| {
        let signature = issuer.other.elliptic.sign(&SystemRandom::new(), text.as_bytes()).unwrap();
        URL_SAFE_NO_PAD.encode(signature)
    };
    let others = [
        (
            "HS256 with the public key",
            signed(issuer, "HS256", key.kid(), |t| hmac(pem.as_bytes(), t)),
        ),
        ("HS256 with a key of the set", signed(issuer, "HS256", "oct", |t| hmac(b"sesame", t))),
        ("HMAC under RS256", signed(issuer, "RS256", "oct", |t| hmac(b"sesame", t))),
        ("ES256 with a key of the set", signed(issuer, "ES256", "elliptic", elliptic)),
        ("ECDSA under RS256", signed(issuer, "RS256", "elliptic", elliptic)),
    ];
    rsa.into_iter().chain(others.map(|(name, token)| Case::token(name, 401, &token))).collect()
}

/// Which entries of the set may verify.
pub(super) fn sets(issuer: &TokenIssuer) -> Vec<Case> {
    let by = |name: &'static str, status: u16, key: &SigningKey, kid: &str| {
        let token = signed(issuer, "RS256", kid, |text| key.signature(text, Scheme::Rs256));
        Case::token(name, status, &token)
    };
    let ExtraKeys { second, long, unfit, foreign, .. } = &issuer.other;
    let embedded = |name: &'static str, member: &str, value: Value| {
        let mut header = issuer.header.clone();
        header[member] = value;
        Case::token(name, 401, &foreign.sign_with(&header, &issuer.claims))
    };
    vec![
        by("second key of the set", 200, second, "second"),
        by("key of 3072 bit", 200, long, "long"),
        by("key for encryption", 401, unfit, "enc"),
        by("key for another algorithm", 401, unfit, "rs512"),
        by("key named by a number", 401, unfit, "7"),
        by("key with an even exponent", 401, unfit, "even"),
        by("key that is not base64url", 401, unfit, "not base64url"),
        by("key whose name stands there twice", 401, unfit, "twice"),
        by("foreign key under our name", 401, foreign, issuer.key.kid()),
        by("foreign key under its own name", 401, foreign, "foreign"),
        by("second key under the first one's name", 401, second, issuer.key.kid()),
        by("first key under the second one's name", 401, &issuer.key, "second"),
        by("long key under a shorter one's name", 401, long, "second"),
        embedded("attacker's jwk", "jwk", foreign.jwk()),
        embedded("attacker's x5c", "x5c", json!([URL_SAFE_NO_PAD.encode(foreign.pem())])),
    ]
}

/// Signatures that do not match the text.
pub(super) fn tampering(issuer: &TokenIssuer) -> Vec<Case> {
    let token = issuer.token();
    let [header, payload, signature] = split(&token);
    let first = if signature.starts_with('A') { "B" } else { "A" };
    let other = format!("{first}{}", signature.chars().skip(1).collect::<String>());
    let cut: String = signature.chars().take(300).collect();
    let mut claims = issuer.claims.clone();
    claims["scope"] = json!([format!("{}.Routes.Admin", issuer.application)]);
    let richer = URL_SAFE_NO_PAD.encode(claims.to_string());
    let zeros = URL_SAFE_NO_PAD.encode([0; 256]);
    let plain =
        URL_SAFE_NO_PAD.encode(json!({"alg": "RS256", "kid": issuer.key.kid()}).to_string());
    let forged = [
        ("first character of the signature changed", [header, payload, &other].join(".")),
        ("signature cut", [header, payload, &cut].join(".")),
        ("signature of zeros", [header, payload, &zeros].join(".")),
        ("signature of one byte", [header, payload, "AA"].join(".")),
        ("header swapped", [&plain, payload, signature].join(".")),
        ("payload swapped", [header, &richer, signature].join(".")),
    ];
    forged.map(|(name, token)| Case::token(name, 401, &token)).into()
}
