//! `GET /openapi.json`: the API for tools, in the form of `OpenAPI` 3.1.
//!
//! Invariant: the document is a file of the repository. A test makes it from the code and fails if
//! they differ (`src/http/openapi.rs`).

use axum::response::IntoResponse;
use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};

/// The document.
pub(crate) const DOCUMENT: &str = include_str!("../../../docs/openapi.json");

/// Answers from memory, without authentication: the document holds nothing of an installation.
#[cfg_attr(test, utoipa::path(
    get, path = "/openapi.json", operation_id = "read_openapi", tag = "problems",
    summary = "This document",
    responses((status = 200, description = "The document", body = Object)),
    security(())
))]
pub(crate) async fn read() -> impl IntoResponse {
    (
        [(CONTENT_TYPE, "application/json"), (CACHE_CONTROL, "public, max-age=300")],
        Bytes::from_static(DOCUMENT.as_bytes()),
    )
}
