//! `/routes`: tenant routes, for provider apps.

use std::marker::PhantomData;

use axum::{
    Json,
    extract::{FromRequestParts, Path, State},
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderValue, StatusCode, header::RETRY_AFTER, request::Parts};
use serde::{Deserialize, de::DeserializeOwned};
use tokio::time::Instant;

use crate::{
    http::{
        code::ProblemCode,
        extract::{
            Allowed, AppJson, AppQuery, Correlation, IgnoredBody, RequestAuditTrail, RequiredScope,
            RoutesRead, RoutesWrite, Tenant, wall_time,
        },
        handlers::route_body::{EnsuredBody, ListBody, OperationBody, TenantBody, state_named},
        problem::Problem,
        request_record::RequestRecord,
        state::{AppState, PublicBase},
    },
    routes::{
        Deleted, ListQuery, Operation, RequestContext, RouteError, RouteRequest, RouteRequestBody,
        Run, TenantId, TenantRoutes, WaitMode,
        error::RequestField,
        request::{Adoption, Replacement},
        view,
    },
};

/// Default number of routes per page.
const PER_PAGE: usize = 50;
/// Largest number of routes per page; the answer stays below 1 MB.
const MOST_PER_PAGE: usize = 500;
/// `Retry-After` of an operation, in seconds.
const POLL_AGAIN: u64 = 2;

/// The query parameter that all calls on routes share.
pub(crate) trait OnBehalf {
    /// The owner that an administrator acts for.
    fn owner(&mut self) -> Option<String>;
}

