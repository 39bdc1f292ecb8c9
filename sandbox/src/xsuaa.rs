//! The XSUAA of the provider's subaccount: tokens for the Destination service and for callers of
//! the broker. Invariant: a token holds the scopes that its client or user was granted, whatever
//! was requested. Mounted by `lib`.

mod browser;
mod grants;

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{RawQuery, State};
use axum::routing::{get, post};
use http::{HeaderMap, Method, Response, StatusCode};
use serde_json::{Value, json};

use crate::clock::Clock;
use crate::oauth::{OAuthRefusal, TokenParameters, json_answer};
use crate::part::locked;
use crate::token::key::SigningKey;
use crate::token::ring::KeyRing;
use crate::uaa::answer::AnswerPatch;
use crate::uaa::pages::{TagForm, keys_answer};
use crate::xsuaa::browser::{AuthorizationCodes, BrowserSessions};

/// The application name of the Destination service. Its tokens must have it as audience.
pub(crate) const DESTINATION_XSAPPNAME: &str = "destination-xsappname!b404";

/// The client of the destination binding. `!` and `|` must be form-encoded.
pub const DESTINATION_CLIENT: &str = "sb-sandbox-clone!b609810|destination-xsappname!b404";

/// Its secret. `+`, `=` and `$` must be form-encoded.
pub const DESTINATION_SECRET: &str = "sandbox-only-destination+secret=$";

/// The broker's application.
pub(crate) const XSAPPNAME: &str = "cfapi-broker!t1";

/// The broker's own client.
pub const BROKER_CLIENT: &str = "sb-cfapi-broker!t1";

/// Its secret.
pub const BROKER_SECRET: &str = "sandbox-only-broker-secret";

/// The client of a provider app. It may read and write routes and use the proxy.
pub const PROVIDER_CLIENT: &str = "sb-bookshop!t4711";

/// Its secret.
pub const PROVIDER_SECRET: &str = "sandbox-only-bookshop-secret";

/// The client of a second provider app. It may read and write routes.
pub const SECOND_PROVIDER_CLIENT: &str = "sb-orders!t4712";

/// Its secret.
pub const SECOND_PROVIDER_SECRET: &str = "sandbox-only-orders-secret";

/// The client of an operator: routes of all owners, and metrics.
pub const ADMIN_CLIENT: &str = "sb-operator!t4713";

/// Its secret.
pub const ADMIN_SECRET: &str = "sandbox-only-operator-secret";

/// A user who may read spaces.
pub const DEVELOPER_USER: &str = "developer@example.test";

/// Its password.
pub const DEVELOPER_PASSWORD: &str = "sandbox-only-developer";

/// Returns the people who can log on with a browser.
pub fn people() -> Vec<&'static str> {
    grants::PEOPLE.iter().map(|(name, _, _)| *name).collect()
}

/// The subaccount's zone.
pub(crate) const ZONE: &str = "b0a1c2d3-0815-4711-8899-aabbccddeeff";

/// The XSUAA's state.
#[derive(Debug)]
pub(crate) struct Xsuaa {
    pub(crate) base: String,
    pub(crate) ring: KeyRing,
    clock: Clock,
    codes: AuthorizationCodes,
    sessions: BrowserSessions,
    pub(crate) settings: Mutex<Settings>,
}

/// The settings that levers change.
#[derive(Debug)]
pub(crate) struct Settings {
    /// Seconds. `expires_in` is one less.
    pub(crate) lifetime: i64,
    pub(crate) patch: Option<AnswerPatch>,
}

impl Xsuaa {
    pub(crate) fn new(base: String, clock: Clock) -> Self {
        let settings = Mutex::new(Settings { lifetime: 43_200, patch: None });
        let ring = KeyRing::new("sandbox-xsuaa", clock.clone());
        let (codes, sessions) = (AuthorizationCodes::default(), BrowserSessions::default());
        Self { base, ring, clock, codes, sessions, settings }
    }

    /// Returns the claims of a token of this XSUAA that has not expired.
    pub(crate) fn live_claims(&self, token: &str) -> Option<Value> {
        let claims = self.ring.verified(token)?;
        let live = claims.get("exp").and_then(Value::as_i64)? > self.clock.seconds();
        live.then_some(claims)
    }

    /// Issues a technical token. For its claims see `docs/reference/caller-rules.md`.
    pub(crate) fn client_token(&self, client: &str, scopes: &[String]) -> String {
        self.mint(&self.client_claims(client, scopes))
    }

    /// Issues a token of a person who logged on through a client.
    pub(crate) fn user_token(&self, client: &str, user: &str, scopes: &[String]) -> String {
        self.mint(&self.user_claims(client, user, scopes))
    }

    /// Issues the id token of a browser login.
    fn id_token(&self, client: &str, user: &str, nonce: Option<&str>) -> String {
        let mut claims = self.user_claims(client, user, &[]);
        if let (Some(claims), Some(nonce)) = (claims.as_object_mut(), nonce) {
            claims.insert("nonce".to_owned(), Value::String(nonce.to_owned()));
        }
        self.mint(&claims)
    }

