//! The key caches of IAS: one for each issuer, tenant and client that calls.
//!
//! Invariant: issuer label and client come from tokens that anybody may have written, so there are never more than
//! [`NEW_LIMIT`] caches that no verified token asked for, and never more than [`PROVEN_LIMIT`] that one did; and new ones
//! are made no faster than the [`Budget`] allows. Those who were verified once are not driven out by those who were not.

use super::{Address, Issuer};
use crate::{
    auth::{AuthError, held::FoundKey, keys::KeyCache, source::KeySource},
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
const NEW_LIMIT: usize = 32;

/// Most caches of callers that were verified: some ten kilobytes each.
const PROVEN_LIMIT: usize = 256;

/// New caches at once: a landscape that starts has some dozens of clients.
const BURST: u32 = 32;

/// One more new cache after this time; each costs two requests at most.
const INTERVAL: Duration = Duration::from_secs(2);

/// Makes the source of an address.
pub(in crate::auth) type Make<S> = Box<dyn Fn(&Arc<Address>) -> S + Send + Sync>;

/// What speaks for making a new cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Warrant {
    /// Nothing but the token itself.
    None,
    /// A key of the same issuer signed the token, or the settings name the caller.
    Good,
}

/// All caches.
pub(super) struct KeyTable<S> {
    make: Make<S>,
    tasks: TaskTracker,
    metrics: Metrics,
    rows: Mutex<Rows<S>>,
}

struct Rows<S> {
    by_address: HashMap<Arc<Address>, Row<S>>,
    budget: Budget,
    /// How many caches were made so far.
    made: u64,
}

struct Row<S> {
    keys: KeyCache<S>,
    standing: Standing,
    last_asked: Instant,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Standing {
    New,
    Proven,
}

/// How many new caches may be made.
struct Budget {
    /// When all of it is there again.
    full_at: Instant,
}

impl<S: KeySource> KeyTable<S> {
    /// Makes an empty table; `make` makes the source of an address.
    pub(super) fn new(make: Make<S>, tasks: TaskTracker, metrics: Metrics) -> Self {
        let budget = Budget { full_at: Instant::now() };
        let rows = Rows { by_address: HashMap::new(), budget, made: 0 };
        Self { make, tasks, metrics, rows: Mutex::new(rows) }
    }

    /// The cache of an address, if there is one.
    pub(super) fn find(&self, address: &Address) -> Option<KeyCache<S>> {
        let mut rows = self.rows();
        let row = rows.by_address.get_mut(address)?;
        row.last_asked = Instant::now();
        Some(row.keys.clone())
    }

    /// A key of this name that an issuer handed out for a verified caller.
    pub(super) fn known_key(&self, issuer: &Issuer, kid: &str) -> Option<FoundKey> {
        let rows = self.rows();
        let mut proven = rows
            .by_address
            .iter()
            .filter(|(address, row)| row.standing == Standing::Proven && address.issuer == *issuer);
        proven.find_map(|(_, row)| row.keys.peek(kid))
    }

    /// The cache of an address, made if need be; the oldest of those that nobody vouches for makes room.
    ///
    /// # Errors
    /// [`AuthError::KeysUnavailable`] where too many new ones were wanted.
    pub(super) fn open(
        &self,
        address: &Arc<Address>,
        warrant: Warrant,
    ) -> Result<KeyCache<S>, AuthError> {
        let now = Instant::now();
        let mut rows = self.rows();
        if let Some(row) = rows.by_address.get_mut(address) {
            row.last_asked = now;
            return Ok(row.keys.clone());
        }
        if warrant == Warrant::None {
            let free = rows.budget.take(now);
            free.map_err(|retry_after| AuthError::KeysUnavailable { retry_after })?;
        }
        rows.make_room(Standing::New, NEW_LIMIT);
        rows.made += 1;
        let (first, source) = (rows.made << 32, (self.make)(address));
        let (tasks, metrics) = (self.tasks.clone(), self.metrics.clone());
        let keys = KeyCache::numbered_from(first, source, tasks, metrics);
        let row = Row { keys: keys.clone(), standing: Standing::New, last_asked: now };
        rows.by_address.insert(Arc::clone(address), row);
        Ok(keys)
    }

    /// Notes that a token of this address was verified with these keys.
    pub(super) fn prove(&self, address: &Arc<Address>, keys: &KeyCache<S>) {
        let mut rows = self.rows();
        let standing = rows.by_address.get(address).map(|row| row.standing);
        if standing == Some(Standing::Proven) {
            return;
        }
        rows.make_room(Standing::Proven, PROVEN_LIMIT);
        let last_asked = Instant::now();
        // Another cache may have been made while the token was judged: the one in the table stays.
        let new = || Row { keys: keys.clone(), standing: Standing::New, last_asked };
        rows.by_address.entry(Arc::clone(address)).or_insert_with(new).standing = Standing::Proven;
    }

    /// The generation of the usable keys of an address; `None` without any.
    pub(super) fn generation(&self, address: &Address) -> Option<u64> {
        self.rows().by_address.get(address)?.keys.generation()
    }

    /// The rows; never held across an await.
    fn rows(&self) -> MutexGuard<'_, Rows<S>> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many caches there are: those not verified yet, and the others.
    #[cfg(test)]
    pub(super) fn sizes(&self) -> (usize, usize) {
        let rows = self.rows();
        (rows.count(Standing::New), rows.count(Standing::Proven))
    }
}

impl<S> Rows<S> {
    fn count(&self, standing: Standing) -> usize {
        self.by_address.values().filter(|row| row.standing == standing).count()
    }

    /// Drops the one of this standing that nobody has asked for longest, if there are too many.
    fn make_room(&mut self, standing: Standing, limit: usize) {
        if self.count(standing) < limit {
            return;
        }
        let of_standing = self.by_address.iter().filter(|(_, row)| row.standing == standing);
        let oldest = of_standing.min_by_key(|(_, row)| row.last_asked);
        if let Some(address) = oldest.map(|(address, _)| Arc::clone(address)) {
            self.by_address.remove(&address);
        }
    }
}

impl Budget {
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
