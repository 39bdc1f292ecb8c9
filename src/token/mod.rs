//! Tokens of the technical users. The vault lends leases, keeps them fresh and protects the
//! passwords behind them.
//!
//! Invariant: no caller waits while a usable token is there; at most one grant is in flight per
//! credential; no sequence of events sends a refused password again
//! (`docs/explanation/lockout-guard.md`). This module decides about lifetimes and about sending
//! passwords; it knows nothing about HTTP. Called by `capi`, `http` (readiness, `/destinations`)
//! and `app`. The life of a token: `docs/explanation/tokens.md`.

mod backend;
mod entry;
mod error;
mod exchange;
mod failure_policy;
mod lease;
mod lockout;
mod provider;
mod status;

pub use crate::oauth::Freshness;
pub use backend::{LogonGrant, Settings, TokenEndpointFactory};
pub use error::{LeaseRefusal, Reason, UaaOutage, clock_time};
pub use lease::{Lease, Revoked};
pub use lockout::GuardState;
pub use status::{
    AttemptCounts, DestinationStatus, PastEvent, PastEventKind, PastRefusal, Renewal,
    RepeatedRelease,
};

use crate::{
    destination::{CachePolicy, DestinationName, Destinations, SourceKind},
    telemetry::metrics::Metrics,
    upstream::refresh::ValueAge,
};
use backend::{Backend, LiveBackend};
use entry::{DestinationEntry, EntryDeps};
use exchange::GrantExchange;
use lockout::{FAILURE_WINDOW, LockoutGuards, Release};
use prometheus_client::metrics::counter::Counter;
use std::{fmt, ptr, sync::Arc, time::Duration};
use tokio::time::{Instant, sleep};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::Instrument;

/// When a caller whose time has ended may come back: what it waited for goes on meanwhile.
const LATE_PAUSE: Duration = Duration::from_secs(5);

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

/// The leases of all configured destinations. A clone is shallow.
#[derive(Clone)]
pub struct TokenVault(Arc<Vault>);

struct Vault {
    /// At most eight, the default first.
    entries: Vec<MeteredEntry>,
    tasks: TaskTracker,
    stop: CancellationToken,
    metrics: Metrics,
    instance_index: Option<u32>,
}

/// An entry with its counter. The counter is kept here, so that the read path needs no lookup.
struct MeteredEntry {
    entry: Arc<DestinationEntry>,
    fresh: Counter,
}

/// Whether an operator's release overrides a running lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Force {
    /// Refused while a lock is running.
    No,
    /// Overrides the lock. A probe that comes too early counts as a failure again.
    Yes,
    /// Overrides what whoever decides has been told, and nothing else. Of two that decide at once,
    /// one is refused.
    Knowing {
        /// So many attempts of the destination were released in the last 65 min.
        released: usize,
        /// The user is locked.
        is_locked: bool,
    },
}

/// Result of an operator's release.
#[derive(Clone, Debug)]
pub enum Attempt {
    /// There is a new token.
    Succeeded,
    /// The attempt failed or could not be made, for this reason.
    Refused(LeaseRefusal),
}

/// An operator's release that was carried out.
#[derive(Clone, Debug)]
pub struct ReleasedAttempt {
    /// What came of it.
    pub attempt: Attempt,
    /// Whether it may have reached the login server. If not, it does not count.
    pub is_sent: bool,
    /// Released attempts of this destination that were sent here in the last 65 min, this one
    /// included.
    pub released: usize,
    /// Passwords of the user that this instance sent in the last 65 min and that were refused or
    /// had no clear answer.
    pub unsuccessful: usize,
}

/// Why no attempt was released.
#[derive(Clone, Debug, thiserror::Error)]
pub enum RetryError {
    /// No destination of that name is configured.
    #[error("destination {0} is not configured")]
    UnknownDestination(String),
    /// A lock is still running.
    #[error("the lock has not run out")]
    Locked(#[source] LeaseRefusal),
    /// An attempt was released before.
    #[error("an attempt was released before")]
    Repeated(RepeatedRelease),
}

impl TokenVault {
    /// Makes an empty vault for the configured destinations. Makes no call.
    pub fn new(settings: &Settings, destinations: Destinations, deps: VaultDeps) -> Self {
        let names = destinations.names().to_vec();
        let backend: Arc<dyn Backend> = Arc::new(LiveBackend {
            destinations,
            endpoint_factory: Arc::clone(&deps.endpoint_factory),
            assertion_file: settings.assertion_file.clone(),
        });
        Self::on(&backend, &names, settings.grant, deps)
    }

