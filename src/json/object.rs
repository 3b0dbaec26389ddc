//! A message as a JSON object: the trait of all messages, and the one visitor that reads them.

use std::{fmt, marker::PhantomData};

use serde::{
    Deserializer, Serializer,
    de::{MapAccess, Visitor},
    ser::SerializeMap,
};

use super::{
    extra::{Extra, write_extra},
    name::Name,
};

/// A message that is a JSON object. [`object!`](super::macros) implements it.
pub(crate) trait Object: Default {
    /// All members that have a field.
    const NAMES: &'static [&'static str];

    /// Members written as null when unset.
    const NULLS: &'static [&'static str] = &[];

    /// Reads the value of the member with this name into its field, or into `extra` if there is no
    /// such field. A member may occur twice: the last one replaces the value of the earlier one.
    fn read_member<'de, A: MapAccess<'de>>(
        &mut self,
        name: Name<'de>,
        map: &mut A,
    ) -> Result<(), A::Error>;

    /// Writes all members but those that are only in `extra`. Those in `nulls` are null if unset.
    fn write_members<M: SerializeMap>(&self, map: &mut M, nulls: &[&str]) -> Result<(), M::Error>;

    /// The members that the message has no field for, as JSON text.
    fn extra(&self) -> &Extra;

    /// Called after all members are read: adds the required members that are missing.
    fn fill_required(&mut self) {}

    /// Whether `extra` names one of the message's own fields, here or in a message within.
    fn has_field_in_extra(&self) -> bool;

    /// Moves strings with unpaired surrogates out of `extra` into their fields, here and in
    /// messages within, with U+FFFD for each such surrogate.
    fn replace_surrogates(&mut self);
}

/// Reads a message.
pub(crate) fn read_object<'de, T: Object, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    deserializer.deserialize_map(ObjectVisitor(PhantomData))
}

struct ObjectVisitor<T>(PhantomData<T>);

impl<'de, T: Object> Visitor<'de> for ObjectVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<T, A::Error> {
        let mut message = T::default();
        while let Some(name) = map.next_key()? {
            message.read_member(name, &mut map)?;
        }
        message.fill_required();
        Ok(message)
    }
}

/// Writes a message, and null for the unset members in `nulls`.
pub(crate) fn write_object<S: Serializer>(
    message: &impl Object,
    nulls: &[&str],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(None)?;
    message.write_members(&mut map, nulls)?;
    write_extra(&mut map, message.extra())?;
    map.end()
}
