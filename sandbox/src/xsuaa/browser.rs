//! Browser login: authorization code with PKCE (RFC 7636), and logout. Invariant: a code is valid
//! once, for the address and the verifier of its request. Called by `xsuaa` and its token endpoint.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::response::{Html, IntoResponse as _, Redirect, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::StatusCode;
use url::Url;

use crate::oauth::{OAuthRefusal, TokenParameters};
use crate::part::locked;
use crate::xsuaa::grants::PEOPLE;
use crate::xsuaa::{BROKER_CLIENT, Xsuaa};

/// Seconds. RFC 6749 section 4.1.2 allows at most ten minutes.
const CODE_LIFETIME: i64 = 300;

/// The codes that were not used yet.
#[derive(Debug, Default)]
pub(crate) struct AuthorizationCodes(Mutex<HashMap<String, AuthorizationCode>>);

/// What a code was issued for.
#[derive(Clone, Debug)]
pub(super) struct AuthorizationCode {
    pub(super) user: String,
    pub(super) nonce: Option<String>,
    challenge: String,
    redirect_uri: String,
    end: i64,
}

/// What an authorization request asks for.
struct AuthorizationRequest {
    redirect_uri: Url,
    state: Option<String>,
    nonce: Option<String>,
    challenge: String,
    user: Option<String>,
}

impl AuthorizationCodes {
    /// Removes the code and returns what it was issued for.
    ///
    /// # Errors
    /// 400 `invalid_grant` for a code that is unknown, used, too old, or sent with other
    /// parameters.
    pub(super) fn redeem(
        &self,
        call: &TokenParameters,
        now: i64,
    ) -> Result<AuthorizationCode, OAuthRefusal> {
        let value = call.get("code").unwrap_or_default();
        let code = locked(&self.0).remove(value).filter(|code| code.end > now);
        let Some(code) = code else {
            let text = format!("Invalid authorization code: {value}");
            return Err(OAuthRefusal::bad_request("invalid_grant", text));
        };
        if call.get("redirect_uri") != Some(code.redirect_uri.as_str()) {
            return Err(OAuthRefusal::bad_request("invalid_grant", "Redirect URI mismatch."));
        }
        let verifier = call.get("code_verifier").unwrap_or_default();
        if challenge_of(verifier) != code.challenge {
            return Err(OAuthRefusal::bad_request("invalid_grant", "Invalid code verifier"));
        }
        Ok(code)
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
        if call.get("client_id") != Some(BROKER_CLIENT) {
            return Err("The client is unknown.");
        }
        let redirect_uri = call.get("redirect_uri").and_then(|text| Url::parse(text).ok());
        let redirect_uri =
            redirect_uri.filter(is_loopback).ok_or("The redirect URI is unknown.")?;
        if call.get("response_type") != Some("code") {
            return Err("The response type is not supported.");
        }
        let challenge = call.get("code_challenge").filter(|text| text.len() == 43);
        let challenge = challenge.ok_or("The code challenge is missing.")?;
        if call.get("code_challenge_method") != Some("S256") {
            return Err("The code challenge method is not supported.");
        }
        Ok(Self {
            redirect_uri,
            state: call.get("state").map(str::to_owned),
            nonce: call.get("nonce").map(str::to_owned),
            challenge: challenge.to_owned(),
            user: call.get("user").map(str::to_owned),
        })
    }
}

/// Shows a link for each person who can log on. With `user` in the query it logs on at once.
pub(super) async fn authorize(
    State(xsuaa): State<Arc<Xsuaa>>,
    RawQuery(query): RawQuery,
) -> Response<Body> {
    let query = query.unwrap_or_default();
    let call = TokenParameters::read(Some(&query), &http::HeaderMap::new(), b"");
    let request = match AuthorizationRequest::read(&call) {
        Ok(request) => request,
        Err(text) => return (StatusCode::BAD_REQUEST, Html(page(text, ""))).into_response(),
    };
    let person = PEOPLE.iter().find(|(name, _, _)| request.user.as_deref() == Some(*name));
    let Some((user, _, _)) = person else {
        return Html(page("Who are you?", &choices(&query))).into_response();
    };
    let code = xsuaa.codes.issue(AuthorizationCode {
        user: (*user).to_owned(),
        nonce: request.nonce,
        challenge: request.challenge,
        redirect_uri: request.redirect_uri.to_string(),
        end: xsuaa.clock.seconds().saturating_add(CODE_LIFETIME),
    });
    let mut back = request.redirect_uri;
    back.query_pairs_mut().append_pair("code", &code);
    if let Some(state) = request.state {
        back.query_pairs_mut().append_pair("state", &state);
    }
    (StatusCode::FOUND, [(http::header::LOCATION, back.to_string())]).into_response()
}

/// Redirects, only to a loopback address. There is no session to end.
pub(super) async fn logout(RawQuery(query): RawQuery) -> Response<Body> {
    let call = TokenParameters::read(query.as_deref(), &http::HeaderMap::new(), b"");
    let back = call.get("redirect").and_then(|text| Url::parse(text).ok()).filter(is_loopback);
    match back.filter(|_| call.get("client_id") == Some(BROKER_CLIENT)) {
        Some(back) => {
            (StatusCode::FOUND, [(http::header::LOCATION, back.to_string())]).into_response()
        }
        None => Redirect::to("/login").into_response(),
    }
}

fn challenge_of(verifier: &str) -> String {
    let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, verifier.as_bytes());
    URL_SAFE_NO_PAD.encode(hash)
}

/// There is no list of redirect URIs, because brokers in tests take free ports.
fn is_loopback(url: &Url) -> bool {
    url.scheme() == "http" && matches!(url.host_str(), Some("127.0.0.1" | "localhost" | "[::1]"))
}

/// Makes one link for each person. The query is repeated in it, so it is escaped for an attribute.
fn choices(query: &str) -> String {
    let query = query.replace('&', "&amp;").replace('"', "&quot;").replace('<', "&lt;");
    let link = |(name, _, _): &(&str, &str, &[&str])| {
        format!("<li><a href=\"?{query}&amp;user={name}\">{name}</a></li>")
    };
    format!("<ul>{}</ul>", PEOPLE.iter().map(link).collect::<String>())
}

fn page(heading: &str, content: &str) -> String {
    format!(
        "<!DOCTYPE html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>Sandbox login</title></head><body><main><h1>{heading}</h1>{content}</main></body></html>"
    )
}
