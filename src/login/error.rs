//! Why there is no login.
//!
//! Invariant: no variant holds a text of the browser or of XSUAA.

use crate::{auth::AuthError, oauth::ExchangeError};

/// Why a login is not possible in this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoginOff {
    /// `login.enabled` is off.
    #[error("login.enabled is off")]
    Disabled,
    /// There is no xsuaa binding.
    #[error("no xsuaa binding")]
    NotBound,
    /// The xsuaa binding has a certificate in place of a secret, and no key is bound.
    #[error("the xsuaa binding has no secret, and no key for the cookies is bound")]
    NoKey,
    /// The client certificate or the TLS client of the binding cannot be used.
    #[error("the certificate of the xsuaa binding cannot be used")]
    Certificate,
    /// `auth.require_mtls` is on, and a cookie is bound to no certificate.
    #[error("auth.require_mtls is on")]
    MutualTls,
}

impl LoginOff {
    /// Returns what an operator can do.
    pub fn hint(self) -> &'static str {
        match self {
            Self::Disabled => "set login.enabled = true and restart the broker",
            Self::NotBound => "bind a service instance of xsuaa and restart the broker",
            Self::NoKey => {
                "bind a user-provided service with the tag cfapi-login and the credential key, or \
                 bind xsuaa with a secret, and restart the broker"
            }
            Self::Certificate => "bind the service instance of xsuaa again and restart the broker",
            Self::MutualTls => "use an approuter that presents the client certificate",
        }
    }

    /// Returns what every page says to people; `None` if the login is off on purpose.
    pub fn notice(self) -> Option<String> {
        let is_wanted = matches!(self, Self::Disabled | Self::MutualTls);
        (!is_wanted).then(|| {
            format!("Nobody can log in here: {self}. What its operator can do: {}.", self.hint())
        })
    }
}

/// Why a login failed.
#[derive(Debug, thiserror::Error)]
pub enum LoginError {
    /// The answer does not belong to a login that this browser has begun, or XSUAA gave none.
    #[error("login not accepted: {reason}")]
    NotAccepted {
        /// Constant word for the log.
        reason: &'static str,
    },
    /// This process has sent too many codes within the last seconds.
    #[error("too many logins at once")]
    Busy,
    /// XSUAA did not exchange the code.
    #[error("code not exchanged")]
    Exchange {
        /// Who can do something about it.
        fault: CodeFault,
        /// What XSUAA answered.
        #[source]
        source: ExchangeError,
    },
    /// A token breaks a rule, or cannot be checked now.
    #[error("tokens not accepted")]
    Token(#[source] AuthError),
    /// The system gave no random bytes, or the cookie would be too long.
    #[error("no cookie could be made")]
    Cookie,
}

/// Why XSUAA did not exchange a code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CodeFault {
    /// The code: used, too old, or of another login.
    Code,
    /// The credentials of the binding.
    Client,
    /// The certificate of XSUAA.
    Certificate,
    /// There is no usable answer. Waiting may help.
    Unavailable,
}

impl From<ExchangeError> for LoginError {
    fn from(source: ExchangeError) -> Self {
        let code = match &source {
            ExchangeError::Refused(fault) => fault.error.as_deref(),
            ExchangeError::Transport(_) => None,
        };
        let fault = match code {
            Some("invalid_grant" | "redirect_uri_mismatch") => CodeFault::Code,
            Some("invalid_client" | "unauthorized" | "unauthorized_client") => CodeFault::Client,
            _ if source.is_certificate() => CodeFault::Certificate,
            _ => CodeFault::Unavailable,
        };
        Self::Exchange { fault, source }
    }
}
