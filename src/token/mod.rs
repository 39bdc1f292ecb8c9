//! Tokens of the technical users: the vault lends them, keeps them fresh and guards the passwords behind them.
//!
//! Invariant: nobody waits while a usable token is there, at most one grant is in flight per credential, and no
//! sequence of events sends a refused password again (uaa.md 9). Lifetimes and permission are decided here, nothing
//! about HTTP. Doors: `capi`, `http` (readiness, `/destinations`), `cli` (doctor), `app`.

mod arrival;
mod backoff;
mod budget;
mod content;
mod door;
mod error;
mod exchange;
#[cfg(test)]
mod fake;
mod front;
mod gate;
mod gates;
mod holdoff;
mod house;
mod lease;
mod ledger;
mod memory;
mod ports;
mod report;
mod schedule;
mod settings;
mod slot;
mod source;
mod state;
mod status;
mod vault;
mod verdict;

pub use error::{Reason, Refusal};
pub use holdoff::Revoked;
pub use lease::{Freshness, Lease};
pub use ports::Endpoints;
pub use settings::{LogonGrant, Settings};
pub use state::GateState;
pub use status::{DestinationStatus, PastRefusal, Renewal};
pub use vault::{Attempt, Force, RetryError};

use crate::{
    destination::{DestinationName, Destinations},
    telemetry::metrics::Metrics,
};
use gates::Gates;
use house::House;
use moka::future::Cache;
use ports::Outside;
use std::{fmt, sync::Arc, time::Duration};
use tokio::time::Instant;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use vault::Vault;

/// Slots at most: eight names may be configured, each with the credentials of now and, for a moment, of before.
const MOST_SLOTS: u64 = 64;

/// A slot that nobody used for as long as a refresh token lives by default (30 days) holds nothing of worth.
const SLOT_IDLE: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// What the vault works with.
#[derive(Clone)]
pub struct Equipment {
    /// Makes token endpoints.
    pub endpoints: Endpoints,
    /// Runs renewals and polls.
    pub tasks: TaskTracker,
    /// Ends the polls.
    pub stop: CancellationToken,
    /// Counts.
    pub metrics: Metrics,
}

/// Bounded slots of tokens, one per destination name and fingerprint; a clone is shallow.
#[derive(Clone, Debug)]
pub struct TokenVault(Arc<Vault<Outside>>);

impl TokenVault {
    /// Makes an empty vault for the configured destinations; makes no call.
    pub fn new(settings: &Settings, destinations: Destinations, equipment: Equipment) -> Self {
        let names = destinations.names().to_vec();
        let ports = Outside {
            destinations,
            endpoints: equipment.endpoints,
            assertion_file: settings.assertion_file.clone(),
        };
        let house = House {
            ports: Arc::new(ports),
            grant: settings.grant,
            gates: Gates::default(),
            slots: slots(),
            tasks: equipment.tasks,
            stop: equipment.stop,
            metrics: equipment.metrics,
            born: Instant::now(),
        };
        Self(Arc::new(Vault::new(&names, house)))
    }

    /// Lends a token that CF will accept for at least the safety margin.
    ///
    /// # Errors
    /// Why there is none; shared by all who waited, and remembered.
    ///
    /// # Cancel safety
    /// A caller who goes away cancels nothing: the renewal is a task of its own.
    pub async fn lease(&self, destination: &DestinationName) -> Result<Arc<Lease>, Refusal> {
        match self.0.fresh(destination) {
            Some(lease) => Ok(lease),
            // Boxed, so that the usual way stays small.
            None => Box::pin(self.0.lease(destination)).await,
        }
    }

    /// CF refused this very lease (401/1000): ends it if it is still in service; at most one forced renewal in 30 s.
    pub fn revoke(&self, destination: &DestinationName, used: &Arc<Lease>) -> Revoked {
        self.0.revoke(destination, used)
    }

    /// Returns how every configured destination stands, the default first; makes no call.
    pub fn statuses(&self) -> Vec<DestinationStatus> {
        self.0.statuses()
    }

    /// Returns how one destination stands; `None`: it is not configured.
    pub fn status(&self, destination: &DestinationName) -> Option<DestinationStatus> {
        let all = self.0.statuses();
        all.into_iter().find(|status| status.name == *destination)
    }

    /// Reads the destination past the cache, lets exactly one logon through the gate and says what came of it
    /// (uaa.md 9). It costs a logon like any other.
    ///
    /// # Errors
    /// The name is not configured, or a lock has not run out and `force` does not override that.
    ///
    /// # Cancel safety
    /// The attempt runs to its end, whoever goes away.
    pub async fn retry(
        &self,
        destination: &DestinationName,
        force: Force,
    ) -> Result<Attempt, RetryError> {
        Box::pin(self.0.retry(destination, force)).await
    }

    /// Fetches the first lease in the background, after `delay`; who needs one meanwhile does not wait for that.
    pub fn warm(&self, destination: &DestinationName, delay: Duration) {
        self.0.warm(destination, delay);
    }

    /// Reads every destination again, past the cache, in the background (SIGHUP). The gates keep their memory.
    pub fn reread(&self) {
        self.0.reread();
    }
}

impl fmt::Debug for Equipment {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Equipment")
    }
}

fn slots<V: Clone + Send + Sync + 'static>() -> Cache<house::TokenKey, V> {
    Cache::builder().max_capacity(MOST_SLOTS).time_to_idle(SLOT_IDLE).build()
}
