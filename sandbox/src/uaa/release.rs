//! Two releases of UAA, and how a refusal leaves each of them. Invariant: the state of the UAA is
//! the same in both, only what is said differs. Called by `uaa`, its pages and its faults.

use axum::body::Body;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};

use crate::levers::echo::html_escaped;
use crate::oauth::{OAuthRefusal, UNAUTHORIZED_GRANT, json_answer};

/// The page of UAA's own errors.
const ERROR_PAGE: &str = "<!DOCTYPE html><html><head><title>Error</title></head><body><p>Something went amiss.</p></body></html>";

/// The releases that were put beside the sandbox.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum UaaRelease {
    /// 77.18.0.
    #[default]
    New,
    /// 4.30.0. A wrong password is `unauthorized` (until 76.26), descriptions are HTML-escaped
    /// (until 77.9), and the JWT-bearer grant brings no refresh token.
    Old,
}

impl UaaRelease {
    /// Finds a release by its number.
    pub(crate) fn named(number: &str) -> Option<Self> {
        [Self::New, Self::Old].into_iter().find(|release| release.number() == number)
    }

    /// Returns the number, as in `/info`.
    pub(crate) fn number(self) -> &'static str {
        match self {
            Self::New => "77.18.0",
            Self::Old => "4.30.0",
        }
    }

    /// Returns the text about a POST without a CSRF token: the path belongs to the login pages.
    pub(crate) fn csrf_text(self) -> &'static str {
        match self {
            Self::New => {
                "Could not verify the provided CSRF token because no token was found to compare."
            }
            Self::Old => {
                "Could not verify the provided CSRF token because your session was not found."
            }
        }
    }

    /// Returns the refusal with this release's word for wrong credentials.
    pub(crate) fn worded(self, refusal: OAuthRefusal) -> OAuthRefusal {
        let is_old_word = self == Self::Old
            && refusal.error == "invalid_client"
            && refusal.description != UNAUTHORIZED_GRANT;
        if !is_old_word {
            return refusal;
        }
        OAuthRefusal { error: "unauthorized".to_owned(), ..refusal }
    }

    /// Returns the answer to a client that sent these headers. Its `WWW-Authenticate` is not
    /// escaped (source).
    pub(crate) fn answer(self, refusal: &OAuthRefusal, headers: &HeaderMap) -> Response<Body> {
        if refusal.is_unexplained() {
            return unexplained(refusal.status, headers);
        }
        match self {
            Self::New => refusal.answer(),
            Self::Old => refusal.answer_with(&html_escaped(&refusal.description)),
        }
    }
}

/// UAA's own error: an empty object for those who accept JSON, else a page.
fn unexplained(status: StatusCode, headers: &HeaderMap) -> Response<Body> {
    let accepted = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
    let mut answer = if accepted.is_some_and(|accepted| accepted.contains("application/json")) {
        json_answer(status, &serde_json::json!({}))
    } else {
        let mut page = Response::new(Body::from(ERROR_PAGE));
        *page.status_mut() = status;
        let html = HeaderValue::from_static("text/html;charset=UTF-8");
        page.headers_mut().insert(header::CONTENT_TYPE, html);
        page
    };
    answer.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}
