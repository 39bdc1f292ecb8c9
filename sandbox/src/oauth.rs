//! What UAA and XSUAA have in common: parameters, client authentication, refusals. Invariant: every
//! answer here is the answer of the real UAA, byte for byte, see `docs/reference/uaa-faults.md`.
//! Called by `uaa` and `xsuaa`.

use axum::body::Body;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use serde::Serialize;

use crate::journal::is_form;

/// The content type of UAA's own JSON answers (recorded with and without the charset).
const JSON: &str = "application/json;charset=UTF-8";

/// The refusal of a grant that the client lacks. All releases write it in the same way.
pub(crate) const UNAUTHORIZED_GRANT: &str = "Unauthorized grant type";

/// The parameters of a token call. Those of the query come first, as in servlets.
#[derive(Debug)]
pub(crate) struct TokenParameters(Vec<(String, String)>);

/// An OAuth client.
#[derive(Clone, Debug)]
pub(crate) struct OAuthClient {
    pub(crate) id: String,
    pub(crate) secret: String,
    pub(crate) grants: Vec<String>,
    pub(crate) scopes: Vec<String>,
    /// The scopes that the client gets with client credentials.
    pub(crate) authorities: Vec<String>,
}

/// How id and secret are encoded in Basic credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BasicEncoding {
    /// Always form-encoded (RFC 6749 section 2.3.1). The default of UAA.
    Always,
    /// Only with `X-CF-ENCODED-CREDENTIALS: true`. Without the header a `+` in a secret fails.
    /// SAP's XSUAA.
    Announced,
}

/// A refusal of the token endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OAuthRefusal {
    pub(crate) status: StatusCode,
    pub(crate) error: String,
    pub(crate) description: String,
}

/// The members have the order of the real body.
#[derive(Serialize)]
struct OAuthRefusalBody<'a> {
    error: &'a str,
    /// Left out if empty, as by the rate limiter and RFC-style servers.
    #[serde(skip_serializing_if = "str::is_empty")]
    error_description: &'a str,
}

impl TokenParameters {
    /// Reads the query and, if the content type is a form, the body.
    pub(crate) fn read(query: Option<&str>, headers: &HeaderMap, body: &[u8]) -> Self {
        let body = if is_form(headers) { body } else { b"" };
        let query = form_urlencoded::parse(query.unwrap_or_default().as_bytes());
        let pairs = query.chain(form_urlencoded::parse(body));
        Self(pairs.map(|(name, value)| (name.into_owned(), value.into_owned())).collect())
    }

    /// Tells whether a value holds a NUL character.
    pub(crate) fn have_nul(&self) -> bool {
        self.0.iter().any(|(_, value)| value.contains('\0'))
    }

    /// Returns the first value of this name.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

impl OAuthClient {
    /// Tells whether the client may use a grant.
    pub(crate) fn may(&self, grant: &str) -> bool {
        self.grants.iter().any(|own| own == grant)
    }
}

impl OAuthRefusal {
    pub(crate) fn new(status: StatusCode, error: &str, description: impl Into<String>) -> Self {
        Self { status, error: error.to_owned(), description: description.into() }
    }

    /// A 401 as UAA writes it since 76.26.
    pub(crate) fn invalid_client(description: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "invalid_client", description)
    }

