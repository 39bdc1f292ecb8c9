//! Key sets: which keys may verify a token.

use super::{Case, READ, Refuse, beside_another, tables::KEY_MEMBERS};
use crate::auth::tests::support::{KEY, KID, OTHER_KEY, base64url, elliptic_key, key_set};
use serde_json::{Value, json};

/// Other content beside a valid key, and around it.
pub(super) fn beside() -> Vec<Case> {
    let entries = [
        ("oct key beside", json!({"kty": "oct", "kid": "x", "k": "AAAA"})),
        ("elliptic key beside", elliptic_key("x").0),
        ("unknown type beside", json!({"kty": "LATTICE", "kid": "x"})),
        ("key without name beside", json!({"kty": "RSA"})),
        ("null beside", json!(null)),
        ("true beside", json!(true)),
        ("negative number beside", json!(-1)),
        ("number beside", json!(1)),
        ("fraction beside", json!(-1.5)),
        ("text beside", json!("RSA")),
        ("list beside", json!([[], {}])),
        (
            "members of every type beside",
            json!({"kty": "RSA", "kid": 5, "n": [1], "e": {"a": true}, "use": null, "alg": -1,
                "x": false, "y": 0.5}),
        ),
    ];
    let entries =
        entries.map(|(name, other)| Case::keys(name, READ, key_set(&[other, KEY.jwk(KID)])));
    entries.into_iter().chain(documents()).collect()
}

/// Other content around a valid key.
fn documents() -> [Case; 9] {
    let key = KEY.jwk(KID).to_string();
    let (open, close) = ("[".repeat(3000), "]".repeat(3000));
    let unavailable = Refuse("keys_unavailable");
    let documents = [
        (
            "further members of the set",
            READ,
            format!(r#"{{"x":{{"y":[1]}},"keys":[{key}],"z":null}}"#),
        ),
        ("deep entry beside", READ, format!(r#"{{"keys":[{{"x":{open}{close}}},{key}]}}"#)),
        ("deep list beside", READ, format!(r#"{{"keys":[{open}{close},{key}]}}"#)),
        ("64 keys", READ, many(64)),
        ("65 keys", unavailable, many(65)),
        ("keys member repeated", unavailable, format!(r#"{{"keys":[{key}],"keys":[{key}]}}"#)),
        ("set within a list", unavailable, format!(r#"[{{"keys":[{key}]}}]"#)),
        ("keys an object", unavailable, format!(r#"{{"keys":{{"{KID}":{key}}}}}"#)),
        ("set with trailing text", unavailable, format!(r#"{{"keys":[{key}]}} x"#)),
    ];
    documents.map(|(name, verdict, document)| Case::keys(name, verdict, document))
}

/// A set of `count` entries, the last of them valid.
fn many(count: usize) -> String {
    let mut keys = vec![json!({"kty": "oct"}); count - 1];
    keys.push(KEY.jwk(KID));
    key_set(&keys)
}

/// Which keys may verify.
pub(super) fn quality() -> Vec<Case> {
    let unknown = Refuse("key_unknown");
    let key = || KEY.jwk(KID);
    let another = OTHER_KEY.jwk("another");
    let repeated = key().to_string().replacen('{', r#"{"alg":"RS256","#, 1);
    let sets = [
        ("set without it", beside_another(&[])),
        ("same name twice, same key", beside_another(&[key(), key()])),
        ("same name twice, other key", beside_another(&[key(), OTHER_KEY.jwk(KID)])),
        (
            "same name twice, other type",
            beside_another(&[key(), json!({"kty": "oct", "kid": KID})]),
        ),
        ("same name three times", beside_another(&[key(), key(), key()])),
        ("member of the key repeated", format!(r#"{{"keys":[{repeated},{another}]}}"#)),
    ];
    // Such a set would refuse everybody, so it decides nothing.
    let unusable = [
        ("empty set", key_set(&[])),
        ("no usable key", key_set(&[json!({"kty": "oct", "kid": KID})])),
        ("only a key of one name twice", key_set(&[key(), key()])),
    ];
    let unusable = unusable.map(|(name, set)| Case::keys(name, Refuse("keys_unavailable"), set));
    let sets = sets.map(|(name, set)| Case::keys(name, unknown, set));
    let others = Case::keys(
        "name of others twice",
        READ,
        key_set(&[OTHER_KEY.jwk("x"), key(), OTHER_KEY.jwk("x")]),
    );
    KEY_MEMBERS
        .iter()
        .copied()
        .map(Case::key)
        .chain(sets)
        .chain([others])
        .chain(unusable)
        .chain(moduli())
        .collect()
}

/// Moduli of valid and other sizes. A valid one that is not our key's fails at the signature.
fn moduli() -> impl Iterator<Item = Case> {
    let (own, _) = KEY.components();
    let mut corrupt = own.clone();
    corrupt[100] ^= 0xff;
    let ones = |bytes: usize| vec![0xff; bytes];
    let led_by = |first: u8, bytes: usize| [vec![first], ones(bytes - 1)].concat();
    let signature = Refuse("signature");
    let unknown = Refuse("key_unknown");
    [
        ("modulus with leading zeros", READ, [vec![0, 0], own].concat()),
        ("modulus corrupt", signature, corrupt),
        ("modulus of 1024 bit", unknown, ones(128)),
        ("modulus of 2047 bit", unknown, led_by(0x7f, 256)),
        ("modulus of 2048 bit, with leading zero", signature, led_by(0, 257)),
        ("modulus of 1024 bit after zeros", unknown, [vec![0; 128], ones(128)].concat()),
        ("modulus of 8192 bit", signature, ones(1024)),
        ("modulus of 8193 bit", unknown, led_by(1, 1025)),
        ("modulus of zeros", unknown, vec![0; 256]),
    ]
    .into_iter()
    .map(|(name, verdict, modulus)| {
        let mut key: Value = KEY.jwk(KID);
        key["n"] = json!(base64url(&modulus));
        Case::keys(name, verdict, beside_another(&[key]))
    })
}
