//! The tokens of the CF UAA. Each process makes its own signing keys, so no token outlives it.
//! Invariant: [`CfTokens::check`] accepts only what was signed by a key that the UAA publishes now.
//! Called by `uaa` (issues tokens), by `capi` (checks them) and by tests.

pub mod key;
pub mod ring;

use std::collections::HashSet;
use std::sync::{Mutex, OnceLock};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::clock::Clock;
use crate::part::locked;
use crate::token::key::SigningKey;
use crate::token::ring::{KeyRing, OldKey};

/// The audience that the Cloud Controller requires (source, `cloud_controller_ng`).
const CLOUD_CONTROLLER: &str = "cloud_controller";

/// What the Cloud Controller knows about the user of a good token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CfUser {
    /// The claim `user_id`.
    pub guid: String,
    /// The claim `user_name`.
    pub name: String,
    /// The claim `origin`.
    pub origin: String,
    /// The claim `scope`.
    pub scopes: Vec<String>,
}

/// Why the Cloud Controller refuses a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CfTokenRefusal {
    /// No header, or another scheme than bearer: 401/10002.
    NotAuthenticated,
    /// A bearer token that is not valid: 401/1000.
    Invalid,
    /// A token that no published key signed: also 401/1000, after the Cloud Controller has asked
    /// the UAA for its keys.
    UnknownKey,
}

/// The content of a CF token. Tests change the fields.
#[derive(Clone, Debug)]
pub struct CfTokenSpec {
    /// The claims `sub` and `user_id`.
    pub user_guid: String,
    /// The claims `user_name` and `email`.
    pub user_name: String,
    /// The identity provider's key: the claim `origin`.
    pub origin: String,
    /// The claim `scope`.
    pub scopes: Vec<String>,
    /// The claim `aud`. The Cloud Controller requires `cloud_controller` in it.
    pub audience: Vec<String>,
    /// Seconds from now until `exp`. A negative number is an expired token.
    pub lifetime: i64,
    /// `-r` at the end marks a refresh token.
    pub jti: String,
    /// The key that signs.
    pub key: CfTokenKey,
}

/// Which key signs a CF token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CfTokenKey {
    /// The UAA's own key.
    Own,
    /// A key that UAA does not publish.
    Foreign,
}

/// Issues and checks the access tokens of the CF UAA: signature, issuer, audience
/// `cloud_controller`, `exp` without leeway, revocation.
#[derive(Debug)]
pub struct CfTokens {
    issuer: String,
    clock: Clock,
    ring: KeyRing,
    foreign: OnceLock<SigningKey>,
    registry: Mutex<TokenRegistry>,
}

/// The `jti` of the tokens that were issued, and of those that were ended early.
#[derive(Debug, Default)]
struct TokenRegistry {
    issued: Vec<String>,
    ended: HashSet<String>,
}

impl Default for CfTokenSpec {
    /// The token of a technical user as UAA issues it after a password grant.
    fn default() -> Self {
        let scopes = [
            "openid",
            "uaa.user",
            "cloud_controller.read",
            "password.write",
            "cloud_controller.write",
        ];
        let audience = ["cloud_controller", "password", "cf", "uaa", "openid"];
        Self {
            user_guid: "11111111-1111-4111-8111-111111111111".to_owned(),
            user_name: "technical.user@example.test".to_owned(),
            origin: "sandbox-platform".to_owned(),
            scopes: scopes.map(str::to_owned).to_vec(),
            audience: audience.map(str::to_owned).to_vec(),
            lifetime: 1200,
            jti: uuid::Uuid::new_v4().simple().to_string(),
            key: CfTokenKey::Own,
        }
    }
}

impl CfTokens {
    /// Makes the key. `issuer` is the UAA's base address; the claim `iss` is
    /// `{issuer}/oauth/token`.
    pub fn new(issuer: String) -> Self {
        Self::with_clock(issuer, Clock::default())
    }

    /// As [`CfTokens::new`], with the landscape's clock.
    pub fn with_clock(issuer: String, clock: Clock) -> Self {
        let ring = KeyRing::new("sandbox-uaa", clock.clone());
        Self { issuer, clock, ring, foreign: OnceLock::new(), registry: Mutex::default() }
    }

