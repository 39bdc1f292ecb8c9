//! What all destination entries share: the backend, the lockout guards, the cache of refreshers.
//!
//! Invariant: the lockout guards are outside the cache, so an eviction neither forgets a refusal
//! nor allows a second logon. Made by `TokenVault::new`; used by `entry` and `vault`.

use super::{
    backend::Backend, lockout_guards::LockoutGuards, provider::UaaTokenProvider,
    refresher::Refresher, settings::LogonGrant,
};
use crate::{destination::DestinationName, oauth::Fingerprint, telemetry::metrics::Metrics};
use moka::future::Cache;
use std::sync::Arc;
use tokio::time::Instant;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Destination name and credentials: changed credentials are a new key.
pub(super) type TokenKey = (DestinationName, Fingerprint);

/// A refresher with the provider that talks to the real token endpoint.
pub(super) type SharedRefresher<B> = Arc<Refresher<UaaTokenProvider<B>>>;

/// What all destination entries share.
pub(super) struct SharedContext<B: Backend> {
    pub(super) backend: Arc<B>,
    pub(super) grant: LogonGrant,
    pub(super) guards: LockoutGuards,
    pub(super) instance_index: Option<u32>,
    pub(super) refreshers: Cache<TokenKey, SharedRefresher<B>>,
    pub(super) tasks: TaskTracker,
    pub(super) stop: CancellationToken,
    pub(super) metrics: Metrics,
    /// Times are stored as distances from here, so that they fit into an atomic.
    pub(super) started_at: Instant,
}
