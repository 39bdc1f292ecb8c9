//! Why no response of CF was passed on.

use crate::{capi::CapiError, policy::Denial};

/// Why a permit, or a question about one, did not lead to CF's own response.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ProxyError {
    /// The CF API gave no response that can be passed on.
    #[error(transparent)]
    Capi(#[from] CapiError),
    /// A write that is not idempotent was sent, and CF did not respond to it.
    #[error("no response to a write")]
    Unclear(#[source] CapiError),
    /// Denied because of the route's current state in CF.
    #[error(transparent)]
    Denied(#[from] Denial),
    /// The response is compressed although that was not requested, or it switches protocols.
    #[error("a response that cannot be passed on")]
    Unpassable,
}

impl ProxyError {
    /// Returns a constant word for audit lines.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Capi(error) | Self::Unclear(error) => error.as_str(),
            Self::Denied(_) => "denied_by_policy",
            Self::Unpassable => "cf_error",
        }
    }
}
