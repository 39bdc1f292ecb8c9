//! The rules after the signature check: all claims are checked again.

use super::support::{
    APPLICATION, CLIENT, KEY, KID, NOW, binding, key_set, now, valid_claims, valid_header,
};
use crate::auth::{
    Settings, bearer::CompactToken, domain::UaaDomain, error::AuthRejection, jose::VerifiedPayload,
    jwks::KeySet, xsuaa::XsuaaRules,
};
use rstest::rstest;
use serde_json::{Value, json};
use std::time::{Duration, SystemTime};

const DOMAIN: &str = "uaa.example.test";

/// Checks the payload of a signed token.
fn check(claims: &Value, now: SystemTime) -> Result<(), AuthRejection> {
    let text = KEY.token(&valid_header(), claims);
    let token = CompactToken::parse(&text).unwrap();
    let keys = KeySet::parse(key_set(&[KEY.jwk(KID)]).as_bytes()).unwrap();
    let payload = VerifiedPayload::check(&token, keys.find(KID).unwrap())?;
    let rules =
        XsuaaRules::new(&binding(DOMAIN), UaaDomain::parse(DOMAIN).unwrap(), &Settings::default())
            .unwrap();
    rules.caller_of(&payload, now).map(|_| ())
}

#[rstest]
#[case::valid("aud", json!([APPLICATION, CLIENT]), Ok(()))]
#[case::issuer("iss", json!("https://evil.example/oauth/token"), Err(AuthRejection::Issuer))]
#[case::zone("zid", json!("other"), Err(AuthRejection::Zone))]
#[case::audience("aud", json!("other"), Err(AuthRejection::Audience))]
#[case::time("exp", json!(NOW - 60), Err(AuthRejection::Expiry))]
#[case::refresh_token("jti", json!("x-r"), Err(AuthRejection::RefreshToken))]
#[case::client("cid", json!(""), Err(AuthRejection::Client))]
#[case::type_of_scope("scope", json!("openid"), Err(AuthRejection::ClaimsMalformed))]
fn a_valid_signature_does_not_excuse_a_wrong_claim(
    #[case] claim: &str,
    #[case] value: Value,
    #[case] expected: Result<(), AuthRejection>,
) {
    let mut claims = valid_claims(DOMAIN);
    claims[claim] = value;
    assert_eq!(check(&claims, now()), expected);
}

#[rstest]
#[case(json!(0), Err(AuthRejection::Expiry))]
#[case(json!(1), Ok(()))]
fn exp_zero_is_refused_even_if_the_clock_was_never_set(
    #[case] exp: Value,
    #[case] expected: Result<(), AuthRejection>,
) {
    let mut claims = valid_claims(DOMAIN);
    claims["iat"] = json!(0);
    claims["exp"] = exp;
    let clock = SystemTime::UNIX_EPOCH + Duration::from_secs(10);
    assert_eq!(check(&claims, clock), expected);
}
