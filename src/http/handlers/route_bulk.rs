//! `/routes/batch` and `/routes/reconcile`: many tenants in one call.

use axum::{Json, extract::State};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    http::{
        extract::{AppJson, Correlation, RoutesWrite},
        handlers::{
            route_body::{EnsuredBody, OperationBody, RouteBody},
            routes::{NoParameters, RoutesRequest, operation_path},
        },
        problem::Problem,
        state::PublicBase,
    },
    routes::{
        Deleted, Item, ItemOutcome, ReconcileReport, ReconcileRequest, RouteError,
        RouteRequestBody, RouteView, Run, TenantChange, TenantRoutes, error::RequestField,
    },
    telemetry::trace::CorrelationId,
};

/// Body of `POST /routes/batch`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct BatchBody {
    items: Vec<ItemBody>,
    dry_run: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ItemBody {
    op: String,
    #[serde(flatten)]
    request: RouteRequestBody,
}

impl ItemBody {
    fn into_item(self) -> Result<Item, RouteError> {
        match self.op.as_str() {
            "ensure" => self
                .request
                .into_request(None)
                .map(|(tenant, request)| Item::Ensure { tenant, request }),
            "remove" => self.request.tenant(None).map(|tenant| Item::Delete { tenant }),
            _ => Err(RouteError::BadRequest(RequestField::Operation)),
        }
    }
}

/// Answer of `POST /routes/batch`.
#[derive(Debug, Serialize)]
pub(crate) struct BatchResults {
    results: Vec<IndexedResult>,
}

#[derive(Debug, Serialize)]
struct IndexedResult {
    index: usize,
    #[serde(flatten)]
    result: ResultBody,
}

/// The response that a single call would have.
#[derive(Debug, Serialize)]
struct ResultBody {
    status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    location: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<DoneBody>,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<Value>,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum DoneBody {
    Ensured(Box<EnsuredBody>),
    Running(OperationBody),
    WouldDelete { dry_run: bool, plan: Vec<&'static str>, routes: Vec<RouteBody> },
}

/// Turns results into response bodies.
struct ResultRenderer<'a> {
    routes: &'a TenantRoutes,
    base: &'a PublicBase,
    correlation: &'a CorrelationId,
}

impl ResultRenderer<'_> {
    fn render(&self, result: Result<ItemOutcome, RouteError>) -> ResultBody {
        match result.map_err(Problem::from).and_then(|done| self.done(done)) {
            Ok(rendered) => rendered,
            Err(problem) => ResultBody {
                status: problem.code().spec().status.as_u16(),
                location: None,
                body: None,
                problem: Some(problem.to_value(self.correlation)),
            },
        }
    }

    fn done(&self, done: ItemOutcome) -> Result<ResultBody, Problem> {
        let (status, location, body) = match done {
            ItemOutcome::Ensured(ensured) => {
                let body = EnsuredBody::of(&ensured, self.correlation);
                let created = body.is_created() && ensured.plan.is_none();
                let status = if created { StatusCode::CREATED } else { StatusCode::OK };
                (status, None, Some(DoneBody::Ensured(Box::new(body))))
            }
            ItemOutcome::Deleted(Deleted::Done) => (StatusCode::NO_CONTENT, None, None),
            ItemOutcome::Deleted(Deleted::Running { operation }) => {
                let location = self.base.link(&operation_path(self.routes, &operation)?);
                let body = DoneBody::Running(OperationBody::running(&operation));
                (StatusCode::ACCEPTED, Some(location), Some(body))
            }
            ItemOutcome::WouldDelete(views) => {
                let plan = if views.is_empty() { Vec::new() } else { vec!["delete"] };
                let body = DoneBody::WouldDelete { dry_run: true, plan, routes: bodies(&views) };
                (StatusCode::OK, None, Some(body))
            }
        };
        Ok(ResultBody { status: status.as_u16(), location, body, problem: None })
    }
}

fn bodies(views: &[RouteView]) -> Vec<RouteBody> {
    views.iter().map(RouteBody::of).collect()
}

