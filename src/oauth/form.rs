//! A grant and the client's credentials as bytes: form body and `Authorization` header.
//!
//! Invariant: the only buffers with a secret in clear are wiped on drop. All values are encoded
//! here. Only [`TokenEndpoint`](crate::oauth::TokenEndpoint) calls this.

use crate::oauth::{
    grant::{ClientAuthentication, Grant},
    hint::{FieldUse, LoginHint},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use form_urlencoded::{Serializer, byte_serialize};
use http::{HeaderMap, HeaderValue};
use secrecy::{ExposeSecret, SecretString};
use std::borrow::Cow;
use zeroize::Zeroizing;

/// Percent encoding turns one byte into three.
const WORST_GROWTH: usize = 3;

/// Shortest user, header and further field that is struck from a text.
const SHORTEST_VALUE: usize = 4;

/// One field of the body.
struct FormField<'a> {
    name: &'a str,
    value: Cow<'a, str>,
    is_secret: bool,
}

impl<'a> FormField<'a> {
    fn new(name: &'a str, value: impl Into<Cow<'a, str>>) -> Self {
        Self { name, value: value.into(), is_secret: false }
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "the form body is where the secret has to be in clear"
    )]
    fn secret(name: &'a str, value: &'a SecretString) -> Self {
        Self { is_secret: true, ..Self::new(name, value.expose_secret()) }
    }

    fn is_filled(&self) -> bool {
        !self.value.is_empty()
    }
}

/// Builds the body, with the fields in a fixed order. `None`: the grant must not be sent, because
/// user or password is empty (it would cost a logon for nothing) or a further field has a reserved
/// name.
pub(super) fn body(
    grant: &Grant,
    authentication: &ClientAuthentication,
) -> Option<Zeroizing<Vec<u8>>> {
    let mut fields = vec![FormField::new("grant_type", grant.kind().grant_type())];
    fields.append(&mut of_grant(grant)?);
    fields.append(&mut of_client(authentication));
    Some(encoded(&fields))
}

/// Returns what must not be repeated in a log line: everything secret of the request, and the user.
/// Of what need not be a secret, a short value is left out: it would be found in every text.
#[expect(clippy::disallowed_methods, reason = "what is struck from a text must be known in clear")]
pub(super) fn sent(
    grant: &Grant,
    authentication: &ClientAuthentication,
    headers: &HeaderMap,
) -> Vec<Zeroizing<String>> {
    let mut fields = of_grant(grant).unwrap_or_default();
    fields.append(&mut of_client(authentication));
    let is_long = |value: &str| value.chars().count() >= SHORTEST_VALUE;
    let is_kept_back = |field: &&FormField<'_>| match field.name {
        "password" | "client_secret" => true,
        "username" => is_long(&field.value),
        _ => field.is_secret && is_long(&field.value),
    };
    let fields = fields.iter().filter(is_kept_back).map(|field| field.value.to_string());
    let headers = headers.values().filter_map(|value| value.to_str().ok());
    let headers = headers.filter(|value| is_long(value)).map(str::to_owned);
    let secret = match authentication {
        ClientAuthentication::Basic { secret, .. } => secret.expose_secret(),
        ClientAuthentication::Body { .. } | ClientAuthentication::Certificate { .. } => "",
    };
    let basic = basic(authentication).filter(|_| !secret.is_empty());
    let basic = basic.and_then(|basic| Some(basic.header.to_str().ok()?.replace("Basic ", "")));
    let texts = fields.chain(headers).chain(basic).chain([secret.to_owned()]);
    texts.map(Zeroizing::new).collect()
}

fn of_grant(grant: &Grant) -> Option<Vec<FormField<'_>>> {
    let fields = match grant {
        Grant::Password { user, password, login_hint, scope, extra } => {
            let mut fields = of_user(user, password)?;
            let hint = login_hint.as_ref().map(LoginHint::to_json);
            fields.extend(hint.map(|json| FormField::new("login_hint", json)));
            fields.extend(scope.iter().map(|scope| FormField::new("scope", scope)));
            fields.append(&mut of_extra(extra)?);
            fields
        }
        Grant::JwtBearer { assertion } => vec![FormField::secret("assertion", assertion)],
        Grant::RefreshToken { token } => vec![FormField::secret("refresh_token", token)],
        Grant::ClientCredentials => Vec::new(),
        Grant::AuthorizationCode { code, verifier, redirect_uri } => vec![
            FormField::secret("code", code),
            FormField::new("redirect_uri", redirect_uri),
            FormField::secret("code_verifier", verifier),
        ],
        Grant::Probe => vec![FormField::new("refresh_token", "")],
    };
    Some(fields)
}

