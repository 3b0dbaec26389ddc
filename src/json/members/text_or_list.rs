//! A member that is a string or a list of messages: two fields in protobuf.

use std::{fmt, marker::PhantomData};

use serde::{
    Deserializer, Serialize, Serializer,
    de::{DeserializeOwned, DeserializeSeed, MapAccess, SeqAccess, Visitor},
    ser::{Error as _, SerializeMap},
};

use super::{
    kind::{Read, Reader, Write, Writer},
    messages::Messages,
    scalars::Text,
};
use crate::{
    json::{
        budget::ListOf,
        extra::{Extra, is_in, keep_in_extra},
        large_text::LargeText,
        mode::Mode,
        object::Object,
    },
    proto::bounds::Limit,
};

/// What a member's null means.
#[derive(Clone, Copy)]
pub(crate) enum Null {
    /// The same as absence.
    IsAbsence,
    /// Not the same as absence: it is kept in `extra`.
    Kept,
}

/// A string, which is the first field, or a list of messages, which is the second one.
pub(crate) struct TextOrList {
    /// The name of the second field. The first one has the member's name.
    pub list_name: &'static str,
    pub limit: &'static Limit,
    pub null: Null,
}

impl<T: Object + DeserializeOwned> Read<(&mut Option<String>, &mut Vec<T>)> for TextOrList {
    /// An empty list is kept in `extra`, because no field can tell it from absence.
    fn read<'de, A: MapAccess<'de>>(
        self,
        mut member: Reader<'_, A>,
        (text, list): (&mut Option<String>, &mut Vec<T>),
    ) -> Result<(), A::Error> {
        let value = member.read(LargeText(Seed {
            limit: self.limit,
            null: self.null,
            element: PhantomData,
        }))?;
        let (extra, name) = (member.extra, member.name);
        // The same member may have come before, in the other form.
        (*text, *list) = (None, Vec::new());
        match (value, self.null) {
            (Some(Value::Text(value)), _) => *text = Some(value),
            (Some(Value::List(values)), _) if values.is_empty() => {
                return keep_in_extra(extra, name.to_owned(), "[]");
            }
            (Some(Value::List(values)), _) => *list = values,
            (Some(Value::Null), Null::Kept) => {
                return keep_in_extra(extra, name.to_owned(), "null");
            }
            (Some(Value::Null), Null::IsAbsence) => {}
            // It is of another type, and therefore in `extra`.
            (None, _) => return Ok(()),
        }
        extra.remove(name);
        Ok(())
    }

    fn replace_surrogates(
        self,
        name: &str,
        extra: &mut Extra,
        (text, list): (&mut Option<String>, &mut Vec<T>),
    ) {
        Text.replace_surrogates(name, extra, text);
        Messages(self.limit).replace_surrogates(name, extra, list);
    }
}

impl<T: Object + Serialize> Write<(&Option<String>, &Vec<T>)> for TextOrList {
    /// In a request, only one of the two fields may be set.
    fn write<M: SerializeMap>(
        self,
        member: Writer<'_, M>,
        (text, list): (&Option<String>, &Vec<T>),
    ) -> Result<(), M::Error> {
        let Writer {
            map,
            name,
            extra,
            nulls,
        } = member;
        let set = text
            .as_ref()
            .map(|_| name)
            .or((!list.is_empty()).then_some(self.list_name));
        if is_in(extra, name, set)? {
            return Ok(());
        }
        match (text, list.as_slice()) {
            (Some(_), [_, ..]) if Mode::current() == Mode::Strict => {
                map.serialize_entry(self.list_name, &SetToo(name))
            }
            (_, [_, ..]) => map.serialize_entry(name, list),
            (Some(text), []) => map.serialize_entry(name, text),
            (None, []) if nulls.contains(&name) => map.serialize_entry(name, &()),
            (None, []) => Ok(()),
        }
    }

    fn has_field_in_extra(self, (_, list): (&Option<String>, &Vec<T>)) -> bool {
        Messages(self.limit).has_field_in_extra(list)
    }
}

enum Value<T> {
    Null,
    Text(String),
    List(Vec<T>),
}

struct Seed<'a, T> {
    limit: &'a Limit,
    null: Null,
    element: PhantomData<T>,
}

impl<'de, T: DeserializeOwned> DeserializeSeed<'de> for Seed<'_, T> {
    type Value = Option<Value<T>>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self).map(Some)
    }
}

impl<'de, T: DeserializeOwned> Visitor<'de> for Seed<'_, T> {
    type Value = Value<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.null {
            Null::Kept => "a string, a list of parts, or null",
            Null::IsAbsence => "a string or a list of parts",
        })
    }

    fn visit_unit<E>(self) -> Result<Value<T>, E> {
        Ok(Value::Null)
    }

    fn visit_str<E>(self, text: &str) -> Result<Value<T>, E> {
        Ok(Value::Text(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<Value<T>, E> {
        Ok(Value::Text(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Value<T>, A::Error> {
        ListOf(self.limit, PhantomData)
            .visit_seq(list)
            .map(Value::List)
    }
}

/// Fails to be written, because this field is set too. The error then has the path of the other
/// field.
struct SetToo(&'static str);

impl Serialize for SetToo {
    fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(S::Error::custom(format_args!(
            "the field `{}` is set too: set only one of the two",
            self.0
        )))
    }
}
