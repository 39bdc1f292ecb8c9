//! The broker's own token for the Destination service: client credentials at the binding's XSUAA.
//!
//! Invariant: one grant in flight; a token that is still good is served while its successor is
//! fetched; only the provider's own credentials are ever used (destination.md 3). Used by `client`.

use super::{
    fault::{FindFault, Transient, failure, is_failure},
    service_lease::ServiceLease,
};
use crate::{
    oauth::{ExchangeError, Grant, TokenEndpoint, TokenResponse},
    telemetry::metrics::Metrics,
    upstream::{
        gate::{FailureKind, Gate},
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

/// Time for all attempts of one grant together: the find behind it must have its turn within the 55
/// s of an inbound request.
const TOTAL_TIME: Duration = Duration::from_secs(20);

/// After a renewal in the background has failed, the next one waits as long.
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
    /// Held by the caller that asks XSUAA; guards the memory of the last failure.
    flight: Arc<tokio::sync::Mutex<Option<FailedGrant>>>,
    /// How many flights have landed.
    landed: AtomicU64,
}

/// A failed grant: remembered for those who waited for it.
struct FailedGrant {
    at: Instant,
    fault: FindFault,
}

impl ServiceToken {
    /// `gate` is that of the XSUAA's host.
    pub(super) fn new(
        endpoint: TokenEndpoint,
        gate: Gate,
        tasks: TaskTracker,
        metrics: Metrics,
    ) -> Self {
        let held = Mutex::new(None);
        let flight = Arc::new(tokio::sync::Mutex::new(None));
        Self(Arc::new(ServiceTokenInner {
            endpoint,
            gate,
            tasks,
            metrics,
            held,
            flight,
            landed: AtomicU64::new(0),
        }))
    }

    /// Returns a token that the service will accept for a while.
    ///
    /// # Errors
    /// XSUAA refused the binding, or could not be asked.
    pub(super) async fn lease(&self) -> Result<Arc<ServiceLease>, FindFault> {
        let asked_at = Instant::now();
        if let Some(lease) = self.serviceable(asked_at) {
            if lease.renew_at <= asked_at {
                self.renew_in_background(asked_at);
            }
            return Ok(lease);
        }
        let landed = self.0.landed.load(Ordering::Acquire);
        let mut last_failure = self.0.flight.lock().await;
        if let Some(lease) = self.serviceable(Instant::now()) {
            return Ok(lease);
        }
        // Whoever waited for a flight shares its outcome.
        match last_failure.as_ref() {
            Some(failed) if landed != self.0.landed.load(Ordering::Acquire) => {
                return Err(failed.fault.clone());
            }
            Some(_) | None => {}
        }
        let outcome = self.fetch().await;
        *last_failure = self.remember(&outcome);
        outcome
    }

    /// Takes a token that was refused out of service, if it is still the one in service.
    pub(super) fn evict(&self, used: &Arc<ServiceLease>) {
        let mut held = self.0.held.lock().unwrap_or_else(PoisonError::into_inner);
        if held.as_ref().is_some_and(|current| Arc::ptr_eq(current, used)) {
            *held = None;
        }
    }

    fn serviceable(&self, now: Instant) -> Option<Arc<ServiceLease>> {
        let held = self.0.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.as_ref().filter(|lease| now < lease.serve_until).cloned()
    }

    fn renew_in_background(&self, now: Instant) {
        let Ok(mut last_failure) = Arc::clone(&self.0.flight).try_lock_owned() else {
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
        self.0.landed.fetch_add(1, Ordering::Release);
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
        let pass = self.0.gate.enter().await?;
        let began = Instant::now();
        match self.0.endpoint.exchange(&Grant::ClientCredentials).await {
            Ok(answer) => {
                pass.succeeded();
                self.called(StatusCode::OK, began.elapsed());
                Ok(answer)
            }
            Err(ExchangeError::Transport(error)) => {
                pass.failed(failure(&error));
                Err(FindFault::transport(&error))
            }
            Err(ExchangeError::Refused(fault)) => {
                self.called(fault.status, began.elapsed());
                if is_failure(fault.status) {
                    pass.failed(FailureKind::Response);
                } else {
                    pass.succeeded();
                }
                Err(refused(fault.status, fault.retry_after))
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

fn refused(status: StatusCode, retry_after: Option<Duration>) -> FindFault {
    if let Some(fault) = FindFault::passing(status, retry_after) {
        return fault;
    }
    if status.is_success() {
        return FindFault::transient(Transient::Unreadable);
    }
    FindFault::Refused(
        "XSUAA refused the credentials of the Destination service's binding: bind it anew and \
         restart",
    )
}
