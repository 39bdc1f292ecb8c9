//! Where a call's token comes from: the token vault, or a script in tests of this module and of
//! `routes`.
//!
//! Invariant: a call revokes exactly the token that it borrowed, so only a token that is still in
//! service is ended. Callers: [`super::CfRequestClient`].

use super::DestinationName;
#[cfg(test)]
use super::support::ScriptedTokens;
use crate::token::{Lease, LeaseRefusal, Revoked, TokenVault};
use http::HeaderValue;
use std::sync::Arc;
use url::Url;

/// Lends tokens; a clone is shallow.
#[derive(Clone, Debug)]
pub(super) enum TokenLender {
    /// The tokens of the technical users.
    Vault(TokenVault),
    /// Numbered tokens: the calls are tested without a login server.
    #[cfg(test)]
    Script(ScriptedTokens),
}

/// A token for one call.
#[derive(Clone, Debug)]
pub(super) enum BorrowedToken {
    /// From the vault.
    Lease(Arc<Lease>),
    /// From a script.
    #[cfg(test)]
    Script(ScriptedTokens),
}

impl TokenLender {
    /// Lends the current token.
    pub(super) async fn borrow(
        &self,
        destination: &DestinationName,
    ) -> Result<BorrowedToken, LeaseRefusal> {
        match self {
            Self::Vault(vault) => vault.lease(destination).await.map(BorrowedToken::Lease),
            #[cfg(test)]
            Self::Script(script) => Ok(BorrowedToken::Script(script.current())),
        }
    }

    /// Ends a token that CF refused, if it is still in service.
    pub(super) fn revoke(&self, destination: &DestinationName, used: &BorrowedToken) -> Revoked {
        match (self, used) {
            (Self::Vault(vault), BorrowedToken::Lease(lease)) => vault.revoke(destination, lease),
            #[cfg(test)]
            (Self::Script(script), BorrowedToken::Script(_)) => script.renew(),
            #[cfg(test)]
            (Self::Vault(_) | Self::Script(_), _) => Revoked::Cooldown,
        }
    }
}

impl BorrowedToken {
    /// Returns the value of the `Authorization` header, marked sensitive.
    pub(super) fn authorization(&self) -> &HeaderValue {
        match self {
            Self::Lease(lease) => lease.authorization(),
            #[cfg(test)]
            Self::Script(script) => script.authorization(),
        }
    }

    /// Returns the base URL of the API that the token is for.
    pub(super) fn api(&self) -> &Url {
        match self {
            Self::Lease(lease) => lease.api(),
            #[cfg(test)]
            Self::Script(script) => script.api(),
        }
    }
}
