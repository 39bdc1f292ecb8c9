//! Users, passwords, and the checks between a password and a token: providers, lock counters,
//! second factors. Invariant: a counter belongs to one user at one provider, for all clients
//! together, as in the real systems. Called by `uaa` (logon) and by levers.

mod lock_counter;

use std::collections::HashMap;
use std::sync::Mutex;

use crate::identity::lock_counter::LockCounter;
use crate::oauth::OAuthRefusal;
use crate::part::locked;
use crate::token::CfTokenSpec;
use crate::world;

/// The user of the default destination.
pub const TECHNICAL_USER: &str = world::TECHNICAL_USER;

/// Its password. It holds a space, `&`, `=`, `%` and an umlaut, so that a wrong encoding fails.
pub const TECHNICAL_PASSWORD: &str = "sandbox-only-p&ss w=rd%ü";

/// The guid of the user in the CF API.
pub const TECHNICAL_GUID: &str = "11111111-1111-4111-8111-111111111111";

/// The identity provider of the default destination.
pub const TECHNICAL_ORIGIN: &str = "sandbox-platform";

/// A technical user with a role in one space only.
pub const DEV_USER: &str = world::DEV_USER;

/// The origin of UAA's own users.
pub(crate) const UAA_ORIGIN: &str = "uaa";

/// The provider that UAA asks without a login hint, as on BTP.
pub(crate) const DEFAULT_ORIGIN: &str = "sap.ids";

/// A person or a machine with a password.
#[derive(Clone, Debug)]
pub(crate) struct User {
    pub(crate) guid: String,
    pub(crate) name: String,
    pub(crate) password: String,
    pub(crate) origin: String,
    pub(crate) scopes: Vec<String>,
    /// The error code with which the provider answers the right password, if it wants something
    /// more.
    pub(crate) required_action: Option<String>,
    pub(crate) account: Account,
}

/// The user's account in UAA. The identity provider keeps passwords without asking UAA.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Account {
    Active,
    /// An administrator switched it off.
    Inactive,
    /// UAA knows the user no longer.
    Deleted,
}

/// All users of the foundation, and their lock counters.
#[derive(Debug)]
pub(crate) struct Directory(Mutex<DirectoryState>);

#[derive(Debug)]
struct DirectoryState {
    users: Vec<User>,
    counters: HashMap<(String, String), LockCounter>,
}

impl Directory {
    /// Returns the users at start: two technical users of the provider and one user of UAA itself.
    pub(crate) fn seeded() -> Self {
        let user = |guid: &str, name: &str, password: &str, origin: &str| User {
            guid: guid.to_owned(),
            name: name.to_owned(),
            password: password.to_owned(),
            origin: origin.to_owned(),
            scopes: CfTokenSpec::default().scopes,
            required_action: None,
            account: Account::Active,
        };
        let second = "22222222-2222-4222-8222-222222222222";
        let third = "33333333-3333-4333-8333-333333333333";
        let users = vec![
            user(TECHNICAL_GUID, TECHNICAL_USER, TECHNICAL_PASSWORD, TECHNICAL_ORIGIN),
            user(second, DEV_USER, "sandbox-only-dev", TECHNICAL_ORIGIN),
            user(third, "local.user@example.test", "sandbox-only-local", UAA_ORIGIN),
        ];
        Self(Mutex::new(DirectoryState { users, counters: HashMap::new() }))
    }

    /// Checks a password at a provider.
    ///
    /// # Errors
    /// F1 to F8, F12 and F14 of `docs/reference/uaa-faults.md`.
    pub(crate) fn log_on(
        &self,
        origin: &str,
        name: &str,
        password: &str,
        now: i64,
    ) -> Result<User, OAuthRefusal> {
        let mut state = locked(&self.0);
        if !is_known_origin(origin) {
            return Err(no_such_provider());
        }
        let name = canonical(origin, name);
        let user = state.users.iter().find(|user| user.origin == origin && user.name == name);
        let user = user.cloned();
        let count = state.counters.entry((origin.to_owned(), name)).or_default();
        let good = user.filter(|user| user.password == password);
        if origin == UAA_ORIGIN {
            return count.uaa(good.filter(|user| user.account == Account::Active), now);
        }
        let user = count.ias(good, now)?;
        if user.account == Account::Active { Ok(user) } else { Err(not_pre_created()) }
    }

    /// Returns the active user with this guid.
    pub(crate) fn by_guid(&self, guid: &str) -> Option<User> {
        let active = |user: &&User| user.guid == guid && user.account == Account::Active;
        locked(&self.0).users.iter().find(active).cloned()
    }

    /// Returns the user with this name, at any provider.
    pub(crate) fn by_name(&self, name: &str) -> Option<User> {
        locked(&self.0).users.iter().find(|user| user.name == name).cloned()
    }

    /// Changes a user and returns it. `None` if no user has this name.
    pub(crate) fn change(&self, name: &str, change: impl FnOnce(&mut User)) -> Option<User> {
        let mut state = locked(&self.0);
        let user = state.users.iter_mut().find(|user| user.name == name)?;
        change(user);
        Some(user.clone())
    }

    /// Adds a user, or replaces the one of the same name and provider.
    pub(crate) fn add(&self, user: User) {
        let mut state = locked(&self.0);
        state.users.retain(|old| old.name != user.name || old.origin != user.origin);
        state.users.push(user);
    }

