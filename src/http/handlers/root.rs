//! `GET /`: the root document that CF clients read before they have a token, and the fallback
//! handler.

use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Redirect, Response},
};
use http::{HeaderMap, header::ACCEPT};
use serde::Serialize;

use crate::{
    capi::CapiClient,
    http::{problem::Problem, state::PublicBase},
};

#[derive(Debug, Serialize)]
struct RootDocument {
    links: RootDocumentLinks,
}

/// Links of the CF API's root document. A link that the broker does not offer is null, so that no
/// client goes to another server.
#[derive(Debug, Serialize)]
struct RootDocumentLinks {
    #[serde(rename = "self")]
    own: LinkBody,
    cloud_controller_v3: VersionedLinkBody,
    network_policy_v0: (),
    network_policy_v1: (),
    login: (),
    uaa: (),
    credhub: (),
    routing: (),
    logging: (),
    log_cache: (),
    log_stream: (),
    app_ssh: (),
    cloud_controller_v2: (),
}

#[derive(Debug, Serialize)]
struct LinkBody {
    href: String,
}

/// A link with the API version that CF last reported.
#[derive(Debug, Serialize)]
struct VersionedLinkBody {
    href: String,
    meta: LinkMetaBody,
}

#[derive(Debug, Serialize)]
struct LinkMetaBody {
    version: Option<String>,
}

/// Answers from memory and names the broker only. A browser is redirected to `/spaces`.
pub(crate) async fn document(
    State(base): State<PublicBase>,
    State(capi): State<CapiClient>,
    headers: HeaderMap,
) -> Response {
    if wants_html(&headers) {
        return Redirect::to(&base.link("/spaces")).into_response();
    }
    let links = RootDocumentLinks {
        own: LinkBody { href: base.link("") },
        cloud_controller_v3: VersionedLinkBody {
            href: base.link("/v3"),
            meta: LinkMetaBody { version: capi.version() },
        },
        network_policy_v0: (),
        network_policy_v1: (),
        login: (),
        uaa: (),
        credhub: (),
        routing: (),
        logging: (),
        log_cache: (),
        log_stream: (),
        app_ssh: (),
        cloud_controller_v2: (),
    };
    Json(RootDocument { links }).into_response()
}

/// Returns whether the client is a browser: `Accept` names HTML without `q=0` (RFC 9110, 12.5.1).
/// Clients of the CF API accept JSON or `*/*`.
fn wants_html(headers: &HeaderMap) -> bool {
    let lines = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let mut ranges = lines.flat_map(|line| line.split(','));
    ranges.any(|range| {
        let mut parts = range.split(';').map(str::trim);
        let html = parts.next().is_some_and(|kind| kind.eq_ignore_ascii_case("text/html"));
        let refused = |part: &str| {
            let weight = part.strip_prefix("q=").or_else(|| part.strip_prefix("Q="));
            weight.is_some_and(|q| q.parse::<f32>().is_ok_and(|q| q <= 0.0))
        };
        html && !parts.any(refused)
    })
}

/// 404 for every unknown path.
pub(crate) async fn not_found() -> Problem {
    Problem::not_found()
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, header::ACCEPT};
    use rstest::rstest;

    use super::wants_html;

    #[rstest]
    #[case("text/html,application/xhtml+xml,*/*;q=0.8", true)]
    #[case("application/json, Text/HTML;q=0.1", true)]
    #[case("application/json", false)]
    #[case("*/*", false)]
    #[case("text/html;q=0, application/json", false)]
    #[case("text/htmlx", false)]
    fn a_browser_is_recognized_by_its_accept_header(#[case] accept: &str, #[case] expected: bool) {
        let headers = HeaderMap::from_iter([(ACCEPT, accept.parse().unwrap())]);
        assert_eq!(wants_html(&headers), expected);
    }
}
