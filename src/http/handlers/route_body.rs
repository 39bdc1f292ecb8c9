//! JSON bodies of `/routes`. The shapes are a public interface.

use serde::Serialize;
use serde_json::Value;

use crate::{
    http::problem::Problem,
    routes::{
        Ensured, ListQuery, Operation, OperationState, RouteError, RoutePage, RouteView,
        view::{
            EnsureOutcome, PlanStep, QuotaView, Replaced, ReplacedState, RouteState, Usage, Warning,
        },
    },
    telemetry::trace::CorrelationId,
};

#[derive(Debug, Serialize)]
struct GuidBody {
    guid: String,
}

#[derive(Debug, Serialize)]
struct AppBody {
    name: Option<String>,
    guid: Option<String>,
}

/// One route.
#[derive(Debug, Serialize)]
pub(super) struct RouteBody {
    tenant: String,
    subdomain: String,
    url: String,
    host: String,
    domain: String,
    route: Option<GuidBody>,
    space: Option<GuidBody>,
    apps: Vec<AppBody>,
    state: &'static str,
    warnings: Vec<WarningBody>,
}

impl RouteBody {
    pub(super) fn of(view: &RouteView) -> Self {
        let app = |app: &crate::routes::view::AppView| AppBody {
            name: app.name.clone(),
            guid: app.guid.as_ref().map(ToString::to_string),
        };
        Self {
            tenant: view.tenant.clone(),
            subdomain: view.subdomain.clone(),
            url: view.url.clone(),
            host: view.host.clone(),
            domain: view.domain.clone(),
            route: view.route.as_ref().map(|guid| GuidBody { guid: guid.to_string() }),
            space: view.space.as_ref().map(|guid| GuidBody { guid: guid.to_string() }),
            apps: view.apps.iter().map(app).collect(),
            state: view.state.as_str(),
            warnings: warning_bodies(&view.warnings),
        }
    }
}

/// Answer of `PUT` and `POST`.
#[derive(Debug, Serialize)]
pub(super) struct EnsuredBody {
    #[serde(flatten)]
    route: RouteBody,
    outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    dry_run: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    plan: Option<Vec<&'static str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    replaced: Option<Vec<ReplacedBody>>,
}

/// A former route of the tenant.
#[derive(Debug, Serialize)]
struct ReplacedBody {
    url: String,
    host: String,
    route: GuidBody,
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<Value>,
}

impl ReplacedBody {
    fn of(one: &Replaced, correlation: &CorrelationId) -> Self {
        let (status, error) = match &one.state {
            ReplacedState::Planned => ("planned", None),
            ReplacedState::Removed => ("removed", None),
            ReplacedState::Deleting => ("deleting", None),
            ReplacedState::Failed(error) => ("failed", Some(error.clone())),
        };
        Self {
            url: one.url.clone(),
            host: one.host.clone(),
            route: GuidBody { guid: one.route.to_string() },
            status,
            problem: error.map(|error| Problem::from(error).to_value(correlation)),
        }
    }
}

#[derive(Debug, Serialize)]
struct WarningBody {
    code: &'static str,
    detail: &'static str,
}

impl EnsuredBody {
    /// `correlation`: id of the current request.
    pub(super) fn of(done: &Ensured, correlation: &CorrelationId) -> Self {
        let replaced = done.replaced.as_ref();
        let plan =
            done.plan.as_ref().map(|steps| steps.iter().map(|step| step_word(*step)).collect());
        Self {
            route: RouteBody {
                warnings: warning_bodies(&done.warnings),
                ..RouteBody::of(&done.view)
            },
            outcome: done.outcome.as_str(),
            dry_run: done.plan.is_some().then_some(true),
            plan,
            replaced: replaced
                .map(|all| all.iter().map(|one| ReplacedBody::of(one, correlation)).collect()),
        }
    }

    pub(super) fn is_created(&self) -> bool {
        self.outcome == EnsureOutcome::Created.as_str()
    }
}

fn step_word(step: PlanStep) -> &'static str {
    match step {
        PlanStep::AwaitDelete => "await_delete",
        PlanStep::Create => "create",
        PlanStep::Label => "label",
        PlanStep::Map => "map",
        PlanStep::Remove => "remove",
    }
}

fn warning_bodies(warnings: &[Warning]) -> Vec<WarningBody> {
    warnings.iter().map(|warning| warning_body(*warning)).collect()
}

