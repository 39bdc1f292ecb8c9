//! A semaphore that a few callers cannot use up.
//!
//! Invariant: a caller gets another permit only while it holds fewer than a third of those that are
//! free. So the more is taken, the less one caller may have, and the last permits go to callers
//! that have none. Used by [`super::gate`].

use std::{
    collections::HashMap,
    fmt,
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{sync::Notify, time::timeout};

/// A caller may hold one permit for so many free ones. With 3, a caller that is alone gets a
/// quarter of all, which is what one caller may have in flight; a dozen callers whose calls hang
/// leave some.
const FREE_PER_HELD: usize = 3;
/// With fewer permits than this there is nothing to share.
const SMALLEST_SHARED: usize = 8;

/// Permits for callers; a clone is shallow.
#[derive(Clone)]
pub struct FairSemaphore(Arc<FairInner>);

struct FairInner {
    total: usize,
    counts: Mutex<PermitCounts>,
    released: Notify,
}

struct PermitCounts {
    free: usize,
    /// Only callers that hold a permit.
    held: HashMap<Arc<str>, usize>,
}

impl FairSemaphore {
    /// Makes a semaphore with this number of permits.
    pub fn new(total: usize) -> Self {
        let counts = Mutex::new(PermitCounts { free: total, held: HashMap::new() });
        Self(Arc::new(FairInner { total, counts, released: Notify::new() }))
    }

    /// Returns how many permits are free.
    pub fn available_permits(&self) -> usize {
        self.0.counts().free
    }

    /// Takes a permit, if one is free and the caller may have it. Without a caller only the first
    /// counts.
    pub fn try_acquire(&self, caller: Option<&Arc<str>>) -> Option<FairPermit> {
        let mut counts = self.0.counts();
        let share = caller.is_none_or(|caller| counts.allow(caller, self.0.total));
        if counts.free == 0 || !share {
            return None;
        }
        counts.free -= 1;
        if let Some(caller) = caller {
            counts.add(caller);
        }
        Some(FairPermit { inner: Arc::clone(&self.0), caller: caller.cloned() })
    }

    /// As [`FairSemaphore::try_acquire`], and waits at most `within` for it.
    ///
    /// # Cancel safety
    /// Dropping the future holds nothing.
    pub async fn acquire(&self, caller: Option<&Arc<str>>, within: Duration) -> Option<FairPermit> {
        let waiting = async {
            loop {
                let mut released = pin!(self.0.released.notified());
                // Before the attempt: a release between the two is not missed.
                released.as_mut().enable();
                if let Some(permit) = self.try_acquire(caller) {
                    return permit;
                }
                released.await;
            }
        };
        timeout(within, waiting).await.ok()
    }
}

impl fmt::Debug for FairSemaphore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let free = self.available_permits();
        f.debug_struct("FairSemaphore").field("free", &free).finish_non_exhaustive()
    }
}

impl FairInner {
    /// Not held across an `await`; the code under it cannot panic half-way.
    fn counts(&self) -> MutexGuard<'_, PermitCounts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PermitCounts {
    fn allow(&self, caller: &Arc<str>, total: usize) -> bool {
        let held = self.held.get(caller).copied().unwrap_or(0);
        total < SMALLEST_SHARED || held.saturating_mul(FREE_PER_HELD) < self.free
    }

    fn add(&mut self, caller: &Arc<str>) {
        *self.held.entry(Arc::clone(caller)).or_default() += 1;
    }
}

/// One permit; returned when dropped.
pub struct FairPermit {
    inner: Arc<FairInner>,
    caller: Option<Arc<str>>,
}

impl fmt::Debug for FairPermit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FairPermit")
    }
}

impl Drop for FairPermit {
    fn drop(&mut self) {
        let mut counts = self.inner.counts();
        counts.free += 1;
        if let Some(caller) = self.caller.take()
            && let Some(held) = counts.held.get_mut(&caller)
        {
            *held -= 1;
            if *held == 0 {
                counts.held.remove(&caller);
            }
        }
        drop(counts);
        self.inner.released.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::{FairPermit, FairSemaphore};
    use std::{sync::Arc, time::Duration};
    use tokio::time::{Instant, sleep};

    const SECOND: Duration = Duration::from_secs(1);

    /// Takes up to `most` permits for a caller.
    fn take(semaphore: &FairSemaphore, caller: &str, most: usize) -> Vec<FairPermit> {
        let caller = Arc::from(caller);
        (0..most).map_while(|_| semaphore.try_acquire(Some(&caller))).collect()
    }

    #[test]
    fn a_caller_that_is_alone_gets_a_quarter() {
        let semaphore = FairSemaphore::new(64);
        assert_eq!(take(&semaphore, "a", 64).len(), 16);
        assert_eq!(semaphore.available_permits(), 64);
    }

    #[test]
    fn five_callers_that_hold_all_they_can_leave_several_for_a_sixth() {
        let semaphore = FairSemaphore::new(64);
        let _held: Vec<_> = (0..5).map(|n| take(&semaphore, &format!("hung-{n}"), 16)).collect();
        assert!(take(&semaphore, "healthy", 16).len() >= 4);
    }

    #[test]
    fn two_dozen_callers_leave_one_for_another() {
        let semaphore = FairSemaphore::new(256);
        let _held: Vec<_> = (0..24).map(|n| take(&semaphore, &format!("hung-{n}"), 16)).collect();
        assert!(!take(&semaphore, "healthy", 16).is_empty());
    }

    #[test]
    fn a_small_semaphore_is_an_ordinary_one() {
        let semaphore = FairSemaphore::new(2);
        let held = take(&semaphore, "a", 3);
        assert_eq!(held.len(), 2);
        drop(held);
        assert_eq!(semaphore.available_permits(), 2);
    }

    #[test]
    fn nothing_is_kept_of_a_caller_without_permits() {
        let semaphore = FairSemaphore::new(64);
        drop(take(&semaphore, "a", 3));
        assert!(semaphore.0.counts().held.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_waiting_caller_gets_the_permit_that_is_released() {
        let semaphore = FairSemaphore::new(1);
        let (held, caller) = (semaphore.try_acquire(None), Arc::from("a"));
        let begun = Instant::now();
        assert!(semaphore.acquire(None, SECOND).await.is_none());
        assert_eq!(begun.elapsed(), SECOND);
        let (taken, ()) = tokio::join!(semaphore.acquire(Some(&caller), SECOND), async {
            sleep(SECOND / 2).await;
            drop(held);
        });
        assert!(taken.is_some());
    }
}
