//! Where a call's token comes from: the token vault; in tests of this module and its callers a
//! script.
//!
//! Invariant: a call revokes exactly the token that it borrowed, so only a token that is still in
//! service is ended. Callers: [`super::CfRequestClient`].

use super::DestinationName;
use crate::token::{Lease, LeaseRefusal, Revoked, TokenVault};
use std::{fmt, pin::Pin, sync::Arc};

/// A lease that must be waited for.
pub(super) type LeaseFuture<'a> =
    Pin<Box<dyn Future<Output = Result<Arc<Lease>, LeaseRefusal>> + Send + 'a>>;

/// Lends the tokens of the technical users.
pub(super) trait TokenLender: fmt::Debug + Send + Sync {
    /// Returns a fresh token without waiting, if there is one. Nearly all calls find one, so this
    /// way allocates nothing.
    fn fresh(&self, destination: &DestinationName) -> Option<Arc<Lease>>;

    /// Returns a token and waits for it if necessary.
    fn lease<'a>(&'a self, destination: &'a DestinationName) -> LeaseFuture<'a>;

    /// Returns the refusal for a caller whose time ended while it waited in [`Self::lease`].
    fn late(&self, destination: &DestinationName) -> LeaseRefusal;

    /// Ends a token that CF refused, if it is still in service.
    fn revoke(&self, destination: &DestinationName, used: &Arc<Lease>) -> Revoked;
}

impl TokenLender for TokenVault {
    fn fresh(&self, destination: &DestinationName) -> Option<Arc<Lease>> {
        Self::fresh(self, destination)
    }

    fn lease<'a>(&'a self, destination: &'a DestinationName) -> LeaseFuture<'a> {
        Box::pin(Self::lease(self, destination))
    }

    fn late(&self, destination: &DestinationName) -> LeaseRefusal {
        Self::late(self, destination)
    }

    fn revoke(&self, destination: &DestinationName, used: &Arc<Lease>) -> Revoked {
        Self::revoke(self, destination, used)
    }
}
