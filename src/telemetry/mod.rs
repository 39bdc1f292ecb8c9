//! What the broker tells about itself: log lines, metrics, audit lines, correlation.
//!
//! Invariant: this room names no other room, and nothing here ever holds a secret. Everyone may
//! call it.

pub mod audit;
pub mod logs;
pub mod metrics;
pub mod trace;
pub mod writer;
