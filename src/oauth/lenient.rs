//! Members of a token answer that servers send with different types.
//!
//! Invariant: an unexpected type of such a member never makes an answer unreadable. An unusable
//! value counts as absent. Only the reader of token answers and claims uses these.

use serde::{Deserialize, Deserializer, de::IgnoredAny};
use std::time::Duration;

/// Longer lifetimes are cut to 136 years, so that a later sum of times cannot overflow. `token`
/// applies its own, shorter limit.
pub(super) const LONGEST: Duration = Duration::from_secs(u32::MAX as u64);

/// A text that nothing depends on. Another type counts as absent.
#[derive(Default, Deserialize)]
#[serde(untagged)]
pub(super) enum TextOrAbsent {
    Text(String),
    Other(IgnoredAny),
    #[default]
    #[serde(skip)]
    Absent,
}

impl TextOrAbsent {
    pub(super) fn text(self) -> Option<String> {
        match self {
            Self::Text(text) => Some(text),
            Self::Other(_) | Self::Absent => None,
        }
    }

    /// RFC 6749, 5.1: case-insensitive. UAA writes `bearer`, others `Bearer`. The broker can send
    /// no other type.
    pub(super) fn is_bearer(&self) -> bool {
        match self {
            Self::Text(text) => text.is_empty() || text.eq_ignore_ascii_case("bearer"),
            Self::Other(_) | Self::Absent => true,
        }
    }
}

/// The value of `expires_in`.
#[derive(Clone, Copy, Default)]
pub(super) enum ExpiresIn {
    Lifetime(Duration),
    /// Zero, negative, not a number.
    Unusable,
    #[default]
    Absent,
}

impl ExpiresIn {
    fn of(seconds: f64) -> Self {
        if !seconds.is_finite() || seconds <= 0.0 {
            return Self::Unusable;
        }
        // The only error left is a number that is too large for a `Duration`.
        let lifetime = Duration::try_from_secs_f64(seconds).unwrap_or(LONGEST);
        Self::Lifetime(lifetime.min(LONGEST))
    }

    pub(super) fn capped(self, by: Option<Duration>) -> Option<Duration> {
        match self {
            Self::Lifetime(lifetime) => Some(by.map_or(lifetime, |cap| cap.min(lifetime))),
            Self::Unusable => None,
            Self::Absent => by,
        }
    }
}

impl<'de> Deserialize<'de> for ExpiresIn {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Raw {
            Null(()),
            Number(f64),
            Text(String),
            Other(IgnoredAny),
        }
        Ok(match Raw::deserialize(deserializer)? {
            Raw::Null(()) => Self::Absent,
            Raw::Number(seconds) => Self::of(seconds),
            Raw::Text(text) => text.trim().parse().map_or(Self::Unusable, Self::of),
            Raw::Other(_) => Self::Unusable,
        })
    }
}

/// A list, or a text with blanks between the words.
#[derive(Default, Deserialize)]
#[serde(untagged)]
pub(super) enum StringList {
    List(Vec<String>),
    Text(String),
    Other(IgnoredAny),
    #[default]
    #[serde(skip)]
    Absent,
}

impl StringList {
    pub(super) fn list(self) -> Vec<String> {
        match self {
            Self::List(list) => list,
            Self::Text(text) => text.split_whitespace().map(str::to_owned).collect(),
            Self::Other(_) | Self::Absent => Vec::new(),
        }
    }
}

#[derive(Default, Deserialize)]
#[serde(untagged)]
pub(super) enum NumberOrAbsent {
    Number(i64),
    Other(IgnoredAny),
    #[default]
    #[serde(skip)]
    Absent,
}

impl NumberOrAbsent {
    pub(super) fn number(self) -> Option<i64> {
        match self {
            Self::Number(number) => Some(number),
            Self::Other(_) | Self::Absent => None,
        }
    }
}
