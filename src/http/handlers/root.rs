//! `GET /`: the root document that CF clients read before they have a token, and the fallback
//! handler.

use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Redirect, Response},
};
use http::{HeaderMap, header::VARY};
use serde::Serialize;

use crate::{
    capi::CapiClient,
    http::{problem::Problem, state::PublicBase, viewer::wants_html},
};

#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema), schema(as = RootDocument))]
struct RootDocument {
    /// Addresses of the broker; null where the broker offers nothing.
    #[cfg_attr(test, schema(value_type = Object))]
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
#[cfg_attr(test, utoipa::path(
    get, path = "/", operation_id = "read_root", tag = "cf api",
    summary = "The root document that clients of the CF API read first",
    responses(
        (status = 200, description = "Addresses of the broker", body = RootDocument),
        (status = 303, description = "A browser is led to `/spaces`", headers(("Location" = String, description = "`/spaces`"))),
    ),
    security(())
))]
pub(crate) async fn document(
    State(base): State<PublicBase>,
    State(capi): State<CapiClient>,
    headers: HeaderMap,
) -> Response {
    if wants_html(&headers) {
        return varying(Redirect::to(&base.link("/spaces")));
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
    varying(Json(RootDocument { links }))
}

/// An answer that is another one for a browser (RFC 9110, 12.5.5).
fn varying(answer: impl IntoResponse) -> Response {
    ([(VARY, "Accept")], answer).into_response()
}

/// 404 for every unknown path.
pub(crate) async fn not_found() -> Problem {
    Problem::not_found()
}
