//! `/spaces`: the spaces that the technical user sees, and one of them with its routes.

use std::cell::LazyCell;

use axum::{
    Json,
    extract::{Path, State, rejection::PathRejection},
    response::{IntoResponse, Response},
};
use http::{StatusCode, header::CONTENT_TYPE};
use serde::Deserialize;
use tokio::time::Instant;

use crate::{
    auth::{Caller, Scope},
    capi::{CapiError, CfRequestClient, Guid},
    http::{
        code::ProblemCode,
        extract::{AppQuery, Correlation, SpacesRead, wall_time},
        handlers::status::card_for,
        problem::Problem,
        state::AppState,
        viewer::Viewer,
    },
    overview::view::{RowQuery, RowWindow, TenantsShown},
    pages::{PageScript, PageSection, SpaceHtml, SpaceListHtml},
    telemetry::trace::CorrelationId,
};

/// Rows on a page for people, if the address does not say it.
const PER_PAGE: usize = 100;
/// Largest number of rows per page.
const MOST_PER_PAGE: usize = 1000;
const JSON: &str = "application/json";

/// Query of the list and of one space.
#[derive(Debug, Default, Deserialize)]
#[cfg_attr(test, derive(utoipa::IntoParams), into_params(parameter_in = Query))]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RowParameters {
    /// The page, from 1.
    #[cfg_attr(test, param(minimum = 1))]
    page: Option<usize>,
    /// Rows per page, at most 1000. JSON has all rows without it and `page`.
    #[cfg_attr(test, param(minimum = 1))]
    per_page: Option<usize>,
    /// A text that a row must have, whatever its case.
    filter: Option<String>,
}

impl RowParameters {
    /// Returns the query of a program, which gets all rows if it names no page, and that of a
    /// person.
    fn queries(self) -> Result<(RowQuery, RowQuery), Problem> {
        if self.page == Some(0) || self.per_page == Some(0) {
            let problem = Problem::new(ProblemCode::BadRequest, "The page is not valid.");
            return Err(problem.field("page", "page and per_page begin with 1"));
        }
        let is_paged = self.page.is_some() || self.per_page.is_some();
        let per_page = self.per_page.unwrap_or(PER_PAGE).min(MOST_PER_PAGE);
        let window = Some(RowWindow { page: self.page.unwrap_or(1), per_page });
        let of_person = RowQuery { filter: self.filter, window };
        let of_program =
            RowQuery { filter: of_person.filter.clone(), window: window.filter(|_| is_paged) };
        Ok((of_program, of_person))
    }
}

/// `GET /spaces`: sorted by name; a page for a browser, JSON for everybody else.
///
/// # Errors
/// `bad_request` for a bad query; the problems of the token module and of the CF API.
#[cfg_attr(test, utoipa::path(
    get, path = "/spaces", operation_id = "list_spaces", tag = "spaces",
    summary = "The spaces that the technical user sees",
    params(RowParameters),
    responses((status = 200, description = "The spaces; a page for a browser", body = crate::overview::view::SpacesPage<'static>)),
    security(("bearer" = ["Spaces.Read"]), ("page_cookie" = ["Spaces.Read"]))
))]
pub(crate) async fn list(
    viewer: Viewer<SpacesRead>,
    Correlation(correlation): Correlation,
    parameters: Result<AppQuery<RowParameters>, Problem>,
    State(state): State<AppState>,
) -> Result<Response, Problem> {
    let (of_program, of_person) = queries_of(parameters, &viewer)?;
    let cf = cf_for(&state, &viewer.caller, &correlation);
    let read = state.overview.spaces(&cf).await;
    let spaces = read.map_err(|error| explained(&state, &viewer, error))?;
    let card = if viewer.wants_html() {
        // A page says it from the next view on.
        cf.learn_version();
        card_for(&state, &viewer.caller)
    } else {
        None
    };
    let document = || match spaces.json(&of_program) {
        Ok(json) => ([(CONTENT_TYPE, JSON)], json).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    };
    // Only a page needs them.
    let shown = LazyCell::new(|| spaces.page(&of_person));
    let page = |person| {
        let frame = state.site().frame(PageSection::Spaces, PageScript::Live);
        SpaceListHtml::new(frame.seen_by(person), &shown, &of_person).with_status(card)
    };
    Ok(viewer.answer(page, document))
}

