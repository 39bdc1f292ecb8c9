//! Answers without the headers that all answers share. Invariant: if CC sends an answer without
//! body or content type, it gets none here.

use axum::body::Body;
use axum::response::Response;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, LOCATION};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use crate::capi::errors::ApiRefusal;
use crate::capi::json::Json;

/// The content type of the v3 API.
const JSON: &str = "application/json; charset=utf-8";
/// The content type of the root, of v2 and of other paths outside v3 (no space after the semicolon;
/// recorded).
const OLD_JSON: &str = "application/json;charset=utf-8";
const TEXT: &str = "text/plain; charset=utf-8";
/// The header that marks a real call that the sandbox does not imitate.
pub(crate) const UNCOVERED: &str = "x-sandbox-uncovered";

/// What a handler returns.
pub(crate) type Reply = Result<Answer, ApiRefusal>;

/// An answer.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) family: AnswerFamily,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

/// The part of the Cloud Controller that answers. Each part has its own set of headers (recorded).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AnswerFamily {
    /// Rails: the v3 API.
    V3,
    /// Rails, before its default headers are set: crashes.
    Crash,
    /// Sinatra: the root and v2.
    Old,
    /// The health check and the rate limiter.
    Plain,
    /// The check of the token, before any other part of CC has seen the request.
    TokenCheck,
    /// The HTTP server, before any part of CC has seen the request.
    Server,
}

impl Answer {
    /// 200 with JSON.
    pub(crate) fn ok(body: &Json) -> Self {
        Self::json(StatusCode::OK, body)
    }

    pub(crate) fn json(status: StatusCode, body: &Json) -> Self {
        Self::typed(status, AnswerFamily::V3, JSON, body.render())
    }

    /// JSON as the root and v2 send it.
    pub(crate) fn old_json(status: StatusCode, body: &Json) -> Self {
        Self::typed(status, AnswerFamily::Old, OLD_JSON, body.render())
    }

    /// 202 with the address of a job: an empty body, but with a content type, which follows
    /// `Accept` (recorded).
    pub(crate) fn accepted(location: &str, accept: &str) -> Self {
        let (status, kind) = (StatusCode::ACCEPTED, media_type(accept));
        Self::typed(status, AnswerFamily::V3, kind, String::new()).with(LOCATION, location)
    }

    /// 204.
    pub(crate) fn no_content() -> Self {
        Self::bare(StatusCode::NO_CONTENT, AnswerFamily::V3)
    }

    /// The page of a crash before the API: the query holds bytes that are not UTF-8.
    pub(crate) fn crash() -> Self {
        let text = "500 Internal Server Error\nIf you are the administrator of this website, then please read this web application's log file and/or the web server's log file to find out what went wrong.";
        Self::typed(StatusCode::INTERNAL_SERVER_ERROR, AnswerFamily::Crash, TEXT, text.to_owned())
    }

    /// The answer to a body with an empty content type.
    pub(crate) fn not_acceptable() -> Self {
        let status = StatusCode::NOT_ACCEPTABLE;
        Self::typed(status, AnswerFamily::Crash, "text/html; charset=utf-8", String::new())
    }

    /// The answer to a browser's question before a request from another origin.
    pub(crate) fn preflight() -> Self {
        Self::typed(StatusCode::OK, AnswerFamily::Plain, "text/plain", String::new())
    }

    /// The answer of the HTTP server to a query that is too long: an empty 400.
    pub(crate) fn query_too_long() -> Self {
        Self::server(StatusCode::BAD_REQUEST)
    }

    /// The server's answer to an error that no part of CC handles: an empty body without a content
    /// type.
    pub(crate) fn server(status: StatusCode) -> Self {
        Self::bare(status, AnswerFamily::Server)
    }

    /// 502 from the check of the token. CC names the content type in a header `Content-Type:`. The
    /// server drops it, because the name is not valid (source).
    pub(crate) fn token_check(body: String) -> Self {
        Self { body, ..Self::bare(StatusCode::BAD_GATEWAY, AnswerFamily::TokenCheck) }
    }

    /// JSON with the content type of text, as the rate limiter sends it, and of JSON with a 401
    /// (recorded).
    pub(crate) fn limited(status: StatusCode, body: &Json) -> Self {
        let kind = if status == StatusCode::UNAUTHORIZED { "application/json" } else { TEXT };
        Self::typed(status, AnswerFamily::Plain, kind, body.render())
    }

    /// `OK` with the content type of JSON (recorded).
    pub(crate) fn healthy() -> Self {
        Self::typed(StatusCode::OK, AnswerFamily::Plain, "application/json", "OK".to_owned())
    }

    /// A real call that the sandbox does not imitate. It has its own status, so that no test takes
    /// it for a refusal of CC.
    pub(crate) fn uncovered() -> Self {
        let text = "The sandbox does not imitate this call of the Cloud Controller.\n";
        Self::typed(StatusCode::NOT_IMPLEMENTED, AnswerFamily::Server, TEXT, text.to_owned())
            .with(HeaderName::from_static(UNCOVERED), "true")
    }

    /// Returns whether a body was rendered, as opposed to a head alone.
    pub(crate) fn is_rendered(&self) -> bool {
        !self.body.is_empty()
    }

    /// Adds a header. A value that is not allowed in a header is left out.
    #[must_use]
    pub(crate) fn with(mut self, name: HeaderName, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.insert(name, value);
        }
        self
    }

    /// Makes the response. HEAD gets the length without the body.
    pub(crate) fn into_response(self, head: bool) -> Response {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = self.status;
        *response.headers_mut() = self.headers;
        if self.status != StatusCode::NO_CONTENT {
            let length = HeaderValue::from(self.body.len());
            response.headers_mut().insert(CONTENT_LENGTH, length);
        }
        if !head {
            *response.body_mut() = Body::from(self.body);
        }
        response
    }

    fn bare(status: StatusCode, family: AnswerFamily) -> Self {
        Self { status, family, headers: HeaderMap::new(), body: String::new() }
    }

    fn typed(status: StatusCode, family: AnswerFamily, kind: &'static str, body: String) -> Self {
        let mut answer = Self::bare(status, family);
        answer.headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        answer.body = body;
        answer
    }
}

/// Returns the type that Rails gives an empty body: the first that it knows of those that the
/// client accepts, and HTML for browsers and for any type (source).
fn media_type(accept: &str) -> &'static str {
    const HTML: &str = "text/html";
    if accept.split(',').count() > 1 && accept.contains("*/*") {
        return HTML;
    }
    let known = accept.split(',').find_map(|range| {
        let name = range.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        match name.as_str() {
            "application/json" | "text/x-json" => Some("application/json"),
            "application/xml" | "text/xml" => Some("application/xml"),
            "text/plain" => Some("text/plain"),
            HTML | "application/xhtml+xml" => Some(HTML),
            _ => None,
        }
    });
    known.unwrap_or(HTML)
}

impl From<ApiRefusal> for Answer {
    fn from(refusal: ApiRefusal) -> Self {
        Self::json(refusal.status, &refusal.body())
    }
}