    /// Issues a token with the claims of the real UAA.
    pub fn mint(&self, spec: &CfTokenSpec) -> String {
        let now = self.clock.seconds();
        locked(&self.registry).issued.push(spec.jti.clone());
        let key = match spec.key {
            CfTokenKey::Own => self.ring.signing(),
            CfTokenKey::Foreign => self.foreign().clone(),
        };
        let header = json!({"alg": "RS256", "jku": format!("{}/token_keys", self.issuer), "kid": key.kid(), "typ": "JWT"});
        let claims = json!({"jti": spec.jti, "client_auth_method": "none", "sub": spec.user_guid, "scope": spec.scopes,
            "client_id": "cf", "cid": "cf", "azp": "cf", "grant_type": "password", "user_id": spec.user_guid,
            "origin": spec.origin, "user_name": spec.user_name, "email": spec.user_name, "auth_time": now,
            "rev_sig": "5a4db001", "iat": now, "exp": now.saturating_add(spec.lifetime),
            "iss": self.iss(), "zid": "uaa", "aud": spec.audience});
        key.sign_with(&header, &claims)
    }

    /// Checks the `Authorization` header as the Cloud Controller does (`bearer` in any case).
    ///
    /// # Errors
    /// [`CfTokenRefusal::NotAuthenticated`] without a bearer token, [`CfTokenRefusal::UnknownKey`]
    /// if no published key signed it, [`CfTokenRefusal::Invalid`] if it is not valid for another
    /// reason. An empty bearer token is invalid (recorded).
    pub fn check(&self, authorization: Option<&str>) -> Result<CfUser, CfTokenRefusal> {
        let value = authorization.unwrap_or_default().trim();
        let (scheme, token) = value.split_once(' ').unwrap_or((value, ""));
        if !scheme.eq_ignore_ascii_case("bearer") {
            return Err(CfTokenRefusal::NotAuthenticated);
        }
        let token = token.trim();
        let Some(claims) = self.ring.verified(token) else {
            let unknown = is_signed(token);
            return Err(if unknown { CfTokenRefusal::UnknownKey } else { CfTokenRefusal::Invalid });
        };
        self.accepted(&claims).ok_or(CfTokenRefusal::Invalid)
    }

    /// Returns the keys of the UAA.
    pub fn ring(&self) -> &KeyRing {
        &self.ring
    }

    /// Signs with a new key from now on. The old key ends at once, as after a forced rotation.
    pub fn rotate_keys(&self) {
        self.ring.rotate(OldKey::Ends);
    }

    /// Ends every token issued so far: the Cloud Controller answers 401/1000.
    pub fn end_all(&self) {
        let mut registry = locked(&self.registry);
        let issued = std::mem::take(&mut registry.issued);
        registry.ended.extend(issued);
    }

    fn iss(&self) -> String {
        format!("{}/oauth/token", self.issuer)
    }

    fn foreign(&self) -> &SigningKey {
        self.foreign.get_or_init(|| SigningKey::first("foreign-key"))
    }

    /// Applies the rules after the signature check. `exp` has no leeway (source,
    /// `cloud_controller_ng`).
    fn accepted(&self, claims: &Value) -> Option<CfUser> {
        let jti = claims.get("jti")?.as_str()?;
        let live = claims.get("exp")?.as_i64()? > self.clock.seconds();
        let audience = texts(claims.get("aud")?);
        let issued_here = claims.get("iss")?.as_str()? == self.iss();
        let ended = jti.ends_with("-r") || locked(&self.registry).ended.contains(jti);
        if !live || ended || !issued_here || !audience.iter().any(|name| name == CLOUD_CONTROLLER) {
            return None;
        }
        Some(CfUser {
            guid: claims.get("user_id")?.as_str()?.to_owned(),
            name: claims.get("user_name")?.as_str()?.to_owned(),
            origin: claims.get("origin")?.as_str()?.to_owned(),
            scopes: texts(claims.get("scope")?),
        })
    }
}

/// Returns whether the text has the form of a signed token.
fn is_signed(token: &str) -> bool {
    let mut segments = token.split('.');
    let header = segments.next().and_then(|header| URL_SAFE_NO_PAD.decode(header).ok());
    let header = header.and_then(|header| serde_json::from_slice::<Value>(&header).ok());
    header.is_some_and(|header| header.is_object()) && segments.count() == 2
}

/// Returns the texts of a JSON array. Other values have none.
fn texts(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests;