    /// Returns the key that signs, for tests that make their own tokens.
    pub(crate) fn key(&self) -> SigningKey {
        self.ring.signing()
    }

    /// Issues a technical token of the provider with some claims replaced. A null removes a claim.
    pub(crate) fn token_with_overrides(&self, overrides: &Value) -> String {
        let scopes = grants::scopes_of(PROVIDER_CLIENT);
        let mut claims = self.client_claims(PROVIDER_CLIENT, &scopes);
        if let (Some(claims), Some(overrides)) = (claims.as_object_mut(), overrides.as_object()) {
            claims.extend(overrides.clone());
            claims.retain(|_, value| !value.is_null());
        }
        self.mint(&claims)
    }

    fn mint(&self, claims: &Value) -> String {
        let key = self.ring.signing();
        let header = json!({"alg": "RS256", "jku": format!("{}/token_keys", self.base),
            "kid": key.kid(), "typ": "JWT"});
        key.sign_with(&header, claims)
    }

    fn client_claims(&self, client: &str, scopes: &[String]) -> Value {
        let now = self.clock.seconds();
        let exp = now.saturating_add(locked(&self.settings).lifetime);
        json!({"jti": uuid::Uuid::new_v4().simple().to_string(), "sub": client,
            "ext_attr": {"enhancer": "XSUAA", "subaccountid": ZONE, "zdn": "provider"},
            "authorities": scopes, "scope": scopes, "client_id": client, "cid": client,
            "azp": client, "grant_type": "client_credentials", "rev_sig": "5a4db002", "iat": now,
            "exp": exp, "iss": format!("{}/oauth/token", self.base), "zid": ZONE,
            "aud": audience(client, scopes)})
    }

    fn user_claims(&self, client: &str, user: &str, scopes: &[String]) -> Value {
        let mut claims = self.client_claims(client, scopes);
        let id = "44444444-4444-4444-8444-444444444444";
        let person = json!({"sub": id, "user_id": id, "user_name": user, "email": user,
            "origin": "sap.default", "given_name": "Dev", "family_name": "Eloper",
            "grant_type": "password", "auth_time": self.clock.seconds()});
        if let (Some(claims), Some(person)) = (claims.as_object_mut(), person.as_object()) {
            claims.remove("authorities");
            claims.extend(person.clone());
        }
        claims
    }
}

/// The client itself, and the applications of the token's scopes.
fn audience(client: &str, scopes: &[String]) -> Vec<String> {
    let mut names = vec![client.to_owned()];
    for scope in scopes {
        let application = scope.split_once('.').map(|(application, _)| application);
        if let Some(application) = application.filter(|name| !names.iter().any(|old| old == name)) {
            names.push(application.to_owned());
        }
    }
    names
}

/// Returns the broker's scopes with their full names.
pub(crate) fn full_scopes(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| format!("{XSAPPNAME}.{name}")).collect()
}

/// Mounts the XSUAA.
pub(crate) fn router(xsuaa: Arc<Xsuaa>) -> Router {
    Router::new()
        .route("/oauth/token", post(token).fallback(not_a_post))
        .route("/token_keys", get(token_keys))
        .route("/oauth/authorize", get(browser::authorize))
        .route("/logout.do", get(browser::logout))
        .route("/.well-known/openid-configuration", get(discovery))
        .route("/oauth/token/.well-known/openid-configuration", get(discovery))
        .route("/healthz", get(|| async { "ok\n" }))
        .with_state(xsuaa)
}

async fn token(
    State(xsuaa): State<Arc<Xsuaa>>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Bytes,
) -> Response<Body> {
    let parameters = TokenParameters::read(query.as_deref(), &headers, &body);
    grants::answer(&xsuaa, &headers, &parameters)
}

async fn not_a_post(method: Method) -> Response<Body> {
    let text = format!("Request method '{method}' not supported");
    OAuthRefusal::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", text).answer()
}

/// Returns the keys of one zone. An unknown zone and an unknown parameter are refused.
async fn token_keys(
    State(xsuaa): State<Arc<Xsuaa>>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response<Body> {
    for (name, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
        if name != "zid" {
            let text = format!("Unknown parameter {name}");
            return OAuthRefusal::bad_request("invalid_request", text).answer();
        }
        if value != ZONE {
            let text = format!("Cannot find identity zone with id {value}");
            return OAuthRefusal::new(StatusCode::NOT_FOUND, "zone_not_found", text).answer();
        }
    }
    keys_answer(&xsuaa.ring.key_set(), TagForm::Bare, &headers)
}

async fn discovery(State(xsuaa): State<Arc<Xsuaa>>) -> Response<Body> {
    let base = &xsuaa.base;
    let body = json!({"issuer": format!("{base}/oauth/token"),
        "authorization_endpoint": format!("{base}/oauth/authorize"),
        "token_endpoint": format!("{base}/oauth/token"),
        "jwks_uri": format!("{base}/token_keys"),
        "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
        "code_challenge_methods_supported": ["S256", "plain"]});
    json_answer(StatusCode::OK, &body)
}
