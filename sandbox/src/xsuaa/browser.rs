//! Browser login: authorization code with and without PKCE (RFC 7636), and logout. Invariant: a
//! code is valid once, for the client, the address and the verifier of its request. Called by
//! `xsuaa` and its token endpoint.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::response::{Html, IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::header::{COOKIE, LOCATION, SET_COOKIE};
use http::{HeaderMap, StatusCode};
use url::Url;

use crate::oauth::{OAuthRefusal, TokenParameters};
use crate::part::locked;
use crate::xsuaa::grants::PEOPLE;
use crate::xsuaa::{BROKER_CLIENT, PROVIDER_CLIENT, Xsuaa};

/// Seconds. RFC 6749 section 4.1.2 allows at most ten minutes.
const CODE_LIFETIME: i64 = 300;

/// The clients through which people log on: the broker, and the approuter of the provider app.
const LOGIN_CLIENTS: [&str; 2] = [BROKER_CLIENT, PROVIDER_CLIENT];

/// The name of the cookie of a session, as in UAA.
const SESSION: &str = "JSESSIONID";

/// The codes that were not used yet.
#[derive(Debug, Default)]
pub(crate) struct AuthorizationCodes(Mutex<HashMap<String, AuthorizationCode>>);

/// The people who are logged on, by the value of their cookie.
#[derive(Debug, Default)]
pub(crate) struct BrowserSessions(Mutex<HashMap<String, &'static str>>);

/// What a code was issued for.
#[derive(Clone, Debug)]
pub(super) struct AuthorizationCode {
    pub(super) user: &'static str,
    pub(super) nonce: Option<String>,
    client: String,
    challenge: Option<CodeChallenge>,
    redirect_uri: String,
    end: i64,
}

/// What the verifier of a code must match.
#[derive(Clone, Debug, Eq, PartialEq)]
enum CodeChallenge {
    Plain(String),
    Sha256(String),
}

/// What an authorization request asks for.
struct AuthorizationRequest {
    client: String,
    redirect_uri: Url,
    state: Option<String>,
    nonce: Option<String>,
    challenge: Result<Option<CodeChallenge>, &'static str>,
    user: Option<String>,
}

impl CodeChallenge {
    /// Reads it from an authorization request. Without one a code needs no verifier.
    ///
    /// # Errors
    /// UAA's text.
    fn read(call: &TokenParameters) -> Result<Option<Self>, &'static str> {
        let Some(challenge) = call.get("code_challenge").filter(|text| !text.is_empty()) else {
            return Ok(None);
        };
        let allowed = |letter: char| letter.is_ascii_alphanumeric() || "_.-~".contains(letter);
        if !(43..=128).contains(&challenge.len()) || !challenge.chars().all(allowed) {
            return Err("Code challenge length must between 43 and 128 and use only \
                        [A-Z],[a-z],[0-9],_,.,-,~ characters.");
        }
        match call.get("code_challenge_method") {
            Some("S256") => Ok(Some(Self::Sha256(challenge.to_owned()))),
            None | Some("" | "plain") => Ok(Some(Self::Plain(challenge.to_owned()))),
            Some(_) => Err("Unsupported code challenge method."),
        }
    }

    fn matches(&self, verifier: &str) -> bool {
        match self {
            Self::Plain(challenge) => challenge == verifier,
            Self::Sha256(challenge) => *challenge == challenge_of(verifier),
        }
    }
}

impl BrowserSessions {
    /// Returns the value of a new cookie.
    fn start(&self, user: &'static str) -> String {
        let value = uuid::Uuid::new_v4().simple().to_string();
        locked(&self.0).insert(value.clone(), user);
        value
    }

    /// Returns the person of the request's session.
    fn person(&self, headers: &HeaderMap) -> Option<&'static str> {
        locked(&self.0).get(session_of(headers)?).copied()
    }

    fn end(&self, headers: &HeaderMap) {
        if let Some(value) = session_of(headers) {
            locked(&self.0).remove(value);
        }
    }
}

