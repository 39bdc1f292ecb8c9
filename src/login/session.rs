//! The person who has logged in, as the page cookie says it.
//!
//! Invariant: a session ends 30 minutes after the login, with the token that began it, or after 15
//! minutes without a request, whichever is first.

use super::{
    cookies::{CookieKeys, PAGE, SetCookie, value_of},
    forms::FormHolder,
};
use crate::auth::{Caller, CallerRecord, VerifiedLogin};
use http::HeaderMap;
use serde::{Deserialize, Serialize};
use std::time::{Duration, SystemTime};

/// Longest session.
const LIFETIME: Duration = Duration::from_secs(30 * 60);
/// Longest time without a request.
const IDLE: Duration = Duration::from_secs(15 * 60);
/// Shortest time between two renewals of the cookie.
const RENEWAL: Duration = Duration::from_secs(60);

/// The content of the page cookie. Times are seconds since 1970.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PageCookie {
    /// New at each login.
    id: String,
    caller: CallerRecord,
    ends: u64,
    seen: u64,
}

/// A person who has logged in.
#[derive(Debug)]
pub struct Session {
    /// The person.
    pub caller: Caller,
    /// For whom the forms of its pages are.
    pub holder: FormHolder,
    /// The cookie with the time of this request, if the one that came is a minute old.
    pub renewed: Option<SetCookie>,
}

/// What the page cookie of a request says.
#[derive(Debug)]
pub enum SessionState {
    /// There is none.
    Absent,
    /// It is not one of ours, or has ended. The browser should remove it.
    Ended(Option<SetCookie>),
    /// A person who has logged in.
    Valid(Box<Session>),
}

impl PageCookie {
    /// Begins a session.
    pub(super) fn begin(login: &VerifiedLogin, id: String, now: SystemTime) -> Self {
        let now = since_epoch(now);
        let ends = login.expires.min(now + LIFETIME).as_secs();
        Self { id, caller: login.caller.to_record(), ends, seen: now.as_secs() }
    }

    /// New at each login.
    pub(super) fn id(&self) -> &str {
        &self.id
    }

    /// Seals it for the rest of its life.
    pub(super) fn seal(&self, keys: &CookieKeys) -> Option<SetCookie> {
        let left = self.ends.saturating_sub(self.seen);
        keys.seal(PAGE, self, Duration::from_secs(left))
    }
}

impl SessionState {
    /// Reads the page cookie of a request.
    pub(super) fn read(keys: &CookieKeys, headers: &HeaderMap, now: SystemTime) -> Self {
        let Some(value) = value_of(headers, PAGE) else { return Self::Absent };
        let now = since_epoch(now).as_secs();
        let is_live =
            |it: &PageCookie| now < it.ends && now < it.seen.saturating_add(IDLE.as_secs());
        let Some(found) = keys.open::<PageCookie>(PAGE, value).filter(is_live) else {
            return Self::Ended(SetCookie::removal(PAGE));
        };
        let renewed = (now >= found.seen.saturating_add(RENEWAL.as_secs())).then_some(now);
        let found = PageCookie { seen: renewed.unwrap_or(found.seen), ..found };
        let renewed = renewed.and_then(|_| found.seal(keys));
        let holder = FormHolder::of_session(&found);
        let caller = Caller::from_record(found.caller);
        Self::Valid(Box::new(Session { caller, holder, renewed }))
    }
}

/// The time since 1970.
pub(super) fn since_epoch(now: SystemTime) -> Duration {
    now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}
