//! The OAuth 2.0 client: `TokenEndpoint::exchange(Grant)`, and the times of a token. It keeps and
//! renews none.
//!
//! Invariant: a grant is sent once, in the body of one POST, and never repeated here. This module
//! reveals secrets only to send or to hash them. `token` gets the technical user's tokens with it,
//! `destination` its own, `login` those of a person.

pub mod advice;
mod dialect;
pub mod fault;
pub mod fingerprint;
mod form;
pub mod grant;
pub mod hint;
mod lenient;
pub mod response;
mod seal;
mod window;

use crate::upstream::{ConnectFault, HttpClient, TransportError};
use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Request,
    header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE},
};
use reqwest::Identity;
use secrecy::{ExposeSecret, SecretString};
use std::fmt;
use url::Url;
use zeroize::Zeroizing;

pub use fault::Fault;
pub use fingerprint::{Fingerprint, FingerprintKey};
pub use grant::{ClientAuthentication, Grant, GrantKind};
pub use hint::{LoginHint, OriginKey};
pub use response::TokenResponse;
pub use seal::{random_key, sealing_key};
pub use window::{Freshness, TokenWindow};

/// Largest answer that is read. Real answers have a few KiB, an error page of a proxy perhaps tens.
const LARGEST_ANSWER: usize = 256 * 1024;

/// Exactly this value, without a charset: with one UAA leaves the decoding to its container, and
/// its checks for credentials in the body expect this beginning.
const FORM: HeaderValue = HeaderValue::from_static("application/x-www-form-urlencoded");
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// Tells UAA that the parts of `Basic` are form-encoded.
const ENCODED_CREDENTIALS: HeaderName = HeaderName::from_static("x-cf-encoded-credentials");

/// One token endpoint and the client's authentication there.
#[derive(Clone)]
pub struct TokenEndpoint {
    client: HttpClient,
    url: Url,
    authentication: ClientAuthentication,
    headers: HeaderMap,
}

impl TokenEndpoint {
    /// Drops the query of the URL: a strict server refuses one, and the caller has read it before.
    /// `headers` are further headers of the token call; they never replace the broker's own.
    pub fn new(
        client: HttpClient,
        mut url: Url,
        authentication: ClientAuthentication,
        headers: HeaderMap,
    ) -> Self {
        url.set_query(None);
        url.set_fragment(None);
        Self { client, url, authentication, headers }
    }

    /// Sends the grant once. Never repeats it.
    ///
    /// # Errors
    /// [`ExchangeError::Transport`] with [`TransportError::Refused`], and nothing sent, for an
    /// empty
    /// user or password or a reserved further field; with another error if no whole answer came.
    /// [`ExchangeError::Refused`] with the endpoint's answer, also for a 200 without a token.
    ///
    /// # Cancel safety
    /// Dropping the future does not take the grant back: it may count as a logon. Run it in its own
    /// task.
    pub async fn exchange(&self, grant: &Grant) -> Result<TokenResponse, ExchangeError> {
        let request = self.request(grant).ok_or(TransportError::Refused)?;
        let incoming = self.client.send(request).await?;
        let status = incoming.status();
        let headers = incoming.headers().clone();
        let answer = match incoming.read(LARGEST_ANSWER).await {
            Ok(answer) => answer,
            // The status is known: a refusal stays a refusal, even if its page is too long.
            Err(TransportError::TooLarge) if status.is_success() => {
                let why = "answer larger than 256 KiB";
                return Err(ExchangeError::Refused(Fault::unreadable(status, why)));
            }
            Err(TransportError::TooLarge) => {
                let fault = Fault::classify(status, &headers, &[], grant.kind(), &[]);
                return Err(ExchangeError::Refused(fault));
            }
            Err(error) => return Err(error.into()),
        };
        if status.as_u16() != 200 {
            let sent = form::sent(grant, &self.authentication, &self.headers);
            let sent: Vec<&str> = sent.iter().map(|text| text.as_str()).collect();
            let fault = Fault::classify(status, &headers, &answer.body, grant.kind(), &sent);
            return Err(ExchangeError::Refused(fault));
        }
        TokenResponse::read(&answer)
            .map_err(|why| ExchangeError::Refused(Fault::unreadable(status, &why)))
    }

