//! `GET /assets/{name}`: the files that pages load, without authentication.

use axum::{
    extract::Path,
    response::{IntoResponse, Response},
};
use http::{
    HeaderName, HeaderValue,
    header::{CACHE_CONTROL, CONTENT_TYPE},
};

use crate::{
    http::problem::Problem,
    pages::assets::{Asset, AssetVersion},
};

/// For good: the name changes with the content.
const KEPT: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");

/// Answers with a file. While instances of two versions run, a page of one may ask the other: that
/// one answers with its own version, and the browser does not keep it.
pub(crate) async fn read(Path(name): Path<String>) -> Result<Response, Problem> {
    let (asset, version) = Asset::find(&name).ok_or_else(Problem::not_found)?;
    let kind: (HeaderName, _) = (CONTENT_TYPE, HeaderValue::from_static(asset.content_type));
    Ok(match version {
        AssetVersion::Current => ([kind, (CACHE_CONTROL, KEPT)], asset.text).into_response(),
        AssetVersion::Other => ([kind], asset.text).into_response(),
    })
}