    /// Removes a user, also from its provider. Returns the user, if there was one.
    pub(crate) fn remove(&self, name: &str) -> Option<User> {
        let mut state = locked(&self.0);
        let place = state.users.iter().position(|user| user.name == name)?;
        Some(state.users.remove(place))
    }

    /// Locks a user as five wrong logons would, or for the given seconds.
    pub(crate) fn lock(&self, user: &User, now: i64, seconds: Option<i64>) {
        let mut state = locked(&self.0);
        let count = state.counters.entry((user.origin.clone(), user.name.clone())).or_default();
        count.lock(&user.origin, now, seconds);
    }

    /// Clears the failures of a user, as an administrator does.
    pub(crate) fn unlock(&self, user: &User) {
        let mut state = locked(&self.0);
        if let Some(count) = state.counters.get_mut(&(user.origin.clone(), user.name.clone())) {
            count.unlock();
        }
    }

    /// Returns attempts, counted failures and the end of the lock of a user at a provider.
    pub(crate) fn count(&self, origin: &str, name: &str) -> (usize, usize, Option<i64>) {
        let state = locked(&self.0);
        let count = state.counters.get(&(origin.to_owned(), name.to_owned()));
        count.map_or((0, 0, None), LockCounter::state)
    }

    /// Returns how many passwords arrived for a name, at all providers together.
    pub(crate) fn attempts(&self, name: &str) -> usize {
        let state = locked(&self.0);
        let of_name = state.counters.iter().filter(|((_, other), _)| other == name);
        of_name.map(|(_, count)| count.attempts).sum()
    }
}

/// F8: the provider does not exist.
pub(crate) fn no_such_provider() -> OAuthRefusal {
    OAuthRefusal::unauthorized(
        "The origin provided in the login_hint does not match an active Identity Provider, that supports password grant.",
    )
}

/// F12: the provider says yes, and UAA does not know the user.
pub(crate) fn not_pre_created() -> OAuthRefusal {
    OAuthRefusal::unauthorized(
        "The user account must be pre-created. Please contact your system administrator.",
    )
}

/// The envelope of F2: the provider's own JSON, as text inside UAA's JSON.
pub(crate) fn nested(code: &str) -> OAuthRefusal {
    OAuthRefusal::invalid_client(nested_text(code))
}

/// The inner text of [`nested`].
pub(crate) fn nested_text(code: &str) -> String {
    format!(
        r#"{{"error":"invalid_grant","error_description":"User authentication failed: {code}"}}"#
    )
}

/// UAA lower-cases the names of its own users. It does not change other names.
fn canonical(origin: &str, name: &str) -> String {
    if origin == UAA_ORIGIN { name.to_lowercase() } else { name.to_owned() }
}

fn is_known_origin(origin: &str) -> bool {
    [TECHNICAL_ORIGIN, DEFAULT_ORIGIN, UAA_ORIGIN].contains(&origin)
}

#[cfg(test)]
mod tests {
    use super::{
        Directory, TECHNICAL_ORIGIN, TECHNICAL_PASSWORD, TECHNICAL_USER, UAA_ORIGIN, nested,
    };
    use crate::identity::lock_counter::FAILURES;

    const LOCAL: &str = "local.user@example.test";

    #[test]
    fn the_provider_locks_for_an_hour_after_five_wrong_passwords() {
        let directory = Directory::seeded();
        let log_on = |password: &str, now: i64| {
            directory.log_on(TECHNICAL_ORIGIN, TECHNICAL_USER, password, now)
        };
        for _ in 0..FAILURES {
            assert_eq!(log_on("wrong", 0).unwrap_err(), nested("Unauthorized"));
        }
        assert_eq!(log_on(TECHNICAL_PASSWORD, 3599).unwrap_err(), nested("PASSWORD_LOCKED"));
        assert!(log_on(TECHNICAL_PASSWORD, 3600).is_ok());
        assert_eq!(directory.attempts(TECHNICAL_USER), 7);
    }

    #[test]
    fn the_uaa_locks_its_own_users_for_five_minutes_and_then_at_each_failure() {
        let directory = Directory::seeded();
        let log_on = |password: &str, now: i64| {
            directory.log_on(UAA_ORIGIN, "Local.User@example.test", password, now)
        };
        for _ in 0..FAILURES {
            assert_eq!(log_on("wrong", 0).unwrap_err().description, "Bad credentials");
        }
        let locked = log_on("sandbox-only-local", 299).unwrap_err();
        assert!(locked.description.starts_with("Your account has been locked"));
        assert_eq!(log_on("wrong", 300).unwrap_err().description, "Bad credentials");
        assert_eq!(log_on("sandbox-only-local", 301).unwrap_err(), locked);
        assert!(log_on("sandbox-only-local", 600).is_ok());
    }

    #[test]
    fn a_right_password_clears_the_count() {
        let directory = Directory::seeded();
        for round in 0..4 {
            for _ in 0..FAILURES - 1 {
                assert!(directory.log_on(UAA_ORIGIN, LOCAL, "wrong", round).is_err());
            }
            assert!(directory.log_on(UAA_ORIGIN, LOCAL, "sandbox-only-local", round).is_ok());
        }
    }

    #[test]
    fn an_unknown_provider_is_refused_without_a_logon() {
        let directory = Directory::seeded();
        let refusal = directory.log_on("nowhere", TECHNICAL_USER, "x", 0).unwrap_err();
        assert!(refusal.description.starts_with("The origin provided in the login_hint"));
        assert_eq!(directory.attempts(TECHNICAL_USER), 0);
    }
}
