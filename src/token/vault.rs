//! All destination entries: leases by destination name.
//!
//! Invariant: a caller gets a lease of the credentials that the destination holds now, or the
//! reason why there is none. A fresh lease costs one pointer load, no lock and no allocation. Used
//! by `TokenVault` only.

use super::{
    backend::Backend,
    cooldown::Revoked,
    entry::DestinationEntry,
    error::{LeaseRefusal, Reason},
    lease::{Freshness, Lease},
    lockout_guard::LockoutGuard,
    shared_context::{SharedContext, SharedRefresher},
    state::{GuardState, Release},
    status::{DestinationStatus, RenewalHistory, RepeatedRelease},
};
use crate::destination::{CachePolicy, DestinationName, SourceKind};
use prometheus_client::metrics::counter::Counter;
use std::{
    fmt, ptr,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};
use tokio::time::{Instant, sleep};
use tracing::Instrument;

/// How often a caller follows changing credentials before it gets the last refusal.
const MAX_CREDENTIAL_CHANGES: usize = 3;

/// When a caller whose time has ended may come back: what it waited for goes on meanwhile.
const LATE_PAUSE: Duration = Duration::from_secs(5);

/// The entries of all configured destinations.
pub(super) struct Vault<B: Backend> {
    entries: Vec<MeteredEntry<B>>,
    context: Arc<SharedContext<B>>,
}

/// An entry with its counter. The counter is kept here, so that the read path needs no lookup.
struct MeteredEntry<B: Backend> {
    entry: Arc<DestinationEntry<B>>,
    fresh: Counter,
}

/// Whether an operator's release overrides a running lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Force {
    /// Refused while a lock is running.
    No,
    /// Overrides the lock. A probe that comes too early counts as a failure again.
    Yes,
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

impl<B: Backend> Vault<B> {
    pub(super) fn new(names: &[DestinationName], context: SharedContext<B>) -> Self {
        let context = Arc::new(context);
        let metered = |name: &DestinationName| MeteredEntry {
            entry: Arc::new(DestinationEntry::new(name.clone(), Arc::clone(&context))),
            fresh: context.metrics.served_counter(name.as_str(), "fresh"),
        };
        let entries = names.iter().map(metered).collect();
        Self { entries, context }
    }

    /// Returns the published lease, if there is one.
    pub(super) fn fresh(&self, name: &DestinationName) -> Option<Arc<Lease>> {
        let metered = self.metered(name)?;
        let lease = metered.entry.published(Instant::now())?;
        metered.fresh.inc();
        Some(lease)
    }

    /// Returns a lease by the slow path.
    pub(super) async fn lease(&self, name: &DestinationName) -> Result<Arc<Lease>, LeaseRefusal> {
        let Some(metered) = self.metered(name) else {
            return Err(LeaseRefusal::new(name, Reason::DestinationMissing, None));
        };
        let entry = &metered.entry;
        let now = Instant::now();
        let metrics = &self.context.metrics;
        if let Some(refresher) = entry.current().as_ref() {
            entry.check_in_background(now);
            if let Some((lease, freshness)) = refresher.serve(now) {
                if freshness == Freshness::Fresh {
                    entry.publish(refresher, &lease, now);
                    metered.fresh.inc();
                } else {
                    metrics.token_served(name.as_str(), "ageing");
                }
                return Ok(lease);
            }
        }
        let outcome = self.wait(entry).await;
        let result = if outcome.is_ok() { "waited" } else { "refused" };
        metrics.token_served(name.as_str(), result);
        outcome
    }

    async fn wait(&self, entry: &Arc<DestinationEntry<B>>) -> Result<Arc<Lease>, LeaseRefusal> {
        let mut changes = 0;
        loop {
            let refresher = self.refresher(entry, CachePolicy::Cached).await?;
            let outcome = refresher.lease().await;
            if entry.is_current(&refresher) || changes == MAX_CREDENTIAL_CHANGES {
                return outcome;
            }
            changes += 1;
        }
    }

