use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode};
use serde_json::Value;

use super::key::SigningKey;
use super::{CfTokenKey, CfTokenRefusal, CfTokenSpec, CfTokens};

fn tokens() -> CfTokens {
    CfTokens::new("http://127.0.0.1:1".to_owned())
}

fn check(
    tokens: &CfTokens,
    overrides: impl FnOnce(&mut CfTokenSpec),
) -> Result<String, CfTokenRefusal> {
    let mut spec = CfTokenSpec::default();
    overrides(&mut spec);
    let token = tokens.mint(&spec);
    tokens.check(Some(&format!("bearer {token}"))).map(|user| user.name)
}

#[test]
fn a_minted_token_names_its_user_in_any_case_of_the_scheme() {
    let tokens = tokens();
    let token = tokens.mint(&CfTokenSpec::default());
    for scheme in ["bearer", "Bearer", "BEARER"] {
        let user = tokens.check(Some(&format!("{scheme} {token}"))).unwrap();
        assert_eq!(user.name, "technical.user@example.test");
        assert!(user.scopes.iter().any(|scope| scope == "cloud_controller.write"));
    }
}

#[test]
fn no_bearer_is_not_authenticated_and_an_empty_one_is_invalid() {
    let tokens = tokens();
    assert_eq!(tokens.check(None), Err(CfTokenRefusal::NotAuthenticated));
    assert_eq!(tokens.check(Some("Basic Zm9vOmJhcg==")), Err(CfTokenRefusal::NotAuthenticated));
    assert_eq!(tokens.check(Some("bearer ")), Err(CfTokenRefusal::Invalid));
    assert_eq!(tokens.check(Some("bearer bogus")), Err(CfTokenRefusal::Invalid));
}

#[test]
fn expiry_has_no_leeway() {
    let tokens = tokens();
    assert!(check(&tokens, |spec| spec.lifetime = 2).is_ok());
    assert_eq!(check(&tokens, |spec| spec.lifetime = 0), Err(CfTokenRefusal::Invalid));
    assert_eq!(check(&tokens, |spec| spec.lifetime = -1), Err(CfTokenRefusal::Invalid));
}

#[test]
fn a_wrong_audience_a_foreign_key_and_a_refresh_token_are_invalid() {
    let tokens = tokens();
    assert_eq!(
        check(&tokens, |spec| spec.audience = vec!["other".to_owned()]),
        Err(CfTokenRefusal::Invalid)
    );
    let unknown = Err(CfTokenRefusal::UnknownKey);
    assert_eq!(check(&tokens, |spec| spec.key = CfTokenKey::Foreign), unknown);
    assert_eq!(check(&tokens, |spec| spec.jti.push_str("-r")), Err(CfTokenRefusal::Invalid));
}

#[test]
fn a_token_issued_after_end_all_is_accepted() {
    let tokens = tokens();
    let early = format!("bearer {}", tokens.mint(&CfTokenSpec::default()));
    tokens.end_all();
    assert_eq!(tokens.check(Some(&early)), Err(CfTokenRefusal::Invalid));
    assert!(check(&tokens, |_| ()).is_ok());
}

#[test]
fn a_rotated_key_ends_its_tokens_and_changes_the_etag() {
    let tokens = tokens();
    let early = format!("bearer {}", tokens.mint(&CfTokenSpec::default()));
    let (_, before) = tokens.ring().key_set();
    tokens.rotate_keys();
    assert_eq!(tokens.check(Some(&early)), Err(CfTokenRefusal::UnknownKey));
    assert_ne!(tokens.ring().key_set().1, before);
    assert!(before.bytes().all(|byte| byte.is_ascii_digit()));
}

#[test]
fn an_independent_reader_verifies_a_token_with_the_published_key() {
    let tokens = tokens();
    let token = tokens.mint(&CfTokenSpec::default());
    tokens.ring().add_odd(None);
    let (set, _) = tokens.ring().key_set();
    let key = &set["keys"][0];
    let mut rules = Validation::new(Algorithm::RS256);
    rules.set_audience(&["cloud_controller"]);
    let by_parts =
        DecodingKey::from_rsa_components(key["n"].as_str().unwrap(), key["e"].as_str().unwrap())
            .unwrap();
    let claims = decode::<Value>(&token, &by_parts, &rules).unwrap().claims;
    assert_eq!(claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(), 1200);
    let by_pem = DecodingKey::from_rsa_pem(key["value"].as_str().unwrap().as_bytes()).unwrap();
    assert!(decode::<Value>(&token, &by_pem, &rules).is_ok());
    assert_eq!(set["keys"].as_array().unwrap().len(), 5);
}

#[test]
fn a_changed_byte_breaks_the_signature() {
    let key = SigningKey::generate("k");
    let token = key.sign(&serde_json::json!({"a": 1}));
    assert_eq!(key.verified(&token).unwrap()["a"], 1);
    let changed = token.replacen("eyJ", "eyK", 1);
    assert!(key.verified(&changed).is_none());
}
