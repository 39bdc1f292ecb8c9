//! The audit target: one line of intent before a mutation leaves, one of outcome after it.
//!
//! Invariant: lines of this target are never filtered away (`logs` lets them pass at every `RUST_LOG`) and never
//! sampled. A room that mutates writes `tracing::info!(target: audit::TARGET, …)` with the field names of
//! `docs/LOGGING.md`.

/// Target of audit lines; the JSON line gets `"categories":["audit"]`.
pub const TARGET: &str = "audit";