    async fn refresher(
        &self,
        entry: &Arc<DestinationEntry<B>>,
        wanted: CachePolicy,
    ) -> Result<SharedRefresher<B>, LeaseRefusal> {
        if wanted == CachePolicy::Cached
            && let Some(refresher) = entry.current().as_ref()
        {
            return Ok(Arc::clone(refresher));
        }
        entry.read_destination(wanted).await.map_err(|error| {
            let now = Instant::now();
            let source = self.context.backend.read_from(entry.name());
            let refusal =
                LeaseRefusal::of_destination(entry.name(), error, now).with_read_from(source);
            entry.history().refused(&refusal, now);
            refusal
        })
    }

    /// Returns the refusal for a caller whose time ended while it waited for a lease.
    pub(super) fn late(&self, name: &DestinationName) -> LeaseRefusal {
        let current = self.metered(name).and_then(|metered| metered.entry.current().clone());
        let reason = match current {
            Some(refresher) if !refresher.provider().is_reading.load(Ordering::Relaxed) => {
                Reason::UaaSlow
            }
            Some(_) | None => {
                let advice = "the Destination service, or the XSUAA of its binding, has not answered in time";
                Reason::DestinationUnavailable { advice: advice.to_owned() }
            }
        };
        let retry_at = Some(Instant::now() + LATE_PAUSE);
        LeaseRefusal::new(name, reason, retry_at)
            .with_read_from(self.context.backend.read_from(name))
    }

    pub(super) fn revoke(&self, name: &DestinationName, used: &Lease) -> Revoked {
        let current = self.metered(name).map(|metered| metered.entry.current());
        match current.as_ref().and_then(|current| current.as_ref()) {
            Some(refresher) => refresher.revoke(used, Instant::now()),
            None => Revoked::Renewing,
        }
    }

    /// Releases one attempt in its own task, so that a caller that goes away leaves nothing half
    /// done. `on_end` gets the result in any case.
    pub(super) async fn retry(
        self: &Arc<Self>,
        name: &DestinationName,
        force: Force,
        on_end: impl FnOnce(&Result<ReleasedAttempt, RetryError>) + Send + 'static,
    ) -> Result<ReleasedAttempt, RetryError> {
        let (vault, wanted) = (Arc::clone(self), name.clone());
        let task = async move {
            let result = vault.release(&wanted, force).await;
            on_end(&result);
            result
        };
        let running = self.context.tasks.spawn(task.in_current_span());
        running.await.unwrap_or_else(|_| {
            let refusal = LeaseRefusal::new(name, Reason::Internal, None);
            Ok(ReleasedAttempt::unsent(refusal))
        })
    }

    async fn release(
        &self,
        name: &DestinationName,
        force: Force,
    ) -> Result<ReleasedAttempt, RetryError> {
        let Some(metered) = self.metered(name) else {
            return Err(RetryError::UnknownDestination(name.as_str().to_owned()));
        };
        let refresher = match self.refresher(&metered.entry, CachePolicy::PastCache).await {
            Ok(refresher) => refresher,
            Err(refusal) => return Ok(ReleasedAttempt::unsent(refusal)),
        };
        let guard = &refresher.provider().guard;
        // Held across the attempt on purpose: the next release counts this one.
        let _release_lock = guard.release_lock().await;
        let history = metered.entry.history();
        if force == Force::No {
            may_release(name, guard, history)?;
        }
        let outcome = refresher.attempt(|provider| provider.guard.release()).await;
        let now = Instant::now();
        let is_sent = guard.end_release() == Release::Used;
        if is_sent {
            history.released(now);
        }
        let attempt = match outcome {
            Ok(_) => Attempt::Succeeded,
            Err(refusal) => Attempt::Refused(refusal),
        };
        let (released, unsuccessful) = (history.releases(now), guard.unsuccessful(now));
        Ok(ReleasedAttempt { attempt, is_sent, released, unsuccessful })
    }

    pub(super) fn instance_index(&self) -> Option<u32> {
        self.context.instance_index
    }

    pub(super) fn warm(self: &Arc<Self>, name: &DestinationName, delay: Duration) {
        let (vault, name) = (Arc::clone(self), name.clone());
        self.context.tasks.spawn(async move {
            tokio::select! {
                () = vault.context.stop.cancelled() => {}
                () = sleep(delay) => {
                    // The guard and the destination have already logged why.
                    drop(vault.lease(&name).await);
                }
            }
        });
    }