fn of_user<'a>(user: &'a str, password: &'a SecretString) -> Option<Vec<FormField<'a>>> {
    let fields = vec![FormField::new("username", user), FormField::secret("password", password)];
    fields.iter().all(FormField::is_filled).then_some(fields)
}

fn of_extra(extra: &[(String, SecretString)]) -> Option<Vec<FormField<'_>>> {
    let mut fields = Vec::with_capacity(extra.len());
    for (name, value) in extra {
        match FieldUse::of(name) {
            FieldUse::Body => fields.push(FormField::secret(name, value)),
            FieldUse::Dropped => {}
            FieldUse::Reserved | FieldUse::LoginHint => return None,
        }
    }
    Some(fields)
}

fn of_client(authentication: &ClientAuthentication) -> Vec<FormField<'_>> {
    match authentication {
        ClientAuthentication::Basic { .. } => Vec::new(),
        ClientAuthentication::Body { id, secret } => {
            vec![FormField::new("client_id", id), FormField::secret("client_secret", secret)]
        }
        ClientAuthentication::Certificate { id } => vec![FormField::new("client_id", id)],
    }
}

/// Encodes into a buffer that never grows: a grown `String` would leave its old bytes in memory.
fn encoded(fields: &[FormField<'_>]) -> Zeroizing<Vec<u8>> {
    let capacity =
        fields.iter().map(|field| WORST_GROWTH * (field.name.len() + field.value.len()) + 2).sum();
    let mut text = Zeroizing::new(String::with_capacity(capacity));
    let mut form = Serializer::new(&mut *text);
    for field in fields {
        form.append_pair(field.name, &field.value);
    }
    form.finish();
    Zeroizing::new(std::mem::take(&mut *text).into_bytes())
}

/// The client's `Authorization` header.
pub(super) struct BasicHeader {
    /// `Basic …`, marked sensitive.
    pub(super) header: HeaderValue,
    /// Whether form encoding changed id or secret. Then a header must tell UAA to decode them;
    /// without it UAA takes them as they are.
    pub(super) is_encoded: bool,
}

/// Builds `Basic base64(form(id):form(secret))` (RFC 6749, 2.3.1); `None` for clients that
/// authenticate in another way.
#[expect(
    clippy::disallowed_methods,
    reason = "the Authorization header is where the secret has to be in clear"
)]
pub(super) fn basic(authentication: &ClientAuthentication) -> Option<BasicHeader> {
    let ClientAuthentication::Basic { id, secret } = authentication else {
        return None;
    };
    let secret = secret.expose_secret();
    let mut pair =
        Zeroizing::new(String::with_capacity(WORST_GROWTH * (id.len() + secret.len()) + 1));
    pair.extend(byte_serialize(id.as_bytes()));
    pair.push(':');
    pair.extend(byte_serialize(secret.as_bytes()));
    // Every escape makes the text longer, except that a blank becomes a plus.
    let is_encoded = pair.len() != id.len() + 1 + secret.len() || pair.contains('+');
    let code = Zeroizing::new(STANDARD.encode(pair.as_bytes()));
    let text = Zeroizing::new(["Basic ", &code].concat());
    let mut header = HeaderValue::from_str(&text).ok()?;
    header.set_sensitive(true);
    Some(BasicHeader { header, is_encoded })
}

#[cfg(test)]
mod tests {
    use super::{basic, body};
    use crate::oauth::{
        grant::{ClientAuthentication, Grant},
        hint::{LoginHint, OriginKey},
    };
    use rstest::rstest;

    fn client(id: &str, secret: &str) -> ClientAuthentication {
        ClientAuthentication::Basic { id: id.into(), secret: secret.into() }
    }

    fn in_body(id: &str, secret: &str) -> ClientAuthentication {
        ClientAuthentication::Body { id: id.into(), secret: secret.into() }
    }

    fn password(user: &str, password: &str) -> Grant {
        Grant::Password {
            user: user.into(),
            password: password.into(),
            login_hint: None,
            scope: None,
            extra: Vec::new(),
        }
    }

    fn with_extra(fields: &[(&str, &str)]) -> Grant {
        Grant::Password {
            user: "u".into(),
            password: "p".into(),
            login_hint: OriginKey::parse("uaa").ok().map(LoginHint::new),
            scope: Some("a.b c".into()),
            extra: fields.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect(),
        }
    }

