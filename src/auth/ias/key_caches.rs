//! The pool of key caches of IAS: one cache for each issuer, tenant and client that calls.
//!
//! Invariant: anyone can write a token with any issuer label and client. So the pool has at most
//! [`UNVERIFIED_LIMIT`] caches that no verified token has used, and at most [`VERIFIED_LIMIT`] that
//! one has. [`CreationBudget`] limits how fast new ones are made. A cache of an unverified caller
//! never displaces one of a verified caller. All these limits count for the home issuer, which the
//! binding names, and for all other issuers separately: no token for another issuer uses up what
//! the home issuer has. For [`IasIssuer`](super::IasIssuer) only.

use super::{Issuer, KeyAddress};
use crate::{
    auth::{AuthError, cached_key_set::FoundKey, key_cache::KeyCache, source::KeySource},
    telemetry::metrics::Metrics,
};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

/// Most caches of callers that are not verified yet, per [`IssuerKind`]. Each may fetch every 16 s
/// while its issuer fails: two fetches a second in all.
const UNVERIFIED_LIMIT: usize = 32;

/// Most caches of verified callers, per [`IssuerKind`]. Each takes some ten kilobytes.
const VERIFIED_LIMIT: usize = 256;

/// New caches at once, per [`IssuerKind`]. When a landscape starts, it has some dozens of clients.
const BURST: u32 = 32;

/// Time after which one more new cache is allowed. Each costs at most two requests, and those of
/// the home issuer their repeats.
const INTERVAL: Duration = Duration::from_secs(2);

/// Makes the source of an address.
pub(in crate::auth) type SourceFactory<S> = Box<dyn Fn(&Arc<KeyAddress>) -> S + Send + Sync>;

/// What is known about a token that asks for a new cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Evidence {
    /// Nothing: it may be forged.
    None,
    /// A key of the same issuer signed the token, or the settings name the caller.
    Good,
}

/// Which issuer an address belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum IssuerKind {
    /// The one that the binding names.
    Home,
    /// Any other below a trusted domain.
    Other,
}

/// The caches by address, bounded in number.
pub(super) struct KeyCachePool<S: KeySource> {
    home: Option<Issuer>,
    new_source: SourceFactory<S>,
    tasks: TaskTracker,
    metrics: Metrics,
    state: Mutex<PoolState<S>>,
}

struct PoolState<S: KeySource> {
    by_address: HashMap<Arc<KeyAddress>, PooledCache<S>>,
    home_budget: CreationBudget,
    other_budget: CreationBudget,
    /// How many caches were made so far. Gives each cache its own range of generations.
    created: u64,
}

struct PooledCache<S: KeySource> {
    keys: KeyCache<S>,
    kind: IssuerKind,
    status: CallerStatus,
    last_used: Instant,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum CallerStatus {
    Unverified,
    Verified,
}

/// Limits how fast new caches are made.
struct CreationBudget {
    /// When the whole budget is available again.
    full_at: Instant,
}

impl<S: KeySource> KeyCachePool<S> {
    /// Makes an empty pool. `new_source` makes the source of an address; `home` is the issuer that
    /// the binding names.
    pub(super) fn new(
        new_source: SourceFactory<S>,
        home: Option<Issuer>,
        tasks: TaskTracker,
        metrics: Metrics,
    ) -> Self {
        let budget = || CreationBudget { full_at: Instant::now() };
        let state = PoolState {
            by_address: HashMap::new(),
            home_budget: budget(),
            other_budget: budget(),
            created: 0,
        };
        Self { home, new_source, tasks, metrics, state: Mutex::new(state) }
    }

    /// Returns the cache of an address, if there is one.
    pub(super) fn find(&self, address: &KeyAddress) -> Option<KeyCache<S>> {
        let mut state = self.state();
        let cache = state.by_address.get_mut(address)?;
        cache.last_used = Instant::now();
        Some(cache.keys.clone())
    }

    /// Returns the key with this `kid`, if the issuer returned it for a verified caller, or if it
    /// is the home issuer.
    pub(super) fn known_key(&self, issuer: &Issuer, kid: &str) -> Option<FoundKey> {
        let state = self.state();
        let mut known = state.by_address.iter().filter(|(address, cache)| {
            let is_trusted =
                cache.status == CallerStatus::Verified || cache.kind == IssuerKind::Home;
            is_trusted && address.issuer == *issuer
        });
        known.find_map(|(_, cache)| cache.keys.peek(kid))
    }

