//! Readiness: the phase of the process and how its parts are, in words that tell a stranger nothing.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use tokio_util::sync::CancellationToken;

use crate::{
    auth::Verifier,
    routes::{ProviderStatus, TenantRoutes},
    token::{DestinationStatus, Freshness, GuardState, Reason, TokenVault},
};

/// Where the process is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Not listening yet.
    Starting,
    /// Serving.
    Up,
    /// Told to stop.
    Draining,
}

/// How a part is, from the least to the most worrying.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// Not asked yet.
    #[default]
    Unknown,
    /// Works.
    Ok,
    /// Works from memory; the source does not answer.
    Stale,
    /// Does not answer.
    Down,
    /// Locked for a time.
    Locked,
    /// Not there.
    Missing,
    /// Refused for good, until somebody repairs it.
    Refused,
}

impl Part {
    /// Whether an operator should look.
    pub fn is_degraded(self) -> bool {
        !matches!(self, Self::Ok | Self::Unknown)
    }
}

/// All parts; of several destinations the worst one counts.
#[derive(Clone, Copy, Debug, Default)]
pub struct Seen {
    /// Destination service and content.
    pub destination: Part,
    /// Token of the technical user.
    pub token: Part,
    /// CF API.
    pub cf_api: Part,
    /// CF UAA.
    pub uaa: Part,
    /// Keys of callers' tokens.
    pub keys: Part,
    /// What the provider entries name.
    pub providers: Part,
}

/// Answers the probes; a clone is shallow.
#[derive(Clone, Debug)]
pub struct Readiness {
    listening: Arc<AtomicBool>,
    draining: CancellationToken,
    vault: TokenVault,
    verifier: Verifier,
    routes: TenantRoutes,
}

impl Readiness {
    /// Makes it in the phase `Starting`.
    pub fn new(
        vault: TokenVault,
        verifier: Verifier,
        routes: TenantRoutes,
        draining: CancellationToken,
    ) -> Self {
        Self { listening: Arc::default(), draining, vault, verifier, routes }
    }

    /// The listener takes connections.
    pub fn is_listening(&self) {
        self.listening.store(true, Ordering::Release);
    }

    /// Returns how the parts are, without asking anyone.
    pub fn parts(&self) -> Seen {
        let all = self.vault.statuses();
        Seen {
            destination: worst(all.iter().map(destination)),
            token: worst(all.iter().map(token)),
            uaa: worst(all.iter().map(uaa)),
            cf_api: Part::Unknown,
            keys: if self.verifier.is_bound() { Part::Ok } else { Part::Missing },
            providers: match self.routes.provider_status() {
                ProviderStatus::Unknown => Part::Unknown,
                ProviderStatus::Resolved => Part::Ok,
                ProviderStatus::Unresolved => Part::Missing,
            },
        }
    }

    /// Returns where the process is.
    pub fn phase(&self) -> Phase {
        if self.draining.is_cancelled() {
            Phase::Draining
        } else if self.listening.load(Ordering::Acquire) {
            Phase::Up
        } else {
            Phase::Starting
        }
    }
}

fn worst(parts: impl Iterator<Item = Part>) -> Part {
    parts.max().unwrap_or_default()
}

fn destination(status: &DestinationStatus) -> Part {
    let refusal = status.last_refusal.as_ref().map(|past| &past.reason);
    match (status.source, refusal) {
        (Some(_), _) => Part::Ok,
        (None, Some(Reason::DestinationMissing)) => Part::Missing,
        (None, Some(Reason::DestinationInvalid { .. })) => Part::Refused,
        (None, Some(Reason::DestinationUnavailable)) => Part::Down,
        (None, _) => Part::Unknown,
    }
}

fn token(status: &DestinationStatus) -> Part {
    match (status.guard, status.freshness) {
        (GuardState::Rejected | GuardState::Blocked, _) => Part::Refused,
        (GuardState::Locked, _) => Part::Locked,
        (_, Some(Freshness::Fresh | Freshness::Ageing)) => Part::Ok,
        (GuardState::Waiting, _) => Part::Down,
        (GuardState::Unknown | GuardState::Good, _) => Part::Unknown,
    }
}

fn uaa(status: &DestinationStatus) -> Part {
    match status.guard {
        GuardState::Waiting => Part::Down,
        GuardState::Unknown => Part::Unknown,
        GuardState::Good | GuardState::Rejected | GuardState::Blocked | GuardState::Locked => {
            Part::Ok
        }
    }
}