/// `GET /spaces/{guid}`: one space with its routes, apps and quotas.
///
/// # Errors
/// `not_found` if the technical user does not see it; as [`list`].
#[cfg_attr(test, utoipa::path(
    get, path = "/spaces/{guid}", operation_id = "read_space", tag = "spaces",
    summary = "One space with its tenant routes, other routes, apps and quotas",
    params(RowParameters, ("guid" = String, Path, description = "Guid of the space", pattern = "^[A-Za-z0-9_-]{1,64}$", example = "4d57c4e2-59ab-4b1f-a6f1-e18e43abcd3a")),
    responses((status = 200, description = "The space; a page for a browser", body = crate::overview::view::SpacePage<'static>)),
    security(("bearer" = ["Spaces.Read"]), ("page_cookie" = ["Spaces.Read"]))
))]
pub(crate) async fn read(
    viewer: Viewer<SpacesRead>,
    Correlation(correlation): Correlation,
    guid: Result<Path<String>, PathRejection>,
    parameters: Result<AppQuery<RowParameters>, Problem>,
    State(state): State<AppState>,
) -> Result<Response, Problem> {
    let (of_program, of_person) = queries_of(parameters, &viewer)?;
    let guid =
        guid.ok().and_then(|Path(text)| Guid::parse(&text)).ok_or_else(|| not_visible(&viewer))?;
    let cf = cf_for(&state, &viewer.caller, &correlation);
    let found = state.overview.space(&cf, &guid, wall_time()).await;
    let found = found.map_err(|error| explained(&state, &viewer, error))?;
    let space = found.as_ref().as_ref().ok_or_else(|| not_visible(&viewer))?;
    let is_admin = viewer.caller.has(Scope::RoutesAdmin);
    let shown = if is_admin { TenantsShown::Yes } else { TenantsShown::No };
    let document = || Json(space.page(&of_program, shown)).into_response();
    let rows = space.page(&of_person, shown);
    let frame = state.site().frame(PageSection::Other, PageScript::Local);
    let page = |person| SpaceHtml::new(frame.seen_by(person), &rows, &of_person);
    Ok(viewer.answer(page, document))
}

/// The CF API as the technical user of the caller's provider entry, else of the default one.
fn cf_for(state: &AppState, caller: &Caller, correlation: &CorrelationId) -> CfRequestClient {
    let own = state.routes.providers().destination_of(caller);
    let destination = own.unwrap_or(&state.defaults.destination);
    let deadline = Instant::now() + state.defaults.call_timeout;
    let cf = state.capi.for_request(destination, correlation, deadline);
    cf.for_caller(&caller.limit_key())
}

/// The problem of a read, with how the technical user is.
fn explained(state: &AppState, viewer: &Viewer<SpacesRead>, error: CapiError) -> Problem {
    let card = card_for(state, &viewer.caller);
    let is_state = matches!(error, CapiError::Token(_));
    let problem = Problem::from(error).seen_by(viewer.person());
    if is_state { problem.told_by(card) } else { problem.with_status(card) }
}

/// The queries of a program and of a person.
fn queries_of(
    parameters: Result<AppQuery<RowParameters>, Problem>,
    viewer: &Viewer<SpacesRead>,
) -> Result<(RowQuery, RowQuery), Problem> {
    let queries = parameters.and_then(|AppQuery(parameters)| parameters.queries());
    queries.map_err(|problem| problem.seen_by(viewer.person()))
}

fn not_visible(viewer: &Viewer<SpacesRead>) -> Problem {
    let detail = "The technical user sees no space of that guid. It needs a role in the space.";
    Problem::new(ProblemCode::NotFound, detail).seen_by(viewer.person())
}
