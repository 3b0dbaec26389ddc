//! Messages within a message.

use std::marker::PhantomData;

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{
        DeserializeOwned, DeserializeSeed, Error, IntoDeserializer, MapAccess, SeqAccess, Visitor,
        value::{MapAccessDeserializer, SeqDeserializer},
    },
    ser::SerializeMap,
};
use serde_json::value::RawValue;

use super::{
    kind::{Read, Reader, Write, Writer},
    lists::List,
};
use crate::{
    json::{
        budget::charge,
        extra::Extra,
        history,
        object::{Object, write_object},
    },
    proto::bounds::Limit,
};

/// A message. An empty list is the same as absence: PHP writes an empty map so.
pub(crate) struct Message;

impl<T: Object + DeserializeOwned> Read<&mut Option<T>> for Message {
    fn read<'de, A: MapAccess<'de>>(
        self,
        mut member: Reader<'_, A>,
        field: &mut Option<T>,
    ) -> Result<(), A::Error> {
        *field = member.read(OrEmptyList::new())?;
        Ok(())
    }

    fn replace_surrogates(self, _: &str, _: &mut Extra, field: &mut Option<T>) {
        if let Some(message) = field {
            message.replace_surrogates();
        }
    }
}

impl<T: Object + Serialize> Write<&Option<T>> for Message {
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

/// A message that has its own allocation.
pub(crate) struct BoxedMessage;

impl<T: Object + DeserializeOwned> Read<&mut Option<Box<T>>> for BoxedMessage {
    fn read<'de, A: MapAccess<'de>>(
        self,
        mut member: Reader<'_, A>,
        field: &mut Option<Box<T>>,
    ) -> Result<(), A::Error> {
        charge(size_of::<T>())?;
        *field = member.read(OrEmptyList::new())?;
        Ok(())
    }

    fn replace_surrogates(self, _: &str, _: &mut Extra, field: &mut Option<Box<T>>) {
        if let Some(message) = field {
            message.replace_surrogates();
        }
    }
}

impl<T: Object + Serialize> Write<&Option<Box<T>>> for BoxedMessage {
    fn write<M: SerializeMap>(
        self,
        member: Writer<'_, M>,
        field: &Option<Box<T>>,
    ) -> Result<(), M::Error> {
        member.optional(field.as_ref())
    }

    fn has_field_in_extra(self, field: &Option<Box<T>>) -> bool {
        field
            .as_ref()
            .is_some_and(|message| message.has_field_in_extra())
    }
}

/// A message of which these members are null when unset, in this place only.
pub(crate) struct MessageWithNulls(pub &'static [&'static str]);

impl<T: Object + DeserializeOwned> Read<&mut Option<T>> for MessageWithNulls {
    fn read<'de, A: MapAccess<'de>>(
        self,
        member: Reader<'_, A>,
        field: &mut Option<T>,
    ) -> Result<(), A::Error> {
        Message.read(member, field)
    }

    fn replace_surrogates(self, name: &str, extra: &mut Extra, field: &mut Option<T>) {
        Message.replace_surrogates(name, extra, field);
    }
}

impl<T: Object + Serialize> Write<&Option<T>> for MessageWithNulls {
    fn write<M: SerializeMap>(
        self,
        member: Writer<'_, M>,
        field: &Option<T>,
    ) -> Result<(), M::Error> {
        member.optional(field.as_ref().map(|message| WithNulls(message, self.0)))
    }

    fn has_field_in_extra(self, field: &Option<T>) -> bool {
        Message.has_field_in_extra(field)
    }
}

/// A message with members that are null when unset in this place only.
struct WithNulls<'a, T>(&'a T, &'static [&'static str]);

impl<T: Object> Serialize for WithNulls<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        write_object(self.0, self.1, serializer)
    }
}

/// A list of messages.
pub(crate) struct Messages(pub &'static Limit);

impl<T: Object + DeserializeOwned> Read<&mut Vec<T>> for Messages {
    fn read<'de, A: MapAccess<'de>>(
        self,
        member: Reader<'_, A>,
        field: &mut Vec<T>,
    ) -> Result<(), A::Error> {
        List(self.0).read(member, field)
    }

    fn replace_surrogates(self, _: &str, _: &mut Extra, field: &mut Vec<T>) {
        field.iter_mut().for_each(T::replace_surrogates);
    }
}

impl<T: Object + Serialize> Write<&Vec<T>> for Messages {
    fn write<M: SerializeMap>(self, member: Writer<'_, M>, field: &Vec<T>) -> Result<(), M::Error> {
        List(self.0).write(member, field)
    }

    fn has_field_in_extra(self, field: &Vec<T>) -> bool {
        field.iter().any(T::has_field_in_extra)
    }
}

/// The messages of a conversation. Those that are answers given back are read leniently, as answers
/// are: [`history`] says which.
pub(crate) struct HistoryMessages(pub &'static Limit);

impl<T: Object + DeserializeOwned> Read<&mut Vec<T>> for HistoryMessages {
    fn read<'de, A: MapAccess<'de>>(
        self,
        mut member: Reader<'_, A>,
        field: &mut Vec<T>,
    ) -> Result<(), A::Error> {
        let list = member.read(history::List::new(self.0))?;
        *field = list.unwrap_or_default();
        Ok(())
    }

    fn replace_surrogates(self, name: &str, extra: &mut Extra, field: &mut Vec<T>) {
        Messages(self.0).replace_surrogates(name, extra, field);
    }
}

impl<T: Object + Serialize> Write<&Vec<T>> for HistoryMessages {
    fn write<M: SerializeMap>(self, member: Writer<'_, M>, field: &Vec<T>) -> Result<(), M::Error> {
        Messages(self.0).write(member, field)
    }

    fn has_field_in_extra(self, field: &Vec<T>) -> bool {
        Messages(self.0).has_field_in_extra(field)
    }
}

/// Reads a `T`, or null or an empty list for none.
pub(in crate::json) struct OrEmptyList<T>(PhantomData<T>);

impl<T> OrEmptyList<T> {
    pub(in crate::json) fn new() -> Self {
        Self(PhantomData)
    }
}

impl<'de, T: Deserialize<'de>> DeserializeSeed<'de> for OrEmptyList<T> {
    type Value = Option<T>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Option<T>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

/// Null and lists are read here, all other values by `T`.
impl<'de, T: Deserialize<'de>> Visitor<'de> for OrEmptyList<T> {
    type Value = Option<T>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an object")
    }

    fn visit_unit<E>(self) -> Result<Option<T>, E> {
        Ok(None)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Option<T>, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map)).map(Some)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Option<T>, A::Error> {
        if list.next_element::<&RawValue>()?.is_none() {
            return Ok(None);
        }
        // Fails with the error of `T`, which takes no list.
        T::deserialize(SeqDeserializer::new(std::iter::empty::<()>())).map(Some)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Option<T>, E> {
        T::deserialize(text.into_deserializer()).map(Some)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Option<T>, E> {
        T::deserialize(value.into_deserializer()).map(Some)
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Option<T>, E> {
        T::deserialize(number.into_deserializer()).map(Some)
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Option<T>, E> {
        T::deserialize(number.into_deserializer()).map(Some)
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Option<T>, E> {
        T::deserialize(number.into_deserializer()).map(Some)
    }
}
