//! `/routes/batch` and `/routes/reconcile`: many tenants in one call.

use std::collections::BTreeMap;

use axum::{Json, extract::State};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    http::{
        extract::{AppJson, Correlation, RoutesWrite, SentBody},
        handlers::{
            route_body::{EnsuredBody, OperationBody, RouteBody},
            routes::{NoParameters, RoutesRequest, operation_path},
        },
        problem::Problem,
        state::PublicBase,
    },
    policy::JsonObject,
    routes::{
        BatchItemBody, Deleted, Item, ItemOutcome, ReconcileReport, ReconcileRequest, RouteError,
        RouteRequestBody, RouteView, Run, TenantChange, TenantRoutes, error::RequestField,
    },
    telemetry::trace::CorrelationId,
};

/// Body of `POST /routes/batch`.
#[derive(Debug, Default, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema), schema(as = BatchRequest))]
#[serde(default, deny_unknown_fields)]
pub(crate) struct BatchBody {
    /// 1 to 100 changes.
    #[cfg_attr(test, schema(required, min_items = 1, max_items = 100, value_type = Vec<BatchItemBody>))]
    items: Vec<JsonObject<BatchItemBody>>,
    /// Only plans.
    dry_run: bool,
}

fn item_of(JsonObject(body): JsonObject<BatchItemBody>) -> Result<Item, RouteError> {
    let (operation, request) = body.into_parts();
    match operation.as_str() {
        "ensure" => {
            request.into_request(None).map(|(tenant, request)| Item::Ensure { tenant, request })
        }
        "remove" => request.tenant(None).map(|tenant| Item::Delete { tenant }),
        _ => Err(RouteError::BadRequest(RequestField::Operation)),
    }
}

/// Answer of `POST /routes/batch`.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema), schema(as = BatchReport))]
pub(crate) struct BatchResults {
    /// One for each item, in its order.
    results: Vec<IndexedResult>,
}

#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema), schema(as = BatchResult))]
struct IndexedResult {
    /// Place of the item, from 0.
    index: usize,
    #[serde(flatten)]
    result: ResultBody,
}

/// The response that a single call would have.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema), schema(as = ChangeResult))]
struct ResultBody {
    /// HTTP status that a single call would have.
    status: u16,
    /// Where the operation can be asked, if CF still deletes.
    #[serde(skip_serializing_if = "Option::is_none")]
    location: Option<String>,
    /// As a single call answers: an `EnsuredRoute`, a `DeleteOperation`, or the plan of a removal.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schema(value_type = Option<Object>))]
    body: Option<DoneBody>,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schema(value_type = Option<crate::http::problem::ProblemDocument<'static>>))]
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
    fn render(&self, result: Result<ItemOutcome, Problem>) -> ResultBody {
        match result.and_then(|done| self.done(done)) {
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
#[cfg_attr(test, utoipa::path(
    post, path = "/routes/batch", operation_id = "change_many_routes", tag = "routes",
    summary = "Up to 100 changes in one call; 200 even if all of them fail",
    params(NoParameters),
    request_body = BatchBody,
    responses((status = 200, description = "One result for each item", body = BatchResults)),
    security(("bearer" = ["Routes.Write"]))
))]
pub(crate) async fn batch(
    request: RoutesRequest<RoutesWrite, NoParameters>,
    State(routes): State<TenantRoutes>,
    State(base): State<PublicBase>,
    Correlation(correlation): Correlation,
    AppJson(body, sent): AppJson<BatchBody>,
) -> Result<Json<BatchResults>, Problem> {
    let run = if body.dry_run { Run::Dry } else { Run::Real };
    let mut refused = BTreeMap::new();
    let items = body.items.into_iter().enumerate().map(|(index, item)| {
        item_of(item).inspect_err(|error| {
            let problem = sent.explain(error.clone(), Some(index));
            refused.insert(index, problem.of_entry("items", index));
        })
    });
    let items = items.collect();
    drop(sent);
    let results = routes.batch(&request.request_context, items, run).await?;
    let renderer = ResultRenderer { routes: &routes, base: &base, correlation: &correlation };
    let results = results.into_iter().enumerate();
    let results = results.map(|(index, result)| {
        let explained = refused.remove(&index);
        let result = result.map_err(|error| explained.unwrap_or_else(|| error.into()));
        IndexedResult { index, result: renderer.render(result) }
    });
    Ok(Json(BatchResults { results: results.collect() }))
}

/// Body of `POST /routes/reconcile`; `app` and `domain` are the defaults of the tenants.
#[derive(Debug, Default, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema), schema(as = ReconcileRequest))]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ReconcileBody {
    /// All tenants of the app, each with its subdomain.
    #[cfg_attr(test, schema(required, value_type = Vec<RouteRequestBody>))]
    tenants: Option<Vec<JsonObject<RouteRequestBody>>>,
    /// App of the tenants that name none.
    app: Option<String>,
    /// Domain of the tenants that name none.
    domain: Option<String>,
    /// Makes the changes; without it the answer is a plan.
    apply: bool,
    /// Deletes routes of tenants that are not listed.
    delete_orphans: bool,
    /// Deletes them even if they are many.
    force: bool,
}

