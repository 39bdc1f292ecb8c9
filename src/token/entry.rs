//! The entry of one destination name: its refresher in service, and the check for a changed
//! destination.
//!
//! Invariant: the refresher in service belongs to the credentials in the destination. Changed
//! credentials get a new refresher. The old one is dropped at once, with its refresh token, because
//! a new password at the identity provider revokes no token of UAA (read in UAA's source). Used by
//! `vault` and `provider`.

use super::{
    backend::Backend,
    lease::Lease,
    lockout_guard::LockoutGuard,
    provider::UaaTokenProvider,
    refresh_failures::RefreshFailures,
    refresher::{Refresher, RefresherDeps},
    shared_context::{SharedContext, SharedRefresher},
    snapshot::LeaseSnapshot,
    status::RenewalHistory,
};
use crate::{
    destination::{CachePolicy, Destination, DestinationError, DestinationName},
    oauth::Fingerprint,
};
use arc_swap::ArcSwapOption;
use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::time::{Instant, sleep};

/// How often a passing request checks whether the destination has changed. The destination's own
/// cache decides whether this makes a call. A changed credential may be noticed one second later
/// than the cache's 5 min.
const CHECK_EVERY: Duration = Duration::from_secs(1);

/// While the credentials are refused or missing, the destination is read again after at most this
/// time and at least nine tenths of it. The promise is "within 60 s"; the jitter keeps instances
/// from asking at the same moment.
const POLL_EVERY: Duration = Duration::from_secs(60);

/// Random part of [`POLL_EVERY`].
const POLL_JITTER: f64 = 0.1;

/// The state of one destination name.
pub(super) struct DestinationEntry<B: Backend> {
    name: DestinationName,
    context: Arc<SharedContext<B>>,
    current: ArcSwapOption<Refresher<UaaTokenProvider<B>>>,
    snapshot: LeaseSnapshot,
    /// Held while the current refresher changes, so that the newest content wins.
    change_lock: tokio::sync::Mutex<()>,
    checked_at: AtomicU64,
    is_polling: AtomicBool,
    history: Arc<RenewalHistory>,
}

impl<B: Backend> DestinationEntry<B> {
    pub(super) fn new(name: DestinationName, context: Arc<SharedContext<B>>) -> Self {
        Self {
            name,
            context,
            current: ArcSwapOption::empty(),
            snapshot: LeaseSnapshot::default(),
            change_lock: tokio::sync::Mutex::new(()),
            checked_at: AtomicU64::new(0),
            is_polling: AtomicBool::new(false),
            history: Arc::default(),
        }
    }

    pub(super) fn name(&self) -> &DestinationName {
        &self.name
    }

    pub(super) fn history(&self) -> &RenewalHistory {
        &self.history
    }

    /// Returns the refresher in service, without a lock.
    pub(super) fn current(&self) -> arc_swap::Guard<Option<SharedRefresher<B>>> {
        self.current.load()
    }

    /// Returns whether `refresher` is the one in service.
    pub(super) fn is_current(&self, refresher: &SharedRefresher<B>) -> bool {
        let current = self.current.load();
        current.as_ref().is_some_and(|current| Arc::ptr_eq(current, refresher))
    }

    /// Returns the lockout guard of the credentials in service.
    pub(super) fn guard(&self) -> Option<Arc<LockoutGuard>> {
        let current = self.current.load();
        current.as_ref().map(|refresher| Arc::clone(&refresher.provider().guard))
    }

    /// Returns the published lease, which needs no further check.
    pub(super) fn published(&self, now: Instant) -> Option<Arc<Lease>> {
        self.snapshot.read(now)
    }

    /// Publishes a fresh lease of `refresher` until the next check of the destination is due.
    pub(super) fn publish(&self, refresher: &SharedRefresher<B>, lease: &Arc<Lease>, now: Instant) {
        let until = lease.renew_at().min(now + CHECK_EVERY);
        self.snapshot.publish(lease, until, || self.is_current(refresher));
    }