    pub(super) fn reread(self: &Arc<Self>) {
        for metered in &self.entries {
            let entry = Arc::clone(&metered.entry);
            let source = self.context.backend.read_from(entry.name());
            if !source.is_some_and(SourceKind::is_read_again) {
                let source = source.map(SourceKind::name);
                tracing::warn!(
                    destination = entry.name().as_str(),
                    source,
                    "destination not read again: its source is read only when the broker starts"
                );
                continue;
            }
            self.context.tasks.spawn(async move {
                let destination = entry.name().as_str();
                match entry.read_destination(CachePolicy::PastCache).await {
                    Ok(_) => tracing::info!(destination, "destination read again"),
                    Err(error) => tracing::warn!(destination, %error, "destination not read"),
                }
            });
        }
    }

    pub(super) fn statuses(&self) -> Vec<DestinationStatus> {
        let now = Instant::now();
        self.entries.iter().map(|metered| self.status(&metered.entry, now)).collect()
    }

    fn status(&self, entry: &DestinationEntry<B>, now: Instant) -> DestinationStatus {
        let content = self.context.backend.known(entry.name());
        let hint = content.as_ref().and_then(|content| content.login_hint.as_ref());
        let guard = entry.guard();
        let hold = guard.as_ref().and_then(|guard| guard.hold(now));
        let opens = hold.as_ref().and_then(|hold| hold.retry_at);
        let current = entry.current();
        let lease = current.as_ref().and_then(|refresher| refresher.live());
        let failures = current.as_ref().map(|refresher| refresher.provider().failures.in_row());
        DestinationStatus {
            name: entry.name().clone(),
            source: content.as_ref().map(|content| content.source),
            user: content.as_ref().map(|content| content.credentials.user.clone()),
            origin: hint.map(|hint| hint.origin().as_str().to_owned()),
            guard: guard.map_or(GuardState::Unknown, |guard| guard.state(now)),
            guard_hint: hold.map(|hold| hold.reason.hint()),
            guard_opens_in: opens.map(|at| at.saturating_duration_since(now)),
            freshness: lease.as_ref().map(|lease| lease.freshness(now)),
            expires_in: lease.as_ref().map(|lease| lease.expires_in(now)),
            failed_refreshes: failures.unwrap_or(0),
            warning: entry.history().warning(),
            last_renewal: entry.history().last_renewal(now),
            last_refusal: entry.history().last_refusal(now),
        }
    }

    /// At most eight names: comparing is faster than hashing, and usually the text is the very same
    /// object.
    fn metered(&self, name: &DestinationName) -> Option<&MeteredEntry<B>> {
        self.entries.iter().find(|metered| {
            let known = metered.entry.name();
            ptr::eq(known.as_str(), name.as_str()) || known == name
        })
    }
}

impl ReleasedAttempt {
    fn unsent(refusal: LeaseRefusal) -> Self {
        let attempt = Attempt::Refused(refusal);
        Self { attempt, is_sent: false, released: 0, unsuccessful: 0 }
    }
}

/// Whether an attempt may be released without force.
fn may_release(
    name: &DestinationName,
    guard: &LockoutGuard,
    history: &RenewalHistory,
) -> Result<(), RetryError> {
    let now = Instant::now();
    // Also below a pause.
    if let Some(hold) = guard.hold(now)
        && matches!(hold.reason, Reason::Locked { .. })
    {
        let refusal = LeaseRefusal::new(name, hold.reason, hold.retry_at);
        return Err(RetryError::Locked(refusal));
    }
    let Some(free_at) = history.release_free_at(now) else {
        return Ok(());
    };
    let (earlier, unsuccessful) = (history.releases(now), guard.unsuccessful(now));
    Err(RetryError::Repeated(RepeatedRelease { earlier, unsuccessful, free_at }))
}

impl<B: Backend> fmt::Debug for Vault<B> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let entries = self.entries.iter().map(|metered| &metered.entry);
        out.debug_list().entries(entries).finish()
    }
}

#[cfg(test)]
mod tests;
