//! The published snapshot: a lease that may be served without any check, and until when.
//!
//! Invariant: the published lease belongs to the credentials in service. Changing the credentials
//! clears the snapshot afterwards; publishing checks the credentials again afterwards. So one of
//! the two always sees the other. Used by `entry`.

use super::lease::Lease;
use arc_swap::ArcSwapOption;
use std::{fmt, sync::Arc};
use tokio::time::Instant;

/// Holds at most one published lease.
#[derive(Default)]
pub(super) struct LeaseSnapshot(ArcSwapOption<Published>);

struct Published {
    lease: Arc<Lease>,
    until: Instant,
}

impl LeaseSnapshot {
    /// Returns the published lease: one pointer load, no lock, no allocation.
    pub(super) fn read(&self, now: Instant) -> Option<Arc<Lease>> {
        let published = self.0.load();
        let published = published.as_ref()?;
        let may_serve = now < published.until && !published.lease.token().is_revoked();
        may_serve.then(|| Arc::clone(&published.lease))
    }

    /// Publishes a lease until `until`. Takes it back if `holds` returns `false` afterwards.
    pub(super) fn publish(&self, lease: &Arc<Lease>, until: Instant, holds: impl FnOnce() -> bool) {
        let lease = Arc::clone(lease);
        self.0.store(Some(Arc::new(Published { lease, until })));
        if !holds() {
            self.clear();
        }
    }

    /// Removes the published lease.
    pub(super) fn clear(&self) {
        self.0.store(None);
    }
}

impl fmt::Debug for LeaseSnapshot {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let published = self.0.load();
        let lease = published.as_ref().map(|published| &published.lease);
        out.debug_tuple("LeaseSnapshot").field(&lease).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::LeaseSnapshot;
    use crate::token::fake::lease;
    use std::{sync::Arc, time::Duration};
    use tokio::time::Instant;

    #[test]
    fn a_lease_is_published_until_its_time_or_its_revocation() {
        let (snapshot, now) = (LeaseSnapshot::default(), Instant::now());
        let lease = Arc::new(lease(now, 1199));
        let until = now + Duration::from_secs(1);
        assert!(snapshot.read(now).is_none());
        snapshot.publish(&lease, until, || true);
        assert!(Arc::ptr_eq(&snapshot.read(now).unwrap(), &lease));
        assert!(snapshot.read(until).is_none());
        lease.token().revoke();
        assert!(snapshot.read(now).is_none());
    }

    #[test]
    fn what_no_longer_holds_is_taken_back() {
        let (snapshot, now) = (LeaseSnapshot::default(), Instant::now());
        let lease = Arc::new(lease(now, 1199));
        snapshot.publish(&lease, now + Duration::from_secs(1), || false);
        assert!(snapshot.read(now).is_none());
    }
}
