//! Why nothing of CF's answer could be passed on.

use crate::{capi::CapiError, policy::Denial};

/// Why a permit, or a question about one, did not lead to CF's own answer.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ProxyError {
    /// The CF API gave no answer that can be passed on.
    #[error(transparent)]
    Capi(#[from] CapiError),
    /// A write that is not idempotent was sent, and CF gave no answer to it.
    #[error("no answer to a write")]
    Unclear(#[source] CapiError),
    /// What the CF API showed of the route says no.
    #[error(transparent)]
    Denied(#[from] Denial),
    /// The answer is packed although it was asked for unpacked, or switches protocols.
    #[error("an answer of a form that is not passed on")]
    Unpassable,
}

impl ProxyError {
    /// Returns a constant word for audit lines.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Capi(error) | Self::Unclear(error) => error.word(),
            Self::Denied(_) => "denied_by_policy",
            Self::Unpassable => "cf_error",
        }
    }
}
