//! Interprets the Destination service's answer to a find; the table of statuses is in
//! `docs/reference/destination.md`.
//!
//! Invariant: only properties and their digest are taken from a body; error texts are dropped. Used
//! by `client`.

use crate::{
    binding::Fields,
    destination::{
        fault::{AskedSystem, FindFault, pause},
        model::SourceKind,
        source::{Content, FindResponse},
    },
    upstream::{HttpResponse, body::decode},
};
use http::{HeaderValue, header};
use serde::de::IgnoredAny;
use std::hash::{BuildHasher, RandomState};

const KEY_STORE: &str = "tokenService.KeyStoreLocation";
const TRUST_STORE: &str = "TrustStoreLocation";

/// Maps status and body to a result. `digest` recognises equal bodies.
pub(super) fn interpret(
    answer: &HttpResponse,
    tag: Option<&HeaderValue>,
    digest: &RandomState,
) -> Result<FindResponse, FindFault> {
    let unreadable = || FindFault::unreadable(AskedSystem::DestinationService);
    let request_id = answer.headers.get("x-request-id").and_then(|id| id.to_str().ok());
    let status = answer.status.as_u16();
    tracing::debug!(status, upstream_request_id = request_id, "Destination service answered");
    match status {
        200 => read(answer, digest).ok_or_else(unreadable),
        304 if tag.is_some() => Ok(FindResponse::Unchanged),
        404 if decode::<ErrorBody>(&answer.body).is_ok() => Ok(FindResponse::Absent),
        // Not from the service: misrouted, or the service is down behind its router.
        300..=399 | 404 | 405 | 406 | 415 => Err(unreadable()),
        400..=499 if is_page(&answer.body) && !matches!(status, 401 | 408 | 429) => {
            Err(unreadable())
        }
        401 => Err(FindFault::Refused(
            "the Destination service refused the binding (401): create a new binding and restart",
        )),
        403 => Err(FindFault::Refused(
            "the binding lacks permission to read destinations (403): create a new binding and restart",
        )),
        _ => {
            let (asked, pause) = (AskedSystem::DestinationService, pause(&answer.headers));
            let passing = FindFault::passing(answer.status, asked, pause);
            Err(passing.unwrap_or(FindFault::Refused("the Destination service refused the call")))
        }
    }
}

fn read(answer: &HttpResponse, digest: &RandomState) -> Option<FindResponse> {
    let body: FindBody = decode(&answer.body).ok()?;
    let mut fields = body.configuration;
    // The answer can contain a key store for the token call although its property is missing:
    // validation must refuse it.
    let has_key_store = body.certificates.is_some_and(|certificates| !certificates.is_empty());
    if has_key_store && !fields.has(TRUST_STORE) && !fields.has(KEY_STORE) {
        fields.push(KEY_STORE.to_owned(), "");
    }
    let by_instance = body.owner.is_some_and(|owner| owner.instance_id.is_some());
    Some(FindResponse::Content(Content {
        fields,
        source: if by_instance { SourceKind::InstanceLevel } else { SourceKind::SubaccountLevel },
        tag: answer.headers.get(header::ETAG).cloned(),
        digest: digest.hash_one(answer.body.as_slice()),
    }))
}

/// Whether a body is HTML. The service answers with JSON or plain text.
fn is_page(body: &[u8]) -> bool {
    body.trim_ascii_start().starts_with(b"<")
}

#[derive(serde::Deserialize)]
struct FindBody {
    #[serde(rename = "destinationConfiguration")]
    configuration: Fields,
    owner: Option<Owner>,
    certificates: Option<Vec<IgnoredAny>>,
}

#[derive(serde::Deserialize)]
struct Owner {
    #[serde(rename = "InstanceId")]
    instance_id: Option<String>,
}

#[derive(serde::Deserialize)]
struct ErrorBody {
    #[serde(rename = "ErrorMessage")]
    _message: String,
}