/// Declares a query: its own parameters and `on_behalf_of`.
macro_rules! query {
    ($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident: $kind:ty),* }) => {
        $(#[$doc])*
        #[derive(Debug, Default, Deserialize)]
        #[cfg_attr(test, derive(utoipa::IntoParams), into_params(parameter_in = Query))]
        #[serde(default, deny_unknown_fields)]
        pub(crate) struct $name {
            /// The owner that an administrator acts for: a client id.
            on_behalf_of: Option<String>,
            $($(#[$field_doc])* $field: $kind),*
        }

        impl OnBehalf for $name {
            fn owner(&mut self) -> Option<String> {
                self.on_behalf_of.take()
            }
        }
    };
}

query! {
    /// Query without parameters of its own.
    NoParameters {}
}
query! {
    /// Query of `PUT` and `POST`.
    EnsureQuery {
        /// Only a plan.
        dry_run: bool
    }
}
query! {
    /// Query of `DELETE`; the other parameters count only with `legacy`.
    RemoveQuery {
        /// Also the route without labels that the other parameters name.
        legacy: bool,
        /// Subdomain of the tenant; needed with `legacy`.
        subdomain: Option<String>,
        /// App behind the route.
        app: Option<String>,
        /// Domain of the route.
        domain: Option<String>
    }
}
query! {
    /// Query of the list.
    ListParameters {
        /// Only this tenant.
        tenant: Option<String>,
        /// Only routes in this state.
        #[cfg_attr(test, param(schema_with = crate::http::openapi::words::route_states))]
        state: Option<String>,
        /// The page, from 1.
        #[cfg_attr(test, param(minimum = 1))]
        page: Option<usize>,
        /// Routes per page, at most 500; 50 by default.
        #[cfg_attr(test, param(minimum = 1))]
        per_page: Option<usize>
    }
}

/// No query at all, not even `on_behalf_of`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct NoQuery {}

impl OnBehalf for NoQuery {
    fn owner(&mut self) -> Option<String> {
        None
    }
}

/// The request context of a verified caller, with its query; `N` is the scope that it needs.
#[derive(Debug)]
pub(crate) struct RoutesRequest<N, Q> {
    pub(super) request_context: RequestContext,
    query: Q,
    scope: PhantomData<N>,
}

impl<N: RequiredScope, Q: OnBehalf + DeserializeOwned> FromRequestParts<AppState>
    for RoutesRequest<N, Q>
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Problem> {
        let caller = Allowed::<N>::from_request_parts(parts, state).await?.0;
        let Ok(Correlation(correlation)) = Correlation::from_request_parts(parts, state).await;
        let Ok(RequestAuditTrail(trail)) =
            RequestAuditTrail::from_request_parts(parts, state).await;
        let AppQuery(mut query) = AppQuery::<Q>::from_request_parts(parts, state).await?;
        let deadline = Instant::now() + state.defaults.call_timeout;
        let places = RequestRecord::from_extensions(&parts.extensions).places().clone();
        let request_context = RequestContext::new(&caller, &correlation, wall_time(), deadline)
            .holding(places)
            .on_behalf_of(query.owner())
            .on_trail(trail)
            .with_status_mapping(status_and_code);
        Ok(Self { request_context, query, scope: PhantomData })
    }
}

/// Status and code that the caller gets for an error.
fn status_and_code(error: &RouteError) -> (u16, &'static str) {
    let problem = Problem::from(error.clone());
    let spec = problem.code().spec();
    (spec.status.as_u16(), spec.name)
}

/// `PUT /routes/{tenant}`: creates or repairs.
///
/// # Errors
/// The codes of tenant routes, of the token module and of the CF API.
#[cfg_attr(test, utoipa::path(
    put, path = "/routes/{tenant}", operation_id = "ensure_route", tag = "routes",
    summary = "Create or repair the route of a tenant",
    params(EnsureQuery, ("tenant" = String, Path, description = "Id of the tenant: 1 to 128 of `A-Z a-z 0-9 . _ -`", pattern = "^[A-Za-z0-9._-]{1,128}$", example = "t1")),
    request_body = RouteRequestBody,
    responses(
        (status = 200, description = "The route was there, or was repaired; or the plan of a dry run", body = EnsuredBody),
        (status = 201, description = "The route is new", body = EnsuredBody, headers(("Location" = String, description = "Address of the route"))),
    ),
    security(("bearer" = ["Routes.Write"]))
))]
pub(crate) async fn ensure(
    request: RoutesRequest<RoutesWrite, EnsureQuery>,
    Tenant(tenant): Tenant,
    State(routes): State<TenantRoutes>,
    State(base): State<PublicBase>,
    AppJson(body, sent): AppJson<RouteRequestBody>,
) -> Result<Response, Problem> {
    let wanted = body.into_request(Some(&tenant)).map_err(|error| sent.explain(error, None))?;
    ensure_route((&routes, &base), &request, wanted).await
}

/// `POST /routes`: the same with the tenant in the body.
///
/// # Errors
/// As [`ensure`].
#[cfg_attr(test, utoipa::path(
    post, path = "/routes", operation_id = "create_route", tag = "routes",
    summary = "The same with the tenant in the body, as the subscription registry sends it",
    params(EnsureQuery),
    request_body = RouteRequestBody,
    responses(
        (status = 200, description = "The route was there, or was repaired; or the plan of a dry run", body = EnsuredBody),
        (status = 201, description = "The route is new", body = EnsuredBody, headers(("Location" = String, description = "Address of the route"))),
    ),
    security(("bearer" = ["Routes.Write"]))
))]
pub(crate) async fn create(
    request: RoutesRequest<RoutesWrite, EnsureQuery>,
    State(routes): State<TenantRoutes>,
    State(base): State<PublicBase>,
    AppJson(body, sent): AppJson<RouteRequestBody>,
) -> Result<Response, Problem> {
    let wanted = body.into_request(None).map_err(|error| sent.explain(error, None))?;
    ensure_route((&routes, &base), &request, wanted).await
}

