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
        problem::Problem,
        state::AppState,
        technical_user::{api_facts, card_of},
        viewer::Viewer,
    },
    pages::{PageScript, PageSection, StatusCard, StatusHtml},
};

/// The state in the words of the page.
#[derive(Debug, Serialize)]
struct StatusBody<'a> {
    state: &'a str,
    cause: Option<&'a str>,
    next_step: Option<&'a str>,
}

/// Answers from memory.
///
/// # Errors
/// `not_found` if the caller's destination is not configured.
pub(crate) async fn read(
    viewer: Viewer<SpacesRead>,
    State(state): State<AppState>,
) -> Result<Response, Problem> {
    let card = card_for(&state, &viewer.caller).ok_or_else(Problem::not_found)?;
    let (cause, next_step) = (card.cause.as_deref(), card.next_step.as_deref());
    let body = StatusBody { state: &card.state, cause, next_step };
    let document = || Json(body).into_response();
    let frame = state.site().frame(PageSection::Other, PageScript::Live);
    let page = |person| StatusHtml { frame: frame.seen_by(person), card: card.clone() };
    Ok(viewer.answer(page, document))
}

/// How the technical user is that serves a caller.
pub(super) fn card_for(state: &AppState, caller: &Caller) -> Option<StatusCard> {
    let own = state.routes.providers().destination_of(caller);
    let name = own.unwrap_or(&state.defaults.destination);
    let statuses = state.vault.statuses();
    let mut card = statuses.iter().find(|status| status.name == *name).map(card_of)?;
    card.facts.push(("Destination", name.to_string()));
    card.facts.extend(api_facts(state.capi.condition(name), state.capi.version()));
    Some(card)
}
