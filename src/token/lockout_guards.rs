//! All lockout guards of the process, by fingerprint, and the attempt budgets behind them, by user.
//!
//! Invariant: a guard stays when the cache evicts its refreshers. The number of guards is bounded;
//! guards that have seen a refusal are dropped last. Guards of one user share one budget, because
//! the identity provider counts the failures of a user. Used by `entry`.

use super::{attempt_budget::AttemptBudget, lockout_guard::LockoutGuard, state::GuardState};
use crate::oauth::Fingerprint;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};
use tokio::time::Instant;

/// Each change of credentials makes one guard, and a thousand password changes between two restarts
/// are not realistic. Above this number, guards with nothing to remember are dropped first.
const MAX_GUARDS: usize = 1024;

/// The guards.
#[derive(Debug)]
pub(super) struct LockoutGuards {
    guards: Mutex<HashMap<Fingerprint, Arc<LockoutGuard>>>,
    /// By user name in lower case: identity providers do not tell case apart.
    budgets: Mutex<HashMap<String, Arc<AttemptBudget>>>,
    instance_index: Option<u32>,
}

impl LockoutGuards {
    /// Makes none yet. The number of the instance decides how its attempts are spread.
    pub(super) fn new(instance_index: Option<u32>) -> Self {
        Self { guards: Mutex::default(), budgets: Mutex::default(), instance_index }
    }

    /// Returns the guard of a credential of this user; makes one if there is none.
    pub(super) fn of(&self, fingerprint: Fingerprint, user: &str) -> Arc<LockoutGuard> {
        let mut guards = self.guards.lock().unwrap_or_else(PoisonError::into_inner);
        if guards.len() >= MAX_GUARDS && !guards.contains_key(&fingerprint) {
            make_room(&mut guards);
        }
        let new = || Arc::new(LockoutGuard::new(self.budget(user)));
        Arc::clone(guards.entry(fingerprint).or_insert_with(new))
    }

    /// Returns the budget of a user. Above the number of guards, unused ones that have nothing to
    /// remember are dropped.
    fn budget(&self, user: &str) -> Arc<AttemptBudget> {
        let mut budgets = self.budgets.lock().unwrap_or_else(PoisonError::into_inner);
        if budgets.len() >= MAX_GUARDS {
            let now = Instant::now();
            budgets.retain(|_, budget| {
                Arc::strong_count(budget) > 1 || budget.held_until(now).is_some()
            });
        }
        let new = || Arc::new(AttemptBudget::new(self.instance_index));
        Arc::clone(budgets.entry(user.to_lowercase()).or_insert_with(new))
    }
}

/// Drops unused guards that have seen no refusal. If there is none, drops one unused guard.
fn make_room(guards: &mut HashMap<Fingerprint, Arc<LockoutGuard>>) {
    let now = Instant::now();
    guards.retain(|_, guard| {
        let has_nothing_to_say = match guard.state(now) {
            GuardState::Unknown | GuardState::Good => true,
            GuardState::Rejected
            | GuardState::Blocked
            | GuardState::Locked
            | GuardState::Waiting => false,
        };
        Arc::strong_count(guard) > 1 || !has_nothing_to_say
    });
    if guards.len() < MAX_GUARDS {
        return;
    }
    let idle = guards.iter().find(|(_, guard)| Arc::strong_count(guard) == 1);
    if let Some(fingerprint) = idle.map(|(fingerprint, _)| *fingerprint) {
        guards.remove(&fingerprint);
    }
}

#[cfg(test)]
mod tests {
    use super::{LockoutGuards, MAX_GUARDS};
    use crate::token::{
        Reason,
        failure_policy::{ClassifiedFailure, FailureClass},
        fake::destination,
    };
    use std::sync::Arc;
    use tokio::time::Instant;

    #[test]
    fn a_credential_has_one_guard() {
        let guards = LockoutGuards::new(None);
        let of = |password| guards.of(destination("CFAPI", password).fingerprint, "user");
        assert!(Arc::ptr_eq(&of(1), &of(1)));
        assert!(!Arc::ptr_eq(&of(1), &of(2)));
    }

    #[test]
    fn the_number_of_guards_is_bounded_and_refusals_stay_longest() {
        let guards = LockoutGuards::new(None);
        let of = |password| guards.of(destination("CFAPI", password).fingerprint, "user");
        let reason = Reason::Rejected { advice: String::new() };
        let failure = ClassifiedFailure { class: FailureClass::Rejected, reason };
        of(0).failed(&failure, Instant::now());
        let held = of(1);
        for password in 2..3000 {
            of(password);
        }
        assert!(of(0).is_closed());
        assert!(Arc::ptr_eq(&held, &of(1)));
        assert!(guards.guards.lock().unwrap().len() <= MAX_GUARDS);
    }
}
