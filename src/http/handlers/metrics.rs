//! `GET /metrics`: `OpenMetrics` text.

use axum::{extract::State, response::IntoResponse};
use http::header::CONTENT_TYPE;

use crate::{
    http::extract::{Allowed, MetricsRead},
    telemetry::metrics::Metrics,
};

/// All metrics, for callers with Metrics.Read.
pub(crate) async fn read(
    _: Allowed<MetricsRead>,
    State(metrics): State<Metrics>,
) -> impl IntoResponse {
    (
        [(CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")],
        metrics.encode(),
    )
}
