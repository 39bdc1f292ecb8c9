//! The answers of a token endpoint: success and error (RFC 6749, 5.1 and 5.2).
//!
//! Invariant: a [`TokenResponse`] has a token that can be sent. No text of the answer gets into an
//! error. The claims are not verified: they may only shorten the lifetime, nothing else.

use crate::{
    oauth::lenient::{ExpiresIn, LONGEST, NumberOrAbsent, StringList, TextOrAbsent},
    upstream::{HttpResponse, body},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use http::HeaderValue;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use std::{fmt, time::Duration};
use tokio::time::Instant;
use zeroize::Zeroizing;

/// A successful answer of a token endpoint. `Debug` shows no token.
pub struct TokenResponse {
    /// Not empty; visible ASCII only.
    pub access_token: SecretString,
    /// Absent if the client may not refresh, or only on request.
    pub refresh_token: Option<SecretString>,
    /// `expires_in` (integer or numeric string), at most the JWT's `exp − iat` if that is readable,
    /// and replaced by it if absent. `None`: both are missing, or `expires_in` is zero, negative or
    /// not a number.
    pub expires_in: Option<Duration>,
    /// Space-delimited, as given.
    pub scope: Option<String>,
    /// `bearer <access token>`, marked sensitive.
    pub authorization: HeaderValue,
    /// `bearer <id token>`, marked sensitive: the form in which `auth` reads a token. A login has
    /// one; the other grants do not look at it.
    pub identity: Option<HeaderValue>,
    /// When the request was sent. Lifetimes count from here.
    pub sent_at: Instant,
    /// Unverified claims, checked once for the log only. `None` for opaque tokens.
    pub claims: Option<UnverifiedClaims>,
}

impl TokenResponse {
    /// Reads a 200.
    ///
    /// # Errors
    /// A text of ours that says what is wrong (F26). It quotes nothing of the answer.
    pub fn read(answer: &HttpResponse) -> Result<Self, String> {
        let json: TokenJson = body::decode(&answer.body).map_err(|error| error.to_string())?;
        if !json.token_type.is_bearer() {
            return Err("token_type is not bearer".to_owned());
        }
        let Some(access_token) = json.access_token else {
            return Err("no access_token".to_owned());
        };
        let Some(authorization) = bearer(&access_token) else {
            return Err("access_token is empty or not visible ASCII".to_owned());
        };
        let claims = claims(&access_token);
        let lifetime = claims.as_ref().and_then(UnverifiedClaims::lifetime);
        Ok(Self {
            expires_in: json.expires_in.capped(lifetime),
            refresh_token: json.refresh_token.filter(is_filled),
            scope: json.scope.text(),
            access_token,
            authorization,
            identity: json.id_token.text().map(SecretString::from).as_ref().and_then(bearer),
            sent_at: answer.sent_at,
            claims,
        })
    }
}

impl fmt::Debug for TokenResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenResponse")
            .field("refreshable", &self.refresh_token.is_some())
            .field("expires_in", &self.expires_in)
            .finish_non_exhaustive()
    }
}

/// Claims of a token, not verified.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UnverifiedClaims {
    /// The identity provider that UAA asked.
    pub origin: Option<String>,
    /// `aud`.
    pub audience: Vec<String>,
    /// `scope`.
    pub scopes: Vec<String>,
    /// `exp`, Unix seconds.
    pub expires_at: Option<i64>,
    /// `iat`, Unix seconds.
    pub issued_at: Option<i64>,
}

impl UnverifiedClaims {
    /// Returns `exp − iat`, which needs no clock of ours.
    fn lifetime(&self) -> Option<Duration> {
        let seconds = self.expires_at?.checked_sub(self.issued_at?)?;
        let seconds = u64::try_from(seconds).ok().filter(|count| *count > 0)?;
        Some(Duration::from_secs(seconds).min(LONGEST))
    }
}

/// An error answer, or the one that a provider's answer left in its description. Unknown codes are
/// kept; members of other types count as absent.
#[derive(Default, Deserialize)]
pub(super) struct OAuthError {
    #[serde(default)]
    error: TextOrAbsent,
    #[serde(default)]
    error_description: TextOrAbsent,
}

impl OAuthError {
    /// Reads an error object. Anything else has neither member.
    pub(super) fn read(body: &[u8]) -> Self {
        Self::read_object(body).unwrap_or_default()
    }

    /// Reads the object inside a description, if there is one.
    pub(super) fn nested(description: &str) -> Option<Self> {
        Self::read_object(description.as_bytes())
    }

    /// A derived reader would also accept an array.
    fn read_object(text: &[u8]) -> Option<Self> {
        if text.trim_ascii_start().first() != Some(&b'{') {
            return None;
        }
        body::decode(text).ok()
    }

    pub(super) fn into_parts(self) -> ErrorParts {
        ErrorParts { code: self.error.text(), description: self.error_description.text() }
    }
}

/// The two members, if they are texts.
pub(super) struct ErrorParts {
    pub(super) code: Option<String>,
    pub(super) description: Option<String>,
}

