//! One file per subject: a handler extracts what it needs from the request, calls one module, and
//! builds the response.

pub(crate) mod assets;
pub(crate) mod destinations;
pub(crate) mod docs;
pub(crate) mod health;
pub(crate) mod login;
pub(crate) mod metrics;
pub(crate) mod openapi;
pub(crate) mod problems;
pub(crate) mod proxy;
pub(crate) mod release;
pub(crate) mod root;
mod route_body;
pub(crate) mod route_bulk;
pub(crate) mod route_transfer;
pub(crate) mod routes;
pub(crate) mod spaces;
pub(crate) mod status;

/// Panics; only the router's tests have a path to it.
#[cfg(test)]
pub(crate) async fn panic() -> http::StatusCode {
    panic!("canary")
}
