//! What a response of the CF API means: the fault table of CF as functions
//! (`docs/reference/real-systems.md`).
//!
//! Invariant: status and code decide, not the detail text. Error bodies are parsed whatever their
//! content type; `null`, HTML and empty bodies are accepted. Callers: this module.

use super::{
    error::{CapiError, ErrorResponse, Unavailability},
    model::CapiErrors,
};
use crate::upstream::{HttpResponse, body, retry::asked_pause};
use http::{HeaderMap, HeaderName, StatusCode, header};
use serde::de::DeserializeOwned;
use std::time::Duration;

/// Set by the platform's router on responses of its own.
static ROUTER_ERROR: HeaderName = HeaderName::from_static("x-cf-routererror");
/// CF's request id.
pub(super) static REQUEST_ID: HeaderName = HeaderName::from_static("x-vcap-request-id");

/// CF-InvalidAuthToken.
const INVALID_TOKEN: u32 = 1000;
/// CF-NotAuthorized.
const NOT_AUTHORIZED: u32 = 10003;
/// CF-ResourceNotFound.
const RESOURCE_NOT_FOUND: u32 = 10010;
/// CF-RateLimitExceeded.
const RATE_LIMIT: u32 = 10013;
/// CF-IPBasedRateLimitExceeded.
const ADDRESS_RATE_LIMIT: u32 = 10014;

/// Longest pause that a 429 may ask for: CF's own window is an hour.
pub(super) const MAX_PAUSE: Duration = Duration::from_secs(3600);
/// Pause after a 429 without `Retry-After`: the limit of nginx, which counts by token.
pub(super) const DEFAULT_PAUSE: Duration = Duration::from_secs(30);

/// What to do after a 401.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unauthenticated {
    /// The token was refused: renew once, replay once. Also when the error code cannot be read.
    Renew,
    /// Our request had no usable header: renewing would not help.
    Bug,
}

/// Classifies a 401.
pub(super) fn unauthenticated(answer: &HttpResponse) -> (Unauthenticated, Option<u32>) {
    let code = errors(answer).code();
    match code {
        Some(INVALID_TOKEN) | None => (Unauthenticated::Renew, code),
        Some(_) => (Unauthenticated::Bug, code),
    }
}

/// Returns an error if the response must not be passed on: a page of the router or of nginx instead
/// of the Cloud Controller's response.
pub(super) fn intercepted(status: StatusCode, headers: &HeaderMap) -> Option<CapiError> {
    let after = || asked_pause(headers, MAX_PAUSE);
    if is_of_router(headers) {
        return Some(CapiError::unavailable(Unavailability::RouterPage, after()));
    }
    if status.as_u16() < 400 || !is_html(headers) {
        return None;
    }
    match status {
        StatusCode::TOO_MANY_REQUESTS => {
            Some(CapiError::RateLimited { retry_after: after().unwrap_or(DEFAULT_PAUSE) })
        }
        StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT => {
            Some(CapiError::unavailable(Unavailability::RouterPage, after()))
        }
        // Any other page is a response like any other: a retry would give the same.
        _ => None,
    }
}

/// Returns whether a 500 is about this request only: it has CC's own error body, which CC can write
/// only while it works.
pub(super) fn is_about_the_request(answer: &HttpResponse) -> bool {
    answer.status == StatusCode::INTERNAL_SERVER_ERROR
        && !is_of_router(&answer.headers)
        && errors(answer).code().is_some()
}

/// Returns whether a 429 is about the technical user as a whole. Limits of service calls, of v2 and
/// between CC and UAA are not.
pub(super) fn limits_the_user(answer: &HttpResponse) -> bool {
    answer.status == StatusCode::TOO_MANY_REQUESTS
        && matches!(errors(answer).code(), None | Some(RATE_LIMIT | ADDRESS_RATE_LIMIT))
}

/// Decodes the body of a 2xx, else returns the error.
pub(super) fn expect<T: DeserializeOwned>(answer: &HttpResponse) -> Result<T, CapiError> {
    let answer = success(answer)?;
    body::decode(&answer.body).map_err(|source| CapiError::Unreadable {
        status: answer.status,
        request_id: request_id(&answer.headers),
        source: Some(source),
    })
}

/// Returns a 2xx; turns any other response into its error.
pub(super) fn success(answer: &HttpResponse) -> Result<&HttpResponse, CapiError> {
    if answer.status.is_success() { Ok(answer) } else { Err(refusal(answer)) }
}

/// Returns whether the platform's router made the response itself.
pub(super) fn is_of_router(headers: &HeaderMap) -> bool {
    headers.contains_key(&ROUTER_ERROR)
}

/// Returns CF's request id of a response.
pub(super) fn request_id(headers: &HeaderMap) -> Option<String> {
    headers.get(&REQUEST_ID)?.to_str().ok().map(ToOwned::to_owned)
}

fn refusal(answer: &HttpResponse) -> CapiError {
    if let Some(error) = intercepted(answer.status, &answer.headers) {
        return error;
    }
    let after = asked_pause(&answer.headers, MAX_PAUSE);
    if is_error_page(answer) {
        return CapiError::unavailable(Unavailability::RouterPage, after);
    }
    let errors = errors(answer);
    let code = errors.code();
    let status = answer.status;
    let answered = ErrorResponse { status, errors, request_id: request_id(&answer.headers) };
    match (status, code) {
        (StatusCode::TOO_MANY_REQUESTS, _) => {
            CapiError::RateLimited { retry_after: after.unwrap_or(DEFAULT_PAUSE) }
        }
        (StatusCode::FORBIDDEN, Some(NOT_AUTHORIZED)) => CapiError::LacksRole(answered),
        (StatusCode::NOT_FOUND, Some(RESOURCE_NOT_FOUND)) => CapiError::NotFound(answered),
        (
            StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT,
            _,
        ) => CapiError::unavailable(Unavailability::Answered, after),
        (status, _) if status.is_server_error() => CapiError::Failed(answered),
        (status, _) if status.is_client_error() => CapiError::Refused(answered),
        (status, _) => {
            CapiError::Unreadable { status, request_id: answered.request_id, source: None }
        }
    }
}

/// An HTML page where CC would have written JSON: for the typed API it says nothing about a
/// resource.
fn is_error_page(answer: &HttpResponse) -> bool {
    let status = answer.status;
    status.as_u16() >= 400 && status != StatusCode::PAYLOAD_TOO_LARGE && is_html(&answer.headers)
}

fn errors(answer: &HttpResponse) -> CapiErrors {
    body::decode::<Option<CapiErrors>>(&answer.body).ok().flatten().unwrap_or_default()
}

fn is_html(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    kind.is_some_and(|kind| kind.trim_start().to_ascii_lowercase().starts_with("text/html"))
}

#[cfg(test)]
mod tests;
