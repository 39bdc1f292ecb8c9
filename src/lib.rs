//! # cfapi-broker
//!
//! Acts on the Cloud Foundry API as a technical user, so that apps on SAP BTP need no password. `docs/ARCHITECTURE.md`
//! shows the house; this is the tour, in reading order:
//!
//! * [`telemetry`]: log lines, metrics, correlation.
//! * [`upstream`]: the only factory of HTTP clients, capped reading, retries, the gate of an upstream.
//! * [`binding`]: service bindings in every delivery.
//! * [`oauth`]: grants on the wire, their faults, the login hint.
//! * [`destination`]: where the technical user comes from.
//! * [`token`]: leases, renewal, the lockout guard.
//! * [`capi`]: the typed CF API v3.
//! * [`auth`]: who calls.
//! * [`policy`]: what may pass to the CF API.
//! * [`proxy`]: the transparent CF API.
//! * [`routes`]: tenant routes.
//! * [`http`](mod@http): paths, layers, extractors, problems.
//! * [`config`], [`app`], [`server`], [`lifecycle`], [`cli`]: how it is put together and run.

pub mod app;
pub mod auth;
pub mod binding;
pub mod capi;
pub mod cli;
pub mod config;
pub mod destination;
pub mod http;
pub mod lifecycle;
pub mod oauth;
pub mod policy;
pub mod proxy;
pub mod routes;
pub mod server;
pub mod telemetry;
pub mod token;
pub mod upstream;