    /// Returns the cache of an address and makes it if needed. If there are too many unverified
    /// ones, the one that was unused for longest is dropped.
    ///
    /// # Errors
    /// [`AuthError::KeyUndecided`] if the budget for new caches is used up.
    pub(super) fn get_or_create(
        &self,
        address: &Arc<KeyAddress>,
        evidence: Evidence,
    ) -> Result<KeyCache<S>, AuthError> {
        let now = Instant::now();
        let mut state = self.state();
        if let Some(cache) = state.by_address.get_mut(address) {
            cache.last_used = now;
            return Ok(cache.keys.clone());
        }
        let kind = self.kind(address);
        if evidence == Evidence::None {
            let free = state.budget(kind).take(now);
            free.map_err(|retry_after| AuthError::KeyUndecided { retry_after })?;
        }
        state.evict_oldest(kind, CallerStatus::Unverified, UNVERIFIED_LIMIT);
        state.created += 1;
        let (first_generation, source) = (state.created << 32, (self.new_source)(address));
        let (tasks, metrics) = (self.tasks.clone(), self.metrics.clone());
        let keys = KeyCache::with_first_generation(first_generation, source, tasks, metrics);
        let status = CallerStatus::Unverified;
        let cache = PooledCache { keys: keys.clone(), kind, status, last_used: now };
        state.by_address.insert(Arc::clone(address), cache);
        Ok(keys)
    }

    /// Records that a token of this address was verified with these keys.
    pub(super) fn mark_verified(&self, address: &Arc<KeyAddress>, keys: &KeyCache<S>) {
        let mut state = self.state();
        let status = state.by_address.get(address).map(|cache| cache.status);
        if status == Some(CallerStatus::Verified) {
            return;
        }
        let kind = self.kind(address);
        state.evict_oldest(kind, CallerStatus::Verified, VERIFIED_LIMIT);
        let (last_used, status) = (Instant::now(), CallerStatus::Unverified);
        // The cache may have been dropped or replaced during the verification. One in the pool
        // stays.
        let new = || PooledCache { keys: keys.clone(), kind, status, last_used };
        state.by_address.entry(Arc::clone(address)).or_insert_with(new).status =
            CallerStatus::Verified;
    }

    /// Returns the generation of the usable keys of an address; `None` without any.
    pub(super) fn generation(&self, address: &KeyAddress) -> Option<u64> {
        self.state().by_address.get(address)?.keys.generation()
    }

    fn kind(&self, address: &KeyAddress) -> IssuerKind {
        if self.home.as_ref() == Some(&address.issuer) {
            IssuerKind::Home
        } else {
            IssuerKind::Other
        }
    }

    /// Locks the state. The lock is never held across an await.
    fn state(&self) -> MutexGuard<'_, PoolState<S>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the number of caches of unverified and of verified callers.
    #[cfg(test)]
    pub(super) fn sizes(&self) -> (usize, usize) {
        let state = self.state();
        (state.count(CallerStatus::Unverified), state.count(CallerStatus::Verified))
    }
}

impl<S: KeySource> PoolState<S> {
    fn budget(&mut self, kind: IssuerKind) -> &mut CreationBudget {
        match kind {
            IssuerKind::Home => &mut self.home_budget,
            IssuerKind::Other => &mut self.other_budget,
        }
    }

    #[cfg(test)]
    fn count(&self, status: CallerStatus) -> usize {
        self.by_address.values().filter(|cache| cache.status == status).count()
    }

    /// Drops the cache of this kind and status that was unused for longest, if `limit` is reached.
    fn evict_oldest(&mut self, kind: IssuerKind, status: CallerStatus, limit: usize) {
        let same = || {
            let caches = self.by_address.iter();
            caches.filter(|(_, cache)| cache.kind == kind && cache.status == status)
        };
        if same().count() < limit {
            return;
        }
        let oldest = same().min_by_key(|(_, cache)| cache.last_used);
        if let Some(address) = oldest.map(|(address, _)| Arc::clone(address)) {
            self.by_address.remove(&address);
        }
    }
}

impl CreationBudget {
    /// Takes one new cache from the budget.
    fn take(&mut self, now: Instant) -> Result<(), Duration> {
        let full_at = self.full_at.max(now);
        let debt = full_at.saturating_duration_since(now);
        match debt.checked_sub(INTERVAL * (BURST - 1)) {
            Some(wait) if !wait.is_zero() => Err(wait),
            Some(_) | None => {
                self.full_at = full_at + INTERVAL;
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests;