/// `POST /routes/batch`: up to 100 items, four at a time; 200 even if all fail.
///
/// # Errors
/// `bad_request` for no items or too many.
pub(crate) async fn batch(
    request: RoutesRequest<RoutesWrite, NoParameters>,
    State(routes): State<TenantRoutes>,
    State(base): State<PublicBase>,
    Correlation(correlation): Correlation,
    AppJson(body): AppJson<BatchBody>,
) -> Result<Json<BatchResults>, Problem> {
    let run = if body.dry_run { Run::Dry } else { Run::Real };
    let items = body.items.into_iter().map(ItemBody::into_item).collect();
    let results = routes.batch(&request.request_context, items, run).await?;
    let renderer = ResultRenderer { routes: &routes, base: &base, correlation: &correlation };
    let results = results.into_iter().enumerate();
    let results =
        results.map(|(index, result)| IndexedResult { index, result: renderer.render(result) });
    Ok(Json(BatchResults { results: results.collect() }))
}

/// Body of `POST /routes/reconcile`; `app` and `domain` are the defaults of the tenants.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ReconcileBody {
    tenants: Vec<RouteRequestBody>,
    app: Option<String>,
    domain: Option<String>,
    apply: bool,
    delete_orphans: bool,
    force: bool,
}

impl ReconcileBody {
    fn into_request(self) -> Result<ReconcileRequest, RouteError> {
        let (app, domain) = (self.app.as_deref(), self.domain.as_deref());
        let requests = self.tenants.into_iter().map(|tenant| {
            let (tenant, request) = tenant.into_request(None)?;
            Ok((tenant, request.or(app, domain)))
        });
        Ok(ReconcileRequest {
            tenants: requests.collect::<Result<_, RouteError>>()?,
            apply: self.apply,
            delete_orphans: self.delete_orphans,
            force: self.force,
        })
    }
}

/// Answer of `POST /routes/reconcile`.
#[derive(Debug, Serialize)]
pub(crate) struct ReconciledBody {
    applied: bool,
    unchanged: usize,
    create: Vec<RouteBody>,
    repair: Vec<RouteBody>,
    orphans: Vec<RouteBody>,
    foreign: Vec<RouteBody>,
    unmapped: Vec<RouteBody>,
    results: Vec<ChangeBody>,
    remaining: usize,
}

#[derive(Debug, Serialize)]
struct ChangeBody {
    tenant: String,
    op: &'static str,
    #[serde(flatten)]
    result: ResultBody,
}

impl ReconciledBody {
    fn of(done: ReconcileReport, renderer: &ResultRenderer<'_>) -> Self {
        let to_body = |change: TenantChange| ChangeBody {
            tenant: change.tenant.to_string(),
            op: change.operation,
            result: renderer.render(change.result),
        };
        Self {
            applied: done.applied,
            unchanged: done.unchanged,
            create: bodies(&done.create),
            repair: bodies(&done.repair),
            orphans: bodies(&done.orphans),
            foreign: bodies(&done.foreign),
            unmapped: bodies(&done.unmapped),
            results: done.results.into_iter().map(to_body).collect(),
            remaining: done.remaining,
        }
    }
}

/// `POST /routes/reconcile`: compares the listed tenants with the existing routes and repairs the
/// difference.
///
/// # Errors
/// `reconcile_guard`, `bad_request`, those of the CF API.
pub(crate) async fn reconcile(
    request: RoutesRequest<RoutesWrite, NoParameters>,
    State(routes): State<TenantRoutes>,
    State(base): State<PublicBase>,
    Correlation(correlation): Correlation,
    AppJson(body): AppJson<ReconcileBody>,
) -> Result<Json<ReconciledBody>, Problem> {
    let done = routes.reconcile(&request.request_context, body.into_request()?).await?;
    let renderer = ResultRenderer { routes: &routes, base: &base, correlation: &correlation };
    Ok(Json(ReconciledBody::of(done, &renderer)))
}
