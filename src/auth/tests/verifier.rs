//! What the verifier adds to the rules: keys over HTTP, verified tokens, missing bindings.

use super::support::{
    KEY, KID, KeyServer, NOW, OTHER_KEY, ZONE, base64url, bearer, binding, bound, client, key_set,
    now, valid_claims, valid_header, verifier, verifier_with, verify,
};
use crate::auth::{AuthError, Caller, IssuerBindings, Scope, Settings, UnboundIssuer, Verifier};
use http::HeaderMap;
use rstest::rstest;
use serde_json::json;
use std::time::Duration;

/// A server with the usual key, a verifier bound to it, and a valid token.
async fn start() -> (KeyServer, Verifier, String) {
    let server = KeyServer::start(key_set(&[KEY.jwk(KID)])).await;
    let token = KEY.token(&valid_header(), &valid_claims(&server.domain));
    let verifier = verifier(binding(&server.domain), &client());
    (server, verifier, token)
}

fn reason(verdict: Result<Caller, AuthError>) -> &'static str {
    verdict.map_or_else(|error| error.reason(), |_| "accepted")
}

#[tokio::test]
async fn a_technical_caller_is_known_by_client_zone_and_scope() {
    let (_server, verifier, token) = start().await;
    let caller = verify(&verifier, &token).await.unwrap();
    assert_eq!((caller.client_id(), caller.zone(), caller.user()), ("sb-caller!t7", ZONE, None));
    assert_eq!(caller.scopes(), [Scope::RoutesRead]);
    assert!(caller.has(Scope::RoutesRead) && !caller.has(Scope::RoutesWrite));
}

#[tokio::test]
async fn a_user_is_known_by_name_origin_and_the_hash_of_the_token_id() {
    let (server, verifier, _) = start().await;
    let mut claims = valid_claims(&server.domain);
    claims["user_name"] = json!("ada@example.test");
    claims["origin"] = json!("corporate");
    claims["sub"] = json!("user-guid");
    claims["jti"] = json!("abc");
    let caller = verify(&verifier, &KEY.token(&valid_header(), &claims)).await.unwrap();
    assert_eq!((caller.user(), caller.origin()), (Some("ada@example.test"), Some("corporate")));
    assert_eq!(caller.subject(), Some("user-guid"));
    assert_eq!(
        caller.token_hash(),
        Some("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")
    );
}

#[tokio::test]
async fn keys_are_fetched_for_the_configured_zone() {
    let server = KeyServer::start(key_set(&[KEY.jwk(KID)])).await;
    let settings = Settings { zones: vec!["a zone/ü".to_owned()], ..Settings::default() };
    let verifier = verifier_with(&settings, &bound(binding(&server.domain)), &client());
    let mut claims = valid_claims(&server.domain);
    claims["zid"] = json!("a zone/ü");
    verify(&verifier, &KEY.token(&valid_header(), &claims)).await.unwrap();
    let requests = server.requests();
    assert_eq!(requests.len(), 1);
    assert!(
        requests[0].starts_with("get /token_keys?zid=a%20zone%2f%c3%bc http/1.1\r\n"),
        "{requests:?}"
    );
}

#[tokio::test]
async fn without_a_header_the_token_is_missing() {
    let (_server, verifier, _) = start().await;
    let verdict = verifier.verify(&HeaderMap::new(), now()).await;
    assert_eq!(verdict.unwrap_err(), AuthError::Missing);
}

#[tokio::test]
async fn without_a_binding_only_a_restart_helps() {
    let (_server, _, token) = start().await;
    let settings = Settings::default();
    let verifier = verifier_with(&settings, &IssuerBindings::default(), &client());
    let error = verify(&verifier, &token).await.unwrap_err();
    assert_eq!(error, AuthError::NotBound(UnboundIssuer::Xsuaa));
    assert!(!error.is_transient() && error.retry_after().is_none());
    let missing = verifier.verify(&HeaderMap::new(), now()).await;
    assert_eq!(missing.unwrap_err(), AuthError::Missing);
}