    fn text(grant: &Grant, client: &ClientAuthentication) -> Option<String> {
        body(grant, client).map(|body| String::from_utf8(body.to_vec()).unwrap())
    }

    #[rstest]
    #[case::plus("a+b", "a%2Bb")]
    #[case::ampersand("a&b", "a%26b")]
    #[case::equals("a=b", "a%3Db")]
    #[case::percent("a%b", "a%25b")]
    #[case::at("a@b", "a%40b")]
    #[case::blank("a b", "a+b")]
    #[case::umlaut("ü", "%C3%BC")]
    #[case::looks_encoded("a%20b", "a%2520b")]
    fn users_and_passwords_are_form_encoded(#[case] raw: &str, #[case] encoded: &str) {
        let expected = format!("grant_type=password&username={encoded}&password={encoded}");
        assert_eq!(text(&password(raw, raw), &client("cf", "")), Some(expected));
    }

    #[test]
    fn scope_and_further_fields_follow_the_hint() {
        let expected = "grant_type=password&username=u&password=p\
            &login_hint=%7B%22origin%22%3A%22uaa%22%7D&scope=a.b+c&x=%26&y=1";
        let grant = with_extra(&[("x", "&"), ("token_format", "opaque"), ("y", "1")]);
        assert_eq!(text(&grant, &client("cf", "")).unwrap(), expected);
    }

    #[rstest]
    #[case::no_password(password("u", ""))]
    #[case::no_user(password("", "p"))]
    #[case::reserved(with_extra(&[("passcode", "1")]))]
    #[case::second_hint(with_extra(&[("login_hint", "{}")]))]
    fn what_must_not_be_sent_has_no_body(#[case] grant: Grant) {
        assert_eq!(text(&grant, &client("cf", "")), None);
    }

    #[rstest]
    #[case::refresh(
        Grant::RefreshToken { token: "7e54+bae0-r".into() },
        client("cf", ""),
        "grant_type=refresh_token&refresh_token=7e54%2Bbae0-r"
    )]
    #[case::jwt_bearer(
        Grant::JwtBearer { assertion: "a.b.c".into() },
        client("cf", ""),
        "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion=a.b.c"
    )]
    #[case::client_credentials(
        Grant::ClientCredentials,
        in_body("sb-clone!b1|x!b2", "a+b=$"),
        "grant_type=client_credentials&client_id=sb-clone%21b1%7Cx%21b2&client_secret=a%2Bb%3D%24"
    )]
    #[case::probe(
        Grant::Probe,
        in_body("x", "s"),
        "grant_type=refresh_token&refresh_token=&client_id=x&client_secret=s"
    )]
    #[case::empty_secret_in_the_body(
        Grant::ClientCredentials,
        in_body("cf", ""),
        "grant_type=client_credentials&client_id=cf&client_secret="
    )]
    #[case::certificate(
        Grant::ClientCredentials,
        ClientAuthentication::Certificate { id: "x".into() },
        "grant_type=client_credentials&client_id=x"
    )]
    fn each_grant_has_its_body(
        #[case] grant: Grant,
        #[case] client: ClientAuthentication,
        #[case] expected: &str,
    ) {
        assert_eq!(text(&grant, &client).as_deref(), Some(expected));
    }

    #[rstest]
    #[case::cf("cf", "", "Basic Y2Y6", false)]
    #[case::plain("a-b_c.d*", "Z9", "Basic YS1iX2MuZCo6Wjk=", false)]
    #[case::encoded_id("a!b|c", "s", "Basic YSUyMWIlN0NjOnM=", true)]
    #[case::colon_in_the_secret("cf", ":", "Basic Y2Y6JTNB", true)]
    #[case::blank_in_the_secret("cf", "a b", "Basic Y2Y6YSti", true)]
    fn basic_parts_are_form_encoded_and_marked(
        #[case] id: &str,
        #[case] secret: &str,
        #[case] expected: &str,
        #[case] is_encoded: bool,
    ) {
        let basic = basic(&client(id, secret)).unwrap();
        assert_eq!((basic.header.to_str().unwrap(), basic.is_encoded), (expected, is_encoded));
        assert!(basic.header.is_sensitive());
    }

    #[test]
    fn a_client_in_the_body_has_no_header() {
        assert!(basic(&in_body("x", "s")).is_none());
    }
}
