//! The key caches of IAS: one for each issuer, tenant and client that calls.
//!
//! Invariant: issuer label and client come from tokens that anybody may have written, so there are never more than
//! [`UNVERIFIED_LIMIT`] caches that no verified token asked for, and never more than [`VERIFIED_LIMIT`] that one did; and new ones
//! are made no faster than the [`CreationBudget`] allows. Those who were verified once are not driven out by those who were not.

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

/// Most caches of callers that were not verified yet. Each may be fetched every 16 s while its issuer fails: two a second
/// in all.
const UNVERIFIED_LIMIT: usize = 32;

/// Most caches of callers that were verified: some ten kilobytes each.
const VERIFIED_LIMIT: usize = 256;

/// New caches at once: a landscape that starts has some dozens of clients.
const BURST: u32 = 32;

/// One more new cache after this time; each costs two requests at most.
const INTERVAL: Duration = Duration::from_secs(2);

/// Makes the source of an address.
pub(in crate::auth) type SourceFactory<S> = Box<dyn Fn(&Arc<KeyAddress>) -> S + Send + Sync>;

/// What speaks for making a new cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Evidence {
    /// Nothing but the token itself.
    None,
    /// A key of the same issuer signed the token, or the settings name the caller.
    Good,
}

/// All caches.
pub(super) struct KeyCachePool<S> {
    new_source: SourceFactory<S>,
    tasks: TaskTracker,
    metrics: Metrics,
    state: Mutex<PoolState<S>>,
}

struct PoolState<S> {
    by_address: HashMap<Arc<KeyAddress>, PooledCache<S>>,
    budget: CreationBudget,
    /// How many caches were made so far.
    created: u64,
}

struct PooledCache<S> {
    keys: KeyCache<S>,
    status: CallerStatus,
    last_used: Instant,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum CallerStatus {
    Unverified,
    Verified,
}

/// How many new caches may be made.
struct CreationBudget {
    /// When all of it is there again.
    full_at: Instant,
}

impl<S: KeySource> KeyCachePool<S> {
    /// Makes an empty table; `new_source` makes the source of an address.
    pub(super) fn new(new_source: SourceFactory<S>, tasks: TaskTracker, metrics: Metrics) -> Self {
        let budget = CreationBudget { full_at: Instant::now() };
        let state = PoolState { by_address: HashMap::new(), budget, created: 0 };
        Self { new_source, tasks, metrics, state: Mutex::new(state) }
    }

    /// The cache of an address, if there is one.
    pub(super) fn find(&self, address: &KeyAddress) -> Option<KeyCache<S>> {
        let mut state = self.state();
        let cache = state.by_address.get_mut(address)?;
        cache.last_used = Instant::now();
        Some(cache.keys.clone())
    }

    /// A key of this name that an issuer handed out for a verified caller.
    pub(super) fn key_of_verified_caller(&self, issuer: &Issuer, kid: &str) -> Option<FoundKey> {
        let state = self.state();
        let mut proven = state.by_address.iter().filter(|(address, cache)| {
            cache.status == CallerStatus::Verified && address.issuer == *issuer
        });
        proven.find_map(|(_, cache)| cache.keys.peek(kid))
    }

    /// The cache of an address, made if need be; the oldest of those that nobody vouches for makes room.
    ///
    /// # Errors
    /// [`AuthError::KeysUnavailable`] where too many new ones were wanted.
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
        if evidence == Evidence::None {
            let free = state.budget.take(now);
            free.map_err(|retry_after| AuthError::KeysUnavailable { retry_after })?;
        }
        state.evict_oldest(CallerStatus::Unverified, UNVERIFIED_LIMIT);
        state.created += 1;
        let (first_generation, source) = (state.created << 32, (self.new_source)(address));
        let (tasks, metrics) = (self.tasks.clone(), self.metrics.clone());
        let keys = KeyCache::with_first_generation(first_generation, source, tasks, metrics);
        let cache =
            PooledCache { keys: keys.clone(), status: CallerStatus::Unverified, last_used: now };
        state.by_address.insert(Arc::clone(address), cache);
        Ok(keys)
    }

    /// Notes that a token of this address was verified with these keys.
    pub(super) fn mark_verified(&self, address: &Arc<KeyAddress>, keys: &KeyCache<S>) {
        let mut state = self.state();
        let status = state.by_address.get(address).map(|cache| cache.status);
        if status == Some(CallerStatus::Verified) {
            return;
        }
        state.evict_oldest(CallerStatus::Verified, VERIFIED_LIMIT);
        let last_used = Instant::now();
        // Another cache may have been made while the token was judged: the one in the table stays.
        let new =
            || PooledCache { keys: keys.clone(), status: CallerStatus::Unverified, last_used };
        state.by_address.entry(Arc::clone(address)).or_insert_with(new).status =
            CallerStatus::Verified;
    }

    /// The generation of the usable keys of an address; `None` without any.
    pub(super) fn generation(&self, address: &KeyAddress) -> Option<u64> {
        self.state().by_address.get(address)?.keys.generation()
    }

    /// The state; never held across an await.
    fn state(&self) -> MutexGuard<'_, PoolState<S>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many caches there are: those not verified yet, and the others.
    #[cfg(test)]
    pub(super) fn sizes(&self) -> (usize, usize) {
        let state = self.state();
        (state.count(CallerStatus::Unverified), state.count(CallerStatus::Verified))
    }
}

impl<S> PoolState<S> {
    fn count(&self, status: CallerStatus) -> usize {
        self.by_address.values().filter(|cache| cache.status == status).count()
    }

    /// Drops the one of this status that nobody has asked for longest, if there are too many.
    fn evict_oldest(&mut self, status: CallerStatus, limit: usize) {
        if self.count(status) < limit {
            return;
        }
        let of_status = self.by_address.iter().filter(|(_, cache)| cache.status == status);
        let oldest = of_status.min_by_key(|(_, cache)| cache.last_used);
        if let Some(address) = oldest.map(|(address, _)| Arc::clone(address)) {
            self.by_address.remove(&address);
        }
    }
}

impl CreationBudget {
    /// Takes one; else says how long to wait for it.
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
