//! `GET /health` and `GET /health/ready`: for the platform's probes, without authentication.
//!
//! Invariant: liveness depends on nothing (a bad password must not become a restart loop);
//! readiness depends only on start and stop. Neither shows a host, a user or a cause.

use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use http::StatusCode;
use serde::Serialize;

use crate::http::readiness::{ComponentHealth, LifecyclePhase, Readiness};

#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema), schema(as = Liveness))]
struct Alive {
    /// Always `UP`.
    status: &'static str,
}

/// Always 200 while the process serves.
#[cfg_attr(test, utoipa::path(
    get, path = "/health", operation_id = "read_liveness", tag = "health",
    summary = "The process serves",
    responses((status = 200, description = "Always", body = Alive)),
    security(())
))]
pub(crate) async fn alive() -> impl IntoResponse {
    Json(Alive { status: "UP" })
}

#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema), schema(as = Readiness))]
struct Ready {
    /// `UP`, `STARTING` or `DRAINING`.
    #[cfg_attr(test, schema(schema_with = crate::http::openapi::words::phases))]
    status: &'static str,
    /// The parts that an operator should look at.
    degraded: Vec<&'static str>,
    /// The state of each part.
    parts: PartsBody,
}

#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema), schema(as = ReadinessParts))]
struct PartsBody {
    /// Destination service and content.
    #[cfg_attr(test, schema(schema_with = crate::http::openapi::words::part_states))]
    destination: &'static str,
    /// Token of the technical user.
    #[cfg_attr(test, schema(schema_with = crate::http::openapi::words::part_states))]
    token: &'static str,
    /// The CF API.
    #[cfg_attr(test, schema(schema_with = crate::http::openapi::words::part_states))]
    cf_api: &'static str,
    /// The CF login server.
    #[cfg_attr(test, schema(schema_with = crate::http::openapi::words::part_states))]
    uaa: &'static str,
    /// Keys of callers' tokens.
    #[cfg_attr(test, schema(schema_with = crate::http::openapi::words::part_states))]
    keys: &'static str,
    /// What the provider entries name.
    #[cfg_attr(test, schema(schema_with = crate::http::openapi::words::part_states))]
    providers: &'static str,
}

/// 200, or 503 while starting or draining. The body lists the degraded parts.
#[cfg_attr(test, utoipa::path(
    get, path = "/health/ready", operation_id = "read_readiness", tag = "health",
    summary = "The broker can take requests, and which part needs an operator",
    responses(
        (status = 200, description = "Serving", body = Ready),
        (status = 503, description = "Starting or stopping", body = Ready),
    ),
    security(())
))]
pub(crate) async fn ready(State(readiness): State<Readiness>) -> Response {
    let phase = readiness.phase();
    let report = readiness.parts();
    let named = [
        ("destination", report.destination),
        ("token", report.token),
        ("cf_api", report.cf_api),
        ("uaa", report.uaa),
        ("keys", report.keys),
        ("providers", report.providers),
    ];
    let degraded =
        named.iter().filter(|(_, part)| part.is_degraded()).map(|(name, _)| *name).collect();
    let parts = PartsBody {
        destination: report.destination.as_str(),
        token: report.token.as_str(),
        cf_api: report.cf_api.as_str(),
        uaa: report.uaa.as_str(),
        keys: report.keys.as_str(),
        providers: report.providers.as_str(),
    };
    let status =
        if phase == LifecyclePhase::Up { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(Ready { status: phase.as_str(), degraded, parts })).into_response()
}

impl LifecyclePhase {
    /// Returns its name in answers.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Up => "UP",
            Self::Starting => "STARTING",
            Self::Draining => "DRAINING",
        }
    }
}

impl ComponentHealth {
    /// Returns its name in answers.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Stale => "stale",
            Self::Refused => "refused",
            Self::Locked => "locked",
            Self::Down => "down",
            Self::Missing => "missing",
            Self::Unknown => "unknown",
        }
    }
}