    fn on(
        backend: &Arc<dyn Backend>,
        names: &[DestinationName],
        grant: LogonGrant,
        deps: VaultDeps,
    ) -> Self {
        let VaultDeps { tasks, stop, metrics, instance_index, .. } = deps;
        let entry_deps = EntryDeps {
            guards: Arc::new(LockoutGuards::new(instance_index)),
            tasks: tasks.clone(),
            stop: stop.clone(),
        };
        let metered = |name: &DestinationName| {
            let exchange = GrantExchange {
                name: name.clone(),
                backend: Arc::clone(backend),
                grant,
                metrics: metrics.clone(),
            };
            MeteredEntry {
                entry: Arc::new(DestinationEntry::new(exchange, entry_deps.clone())),
                fresh: metrics.served_counter(name.as_str(), "fresh"),
            }
        };
        let entries = names.iter().map(metered).collect();
        Self(Arc::new(Vault { entries, tasks, stop, metrics, instance_index }))
    }

    /// Lends a token that CF will accept for at least the safety margin.
    ///
    /// # Errors
    /// Why there is no token. All waiters get the same refusal, and it is remembered.
    ///
    /// # Cancel safety
    /// Dropping the future cancels nothing: the renewal runs in its own task.
    pub async fn lease(&self, destination: &DestinationName) -> Result<Arc<Lease>, LeaseRefusal> {
        match self.fresh(destination) {
            Some(lease) => Ok(lease),
            // Boxed, so that the future of the fast path stays small.
            None => Box::pin(self.slow_lease(destination)).await,
        }
    }

    /// Returns the published fresh lease, if there is one. Never waits and starts nothing.
    pub(crate) fn fresh(&self, destination: &DestinationName) -> Option<Arc<Lease>> {
        let metered = self.metered(destination)?;
        let lease = metered.entry.fresh(Instant::now())?;
        metered.fresh.inc();
        Some(lease)
    }

    async fn slow_lease(&self, name: &DestinationName) -> Result<Arc<Lease>, LeaseRefusal> {
        let Some(metered) = self.metered(name) else {
            return Err(LeaseRefusal::new(name, Reason::DestinationMissing, None));
        };
        let metrics = &self.0.metrics;
        if let Some((lease, age)) = metered.entry.serve(Instant::now()) {
            if age == ValueAge::Fresh {
                metered.fresh.inc();
            } else {
                metrics.token_served(name.as_str(), "ageing");
            }
            return Ok(lease);
        }
        let outcome = metered.entry.lease().await;
        let result = if outcome.is_ok() { "waited" } else { "refused" };
        metrics.token_served(name.as_str(), result);
        outcome
    }

    /// Returns the refusal for a caller whose time ended while it waited in [`Self::lease`]. It
    /// names the system that has not answered.
    pub fn late(&self, destination: &DestinationName) -> LeaseRefusal {
        let entry = self.metered(destination).map(|metered| &metered.entry);
        let credential = entry.and_then(|entry| entry.credential());
        let reason = match credential {
            Some(credential) if !credential.renewer().provider.is_reading() => Reason::UaaSlow,
            Some(_) | None => Reason::DestinationUnavailable {
                advice:
                    "the Destination service, or the XSUAA of its binding, has not answered in time"
                        .to_owned(),
            },
        };
        let retry_at = Some(Instant::now() + LATE_PAUSE);
        match entry {
            Some(entry) => entry.refusal(reason, retry_at),
            None => LeaseRefusal::new(destination, reason, retry_at),
        }
    }

    /// CF refused exactly this lease (401, code 1000). Ends it if it is still in service. Forces at
    /// most one renewal in 30 s, one in 10 min if the refused token came from a logon.
    pub fn revoke(&self, destination: &DestinationName, used: &Arc<Lease>) -> Revoked {
        match self.metered(destination) {
            Some(metered) => metered.entry.revoke(used, Instant::now()),
            None => Revoked::Renewing,
        }
    }

    /// Returns the status of every configured destination, the default first. Makes no call.
    pub fn statuses(&self) -> Vec<DestinationStatus> {
        let now = Instant::now();
        self.0.entries.iter().map(|metered| metered.entry.status(now)).collect()
    }

    /// Returns the number of this instance of the app; `None` away from the platform.
    pub fn instance_index(&self) -> Option<u32> {
        self.0.instance_index
    }

    /// Fetches the first lease in the background after `delay`. A caller that needs a lease earlier
    /// does not wait for the delay.
    pub fn warm(&self, destination: &DestinationName, delay: Duration) {
        let (vault, name) = (self.clone(), destination.clone());
        self.0.tasks.spawn(async move {
            tokio::select! {
                () = vault.0.stop.cancelled() => {}
                () = sleep(delay) => {
                    // The guard and the destination have already logged why.
                    drop(vault.slow_lease(&name).await);
                }
            }
        });
    }