#[derive(Deserialize)]
struct TokenJson {
    access_token: Option<SecretString>,
    #[serde(default)]
    id_token: TextOrAbsent,
    refresh_token: Option<SecretString>,
    #[serde(default)]
    token_type: TextOrAbsent,
    #[serde(default)]
    expires_in: ExpiresIn,
    #[serde(default)]
    scope: TextOrAbsent,
}

/// Claims in any form. A member of another type counts as absent.
#[derive(Deserialize)]
struct ClaimsJson {
    #[serde(default)]
    origin: TextOrAbsent,
    #[serde(default)]
    aud: StringList,
    #[serde(default)]
    scope: StringList,
    #[serde(default)]
    exp: NumberOrAbsent,
    #[serde(default)]
    iat: NumberOrAbsent,
}

/// Builds the header; `None` for a token that is empty or has bytes that no bearer token has (RFC
/// 6750, 2.1).
#[expect(clippy::disallowed_methods, reason = "the header is where the token has to be in clear")]
fn bearer(token: &SecretString) -> Option<HeaderValue> {
    let token = token.expose_secret();
    if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return None;
    }
    let text = Zeroizing::new(["bearer ", token].concat());
    let mut header = HeaderValue::from_str(&text).ok()?;
    header.set_sensitive(true);
    Some(header)
}

#[expect(clippy::disallowed_methods, reason = "whether it is empty is no secret")]
fn is_filled(token: &SecretString) -> bool {
    !token.expose_secret().is_empty()
}

/// Reads the middle part of a JWT; `None` for opaque tokens.
#[expect(clippy::disallowed_methods, reason = "reads the claims; the signature is left alone")]
fn claims(token: &SecretString) -> Option<UnverifiedClaims> {
    let mut parts = token.expose_secret().split('.');
    let (_header, payload, _signature) = (parts.next()?, parts.next()?, parts.next()?);
    let payload = Zeroizing::new(URL_SAFE_NO_PAD.decode(payload).ok()?);
    let claims: ClaimsJson = body::decode(&payload).ok()?;
    Some(UnverifiedClaims {
        origin: claims.origin.text(),
        audience: claims.aud.list(),
        scopes: claims.scope.list(),
        expires_at: claims.exp.number(),
        issued_at: claims.iat.number(),
    })
}

#[cfg(test)]
mod tests {
    use super::{TokenResponse, UnverifiedClaims};
    use crate::{oauth::lenient::LONGEST, upstream::HttpResponse};
    use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
    use http::{HeaderMap, StatusCode};
    use rstest::rstest;
    use secrecy::ExposeSecret;
    use std::time::Duration;
    use tokio::time::Instant;

    fn read(body: &str) -> Result<TokenResponse, String> {
        TokenResponse::read(&HttpResponse {
            status: StatusCode::OK,
            headers: HeaderMap::new(),
            body: body.as_bytes().to_vec().into(),
            sent_at: Instant::now(),
        })
    }

