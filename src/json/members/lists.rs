//! Lists of strings, and lists that are written when empty.

use std::marker::PhantomData;

use serde::{
    Deserializer, Serialize,
    de::{DeserializeOwned, DeserializeSeed, MapAccess, SeqAccess, Visitor},
    ser::SerializeMap,
};

use super::kind::{Read, Reader, Write, Writer};
use crate::{
    json::{
        budget::{ListOf, OrNull, push},
        extra::Extra,
    },
    proto::bounds::Limit,
};

/// A list of values that are no messages.
pub(crate) struct List(pub &'static Limit);

impl<T: DeserializeOwned> Read<&mut Vec<T>> for List {
    fn read<'de, A: MapAccess<'de>>(
        self,
        mut member: Reader<'_, A>,
        field: &mut Vec<T>,
    ) -> Result<(), A::Error> {
        let list = member.read(OrNull(ListOf(self.0, PhantomData)))?;
        *field = list.unwrap_or_default();
        Ok(())
    }
}

impl<T: Serialize> Write<&Vec<T>> for List {
    fn write<M: SerializeMap>(self, member: Writer<'_, M>, field: &Vec<T>) -> Result<(), M::Error> {
        member.optional((!field.is_empty()).then_some(field))
    }
}

/// A list of this kind that is written when it is empty, too.
pub(crate) struct Required<K>(pub K);

impl<T, K: for<'a> Read<&'a mut Vec<T>>> Read<&mut Vec<T>> for Required<K> {
    fn read<'de, A: MapAccess<'de>>(
        self,
        member: Reader<'_, A>,
        field: &mut Vec<T>,
    ) -> Result<(), A::Error> {
        self.0.read(member, field)
    }

    fn replace_surrogates(self, name: &str, extra: &mut Extra, field: &mut Vec<T>) {
        self.0.replace_surrogates(name, extra, field);
    }
}

impl<T: Serialize, K: for<'a> Write<&'a Vec<T>>> Write<&Vec<T>> for Required<K> {
    fn write<M: SerializeMap>(self, member: Writer<'_, M>, field: &Vec<T>) -> Result<(), M::Error> {
        member.required(!field.is_empty(), field)
    }

    fn has_field_in_extra(self, field: &Vec<T>) -> bool {
        self.0.has_field_in_extra(field)
    }
}

/// A list of strings. A single string is a list of one.
pub(crate) struct OneOrMany(pub &'static Limit);

impl Read<&mut Vec<String>> for OneOrMany {
    fn read<'de, A: MapAccess<'de>>(
        self,
        mut member: Reader<'_, A>,
        field: &mut Vec<String>,
    ) -> Result<(), A::Error> {
        let strings = member.read(OrNull(OneOrManySeed(self.0)))?;
        *field = strings.unwrap_or_default();
        Ok(())
    }
}

impl Write<&Vec<String>> for OneOrMany {
    fn write<M: SerializeMap>(
        self,
        member: Writer<'_, M>,
        field: &Vec<String>,
    ) -> Result<(), M::Error> {
        List(self.0).write(member, field)
    }
}

struct OneOrManySeed(&'static Limit);

impl<'de> DeserializeSeed<'de> for OneOrManySeed {
    type Value = Vec<String>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Vec<String>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for OneOrManySeed {
    type Value = Vec<String>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a string or a list of strings")
    }

    fn visit_str<E>(self, text: &str) -> Result<Vec<String>, E> {
        Ok(vec![text.to_owned()])
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<String>, A::Error> {
        let mut strings = Vec::new();
        while let Some(text) = list.next_element()? {
            push(&mut strings, self.0, text)?;
        }
        Ok(strings)
    }
}
