//! # cfapi-broker
//!
//! Acts on the Cloud Foundry API as a technical user, so that apps on SAP BTP need no password.
//! `docs/ARCHITECTURE.md` has the map; this is the list of modules in reading order:
//!
//! * [`telemetry`]: log lines, metrics, correlation.
//! * [`upstream`]: the only factory of HTTP clients, limited reading, retries, circuit breaker.
//! * [`binding`]: service bindings in every format.
//! * [`oauth`]: grants, faults of the login server, the login hint.
//! * [`destination`]: where the technical user comes from.
//! * [`token`]: leases, renewal, the lockout guard.
//! * [`capi`]: the typed CF API v3.
//! * [`auth`]: authentication of callers.
//! * [`policy`]: the allow list of the CF API.
//! * [`proxy`]: the transparent CF API.
//! * [`routes`]: tenant routes.
//! * `pages`: the pages for people.
//! * [`http`](mod@http): paths, middleware, extractors, problems.
//! * [`config`], [`app`], [`server`], [`lifecycle`], [`cli`]: configuration, composition, listener,
//!   signals, command line.

pub mod app;
pub mod auth;
pub mod binding;
pub mod capi;
pub mod cli;
pub mod config;
pub mod destination;
pub mod http;
pub mod lifecycle;
pub mod login;
pub mod oauth;
pub mod overview;
mod pages;
pub mod policy;
pub mod proxy;
pub mod routes;
pub mod server;
pub mod telemetry;
pub mod token;
pub mod upstream;
