//! The levers over HTTP, for tests in any language and for people with curl.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use http::StatusCode;
use serde_json::{Map, Value, json};

use crate::levers::{LeverContext, all, part_names};
use crate::part::Part;

/// Mounts the levers.
pub(crate) fn router(lever_context: Arc<LeverContext>) -> Router {
    Router::new()
        .route("/", get(list))
        .route("/journal", get(journal).delete(clear_journal))
        .route("/wire/{part}", get(wire))
        .route("/{lever}", post(pull))
        .with_state(lever_context)
}

async fn list() -> Json<Value> {
    let levers: Map<String, Value> =
        all().map(|(name, help)| (name.to_owned(), Value::String(help.to_owned()))).collect();
    Json(json!({"levers": levers, "parts": Part::ALL.map(Part::name),
        "journal": "GET /journal reads it, DELETE /journal empties it",
        "wire": "GET /wire/{part}: the bytes of the part's last request; of uaa, its last token request"}))
}

async fn journal(State(lever_context): State<Arc<LeverContext>>) -> Json<Value> {
    Json(json!({"requests": lever_context.landscape.journal.entries()}))
}

async fn clear_journal(State(lever_context): State<Arc<LeverContext>>) -> StatusCode {
    lever_context.landscape.forget_requests();
    StatusCode::NO_CONTENT
}

async fn wire(
    State(lever_context): State<Arc<LeverContext>>,
    Path(part): Path<String>,
) -> Response {
    let Some(part) = Part::named(&part) else {
        return refused(
            StatusCode::NOT_FOUND,
            &format!("unknown part: known are {}", part_names()),
        );
    };
    lever_context.landscape.recent_requests.of(part).last().into_response()
}

/// An empty body means no arguments, whatever its content type.
async fn pull(
    State(lever_context): State<Arc<LeverContext>>,
    Path(lever): Path<String>,
    body: Bytes,
) -> Response {
    let is_blank = body.iter().all(u8::is_ascii_whitespace);
    let args = if is_blank { Ok(Value::Null) } else { serde_json::from_slice(&body) };
    let Ok(args) = args else {
        return refused(StatusCode::BAD_REQUEST, "the arguments must be one JSON object");
    };
    match lever_context.pull(&lever, &args).await {
        Some(Ok(Value::Null)) => Json(json!({})).into_response(),
        Some(Ok(answer)) => Json(answer).into_response(),
        Some(Err(message)) => refused(StatusCode::BAD_REQUEST, &message),
        None => refused(StatusCode::NOT_FOUND, "no such lever: GET / lists them"),
    }
}

fn refused(status: StatusCode, message: &str) -> Response {
    (status, Json(json!({"error": message}))).into_response()
}