impl AuthorizationCodes {
    /// Removes the code and returns what it was issued for.
    ///
    /// # Errors
    /// 400 `invalid_grant` for a code that is unknown, used, too old, or sent with other
    /// parameters; 401 `invalid_client` for the code of another client.
    pub(super) fn redeem(
        &self,
        client: &str,
        call: &TokenParameters,
        now: i64,
    ) -> Result<AuthorizationCode, OAuthRefusal> {
        let refusal = |text: String| OAuthRefusal::bad_request("invalid_grant", text);
        let value = call.get("code").unwrap_or_default();
        let code = locked(&self.0).remove(value).filter(|code| code.end > now);
        let Some(code) = code else {
            return Err(refusal(format!("Invalid authorization code: {value}")));
        };
        if call.get("redirect_uri") != Some(code.redirect_uri.as_str()) {
            return Err(refusal("Redirect URI mismatch.".to_owned()));
        }
        if client != code.client {
            return Err(OAuthRefusal::invalid_client("Client ID mismatch"));
        }
        let verifier = call.get("code_verifier").filter(|text| !text.is_empty());
        let wrong = match (&code.challenge, verifier) {
            (None, None) => return Ok(code),
            (Some(challenge), Some(verifier)) if challenge.matches(verifier) => return Ok(code),
            (Some(_), Some(_)) => "Invalid code verifier",
            (Some(_), None) => {
                "PKCE error: Code verifier must be provided for this authorization code."
            }
            (None, Some(_)) => {
                "PKCE error: Code verifier not required for this authorization code."
            }
        };
        Err(refusal(wrong.to_owned()))
    }

    fn issue(&self, code: AuthorizationCode) -> String {
        let value = uuid::Uuid::new_v4().simple().to_string();
        locked(&self.0).insert(value.clone(), code);
        value
    }
}

impl AuthorizationRequest {
    /// Reads the query.
    ///
    /// # Errors
    /// The text for an error page: an address that was not checked must not get a redirect.
    fn read(call: &TokenParameters) -> Result<Self, &'static str> {
        let client = call.get("client_id").filter(|id| LOGIN_CLIENTS.contains(id));
        let client = client.ok_or("The client is unknown.")?;
        let redirect_uri = call.get("redirect_uri").and_then(|text| Url::parse(text).ok());
        let redirect_uri = redirect_uri.filter(|url| is_registered(client, url));
        let redirect_uri = redirect_uri.ok_or("The redirect URI is unknown.")?;
        if call.get("response_type") != Some("code") {
            return Err("The response type is not supported.");
        }
        Ok(Self {
            client: client.to_owned(),
            redirect_uri,
            state: call.get("state").map(str::to_owned),
            nonce: call.get("nonce").map(str::to_owned),
            challenge: CodeChallenge::read(call),
            user: call.get("user").map(str::to_owned),
        })
    }

    /// Leads the browser back with these parameters and the state.
    fn back(&self, parameters: &[(&str, &str)]) -> String {
        let mut back = self.redirect_uri.clone();
        back.query_pairs_mut().extend_pairs(parameters);
        if let Some(state) = &self.state {
            back.query_pairs_mut().append_pair("state", state);
        }
        back.to_string()
    }
}

