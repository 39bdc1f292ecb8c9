//! The JWT-bearer grant (RFC 7523, CF RFC 0037): a token of the identity provider instead of a
//! password. Invariant: it counts as no logon, because the provider is not asked. Called by `uaa`;
//! a lever hands out assertions.

use std::sync::OnceLock;

use serde_json::{Value, json};

use crate::clock::Clock;
use crate::identity::TECHNICAL_ORIGIN;
use crate::oauth::OAuthRefusal;
use crate::token::key::SigningKey;
use crate::uaa::{GrantOutcome, JWT_BEARER, TokenCall, Uaa, password};

/// The issuer that UAA trusts for the default provider.
const ISSUER: &str = "https://sandbox-platform.accounts.example.test";

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
            "aud": ["cf"], "iat": now, "exp": now.saturating_add(3600)});
        if let (Some(claims), Some(overrides)) = (claims.as_object_mut(), overrides.as_object()) {
            claims.extend(overrides.clone());
        }
        self.key().sign(&claims)
    }
}

/// Finds the user of the provider that issued the assertion.
pub(super) fn granted(uaa: &Uaa, call: &TokenCall<'_>) -> Result<GrantOutcome, OAuthRefusal> {
    let assertion = call.parameters.get("assertion").filter(|value| !value.is_empty());
    let Some(assertion) = assertion else {
        return Err(OAuthRefusal::unauthorized("Assertion is missing"));
    };
    let Some(claims) = uaa.assertions.key().verified(assertion) else {
        return Err(OAuthRefusal::unauthorized("Could not verify token signature."));
    };
    let text = |name: &str| claims.get(name).and_then(Value::as_str).unwrap_or_default();
    if text("iss") != ISSUER {
        let text =
            format!("Unable to map issuer, {} , to a single registered provider", text("iss"));
        return Err(OAuthRefusal::unauthorized(text));
    }
    if claims.get("exp").and_then(Value::as_i64).unwrap_or_default() <= uaa.clock.seconds() {
        return Err(OAuthRefusal::invalid_token("Token expired"));
    }
    let user = uaa.directory.by_name(text("user_name"));
    let Some(user) = user.filter(|user| user.origin == TECHNICAL_ORIGIN) else {
        return Err(OAuthRefusal::unauthorized(
            "The user account must be pre-created. Please contact your system administrator.",
        ));
    };
    if !call.client.may(JWT_BEARER) {
        return Err(OAuthRefusal::unauthorized_grant());
    }
    let scopes = password::scopes(call, &user.scopes)?;
    let refresh_token = uaa.first_refresh(&call.client, &user, &scopes);
    Ok(GrantOutcome { user, scopes, refresh_token })
}
