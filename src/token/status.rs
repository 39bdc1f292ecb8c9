//! What an operator may see of a destination's token: states, times, causes; never a secret.
//!
//! Invariant: no text of an upstream gets in. Filled by `entry`; read by `http`.

use super::{
    error::{LeaseRefusal, Reason},
    lockout::{GuardState, forget},
};
use crate::{
    destination::{DestinationName, SourceKind},
    oauth::Freshness,
};
use std::{collections::VecDeque, mem, time::Duration};
use tokio::time::Instant;

/// Status of a destination.
#[derive(Clone, Debug)]
pub struct DestinationStatus {
    /// Its name.
    pub name: DestinationName,
    /// Where it was found; `None` if it was not found or not looked for yet.
    pub source: Option<SourceKind>,
    /// The user that logs on; only for answers that need a scope.
    pub user: Option<String>,
    /// Key of the identity provider; `None`: UAA's default, or no destination was found.
    pub origin: Option<String>,
    /// Whether a password may be sent.
    pub guard: GuardState,
    /// When the lockout guard opens by itself: the end of a pause, or the next probe of a lock.
    pub guard_opens_in: Option<Duration>,
    /// Why no password is sent now, and what to do; `None` if one may be sent.
    pub guard_hint: Option<String>,
    /// Age of the token; `None` if there is none.
    pub freshness: Option<Freshness>,
    /// How long CF accepts the token; `None` if there is none.
    pub expires_in: Option<Duration>,
    /// Refreshes that failed since the last one that worked.
    pub failed_refreshes: u32,
    /// What is odd about the token of the last grant.
    pub warning: Option<String>,
    /// The last grant that succeeded.
    pub last_renewal: Option<Renewal>,
    /// The last refusal, also one that is over.
    pub last_refusal: Option<PastRefusal>,
}

/// A grant that succeeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Renewal {
    /// Its OAuth name.
    pub grant: &'static str,
    /// How long the token endpoint took.
    pub took: Duration,
    /// How long ago.
    pub ago: Duration,
}

/// A refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PastRefusal {
    /// Why; the public code follows from it.
    pub reason: Reason,
    /// What to do.
    pub hint: String,
    /// How long ago.
    pub ago: Duration,
}

/// An attempt of this destination was released before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RepeatedRelease {
    /// How many were released in the last 65 min.
    pub earlier: usize,
    /// Passwords of the user that this instance sent without success in the last 65 min.
    pub unsuccessful: usize,
    /// From when on `force` is not needed.
    pub free_at: Instant,
}

/// The last events of one destination name, across changes of its credentials.
#[derive(Debug, Default)]
pub(super) struct PastEvents {
    renewal: Option<GrantedRenewal>,
    refusal: Option<(LeaseRefusal, Instant)>,
    /// Attempts that an operator released and that were sent, oldest first.
    releases: VecDeque<Instant>,
    has_warned_of_no_refresh: bool,
}

/// A grant that brought a token.
#[derive(Debug)]
pub(super) struct GrantedRenewal {
    /// Its OAuth name.
    pub(super) grant: &'static str,
    /// How long the token endpoint took.
    pub(super) took: Duration,
    pub(super) at: Instant,
    /// What is odd about the token.
    pub(super) warning: Option<String>,
}

impl PastEvents {
    pub(super) fn renewed(&mut self, renewal: GrantedRenewal) {
        self.renewal = Some(renewal);
    }

    pub(super) fn refused(&mut self, refusal: LeaseRefusal, now: Instant) {
        self.refusal = Some((refusal, now));
    }

    pub(super) fn warning(&self) -> Option<String> {
        self.renewal.as_ref().and_then(|renewal| renewal.warning.clone())
    }

    pub(super) fn last_renewal(&self, now: Instant) -> Option<Renewal> {
        let GrantedRenewal { grant, took, at, .. } = self.renewal.as_ref()?;
        Some(Renewal { grant, took: *took, ago: now.saturating_duration_since(*at) })
    }

    pub(super) fn last_refusal(&self, now: Instant) -> Option<PastRefusal> {
        let (refusal, at) = self.refusal.as_ref()?;
        let ago = now.saturating_duration_since(*at);
        Some(PastRefusal { reason: refusal.reason.clone(), hint: refusal.hint(), ago })
    }

    /// Takes note of a released attempt that was sent.
    pub(super) fn released(&mut self, now: Instant) {
        self.releases.push_back(now);
    }

    /// Returns the times of the released attempts of the last 65 min that were sent.
    pub(super) fn releases(&mut self, now: Instant) -> &VecDeque<Instant> {
        forget(&mut self.releases, now);
        &self.releases
    }

    /// Returns `true` the first time only: the missing refresh token is logged once.
    pub(super) fn warns_of_no_refresh(&mut self) -> bool {
        !mem::replace(&mut self.has_warned_of_no_refresh, true)
    }
}
