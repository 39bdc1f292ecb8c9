//! The tokens that a login in a browser brings, and what is kept of them.
//!
//! Invariant: a [`CallerRecord`] is made from a verified caller only, and holds no token. `login`
//! seals it, so that nobody else can write one.

use super::{
    AuthError, Caller, Scope, Verifier,
    bearer::{CompactToken, PresentedToken},
    caller::Identity,
    error::AuthRejection,
};
use http::HeaderValue;
use serde::{Deserialize, Serialize};
use std::time::{Duration, SystemTime};

/// XSUAA's answer to the code of a login. The headers are marked sensitive, so `Debug` shows no
/// token.
#[derive(Clone, Copy, Debug)]
pub struct LoginTokens<'a> {
    /// `bearer <access token>`.
    pub access: &'a HeaderValue,
    /// `bearer <id token>`.
    pub id: &'a HeaderValue,
    /// What the authorization request sent.
    pub nonce: &'a str,
}

/// A person who has logged in.
#[derive(Debug)]
pub struct VerifiedLogin {
    /// The person, with the scopes of the access token.
    pub caller: Caller,
    /// `exp` of the access token, as time since 1970.
    pub expires: Duration,
}

/// What a login keeps of its caller.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CallerRecord {
    client: String,
    zone: String,
    sub: Option<String>,
    user: Option<String>,
    origin: Option<String>,
    token: Option<String>,
    scopes: Vec<String>,
}

impl Verifier {
    /// Verifies both tokens of a login by the rules of XSUAA. They must be about one person, and
    /// the id token must be the answer to this login.
    ///
    /// # Errors
    /// As [`Verifier::verify`].
    ///
    /// # Cancel safety
    /// As [`Verifier::verify`].
    pub async fn verify_login(
        &self,
        tokens: LoginTokens<'_>,
        now: SystemTime,
    ) -> Result<VerifiedLogin, AuthError> {
        let verdict = self.login_of(tokens, now).await;
        if let Err(error) = &verdict {
            self.inner.metrics.auth_refused(error.reason());
        }
        verdict
    }

    async fn login_of(
        &self,
        tokens: LoginTokens<'_>,
        now: SystemTime,
    ) -> Result<VerifiedLogin, AuthError> {
        let xsuaa = self.inner.issuers.xsuaa()?;
        let id = CompactToken::parse(PresentedToken::of(tokens.id)?.text()?)?;
        let subject = xsuaa.verify_id_token(&id, tokens.nonce, now).await?;
        let access = CompactToken::parse(PresentedToken::of(tokens.access)?.text()?)?;
        let verified = xsuaa.verify(&access, now).await?;
        if verified.caller.subject() != Some(subject.as_str()) {
            return Err(AuthRejection::Login.into());
        }
        Ok(VerifiedLogin { caller: verified.caller, expires: verified.expires })
    }
}

impl Caller {
    /// Returns what a login keeps.
    pub fn to_record(&self) -> CallerRecord {
        let text = |text: Option<&str>| text.map(str::to_owned);
        CallerRecord {
            client: self.client_id().to_owned(),
            zone: self.zone().to_owned(),
            sub: text(self.subject()),
            user: text(self.user()),
            origin: text(self.origin()),
            token: text(self.token_hash()),
            scopes: self.scopes().iter().map(|scope| scope.name().to_owned()).collect(),
        }
    }

    /// Makes the caller of a login again. A scope that this release does not know is left out.
    pub fn from_record(record: CallerRecord) -> Self {
        let is_granted = |scope: &Scope| record.scopes.iter().any(|name| name == scope.name());
        let scopes = Scope::ALL.into_iter().filter(is_granted).collect();
        Self::new(Identity {
            client_id: record.client,
            zone: record.zone,
            subject: record.sub,
            user: record.user,
            origin: record.origin,
            token_hash: record.token,
            certificate: None,
            scopes,
            pinned: Vec::new(),
        })
    }
}
