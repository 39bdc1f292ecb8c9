//! The minimum distance between renewals that are forced by refusals of CF. One per credential;
//! used by `refresher`.

use super::lease::GrantedToken;
use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};
use tokio::time::Instant;

/// At most one forced renewal in this time: if CF refuses every token, there is no storm of grants.
const FORCED_EVERY: Duration = Duration::from_secs(30);

/// The same if the refused token came from a logon: the next renewal would probably be a logon
/// again.
const LOGON_EVERY: Duration = Duration::from_secs(10 * 60);

/// When the last renewal was forced.
#[derive(Debug, Default)]
pub(super) struct Cooldown(Mutex<Option<Instant>>);

/// Whether CF's refusal of a lease led to a renewal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Revoked {
    /// Get a new lease and repeat the request.
    Renewing,
    /// A forced renewal a short time ago did not help. There is no other one yet; answer 502.
    Cooldown,
}

impl Cooldown {
    /// Takes the one forced renewal of this period; `false` if it was taken already.
    pub(super) fn take(&self, used: &GrantedToken, now: Instant) -> bool {
        let every = if used.is_from_logon() { LOGON_EVERY } else { FORCED_EVERY };
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_free = last.is_none_or(|last| now >= last + every);
        if is_free {
            *last = Some(now);
        }
        is_free
    }
}
