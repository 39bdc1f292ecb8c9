//! Lenient reading: a value of an unexpected type counts as absent and is never an error, so that
//! one malformed entry of `VCAP_SERVICES` does not make the others unreadable. Used inside this
//! module only.

use serde::de::{
    Deserialize, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor,
};
use std::{fmt, marker::PhantomData};

/// Builds a result from a JSON value. Each kind that is not overridden is consumed and counts as
/// absent.
pub(super) trait LenientReader<'de>: Sized {
    /// The result.
    type Value;

    /// The value has an unexpected type.
    fn absent(self) -> Self::Value;

    /// The value is a text; `true` and `false` count as texts.
    fn text(self, _text: &str) -> Self::Value {
        self.absent()
    }

    /// The value is a number.
    fn number(self) -> Self::Value {
        self.absent()
    }

    /// The value is an array.
    fn array<A: SeqAccess<'de>>(self, mut array: A) -> Result<Self::Value, A::Error> {
        while array.next_element::<IgnoredAny>()?.is_some() {}
        Ok(self.absent())
    }

    /// The value is an object.
    fn object<A: MapAccess<'de>>(self, mut object: A) -> Result<Self::Value, A::Error> {
        while object.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(self.absent())
    }
}

/// Reads any JSON value with a reader.
pub(super) struct LenientSeed<S>(pub(super) S);

impl<'de, S: LenientReader<'de>> DeserializeSeed<'de> for LenientSeed<S> {
    type Value = S::Value;

    fn deserialize<D: Deserializer<'de>>(self, input: D) -> Result<S::Value, D::Error> {
        input.deserialize_any(self)
    }
}

impl<'de, S: LenientReader<'de>> Visitor<'de> for LenientSeed<S> {
    type Value = S::Value;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("any value")
    }

    fn visit_str<E>(self, text: &str) -> Result<S::Value, E> {
        Ok(self.0.text(text))
    }

    fn visit_bool<E>(self, value: bool) -> Result<S::Value, E> {
        Ok(self.0.text(if value { "true" } else { "false" }))
    }

    fn visit_i64<E>(self, _: i64) -> Result<S::Value, E> {
        Ok(self.0.number())
    }

    fn visit_u64<E>(self, _: u64) -> Result<S::Value, E> {
        Ok(self.0.number())
    }

    fn visit_f64<E>(self, _: f64) -> Result<S::Value, E> {
        Ok(self.0.number())
    }

    fn visit_unit<E>(self) -> Result<S::Value, E> {
        Ok(self.0.absent())
    }

    fn visit_none<E>(self) -> Result<S::Value, E> {
        Ok(self.0.absent())
    }

    fn visit_some<D: Deserializer<'de>>(self, input: D) -> Result<S::Value, D::Error> {
        input.deserialize_any(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, array: A) -> Result<S::Value, A::Error> {
        self.0.array(array)
    }

    fn visit_map<A: MapAccess<'de>>(self, object: A) -> Result<S::Value, A::Error> {
        self.0.object(object)
    }
}

/// Passes a text to a function.
pub(super) struct TextReader<F>(pub(super) F);

impl<T, F: FnOnce(&str) -> T> LenientReader<'_> for TextReader<F> {
    type Value = Option<T>;

    fn absent(self) -> Option<T> {
        None
    }

    fn text(self, text: &str) -> Option<T> {
        Some((self.0)(text))
    }
}

/// A text, if the value is one.
#[derive(Debug, Default)]
pub(super) struct LenientText(pub(super) Option<String>);

impl<'de> Deserialize<'de> for LenientText {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        LenientSeed(TextReader(str::to_owned)).deserialize(input).map(Self)
    }
}

/// The items of an array; anything else has none.
#[derive(Debug)]
pub(super) struct LenientList<T>(pub(super) Vec<T>);

impl<T> Default for LenientList<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for LenientList<T> {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        LenientSeed(ListReader(PhantomData)).deserialize(input).map(Self)
    }
}

struct ListReader<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> LenientReader<'de> for ListReader<T> {
    type Value = Vec<T>;

    fn absent(self) -> Vec<T> {
        Vec::new()
    }

    fn array<A: SeqAccess<'de>>(self, mut array: A) -> Result<Vec<T>, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = array.next_element()? {
            items.push(item);
        }
        Ok(items)
    }
}

impl LenientList<LenientText> {
    /// Returns the items that are texts.
    pub(super) fn into_texts(self) -> Vec<String> {
        self.0.into_iter().filter_map(|item| item.0).collect()
    }
}
