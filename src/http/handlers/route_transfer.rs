//! `/routes/transfer`: the routes of an owner that is gone, for another owner.

use axum::{Json, extract::State};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    http::{
        extract::{AppJson, Correlation, RoutesAdmin},
        handlers::{
            route_body::RouteBody,
            routes::{NoQuery, RoutesRequest},
        },
        problem::Problem,
    },
    routes::{TenantRoutes, TransferRefusal, TransferReport, TransferRequest, TransferResult},
    telemetry::trace::CorrelationId,
};

/// Body of `POST /routes/transfer`.
#[derive(Debug, Default, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema), schema(as = TransferRequest))]
#[serde(default, deny_unknown_fields)]
pub(crate) struct TransferBody {
    /// Owner that is gone: a client id, as `GET /routes` names it.
    #[cfg_attr(test, schema(required, min_length = 1))]
    from: String,
    /// New owner: the client id of a provider entry.
    #[cfg_attr(test, schema(required, min_length = 1))]
    to: String,
    /// Makes the transfer; without it the answer is a plan.
    apply: bool,
}

/// Answer of `POST /routes/transfer`.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema), schema(as = TransferReport))]
pub(crate) struct TransferredBody {
    /// Whether the transfer was made.
    applied: bool,
    /// Former owner.
    from: String,
    /// New owner.
    to: String,
    /// Routes that are, or would be, transferred.
    transfer: Vec<RouteBody>,
    /// Routes that stay, with the reason.
    refused: Vec<StayingBody>,
    /// What became of each route; empty in a plan.
    results: Vec<MovedBody>,
    /// Routes beyond the 100 of one call.
    remaining: usize,
}

#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema), schema(as = StayingRoute))]
struct StayingBody {
    #[serde(flatten)]
    route: RouteBody,
    /// Stable word.
    #[cfg_attr(test, schema(schema_with = crate::http::openapi::words::transfer_refusals))]
    reason: &'static str,
    /// The same in words.
    detail: &'static str,
}

#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema), schema(as = TransferResult))]
struct MovedBody {
    /// Id of the tenant.
    tenant: String,
    /// Host of the route.
    host: String,
    /// Guid of the route.
    route: Option<String>,
    /// HTTP status that a single call would have.
    status: u16,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schema(value_type = Option<crate::http::problem::ProblemDocument<'static>>))]
    problem: Option<Value>,
}

impl TransferredBody {
    fn of(from: String, report: TransferReport, correlation: &CorrelationId) -> Self {
        let staying = |(view, refusal)| {
            let (reason, detail) = explain(refusal);
            StayingBody { route: RouteBody::of(&view), reason, detail }
        };
        let results = report.results.into_iter();
        Self {
            applied: report.applied,
            from,
            to: report.owner,
            transfer: report.transfer.iter().map(RouteBody::of).collect(),
            refused: report.refused.into_iter().map(staying).collect(),
            results: results.map(|result| MovedBody::of(result, correlation)).collect(),
            remaining: report.remaining,
        }
    }
}

impl MovedBody {
    fn of(done: TransferResult, correlation: &CorrelationId) -> Self {
        let TransferResult { view, result } = done;
        let problem = result.err().map(Problem::from);
        Self {
            tenant: view.tenant,
            host: view.host,
            route: view.route.map(|guid| guid.to_string()),
            status: problem.as_ref().map_or(200, |one| one.code().spec().status.as_u16()),
            problem: problem.map(|problem| problem.to_value(correlation)),
        }
    }
}

fn explain(refusal: TransferRefusal) -> (&'static str, &'static str) {
    match refusal {
        TransferRefusal::Space => {
            ("space", "The route is not in the space of the new owner's entry.")
        }
        TransferRefusal::Domain => {
            ("domain", "The domain is none of the domains of the new owner's entry.")
        }
        TransferRefusal::Host => {
            ("host", "The host template of the new owner's entry does not give such a host.")
        }
        TransferRefusal::App => {
            ("app", "An app behind the route is none of the apps of the new owner's entry.")
        }
        TransferRefusal::Deleting => ("deleting", "The route is being deleted."),
    }
}

/// `POST /routes/transfer`: plans, and with `apply` makes the transfer; at most 100 routes in one
/// call.
///
/// # Errors
/// `forbidden_scope`, `forbidden_provider`, `bad_request`, those of the CF API.
#[cfg_attr(test, utoipa::path(
    post, path = "/routes/transfer", operation_id = "transfer_routes", tag = "routes",
    summary = "Give the routes of an owner that is gone to another one; a plan by default",
    request_body = TransferBody,
    responses((status = 200, description = "The plan, or what became of each route", body = TransferredBody)),
    security(("bearer" = ["Routes.Admin"]))
))]
pub(crate) async fn transfer(
    request: RoutesRequest<RoutesAdmin, NoQuery>,
    State(routes): State<TenantRoutes>,
    Correlation(correlation): Correlation,
    AppJson(body, _): AppJson<TransferBody>,
) -> Result<Json<TransferredBody>, Problem> {
    let TransferBody { from, to, apply } = body;
    let wanted = TransferRequest { from: from.clone(), to, apply };
    let report = routes.transfer(&request.request_context, &wanted).await?;
    Ok(Json(TransferredBody::of(from, report, &correlation)))
}
