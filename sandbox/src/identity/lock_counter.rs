//! Lock counters: after how many wrong passwords a provider locks a user, and for how long.
//! Invariant: only a logon changes a counter, or a lever that acts as one. Called by `identity`.

use http::StatusCode;

use crate::identity::{UAA_ORIGIN, User, nested};
use crate::oauth::OAuthRefusal;

/// Seconds. IAS and SAP ID lock for an hour after 5 failures (source).
const IAS_LOCK: i64 = 3600;

/// Both kinds lock at the fifth failure (source).
pub(super) const FAILURES: usize = 5;

/// Seconds. UAA forgets failures after 20 minutes. It locks for 5 minutes after the last failure
/// (source).
const UAA_WINDOW: i64 = 1200;
const UAA_LOCK: i64 = 300;

/// The counter of one user at one provider.
#[derive(Clone, Debug, Default)]
pub(super) struct LockCounter {
    /// The times of the failures that count.
    failures: Vec<i64>,
    locked_until: Option<i64>,
    /// All passwords that arrived, right or wrong.
    pub(super) attempts: usize,
}

impl LockCounter {
    /// IAS and SAP ID: during a lock the right password is refused, too. The lock does not become
    /// longer.
    pub(super) fn ias(&mut self, good: Option<User>, now: i64) -> Result<User, OAuthRefusal> {
        self.attempts = self.attempts.saturating_add(1);
        if self.locked_until.is_some_and(|until| now >= until) {
            self.failures.clear();
            self.locked_until = None;
        }
        if self.locked_until.is_some() {
            return Err(nested("PASSWORD_LOCKED"));
        }
        let Some(user) = good else {
            self.failures.push(now);
            if self.failures.len() >= FAILURES {
                self.locked_until = Some(now.saturating_add(IAS_LOCK));
            }
            return Err(nested("Unauthorized"));
        };
        if let Some(code) = &user.required_action {
            if is_second_factor(code) {
                self.failures.push(now);
            }
            return Err(nested(code));
        }
        self.failures.clear();
        Ok(user)
    }

    /// UAA's own users: a lock is reported before the password is checked. Such a logon is not
    /// counted.
    pub(super) fn uaa(&mut self, good: Option<User>, now: i64) -> Result<User, OAuthRefusal> {
        self.failures.retain(|time| now.saturating_sub(*time) < UAA_WINDOW);
        if self.locked_until.is_some_and(|until| now < until) {
            return Err(OAuthRefusal::unauthorized(
                "Your account has been locked because of too many failed attempts to login.",
            ));
        }
        self.attempts = self.attempts.saturating_add(1);
        let Some(user) = good else {
            self.failures.push(now);
            if self.failures.len() >= FAILURES {
                self.locked_until = Some(now.saturating_add(UAA_LOCK));
            }
            return Err(OAuthRefusal::invalid_client("Bad credentials"));
        };
        self.failures.clear();
        self.locked_until = None;
        match user.required_action.as_deref() {
            None => Ok(user),
            Some("NOT_VERIFIED") => Err(OAuthRefusal::new(
                StatusCode::FORBIDDEN,
                "access_denied",
                "Account not verified",
            )),
            Some(_) => Err(OAuthRefusal::unauthorized("password change required")),
        }
    }

    /// Locks as five failures at this moment would, or for the given seconds.
    pub(super) fn lock(&mut self, origin: &str, now: i64, seconds: Option<i64>) {
        self.failures = vec![now; FAILURES];
        let default = if origin == UAA_ORIGIN { UAA_LOCK } else { IAS_LOCK };
        self.locked_until = Some(now.saturating_add(seconds.unwrap_or(default)));
    }

    /// Clears failures and lock, as an administrator does.
    pub(super) fn unlock(&mut self) {
        self.failures.clear();
        self.locked_until = None;
    }

    /// Returns all passwords that arrived, the failures that count, and the end of the lock.
    pub(super) fn state(&self) -> (usize, usize, Option<i64>) {
        (self.attempts, self.failures.len(), self.locked_until)
    }
}

/// A missing second factor counts as a failed logon (F7).
fn is_second_factor(code: &str) -> bool {
    matches!(code, "INVALID_AUTHORIZATION_HEADER_LENGTH" | "INVALID_OTP_CODE")
}