    /// Checks for changes in a background task, if it is time.
    pub(super) fn check_in_background(self: &Arc<Self>, now: Instant) {
        let (tick, checked_at) = (self.tick(now), self.checked_at.load(Ordering::Relaxed));
        let is_mine = tick > checked_at
            && self
                .checked_at
                .compare_exchange(checked_at, tick, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok();
        if is_mine {
            let entry = Arc::clone(self);
            self.context.tasks.spawn(async move {
                // Nothing to do here: a caller that needs the destination gets the error itself.
                drop(entry.read_destination(CachePolicy::Confirmed).await);
            });
        }
    }

    /// Reads the destination with the wanted certainty and puts the refresher of its credentials in
    /// service.
    ///
    /// # Errors
    /// There is no content in service.
    ///
    /// # Cancel safety
    /// Safe: the next read makes up for a change that was not applied.
    pub(super) async fn read_destination(
        self: &Arc<Self>,
        wanted: CachePolicy,
    ) -> Result<SharedRefresher<B>, DestinationError> {
        let found = self.context.backend.find(&self.name, wanted).await;
        let _change_lock = self.change_lock.lock().await;
        match (self.context.backend.known(&self.name), found) {
            (Some(content), _) | (None, Ok(content)) => Ok(self.make_current(&content).await),
            (None, Err(error)) => {
                if let DestinationError::Missing { .. } = error {
                    self.clear_current().await;
                }
                if !error.is_transient() {
                    self.poll();
                }
                Err(error)
            }
        }
    }

    /// Reads the destination again each minute until its credentials are no longer refused. At most
    /// one task runs.
    pub(super) fn poll(self: &Arc<Self>) {
        if self.is_polling.swap(true, Ordering::AcqRel) {
            return;
        }
        let entry = Arc::clone(self);
        self.context.tasks.spawn(async move {
            loop {
                let is_stopped = entry.poll_while_needed().await;
                entry.is_polling.store(false, Ordering::Release);
                // A refusal may have come between the last read and this line.
                if is_stopped
                    || !entry.needs_poll()
                    || entry.is_polling.swap(true, Ordering::AcqRel)
                {
                    return;
                }
            }
        });
    }

    /// Returns whether the broker stops.
    async fn poll_while_needed(self: &Arc<Self>) -> bool {
        while self.needs_poll() {
            let pause = POLL_EVERY.mul_f64(1.0 - POLL_JITTER * fastrand::f64());
            tokio::select! {
                () = self.context.stop.cancelled() => return true,
                () = sleep(pause) => self.poll_once().await,
            }
        }
        false
    }

    async fn poll_once(self: &Arc<Self>) {
        let before = self.current.load_full();
        let Ok(refresher) = self.read_destination(CachePolicy::PastCache).await else {
            return;
        };
        let is_new = before.is_none_or(|before| !Arc::ptr_eq(&before, &refresher));
        if is_new {
            // New credentials: log on now. The guard shows the result without waiting for a caller.
            drop(refresher.lease().await);
        }
    }

    fn needs_poll(&self) -> bool {
        self.guard().is_none_or(|guard| guard.is_closed())
    }

    async fn make_current(self: &Arc<Self>, content: &Destination) -> SharedRefresher<B> {
        let key = (self.name.clone(), content.fingerprint);
        // Asked each time, so that the cache knows what is in use. The initializer does no I/O.
        let refreshers = &self.context.refreshers;
        let refresher = refreshers.get_with(key, async { self.new_refresher(content) }).await;
        refresher.readdress(&content.api);
        let old = self.current.load_full();
        if let Some(old) = old.filter(|old| !Arc::ptr_eq(old, &refresher)) {
            self.retire(&old, Some(content.fingerprint)).await;
        }
        if !self.is_current(&refresher) {
            self.current.store(Some(Arc::clone(&refresher)));
            let state = refresher.provider().guard.state(Instant::now());
            let metrics = &self.context.metrics;
            metrics.gate_state(self.name.as_str(), state.name());
        }
        // The published lease may belong to another refresher or another API.
        self.snapshot.clear();
        refresher
    }

    async fn clear_current(&self) {
        let old = self.current.swap(None);
        self.snapshot.clear();
        if let Some(old) = old {
            self.retire(&old, None).await;
        }
    }

    async fn retire(&self, old: &SharedRefresher<B>, successor: Option<Fingerprint>) {
        let fingerprint = old.provider().fingerprint;
        old.retire();
        // An evicted refresher has the same key as its successor, so the key must stay.
        if successor != Some(fingerprint) {
            let destination = self.name.as_str();
            tracing::info!(destination, "credentials changed, their tokens are dropped");
            let key = (self.name.clone(), fingerprint);
            self.context.refreshers.invalidate(&key).await;
        }
    }

    fn new_refresher(self: &Arc<Self>, content: &Destination) -> SharedRefresher<B> {
        let shared = &self.context;
        let guard = shared.guards.of(content.fingerprint, &content.credentials.user);
        let deps = RefresherDeps {
            name: self.name.clone(),
            tasks: shared.tasks.clone(),
            forced_renewals: guard.forced_renewals(),
        };
        let provider = UaaTokenProvider {
            backend: Arc::clone(&shared.backend),
            name: self.name.clone(),
            fingerprint: content.fingerprint,
            grant: shared.grant,
            guard,
            history: Arc::clone(&self.history),
            metrics: shared.metrics.clone(),
            entry: Arc::downgrade(self),
            failures: RefreshFailures::default(),
            is_reading: AtomicBool::new(false),
        };
        Arc::new(Refresher::new(provider, deps))
    }

    fn tick(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.context.started_at).as_secs() / CHECK_EVERY.as_secs()
    }
}

impl<B: Backend> fmt::Debug for DestinationEntry<B> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("DestinationEntry")
            .field("name", &self.name)
            .field("current", &*self.current.load())
            .finish_non_exhaustive()
    }
}
