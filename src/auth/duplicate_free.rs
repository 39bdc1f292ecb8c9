//! JSON objects read strictly: an object and nothing else, each member at most once.
//!
//! Invariant: a repeated member is refused whether we know its name or not, for readers disagree on
//! which one counts. Plain derived structs also accept a JSON array, and repeat unknown members
//! freely. For the JOSE header and the claims.

use serde::{
    Deserialize, Deserializer,
    de::{
        DeserializeOwned, DeserializeSeed, Error, MapAccess, Visitor,
        value::{MapAccessDeserializer, StringDeserializer},
    },
};
use std::{collections::HashSet, fmt, marker::PhantomData};

/// A `T` that was written as an object without repeated members.
pub(super) struct DuplicateFree<T>(pub(super) T);

impl<'de, T: DeserializeOwned> Deserialize<'de> for DuplicateFree<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(DuplicateFreeVisitor(PhantomData)).map(Self)
    }
}

/// Reads a member that may be absent but, if present, has its type: `null` is a wrong type.
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
        let once = UniqueMembers { map, seen: HashSet::new() };
        T::deserialize(MapAccessDeserializer::new(once))
    }
}

/// Hands on the members of `map`, refusing the second of a name.
struct UniqueMembers<A> {
    map: A,
    seen: HashSet<String>,
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
        if !self.seen.insert(name.clone()) {
            return Err(A::Error::custom("repeated member"));
        }
        seed.deserialize(StringDeserializer::new(name)).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, A::Error> {
        self.map.next_value_seed(seed)
    }
}
