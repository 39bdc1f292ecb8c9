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
struct Alive {
    status: &'static str,
}

/// Always 200 while the process serves.
pub(crate) async fn alive() -> impl IntoResponse {
    Json(Alive { status: "UP" })
}

#[derive(Debug, Serialize)]
struct Ready {
    status: &'static str,
    degraded: Vec<&'static str>,
    parts: PartsBody,
}

#[derive(Debug, Serialize)]
struct PartsBody {
    destination: &'static str,
    token: &'static str,
    cf_api: &'static str,
    uaa: &'static str,
    keys: &'static str,
    providers: &'static str,
}

/// 200, or 503 while starting or draining. The body lists the degraded parts.
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
    fn as_str(self) -> &'static str {
        match self {
            Self::Up => "UP",
            Self::Starting => "STARTING",
            Self::Draining => "DRAINING",
        }
    }
}

impl ComponentHealth {
    fn as_str(self) -> &'static str {
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
