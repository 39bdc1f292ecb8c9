//! `GET /status`: how the technical user of the caller is. It asks no other system.

use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use serde::Serialize;

use crate::{
    auth::Caller,
    http::{
        extract::SpacesRead,
        handlers::destinations::{BrokerBody, DestinationBody},
        problem::Problem,
        state::AppState,
        technical_user::{api_facts, card_of},
        viewer::Viewer,
    },
    pages::{PageScript, PageSection, StatusCard, StatusHtml},
    token::DestinationStatus,
};

/// The destination of the caller, as in the list of destinations.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema), schema(as = DestinationStatus))]
struct StatusBody {
    #[serde(flatten)]
    destination: DestinationBody,
    /// The process that answers.
    broker: BrokerBody,
}

/// Answers from memory.
///
/// # Errors
/// `not_found` if the caller's destination is not configured.
#[cfg_attr(test, utoipa::path(
    get, path = "/status", operation_id = "read_status", tag = "technical user",
    summary = "How the technical user is that serves the caller",
    responses((status = 200, description = "Its destination; a page for a browser", body = StatusBody)),
    security(("bearer" = ["Spaces.Read"]), ("page_cookie" = ["Spaces.Read"]))
))]
pub(crate) async fn read(
    viewer: Viewer<SpacesRead>,
    State(state): State<AppState>,
) -> Result<Response, Problem> {
    let status = status_for(&state, &viewer.caller).ok_or_else(Problem::not_found)?;
    let document = || {
        let destination = DestinationBody::of(&status, &state);
        Json(StatusBody { destination, broker: BrokerBody::of(&state) }).into_response()
    };
    let frame = state.site().frame(PageSection::Other, PageScript::Live);
    let page =
        |person| StatusHtml { frame: frame.seen_by(person), card: full_card(&state, &status) };
    Ok(viewer.answer(page, document))
}

/// How the technical user is that serves a caller.
pub(super) fn card_for(state: &AppState, caller: &Caller) -> Option<StatusCard> {
    status_for(state, caller).map(|status| full_card(state, &status))
}

fn status_for(state: &AppState, caller: &Caller) -> Option<DestinationStatus> {
    let own = state.routes.providers().destination_of(caller);
    let name = own.unwrap_or(&state.defaults.destination);
    state.vault.statuses().into_iter().find(|status| status.name == *name)
}

fn full_card(state: &AppState, status: &DestinationStatus) -> StatusCard {
    let mut card = card_of(status);
    card.facts.push(("Destination", status.name.to_string()));
    card.facts.extend(api_facts(state.capi.condition(&status.name), state.capi.version()));
    card
}