async fn ensure_route(
    (routes, base): (&TenantRoutes, &PublicBase),
    request: &RoutesRequest<RoutesWrite, EnsureQuery>,
    (tenant, route_request): (TenantId, RouteRequest),
) -> Result<Response, Problem> {
    let run = if request.query.dry_run { Run::Dry } else { Run::Real };
    let done = routes.ensure(&request.request_context, &tenant, route_request, run).await?;
    let body = EnsuredBody::of(&done, request.request_context.correlation());
    let created = body.is_created() && run == Run::Real;
    let mut answer =
        (if created { StatusCode::CREATED } else { StatusCode::OK }, Json(body)).into_response();
    if created {
        base.locate(answer.headers_mut(), &format!("/routes/{tenant}"));
    }
    Ok(answer)
}

/// `GET /routes/{tenant}`: the state in CF.
///
/// # Errors
/// `not_found` without a route of this owner; those of the CF API.
#[cfg_attr(test, utoipa::path(
    get, path = "/routes/{tenant}", operation_id = "read_routes_of_tenant", tag = "routes",
    summary = "The routes of a tenant, as they are in CF",
    params(NoParameters, ("tenant" = String, Path, description = "Id of the tenant: 1 to 128 of `A-Z a-z 0-9 . _ -`", pattern = "^[A-Za-z0-9._-]{1,128}$", example = "t1")),
    responses((status = 200, description = "The routes", body = TenantBody)),
    security(("bearer" = ["Routes.Read"]))
))]
pub(crate) async fn read(
    request: RoutesRequest<RoutesRead, NoParameters>,
    Tenant(tenant): Tenant,
    State(routes): State<TenantRoutes>,
) -> Result<impl IntoResponse, Problem> {
    let views = routes.get(&request.request_context, &tenant).await?;
    Ok(Json(TenantBody::of(tenant.as_str(), &views)))
}

/// `GET /routes`: the owner's routes and the usage of the quotas.
///
/// # Errors
/// `bad_request` for an invalid page or state; those of the CF API.
#[cfg_attr(test, utoipa::path(
    get, path = "/routes", operation_id = "list_routes", tag = "routes",
    summary = "The tenant routes of the caller, with the usage of the quotas",
    params(ListParameters),
    responses((status = 200, description = "A page of routes", body = ListBody)),
    security(("bearer" = ["Routes.Read"]))
))]
pub(crate) async fn list(
    request: RoutesRequest<RoutesRead, ListParameters>,
    State(routes): State<TenantRoutes>,
) -> Result<impl IntoResponse, Problem> {
    let query = request.query;
    let wanted = ListQuery {
        tenant: query.tenant,
        state: query.state.as_deref().map(state_of).transpose()?,
        page: query.page.unwrap_or(1),
        per_page: query.per_page.unwrap_or(PER_PAGE).min(MOST_PER_PAGE),
    };
    let listing = routes.list(&request.request_context, &wanted).await?;
    Ok(Json(ListBody::of(&listing, &wanted)))
}

fn state_of(word: &str) -> Result<view::RouteState, Problem> {
    state_named(word).ok_or_else(|| {
        let problem = Problem::new(ProblemCode::BadRequest, "The state is not known.");
        problem.field("state", "ok, unmapped, drifted or deleting")
    })
}

