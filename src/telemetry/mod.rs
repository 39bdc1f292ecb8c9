//! What the broker reports about itself: log lines, metrics, audit lines, correlation ids.
//!
//! Invariant: this module depends on no other module, and nothing here contains a secret. Every
//! module may call it.

pub mod audit;
pub mod foreign;
pub mod logs;
pub mod metrics;
pub mod trace;
pub mod writer;
