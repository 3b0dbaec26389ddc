//! Reads a few members of a document, into types that derive `Deserialize`.
//!
//! Such types refuse a member that comes twice. Everywhere else in the codec the last one counts,
//! so here earlier ones are left out before the type sees them.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{
        IgnoredAny, IntoDeserializer, MapAccess, SeqAccess, Visitor,
        value::{MapDeserializer, SeqDeserializer},
    },
    forward_to_deserialize_any,
};
use serde_json::{Error, value::RawValue};

use super::{
    budget::{self, charge},
    error::{JsonError, document_error},
    name::Name,
};

/// Reads the members of a document that `T` has, and ignores the rest.
///
/// # Errors
/// Broken JSON, a member of another type, or a document that is too large.
pub fn peek<'de, T: Deserialize<'de>>(text: &'de str) -> Result<T, JsonError> {
    budget::with_budget(text.len(), || {
        // A second attempt, because members hardly ever come twice.
        serde_json::from_str(text)
            .or_else(|error| match budget::is_exceeded() {
                true => Err(error),
                false => T::deserialize(LastMembers(text)).map_err(|_| error),
            })
            .map_err(|error| document_error(&error))
    })
}

/// JSON text whose objects show only the last member of each name.
struct LastMembers<'de>(&'de str);

impl<'de> IntoDeserializer<'de, Error> for LastMembers<'de> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

impl<'de> Deserializer<'de> for LastMembers<'de> {
    type Error = Error;

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        let members =
            serde_json::Deserializer::from_str(self.0).deserialize_map(Members(fields))?;
        let members = members
            .into_iter()
            .map(|(name, value)| (name, LastMembers(value.get())));
        visitor.visit_map(MapDeserializer::new(members))
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let elements = serde_json::Deserializer::from_str(self.0).deserialize_seq(Elements)?;
        let elements = elements.into_iter().map(|value| LastMembers(value.get()));
        visitor.visit_seq(SeqDeserializer::new(elements))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.0 {
            "null" => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        // A `RawValue` is one, by a name that only serde_json knows.
        serde_json::Deserializer::from_str(self.0).deserialize_newtype_struct(name, visitor)
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        serde_json::Deserializer::from_str(self.0).deserialize_any(visitor)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit
        unit_struct tuple tuple_struct map enum identifier ignored_any
    }
}

/// The last member of each of these names.
struct Members(&'static [&'static str]);

impl<'de> Visitor<'de> for Members {
    type Value = Vec<(&'static str, &'de RawValue)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members: Self::Value = Vec::new();
        while let Some(Name(name)) = map.next_key()? {
            let Some(known) = self.0.iter().find(|known| **known == name) else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            let value = map.next_value()?;
            match members.iter_mut().find(|(name, _)| name == known) {
                Some(member) => member.1 = value,
                None => members.push((known, value)),
            }
        }
        Ok(members)
    }
}

/// The elements of a list.
struct Elements;

impl<'de> Visitor<'de> for Elements {
    type Value = Vec<&'de RawValue>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut elements = Vec::new();
        while let Some(element) = list.next_element()? {
            charge(size_of::<&RawValue>())?;
            elements.push(element);
        }
        Ok(elements)
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde_json::value::RawValue;

    use super::peek;

    #[derive(Debug, Deserialize, PartialEq)]
    struct Item {
        index: Option<i32>,
    }

    #[derive(Deserialize)]
    struct Answer<'a> {
        #[serde(borrow)]
        error: Option<&'a RawValue>,
        choices: Vec<Item>,
    }

    #[test]
    fn of_a_member_that_comes_twice_the_last_one_is_seen_at_every_depth() {
        let text = r#"{"error":1,"choices":7,"other":[],"error":{"a":1,"a":2},
            "choices":[{"index":"x","index":null},{"index":1,"index":2},{}],"other":{}}"#;
        let answer: Answer<'_> = peek(text).unwrap();
        assert_eq!(answer.error.unwrap().get(), r#"{"a":1,"a":2}"#);
        let items = [None, Some(2), None].map(|index| Item { index });
        assert_eq!(answer.choices, items);
    }

    #[test]
    fn a_wrong_type_is_still_an_error() {
        let wrong = peek::<Item>(r#"{"index":"x"}"#).unwrap_err();
        assert_eq!(wrong.problem, "expected i32, found a string");
    }
}
