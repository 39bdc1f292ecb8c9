//! `GET /`: the root document that CF clients read before they have a token, and what no route takes.

use axum::{Json, extract::State, response::IntoResponse};
use serde::Serialize;

use crate::{
    capi::CapiClient,
    http::{problem::Problem, state::PublicBase},
};

#[derive(Debug, Serialize)]
struct Root {
    links: Links,
}

/// Links of the CF API's root document; what the broker does not offer is null, so that no client goes elsewhere.
#[derive(Debug, Serialize)]
struct Links {
    #[serde(rename = "self")]
    own: Link,
    cloud_controller_v3: VersionedLink,
    login: Option<Link>,
    uaa: Option<Link>,
}

#[derive(Debug, Serialize)]
struct Link {
    href: String,
}

/// A link with the version of the API behind it, as CF last named it.
#[derive(Debug, Serialize)]
struct VersionedLink {
    href: String,
    meta: Meta,
}

#[derive(Debug, Serialize)]
struct Meta {
    version: Option<String>,
}

/// Answers from memory; names the broker only.
pub(crate) async fn document(
    State(base): State<PublicBase>,
    State(capi): State<CapiClient>,
) -> impl IntoResponse {
    let links = Links {
        own: Link { href: base.to_string() },
        cloud_controller_v3: VersionedLink {
            href: format!("{base}/v3"),
            meta: Meta { version: capi.version() },
        },
        login: None,
        uaa: None,
    };
    Json(Root { links })
}

/// 404 for every path that is none of ours.
pub(crate) async fn nothing() -> Problem {
    Problem::nowhere()
}
