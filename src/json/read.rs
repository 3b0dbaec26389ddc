//! What the generated code calls to read a message.

use std::{borrow::Cow, collections::BTreeMap, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{
        DeserializeSeed, Error, IntoDeserializer, MapAccess, SeqAccess, Visitor,
        value::{MapAccessDeserializer, SeqDeserializer},
    },
};
use serde_json::value::RawValue;

use super::{
    Extra, Integers, MODE, Mode,
    bounds::{self, Entries, List, OrNull, Text, charge, keep},
    problems::without_place,
};
use crate::proto::bounds::Limit;

/// The name of a member, borrowed unless it is escaped.
pub(crate) struct Key<'de>(pub Cow<'de, str>);

impl<'de> Deserialize<'de> for Key<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Name;
        impl<'de> Visitor<'de> for Name {
            type Value = Key<'de>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a member name")
            }

            fn visit_borrowed_str<E>(self, name: &'de str) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Borrowed(name)))
            }

            fn visit_str<E>(self, name: &str) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Owned(name.to_owned())))
            }

            fn visit_borrowed_bytes<E: Error>(self, name: &'de [u8]) -> Result<Key<'de>, E> {
                match std::str::from_utf8(name) {
                    Ok(name) => Ok(Key(Cow::Borrowed(name))),
                    Err(_) => self.visit_bytes(name),
                }
            }

            fn visit_bytes<E: Error>(self, name: &[u8]) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Owned(without_halves(name))))
            }
        }
        // Half of a surrogate pair can't be in a `str`. In a name of an answer it becomes U+FFFD,
        // and the answer goes on.
        if MODE.get() == Mode::Lenient {
            deserializer.deserialize_bytes(Name)
        } else {
            deserializer.deserialize_str(Name)
        }
    }
}

/// The name with U+FFFD for each half of a surrogate pair. serde_json gives half a pair as the
/// three bytes that UTF-8 would have for it, the first of which is 0xED; else the name is UTF-8.
fn without_halves(name: &[u8]) -> String {
    let mut text = String::with_capacity(name.len());
    for chunk in name.utf8_chunks() {
        text.push_str(chunk.valid());
        if chunk.invalid().starts_with(&[0xed]) {
            text.push(char::REPLACEMENT_CHARACTER);
        }
    }
    text
}

/// Reads a member into its field. Null is the same as absence.
pub(crate) fn read<'de, A: MapAccess<'de>, T: Deserialize<'de> + Default>(
    map: &mut A,
    name: &str,
    extra: &mut Extra,
    field: &mut T,
) -> Result<(), A::Error> {
    let mut value = None;
    read_by(PhantomData, map, name, extra, &mut value)?;
    *field = value.unwrap_or_default();
    Ok(())
}

/// Reads a member by this seed. When reading leniently, what the seed refuses goes into `extra`.
pub(super) fn read_by<'de, A: MapAccess<'de>, S: DeserializeSeed<'de, Value: Default>>(
    seed: S,
    map: &mut A,
    name: &str,
    extra: &mut Extra,
    field: &mut S::Value,
) -> Result<(), A::Error> {
    if MODE.get() != Mode::Lenient {
        *field = map.next_value_seed(seed)?;
        return Ok(());
    }
    // A member may come twice, and the last one counts: what the one before left in the other place
    // goes.
    match map.next_value_seed(IfFits(seed, name))? {
        Ok(value) => {
            *field = value;
            extra.remove(name);
        }
        Err(Text(text)) => {
            *field = S::Value::default();
            keep(extra, name.to_owned(), text)?;
        }
    }
    Ok(())
}

/// What a seed makes of a value, or the value's text if the seed refuses it. What is too large ends
/// the document all the same; it is told with the member's name, which is in no path here.
struct IfFits<'a, S>(S, &'a str);

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for IfFits<'_, S> {
    type Value = Result<S::Value, Text<'de>>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        let text = <&RawValue>::deserialize(deserializer)?.get();
        match self
            .0
            .deserialize(&mut serde_json::Deserializer::from_str(text))
        {
            Ok(value) => Ok(Ok(value)),
            Err(error) if bounds::are_exceeded() => Err(D::Error::custom(format_args!(
                "{}: {}",
                self.1,
                without_place(&error.to_string())
            ))),
            Err(_) => Text::within_depth(text).map(Err),
        }
    }
}

