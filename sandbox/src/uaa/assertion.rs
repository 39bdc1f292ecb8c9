//! The JWT-bearer grant (RFC 7523, CF RFC 0037): a token of the identity provider instead of a
//! password. Invariant: it counts as no logon, because the provider is not asked. Called by `uaa`;
//! a lever hands out assertions.

use std::sync::OnceLock;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::clock::Clock;
use crate::identity::{Account, TECHNICAL_ORIGIN, not_pre_created};
use crate::oauth::OAuthRefusal;
use crate::token::key::SigningKey;
use crate::uaa::release::UaaRelease;
use crate::uaa::{GrantOutcome, IdToken, JWT_BEARER, TokenCall, Uaa, password};

/// The issuer that UAA trusts for the default provider.
const ISSUER: &str = "https://sandbox-platform.accounts.example.test";

/// The client of UAA at the provider. An assertion must be for it.
const RELYING_PARTY: &str = "uaa-rp";

/// The signing key of the identity provider. It is made when it is first needed.
#[derive(Debug, Default)]
pub(crate) struct Assertions(OnceLock<SigningKey>);

impl Assertions {
    fn key(&self) -> &SigningKey {
        self.0.get_or_init(|| SigningKey::first("sandbox-provider-key-1"))
    }

    /// Issues an id token for a user. Members of `overrides` replace claims.
    pub(crate) fn issue(&self, clock: &Clock, user: &str, overrides: &Value) -> String {
        let now = clock.seconds();
        let mut claims = json!({"iss": ISSUER, "sub": user, "user_name": user, "email": user,
            "aud": [RELYING_PARTY], "iat": now, "exp": now.saturating_add(3600)});
        if let (Some(claims), Some(overrides)) = (claims.as_object_mut(), overrides.as_object()) {
            claims.extend(overrides.clone());
        }
        self.key().sign(&claims)
    }
}

/// Finds the user of the provider that issued the assertion.
pub(super) fn granted(uaa: &Uaa, call: &TokenCall<'_>) -> Result<GrantOutcome, OAuthRefusal> {
    let claims = verified(uaa, call.parameters.get("assertion"))?;
    let name = claims.get("user_name").and_then(Value::as_str).unwrap_or_default();
    let user = uaa.directory.by_name(name).filter(|user| user.account == Account::Active);
    let Some(user) = user.filter(|user| user.origin == TECHNICAL_ORIGIN) else {
        return Err(not_pre_created());
    };
    if !call.client.may(JWT_BEARER) {
        return Err(OAuthRefusal::unauthorized_grant());
    }
    let scopes = password::scopes(call, &user.scopes)?;
    let refresh_token = match uaa.settings().release {
        UaaRelease::New => uaa.first_refresh(&call.client, &user, &scopes),
        UaaRelease::Old => None,
    };
    Ok(GrantOutcome { user, scopes, refresh_token, id_token: IdToken::Never })
}

/// Checks an assertion in UAA's order: form, issuer, signature, end, audience. An expired one has
/// the text of a bad signature (seen).
fn verified(uaa: &Uaa, assertion: Option<&str>) -> Result<Value, OAuthRefusal> {
    let Some(assertion) = assertion else {
        return Err(OAuthRefusal::unauthorized("Assertion is missing"));
    };
    if assertion.is_empty() {
        return Err(OAuthRefusal::unauthorized("Unable to decode expected id_token"));
    }
    let claims =
        unverified(assertion).ok_or_else(|| OAuthRefusal::invalid_token("Invalid token"))?;
    let issuer = claims.get("iss").and_then(Value::as_str).unwrap_or_default();
    if issuer != ISSUER {
        let text = format!("Unable to map issuer, {issuer} , to a single registered provider");
        return Err(OAuthRefusal::unauthorized(text));
    }
    let end = claims.get("exp").and_then(Value::as_i64).unwrap_or_default();
    if uaa.assertions.key().verified(assertion).is_none() || end <= uaa.clock.seconds() {
        return Err(OAuthRefusal::invalid_token("Could not verify token signature."));
    }
    let audience = claims.get("aud").unwrap_or(&Value::Null);
    let names = audience.as_array().map_or(std::slice::from_ref(audience), Vec::as_slice);
    if !names.iter().any(|name| name == RELYING_PARTY) {
        let text = format!("Some parties were not in the token audience: {RELYING_PARTY}");
        return Err(OAuthRefusal::invalid_token(text));
    }
    Ok(claims)
}

/// Returns the claims of a JWT without a check. `None` if it is none.
pub(super) fn unverified(token: &str) -> Option<Value> {
    let mut segments = token.split('.');
    let (_header, body) = (segments.next()?, segments.next()?);
    segments.next()?;
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(body).ok()?).ok()
}