    /// Builds the request; `None` if it must not be sent.
    fn request(&self, grant: &Grant) -> Option<Request<Bytes>> {
        let body = form::body(grant, &self.authentication)?;
        let mut request = Request::post(self.url.as_str()).body(Bytes::from_owner(body)).ok()?;
        *request.headers_mut() = self.head();
        Some(request)
    }

    fn head(&self) -> HeaderMap {
        let mut head = HeaderMap::new();
        let basic = form::basic(&self.authentication);
        let is_encoded = basic.as_ref().is_some_and(|basic| basic.is_encoded);
        if let Some(basic) = basic {
            head.insert(AUTHORIZATION, basic.header);
        }
        head.insert(CONTENT_TYPE, FORM);
        head.insert(ACCEPT, JSON);
        if is_encoded {
            head.insert(ENCODED_CREDENTIALS, HeaderValue::from_static("true"));
        }
        for (name, value) in &self.headers {
            if name != AUTHORIZATION && !head.contains_key(name) {
                head.insert(name, value.clone());
            }
        }
        head
    }
}

impl fmt::Debug for TokenEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenEndpoint").field("url", &self.url.as_str()).finish_non_exhaustive()
    }
}

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
pub enum ExchangeError {
    /// No whole answer, or nothing was sent.
    #[error("token endpoint unreachable")]
    Transport(#[from] TransportError),
    /// The endpoint answered, without a token.
    #[error("token endpoint refused")]
    Refused(Fault),
}

/// Why no connection was made, where waiting alone may not help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnreachableCause {
    /// The certificate was refused.
    Certificate,
    /// The server does not speak TLS, or none of our versions.
    Protocol,
    /// The host's name has no address.
    Name,
}

impl ExchangeError {
    /// Returns whether the request was sent, and its answer was cut or is no HTTP.
    pub fn is_cut(&self) -> bool {
        match self {
            Self::Transport(error) => {
                matches!(
                    error,
                    TransportError::Interrupted { .. } | TransportError::Unreadable { .. }
                )
            }
            Self::Refused(_) => false,
        }
    }

    /// Returns why no connection was made, where somebody may have to act.
    pub fn unreachable(&self) -> Option<UnreachableCause> {
        let Self::Transport(TransportError::Connect { kind, .. }) = self else {
            return None;
        };
        match kind {
            ConnectFault::TlsCertificate => Some(UnreachableCause::Certificate),
            ConnectFault::TlsProtocol => Some(UnreachableCause::Protocol),
            ConnectFault::Dns => Some(UnreachableCause::Name),
            ConnectFault::Refused | ConnectFault::Timeout | ConnectFault::Other => None,
        }
    }

    /// Returns whether the endpoint's certificate was refused: an administrator must act, and no
    /// password was sent.
    pub fn is_certificate(&self) -> bool {
        self.unreachable() == Some(UnreachableCause::Certificate)
    }
}

/// Passes the key of an X.509 binding to the TLS layer (PEM chain and PEM key, PKCS#1 or PKCS#8).
///
/// # Errors
/// [`IdentityError`] when one of them is missing or not PEM. Whether chain and key fit together is
/// checked when a client is built with them.
#[expect(clippy::disallowed_methods, reason = "the TLS layer needs the key in clear")]
pub fn client_identity(
    chain: &SecretString,
    key: &SecretString,
) -> Result<Identity, IdentityError> {
    let pem = Zeroizing::new([chain.expose_secret(), "\n", key.expose_secret(), "\n"].concat());
    Identity::from_pem(pem.as_bytes()).map_err(|_| IdentityError)
}

/// Without the text of the PEM reader, which has seen the key.
#[derive(Debug, thiserror::Error)]
#[error("client certificate or key is not usable PEM")]
pub struct IdentityError;

#[cfg(test)]
mod tests;
