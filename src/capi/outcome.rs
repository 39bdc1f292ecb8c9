//! What one attempt brought: what the gate learns of it, and whether the call goes out again.
//!
//! Invariant: 4xx never count against the upstream's health, and nothing that is not idempotent goes out twice once it
//! may have arrived. Callers: this room.

use super::{Call, answer, call::RetrySafety, error::CapiError, stream::CfResponse};
use crate::upstream::{
    HttpResponse, StreamedResponse, TransportError,
    gate::{CallPermit, FailureKind},
};
use http::StatusCode;
use std::time::Duration;
use tokio::time::Instant;

/// Shortest and longest pause before a retry, taken with full jitter (U2).
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// Longest `Retry-After` of a 429 that is waited for within a call (U2).
const SHORT_LIMIT: Duration = Duration::from_secs(5);

/// Says after which pause a call goes out again, if at all (`reliability.md` U2).
pub(super) fn retry_pause(
    call: &Call,
    outcome: Result<&CfResponse, &CapiError>,
    retry: u32,
) -> Option<Duration> {
    let jittered = || {
        let longest =
            FIRST_PAUSE.saturating_mul(4_u32.saturating_pow(retry + 1)).min(LONGEST_PAUSE);
        FIRST_PAUSE + longest.saturating_sub(FIRST_PAUSE).mul_f64(fastrand::f64())
    };
    if call.repeats == RetrySafety::Never {
        return None;
    }
    match outcome {
        Ok(reply) if !call.is_idempotent() || reply.status().is_success() => None,
        Ok(reply) => match reply.status() {
            StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT => Some(jittered()),
            StatusCode::TOO_MANY_REQUESTS => {
                answer::retry_after(reply.headers(), answer::MAX_PAUSE)
                    .filter(|pause| *pause <= SHORT_LIMIT)
            }
            _ => None,
        },
        Err(CapiError::Unavailable { cause, .. }) => {
            let lawful = cause.is_before_sending() || call.is_idempotent();
            (lawful && cause.may_pass()).then(jittered)
        }
        Err(_) => None,
    }
}

/// What came over the wire for one attempt.
#[derive(Debug)]
pub(super) enum RawResponse {
    Whole(HttpResponse),
    Streamed(StreamedResponse),
}

/// Tells the gate how the call went: 4xx, 429 too, are successes of the transport (U4), and a 500 in which the Cloud
/// Controller itself says that it stumbled over this request counts as neither: one caller could provoke it for all
/// (decision 8). A body that is still on its way keeps its place.
pub(super) fn report(
    permit: CallPermit,
    received: Result<RawResponse, TransportError>,
) -> Result<CfResponse, TransportError> {
    match received {
        Ok(RawResponse::Streamed(streamed)) if !answer::is_of_router(&streamed.headers) => {
            Ok(CfResponse::Streamed(streamed, permit))
        }
        // The page is not read: nobody passes it on.
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
                TransportError::Connect { .. } => permit.failed(FailureKind::Connect),
                TransportError::Timeout { .. }
                | TransportError::Interrupted { .. }
                | TransportError::Unreadable { .. } => permit.failed(FailureKind::Response),
                TransportError::Refused => drop(permit),
            }
            Err(error)
        }
    }
}