    /// A 401 whose `error` is `unauthorized` in all versions.
    pub(crate) fn unauthorized(description: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "unauthorized", description)
    }

    /// A 401 of the refresh grant.
    pub(crate) fn invalid_token(description: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "invalid_token", description)
    }

    /// A 400.
    pub(crate) fn bad_request(error: &str, description: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, error, description)
    }

    /// An error without a text: UAA itself failed.
    pub(crate) fn unexplained(status: StatusCode) -> Self {
        Self::new(status, "", "")
    }

    pub(crate) fn is_unexplained(&self) -> bool {
        self.error.is_empty()
    }

    /// The client may not use this grant.
    pub(crate) fn unauthorized_grant() -> Self {
        Self::invalid_client(UNAUTHORIZED_GRANT)
    }

    /// Returns the answer with the headers of the real UAA.
    pub(crate) fn answer(&self) -> Response<Body> {
        self.answer_with(&self.description)
    }

    /// As [`OAuthRefusal::answer`], with another description in the body.
    pub(crate) fn answer_with(&self, description: &str) -> Response<Body> {
        let body = OAuthRefusalBody { error: &self.error, error_description: description };
        let mut answer = json_answer(self.status, &body);
        answer.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        answer.headers_mut().insert(header::PRAGMA, HeaderValue::from_static("no-cache"));
        if self.status == StatusCode::UNAUTHORIZED
            && let Ok(challenge) = HeaderValue::from_str(&self.challenge())
        {
            answer.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
        }
        answer
    }

    /// For `invalid_client` the header always says `Bad credentials`, whatever the body says
    /// (source). A token that is not valid has the scheme of tokens (seen).
    fn challenge(&self) -> String {
        if self.error == "invalid_token" {
            let Self { error, description, .. } = self;
            return format!("Bearer error=\"{error}\", error_description=\"{description}\"");
        }
        let (error, description) = match self.error.as_str() {
            "invalid_client" => ("unauthorized", "Bad credentials"),
            other => (other, self.description.as_str()),
        };
        format!(
            "Basic realm=\"UAA/client\", error=\"{error}\", error_description=\"{description}\""
        )
    }
}

/// Returns a JSON answer. The body is empty if the value cannot be written.
pub(crate) fn json_answer(status: StatusCode, body: &impl Serialize) -> Response<Body> {
    let mut answer = Response::new(Body::from(serde_json::to_vec(body).unwrap_or_default()));
    *answer.status_mut() = status;
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(JSON));
    answer
}

/// Returns a successful token answer. It must not be stored (RFC 6749 section 5.1).
pub(crate) fn token_answer(body: &impl Serialize) -> Response<Body> {
    let mut answer = json_answer(StatusCode::OK, body);
    answer.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer.headers_mut().insert(header::PRAGMA, HeaderValue::from_static("no-cache"));
    answer
}

/// Finds the client by Basic credentials or by the credentials in the body.
///
/// # Errors
/// 401 `invalid_client`, or `unauthorized` if the call holds nothing of a client.
pub(crate) fn authenticate(
    clients: &[OAuthClient],
    encoding: BasicEncoding,
    headers: &HeaderMap,
    parameters: &TokenParameters,
) -> Result<OAuthClient, OAuthRefusal> {
    let named = parameters.get("client_id");
    let basic = basic_credentials(headers, encoding)?;
    let (id, secret) = match (basic, named) {
        (Some((id, _)), Some(named)) if id != named => {
            return Err(OAuthRefusal::invalid_client(
                "Given client ID does not match authenticated client",
            ));
        }
        (Some(credentials), _) => credentials,
        // Only a form without other credentials is asked for the fields of a client (source).
        (None, _) if headers.contains_key(header::AUTHORIZATION) || !is_form(headers) => {
            return Err(without_client(parameters));
        }
        (None, Some(named)) => {
            let Some(secret) = parameters.get("client_secret") else {
                return Err(OAuthRefusal::invalid_client("Bad credentials"));
            };
            (named.to_owned(), secret.to_owned())
        }
        (None, None) => return Err(OAuthRefusal::invalid_client("Bad credentials")),
    };
    let known = clients.iter().find(|client| client.id == id && client.secret == secret);
    known.cloned().ok_or_else(|| OAuthRefusal::invalid_client("Bad credentials"))
}

/// The request had no client authentication: the password grant itself notices it (read in UAA's
/// source).
fn without_client(parameters: &TokenParameters) -> OAuthRefusal {
    if parameters.get("grant_type") == Some("password") {
        return OAuthRefusal::invalid_client("No client authentication found.");
    }
    OAuthRefusal::unauthorized("An Authentication object was not found in the SecurityContext")
}

/// Reads `Authorization: Basic`. Another scheme counts as no credentials.
fn basic_credentials(
    headers: &HeaderMap,
    encoding: BasicEncoding,
) -> Result<Option<(String, String)>, OAuthRefusal> {
    let value = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let Some(encoded) = value.and_then(|value| value.strip_prefix("Basic ")) else {
        return Ok(None);
    };
    let decoded = STANDARD.decode(encoded.trim()).ok().and_then(|raw| String::from_utf8(raw).ok());
    let Some(pair) = decoded else {
        return Err(OAuthRefusal::invalid_client("Failed to decode basic authentication token"));
    };
    let Some((id, secret)) = pair.split_once(':') else {
        return Err(OAuthRefusal::invalid_client("Invalid basic authentication token"));
    };
    let announced = headers.get("x-cf-encoded-credentials").is_some_and(|value| value == "true");
    let full = announced || encoding == BasicEncoding::Always;
    if full && !(escapes_hold(id) && escapes_hold(secret)) {
        return Err(OAuthRefusal::invalid_client("Failed to URL Decode credentials"));
    }
    Ok(Some((url_decoded(id, full), url_decoded(secret, full))))
}