#[rstest]
#[case::no_domain("", "sb", "app")]
#[case::path_in_domain("evil.test/x", "sb", "app")]
#[case::user_in_domain("a@evil.test", "sb", "app")]
#[case::port_of_remote_domain("evil.test:8443", "sb", "app")]
#[case::no_client_id("uaa.test", "", "app")]
#[case::no_application("uaa.test", "sb", "")]
#[tokio::test]
async fn an_unusable_binding_counts_as_none(
    #[case] domain: &str,
    #[case] client_id: &str,
    #[case] xsappname: &str,
) {
    let binding = crate::binding::XsuaaBinding {
        client_id: client_id.to_owned(),
        xsappname: xsappname.to_owned(),
        ..binding(domain)
    };
    let error = verify(&verifier(binding, &client()), "a.b.c").await.unwrap_err();
    assert_eq!(error, AuthError::NotBound(UnboundIssuer::XsuaaUnusable));
}

#[tokio::test]
async fn a_verified_token_is_accepted_from_the_cache() {
    let (_server, verifier, token) = start().await;
    let headers = bearer(&token);
    // A new check refuses a token from the future; only the cache accepts it.
    let before_issue = now() - Duration::from_secs(3600);
    assert_eq!(reason(verifier.verify(&headers, before_issue).await), "issued_at");
    verify(&verifier, &token).await.unwrap();
    assert_eq!(reason(verifier.verify(&headers, before_issue).await), "accepted");
}

#[tokio::test]
async fn a_cached_token_expires_with_its_exp() {
    let (server, verifier, _) = start().await;
    let mut claims = valid_claims(&server.domain);
    claims["exp"] = json!(NOW + 10);
    let token = KEY.token(&valid_header(), &claims);
    verify(&verifier, &token).await.unwrap();
    let later = now() + Duration::from_secs(70);
    assert_eq!(reason(verifier.verify(&bearer(&token), later).await), "expiry");
}

#[tokio::test]
async fn a_cached_token_does_not_cover_a_changed_one() {
    let (_server, verifier, token) = start().await;
    verify(&verifier, &token).await.unwrap();
    let (signed, _) = token.rsplit_once('.').unwrap();
    let tampered = format!("{signed}.{}", base64url(&[7; 256]));
    assert_eq!(reason(verify(&verifier, &tampered).await), "signature");
}

#[tokio::test]
async fn a_removed_key_ends_the_tokens_cached_with_it() {
    let (server, verifier, old) = start().await;
    verify(&verifier, &old).await.unwrap();
    server.edit(|state| state.body = key_set(&[OTHER_KEY.jwk("key-2")]));
    let mut header = valid_header();
    header["kid"] = json!("key-2");
    let new = OTHER_KEY.token(&header, &valid_claims(&server.domain));
    verify(&verifier, &new).await.unwrap();
    assert_eq!(reason(verify(&verifier, &old).await), "key_unknown");
}

#[tokio::test]
async fn a_new_key_is_accepted_on_first_use_by_parallel_requests() {
    let (server, verifier, old) = start().await;
    verify(&verifier, &old).await.unwrap();
    server.edit(|state| state.body = key_set(&[KEY.jwk(KID), OTHER_KEY.jwk("key-2")]));
    let mut header = valid_header();
    header["kid"] = json!("key-2");
    let new = OTHER_KEY.token(&header, &valid_claims(&server.domain));
    let headers = bearer(&new);
    let (first, second) =
        tokio::join!(verifier.verify(&headers, now()), verifier.verify(&headers, now()));
    assert!(first.is_ok() && second.is_ok());
    assert_eq!(server.requests().len(), 2);
}

#[tokio::test]
async fn a_flood_of_unknown_keys_fetches_once() {
    let (server, verifier, token) = start().await;
    verify(&verifier, &token).await.unwrap();
    for number in 0..300 {
        let mut header = valid_header();
        header["kid"] = json!(format!("unknown-{number}"));
        let forged = format!(
            "{}.{}.AAAA",
            base64url(header.to_string().as_bytes()),
            token.split('.').nth(1).unwrap()
        );
        // The fetch was made for the first one. The others may be new keys.
        let expected = if number == 0 { "key_unknown" } else { "key_undecided" };
        assert_eq!(reason(verify(&verifier, &forged).await), expected);
    }
    assert_eq!(server.requests().len(), 2);
}

