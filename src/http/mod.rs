//! The HTTP interface: all paths in one place, and everything between a request and a call of a
//! module.
//!
//! Invariant: handlers decide nothing; they extract, call one module, and build the response.
//! Called by `app`.

mod access_log;
pub mod code;
mod destinations_page;
mod dispatch;
mod error_mapping;
mod extract;
mod handlers;
mod hosts;
mod middleware;
#[cfg(test)]
mod openapi;
mod own_form;
mod page;
mod problem;
mod problem_guide;
mod readiness;
mod request_record;
mod request_validation;
mod state;
mod technical_user;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod test_harness;
mod user_state;
mod viewer;
mod visitor;

pub use dispatch::Dispatch;
pub use extract::BodyLimits;
pub use hosts::{LoopbackHosts, ServedHosts, public_base};
pub use middleware::{AdmissionLimits, Deadline};
pub use readiness::Readiness;
pub use request_validation::{CutTarget, RequestValidator};
pub use state::{AppState, AppStateParts, Defaults, PublicBase};

use axum::{
    Router,
    response::Response,
    routing::{get, post, put},
};

use crate::http::{
    handlers::{
        assets, destinations, docs, health, login, metrics, openapi as openapi_document, problems,
        proxy::ProxyHandler, release, root, route_bulk, route_transfer, routes, spaces, status,
    },
    middleware::MiddlewareStack,
};
use crate::login::LOGGED_OUT;
use tower::Layer as _;
use tower_http::csrf::{CsrfLayer, ProtectionError};

type OwnForms = CsrfLayer<fn(ProtectionError) -> Response>;

/// Largest body of a list: 5000 tenants of about 200 bytes, or 100 subscription payloads.
const LIST_BYTES: usize = 1024 * 1024;
const RECONCILE: &str = "/routes/reconcile";
const BATCH: &str = "/routes/batch";
/// The paths with such a body.
const LISTS: &[&str] = &[RECONCILE, BATCH];

/// All paths, inside the middleware stack.
pub fn router(state: &AppState) -> Dispatch {
    let own = Router::new()
        .route("/", get(root::document))
        .route("/health", get(health::alive).options(health::alive))
        .route("/health/ready", get(health::ready).options(health::ready))
        .route("/metrics", get(metrics::read))
        .route("/routes", get(routes::list).merge(post(routes::create)))
        .route("/routes/{tenant}", put(routes::ensure).get(routes::read).delete(routes::remove))
        .route("/routes/transfer", post(route_transfer::transfer))
        .route("/routes/operations/{id}", get(routes::operation))
        .route(BATCH, post(route_bulk::batch).with_state(with_list_limit(state)))
        .route(RECONCILE, post(route_bulk::reconcile).with_state(with_list_limit(state)))
        .route("/destinations", get(destinations::list))
        .route("/destinations/{name}/retry", post(release::retry))
        .route("/destinations/{name}/release", post(release::by_form))
        .route("/status", get(status::read))
        .route("/spaces", get(spaces::list))
        .route("/spaces/{guid}", get(spaces::read))
        .route("/docs", get(docs::read))
        .route("/problems", get(problems::list))
        .route("/problems/{kind}", get(problems::read))
        .route("/openapi.json", get(openapi_document::read))
        .route("/assets/{name}", get(assets::read))
        .route("/login", get(login::start))
        .route("/login/callback", get(login::callback))
        .route(LOGGED_OUT, get(login::logged_out))
        .route("/logout", post(login::logout).layer(own_forms(state)))
        .fallback(root::not_found)
        .with_state(state.clone());
    #[cfg(test)]
    let own = own.route("/panic", get(handlers::panic));
    let stack = MiddlewareStack::new(state, (LISTS, state.body.bytes.max(LIST_BYTES)));
    // `/v3` and everything below it, with any method.
    Dispatch { cf: stack.layer(ProxyHandler(state.proxy_state())), own: own.layer(stack) }
}

/// Refuses forms of other sites.
fn own_forms(state: &AppState) -> OwnForms {
    let layer = CsrfLayer::new();
    let trusted = layer.clone().add_trusted_origin(state.base.origin());
    // An origin that no browser can send is left out.
    let foreign: fn(ProtectionError) -> Response = |_| login::foreign_form();
    trusted.unwrap_or(layer).with_rejection_response(foreign)
}

/// The state for calls whose body is a list.
fn with_list_limit(state: &AppState) -> AppState {
    let mut parts = AppStateParts::clone(state);
    parts.body.bytes = parts.body.bytes.max(LIST_BYTES);
    AppState::new(parts)
}
