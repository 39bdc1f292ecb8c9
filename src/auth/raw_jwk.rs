//! One entry of a key set, whatever its form.
//!
//! Invariant: every JSON value with valid Unicode texts and finite numbers is a [`RawJwk`], and
//! reading never recurses below its members. An unusable entry must not break the entries beside
//! it. For [`jwks`](super::jwks) only.

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, Error, IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use std::{collections::HashMap, fmt};

/// The members of an object. Any other value has none.
#[derive(Default)]
pub(super) struct RawJwk {
    /// `None`: the member is no text.
    members: HashMap<String, Option<String>>,
    is_ambiguous: bool,
}

impl RawJwk {
    /// Returns the member `name` if it is a text.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.members.get(name)?.as_deref()
    }

    /// Whether the member `name` is absent or exactly `expected`.
    pub(super) fn is_absent_or(&self, name: &str, expected: &str) -> bool {
        !self.members.contains_key(name) || self.text(name) == Some(expected)
    }

    /// Whether a member is there twice.
    pub(super) fn is_ambiguous(&self) -> bool {
        self.is_ambiguous
    }
}

impl<'de> Deserialize<'de> for RawJwk {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match deserializer.deserialize_any(NestingLevel::Jwk)? {
            ParsedValue::Object(entry) => Ok(entry),
            ParsedValue::Text(_) | ParsedValue::Other => Ok(Self::default()),
        }
    }
}

/// A value, as far as it is needed.
enum ParsedValue {
    Object(RawJwk),
    Text(String),
    Other,
}

/// The nesting level of the reader. It reads the members of an entry, but not what is inside them.
#[derive(Clone, Copy)]
enum NestingLevel {
    Jwk,
    Member,
}

impl<'de> DeserializeSeed<'de> for NestingLevel {
    type Value = ParsedValue;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<ParsedValue, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for NestingLevel {
    type Value = ParsedValue;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("any value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<ParsedValue, A::Error> {
        match self {
            Self::Jwk => {
                let mut entry = RawJwk::default();
                while let Some(name) = map.next_key::<String>()? {
                    let text = match map.next_value_seed(Self::Member)? {
                        ParsedValue::Text(text) => Some(text),
                        ParsedValue::Object(_) | ParsedValue::Other => None,
                    };
                    entry.is_ambiguous |= entry.members.insert(name, text).is_some();
                }
                Ok(ParsedValue::Object(entry))
            }
            Self::Member => {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(ParsedValue::Other)
            }
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<ParsedValue, A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(ParsedValue::Other)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<ParsedValue, E> {
        Ok(ParsedValue::Text(text.to_owned()))
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<ParsedValue, E> {
        Ok(ParsedValue::Other)
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<ParsedValue, E> {
        Ok(ParsedValue::Other)
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<ParsedValue, E> {
        Ok(ParsedValue::Other)
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<ParsedValue, E> {
        Ok(ParsedValue::Other)
    }

    fn visit_unit<E: Error>(self) -> Result<ParsedValue, E> {
        Ok(ParsedValue::Other)
    }
}
