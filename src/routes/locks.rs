//! Keyed locks of this process, and what it remembers about deletes and requests.
//!
//! Invariant: at most one operation per key runs. A key uses memory only while an operation holds
//! it or waits for it. CF's unique index and the label `deleting` keep other instances in order.
//! Callers: this module.

use super::label::DELETING_FOR;
use crate::capi::Guid;
use moka::future::Cache;
use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};
use tokio::{
    sync::{Mutex as AsyncMutex, OwnedMutexGuard},
    time::{Instant, timeout_at},
};

/// Most deletes that are remembered, for routes that could not be labelled; each for as long as the
/// label counts.
const MAX_DELETING: u64 = 10_000;

/// How long a request for a tenant is remembered: longer than a reconcile can take from its read to
/// its last delete, which is one request.
const REQUESTED_FOR: Duration = Duration::from_secs(900);
/// Most remembered tenants.
const MAX_REQUESTED: u64 = 10_000;

/// What only one operation at a time works on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum LockKey {
    /// Everything about one tenant of one owner.
    Tenant {
        /// The owner.
        owner: String,
        /// The tenant id.
        tenant: String,
    },
    /// Everything about one host, without path, of one domain.
    Host {
        /// The domain.
        domain: Guid,
        /// The host.
        host: String,
    },
    /// The repeat of a delete whose job of this id failed.
    Repeat(Guid),
}

impl LockKey {
    /// Makes the key of a host. CF's hosts ignore case.
    pub(super) fn host(domain: Guid, host: &str) -> Self {
        Self::Host { domain, host: host.to_ascii_lowercase() }
    }
}

impl KeyGuard {
    /// Returns whether it holds this key.
    pub(super) fn is_for(&self, key: &LockKey) -> bool {
        self.key == *key
    }
}

/// The locks; a clone is shallow.
#[derive(Clone)]
pub(super) struct KeyedLocks {
    mutexes: Arc<Mutex<HashMap<LockKey, Weak<AsyncMutex<()>>>>>,
    deleting: Cache<Guid, ()>,
    requested: Cache<LockKey, Instant>,
}

/// Holds a key until it is dropped.
#[derive(Debug)]
pub(super) struct KeyGuard {
    guard: Option<OwnedMutexGuard<()>>,
    key: LockKey,
    locks: KeyedLocks,
}

impl Default for KeyedLocks {
    fn default() -> Self {
        let deleting =
            Cache::builder().max_capacity(MAX_DELETING).time_to_live(DELETING_FOR).build();
        let requested =
            Cache::builder().max_capacity(MAX_REQUESTED).time_to_live(REQUESTED_FOR).build();
        Self { mutexes: Arc::default(), deleting, requested }
    }
}

impl KeyedLocks {
    /// Waits for a key; `None` if the deadline comes first.
    pub(super) async fn lock(&self, key: LockKey, deadline: Instant) -> Option<KeyGuard> {
        let lock = self.mutex(&key);
        let guard = timeout_at(deadline, lock.lock_owned()).await.ok()?;
        Some(KeyGuard { guard: Some(guard), key, locks: self.clone() })
    }

    /// Takes a key if it is free.
    pub(super) fn try_lock(&self, key: &LockKey) -> Option<KeyGuard> {
        let guard = self.mutex(key).try_lock_owned().ok()?;
        Some(KeyGuard { guard: Some(guard), key: key.clone(), locks: self.clone() })
    }

    /// Remembers that a route is being deleted, until its label says so.
    pub(super) async fn remember_deleting(&self, route: &Guid) {
        self.deleting.insert(route.clone(), ()).await;
    }

    /// Forgets that a route was being deleted.
    pub(super) async fn forget_deleting(&self, route: &Guid) {
        self.deleting.invalidate(route).await;
    }

    /// Returns whether a delete of this route is remembered.
    pub(super) fn is_deleting(&self, route: &Guid) -> bool {
        self.deleting.contains_key(route)
    }

    /// Remembers that a tenant is requested now.
    pub(super) async fn remember_requested(&self, tenant: LockKey) {
        self.requested.insert(tenant, Instant::now()).await;
    }

    /// Returns whether a tenant was requested at this time or later.
    pub(super) async fn was_requested_since(&self, tenant: &LockKey, since: Instant) -> bool {
        self.requested.get(tenant).await.is_some_and(|last| last >= since)
    }

    fn mutex(&self, key: &LockKey) -> Arc<AsyncMutex<()>> {
        let mut locks = self.mutexes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(lock) = locks.get(key).and_then(Weak::upgrade) {
            return lock;
        }
        let lock = Arc::new(AsyncMutex::new(()));
        locks.insert(key.clone(), Arc::downgrade(&lock));
        // A waiter that gave up leaves an unused entry. Remove such entries now and then.
        if locks.len() > 1_000 {
            locks.retain(|_, lock| lock.strong_count() > 0);
        }
        lock
    }
}

impl Drop for KeyGuard {
    fn drop(&mut self) {
        // Drop the guard first: it keeps the lock alive.
        self.guard = None;
        let mut locks = self.locks.mutexes.lock().unwrap_or_else(PoisonError::into_inner);
        if locks.get(&self.key).is_some_and(|lock| lock.strong_count() == 0) {
            locks.remove(&self.key);
        }
    }
}

impl fmt::Debug for KeyedLocks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyedLocks").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::{Guid, KeyedLocks, LockKey};
    use std::time::Duration;
    use tokio::time::Instant;

    fn key(tenant: &str) -> LockKey {
        LockKey::Tenant { owner: "o".to_owned(), tenant: tenant.to_owned() }
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(1)
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_is_held_by_one_at_a_time() {
        let locks = KeyedLocks::default();
        let _held = locks.lock(key("a"), soon()).await.unwrap();
        assert!(locks.lock(key("a"), soon()).await.is_none());
    }

    #[test]
    fn a_host_is_one_key_in_any_case() {
        let domain = || Guid::parse("d1").unwrap();
        assert_eq!(LockKey::host(domain(), "ACME-app"), LockKey::host(domain(), "acme-app"));
    }

    #[tokio::test(start_paused = true)]
    async fn other_keys_do_not_wait() {
        let locks = KeyedLocks::default();
        let _held = locks.lock(key("a"), soon()).await.unwrap();
        assert!(locks.lock(key("b"), Instant::now()).await.is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_dropped_guard_frees_the_key_and_its_memory() {
        let locks = KeyedLocks::default();
        drop(locks.lock(key("a"), soon()).await.unwrap());
        assert!(locks.mutexes.lock().unwrap().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_waiter_gets_the_key_when_it_is_free() {
        let locks = KeyedLocks::default();
        let held = locks.lock(key("a"), soon()).await.unwrap();
        let waiting = locks.lock(key("a"), soon());
        let freeing = async {
            tokio::time::sleep(Duration::from_millis(10)).await;
            drop(held);
        };
        let (guard, ()) = tokio::join!(waiting, freeing);
        assert!(guard.is_some());
    }
}
