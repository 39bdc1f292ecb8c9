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
#[cfg_attr(test, utoipa::path(
    get, path = "/assets/{name}", operation_id = "read_asset", tag = "browser",
    summary = "Style sheet, script and icon of the pages",
    params(("name" = String, Path, description = "Name with the hash of the content", pattern = "^[A-Za-z0-9.-]{1,64}$")),
    responses((status = 200, description = "The file; may be kept for good", body = String, content_type = "text/css; charset=utf-8")),
    security(())
))]
pub(crate) async fn read(Path(name): Path<String>) -> Result<Response, Problem> {
    let (asset, version) = Asset::find(&name).ok_or_else(Problem::not_found)?;
    let kind: (HeaderName, _) = (CONTENT_TYPE, HeaderValue::from_static(asset.content_type));
    Ok(match version {
        AssetVersion::Current => ([kind, (CACHE_CONTROL, KEPT)], asset.text).into_response(),
        AssetVersion::Other => ([kind], asset.text).into_response(),
    })
}
