//! `GET /docs`: the `OpenAPI` document for people, without authentication.

use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderValue, header::VARY};

use crate::{
    http::{handlers::openapi, state::AppState, viewer::wants_html, visitor::Visitor},
    pages::{ApiHtml, PageScript, PageSection},
};

/// Answers a browser with the page, everybody else with the document.
#[cfg_attr(test, utoipa::path(
    get, path = "/docs", operation_id = "read_docs", tag = "problems",
    summary = "This document as a page, for a browser; for everybody else the document",
    responses((status = 200, description = "The document", body = Object)),
    security(())
))]
pub(crate) async fn read(
    visitor: Visitor,
    State(state): State<AppState>,
    headers: HeaderMap,
) -> Response {
    if !wants_html(&headers) {
        let vary = [(VARY, HeaderValue::from_static("Accept"))];
        return (vary, openapi::read().await).into_response();
    }
    let site = state.site();
    let can_log_in = !visitor.is_known() && state.login.flow().is_ok();
    let log_in = can_log_in.then(|| site.link("/login?return=%2Fdocs"));
    let frame = site.frame(PageSection::Api, PageScript::OnDemand);
    let reference = state.api_reference();
    visitor.answer(|person| ApiHtml { frame: frame.seen_by(person), reference, log_in })
}
