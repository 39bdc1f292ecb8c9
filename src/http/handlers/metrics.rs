//! `GET /metrics`: `OpenMetrics` text.

use axum::{extract::State, response::IntoResponse};
use http::header::CONTENT_TYPE;

use crate::{
    http::extract::{Allowed, MetricsRead},
    telemetry::metrics::Metrics,
};

/// All metrics, for callers with Metrics.Read.
#[cfg_attr(test, utoipa::path(
    get, path = "/metrics", operation_id = "read_metrics", tag = "health",
    summary = "All metrics of this instance, as OpenMetrics text",
    responses((status = 200, description = "The metrics", body = String,
        content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8")),
    security(("bearer" = ["Metrics.Read"]))
))]
pub(crate) async fn read(
    _: Allowed<MetricsRead>,
    State(metrics): State<Metrics>,
) -> impl IntoResponse {
    (
        [(CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")],
        metrics.encode(),
    )
}