    fn jwt(claims: &str) -> String {
        format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims))
    }

    /// 136 years.
    const LONGEST_SECONDS: u64 = LONGEST.as_secs();

    fn lifetime(token: &TokenResponse) -> Option<u64> {
        token.expires_in.as_ref().map(Duration::as_secs)
    }

    #[test]
    fn an_answer_of_uaa_is_read() {
        let body = r#"{"access_token":"a.b-c","token_type":"bearer","id_token":"x",
            "refresh_token":"7e54bae0-r","expires_in":1199,"scope":"openid uaa.user","jti":"y"}"#;
        let token = read(body).unwrap();
        #[expect(clippy::disallowed_methods, reason = "the test compares them")]
        let tokens = (
            token.access_token.expose_secret(),
            token.refresh_token.as_ref().unwrap().expose_secret(),
        );
        assert_eq!(tokens, ("a.b-c", "7e54bae0-r"));
        assert_eq!(lifetime(&token), Some(1199));
        assert_eq!(token.scope.as_deref(), Some("openid uaa.user"));
        assert_eq!(token.authorization, "bearer a.b-c");
        assert!(token.authorization.is_sensitive());
        assert_eq!(token.claims, None);
    }

    #[rstest]
    #[case::integer("1199", Some(1199))]
    #[case::short("599", Some(599))]
    #[case::text(r#""1199""#, Some(1199))]
    #[case::text_with_blanks(r#"" 1199 ""#, Some(1199))]
    #[case::fraction("1199.0", Some(1199))]
    #[case::very_long("1000000000000000000", Some(LONGEST_SECONDS))]
    #[case::very_long_as_float("1e18", Some(LONGEST_SECONDS))]
    #[case::beyond_any_duration("1e300", Some(LONGEST_SECONDS))]
    #[case::zero("0", None)]
    #[case::negative("-1", None)]
    #[case::negative_text(r#""-1""#, None)]
    #[case::word(r#""x""#, None)]
    #[case::infinite(r#""inf""#, None)]
    #[case::not_a_number(r#""NaN""#, None)]
    #[case::empty(r#""""#, None)]
    #[case::null("null", None)]
    #[case::boolean("true", None)]
    #[case::object("{}", None)]
    fn expires_in_is_an_integer_or_a_numeric_text(
        #[case] raw: &str,
        #[case] expected: Option<u64>,
    ) {
        let token = read(&format!(r#"{{"access_token":"t","expires_in":{raw}}}"#)).unwrap();
        assert_eq!(lifetime(&token), expected);
    }

    #[rstest]
    #[case::capped(r#","expires_in":1199"#, r#"{"iat":1000,"exp":1600}"#, Some(600))]
    #[case::not_lengthened(r#","expires_in":599"#, r#"{"iat":1000,"exp":2200}"#, Some(599))]
    #[case::absent("", r#"{"iat":1000,"exp":2200}"#, Some(1200))]
    #[case::null(r#","expires_in":null"#, r#"{"iat":1000,"exp":2200}"#, Some(1200))]
    #[case::unusable(r#","expires_in":"x""#, r#"{"iat":1000,"exp":2200}"#, None)]
    #[case::without_iat(r#","expires_in":1199"#, r#"{"exp":2200}"#, Some(1199))]
    #[case::backwards(r#","expires_in":1199"#, r#"{"iat":2200,"exp":1000}"#, Some(1199))]
    #[case::overflow(
        r#","expires_in":1199"#,
        r#"{"iat":-9223372036854775808,"exp":9223372036854775807}"#,
        Some(1199)
    )]
    #[case::odd_types(r#","expires_in":1199"#, r#"{"iat":"1000","exp":[]}"#, Some(1199))]
    fn the_claims_cap_the_lifetime(
        #[case] expires_in: &str,
        #[case] claims: &str,
        #[case] expected: Option<u64>,
    ) {
        let token = jwt(claims);
        let token = read(&format!(r#"{{"access_token":"{token}"{expires_in}}}"#)).unwrap();
        assert_eq!(lifetime(&token), expected);
    }

    #[rstest]
    #[case::uaa(r#"{"origin":"o","aud":["a","b"],"scope":["s.t","u"],"exp":2,"iat":1}"#)]
    #[case::texts(r#"{"origin":"o","aud":"a b","scope":"s.t u","exp":2,"iat":1}"#)]
    fn claims_are_read_for_the_log(#[case] claims: &str) {
        let body = format!(r#"{{"access_token":"{}"}}"#, jwt(claims));
        let expected = UnverifiedClaims {
            origin: Some("o".into()),
            audience: vec!["a".into(), "b".into()],
            scopes: vec!["s.t".into(), "u".into()],
            expires_at: Some(2),
            issued_at: Some(1),
        };
        assert_eq!(read(&body).unwrap().claims, Some(expected));
    }

    #[rstest]
    #[case::html("<html>canary</html>", "syntax error at line 1, column 1")]
    #[case::truncated(r#"{"access_token":"canary"#, "unexpected end at line 1, column 23")]
    #[case::empty("", "unexpected end at line 1, column 0")]
    #[case::no_token(r#"{"canary":1}"#, "no access_token")]
    #[case::null_token(r#"{"access_token":null}"#, "no access_token")]
    #[case::empty_token(r#"{"access_token":""}"#, "access_token is empty or not visible ASCII")]
    #[case::line_break(
        r#"{"access_token":"canary\r\nX: y"}"#,
        "access_token is empty or not visible ASCII"
    )]
    #[case::umlaut(r#"{"access_token":"cänary"}"#, "access_token is empty or not visible ASCII")]
    #[case::number(r#"{"access_token":1}"#, "wrong type or missing field at line 1, column 17")]
    #[case::other_type(
        r#"{"access_token":"canary","token_type":"mac"}"#,
        "token_type is not bearer"
    )]
    fn an_unreadable_success_says_why_and_quotes_nothing(#[case] body: &str, #[case] why: &str) {
        assert_eq!(read(body).unwrap_err(), why);
    }

    #[rstest]
    #[case::only_the_token(r#"{"access_token":"t"}"#)]
    #[case::upper_case_type(r#"{"access_token":"t","token_type":"Bearer"}"#)]
    #[case::odd_optional_members(r#"{"access_token":"t","token_type":null,"scope":["a"]}"#)]
    #[case::no_refresh_token(r#"{"access_token":"t","refresh_token":null}"#)]
    #[case::empty_refresh_token(r#"{"access_token":"t","refresh_token":""}"#)]
    fn only_the_access_token_is_needed(#[case] body: &str) {
        let token = read(body).unwrap();
        assert!(token.refresh_token.is_none() && token.scope.is_none());
    }

    #[test]
    fn debug_shows_no_token() {
        let body = r#"{"access_token":"canary","refresh_token":"canary","expires_in":1}"#;
        let shown = format!("{:?}", read(body).unwrap());
        assert_eq!(shown, "TokenResponse { refreshable: true, expires_in: Some(1s), .. }");
    }
}
