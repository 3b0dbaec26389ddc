//! What a kind of member is, and what all kinds need to read and to write a member.

use serde::{
    Serialize,
    de::{DeserializeSeed, Deserializer, Error, MapAccess},
    ser::SerializeMap,
};
use serde_json::value::RawValue;

use crate::json::{
    budget,
    error::without_place,
    extra::{Extra, is_in, keep_in_extra},
    mode::Mode,
};

/// How a member of this kind is read into its fields `F`: a reference, or a tuple of references.
pub(crate) trait Read<F> {
    /// Reads the member.
    fn read<'de, A: MapAccess<'de>>(self, member: Reader<'_, A>, fields: F)
    -> Result<(), A::Error>;

    /// Moves strings with unpaired surrogates out of `extra` into their fields.
    fn replace_surrogates(self, _name: &str, _extra: &mut Extra, _fields: F)
    where
        Self: Sized,
    {
    }
}

/// How a member of this kind is written from its fields `F`: a reference, or a tuple of references.
pub(crate) trait Write<F> {
    /// Writes the member.
    fn write<M: SerializeMap>(self, member: Writer<'_, M>, fields: F) -> Result<(), M::Error>;

    /// Whether a message in these fields has one of its own fields in `extra`.
    fn has_field_in_extra(self, _fields: F) -> bool
    where
        Self: Sized,
    {
        false
    }
}

/// A member whose name was read, and whose value comes next.
pub(crate) struct Reader<'a, A> {
    pub map: &'a mut A,
    pub name: &'static str,
    pub extra: &'a mut Extra,
}

impl<'de, A: MapAccess<'de>> Reader<'_, A> {
    /// Reads the value by `seed`. When reading leniently, a value that the seed refuses goes into
    /// `extra`, and the default is returned.
    pub(super) fn read<S: DeserializeSeed<'de, Value: Default>>(
        &mut self,
        seed: S,
    ) -> Result<S::Value, A::Error> {
        if Mode::current() != Mode::Lenient {
            return self.map.next_value_seed(seed);
        }
        match self.map.next_value_seed(IfFits(seed, self.name))? {
            Ok(value) => {
                // The same member may have come before, and be in `extra`.
                self.extra.remove(self.name);
                Ok(value)
            }
            Err(budget::Text(text)) => {
                keep_in_extra(self.extra, self.name.to_owned(), text)?;
                Ok(S::Value::default())
            }
        }
    }
}

/// Reads a value with a seed, or keeps the value's text if the seed refuses it. A value that is too
/// large is still an error. That error contains the member's name, because no path contains it
/// here.
struct IfFits<'a, S>(S, &'a str);

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for IfFits<'_, S> {
    type Value = Result<S::Value, budget::Text<'de>>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        let text = <&RawValue as serde::Deserialize>::deserialize(deserializer)?.get();
        match self
            .0
            .deserialize(&mut serde_json::Deserializer::from_str(text))
        {
            Ok(value) => Ok(Ok(value)),
            Err(error) if budget::is_exceeded() => Err(D::Error::custom(format_args!(
                "{}: {}",
                self.1,
                without_place(&error.to_string())
            ))),
            Err(_) => budget::Text::within_depth(text).map(Err),
        }
    }
}

/// A member that is to be written.
pub(crate) struct Writer<'a, M> {
    pub map: &'a mut M,
    pub name: &'static str,
    pub extra: &'a Extra,
    /// The members that are written as null when unset.
    pub nulls: &'a [&'a str],
}

impl<M: SerializeMap> Writer<'_, M> {
    /// Writes a member that is always there. `is_set`: the value is not the one that protobuf gives
    /// to an unset field.
    pub(super) fn required(
        self,
        is_set: bool,
        value: &(impl Serialize + ?Sized),
    ) -> Result<(), M::Error> {
        if is_in(self.extra, self.name, is_set.then_some(self.name))? {
            Ok(())
        } else {
            self.map.serialize_entry(self.name, value)
        }
    }

    /// Writes a member that is left out when unset, or null if it is among `nulls`.
    pub(super) fn optional(self, value: Option<impl Serialize>) -> Result<(), M::Error> {
        if is_in(self.extra, self.name, value.as_ref().map(|_| self.name))? {
            return Ok(());
        }
        match value {
            Some(value) => self.map.serialize_entry(self.name, &value),
            None if self.nulls.contains(&self.name) => self.map.serialize_entry(self.name, &()),
            None => Ok(()),
        }
    }
}
