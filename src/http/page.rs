//! Answers with a page: media type, policy, and the headers of all answers for browsers.
//!
//! Invariant: a page may load, run and ask only what its frame says.

use axum::response::{IntoResponse, Response};
use http::{
    HeaderName, HeaderValue, StatusCode,
    header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, VARY},
};

use crate::pages::{Frame, HtmlPage, PageScript};

/// Returns the answer with a page.
pub(crate) fn answer_page(status: StatusCode, page: &impl HtmlPage) -> Response {
    let html = match page.render() {
        Ok(html) => html,
        Err(error) => {
            tracing::error!(%error, "page not written");
            return StatusCode::INTERNAL_SERVER_ERROR.into_response();
        }
    };
    let mut response = (status, html).into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert(VARY, HeaderValue::from_static("Accept"));
    if let Ok(policy) = HeaderValue::try_from(policy_of(page.frame())) {
        headers.insert(CONTENT_SECURITY_POLICY, policy);
    }
    if page.frame().names_origin() {
        // With `no-referrer` a browser writes `Origin: null` for the forms of a page.
        headers.insert(REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    }
    response
}

/// Returns the content security policy of a page.
fn policy_of(frame: &Frame) -> String {
    let script = match frame.script() {
        PageScript::None => "",
        PageScript::Local => " script-src 'self';",
        PageScript::Live | PageScript::OnDemand => " script-src 'self'; connect-src 'self';",
    };
    format!(
        "default-src 'none'; style-src 'self'; img-src 'self';{script} base-uri 'none'; \
         form-action 'self'; frame-ancestors 'none'"
    )
}

/// The headers of every answer of the broker's own paths: a browser must not frame, guess, store or
/// leak it. The first one is for answers that are no page.
pub(crate) const BROWSER_HEADERS: [(HeaderName, HeaderValue); 7] = [
    (
        CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(
            "default-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
        ),
    ),
    (http::header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
    (REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    (
        HeaderName::from_static("cross-origin-opener-policy"),
        HeaderValue::from_static("same-origin"),
    ),
    (
        HeaderName::from_static("cross-origin-resource-policy"),
        HeaderValue::from_static("same-origin"),
    ),
    (
        HeaderName::from_static("permissions-policy"),
        HeaderValue::from_static(
            "accelerometer=(), autoplay=(), camera=(), clipboard-read=(), \
             cross-origin-isolated=(), display-capture=(), encrypted-media=(), fullscreen=(), \
             gamepad=(), geolocation=(), gyroscope=(), hid=(), idle-detection=(), \
             keyboard-map=(), magnetometer=(), microphone=(), midi=(), payment=(), \
             picture-in-picture=(), publickey-credentials-get=(), screen-wake-lock=(), serial=(), \
             storage-access=(), sync-xhr=(), usb=(), window-management=(), \
             xr-spatial-tracking=()",
        ),
    ),
    (http::header::STRICT_TRANSPORT_SECURITY, HeaderValue::from_static("max-age=31536000")),
];
