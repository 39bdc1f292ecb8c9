//! The successful answer of the token endpoint, and how a lever changes it. Called by `uaa`.
//! `xsuaa` uses the same [`AnswerPatch`].

use axum::body::Body;
use http::Response;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::oauth::{OAuthClient, token_answer};
use crate::part::locked;
use crate::token::CfTokenSpec;
use crate::uaa::{GrantOutcome, IdToken, Uaa};

/// Changes to the next successful answers.
#[derive(Clone, Debug)]
pub(crate) struct AnswerPatch {
    pub(crate) set: Map<String, Value>,
    pub(crate) unset: Vec<String>,
    pub(crate) left: usize,
}

/// A successful answer. The members have the order of the real one.
#[derive(Serialize)]
struct UaaTokenBody {
    access_token: String,
    token_type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    id_token: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    refresh_token: Option<String>,
    expires_in: i64,
    scope: String,
    jti: String,
}

impl Uaa {
    /// Issues the access token and writes the answer.
    pub(super) fn success(&self, client: &OAuthClient, granted: GrantOutcome) -> Response<Body> {
        let settings = self.settings();
        let GrantOutcome { user, scopes, refresh_token, id_token } = granted;
        let spec = CfTokenSpec {
            user_guid: user.guid,
            user_name: user.name,
            origin: settings.claimed_origin.unwrap_or(user.origin),
            scopes: scopes.clone(),
            lifetime: settings.lifetime,
            ..CfTokenSpec::default()
        };
        let access_token = self.tokens.mint(&spec);
        let wants_id = id_token == IdToken::ByScope && scopes.iter().any(|scope| scope == "openid");
        let id_token = wants_id.then(|| {
            let jti = CfTokenSpec::default().jti;
            let audience = vec![client.id.clone()];
            self.tokens.mint(&CfTokenSpec { audience, jti, ..spec.clone() })
        });
        let body = UaaTokenBody {
            access_token,
            token_type: "bearer",
            id_token,
            refresh_token,
            expires_in: settings.lifetime.saturating_sub(1),
            scope: scopes.join(" "),
            jti: spec.jti,
        };
        match self.patched(&body) {
            Some(changed) => token_answer(&changed),
            None => token_answer(&body),
        }
    }

    /// Applies the patch for this answer, if there is one.
    fn patched(&self, body: &impl Serialize) -> Option<Value> {
        let mut settings = locked(&self.settings);
        let mut value = serde_json::to_value(body).ok()?;
        let left = settings.patch.as_mut()?.apply(&mut value);
        if left == 0 {
            settings.patch = None;
        }
        Some(value)
    }
}

impl AnswerPatch {
    /// Changes one answer. Returns how many more will be changed.
    pub(crate) fn apply(&mut self, body: &mut Value) -> usize {
        if let Some(members) = body.as_object_mut() {
            members.extend(self.set.clone());
            members.retain(|name, _| !self.unset.contains(name));
        }
        self.left = self.left.saturating_sub(1);
        self.left
    }
}