/// `DELETE /routes/{tenant}`: 204 when nothing is left, 202 with an operation when CF takes longer.
///
/// # Errors
/// Those of the CF API; each route that was not deleted is listed.
#[cfg_attr(test, utoipa::path(
    delete, path = "/routes/{tenant}", operation_id = "delete_routes_of_tenant", tag = "routes",
    summary = "Delete the routes of a tenant; nothing left is success, too",
    params(
        RemoveQuery, ("tenant" = String, Path, description = "Id of the tenant: 1 to 128 of `A-Z a-z 0-9 . _ -`", pattern = "^[A-Za-z0-9._-]{1,128}$", example = "t1"),
        ("Prefer" = Option<String>, Header, description = "`respond-async`: do not wait for CF (RFC 7240)", example = "respond-async"),
    ),
    responses(
        (status = 202, description = "CF is still deleting", body = OperationBody, headers(
            ("Location" = String, description = "Where the operation can be asked"),
            ("Retry-After" = u64, description = "Seconds until it makes sense to ask"),
            ("Preference-Applied" = String, description = "`respond-async`, if it was asked for"),
        )),
        (status = 204, description = "Nothing is left"),
    ),
    security(("bearer" = ["Routes.Write"]))
))]
pub(crate) async fn remove(
    mut request: RoutesRequest<RoutesWrite, RemoveQuery>,
    Tenant(tenant): Tenant,
    State(state): State<AppState>,
    headers: HeaderMap,
    _: IgnoredBody,
) -> Result<Response, Problem> {
    let (routes, base) = (&state.routes, &state.base);
    let wait_mode = if prefers_async(&headers) { WaitMode::DontWait } else { WaitMode::Wait };
    let removed = match request.query.legacy_route()? {
        Some(route_request) => {
            routes
                .delete_legacy(&request.request_context, &tenant, route_request, wait_mode)
                .await?
        }
        None => routes.delete(&request.request_context, &tenant, wait_mode).await?,
    };
    let operation = match removed {
        Deleted::Done => return Ok(StatusCode::NO_CONTENT.into_response()),
        Deleted::Running { operation } => operation,
    };
    let path = operation_path(routes, &operation)?;
    let mut answer =
        (StatusCode::ACCEPTED, Json(OperationBody::running(&operation))).into_response();
    base.locate(answer.headers_mut(), &path);
    answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from(POLL_AGAIN));
    if wait_mode == WaitMode::DontWait {
        answer
            .headers_mut()
            .insert("preference-applied", HeaderValue::from_static("respond-async"));
    }
    Ok(answer)
}

impl RemoveQuery {
    /// The unlabelled route that is deleted too, if `legacy` is set.
    fn legacy_route(&mut self) -> Result<Option<RouteRequest>, RouteError> {
        if !self.legacy {
            return Ok(None);
        }
        let subdomain = self.subdomain.take().filter(|text| !text.is_empty());
        let subdomain = subdomain.ok_or(RouteError::BadRequest(RequestField::LegacySubdomain))?;
        let (app, domain) = (self.app.take(), self.domain.take());
        let (adoption, replacement) = (Adoption::Refused, Replacement::Keep);
        Ok(Some(RouteRequest { subdomain, app, domain, adoption, replacement }))
    }
}

/// Returns the path of an operation's status.
pub(super) fn operation_path(
    routes: &TenantRoutes,
    operation: &Operation,
) -> Result<String, Problem> {
    Ok(format!("/routes/operations/{}", routes.seal(operation)?))
}

/// `Prefer: respond-async` (RFC 7240), alone or in a list.
fn prefers_async(headers: &HeaderMap) -> bool {
    let values = headers.get_all("prefer").iter().filter_map(|value| value.to_str().ok());
    values
        .flat_map(|value| value.split(','))
        .any(|one| one.trim().eq_ignore_ascii_case("respond-async"))
}

/// `GET /routes/operations/{id}`: the status of a delete that runs longer than its request.
///
/// # Errors
/// `not_found` for an id that does not belong to this owner.
#[cfg_attr(test, utoipa::path(
    get, path = "/routes/operations/{id}", operation_id = "read_operation", tag = "routes",
    summary = "How far a deletion is that outlives its request",
    params(NoParameters, ("id" = String, Path, description = "Id from the `Location` of the deletion; sealed", pattern = "^[A-Za-z0-9_-]{1,512}$", example = "CxDcLmx2IPwQLw1c")),
    responses((status = 200, description = "The state of the deletion", body = OperationBody)),
    security(("bearer" = ["Routes.Read"]))
))]
pub(crate) async fn operation(
    request: RoutesRequest<RoutesRead, NoParameters>,
    Path(id): Path<String>,
    State(routes): State<TenantRoutes>,
    Correlation(correlation): Correlation,
) -> Result<impl IntoResponse, Problem> {
    let (operation, state) = routes.operation(&request.request_context, &id).await?;
    Ok(Json(OperationBody::of(&operation, state, &correlation)))
}
