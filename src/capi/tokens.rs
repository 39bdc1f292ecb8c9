//! Where a call's token comes from: the vault, or a script in tests of this room and of `routes`.
//!
//! Invariant: whatever was lent is what is revoked, so that only a token that is still in service is ended.
//! Callers: [`super::CfRequestClient`].

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
    /// The technical users' own.
    Vault(TokenVault),
    /// Numbered ones: what happens on the wire is tested without a login server.
    #[cfg(test)]
    Script(ScriptedTokens),
}

/// A token on token.
#[derive(Clone, Debug)]
pub(super) enum BorrowedToken {
    /// From the vault.
    Lease(Arc<Lease>),
    /// From a script.
    #[cfg(test)]
    Script(ScriptedTokens),
}

impl TokenLender {
    /// Lends the token that is in service.
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
    /// Returns the header's value, marked sensitive.
    pub(super) fn authorization(&self) -> &HeaderValue {
        match self {
            Self::Lease(lease) => lease.authorization(),
            #[cfg(test)]
            Self::Script(script) => script.authorization(),
        }
    }

    /// Returns the base of the API that the token is for.
    pub(super) fn api(&self) -> &Url {
        match self {
            Self::Lease(lease) => lease.api(),
            #[cfg(test)]
            Self::Script(script) => script.api(),
        }
    }
}
