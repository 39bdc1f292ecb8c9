//! Signatures: other algorithms, other keys, changed texts.

use super::{Case, Refuse, split, valid_claims, valid_header};
use crate::auth::tests::support::{
    APPLICATION, KEY, KID, LONG_KEY, OTHER_KEY, base64url, elliptic_key, hmac_sha256,
    token_signed_by,
};
use aws_lc_rs::signature::{
    RSA_PKCS1_SHA384, RSA_PKCS1_SHA512, RSA_PSS_SHA256, RSA_PSS_SHA384, RSA_PSS_SHA512, RsaEncoding,
};
use serde_json::{Value, json};

/// Only RS256 is accepted, whatever the token was signed with and whatever the set contains.
pub(super) fn algorithms() -> Vec<Case> {
    let rsa: [(&'static str, &'static str, &'static dyn RsaEncoding); 5] = [
        ("RS384", "RS384", &RSA_PKCS1_SHA384),
        ("RS512", "RS512", &RSA_PKCS1_SHA512),
        ("PS256", "PS256", &RSA_PSS_SHA256),
        ("PS384", "PS384", &RSA_PSS_SHA384),
        ("PS512", "PS512", &RSA_PSS_SHA512),
    ];
    let lying: [(&'static str, &'static str, &'static dyn RsaEncoding); 3] = [
        ("PS256 signature under RS256", "RS256", &RSA_PSS_SHA256),
        ("RS384 signature under RS256", "RS256", &RSA_PKCS1_SHA384),
        ("RS512 signature under RS256", "RS256", &RSA_PKCS1_SHA512),
    ];
    let honest = rsa.map(|(name, alg, padding)| {
        signed(name, "algorithm", alg, move |text| KEY.sign(text, padding))
    });
    let lying = lying.map(|(name, alg, padding)| {
        signed(name, "signature", alg, move |text| KEY.sign(text, padding))
    });
    honest.into_iter().chain(lying).chain(other_families()).collect()
}

/// Algorithms that are not RSA.
fn other_families() -> [Case; 4] {
    let oct = json!({"kty": "oct", "kid": KID, "k": base64url(b"sesame")});
    let (elliptic, sign) = elliptic_key(KID);
    [
        signed("HS256 with the public key as secret", "algorithm", "HS256", |text| {
            hmac_sha256(&KEY.public_der(), text)
        }),
        signed("HS256 with an oct key of the set", "algorithm", "HS256", |text| {
            hmac_sha256(b"sesame", text)
        })
        .with_keys(&[oct]),
        signed("ES256 with an elliptic key of the set", "algorithm", "ES256", sign)
            .with_keys(&[elliptic]),
        Case::edited("alg none without signature", Refuse("token_form"), |[_, payload, _]| {
            format!("{}.{payload}.", base64url(br#"{"alg":"none"}"#))
        }),
    ]
}

/// A valid token with another algorithm and signature.
fn signed(
    name: &'static str,
    reason: &'static str,
    alg: &'static str,
    sign: impl Fn(&str) -> Vec<u8> + 'static,
) -> Case {
    Case::new(name, Refuse(reason), move |domain| {
        let mut header = valid_header();
        header["alg"] = json!(alg);
        token_signed_by(&header, &valid_claims(domain), &sign)
    })
}

/// An attacker's key in the token does not verify it.
pub(super) fn embedded_keys() -> Vec<Case> {
    let forged = |name: &'static str, member: &'static str, value: fn() -> Value| {
        Case::new(name, Refuse("signature"), move |domain| {
            let mut header = valid_header();
            header[member] = value();
            OTHER_KEY.token(&header, &valid_claims(domain))
        })
    };
    vec![
        forged("attacker's jwk", "jwk", || OTHER_KEY.jwk(KID)),
        forged("attacker's jku", "jku", || json!("https://attacker.example/keys")),
        forged("attacker's x5c", "x5c", || json!([base64url(&OTHER_KEY.public_der())])),
    ]
}

/// A name, and the change of the signature.
type Edit = (&'static str, fn(&str) -> String);

/// Signatures that do not match the text.
pub(super) fn tampering() -> Vec<Case> {
    let refuse = Refuse("signature");
    let edits: [Edit; 6] = [
        ("first character of the signature changed", |signature| {
            let first = if signature.starts_with('A') { "B" } else { "A" };
            format!("{first}{}", signature.chars().skip(1).collect::<String>())
        }),
        ("signature cut", |signature| signature.chars().take(300).collect()),
        ("signature doubled", |signature| {
            signature.chars().take(340).collect::<String>().repeat(2)
        }),
        ("signature of zeros", |_| base64url(&[0; 256])),
        ("signature of ones", |_| base64url(&[0xff; 256])),
        ("signature of one byte", |_| "AA".to_owned()),
    ];
    let edits = edits.map(|(name, edit)| {
        Case::edited(name, refuse, move |[header, payload, signature]| {
            format!("{header}.{payload}.{}", edit(signature))
        })
    });
    let others = [
        Case::edited("header swapped", refuse, |[_, payload, signature]| {
            format!("{}.{payload}.{signature}", base64url(br#"{"alg":"RS256","kid":"key-1"}"#))
        }),
        Case::new("payload swapped", refuse, |domain| {
            swapped(domain, "scope", &json!([format!("{APPLICATION}.Routes.Admin")]))
        }),
        Case::new("other key, same name", refuse, |domain| {
            OTHER_KEY.token(&valid_header(), &valid_claims(domain))
        }),
        Case::new("longer key under a shorter one's name", refuse, |domain| {
            LONG_KEY.token(&valid_header(), &valid_claims(domain))
        }),
    ];
    edits.into_iter().chain(others).collect()
}

/// Header and signature of the valid token around a payload with another claim.
fn swapped(domain: &str, claim: &str, value: &Value) -> String {
    let mut claims = valid_claims(domain);
    let token = KEY.token(&valid_header(), &claims);
    let [header, _, signature] = split(&token);
    claims[claim] = value.clone();
    format!("{header}.{}.{signature}", base64url(claims.to_string().as_bytes()))
}
