//! The one thing that the read path looks at: a lease that may be handed out without a thought, and until when.
//!
//! Invariant: what is shown belongs to the credentials in service; whoever changes them clears it afterwards, and
//! whoever shows looks again afterwards, so that one of the two sees the other. Used by `door`.

use super::lease::Lease;
use arc_swap::ArcSwapOption;
use std::{fmt, sync::Arc};
use tokio::time::Instant;

/// Shows at most one lease.
#[derive(Default)]
pub(super) struct Front(ArcSwapOption<Shown>);

struct Shown {
    lease: Arc<Lease>,
    until: Instant,
}

impl Front {
    /// Returns the lease on show: one pointer load, no lock, no allocation.
    pub(super) fn look(&self, now: Instant) -> Option<Arc<Lease>> {
        let shown = self.0.load();
        let shown = shown.as_ref()?;
        let may_serve = now < shown.until && !shown.lease.token().is_revoked();
        may_serve.then(|| Arc::clone(&shown.lease))
    }

    /// Shows a lease until `until`, as long as `holds` says so afterwards.
    pub(super) fn show(&self, lease: &Arc<Lease>, until: Instant, holds: impl FnOnce() -> bool) {
        let lease = Arc::clone(lease);
        self.0.store(Some(Arc::new(Shown { lease, until })));
        if !holds() {
            self.clear();
        }
    }

    /// Shows nothing.
    pub(super) fn clear(&self) {
        self.0.store(None);
    }
}

impl fmt::Debug for Front {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.0.load();
        let lease = shown.as_ref().map(|shown| &shown.lease);
        out.debug_tuple("Front").field(&lease).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::Front;
    use crate::token::fake::lease;
    use std::{sync::Arc, time::Duration};
    use tokio::time::Instant;

    #[test]
    fn a_lease_is_shown_until_its_time_or_its_revocation() {
        let (front, now) = (Front::default(), Instant::now());
        let lease = Arc::new(lease(now, 1199));
        let until = now + Duration::from_secs(1);
        assert!(front.look(now).is_none());
        front.show(&lease, until, || true);
        assert!(Arc::ptr_eq(&front.look(now).unwrap(), &lease));
        assert!(front.look(until).is_none());
        lease.token().revoke();
        assert!(front.look(now).is_none());
    }

    #[test]
    fn what_no_longer_holds_is_taken_back() {
        let (front, now) = (Front::default(), Instant::now());
        let lease = Arc::new(lease(now, 1199));
        front.show(&lease, now + Duration::from_secs(1), || false);
        assert!(front.look(now).is_none());
    }
}