/// Shows a link for each person who can log on. With `user` in the query, or within the session
/// of an earlier login, it logs on at once.
pub(super) async fn authorize(
    State(xsuaa): State<Arc<Xsuaa>>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response<Body> {
    let query = query.unwrap_or_default();
    let call = TokenParameters::read(Some(&query), &HeaderMap::new(), b"");
    let request = match AuthorizationRequest::read(&call) {
        Ok(request) => request,
        Err(text) => return (StatusCode::BAD_REQUEST, Html(page(text, ""))).into_response(),
    };
    let challenge = match &request.challenge {
        Ok(challenge) => challenge.clone(),
        Err(text) => {
            let error = [("error", "invalid_request"), ("error_description", *text)];
            return (StatusCode::FOUND, [(LOCATION, request.back(&error))]).into_response();
        }
    };
    let person = PEOPLE.iter().find(|(name, _, _)| request.user.as_deref() == Some(*name));
    let user = person.map(|(name, _, _)| *name).or_else(|| xsuaa.sessions.person(&headers));
    let Some(user) = user else {
        return Html(page("Who are you?", &choices(&query))).into_response();
    };
    let code = xsuaa.codes.issue(AuthorizationCode {
        user,
        nonce: request.nonce.clone(),
        client: request.client.clone(),
        challenge,
        redirect_uri: request.redirect_uri.to_string(),
        end: xsuaa.clock.seconds().saturating_add(CODE_LIFETIME),
    });
    let cookie = format!("{SESSION}={}; Path=/; HttpOnly", xsuaa.sessions.start(user));
    let location = request.back(&[("code", &code)]);
    (StatusCode::FOUND, [(LOCATION, location), (SET_COOKIE, cookie)]).into_response()
}

/// Ends the session and redirects, only to an address of the client.
pub(super) async fn logout(
    State(xsuaa): State<Arc<Xsuaa>>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response<Body> {
    xsuaa.sessions.end(&headers);
    let call = TokenParameters::read(query.as_deref(), &HeaderMap::new(), b"");
    let client = call.get("client_id").filter(|id| LOGIN_CLIENTS.contains(id));
    let back = call.get("redirect").and_then(|text| Url::parse(text).ok());
    let back = back.filter(|url| client.is_some_and(|client| is_registered(client, url)));
    let location = back.map_or_else(|| "/login".to_owned(), |back| back.to_string());
    let cookie = format!("{SESSION}=; Path=/; Max-Age=0");
    (StatusCode::FOUND, [(LOCATION, location), (SET_COOKIE, cookie)]).into_response()
}

/// Returns the value of the session's cookie.
fn session_of(headers: &HeaderMap) -> Option<&str> {
    let pairs = headers.get(COOKIE)?.to_str().ok()?.split(';');
    pairs
        .filter_map(|pair| pair.trim().split_once('='))
        .find(|(name, _)| *name == SESSION)
        .map(|(_, value)| value)
}

fn challenge_of(verifier: &str) -> String {
    let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, verifier.as_bytes());
    URL_SAFE_NO_PAD.encode(hash)
}

/// The redirect URIs of a client. Brokers and approuters in tests take free ports of the loopback;
/// the provider app has registered all hosts of its domains, for the routes of its tenants.
fn is_registered(client: &str, url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let loopback = url.scheme() == "http" && ["127.0.0.1", "localhost", "[::1]"].contains(&host);
    let tenant = client == PROVIDER_CLIENT && url.scheme() == "https";
    loopback || tenant && host.ends_with(".example.test")
}

/// Makes one link for each person. The query is repeated in it, so it is escaped for an attribute.
fn choices(query: &str) -> String {
    let query = query.replace('&', "&amp;").replace('"', "&quot;").replace('<', "&lt;");
    let link = |(name, _, scopes): &(&str, &str, &[&str])| {
        let scopes = if scopes.is_empty() { "no scope".to_owned() } else { scopes.join(", ") };
        format!("<li><a href=\"?{query}&amp;user={name}\">{name}</a><br>{scopes}</li>")
    };
    format!("<ul>{}</ul>", PEOPLE.iter().map(link).collect::<String>())
}

fn page(heading: &str, content: &str) -> String {
    format!(
        "<!DOCTYPE html><html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\">\
         <meta name=\"color-scheme\" content=\"light dark\"><link rel=\"icon\" href=\"data:,\">\
         <style>body{{font:1.125rem/1.6 sans-serif;margin:2rem auto;max-width:30rem;padding:0 1rem}}\
         li{{margin:1rem 0}}</style>\
         <title>Sandbox login</title></head>\
         <body><main><h1>{heading}</h1>{content}</main></body></html>"
    )
}
