//! The public documents of the UAA: keys, discovery, version, health; and the endpoints that refuse
//! the client `cf`. Mounted by `uaa`.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, State};
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
    keys_answer(&uaa.tokens.ring().key_set(), TagForm::Quoted, &headers)
}

/// How an `ETag` of a key set is written and compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TagForm {
    /// In quotes, and compared without them: also bare and weak ones match (seen).
    Quoted,
    /// A number, compared unchanged.
    Bare,
}

/// Answers with a key set.
pub(crate) fn keys_answer(
    (keys, tag): &(Value, String),
    form: TagForm,
    headers: &HeaderMap,
) -> Response<Body> {
    let known = headers.get(header::IF_NONE_MATCH).and_then(|known| known.to_str().ok());
    let (etag, is_known) = match form {
        TagForm::Bare => (tag.clone(), known == Some(tag)),
        TagForm::Quoted => {
            let bare = known.map(|known| known.trim_start_matches("W/").trim_matches('"'));
            (format!("\"{tag}\""), bare == Some(tag))
        }
    };
    let mut answer = if is_known {
        let mut empty = Response::new(Body::empty());
        *empty.status_mut() = StatusCode::NOT_MODIFIED;
        empty
    } else {
        json_answer(StatusCode::OK, keys)
    };
    if let Ok(etag) = HeaderValue::from_str(&etag) {
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

/// Any other path or method. What changes something is for the login pages, which want a CSRF
/// token. Reading is a 404, as for an unknown zone (F24).
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

/// A user can end its own opaque refresh tokens. UAA keeps no access tokens of `cf`, so no user
/// owns their ids.
async fn revoke(
    State(uaa): State<Arc<Uaa>>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Response<Body> {
    let bearer = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let Ok(user) = uaa.tokens.check(bearer) else {
        return OAuthRefusal::unauthorized(
            "Full authentication is required to access this resource",
        )
        .answer();
    };
    if uaa.refresh.revoke(&id, &user.guid) {
        return Response::new(Body::empty());
    }
    let token = bearer.and_then(|bearer| bearer.split_once(' ')).map(|(_, token)| token.trim());
    let claims = token.and_then(|token| uaa.tokens.ring().verified(token)).unwrap_or_default();
    if claims.get("jti").is_some_and(|own| *own == id) {
        return insufficient_scope();
    }
    OAuthRefusal::new(StatusCode::NOT_FOUND, "invalid_token", "Resource not found").answer()
}

/// The refusal of a bearer that lacks `tokens.revoke`. The member `scope` is from the source.
fn insufficient_scope() -> Response<Body> {
    let (error, text) = ("insufficient_scope", "Insufficient scope for this resource");
    let body = json!({"error": error, "error_description": text, "scope": "tokens.revoke"});
    let mut answer = json_answer(StatusCode::FORBIDDEN, &body);
    let challenge =
        format!("Bearer error=\"{error}\", error_description=\"{text}\", scope=\"tokens.revoke\"");
    if let Ok(challenge) = HeaderValue::from_str(&challenge) {
        answer.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
    }
    answer
}
