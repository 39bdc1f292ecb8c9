//! The levers as methods, for tests in Rust: the same functions, with names that the compiler
//! checks. Use [`Sandbox::pull`] for rare arguments.

use std::time::Duration;

use serde_json::{Value, json};

use crate::Sandbox;
use crate::levers::LeverResult;
use crate::part::Part;

impl Sandbox {
    /// Answers the next `n` requests of a part with this status and body. For other answers use
    /// [`Sandbox::pull`].
    ///
    /// # Errors
    /// The status is not valid.
    pub fn fail_next(&self, part: Part, n: usize, status: u16, body: &str) -> LeverResult {
        let args = json!({"part": part.name(), "n": n, "status": status, "body": body});
        self.pull("fail_next", &args)
    }

    /// Delays every answer of a part. Zero ends it.
    ///
    /// # Errors
    /// None in practice: the arguments are always valid.
    pub fn latency(&self, part: Part, delay: Duration) -> LeverResult {
        let millis = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
        self.pull("latency", &json!({"part": part.name(), "ms": millis}))
    }

    /// Leaves the next `n` requests of a part without an answer.
    ///
    /// # Errors
    /// None in practice: the arguments are always valid.
    pub fn hang(&self, part: Part, n: usize) -> LeverResult {
        self.pull("hang", &json!({"part": part.name(), "n": n}))
    }

    /// Resets the connection of the next `n` requests of a part.
    ///
    /// # Errors
    /// None in practice: the arguments are always valid.
    pub fn cut(&self, part: Part, n: usize) -> LeverResult {
        self.pull("cut", &json!({"part": part.name(), "n": n}))
    }

    /// Does the work of the next `n` requests of a part and never answers.
    ///
    /// # Errors
    /// None in practice: the arguments are always valid.
    pub fn commit_then_hang(&self, part: Part, n: usize) -> LeverResult {
        self.pull("commit_then_hang", &json!({"part": part.name(), "n": n}))
    }

    /// Moves the landscape's clock, so that tokens and locks end.
    ///
    /// # Errors
    /// None in practice: the arguments are always valid.
    pub fn advance_clock(&self, seconds: i64) -> LeverResult {
        self.pull("clock", &json!({"advance": seconds}))
    }

    /// Answers the next `n` logons at the UAA with the first variant of a fault row, see
    /// `docs/reference/uaa-faults.md`.
    ///
    /// # Errors
    /// The row does not exist.
    pub fn uaa_fault(&self, row: &str, n: usize) -> LeverResult {
        self.pull("uaa_fault", &json!({"row": row, "n": n}))
    }

    /// Changes a user's password at the identity provider.
    ///
    /// # Errors
    /// The user does not exist.
    pub fn change_password(&self, user: &str, password: &str) -> LeverResult {
        self.pull("change_password", &json!({"user": user, "password": password}))
    }

    /// Locks a user as five wrong logons do.
    ///
    /// # Errors
    /// The user does not exist.
    pub fn lock_user(&self, user: &str) -> LeverResult {
        self.pull("lock_user", &json!({"user": user}))
    }

    /// Clears lock and failures of a user.
    ///
    /// # Errors
    /// The user does not exist.
    pub fn unlock_user(&self, user: &str) -> LeverResult {
        self.pull("unlock_user", &json!({"user": user}))
    }

    /// Sets the lifetime of the UAA's access tokens. `expires_in` is one second less.
    ///
    /// # Errors
    /// None in practice: the arguments are always valid.
    pub fn token_lifetime(&self, seconds: i64) -> LeverResult {
        self.pull("token_lifetime", &json!({"seconds": seconds}))
    }

    /// Makes the CF API refuse every access token issued so far.
    ///
    /// # Errors
    /// None in practice: the arguments are always valid.
    pub fn expire_all(&self) -> LeverResult {
        self.pull("expire_all", &Value::Null)
    }

    /// As [`Sandbox::expire_all`], and ends all refresh tokens.
    ///
    /// # Errors
    /// None in practice: the arguments are always valid.
    pub fn revoke_all(&self) -> LeverResult {
        self.pull("revoke_all", &Value::Null)
    }

    /// Signs with a new key. The old one ends at once.
    ///
    /// # Errors
    /// The part issues no tokens.
    pub fn rotate_keys(&self, part: Part) -> LeverResult {
        self.pull("rotate_keys", &json!({"part": part.name()}))
    }

    /// Sets properties of a destination.
    ///
    /// # Errors
    /// The destination does not exist.
    pub fn edit_destination(&self, name: &str, set: &Value) -> LeverResult {
        self.pull("edit_destination", &json!({"name": name, "set": set}))
    }

    /// Deletes a destination.
    ///
    /// # Errors
    /// The destination does not exist.
    pub fn delete_destination(&self, name: &str) -> LeverResult {
        self.pull("delete_destination", &json!({"name": name}))
    }

    /// Writes the origin of the default destination in one of four ways. 0 removes it.
    ///
    /// # Errors
    /// The number is above 4.
    pub fn spell_origin(&self, spelling: u8) -> LeverResult {
        self.pull("spell_origin", &json!({"spelling": spelling}))
    }
}
