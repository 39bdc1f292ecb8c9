//! What the broker writes into its own pages and wants back from the same person: the tokens of
//! forms and what came of them.
//!
//! Invariant: what [`FormKeys::open`] returns was sealed for the same use and the same person, at
//! most 15 minutes ago. All instances have the same keys.

use super::{
    cookies::CookieKeys,
    session::{PageCookie, since_epoch},
};
use crate::auth::{Caller, SealingKey};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::time::{Duration, SystemTime};

/// How long a form can be sent.
const LIFETIME: Duration = Duration::from_secs(15 * 60);

/// Seals what a page brings back.
#[derive(Debug)]
pub struct FormKeys(CookieKeys);

/// What is sealed. A text for one use does not count for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FormUse {
    /// The token of the form that releases a logon.
    Release,
    /// What came of a release.
    Outcome,
}

/// The person for whom a page was made: a session, or the user of a token.
#[derive(Clone, PartialEq, Eq)]
pub struct FormHolder(String);

/// A content with the time at which it was sealed, in seconds since 1970.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct TimedContent<T> {
    at: u64,
    content: T,
}

impl FormKeys {
    /// `previous` opens what was sealed before the key was changed.
    pub fn new(current: SealingKey, previous: Option<SealingKey>) -> Self {
        Self(CookieKeys { current, previous })
    }

    /// Seals a content for a person; `None` if it would be too long.
    pub fn seal<T: Serialize>(
        &self,
        purpose: FormUse,
        holder: &FormHolder,
        content: T,
        now: SystemTime,
    ) -> Option<String> {
        let sealed = TimedContent { at: since_epoch(now).as_secs(), content };
        self.0.seal_value(&purpose.name(holder), &sealed)
    }

    /// Reads it; `None` if it was not sealed for this use and person, or too long ago.
    pub fn open<T: DeserializeOwned>(
        &self,
        purpose: FormUse,
        holder: &FormHolder,
        text: &str,
        now: SystemTime,
    ) -> Option<T> {
        let sealed: TimedContent<T> = self.0.open(&purpose.name(holder), text)?;
        let is_live = since_epoch(now).as_secs() < sealed.at.saturating_add(LIFETIME.as_secs());
        is_live.then_some(sealed.content)
    }
}

impl FormUse {
    /// No cookie has a name with these characters.
    fn name(self, holder: &FormHolder) -> String {
        let word = match self {
            Self::Release => "release",
            Self::Outcome => "outcome",
        };
        format!("form {word} {}", holder.0)
    }
}

impl FormHolder {
    /// The user of a token that somebody passes on: zone and `sub`. `None` if the token names none.
    pub fn of_token(caller: &Caller) -> Option<Self> {
        let subject = caller.subject()?;
        Some(Self(format!("token {} {subject}", caller.zone())))
    }

    /// The person of a session.
    pub(super) fn of_session(cookie: &PageCookie) -> Self {
        Self(format!("session {}", cookie.id()))
    }
}

impl std::fmt::Debug for FormHolder {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("FormHolder")
    }
}
