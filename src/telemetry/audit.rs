//! The audit target: one line of intent before a mutation leaves, one of outcome after it.
//!
//! Invariant: lines of this target are never filtered away (`logs` lets them pass at every `RUST_LOG`) and never
//! sampled. A room that mutates writes `tracing::info!(target: audit::TARGET, …)` with the field names of
//! `docs/LOGGING.md`.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

/// Target of audit lines; the JSON line gets `"categories":["audit"]`.
pub const TARGET: &str = "audit";

/// The outcome of a mutation that was refused before anything was tried for it.
pub const DENIED: &str = "denied";

/// Whether a request has left an audit line, so that who sees it out knows if one is owed; a clone is shallow.
#[derive(Clone, Debug, Default)]
pub struct Trail(Arc<AtomicBool>);

impl Trail {
    /// Notes that a line was written.
    pub fn mark(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// Tells whether a line was written.
    pub fn is_marked(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}
