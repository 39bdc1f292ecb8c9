//! The outcome of one attempt: what the gate learns from it, and whether the call is repeated.
//!
//! Invariant: 4xx never count against the upstream's health. A call that is not idempotent is never
//! sent twice once it may have arrived. Callers: this module.

use super::{Call, answer, call::RetrySafety, error::CapiError, stream::CfResponse};
use crate::upstream::{
    ConnectFault, HttpResponse, StreamedResponse, TransportError,
    gate::{CallPermit, FailureKind},
    retry::{Backoff, RetryDecision, asked_pause},
};
use http::{HeaderValue, Method, StatusCode};
use memchr::memmem;
use std::time::Duration;
use tokio::time::Instant;

/// A shorter text is no token: it would be found anywhere.
const SHORTEST_TOKEN: usize = 16;
/// Longest `Retry-After` of a 429 that a call waits for.
const SHORT_LIMIT: Duration = Duration::from_secs(5);

/// Returns whether and when a call is repeated: the row of the CF API in the table of repeats
/// (`docs/reference/limits.md`).
pub(super) fn decide_retry(call: &Call, outcome: Result<&CfResponse, &CapiError>) -> RetryDecision {
    let backoff = RetryDecision::WithBackoff(Backoff::CF_API);
    if call.repeats == RetrySafety::Never {
        return RetryDecision::No;
    }
    match outcome {
        Ok(reply) if call.is_read() && is_hiccup(call, reply) => backoff,
        Ok(reply) if !call.is_idempotent() || reply.status().is_success() => RetryDecision::No,
        Ok(reply) => match reply.status() {
            StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT => backoff,
            StatusCode::TOO_MANY_REQUESTS => asked_pause(reply.headers(), answer::MAX_PAUSE)
                .filter(|pause| *pause <= SHORT_LIMIT)
                .map_or(RetryDecision::No, RetryDecision::After),
            _ => RetryDecision::No,
        },
        Err(CapiError::Unavailable { cause, .. })
            if cause.may_pass() && (cause.is_before_sending() || call.is_idempotent()) =>
        {
            backoff
        }
        Err(_) => RetryDecision::No,
    }
}

/// Whether a read may get another response a moment later: 500, or 200 without a body. A delete
/// that was answered with 500 may have been executed, so its caller looks first.
fn is_hiccup(call: &Call, reply: &CfResponse) -> bool {
    match reply.status() {
        StatusCode::INTERNAL_SERVER_ERROR => true,
        StatusCode::OK => call.method == Method::GET && reply.is_empty(),
        _ => false,
    }
}

/// The response of one attempt.
#[derive(Debug)]
pub(super) enum RawResponse {
    Whole(HttpResponse),
    Streamed(StreamedResponse),
}

impl RawResponse {
    /// Overwrites the technical user's token in an error: its text is shown to callers.
    pub(super) fn without(self, authorization: &HeaderValue) -> Self {
        let Self::Whole(mut answer) = self else { return self };
        let token = authorization.to_str().ok().and_then(|text| text.rsplit(' ').next());
        if let Some(token) =
            token.filter(|token| token.len() >= SHORTEST_TOKEN && answer.status.as_u16() >= 400)
        {
            let found: Vec<_> = memmem::find_iter(&answer.body, token).collect();
            for at in found {
                answer.body.iter_mut().skip(at).take(token.len()).for_each(|byte| *byte = b'*');
            }
        }
        Self::Whole(answer)
    }
}

/// Reports the outcome to the gate. 4xx, also 429, are successes of the transport. A 500 with CC's
/// own error body counts as neither: one caller could provoke it for all (decision 8). A body that
/// still arrives keeps its permit.
pub(super) fn report(
    permit: CallPermit,
    received: Result<RawResponse, TransportError>,
) -> Result<CfResponse, TransportError> {
    match received {
        Ok(RawResponse::Streamed(streamed)) if !answer::is_of_router(&streamed.headers) => {
            Ok(CfResponse::Streamed(streamed, permit))
        }
        // The page is not read: it is never passed on.
        Ok(RawResponse::Streamed(streamed)) => {
            permit.failed(FailureKind::Response);
            let StreamedResponse { status, headers, .. } = streamed;
            let body = Vec::new().into();
            Ok(CfResponse::Whole(HttpResponse { status, headers, body, sent_at: Instant::now() }))
        }
        Ok(RawResponse::Whole(answer)) => {
            if answer::is_about_the_request(&answer) {
                drop(permit);
            } else if answer.status.is_server_error() || answer::is_of_router(&answer.headers) {
                permit.failed(FailureKind::Response);
            } else {
                permit.succeeded();
            }
            Ok(CfResponse::Whole(answer))
        }
        Err(error) => {
            match &error {
                TransportError::TooLarge => permit.succeeded(),
                // After a refused certificate an open breaker would hide what must be repaired.
                TransportError::Connect { kind: ConnectFault::TlsCertificate, .. }
                | TransportError::Refused => drop(permit),
                TransportError::Connect { .. } => permit.failed(FailureKind::Connect),
                TransportError::Timeout { .. }
                | TransportError::Interrupted { .. }
                | TransportError::Unreadable { .. } => permit.failed(FailureKind::Response),
            }
            Err(error)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::report;
    use crate::{
        telemetry::metrics::Metrics,
        upstream::{ConnectFault, TransportError, gate::Gate},
    };

    /// Calls until the gate admits no further one, at most twenty.
    async fn calls_until_open(kind: ConnectFault) -> usize {
        let gate = Gate::new("cf", 1, Metrics::default());
        for calls in 0..20 {
            let Ok(permit) = gate.enter().await else { return calls };
            drop(report(permit, Err(TransportError::Connect { kind, source: None })));
        }
        20
    }

    #[tokio::test(start_paused = true)]
    async fn a_refused_certificate_opens_no_breaker_which_would_hide_it() {
        assert_eq!(calls_until_open(ConnectFault::TlsCertificate).await, 20);
        assert_eq!(calls_until_open(ConnectFault::Refused).await, 5);
    }
}
