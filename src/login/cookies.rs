//! Cookies of the broker: how they are read, sealed and written.
//!
//! Invariant: a value that is opened was sealed for a cookie of the same name. Every cookie that is
//! set is `__Host-`, `Secure`, `HttpOnly` and `SameSite=Lax`.

use super::LoginParts;
use crate::{auth::SealingKey, upstream::body};
use http::{HeaderMap, HeaderValue, header::COOKIE};
use serde::{Serialize, de::DeserializeOwned};
use std::time::Duration;

/// The cookie of a person who has logged in.
pub(super) const PAGE: &str = "__Host-cfb";
/// Prefix of the cookies of logins that have begun.
pub(super) const BEGUN: &str = "__Host-cfb-l-";
/// Longest value. Browsers keep 4096 bytes with name and attributes.
const LONGEST: usize = 3_500;

/// A value of `Set-Cookie`. `Debug` shows no value.
pub struct SetCookie(HeaderValue);

impl SetCookie {
    /// Returns the header value, marked sensitive.
    pub fn into_header(self) -> HeaderValue {
        self.0
    }

    /// Removes a cookie.
    pub(super) fn removal(name: &str) -> Option<Self> {
        Self::new(name, "", Duration::ZERO)
    }

    fn new(name: &str, value: &str, lives: Duration) -> Option<Self> {
        let seconds = lives.as_secs();
        let text =
            format!("{name}={value}; Path=/; Max-Age={seconds}; Secure; HttpOnly; SameSite=Lax");
        let mut header = HeaderValue::try_from(text).ok()?;
        header.set_sensitive(true);
        Some(Self(header))
    }
}

impl std::fmt::Debug for SetCookie {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("SetCookie")
    }
}

/// The keys of the cookies.
#[derive(Debug)]
pub(super) struct CookieKeys {
    pub(super) current: SealingKey,
    pub(super) previous: Option<SealingKey>,
}

impl CookieKeys {
    pub(super) fn of(parts: &LoginParts) -> Self {
        Self { current: parts.key.clone(), previous: parts.previous_key.clone() }
    }

    /// Makes a cookie; `None` if it would be too long for a browser.
    pub(super) fn seal<T: Serialize>(
        &self,
        name: &str,
        content: &T,
        lives: Duration,
    ) -> Option<SetCookie> {
        SetCookie::new(name, &self.seal_value(name, content)?, lives)
    }

    /// Makes the value of a cookie; `None` if it would be too long for a browser.
    pub(super) fn seal_value<T: Serialize>(&self, name: &str, content: &T) -> Option<String> {
        let text = serde_json::to_vec(content).ok()?;
        let value = self.current.seal(name.as_bytes(), text)?;
        (value.len() <= LONGEST).then_some(value)
    }

    /// Reads a cookie; `None` if none of the keys has sealed it under this name.
    pub(super) fn open<T: DeserializeOwned>(&self, name: &str, value: &str) -> Option<T> {
        if value.len() > LONGEST {
            return None;
        }
        let mut keys = [Some(&self.current), self.previous.as_ref()].into_iter().flatten();
        let text = keys.find_map(|key| key.open(name.as_bytes(), value))?;
        body::decode(&text).ok()
    }
}

/// Returns the cookies of a request: name and value. A value that is no text is empty: a strange
/// cookie of somebody else hides none of ours.
pub(super) fn presented(headers: &HeaderMap) -> impl Iterator<Item = (&str, &str)> {
    let lines = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes);
    let pairs = lines.flat_map(|line| line.split(|byte| *byte == b';'));
    pairs.filter_map(|pair| {
        let mut parts = pair.splitn(2, |byte| *byte == b'=').map(str::from_utf8);
        let name = parts.next()?.ok()?;
        Some((name.trim(), parts.next()?.unwrap_or("").trim()))
    })
}

/// Returns the value of a cookie; `None` without it.
pub(super) fn value_of<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    presented(headers).find(|(found, _)| *found == name).map(|(_, value)| value)
}
