//! All gates of the process, by fingerprint.
//!
//! Invariant: a gate that has refused is not forgotten while the process lives, whatever the cache of slots does; the
//! number of gates is bounded. Used by `door`.

use super::{
    budget::Budget,
    gate::{CredentialGate, GateState},
};
use crate::oauth::Fingerprint;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};
use tokio::time::Instant;

/// Each change of a destination makes one; nobody changes passwords a thousand times between two restarts. Beyond
/// that, gates that have nothing to remember go first.
const MOST: usize = 1024;

/// The gates.
#[derive(Debug, Default)]
pub(super) struct Gates {
    gates: Mutex<HashMap<Fingerprint, Arc<CredentialGate>>>,
    budget: Arc<Budget>,
}

impl Gates {
    /// Returns the gate of a credential, a new one if it was never seen.
    pub(super) fn of(&self, fingerprint: Fingerprint) -> Arc<CredentialGate> {
        let mut gates = self.gates.lock().unwrap_or_else(PoisonError::into_inner);
        if gates.len() >= MOST && !gates.contains_key(&fingerprint) {
            make_room(&mut gates);
        }
        let new = || Arc::new(CredentialGate::new(Arc::clone(&self.budget)));
        Arc::clone(gates.entry(fingerprint).or_insert_with(new))
    }
}

/// Drops gates that are in nobody's hands and have refused nothing; if there is none, one that nobody holds.
fn make_room(gates: &mut HashMap<Fingerprint, Arc<CredentialGate>>) {
    let now = Instant::now();
    gates.retain(|_, gate| {
        let has_nothing_to_say = match gate.state(now) {
            GateState::Unknown | GateState::Good => true,
            GateState::Rejected | GateState::Blocked | GateState::Locked | GateState::Waiting => {
                false
            }
        };
        Arc::strong_count(gate) > 1 || !has_nothing_to_say
    });
    if gates.len() < MOST {
        return;
    }
    let idle = gates.iter().find(|(_, gate)| Arc::strong_count(gate) == 1);
    if let Some(fingerprint) = idle.map(|(fingerprint, _)| *fingerprint) {
        gates.remove(&fingerprint);
    }
}
