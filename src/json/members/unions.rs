//! Members whose type tells the variant of a oneof: a string for its first variant; an object, or
//! lists, for the others.

use std::{fmt, marker::PhantomData};

use serde::{
    Deserializer, Serialize,
    de::{DeserializeOwned, Error, MapAccess, SeqAccess, Unexpected, Visitor},
    ser::SerializeMap,
};

use super::{
    kind::{Read, Reader, Write, Writer},
    messages::OrEmptyList,
};
use crate::json::{
    extra::Extra,
    surrogates::{replace_unpaired, take_string},
};

/// A oneof. [`union!`](crate::json::macros) implements it.
pub(crate) trait Union: Sized {
    /// What a member of this type must be.
    const EXPECTED: &'static str;

    fn from_text(text: String) -> Self;

    fn from_list<'de, A: SeqAccess<'de>>(_list: A) -> Result<Self, A::Error> {
        Err(A::Error::invalid_type(Unexpected::Seq, &Self::EXPECTED))
    }

    fn from_object<'de, A: MapAccess<'de>>(_object: A) -> Result<Self, A::Error> {
        Err(A::Error::invalid_type(Unexpected::Map, &Self::EXPECTED))
    }

    /// As of [`Object`](crate::json::object::Object), for the variant that is an object.
    fn has_field_in_extra(&self) -> bool {
        false
    }

    /// As of [`Object`](crate::json::object::Object), for the variant that is an object.
    fn replace_surrogates(&mut self) {}
}

/// Reads a oneof.
pub(crate) fn read_union<'de, T: Union, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    deserializer.deserialize_any(UnionVisitor(PhantomData))
}

struct UnionVisitor<T>(PhantomData<T>);

impl<'de, T: Union> Visitor<'de> for UnionVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(T::EXPECTED)
    }

    fn visit_str<E>(self, text: &str) -> Result<T, E> {
        Ok(T::from_text(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<T, A::Error> {
        T::from_list(list)
    }

    fn visit_map<A: MapAccess<'de>>(self, object: A) -> Result<T, A::Error> {
        T::from_object(object)
    }
}

/// A oneof of a string and lists.
pub(crate) struct TextOrLists;

impl<T: Union + DeserializeOwned> Read<&mut Option<T>> for TextOrLists {
    fn read<'de, A: MapAccess<'de>>(
        self,
        mut member: Reader<'_, A>,
        field: &mut Option<T>,
    ) -> Result<(), A::Error> {
        *field = member.read(PhantomData)?;
        Ok(())
    }

    fn replace_surrogates(self, name: &str, extra: &mut Extra, field: &mut Option<T>) {
        replace_surrogates(name, extra, field);
    }
}

impl<T: Union + Serialize> Write<&Option<T>> for TextOrLists {
    fn write<M: SerializeMap>(
        self,
        member: Writer<'_, M>,
        field: &Option<T>,
    ) -> Result<(), M::Error> {
        member.optional(field.as_ref())
    }
}

/// A oneof of a string and an object. An empty list is the same as absence: PHP writes an empty map
/// so.
pub(crate) struct TextOrObject;

impl<T: Union + DeserializeOwned> Read<&mut Option<T>> for TextOrObject {
    fn read<'de, A: MapAccess<'de>>(
        self,
        mut member: Reader<'_, A>,
        field: &mut Option<T>,
    ) -> Result<(), A::Error> {
        *field = member.read(OrEmptyList::new())?;
        Ok(())
    }

    fn replace_surrogates(self, name: &str, extra: &mut Extra, field: &mut Option<T>) {
        replace_surrogates(name, extra, field);
    }
}

impl<T: Union + Serialize> Write<&Option<T>> for TextOrObject {
    fn write<M: SerializeMap>(
        self,
        member: Writer<'_, M>,
        field: &Option<T>,
    ) -> Result<(), M::Error> {
        member.optional(field.as_ref())
    }

    fn has_field_in_extra(self, field: &Option<T>) -> bool {
        field.as_ref().is_some_and(T::has_field_in_extra)
    }
}

fn replace_surrogates<T: Union>(name: &str, extra: &mut Extra, field: &mut Option<T>) {
    if let Some(text) = take_string(extra, name) {
        *field = Some(T::from_text(replace_unpaired(&text)));
    }
    if let Some(union) = field {
        union.replace_surrogates();
    }
}
