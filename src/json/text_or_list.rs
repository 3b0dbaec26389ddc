//! Members that are a text or a list of messages, which are two fields in protobuf.

use std::{fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{DeserializeSeed, MapAccess, SeqAccess, Visitor},
    ser::{Error as _, SerializeMap},
};

use super::{
    Extra, MODE, Mode,
    bounds::{List, keep},
    read::read_by,
    write::is_in,
};
use crate::proto::bounds::Limit;

/// What a member's null is.
#[derive(Clone, Copy)]
pub(crate) enum Null {
    /// The same as absence.
    IsAbsence,
    /// Something else than absence: it is kept in `extra`.
    Kept,
}

/// Reads such a member into its two fields. An empty list is kept in `extra`: no field could tell
/// it from absence.
pub(crate) fn read_text_or_list<'de, A: MapAccess<'de>, T: Deserialize<'de>>(
    map: &mut A,
    name: &str,
    extra: &mut Extra,
    (text, list): (&mut Option<String>, &mut Vec<T>),
    limit: &Limit,
    null: Null,
) -> Result<(), A::Error> {
    let mut value = None;
    read_by(
        TextOrList {
            limit,
            null,
            element: PhantomData,
        },
        map,
        name,
        extra,
        &mut value,
    )?;
    // A member may come twice, and the last one counts.
    (*text, *list) = (None, Vec::new());
    match (value, null) {
        (Some(Value::Text(value)), _) => *text = Some(value),
        (Some(Value::List(values)), _) if values.is_empty() => {
            return keep(extra, name.to_owned(), "[]");
        }
        (Some(Value::List(values)), _) => *list = values,
        (Some(Value::Null), Null::Kept) => return keep(extra, name.to_owned(), "null"),
        (Some(Value::Null), Null::IsAbsence) => {}
        // It is in `extra`, since its type is another one.
        (None, _) => return Ok(()),
    }
    extra.remove(name);
    Ok(())
}

enum Value<T> {
    Null,
    Text(String),
    List(Vec<T>),
}

struct TextOrList<'a, T> {
    limit: &'a Limit,
    null: Null,
    element: PhantomData<T>,
}

impl<'de, T: Deserialize<'de>> DeserializeSeed<'de> for TextOrList<'_, T> {
    type Value = Option<Value<T>>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self).map(Some)
    }
}

impl<'de, T: Deserialize<'de>> Visitor<'de> for TextOrList<'_, T> {
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

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Value<T>, A::Error> {
        List(self.limit, PhantomData)
            .visit_seq(list)
            .map(Value::List)
    }
}

/// Writes the member that two fields are. In a request, only one of them may be set.
pub(crate) fn write_text_or_list<M: SerializeMap, T: Serialize>(
    map: &mut M,
    (name, list_name): (&'static str, &'static str),
    text: Option<&str>,
    list: &[T],
    extra: &Extra,
    nulls: &[&str],
) -> Result<(), M::Error> {
    let set = text
        .map(|_| name)
        .or((!list.is_empty()).then_some(list_name));
    if is_in(extra, name, set)? {
        return Ok(());
    }
    match (text, list) {
        (Some(_), [_, ..]) if MODE.get() == Mode::Strict => {
            map.serialize_entry(list_name, &SetToo(name))
        }
        (_, [_, ..]) => map.serialize_entry(name, list),
        (Some(text), []) => map.serialize_entry(name, text),
        (None, []) if nulls.contains(&name) => map.serialize_entry(name, &()),
        (None, []) => Ok(()),
    }
}

/// Can't be written, since this field is set too: the error has the path of what should have been
/// written.
struct SetToo(&'static str);

impl Serialize for SetToo {
    fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(S::Error::custom(format_args!(
            "the field `{}` is set too: set only one of the two",
            self.0
        )))
    }
}
