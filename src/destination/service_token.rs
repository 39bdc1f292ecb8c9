//! The broker's own token for the Destination service: client credentials at the binding's XSUAA.
//!
//! Invariant: one grant in flight; a token that is still valid is used while its successor is
//! fetched; only the provider's own credentials are used. Used by `client`.

use super::fault::{AskedSystem, FindFault, Transient, is_failure, report};
use crate::{
    oauth::{ExchangeError, Fault, Grant, TokenEndpoint, TokenResponse, TokenWindow},
    telemetry::metrics::Metrics,
    upstream::{
        gate::{FailureKind, Gate, GateError},
        refresh::{
            FailureHold, Refreshed, Renew, RenewalAttempt, RenewalFailure, RenewalResult, ValueAge,
        },
        retry::{RetryDecision, retry},
    },
};
use http::{HeaderValue, StatusCode};
use std::{sync::Arc, time::Duration};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

/// Time for all attempts of one grant. The find after it must still fit into the 55 s of an inbound
/// request.
const TOTAL_TIME: Duration = Duration::from_secs(20);

/// Pause after a failed background renewal. Callers without a token make the next attempt at once:
/// their finds have pauses of their own.
const RENEWAL_PAUSE: Duration = Duration::from_secs(30);

/// Hands out the token; a clone is shallow.
#[derive(Clone, Debug)]
pub(super) struct ServiceToken(Refreshed<ServiceGrant>);

/// A token for the Destination service.
#[derive(Debug)]
pub(super) struct ServiceLease {
    authorization: HeaderValue,
    window: TokenWindow,
}

/// Asks XSUAA for a token.
struct ServiceGrant {
    endpoint: TokenEndpoint,
    gate: Gate,
    metrics: Metrics,
}

impl ServiceLease {
    /// `bearer <token>`, marked sensitive.
    pub(super) fn authorization(&self) -> &HeaderValue {
        &self.authorization
    }
}

impl ServiceToken {
    /// `gate` is the gate of XSUAA's host.
    pub(super) fn new(
        endpoint: TokenEndpoint,
        gate: Gate,
        tasks: TaskTracker,
        metrics: Metrics,
    ) -> Self {
        Self(Refreshed::new(ServiceGrant { endpoint, gate, metrics }, tasks))
    }

    /// Returns a token that the service will accept for some time.
    ///
    /// # Errors
    /// XSUAA refused the binding, or is not available.
    pub(super) async fn lease(&self) -> Result<Arc<ServiceLease>, FindFault> {
        self.0.get().await.map_err(|failure| failure.error)
    }

    /// Removes a refused token, if it is still the current one.
    pub(super) fn evict(&self, used: &Arc<ServiceLease>) {
        self.0.replace(used, None);
    }
}

impl Renew for ServiceGrant {
    type Value = ServiceLease;
    type Error = FindFault;

    async fn renew(&self, attempt: RenewalAttempt<Self>) -> RenewalResult<ServiceLease, FindFault> {
        let began = Instant::now();
        let fault = match self.fetch().await {
            Ok(lease) => return Ok(lease),
            Err(fault) => fault,
        };
        let is_served = |lease: Arc<ServiceLease>| self.age(&lease, began) != ValueAge::Expired;
        if attempt.previous.is_some_and(is_served) {
            let cause = fault.cause();
            tracing::warn!(cause, "token for the Destination service was not renewed");
        }
        let retry_at = Instant::now() + RENEWAL_PAUSE;
        let holds = FailureHold::Background;
        Err(RenewalFailure { holds, ..RenewalFailure::new(fault, retry_at) })
    }

    fn age(&self, lease: &ServiceLease, now: Instant) -> ValueAge {
        lease.window.freshness(now).into()
    }

    fn broken_off(&self, now: Instant) -> RenewalFailure<FindFault> {
        let (kind, again) = (Transient::Closed, RetryDecision::No);
        RenewalFailure::new(FindFault::transient(kind, AskedSystem::Xsuaa, again), now)
    }

    fn log_panic(&self) {
        tracing::error!("the grant of the token for the Destination service panicked");
    }
}

impl ServiceGrant {
    async fn fetch(&self) -> Result<ServiceLease, FindFault> {
        let deadline = Instant::now() + TOTAL_TIME;
        let mut attempts = 0;
        let attempt = || {
            attempts += 1;
            if attempts > 1 {
                self.metrics.upstream_retried("xsuaa");
            }
            self.ask()
        };
        let answer = retry(deadline, attempt, FindFault::again).await?;
        let window = TokenWindow::of(&answer);
        Ok(ServiceLease { authorization: answer.authorization, window })
    }

    async fn ask(&self) -> Result<TokenResponse, FindFault> {
        let held_back = |error: GateError| FindFault::held_back(&error, AskedSystem::Xsuaa);
        let permit = self.gate.enter().await.map_err(held_back)?;
        let began = Instant::now();
        match self.endpoint.exchange(&Grant::ClientCredentials).await {
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
        self.metrics.upstream_called("xsuaa", "token", status.as_u16(), took);
    }
}

fn refused(fault: &Fault) -> FindFault {
    if let Some(passing) = FindFault::passing(fault.status, AskedSystem::Xsuaa, fault.retry_after) {
        return passing;
    }
    // Without an OAuth error it did not come from a token endpoint: a router, a proxy.
    if fault.status.is_success() || fault.error.is_none() {
        return FindFault::unreadable(AskedSystem::Xsuaa);
    }
    FindFault::Refused(
        "XSUAA refused the credentials of the Destination service's binding: create a new \
         binding and restart",
    )
}
