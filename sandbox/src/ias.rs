//! An Identity Authentication (IAS) tenant: discovery, keys, and tokens for clients of the broker.
//! Invariant: only the broker's client gets keys, and only for a known tenant and a known client.
//! All others get 400, as from the real one. Mounted by `lib`.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::routing::get;
use http::{HeaderMap, Response, StatusCode};
use serde_json::{Value, json};

use crate::clock::Clock;
use crate::oauth::{OAuthRefusal, json_answer};
use crate::part::locked;
use crate::token::key::SigningKey;
use crate::token::ring::KeyRing;
use crate::uaa::pages::{TagForm, keys_answer};

/// The broker's own client.
pub const IAS_BROKER_CLIENT: &str = "3f8a1c52-0001-4c9e-8f55-2f1d2a2e8c77";

/// Its secret.
pub const IAS_BROKER_SECRET: &str = "sandbox-only-ias-broker-secret";

/// A provider app's client.
pub const IAS_PROVIDER_CLIENT: &str = "3f8a1c52-0002-4c9e-8f55-2f1d2a2e8c77";

/// A second provider app's client.
pub const IAS_SECOND_CLIENT: &str = "3f8a1c52-0003-4c9e-8f55-2f1d2a2e8c77";

/// The provider's tenant (`app_tid`).
pub const IAS_TENANT: &str = "9a6f1b20-0001-4711-8899-aabbccddeeff";

/// A subscriber's tenant. IAS knows it, too.
pub const IAS_SECOND_TENANT: &str = "9a6f1b20-0002-4711-8899-aabbccddeeff";

/// The path of the keys.
const KEYS: &str = "/oauth2/certs";

/// Seconds. Real IAS tokens live an hour or less.
const LIFETIME: i64 = 3600;

/// The IAS tenant's state.
#[derive(Debug)]
pub(crate) struct Ias {
    base: String,
    pub(crate) ring: KeyRing,
    clock: Clock,
    known: Mutex<IasRegistry>,
}

/// The clients and tenants for which keys are handed out.
#[derive(Debug)]
struct IasRegistry {
    clients: BTreeSet<String>,
    tenants: BTreeSet<String>,
}

/// Whether IAS knows a client or a tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Registration {
    /// Keys are handed out.
    Registered,
    /// The answer is 400.
    Unregistered,
}

impl Ias {
    pub(crate) fn new(base: String, clock: Clock) -> Self {
        let set = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let known = IasRegistry {
            clients: set(&[IAS_BROKER_CLIENT, IAS_PROVIDER_CLIENT, IAS_SECOND_CLIENT]),
            tenants: set(&[IAS_TENANT, IAS_SECOND_TENANT]),
        };
        let ring = KeyRing::new("sandbox-ias", clock.clone());
        Self { base, ring, clock, known: Mutex::new(known) }
    }

    /// Makes a client known or unknown.
    pub(crate) fn client(&self, name: &str, registration: Registration) {
        change(&mut locked(&self.known).clients, name, registration);
    }

    /// Makes a tenant known or unknown.
    pub(crate) fn tenant(&self, name: &str, registration: Registration) {
        change(&mut locked(&self.known).tenants, name, registration);
    }

    /// Returns the key that signs, for tests that make their own tokens.
    pub(crate) fn key(&self) -> SigningKey {
        self.ring.signing()
    }

    /// Issues a technical token for the broker, with some claims replaced. A null removes a claim.
    pub(crate) fn token(&self, client: &str, overrides: &Value) -> String {
        let now = self.clock.seconds();
        let mut claims = json!({"jti": uuid::Uuid::new_v4().to_string(), "sub": client, "azp": client,
            "aud": [IAS_BROKER_CLIENT], "iss": self.base, "app_tid": IAS_TENANT, "iat": now,
            "exp": now.saturating_add(LIFETIME)});
        if let (Some(claims), Some(overrides)) = (claims.as_object_mut(), overrides.as_object()) {
            claims.extend(overrides.clone());
            claims.retain(|_, value| !value.is_null());
        }
        let key = self.ring.signing();
        let jku = format!("{}{KEYS}", self.base);
        let header = json!({"alg": "RS256", "jku": jku, "kid": key.kid(), "typ": "JWT"});
        key.sign_with(&header, &claims)
    }

    /// Returns what is wrong with a request for keys.
    fn refusal(&self, headers: &HeaderMap) -> Option<&'static str> {
        let known = locked(&self.known);
        let asker = only(headers, "x-client_id");
        if asker != Ok(Some(IAS_BROKER_CLIENT)) {
            return Some("x-client_id is no client of this tenant");
        }
        match only(headers, "x-app_tid") {
            Ok(Some(tenant)) if known.tenants.contains(tenant) => {}
            _ => return Some("x-app_tid is no tenant of this client"),
        }
        match only(headers, "x-azp") {
            Ok(None) => None,
            Ok(Some(client)) if known.clients.contains(client) => None,
            _ => Some("x-azp is no client of this tenant"),
        }
    }
}

fn change(set: &mut BTreeSet<String>, name: &str, registration: Registration) {
    match registration {
        Registration::Registered => drop(set.insert(name.to_owned())),
        Registration::Unregistered => drop(set.remove(name)),
    }
}

/// Returns the value of a header. An error if the header is there twice or is not text.
fn only<'h>(headers: &'h HeaderMap, name: &str) -> Result<Option<&'h str>, ()> {
    let mut values = headers.get_all(name).iter();
    let value = values.next();
    if values.next().is_some() {
        return Err(());
    }
    value.map(|value| value.to_str().map_err(|_| ())).transpose()
}

/// Mounts the IAS tenant.
pub(crate) fn router(ias: Arc<Ias>) -> Router {
    Router::new()
        .route("/.well-known/openid-configuration", get(discovery))
        .route(KEYS, get(keys))
        .with_state(ias)
}

async fn discovery(State(ias): State<Arc<Ias>>) -> Response<Body> {
    let base = &ias.base;
    let body = json!({"issuer": base, "authorization_endpoint": format!("{base}/oauth2/authorize"),
        "token_endpoint": format!("{base}/oauth2/token"),
        "end_session_endpoint": format!("{base}/oauth2/logout"),
        "jwks_uri": format!("{base}{KEYS}"), "response_types_supported": ["code", "id_token", "token"],
        "subject_types_supported": ["public"], "id_token_signing_alg_values_supported": ["RS256"]});
    json_answer(StatusCode::OK, &body)
}

async fn keys(State(ias): State<Arc<Ias>>, headers: HeaderMap) -> Response<Body> {
    match ias.refusal(&headers) {
        Some(text) => OAuthRefusal::bad_request("invalid_request", text).answer(),
        None => keys_answer(&ias.ring.key_set(), TagForm::Bare, &headers),
    }
}
