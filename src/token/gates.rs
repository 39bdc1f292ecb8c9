//! All gates of the process, by fingerprint.
//!
//! Invariant: a gate that has refused is not forgotten while the process lives, whatever the cache of slots does; the
//! number of gates is bounded. Used by `door`.

use super::{budget::Budget, gate::CredentialGate, state::GateState};
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

#[cfg(test)]
mod tests {
    use super::{Gates, MOST};
    use crate::token::{
        Reason,
        fake::destination,
        state::Sending,
        verdict::{Ruling, Verdict},
    };
    use std::sync::Arc;
    use tokio::time::Instant;

    #[test]
    fn a_credential_has_one_gate() {
        let gates = Gates::default();
        let of = |password| gates.of(destination("CFAPI", password).fingerprint);
        assert!(Arc::ptr_eq(&of(1), &of(1)));
        assert!(!Arc::ptr_eq(&of(1), &of(2)));
    }

    #[test]
    fn the_number_of_gates_is_bounded_and_refusals_stay_longest() {
        let gates = Gates::default();
        let of = |password| gates.of(destination("CFAPI", password).fingerprint);
        let ruling = Ruling { verdict: Verdict::Rejected, reason: Reason::Rejected };
        of(0).failed(Sending::Password, &ruling, Instant::now());
        let held = of(1);
        for password in 2..3000 {
            of(password);
        }
        assert!(of(0).is_closed());
        assert!(Arc::ptr_eq(&held, &of(1)));
        assert!(gates.gates.lock().unwrap().len() <= MOST);
    }
}