/// Reads a list.
pub(crate) fn read_list<'de, A: MapAccess<'de>, T: Deserialize<'de>>(
    map: &mut A,
    name: &str,
    extra: &mut Extra,
    field: &mut Vec<T>,
    limit: &Limit,
) -> Result<(), A::Error> {
    let mut value = None;
    read_by(
        OrNull(List(limit, PhantomData)),
        map,
        name,
        extra,
        &mut value,
    )?;
    *field = value.unwrap_or_default();
    Ok(())
}

/// The same for a member that is an object. An empty list is the same as absence: it is what PHP
/// makes of an empty map.
pub(crate) fn read_object<'de, A: MapAccess<'de>, T: Deserialize<'de>>(
    map: &mut A,
    name: &str,
    extra: &mut Extra,
    field: &mut Option<T>,
) -> Result<(), A::Error> {
    read_by(OrEmptyList(PhantomData), map, name, extra, field)
}

/// The same for an object with an allocation of its own.
pub(crate) fn read_boxed<'de, A: MapAccess<'de>, T: Deserialize<'de>>(
    map: &mut A,
    name: &str,
    extra: &mut Extra,
    field: &mut Option<Box<T>>,
) -> Result<(), A::Error> {
    charge(size_of::<T>())?;
    read_object(map, name, extra, field)
}

/// The same for a map of at most `MAX` entries.
pub(crate) fn read_map<'de, A: MapAccess<'de>, T: Deserialize<'de>, const MAX: usize>(
    map: &mut A,
    name: &str,
    extra: &mut Extra,
    field: &mut BTreeMap<String, T>,
) -> Result<(), A::Error> {
    let mut value: Option<Entries<T, MAX>> = None;
    read_object(map, name, extra, &mut value)?;
    *field = value.map(|entries| entries.0).unwrap_or_default();
    Ok(())
}

/// How many bytes a list of them may have: as many as the longest answer could bring, since they
/// take less than their text.
const BYTES: Limit = Limit {
    max: usize::MAX,
    of: "bytes",
};

/// The same for bytes, which are a list of integers.
pub(crate) fn read_bytes<'de, A: MapAccess<'de>>(
    map: &mut A,
    name: &str,
    extra: &mut Extra,
    field: &mut Option<Vec<u8>>,
) -> Result<(), A::Error> {
    read_by(OrNull(Integers::new(&BYTES)), map, name, extra, field)
}

/// Reads any JSON value but null as text.
pub(crate) fn read_optional_text<'de, A: MapAccess<'de>>(
    map: &mut A,
    _name: &str,
    _extra: &mut Extra,
    field: &mut Option<String>,
) -> Result<(), A::Error> {
    *field = map
        .next_value::<Option<Text<'de>>>()?
        .map(|text| text.0.to_owned());
    Ok(())
}

/// The same for the text of an object: an empty list is the same as absence.
pub(crate) fn read_object_text<'de, A: MapAccess<'de>>(
    map: &mut A,
    name: &str,
    extra: &mut Extra,
    field: &mut Option<String>,
) -> Result<(), A::Error> {
    read_optional_text(map, name, extra, field)?;
    let list = |text: &String| {
        text.strip_prefix('[')?
            .strip_suffix(']')
            .map(|inside| inside.trim_ascii().is_empty())
    };
    field.take_if(|text| list(text) == Some(true));
    Ok(())
}

/// Reads a member with a constant value. Another word of the upstream's is kept.
pub(crate) fn read_constant<'de, A: MapAccess<'de>>(
    map: &mut A,
    name: &str,
    extra: &mut Extra,
    constant: &str,
) -> Result<(), A::Error> {
    let Text(text) = map.next_value::<Text<'de>>()?;
    let is_constant = text
        .strip_prefix('"')
        .and_then(|text| text.strip_suffix('"'))
        == Some(constant);
    if is_constant || text == "null" {
        extra.remove(name);
    } else {
        keep(extra, name.to_owned(), text)?;
    }
    Ok(())
}

/// Keeps a member that the message has no field for, as the text it is.
pub(crate) fn read_extra<'de, A: MapAccess<'de>>(
    map: &mut A,
    key: Key<'de>,
    extra: &mut Extra,
) -> Result<(), A::Error> {
    let Text(text) = map.next_value::<Text<'de>>()?;
    keep(extra, key.0.into_owned(), text)
}

/// Reads a `T`, or null or an empty list for none.
struct OrEmptyList<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> DeserializeSeed<'de> for OrEmptyList<T> {
    type Value = Option<T>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Option<T>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

/// All but null and lists is `T`'s own business.
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
        // Fails in the words of `T`, which takes no list.
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
