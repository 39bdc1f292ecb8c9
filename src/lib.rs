//! # cfapi-broker
//!
//! Acts on the Cloud Foundry API as a technical user, so that apps on SAP BTP need no password. `docs/ARCHITECTURE.md`
//! shows the house; this is the tour, in reading order:
//!
//! * [`telemetry`]: log lines, metrics, correlation.

pub mod telemetry;
