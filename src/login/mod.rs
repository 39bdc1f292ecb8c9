//! Login of people in a browser: `OpenID` Connect, authorization code with PKCE, at the bound
//! XSUAA. All rules are in `docs/reference/browser-login.md`.
//!
//! Invariant: no token leaves this module. A cookie holds who has logged in, sealed with a key that
//! all instances share, and nothing is kept in the process. Called by `http`; `app` makes the key.

mod cookies;
mod error;
mod flow;
mod forms;
mod session;
mod settings;

pub use cookies::SetCookie;
pub use error::{CodeFault, LoginError, LoginOff};
pub use flow::{LOGGED_OUT, LoginDone, LoginFlow, LoginStart, SignOut};
pub use forms::{FormHolder, FormKeys, FormUse};
pub use session::{Session, SessionState};
pub use settings::Settings;

use crate::{
    auth::{SealingKey, Verifier},
    oauth::TokenEndpoint,
};
use std::sync::Arc;
use url::Url;

/// The login, or why there is none. A clone is shallow.
#[derive(Clone, Debug)]
pub struct Login(Arc<LoginInner>);

#[derive(Debug)]
struct LoginInner {
    flow: Result<LoginFlow, LoginOff>,
    forms: Option<FormKeys>,
}

/// What a login needs.
#[derive(Debug)]
pub struct LoginParts {
    /// The broker's client at XSUAA.
    pub client_id: String,
    /// Base of XSUAA, where the browser is sent.
    pub xsuaa: Url,
    /// XSUAA's token endpoint, with the broker's credentials.
    pub endpoint: TokenEndpoint,
    /// Seals new cookies.
    pub key: SealingKey,
    /// Opens cookies that were sealed before the key was changed.
    pub previous_key: Option<SealingKey>,
    /// Verifies the tokens.
    pub verifier: Verifier,
}

impl Login {
    /// Makes a login.
    pub fn on(parts: LoginParts) -> Self {
        let forms = Some(FormKeys::new(parts.key.clone(), parts.previous_key.clone()));
        Self(Arc::new(LoginInner { flow: Ok(LoginFlow::new(parts)), forms }))
    }

    /// Makes a login that is off. People whose token an approuter passes on can send forms all the
    /// same, if there are keys.
    pub fn off(reason: LoginOff, forms: Option<FormKeys>) -> Self {
        Self(Arc::new(LoginInner { flow: Err(reason), forms }))
    }

    /// Returns the keys of the forms; `None` if there are none in this process.
    pub fn forms(&self) -> Option<&FormKeys> {
        self.0.forms.as_ref()
    }

    /// Returns the login.
    ///
    /// # Errors
    /// Why it is off.
    pub fn flow(&self) -> Result<&LoginFlow, LoginOff> {
        self.0.flow.as_ref().map_err(|reason| *reason)
    }
}

#[cfg(test)]
mod tests;
