//! The login, made from the xsuaa binding and a key that all instances share.
//!
//! Invariant: nothing here makes a call. A login that cannot be made does not stop the start; the
//! log says what to do.

use http::HeaderMap;
use url::Url;

use crate::{
    app::BoundServices,
    auth::{SealingKey, Verifier},
    binding::{ServiceCredential, XsuaaBinding},
    config::Settings,
    login::{FormKeys, Login, LoginOff, LoginParts},
    oauth::{ClientAuthentication, TokenEndpoint, client_identity, sealing_key},
    upstream::{ClientFactory, HttpClient, Purpose},
};

/// Purpose of the derived key.
const COOKIES: &str = "login cookies";

/// Makes the login, or says in the log why there is none.
pub(super) fn login(
    settings: &Settings,
    bound: &BoundServices,
    clients: (&ClientFactory, &HttpClient),
    verifier: &Verifier,
) -> Login {
    match parts(settings, bound, clients, verifier) {
        Ok(parts) => Login::on(parts),
        Err(reason) => {
            match reason {
                LoginOff::Disabled => {}
                LoginOff::NotBound | LoginOff::MutualTls => {
                    tracing::info!(
                        hint = reason.hint(),
                        "nobody can log in with a browser: {reason}"
                    );
                }
                LoginOff::NoKey | LoginOff::Certificate => {
                    tracing::warn!(
                        hint = reason.hint(),
                        "nobody can log in with a browser: {reason}"
                    );
                }
            }
            Login::off(reason, forms(bound))
        }
    }
}

/// The keys of the forms without a login.
fn forms(bound: &BoundServices) -> Option<FormKeys> {
    let (current, previous) = keys(bound, bound.xsuaa.as_ref()?).ok()?;
    Some(FormKeys::new(current, previous))
}

fn parts(
    settings: &Settings,
    bound: &BoundServices,
    clients: (&ClientFactory, &HttpClient),
    verifier: &Verifier,
) -> Result<LoginParts, LoginOff> {
    if !settings.login.enabled {
        return Err(LoginOff::Disabled);
    }
    if settings.auth.require_mtls {
        return Err(LoginOff::MutualTls);
    }
    let xsuaa = bound.xsuaa.as_ref().ok_or(LoginOff::NotBound)?;
    let (key, previous_key) = keys(bound, xsuaa)?;
    Ok(LoginParts {
        client_id: xsuaa.client_id.clone(),
        xsuaa: xsuaa.url.clone(),
        endpoint: endpoint(xsuaa, clients)?,
        key,
        previous_key,
        verifier: verifier.clone(),
    })
}

/// The keys of the user-provided service, else one derived from the secret of the xsuaa binding. A
/// certificate may differ from instance to instance, so no key is derived from it.
fn keys(
    bound: &BoundServices,
    xsuaa: &XsuaaBinding,
) -> Result<(SealingKey, Option<SealingKey>), LoginOff> {
    let key = |secret| SealingKey::new(&sealing_key(secret, COOKIES));
    let (current, previous) = match (&bound.login_keys, &xsuaa.credential) {
        (Some(keys), _) => (&keys.current, keys.previous.as_ref()),
        (None, ServiceCredential::Secret(secret)) => (secret, None),
        (None, ServiceCredential::Certificate { .. }) => return Err(LoginOff::NoKey),
    };
    Ok((key(current).ok_or(LoginOff::NoKey)?, previous.and_then(key)))
}

fn endpoint(
    xsuaa: &XsuaaBinding,
    (factory, shared): (&ClientFactory, &HttpClient),
) -> Result<TokenEndpoint, LoginOff> {
    let id = xsuaa.client_id.clone();
    let (client, base, authentication) = match &xsuaa.credential {
        ServiceCredential::Secret(secret) => {
            let secret = secret.clone();
            (shared.clone(), &xsuaa.url, ClientAuthentication::Body { id, secret })
        }
        ServiceCredential::Certificate { chain, key, token_base } => {
            let identity = client_identity(chain, key).map_err(|_| LoginOff::Certificate)?;
            let client = factory.client_with_identity(Purpose::Token, identity);
            let client = client.map_err(|_| LoginOff::Certificate)?;
            (client, token_base, ClientAuthentication::Certificate { id })
        }
    };
    Ok(TokenEndpoint::new(client, token_url(base), authentication, HeaderMap::new()))
}

fn token_url(base: &Url) -> Url {
    let mut url = base.clone();
    url.set_path(&format!("{}/oauth/token", base.path().trim_end_matches('/')));
    url
}
