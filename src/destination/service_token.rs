//! The broker's own token for the Destination service: client credentials at the binding's XSUAA.
//!
//! Invariant: one grant in flight; a token that is still valid is used while its successor is
//! fetched; only the provider's own credentials are used. Used by `client`.

use super::{
    fault::{AskedSystem, FindFault, Transient, is_failure, report},
    service_lease::ServiceLease,
};
use crate::{
    oauth::{ExchangeError, Fault, Grant, TokenEndpoint, TokenResponse},
    telemetry::metrics::Metrics,
    upstream::{
        gate::{FailureKind, Gate, GateError},
        retry::retry,
    },
};
use http::StatusCode;
use std::{
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

/// Time for all attempts of one grant. The find after it must still fit into the 55 s of an inbound
/// request.
const TOTAL_TIME: Duration = Duration::from_secs(20);

/// Pause after a failed background renewal.
const RENEWAL_PAUSE: Duration = Duration::from_secs(30);

/// Hands out the token; a clone is shallow.
#[derive(Clone, Debug)]
pub(super) struct ServiceToken(Arc<ServiceTokenInner>);

struct ServiceTokenInner {
    endpoint: TokenEndpoint,
    gate: Gate,
    tasks: TaskTracker,
    metrics: Metrics,
    held: Mutex<Option<Arc<ServiceLease>>>,
    /// Locked by the caller that asks XSUAA; holds the last failure.
    grant_lock: Arc<tokio::sync::Mutex<Option<FailedGrant>>>,
    /// Number of finished grants.
    finished: AtomicU64,
}

/// A failed grant, shared with the callers that waited for it.
struct FailedGrant {
    at: Instant,
    fault: FindFault,
}

impl ServiceToken {
    /// `gate` is the gate of XSUAA's host.
    pub(super) fn new(
        endpoint: TokenEndpoint,
        gate: Gate,
        tasks: TaskTracker,
        metrics: Metrics,
    ) -> Self {
        let held = Mutex::new(None);
        let grant_lock = Arc::new(tokio::sync::Mutex::new(None));
        Self(Arc::new(ServiceTokenInner {
            endpoint,
            gate,
            tasks,
            metrics,
            held,
            grant_lock,
            finished: AtomicU64::new(0),
        }))
    }

    /// Returns a token that the service will accept for some time.
    ///
    /// # Errors
    /// XSUAA refused the binding, or is not available.
    pub(super) async fn lease(&self) -> Result<Arc<ServiceLease>, FindFault> {
        let asked_at = Instant::now();
        if let Some(lease) = self.usable(asked_at) {
            if lease.renew_at <= asked_at {
                self.renew_in_background(asked_at);
            }
            return Ok(lease);
        }
        let finished = self.0.finished.load(Ordering::Acquire);
        let mut last_failure = self.0.grant_lock.lock().await;
        if let Some(lease) = self.usable(Instant::now()) {
            return Ok(lease);
        }
        // A caller that waited for a grant shares its failure.
        match last_failure.as_ref() {
            Some(failed) if finished != self.0.finished.load(Ordering::Acquire) => {
                return Err(failed.fault.clone());
            }
            Some(_) | None => {}
        }
        let outcome = self.fetch().await;
        *last_failure = self.remember(&outcome);
        outcome
    }

    /// Removes a refused token, if it is still the current one.
    pub(super) fn evict(&self, used: &Arc<ServiceLease>) {
        let mut held = self.0.held.lock().unwrap_or_else(PoisonError::into_inner);
        if held.as_ref().is_some_and(|current| Arc::ptr_eq(current, used)) {
            *held = None;
        }
    }

    fn usable(&self, now: Instant) -> Option<Arc<ServiceLease>> {
        let held = self.0.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.as_ref().filter(|lease| now < lease.serve_until).cloned()
    }

    fn renew_in_background(&self, now: Instant) {
        let Ok(mut last_failure) = Arc::clone(&self.0.grant_lock).try_lock_owned() else {
            return;
        };
        if last_failure.as_ref().is_some_and(|failed| now < failed.at + RENEWAL_PAUSE) {
            return;
        }
        let token = self.clone();
        self.0.tasks.spawn(async move {
            let outcome = token.fetch().await;
            if let Err(fault) = &outcome {
                let cause = fault.cause();
                tracing::warn!(cause, "token for the Destination service was not renewed");
            }
            *last_failure = token.remember(&outcome);
        });
    }

    fn remember(&self, outcome: &Result<Arc<ServiceLease>, FindFault>) -> Option<FailedGrant> {
        self.0.finished.fetch_add(1, Ordering::Release);
        match outcome {
            Ok(lease) => {
                let mut held = self.0.held.lock().unwrap_or_else(PoisonError::into_inner);
                *held = Some(Arc::clone(lease));
                None
            }
            Err(fault) => Some(FailedGrant { at: Instant::now(), fault: fault.clone() }),
        }
    }

    async fn fetch(&self) -> Result<Arc<ServiceLease>, FindFault> {
        let deadline = Instant::now() + TOTAL_TIME;
        let mut attempts = 0;
        let attempt = || {
            attempts += 1;
            if attempts > 1 {
                self.0.metrics.upstream_retried("xsuaa");
            }
            self.ask()
        };
        let answer = retry(deadline, attempt, FindFault::again).await?;
        Ok(Arc::new(ServiceLease::of(&answer)))
    }

    async fn ask(&self) -> Result<TokenResponse, FindFault> {
        let held_back = |error: GateError| FindFault::held_back(&error, AskedSystem::Xsuaa);
        let permit = self.0.gate.enter().await.map_err(held_back)?;
        let began = Instant::now();
        match self.0.endpoint.exchange(&Grant::ClientCredentials).await {
            Ok(answer) => {
                permit.succeeded();
                self.called(StatusCode::OK, began.elapsed());
                Ok(answer)
            }
            Err(ExchangeError::Transport(error)) => {
                report(permit, &error);
                Err(FindFault::transport(&error, AskedSystem::Xsuaa))
            }
            Err(ExchangeError::Refused(fault)) => {
                self.called(fault.status, began.elapsed());
                if is_failure(fault.status) {
                    permit.failed(FailureKind::Response);
                } else {
                    permit.succeeded();
                }
                Err(refused(&fault))
            }
        }
    }

    fn called(&self, status: StatusCode, took: Duration) {
        self.0.metrics.upstream_called("xsuaa", "token", status.as_u16(), took);
    }
}

impl fmt::Debug for ServiceTokenInner {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("ServiceToken").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}

fn refused(fault: &Fault) -> FindFault {
    if let Some(passing) = FindFault::passing(fault.status, AskedSystem::Xsuaa, fault.retry_after) {
        return passing;
    }
    // Without an OAuth error it did not come from a token endpoint: a router, a proxy.
    if fault.status.is_success() || fault.error.is_none() {
        return FindFault::transient(Transient::Unreadable, AskedSystem::Xsuaa);
    }
    FindFault::Refused(
        "XSUAA refused the credentials of the Destination service's binding: create a new \
         binding and restart",
    )
}
