//! Reads one destination of the Destination service ("find").
//!
//! Invariant: every call has a literal `$skipTokenRetrieval=true`, the name is one path segment,
//! and the entity tag is sent back byte for byte. Used by `cache` through `DestinationSource`.

mod answer;

use super::{
    fault::{AskedSystem, FindFault, is_failure, report},
    model::DestinationName,
    service_token::ServiceToken,
    settings::DestinationLevel,
    source::{DestinationSource, FindResponse},
};
use crate::{
    telemetry::{metrics::Metrics, trace::CorrelationId},
    upstream::{
        COMPONENT, HttpClient, HttpResponse,
        gate::{FailureKind, Gate},
        retry::{RetryDecision, retry},
    },
};
use answer::interpret;
use bytes::Bytes;
use http::{HeaderValue, Request, StatusCode, header};
use percent_encoding::utf8_percent_encode;
use std::{hash::RandomState, time::Duration};
use tokio::time::Instant;
use url::Url;

/// Largest answer that is read; see `docs/reference/destination.md`.
const CAP: usize = 256 * 1024;

/// Time for all attempts of one find, the token included. An inbound request has 55 s.
const TOTAL_TIME: Duration = Duration::from_secs(40);

/// A correlation id that the service writes into its own log.
const CORRELATION: &str = "x-correlationid";

/// One bound Destination service; a clone is shallow.
#[derive(Clone, Debug)]
pub(super) struct DestinationClient {
    pub(super) http: HttpClient,
    pub(super) service: Url,
    pub(super) level: Option<DestinationLevel>,
    pub(super) token: ServiceToken,
    pub(super) gate: Gate,
    pub(super) metrics: Metrics,
    /// Keyed at random per process: recognises equal contents without storing them.
    pub(super) digest: RandomState,
}

impl DestinationSource for DestinationClient {
    /// SAP recommends 3–5 min, on demand.
    const SOFT_TTL: Duration = Duration::from_secs(5 * 60);

    const NAME: &'static str = "Destination service";

    async fn find(
        &self,
        name: &DestinationName,
        tag: Option<&HeaderValue>,
    ) -> Result<FindResponse, FindFault> {
        let deadline = Instant::now() + TOTAL_TIME;
        let mut attempts = 0;
        let attempt = || {
            attempts += 1;
            if attempts > 1 {
                self.metrics.upstream_retried("destination");
            }
            self.attempt(name, tag)
        };
        retry(deadline, attempt, AttemptError::again).await.map_err(AttemptError::into_fault)
    }
}

/// Which of the two calls failed.
enum AttemptError {
    Token(FindFault),
    Find(FindFault),
}

impl AttemptError {
    fn again(&self) -> RetryDecision {
        match self {
            // The token call has already been retried.
            Self::Token(_) => RetryDecision::No,
            Self::Find(fault) => fault.again(),
        }
    }

    fn into_fault(self) -> FindFault {
        match self {
            Self::Token(fault) | Self::Find(fault) => fault,
        }
    }
}

impl DestinationClient {
    /// One find. A 401 evicts the token and the call is repeated once with a new one.
    async fn attempt(
        &self,
        name: &DestinationName,
        tag: Option<&HeaderValue>,
    ) -> Result<FindResponse, AttemptError> {
        let lease = self.token.lease().await.map_err(AttemptError::Token)?;
        let answer =
            self.send(name, tag, lease.authorization()).await.map_err(AttemptError::Find)?;
        if answer.status != StatusCode::UNAUTHORIZED {
            return interpret(&answer, tag, &self.digest).map_err(AttemptError::Find);
        }
        self.token.evict(&lease);
        let lease = self.token.lease().await.map_err(AttemptError::Token)?;
        let answer =
            self.send(name, tag, lease.authorization()).await.map_err(AttemptError::Find)?;
        interpret(&answer, tag, &self.digest).map_err(AttemptError::Find)
    }

    async fn send(
        &self,
        name: &DestinationName,
        tag: Option<&HeaderValue>,
        authorization: &HeaderValue,
    ) -> Result<HttpResponse, FindFault> {
        let request = self.request(name, tag, authorization)?;
        let asked = AskedSystem::DestinationService;
        let permit =
            self.gate.enter().await.map_err(|error| FindFault::held_back(&error, asked))?;
        let began = Instant::now();
        match self.http.fetch(request, CAP).await {
            Ok(answer) => {
                let status = answer.status;
                self.metrics.upstream_called(
                    "destination",
                    "find",
                    status.as_u16(),
                    began.elapsed(),
                );
                if is_failure(status) {
                    permit.failed(FailureKind::Response);
                } else {
                    permit.succeeded();
                }
                Ok(answer)
            }
            Err(error) => {
                report(permit, &error);
                Err(FindFault::transport(&error, asked))
            }
        }
    }

    fn request(
        &self,
        name: &DestinationName,
        tag: Option<&HeaderValue>,
        authorization: &HeaderValue,
    ) -> Result<Request<Bytes>, FindFault> {
        let base = self.service.as_str().trim_end_matches('/');
        let name = utf8_percent_encode(name.as_str(), COMPONENT);
        let path = match self.level {
            None => format!("v1/destinations/{name}"),
            Some(DestinationLevel::Subaccount) => format!("v2/destinations/{name}@subaccount"),
        };
        let correlation = CorrelationId::random();
        let mut request = Request::get(format!(
            "{base}/destination-configuration/{path}?$skipTokenRetrieval=true"
        ))
        .header(header::AUTHORIZATION, authorization)
        .header(header::ACCEPT, "application/json")
        .header(CORRELATION, correlation.as_str());
        if let Some(tag) = tag {
            request = request.header(header::IF_NONE_MATCH, tag);
        }
        request
            .body(Bytes::new())
            .map_err(|_| FindFault::Refused("its address in the binding cannot be used"))
    }
}

#[cfg(test)]
mod tests;