#[tokio::test]
async fn the_entity_tag_is_sent_back_unchanged_and_304_keeps_the_keys() {
    let (server, verifier, token) = start().await;
    server.edit(|state| state.headers = vec![("ETag", "1717171717171".to_owned())]);
    verify(&verifier, &token).await.unwrap();
    server.edit(|state| {
        state.status = 304;
        state.body.clear();
    });
    let mut header = valid_header();
    header["kid"] = json!("key-2");
    let unknown = OTHER_KEY.token(&header, &valid_claims(&server.domain));
    assert_eq!(reason(verify(&verifier, &unknown).await), "key_unknown");
    assert_eq!(reason(verify(&verifier, &token).await), "accepted");
    let requests = server.requests();
    assert!(!requests[0].contains("if-none-match"));
    assert!(requests[1].contains("\r\nif-none-match: 1717171717171\r\n"), "{requests:?}");
}

#[rstest]
#[case::gateway_error(502, Vec::new(), "{}", 4)]
#[case::refusal(401, Vec::new(), "{}", 1)]
#[case::redirect(302, vec![("location", "/elsewhere".to_owned())], "", 1)]
#[case::unasked_not_modified(304, Vec::new(), "", 1)]
#[case::too_late_for_a_repeat(429, vec![("retry-after", "30".to_owned())], "", 1)]
#[case::no_json(200, Vec::new(), "<html>", 4)]
#[case::no_keys(200, Vec::new(), "{}", 4)]
#[case::keys_of_wrong_type(200, Vec::new(), r#"{"keys":{}}"#, 4)]
#[case::list(200, Vec::new(), "[[]]", 4)]
#[case::empty(200, Vec::new(), "", 4)]
#[case::empty_set(200, Vec::new(), r#"{"keys":[]}"#, 4)]
#[case::no_usable_key(200, Vec::new(), r#"{"keys":[{"kty":"oct","kid":"key-1"}]}"#, 4)]
#[tokio::test]
async fn an_answer_that_is_no_key_set_is_repeated_if_that_helps_and_makes_keys_unavailable(
    #[case] status: u16,
    #[case] headers: Vec<(&'static str, String)>,
    #[case] body: &str,
    #[case] requests: usize,
) {
    let (server, verifier, token) = start().await;
    let asked = headers
        .iter()
        .find(|(name, _)| *name == "retry-after")
        .map(|(_, text)| Duration::from_secs(text.parse().unwrap()));
    server.edit(|state| {
        state.status = status;
        state.headers = headers;
        body.clone_into(&mut state.body);
    });
    let error = verify(&verifier, &token).await.unwrap_err();
    assert!(matches!(error, AuthError::KeysUnavailable { .. }), "{error:?}");
    let least =
        asked.map_or(Duration::from_secs(1), |asked| asked.saturating_sub(Duration::from_secs(1)));
    assert!(error.retry_after() >= Some(least), "{error:?}");
    assert_eq!(server.requests().len(), requests);
}

#[tokio::test]
async fn a_set_without_a_usable_key_does_not_end_the_keys_in_use() {
    let (server, verifier, token) = start().await;
    verify(&verifier, &token).await.unwrap();
    server.edit(|state| state.body = key_set(&[]));
    let mut header = valid_header();
    header["kid"] = json!("key-2");
    let new = OTHER_KEY.token(&header, &valid_claims(&server.domain));
    assert_eq!(reason(verify(&verifier, &new).await), "keys_unavailable");
    assert_eq!(reason(verify(&verifier, &token).await), "accepted");
}

#[tokio::test]
async fn an_answer_over_the_limit_makes_keys_unavailable() {
    let (server, verifier, token) = start().await;
    server.edit(|state| state.body.push_str(&" ".repeat(256 * 1024)));
    assert_eq!(reason(verify(&verifier, &token).await), "keys_unavailable");
}

#[tokio::test]
async fn a_dead_endpoint_makes_keys_unavailable() {
    let domain = {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap().to_string()
    };
    let verifier = verifier(binding(&domain), &client());
    let token = KEY.token(&valid_header(), &valid_claims(&domain));
    assert_eq!(reason(verify(&verifier, &token).await), "keys_unavailable");
}

#[tokio::test]
async fn debug_output_shows_no_caller() {
    let (_server, verifier, token) = start().await;
    verify(&verifier, &token).await.unwrap();
    assert_eq!(format!("{verifier:?}"), "Verifier { .. }");
}
