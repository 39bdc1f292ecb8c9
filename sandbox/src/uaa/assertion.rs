//! The JWT-bearer grant (RFC 7523, CF RFC 0037): a token of the identity provider instead of a password. Invariant: no logon is
//! counted, for the provider is not asked. Called by `uaa`; a lever hands out assertions.

use std::sync::OnceLock;

use serde_json::{Value, json};

use crate::clock::Clock;
use crate::identity::TECHNICAL_ORIGIN;
use crate::oauth::Refusal;
use crate::token::key::SigningKey;
use crate::uaa::{Call, Granted, JWT_BEARER, Uaa, password};

/// The issuer that the trust of the default provider names.
const ISSUER: &str = "https://sandbox-platform.accounts.example.test";

/// The identity provider's own signing key, made when first needed.
#[derive(Debug, Default)]
pub(crate) struct Assertions(OnceLock<SigningKey>);

impl Assertions {
    fn key(&self) -> &SigningKey {
        self.0.get_or_init(|| SigningKey::first("sandbox-provider-key-1"))
    }

    /// Makes an id token for a user; members of `bend` replace claims.
    pub(crate) fn issue(&self, clock: &Clock, user: &str, bend: &Value) -> String {
        let now = clock.seconds();
        let mut claims = json!({"iss": ISSUER, "sub": user, "user_name": user, "email": user,
            "aud": ["cf"], "iat": now, "exp": now.saturating_add(3600)});
        if let (Some(claims), Some(bend)) = (claims.as_object_mut(), bend.as_object()) {
            claims.extend(bend.clone());
        }
        self.key().sign(&claims)
    }
}

/// Maps an assertion to a user of the provider that issued it.
pub(super) fn granted(uaa: &Uaa, call: &Call<'_>) -> Result<Granted, Refusal> {
    let assertion = call.parameters.get("assertion").filter(|value| !value.is_empty());
    let Some(assertion) = assertion else {
        return Err(Refusal::unauthorized("Assertion is missing"));
    };
    let Some(claims) = uaa.assertions.key().verified(assertion) else {
        return Err(Refusal::unauthorized("Could not verify token signature."));
    };
    let text = |name: &str| claims.get(name).and_then(Value::as_str).unwrap_or_default();
    if text("iss") != ISSUER {
        let text =
            format!("Unable to map issuer, {} , to a single registered provider", text("iss"));
        return Err(Refusal::unauthorized(text));
    }
    if claims.get("exp").and_then(Value::as_i64).unwrap_or_default() <= uaa.clock.seconds() {
        return Err(Refusal::invalid_token("Token expired"));
    }
    let user = uaa.directory.by_name(text("user_name"));
    let Some(user) = user.filter(|user| user.origin == TECHNICAL_ORIGIN) else {
        return Err(Refusal::unauthorized(
            "The user account must be pre-created. Please contact your system administrator.",
        ));
    };
    if !call.client.may(JWT_BEARER) {
        return Err(Refusal::invalid_client("Unauthorized grant type"));
    }
    let scopes = password::scopes(call, &user.scopes)?;
    let refresh_token = uaa.first_refresh(&call.client, &user, &scopes);
    Ok(Granted { user, scopes, refresh_token })
}
