//! Strict JSON objects: the text must be an object, with each member at most once.
//!
//! Invariant: a duplicate member is refused, known or not, because parsers disagree on which one
//! counts. Plain derived structs also accept a JSON array, and duplicate unknown members. For the
//! JOSE header, the claims and the discovery document.

use serde::{
    Deserialize, Deserializer,
    de::{
        DeserializeOwned, DeserializeSeed, Error, MapAccess, Visitor,
        value::{MapAccessDeserializer, StringDeserializer},
    },
};
use std::{collections::HashSet, fmt, marker::PhantomData};

/// A `T` that was written as an object without duplicate members.
pub(super) struct DuplicateFree<T>(pub(super) T);

impl<'de, T: DeserializeOwned> Deserialize<'de> for DuplicateFree<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(DuplicateFreeVisitor(PhantomData)).map(Self)
    }
}

/// Reads a member that may be absent. If present it must have its type; `null` is a wrong type.
///
/// # Errors
/// Those of `T`.
pub(super) fn present<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    T::deserialize(deserializer).map(Some)
}

struct DuplicateFreeVisitor<T>(PhantomData<T>);

impl<'de, T: DeserializeOwned> Visitor<'de> for DuplicateFreeVisitor<T> {
    type Value = T;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
        let once = UniqueMembers { map, names: HashSet::new() };
        T::deserialize(MapAccessDeserializer::new(once))
    }
}

/// Passes the members of `map` on and refuses the second one of a name.
struct UniqueMembers<A> {
    map: A,
    names: HashSet<String>,
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for UniqueMembers<A> {
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, A::Error> {
        let Some(name) = self.map.next_key::<String>()? else {
            return Ok(None);
        };
        if !self.names.insert(name.clone()) {
            return Err(A::Error::custom("duplicate member"));
        }
        seed.deserialize(StringDeserializer::new(name)).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, A::Error> {
        self.map.next_value_seed(seed)
    }
}