impl ReconcileBody {
    fn into_request(self, sent: &SentBody) -> Result<ReconcileRequest, Problem> {
        let (app, domain) = (self.app.as_deref(), self.domain.as_deref());
        // Without the list every route would be an orphan.
        let missing = || Problem::from(RouteError::BadRequest(RequestField::TenantList));
        let tenants = self.tenants.ok_or_else(missing)?.into_iter().enumerate();
        let requests = tenants.map(|(index, JsonObject(tenant))| {
            let (tenant, request) = tenant
                .into_request(None)
                .map_err(|error| sent.explain(error, Some(index)).of_entry("tenants", index))
                .map_err(|problem| problem.note(&format!("This is entry {index} of tenants.")))?;
            Ok((tenant, request.or(app, domain)))
        });
        Ok(ReconcileRequest {
            tenants: requests.collect::<Result<_, Problem>>()?,
            apply: self.apply,
            delete_orphans: self.delete_orphans,
            force: self.force,
        })
    }
}

/// Answer of `POST /routes/reconcile`.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema), schema(as = ReconcileReport))]
pub(crate) struct ReconciledBody {
    /// Whether changes were made.
    applied: bool,
    /// Tenants whose route needs no change.
    unchanged: usize,
    /// Routes to create.
    create: Vec<RouteBody>,
    /// Routes to repair.
    repair: Vec<RouteBody>,
    /// Routes of tenants that are not listed.
    orphans: Vec<RouteBody>,
    /// Routes of other apps of the owner; they stay.
    foreign: Vec<RouteBody>,
    /// Routes of listed tenants to which no app is mapped.
    unmapped: Vec<RouteBody>,
    /// What became of each change.
    results: Vec<ChangeBody>,
    /// Changes beyond those of one call.
    remaining: usize,
}

#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema), schema(as = TenantChangeResult))]
struct ChangeBody {
    /// Id of the tenant.
    tenant: String,
    /// `ensure` or `remove`.
    op: &'static str,
    #[serde(flatten)]
    result: ResultBody,
}

impl ReconciledBody {
    fn of(done: ReconcileReport, renderer: &ResultRenderer<'_>) -> Self {
        let to_body = |change: TenantChange| ChangeBody {
            tenant: change.tenant.to_string(),
            op: change.operation,
            result: renderer.render(change.result.map_err(Problem::from)),
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
#[cfg_attr(test, utoipa::path(
    post, path = "/routes/reconcile", operation_id = "reconcile_routes", tag = "routes",
    summary = "Compare all tenants with the routes there are, and repair the difference; a plan by default",
    params(NoParameters),
    request_body = ReconcileBody,
    responses((status = 200, description = "The plan, or what became of each change", body = ReconciledBody)),
    security(("bearer" = ["Routes.Write"]))
))]
pub(crate) async fn reconcile(
    request: RoutesRequest<RoutesWrite, NoParameters>,
    State(routes): State<TenantRoutes>,
    State(base): State<PublicBase>,
    Correlation(correlation): Correlation,
    AppJson(body, sent): AppJson<ReconcileBody>,
) -> Result<Json<ReconciledBody>, Problem> {
    let wanted = body.into_request(&sent)?;
    drop(sent);
    let done = routes.reconcile(&request.request_context, wanted).await?;
    let renderer = ResultRenderer { routes: &routes, base: &base, correlation: &correlation };
    Ok(Json(ReconciledBody::of(done, &renderer)))
}