    /// Reads every destination again in the background, past the cache (SIGHUP). The lockout guards
    /// keep their state.
    pub fn reread(&self) {
        for MeteredEntry { entry, .. } in &self.0.entries {
            let entry = Arc::clone(entry);
            let source = entry.read_from();
            if !source.is_some_and(SourceKind::is_read_again) {
                let source = source.map(SourceKind::name);
                tracing::warn!(
                    destination = entry.name().as_str(),
                    source,
                    "destination not read again: its source is read only when the broker starts"
                );
                continue;
            }
            self.0.tasks.spawn(async move {
                let destination = entry.name().as_str();
                match entry.read_destination(CachePolicy::PastCache).await {
                    Ok(_) => tracing::info!(destination, "destination read again"),
                    Err(error) => tracing::warn!(destination, %error, "destination not read"),
                }
            });
        }
    }

    /// At most eight names: comparing is faster than hashing, and usually the text is the very same
    /// object.
    fn metered(&self, name: &DestinationName) -> Option<&MeteredEntry> {
        self.0.entries.iter().find(|metered| {
            let known = metered.entry.name();
            ptr::eq(known.as_str(), name.as_str()) || known == name
        })
    }
}

/// An operator's release.
impl TokenVault {
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
        let Some(metered) = self.metered(destination) else {
            let error = Err(RetryError::UnknownDestination(destination.as_str().to_owned()));
            on_end(&error);
            return error;
        };
        let entry = Arc::clone(&metered.entry);
        let task = async move {
            let result = release(&entry, force).await;
            on_end(&result);
            result
        };
        let running = self.0.tasks.spawn(task.in_current_span());
        running.await.unwrap_or_else(|_| {
            let refusal = LeaseRefusal::new(destination, Reason::Internal, None);
            Ok(ReleasedAttempt::unsent(refusal))
        })
    }
}

async fn release(
    entry: &Arc<DestinationEntry>,
    force: Force,
) -> Result<ReleasedAttempt, RetryError> {
    let credential = match entry.find_credential(CachePolicy::PastCache).await {
        Ok(credential) => credential,
        Err(refusal) => return Ok(ReleasedAttempt::unsent(refusal)),
    };
    let guard = &credential.renewer().provider.guard;
    // Held across the attempt on purpose: the next release counts this one.
    let _release_lock = guard.release_lock.lock().await;
    let now = Instant::now();
    let (known, knows_lock) = match force {
        Force::No => (0, false),
        Force::Yes => (usize::MAX, true),
        Force::Knowing { released, is_locked } => (released, is_locked),
    };
    // Also below a pause.
    if !knows_lock
        && let Some(hold) = guard.hold(now)
        && matches!(hold.reason, Reason::Locked { .. })
    {
        let refusal = LeaseRefusal::new(entry.name(), hold.reason, hold.retry_at);
        return Err(RetryError::Locked(refusal));
    }
    let (earlier, last) = entry.releases(now);
    if let Some(last) = last.filter(|_| earlier > known) {
        let (unsuccessful, free_at) = (guard.unsuccessful(now), last + FAILURE_WINDOW);
        return Err(RetryError::Repeated(RepeatedRelease { earlier, unsuccessful, free_at }));
    }
    let begun = entry.release_begins();
    let outcome = credential.force().await;
    let now = Instant::now();
    let is_sent = guard.lock().end_release() == Release::Used;
    entry.release_ends(begun, is_sent.then_some(now));
    let attempt = match outcome {
        Ok(_) => Attempt::Succeeded,
        Err(failure) => Attempt::Refused(failure.error),
    };
    let ((released, _), unsuccessful) = (entry.releases(now), guard.unsuccessful(now));
    Ok(ReleasedAttempt { attempt, is_sent, released, unsuccessful })
}

impl ReleasedAttempt {
    fn unsent(refusal: LeaseRefusal) -> Self {
        let attempt = Attempt::Refused(refusal);
        Self { attempt, is_sent: false, released: 0, unsuccessful: 0 }
    }
}

impl fmt::Debug for VaultDeps {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("VaultDeps")
    }
}

impl fmt::Debug for TokenVault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let entries = self.0.entries.iter().map(|metered| &metered.entry);
        out.debug_list().entries(entries).finish()
    }
}

#[cfg(test)]
mod fake;
#[cfg(test)]
pub(crate) use fake::lease_for_tests;

#[cfg(test)]
mod tests;
