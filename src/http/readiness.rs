//! Readiness: the phase of the process and the state of its parts, without details that help an
//! attacker.

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

/// Phase of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LifecyclePhase {
    /// Not listening yet.
    Starting,
    /// Serving.
    Up,
    /// Stopping.
    Draining,
}

/// State of a part, in ascending order of severity.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum ComponentHealth {
    /// Not known yet.
    #[default]
    Unknown,
    /// Works.
    Ok,
    /// Works for now; the source does not answer as it should.
    Stale,
    /// Does not answer.
    Down,
    /// Locked for a time.
    Locked,
    /// Missing.
    Missing,
    /// Refused until an operator repairs it.
    Refused,
}

impl ComponentHealth {
    /// Whether an operator should check it.
    pub fn is_degraded(self) -> bool {
        !matches!(self, Self::Ok | Self::Unknown)
    }
}

/// One failed refresh is a disturbance.
const FAILURES_THAT_TELL: u32 = 2;

/// State of all parts; with several destinations the worst one counts.
#[derive(Clone, Copy, Debug, Default)]
pub struct HealthReport {
    /// Destination service and content.
    pub destination: ComponentHealth,
    /// Token of the technical user.
    pub token: ComponentHealth,
    /// CF API.
    pub cf_api: ComponentHealth,
    /// CF UAA.
    pub uaa: ComponentHealth,
    /// Keys of callers' tokens.
    pub keys: ComponentHealth,
    /// What the provider entries name.
    pub providers: ComponentHealth,
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
    /// Creates it in the phase `Starting`.
    pub fn new(
        vault: TokenVault,
        verifier: Verifier,
        routes: TenantRoutes,
        draining: CancellationToken,
    ) -> Self {
        Self { listening: Arc::default(), draining, vault, verifier, routes }
    }

    /// Notes that the listener accepts connections.
    pub fn set_listening(&self) {
        self.listening.store(true, Ordering::Release);
    }

    /// Returns the state of the parts without a call.
    pub fn parts(&self) -> HealthReport {
        let all = self.vault.statuses();
        HealthReport {
            destination: worst(all.iter().map(destination)),
            token: worst(all.iter().map(token)),
            uaa: worst(all.iter().map(uaa)),
            cf_api: ComponentHealth::Unknown,
            keys: if self.verifier.is_bound() {
                ComponentHealth::Ok
            } else {
                ComponentHealth::Missing
            },
            providers: match self.routes.provider_status() {
                ProviderStatus::Unknown => ComponentHealth::Unknown,
                ProviderStatus::Resolved => ComponentHealth::Ok,
                ProviderStatus::Unresolved => ComponentHealth::Missing,
            },
        }
    }

    /// Returns the phase of the process.
    pub fn phase(&self) -> LifecyclePhase {
        if self.draining.is_cancelled() {
            LifecyclePhase::Draining
        } else if self.listening.load(Ordering::Acquire) {
            LifecyclePhase::Up
        } else {
            LifecyclePhase::Starting
        }
    }
}

fn worst(parts: impl Iterator<Item = ComponentHealth>) -> ComponentHealth {
    parts.max().unwrap_or_default()
}

fn destination(status: &DestinationStatus) -> ComponentHealth {
    let refusal = status.last_refusal.as_ref().map(|past| &past.refusal.reason);
    match (status.source, refusal) {
        (Some(_), _) => ComponentHealth::Ok,
        (None, Some(Reason::DestinationMissing)) => ComponentHealth::Missing,
        (None, Some(Reason::DestinationInvalid { .. } | Reason::DestinationUntrusted { .. })) => {
            ComponentHealth::Refused
        }
        (None, Some(Reason::DestinationUnavailable { .. })) => ComponentHealth::Down,
        (None, _) => ComponentHealth::Unknown,
    }
}

fn token(status: &DestinationStatus) -> ComponentHealth {
    match (status.guard, status.freshness) {
        (GuardState::Rejected | GuardState::Blocked, _) => ComponentHealth::Refused,
        (GuardState::Locked, _) => ComponentHealth::Locked,
        (_, Some(Freshness::Fresh | Freshness::Ageing))
            if status.failed_refreshes >= FAILURES_THAT_TELL =>
        {
            ComponentHealth::Stale
        }
        (_, Some(Freshness::Fresh | Freshness::Ageing)) => ComponentHealth::Ok,
        (GuardState::Waiting, _) => ComponentHealth::Down,
        (_, Some(Freshness::Expired)) if status.failed_refreshes > 0 => ComponentHealth::Down,
        (GuardState::Unknown | GuardState::Good, _) => ComponentHealth::Unknown,
    }
}

fn uaa(status: &DestinationStatus) -> ComponentHealth {
    match status.guard {
        GuardState::Waiting => ComponentHealth::Down,
        GuardState::Unknown => ComponentHealth::Unknown,
        GuardState::Good | GuardState::Rejected | GuardState::Blocked | GuardState::Locked => {
            ComponentHealth::Ok
        }
    }
}