fn warning_body(warning: Warning) -> WarningBody {
    let (code, detail) = match warning {
        Warning::AppStopped => ("app_stopped", "The app behind the route is stopped."),
        Warning::AppRouteLimitNear => {
            ("app_route_limit_near", "The app has 90 % of the routes that it may have.")
        }
        Warning::ExtraDestinations => {
            ("extra_destinations", "Other apps or processes are behind the route too.")
        }
        Warning::ReplaceIncomplete => (
            "replace_incomplete",
            "Not every former route of the tenant could be removed. Repeat the request.",
        ),
        Warning::CfUnchecked => {
            ("cf_unchecked", "The CF API did not answer, so nothing was checked there.")
        }
    };
    WarningBody { code, detail }
}

const STATES: [RouteState; 4] =
    [RouteState::Ok, RouteState::Unmapped, RouteState::Drifted, RouteState::Deleting];

/// Finds the state that a query names.
pub(super) fn state_named(word: &str) -> Option<RouteState> {
    STATES.into_iter().find(|state| state.as_str() == word)
}

/// Answer of `GET /routes/{tenant}`.
#[derive(Debug, Serialize)]
pub(super) struct TenantBody {
    tenant: String,
    routes: Vec<RouteBody>,
}

impl TenantBody {
    pub(super) fn of(tenant: &str, views: &[RouteView]) -> Self {
        Self { tenant: tenant.to_owned(), routes: views.iter().map(RouteBody::of).collect() }
    }
}

/// Answer of `GET /routes`.
#[derive(Debug, Serialize)]
pub(super) struct ListBody {
    resources: Vec<RouteBody>,
    pagination: PaginationBody,
    quota: QuotaBody,
}

#[derive(Debug, Serialize)]
struct PaginationBody {
    total: usize,
    page: usize,
    per_page: usize,
    next: Option<usize>,
}

#[derive(Debug, Serialize)]
struct QuotaBody {
    organization: Option<UsageBody>,
    space: Option<UsageBody>,
    app: Option<UsageBody>,
}

#[derive(Debug, Serialize)]
struct UsageBody {
    limit: u64,
    used: u64,
}

impl ListBody {
    pub(super) fn of(page: &RoutePage, query: &ListQuery) -> Self {
        let listed = query.page.saturating_mul(query.per_page);
        Self {
            resources: page.resources.iter().map(RouteBody::of).collect(),
            pagination: PaginationBody {
                total: page.total,
                page: query.page,
                per_page: query.per_page,
                next: (listed < page.total).then_some(query.page.saturating_add(1)),
            },
            quota: QuotaBody::of(&page.quota),
        }
    }
}

impl QuotaBody {
    fn of(quota: &QuotaView) -> Self {
        let body = |usage: Usage| UsageBody { limit: usage.limit, used: usage.used };
        Self {
            organization: quota.organization.map(body),
            space: quota.space.map(body),
            app: quota.app.map(body),
        }
    }
}

/// Answer of `GET /routes/operations/{id}`, and of a `DELETE` that is still running.
#[derive(Debug, Serialize)]
pub(super) struct OperationBody {
    status: &'static str,
    tenant: String,
    routes: Vec<DeletingRouteBody>,
    problem: Option<Value>,
}

#[derive(Debug, Serialize)]
struct DeletingRouteBody {
    guid: String,
    host: Option<String>,
    job: String,
}

impl OperationBody {
    pub(super) fn running(operation: &Operation) -> Self {
        Self::with(operation, "running", None)
    }

    /// `correlation`: id of the current request.
    pub(super) fn of(
        operation: &Operation,
        state: OperationState,
        correlation: &CorrelationId,
    ) -> Self {
        match state {
            OperationState::Running => Self::running(operation),
            OperationState::Succeeded => Self::with(operation, "succeeded", None),
            OperationState::Failed(cf_errors) => {
                let problem = Problem::from(RouteError::JobFailed { cf_errors });
                Self::with(operation, "failed", Some(problem.to_value(correlation)))
            }
        }
    }

    fn with(operation: &Operation, status: &'static str, problem: Option<Value>) -> Self {
        let deleting = |route: &crate::routes::operation::DeletingRoute| DeletingRouteBody {
            guid: route.guid.to_string(),
            host: Some(route.host.clone()).filter(|host| !host.is_empty()),
            job: route.job.to_string(),
        };
        let routes = operation.routes.iter().map(deleting).collect();
        Self { status, tenant: operation.tenant.clone(), routes, problem }
    }
}
