//! What all doors share: ports, gates, the cache of slots.
//!
//! Invariant: gates stand outside the cache, so that eviction neither forgets a refusal nor allows a second login. Made
//! by `TokenVault::new`; used by `door` and `vault`.

use super::{gates::Gates, ports::Ports, settings::LogonGrant, slot::Slot, source::Source};
use crate::{destination::DestinationName, oauth::Fingerprint, telemetry::metrics::Metrics};
use moka::future::Cache;
use std::sync::Arc;
use tokio::time::Instant;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Destination name and credentials: changed credentials are a new key.
pub(super) type TokenKey = (DestinationName, Fingerprint);

/// A slot with its real source.
pub(super) type RealSlot<P> = Arc<Slot<Source<P>>>;

/// What all doors share.
pub(super) struct House<P: Ports> {
    pub(super) ports: Arc<P>,
    pub(super) grant: LogonGrant,
    pub(super) gates: Gates,
    pub(super) slots: Cache<TokenKey, RealSlot<P>>,
    pub(super) tasks: TaskTracker,
    pub(super) stop: CancellationToken,
    pub(super) metrics: Metrics,
    /// Moments are kept as distances from here, so that they fit an atomic.
    pub(super) born: Instant,
}
