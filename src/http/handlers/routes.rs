//! `/routes`: tenant routes, for provider apps.

use std::marker::PhantomData;

use axum::{
    Json,
    extract::{FromRequestParts, Path, State},
    response::{IntoResponse, Response},
};
use http::{
    HeaderMap, HeaderValue, StatusCode,
    header::{LOCATION, RETRY_AFTER},
    request::Parts,
};
use serde::{Deserialize, de::DeserializeOwned};
use tokio::time::Instant;

use crate::{
    http::{
        code::Code,
        extract::{
            Allowed, AppJson, AppQuery, Correlation, RequestAuditTrail, RequiredScope, RoutesRead,
            RoutesWrite, Tenant, wall_time,
        },
        handlers::route_body::{EnsuredBody, ListBody, OperationBody, TenantBody, state_named},
        problem::Problem,
        state::AppState,
    },
    routes::{
        Deleted, ListQuery, Operation, RequestContext, RouteError, RouteRequest, RouteRequestBody,
        Run, TenantId, TenantRoutes, WaitMode, error::RequestField, request::Adoption, view,
    },
};

/// Routes per page if the caller does not say.
const PER_PAGE: usize = 50;
/// Most routes per page; the answer stays below a megabyte.
const MOST_PER_PAGE: usize = 500;
/// When to look at an operation again.
const POLL_AGAIN: u64 = 2;

/// What every call on routes says besides its own parameters.
pub(crate) trait OnBehalf {
    /// The owner that an administrator acts for.
    fn owner(&mut self) -> Option<String>;
}

