//! The one accepted form of `Authorization`.

use super::support::{
    KEY, KID, KeyServer, binding, client, key_set, now, valid_claims, valid_header, verifier,
};
use http::{HeaderMap, HeaderValue, header};
use rstest::rstest;

/// The result for these values of `Authorization`. `TOKEN` stands for a valid token.
async fn verdict(values: &[&str]) -> &'static str {
    let server = KeyServer::start(key_set(&[KEY.jwk(KID)])).await;
    let token = KEY.token(&valid_header(), &valid_claims(&server.domain));
    let headers: HeaderMap = values
        .iter()
        .map(|value| HeaderValue::from_bytes(value.replace("TOKEN", &token).as_bytes()).unwrap())
        .map(|value| (header::AUTHORIZATION, value))
        .fold(HeaderMap::new(), |mut headers, (name, value)| {
            headers.append(name, value);
            headers
        });
    let verifier = verifier(binding(&server.domain), &client());
    verifier.verify(&headers, now()).await.map_or_else(|error| error.reason(), |_| "accepted")
}

#[rstest]
#[case::usual("Bearer TOKEN")]
#[case::lower_case("bearer TOKEN")]
#[case::upper_case("BEARER TOKEN")]
#[case::mixed_case("bEaReR TOKEN")]
#[tokio::test]
async fn the_scheme_is_accepted_in_any_case(#[case] value: &str) {
    assert_eq!(verdict(&[value]).await, "accepted");
}

#[rstest]
#[case::two_blanks("Bearer  TOKEN")]
#[case::tab("Bearer\tTOKEN")]
#[case::blank_at_the_end("Bearer TOKEN ")]
#[case::blank_at_the_start(" Bearer TOKEN")]
#[case::two_tokens("Bearer TOKEN TOKEN")]
#[case::list("Bearer TOKEN,Bearer TOKEN")]
#[case::list_with_blank("Bearer TOKEN, Bearer TOKEN")]
#[case::no_scheme("TOKEN")]
#[case::no_token("Bearer")]
#[case::blank_token("Bearer ")]
#[case::empty("")]
#[case::basic("Basic TOKEN")]
#[case::longer_scheme("Bearers TOKEN")]
#[case::colon("Bearer: TOKEN")]
#[case::no_blank("BearerTOKEN")]
#[case::not_ascii("Bearer TOKENé")]
#[tokio::test]
async fn any_other_form_is_refused(#[case] value: &str) {
    assert_eq!(verdict(&[value]).await, "authorization_form");
}

#[rstest]
#[case::equal(&["Bearer TOKEN", "Bearer TOKEN"])]
#[case::second_bad(&["Bearer TOKEN", "Bearer b"])]
#[case::first_bad(&["Bearer a", "Bearer TOKEN"])]
#[case::other_scheme(&["Basic YTpi", "Bearer TOKEN"])]
#[case::empty(&["", "Bearer TOKEN"])]
#[tokio::test]
async fn two_headers_are_refused_whatever_they_contain(#[case] values: &[&str]) {
    assert_eq!(verdict(values).await, "authorization_repeated");
}

#[rstest]
#[case::quoted("Bearer \"TOKEN\"")]
#[case::angle("Bearer <TOKEN>")]
#[case::short("Bearer t")]
#[tokio::test]
async fn a_decorated_token_is_refused(#[case] value: &str) {
    assert_eq!(verdict(&[value]).await, "token_form");
}

#[tokio::test]
async fn tokens_in_other_headers_are_not_read() {
    let server = KeyServer::start(key_set(&[KEY.jwk(KID)])).await;
    let token = KEY.token(&valid_header(), &valid_claims(&server.domain));
    let value = HeaderValue::from_str(&format!("Bearer {token}")).unwrap();
    let mut headers = HeaderMap::new();
    for name in [
        "proxy-authorization",
        "x-authorization",
        "x-forwarded-authorization",
        "cookie",
        "authorization_",
    ] {
        headers.insert(name, value.clone());
    }
    let error =
        verifier(binding(&server.domain), &client()).verify(&headers, now()).await.unwrap_err();
    assert_eq!(error.reason(), "missing");
}
