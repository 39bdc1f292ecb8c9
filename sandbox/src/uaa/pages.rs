//! The public documents of the UAA: keys, discovery, version, health; and the endpoints that refuse
//! the client `cf`. Mounted by `uaa`.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::routing::{delete, get, post};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};
use serde_json::{Value, json};

use crate::oauth::{OAuthRefusal, json_answer};
use crate::uaa::Uaa;

pub(super) fn router() -> Router<Arc<Uaa>> {
    Router::new()
        .route("/.well-known/openid-configuration", get(discovery))
        .route("/oauth/token/.well-known/openid-configuration", get(discovery))
        .route("/info", get(info))
        .route("/login", get(info))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/check_token", post(forbidden))
        .route("/introspect", post(forbidden))
        .route("/oauth/token/revoke/{jti}", delete(revoke))
}

pub(super) async fn token_keys(State(uaa): State<Arc<Uaa>>, headers: HeaderMap) -> Response<Body> {
    keys_answer(&uaa.tokens.ring().key_set(), &headers)
}

/// Answers with a key set. `If-None-Match` is compared unchanged (source).
pub(crate) fn keys_answer((keys, etag): &(Value, String), headers: &HeaderMap) -> Response<Body> {
    let known = headers.get(header::IF_NONE_MATCH).is_some_and(|known| known == etag.as_str());
    let mut answer = if known {
        let mut empty = Response::new(Body::empty());
        *empty.status_mut() = StatusCode::NOT_MODIFIED;
        empty
    } else {
        json_answer(StatusCode::OK, keys)
    };
    if let Ok(etag) = HeaderValue::from_str(etag) {
        answer.headers_mut().insert(header::ETAG, etag);
    }
    answer
}

async fn discovery(State(uaa): State<Arc<Uaa>>) -> Response<Body> {
    let base = &uaa.base;
    let body = json!({"issuer": format!("{base}/oauth/token"),
        "authorization_endpoint": format!("{base}/oauth/authorize"),
        "token_endpoint": format!("{base}/oauth/token"),
        "jwks_uri": format!("{base}/token_keys"),
        "token_endpoint_auth_methods_supported":
            ["client_secret_basic", "client_secret_post", "private_key_jwt"],
        "token_endpoint_auth_signing_alg_values_supported": ["RS256"]});
    json_answer(StatusCode::OK, &body)
}

async fn info(State(uaa): State<Arc<Uaa>>) -> Response<Body> {
    let base = &uaa.base;
    let version = uaa.settings().release.number();
    let body = json!({"app": {"version": version}, "links": {"login": base, "uaa": base},
        "prompts": {"username": ["text", "Email"], "password": ["password", "Password"],
            "passcode": ["password", format!("Temporary Authentication Code ( Get one at {base}/passcode )")]},
        "zone_name": "uaa", "entityID": "sandbox", "commit_id": "sandbox",
        "timestamp": "2026-01-01T00:00:00+0000", "idpDefinitions": {}});
    json_answer(StatusCode::OK, &body)
}

/// Any other path or method. What changes something is for the login pages, which want a CSRF token.
/// Reading is a 404, as for an unknown zone (F24).
pub(super) async fn elsewhere(State(uaa): State<Arc<Uaa>>, method: Method) -> Response<Body> {
    if method.is_safe() {
        return json_answer(StatusCode::NOT_FOUND, &json!({"error": "Not Found"}));
    }
    let text = uaa.settings().release.csrf_text();
    OAuthRefusal::new(StatusCode::FORBIDDEN, text, "").answer()
}

/// These endpoints need `uaa.resource`. The client `cf` has `uaa.none` (source).
async fn forbidden() -> Response<Body> {
    OAuthRefusal::new(StatusCode::FORBIDDEN, "access_denied", "Access is denied").answer()
}

/// Access tokens of `cf` are not revocable, so there is nothing to revoke.
async fn revoke(State(uaa): State<Arc<Uaa>>, headers: HeaderMap) -> Response<Body> {
    let bearer = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    if uaa.tokens.check(bearer).is_err() {
        return OAuthRefusal::unauthorized(
            "Full authentication is required to access this resource",
        )
        .answer();
    }
    OAuthRefusal::new(StatusCode::NOT_FOUND, "invalid_token", "Resource not found").answer()
}
