//! Tokens of the technical users. The vault lends leases, keeps them fresh and protects the
//! passwords behind them.
//!
//! Invariant: no caller waits while a usable token is there; at most one grant is in flight per
//! credential; no sequence of events sends a refused password again
//! (`docs/explanation/lockout-guard.md`). This module decides about lifetimes and about sending
//! passwords; it knows nothing about HTTP. Called by `capi`, `http` (readiness, `/destinations`)
//! and `app`.

mod advice;
mod attempt_budget;
mod backend;
mod backoff;
mod claim_checks;
mod content;
mod cooldown;
mod entry;
mod error;
mod exchange;
mod failure_policy;
#[cfg(test)]
mod fake;
mod lease;
mod lockout;
mod lockout_guard;
mod lockout_guards;
mod log_events;
mod negative_cache;
mod provider;
mod refresh;
mod refresh_failures;
mod refresher;
mod schedule;
mod settings;
mod shared_context;
mod snapshot;
mod state;
mod status;
mod vault;

pub use backend::TokenEndpointFactory;
pub use cooldown::Revoked;
pub use error::{LeaseRefusal, Reason, UaaOutage, clock_time};
#[cfg(test)]
pub(crate) use fake::lease_for_tests;
pub use lease::{Freshness, Lease};
pub use settings::{LogonGrant, Settings};
pub use state::GuardState;
pub use status::{DestinationStatus, PastRefusal, Renewal, RepeatedRelease};
pub use vault::{Attempt, Force, ReleasedAttempt, RetryError};

use crate::{
    destination::{DestinationName, Destinations},
    telemetry::metrics::Metrics,
};
use backend::LiveBackend;
use lockout_guards::LockoutGuards;
use moka::future::Cache;
use shared_context::SharedContext;
use std::{fmt, sync::Arc, time::Duration};
use tokio::time::Instant;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use vault::Vault;

/// Most refreshers in the cache: eight names may be configured, each with its current credentials
/// and, for a moment, the previous ones.
const MAX_REFRESHERS: u64 = 64;

/// A refresher that was not used for the default lifetime of a refresh token (30 days) holds
/// nothing useful.
const REFRESHER_IDLE: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// Dependencies of the vault.
#[derive(Clone)]
pub struct VaultDeps {
    /// Makes token endpoints.
    pub endpoint_factory: TokenEndpointFactory,
    /// Runs renewals and polls.
    pub tasks: TaskTracker,
    /// Stops the polls.
    pub stop: CancellationToken,
    /// Counts grants, served leases and guard states.
    pub metrics: Metrics,
    /// Number of this instance of the app; `None` away from the platform.
    pub instance_index: Option<u32>,
}

/// All token refreshers, one per destination name and fingerprint, in a bounded cache. A clone is
/// shallow.
#[derive(Clone, Debug)]
pub struct TokenVault(Arc<Vault<LiveBackend>>);

impl TokenVault {
    /// Makes an empty vault for the configured destinations. Makes no call.
    pub fn new(settings: &Settings, destinations: Destinations, deps: VaultDeps) -> Self {
        let names = destinations.names().to_vec();
        let backend = LiveBackend {
            destinations,
            endpoint_factory: deps.endpoint_factory,
            assertion_file: settings.assertion_file.clone(),
        };
        let context = SharedContext {
            backend: Arc::new(backend),
            grant: settings.grant,
            guards: LockoutGuards::new(deps.instance_index),
            instance_index: deps.instance_index,
            refreshers: refreshers(),
            tasks: deps.tasks,
            stop: deps.stop,
            metrics: deps.metrics,
            started_at: Instant::now(),
        };
        Self(Arc::new(Vault::new(&names, context)))
    }

    /// Lends a token that CF will accept for at least the safety margin.
    ///
    /// # Errors
    /// Why there is no token. All waiters get the same refusal, and it is remembered.
    ///
    /// # Cancel safety
    /// Dropping the future cancels nothing: the renewal runs in its own task.
    pub async fn lease(&self, destination: &DestinationName) -> Result<Arc<Lease>, LeaseRefusal> {
        match self.0.fresh(destination) {
            Some(lease) => Ok(lease),
            // Boxed, so that the future of the fast path stays small.
            None => Box::pin(self.0.lease(destination)).await,
        }
    }

    /// Returns the published fresh lease, if there is one. Never waits and starts nothing.
    pub(crate) fn fresh(&self, destination: &DestinationName) -> Option<Arc<Lease>> {
        self.0.fresh(destination)
    }

    /// Returns the refusal for a caller whose time ended while it waited in [`Self::lease`]. It
    /// names the system that has not answered.
    pub fn late(&self, destination: &DestinationName) -> LeaseRefusal {
        self.0.late(destination)
    }

    /// CF refused exactly this lease (401, code 1000). Ends it if it is still in service. Forces at
    /// most one renewal in 30 s, one in 10 min if the refused token came from a logon.
    pub fn revoke(&self, destination: &DestinationName, used: &Arc<Lease>) -> Revoked {
        self.0.revoke(destination, used)
    }

    /// Returns the status of every configured destination, the default first. Makes no call.
    pub fn statuses(&self) -> Vec<DestinationStatus> {
        self.0.statuses()
    }

    /// Reads the destination past the cache, lets exactly one logon through the lockout guard and
    /// returns the result. It counts as a logon like any other. `on_end` gets the result also if
    /// no caller waits for it any more.
    ///
    /// # Errors
    /// The name is not configured; or without `force`: a lock is still running, or an attempt of
    /// this destination was released in the last 65 min.
    ///
    /// # Cancel safety
    /// The attempt runs to its end, also when this future is dropped.
    pub async fn retry(
        &self,
        destination: &DestinationName,
        force: Force,
        on_end: impl FnOnce(&Result<ReleasedAttempt, RetryError>) + Send + 'static,
    ) -> Result<ReleasedAttempt, RetryError> {
        Box::pin(self.0.retry(destination, force, on_end)).await
    }

    /// Returns the number of this instance of the app; `None` away from the platform.
    pub fn instance_index(&self) -> Option<u32> {
        self.0.instance_index()
    }

    /// Fetches the first lease in the background after `delay`. A caller that needs a lease earlier
    /// does not wait for the delay.
    pub fn warm(&self, destination: &DestinationName, delay: Duration) {
        self.0.warm(destination, delay);
    }

    /// Reads every destination again in the background, past the cache (SIGHUP). The lockout guards
    /// keep their state.
    pub fn reread(&self) {
        self.0.reread();
    }
}

impl fmt::Debug for VaultDeps {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("VaultDeps")
    }
}

fn refreshers<V: Clone + Send + Sync + 'static>() -> Cache<shared_context::TokenKey, V> {
    Cache::builder().max_capacity(MAX_REFRESHERS).time_to_idle(REFRESHER_IDLE).build()
}