/// Tells whether Java's `URLDecoder` takes the text: each `%` begins an escape.
pub(crate) fn escapes_hold(text: &str) -> bool {
    text.split('%').skip(1).all(|rest| {
        rest.get(..2).is_some_and(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()))
    })
}

/// Decodes as Java's `URLDecoder`. If the encoding was not announced, only `+` becomes a space.
fn url_decoded(text: &str, full: bool) -> String {
    let blanks = text.replace('+', " ");
    if !full {
        return blanks;
    }
    percent_encoding::percent_decode_str(&blanks).decode_utf8_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use http::{HeaderMap, HeaderValue};

    use super::{BasicEncoding, OAuthClient, TokenParameters, authenticate};

    fn clients() -> Vec<OAuthClient> {
        let client = |id: &str, secret: &str| OAuthClient {
            id: id.to_owned(),
            secret: secret.to_owned(),
            grants: Vec::new(),
            scopes: Vec::new(),
            authorities: Vec::new(),
        };
        vec![client("cf", ""), client("other", "s+x=%")]
    }

    fn outcome(basic: Option<&str>, body: &str, content_type: &str) -> Result<String, String> {
        let mut headers = HeaderMap::new();
        if let Some(basic) = basic {
            headers.insert("authorization", HeaderValue::from_str(basic).unwrap());
        }
        headers.insert("content-type", HeaderValue::from_str(content_type).unwrap());
        let parameters = TokenParameters::read(None, &headers, body.as_bytes());
        authenticate(&clients(), BasicEncoding::Always, &headers, &parameters)
            .map(|client| client.id)
            .map_err(|refusal| refusal.description)
    }

    #[test]
    fn the_client_table_of_the_uaa_holds() {
        let form = "application/x-www-form-urlencoded";
        let good = Ok("cf".to_owned());
        let refused = |text: &str| Err(text.to_owned());
        assert_eq!(outcome(Some("Basic Y2Y6"), "", form), good);
        assert_eq!(outcome(None, "client_id=cf&client_secret=", form), good);
        let charset = "application/x-www-form-urlencoded; charset=UTF-8";
        assert_eq!(outcome(None, "client_id=cf&client_secret=", charset), good);
        assert_eq!(outcome(None, "client_id=cf", form), refused("Bad credentials"));
        let no_colon = "Invalid basic authentication token";
        assert_eq!(outcome(Some("Basic Y2Y="), "", form), refused(no_colon));
        let no_base64 = "Failed to decode basic authentication token";
        assert_eq!(outcome(Some("Basic cf:"), "", form), refused(no_base64));
        let two_names = "Given client ID does not match authenticated client";
        assert_eq!(outcome(Some("Basic Y2Y6"), "client_id=x", form), refused(two_names));
        assert_eq!(outcome(None, "", form), refused("Bad credentials"));
        let json = "application/json";
        let nothing = "An Authentication object was not found in the SecurityContext";
        assert_eq!(outcome(None, "client_id=cf&client_secret=", json), refused(nothing));
        assert_eq!(
            outcome(Some("Bearer x"), "client_id=cf&client_secret=", form),
            refused(nothing)
        );
        let unknown = "client_id=nobody&client_secret=";
        assert_eq!(outcome(None, unknown, form), refused("Bad credentials"));
    }

    #[test]
    fn both_parts_of_basic_credentials_are_form_encoded() {
        let form = "application/x-www-form-urlencoded";
        let raw = format!("Basic {}", STANDARD.encode("other:s+x=%"));
        let broken = Err("Failed to URL Decode credentials".to_owned());
        assert_eq!(outcome(Some(&raw), "", form), broken);
        let encoded = format!("Basic {}", STANDARD.encode("other:s%2Bx%3D%25"));
        assert_eq!(outcome(Some(&encoded), "", form), Ok("other".to_owned()));
    }
}
