//! Enums of the contract, whose values are strings in JSON. A request with any other string is
//! refused. In an answer such a string is kept in `extra`.

use std::fmt;

use serde::{
    Deserializer, Serialize, Serializer,
    de::{DeserializeSeed, Error, MapAccess, Visitor},
    ser::{Error as _, SerializeMap},
};

use super::kind::{Read, Reader, Write, Writer};
use crate::json::budget::OrNull;

/// The names of an enum's values, each with its number.
pub(crate) type EnumValues = &'static [(&'static str, i32)];

/// One of these values. Null is the same as absence, which is 0.
pub(crate) struct Enum(pub EnumValues);

impl Read<&mut i32> for Enum {
    fn read<'de, A: MapAccess<'de>>(
        self,
        mut member: Reader<'_, A>,
        field: &mut i32,
    ) -> Result<(), A::Error> {
        let value = member.read(OrNull(EnumSeed(self.0)))?;
        *field = value.unwrap_or_default();
        Ok(())
    }
}

impl Write<&i32> for Enum {
    fn write<M: SerializeMap>(self, member: Writer<'_, M>, field: &i32) -> Result<(), M::Error> {
        // 0 is the value of an unset field, and has no name.
        member.optional((*field != 0).then_some(EnumValue(*field, self.0)))
    }
}

struct EnumSeed(EnumValues);

impl<'de> DeserializeSeed<'de> for EnumSeed {
    type Value = i32;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<i32, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for EnumSeed {
    type Value = i32;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&listed(self.0))
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<i32, E> {
        let known = self.0.iter().find(|(known, _)| *known == name);
        known
            .map(|(_, number)| *number)
            .ok_or_else(|| E::custom(format_args!("expected {}", listed(self.0))))
    }
}

/// `a, b or c`.
fn listed(values: EnumValues) -> String {
    let names: Vec<_> = values.iter().map(|(name, _)| *name).collect();
    match names.split_last() {
        Some((last, [])) => (*last).to_owned(),
        Some((last, others)) => format!("{} or {last}", others.join(", ")),
        None => String::new(),
    }
}

/// A number of an enum, which is written as its name.
struct EnumValue(i32, EnumValues);

impl Serialize for EnumValue {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.1.iter().find(|(_, number)| *number == self.0) {
            Some((name, _)) => serializer.serialize_str(name),
            None => Err(S::Error::custom(unknown_enum_value(self.0, self.1))),
        }
    }
}

/// The error message for a number that the enum doesn't have.
pub(crate) fn unknown_enum_value(number: i32, values: EnumValues) -> String {
    let known: Vec<_> = values
        .iter()
        .map(|(name, number)| format!("{number} ({name})"))
        .collect();
    format!("no such value: {number}; there are {}", known.join(", "))
}
