//! JSON bodies of `/routes`. The shapes are a public interface.

use serde::Serialize;
use serde_json::Value;

use crate::{
    http::problem::Problem,
    overview::view::{HeadRoom, Paging},
    routes::{
        Ensured, ListQuery, Operation, OperationState, RouteError, RoutePage, RouteView,
        view::{
            EnsureOutcome, PlanStep, QuotaView, Replaced, ReplacedState, RouteState, Usage, Warning,
        },
    },
    telemetry::trace::CorrelationId,
};

#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema), schema(as = GuidReference))]
struct GuidBody {
    /// Guid of CF.
    guid: String,
}

#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema), schema(as = MappedApp))]
struct AppBody {
    /// Name; null if the technical user does not see the app.
    name: Option<String>,
    /// Guid; null if it is not known.
    guid: Option<String>,
}

/// One route.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema), schema(as = TenantRoute))]
pub(super) struct RouteBody {
    /// Id of the tenant.
    tenant: String,
    /// Subdomain of the tenant, as it was given.
    subdomain: String,
    /// Address of the tenant.
    url: String,
    /// Host of the route.
    host: String,
    /// Name of the domain.
    domain: String,
    /// The route in CF; null in a plan that would create it.
    route: Option<GuidBody>,
    /// Its space; null if it is not known.
    space: Option<GuidBody>,
    /// The mapped apps.
    apps: Vec<AppBody>,
    /// State of the route, compared with the provider entry.
    #[cfg_attr(test, schema(schema_with = crate::http::openapi::words::route_states))]
    state: &'static str,
    /// What the caller should know.
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
#[cfg_attr(test, derive(utoipa::ToSchema), schema(as = EnsuredRoute))]
pub(super) struct EnsuredBody {
    #[serde(flatten)]
    route: RouteBody,
    /// What was done; in a dry run what a real run would do.
    #[cfg_attr(test, schema(schema_with = crate::http::openapi::words::ensure_outcomes))]
    outcome: &'static str,
    /// `true` for a dry run, else absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    dry_run: Option<bool>,
    /// The steps of a real run; only in a dry run.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schema(schema_with = crate::http::openapi::words::plan_steps))]
    plan: Option<Vec<&'static str>>,
    /// The former routes of the tenant; only if they are replaced.
    #[serde(skip_serializing_if = "Option::is_none")]
    replaced: Option<Vec<ReplacedBody>>,
}

/// A former route of the tenant.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema), schema(as = ReplacedRoute))]
struct ReplacedBody {
    /// Its address.
    url: String,
    /// Its host.
    host: String,
    /// The route in CF.
    route: GuidBody,
    /// What became of it.
    #[cfg_attr(test, schema(schema_with = crate::http::openapi::words::replaced_states))]
    status: &'static str,
    /// Why it is still there.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schema(value_type = Option<crate::http::problem::ProblemDocument<'static>>))]
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
#[cfg_attr(test, derive(utoipa::ToSchema), schema(as = RouteWarning))]
struct WarningBody {
    /// Stable word.
    #[cfg_attr(test, schema(schema_with = crate::http::openapi::words::warning_codes))]
    code: &'static str,
    /// The same in words.
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
#[cfg_attr(test, derive(utoipa::ToSchema), schema(as = RoutesOfTenant))]
pub(super) struct TenantBody {
    /// Id of the tenant.
    tenant: String,
    /// Its routes.
    routes: Vec<RouteBody>,
}

impl TenantBody {
    pub(super) fn of(tenant: &str, views: &[RouteView]) -> Self {
        Self { tenant: tenant.to_owned(), routes: views.iter().map(RouteBody::of).collect() }
    }
}

/// Answer of `GET /routes`.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema), schema(as = RouteList))]
pub(super) struct ListBody {
    /// The routes of this page.
    resources: Vec<RouteBody>,
    /// Where the page stands.
    pagination: Paging,
    /// Limits for new routes.
    quota: QuotaBody,
}

#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema), schema(as = RouteQuotas))]
struct QuotaBody {
    /// Of the organization; null without a limit, or if the technical user may not see it.
    organization: Option<HeadRoom>,
    /// Of the space; null as above.
    space: Option<HeadRoom>,
    /// Of the app with the most routes; null as above.
    app: Option<HeadRoom>,
}

impl ListBody {
    pub(super) fn of(page: &RoutePage, query: &ListQuery) -> Self {
        let listed = query.page.saturating_mul(query.per_page);
        Self {
            resources: page.resources.iter().map(RouteBody::of).collect(),
            pagination: Paging {
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
        let body = |usage: Usage| HeadRoom { limit: usage.limit, used: usage.used };
        Self {
            organization: quota.organization.map(body),
            space: quota.space.map(body),
            app: quota.app.map(body),
        }
    }
}

/// Answer of `GET /routes/operations/{id}`, and of a `DELETE` that is still running.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema), schema(as = DeleteOperation))]
pub(super) struct OperationBody {
    /// `running`, `succeeded` or `failed`.
    #[cfg_attr(test, schema(schema_with = crate::http::openapi::words::operation_states))]
    status: &'static str,
    /// Id of the tenant.
    tenant: String,
    /// The routes that CF deletes.
    routes: Vec<DeletingRouteBody>,
    /// Why it failed; else null.
    #[cfg_attr(test, schema(value_type = Option<crate::http::problem::ProblemDocument<'static>>))]
    problem: Option<Value>,
}

#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema), schema(as = DeletingRoute))]
struct DeletingRouteBody {
    /// Guid of the route.
    guid: String,
    /// Its host, if known.
    host: Option<String>,
    /// Guid of the job of CF.
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