/// Declares a query: its own parameters and `on_behalf_of`.
macro_rules! query {
    ($(#[$doc:meta])* $name:ident { $($field:ident: $kind:ty),* }) => {
        $(#[$doc])*
        #[derive(Debug, Default, Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub(crate) struct $name { on_behalf_of: Option<String>, $($field: $kind),* }

        impl OnBehalf for $name {
            fn owner(&mut self) -> Option<String> {
                self.on_behalf_of.take()
            }
        }
    };
}

query! {
    /// Query of calls without parameters of their own.
    NoParameters {}
}
query! {
    /// Query of `PUT` and `POST`.
    EnsureQuery { dry_run: bool }
}
query! {
    /// Query of `DELETE`; all but `legacy` count only with it.
    RemoveQuery { legacy: bool, subdomain: Option<String>, app: Option<String>, domain: Option<String> }
}
query! {
    /// Query of the list.
    ListParameters { tenant: Option<String>, state: Option<String>, page: Option<usize>, per_page: Option<usize> }
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
        let request_context = RequestContext::new(&caller, &correlation, wall_time(), deadline)
            .on_behalf_of(query.owner())
            .on_trail(trail)
            .with_status_mapping(status_and_code);
        Ok(Self { request_context, query, scope: PhantomData })
    }
}

/// What a caller is told of an error.
fn status_and_code(error: &RouteError) -> (u16, &'static str) {
    let problem = Problem::from(error.clone());
    let spec = problem.code().spec();
    (spec.status.as_u16(), spec.name)
}

/// `PUT /routes/{tenant}`: creates or repairs.
///
/// # Errors
/// The codes of tenant routes, of the token engine and of the CF API.
pub(crate) async fn ensure(
    asked: RoutesRequest<RoutesWrite, EnsureQuery>,
    Tenant(tenant): Tenant,
    State(routes): State<TenantRoutes>,
    AppJson(body): AppJson<RouteRequestBody>,
) -> Result<Response, Problem> {
    ensure_route(&routes, &asked, Some(&tenant), body).await
}

/// `POST /routes`: the same with the tenant in the body.
///
/// # Errors
/// As [`ensure`].
pub(crate) async fn create(
    asked: RoutesRequest<RoutesWrite, EnsureQuery>,
    State(routes): State<TenantRoutes>,
    AppJson(body): AppJson<RouteRequestBody>,
) -> Result<Response, Problem> {
    ensure_route(&routes, &asked, None, body).await
}

async fn ensure_route(
    routes: &TenantRoutes,
    asked: &RoutesRequest<RoutesWrite, EnsureQuery>,
    path: Option<&TenantId>,
    body: RouteRequestBody,
) -> Result<Response, Problem> {
    let (tenant, route_request) = body.into_request(path)?;
    let run = if asked.query.dry_run { Run::Dry } else { Run::Real };
    let done = routes.ensure(&asked.request_context, &tenant, route_request, run).await?;
    let body = EnsuredBody::of(&done);
    let created = body.is_created() && run == Run::Real;
    let mut answer =
        (if created { StatusCode::CREATED } else { StatusCode::OK }, Json(body)).into_response();
    if created && let Ok(place) = HeaderValue::try_from(format!("/routes/{tenant}")) {
        answer.headers_mut().insert(LOCATION, place);
    }
    Ok(answer)
}

/// `GET /routes/{tenant}`: the state in CF.
///
/// # Errors
/// `not_found` without a route of this owner; those of the CF API.
pub(crate) async fn read(
    asked: RoutesRequest<RoutesRead, NoParameters>,
    Tenant(tenant): Tenant,
    State(routes): State<TenantRoutes>,
) -> Result<impl IntoResponse, Problem> {
    let views = routes.get(&asked.request_context, &tenant).await?;
    Ok(Json(TenantBody::of(tenant.as_str(), &views)))
}

/// `GET /routes`: the owner's routes and what is left of the quotas.
///
/// # Errors
/// `bad_request` for a page or state that is none; those of the CF API.
pub(crate) async fn list(
    asked: RoutesRequest<RoutesRead, ListParameters>,
    State(routes): State<TenantRoutes>,
) -> Result<impl IntoResponse, Problem> {
    let query = asked.query;
    let wanted = ListQuery {
        tenant: query.tenant,
        state: query.state.as_deref().map(state_of).transpose()?,
        page: query.page.unwrap_or(1),
        per_page: query.per_page.unwrap_or(PER_PAGE).min(MOST_PER_PAGE),
    };
    let listing = routes.list(&asked.request_context, &wanted).await?;
    Ok(Json(ListBody::of(&listing, &wanted)))
}

fn state_of(word: &str) -> Result<view::RouteState, Problem> {
    state_named(word).ok_or_else(|| {
        let problem = Problem::new(Code::BadRequest, "The state is not known.");
        problem.field("state", "ok, unmapped, drifted or deleting")
    })
}

/// `DELETE /routes/{tenant}`: 204 when nothing is left, 202 with an operation when CF takes longer.
///
/// # Errors
/// Those of the CF API; a route that stayed is named.
pub(crate) async fn remove(
    mut asked: RoutesRequest<RoutesWrite, RemoveQuery>,
    Tenant(tenant): Tenant,
    State(routes): State<TenantRoutes>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let wait_mode = if prefers_async(&headers) { WaitMode::DontWait } else { WaitMode::Wait };
    let removed = match asked.query.legacy_route()? {
        Some(route_request) => {
            routes.delete_legacy(&asked.request_context, &tenant, route_request, wait_mode).await?
        }
        None => routes.delete(&asked.request_context, &tenant, wait_mode).await?,
    };
    let operation = match removed {
        Deleted::Done => return Ok(StatusCode::NO_CONTENT.into_response()),
        Deleted::Running { operation } => operation,
    };
    let place = operation_path(&routes, &operation)?;
    let mut answer =
        (StatusCode::ACCEPTED, Json(OperationBody::running(&operation))).into_response();
    if let Ok(place) = HeaderValue::try_from(place) {
        answer.headers_mut().insert(LOCATION, place);
    }
    answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from(POLL_AGAIN));
    if wait_mode == WaitMode::DontWait {
        answer
            .headers_mut()
            .insert("preference-applied", HeaderValue::from_static("respond-async"));
    }
    Ok(answer)
}

impl RemoveQuery {
    /// The place of the route without labels that is to go, too.
    fn legacy_route(&mut self) -> Result<Option<RouteRequest>, RouteError> {
        if !self.legacy {
            return Ok(None);
        }
        let subdomain = self.subdomain.take().filter(|text| !text.is_empty());
        let subdomain = subdomain.ok_or(RouteError::BadRequest(RequestField::Subdomain))?;
        let (app, domain) = (self.app.take(), self.domain.take());
        Ok(Some(RouteRequest { subdomain, app, domain, adoption: Adoption::Refused }))
    }
}

/// Returns where an operation can be followed.
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

/// `GET /routes/operations/{id}`: how a removal stands that outlived its request.
///
/// # Errors
/// `not_found` for an id that is not one of this owner's.
pub(crate) async fn operation(
    asked: RoutesRequest<RoutesRead, NoParameters>,
    Path(id): Path<String>,
    State(routes): State<TenantRoutes>,
    Correlation(correlation): Correlation,
) -> Result<impl IntoResponse, Problem> {
    let (operation, state) = routes.operation(&asked.request_context, &id).await?;
    Ok(Json(OperationBody::of(&operation, state, &correlation)))
}
