//! A message as a JSON object: the trait of all messages, and the one visitor that reads them.

use std::{borrow::Cow, fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer, Serializer,
    de::{Error, MapAccess, Visitor},
    ser::SerializeMap,
};

use super::{
    Extra, MODE, Mode,
    budget::{Text, keep_in_extra},
    write::write_extra,
};

/// A message that is a JSON object. [`object!`] implements it.
pub(crate) trait Object: Default {
    /// All members that have a field.
    const NAMES: &'static [&'static str];

    /// Members written as null when unset.
    const NULLS: &'static [&'static str] = &[];

    /// Reads the value of the member with this name into its field. Without such a field, into
    /// `extra`. A member may come twice: the last one replaces what the one before left.
    fn read_member<'de, A: MapAccess<'de>>(
        &mut self,
        name: Name<'de>,
        map: &mut A,
    ) -> Result<(), A::Error>;

    /// Writes all members but those that are only in `extra`. Those in `nulls` are null if unset.
    fn write_members<M: SerializeMap>(&self, map: &mut M, nulls: &[&str]) -> Result<(), M::Error>;

    /// The members that the message has no field for, as JSON text.
    fn extra(&self) -> &Extra;

    /// Called once all members are read: puts in what is required and was left out.
    fn fill_required(&mut self) {}

    /// Whether `extra` names one of the message's own fields, here or in a message within.
    fn has_field_in_extra(&self) -> bool;

    /// Moves strings with unpaired surrogates out of `extra` into their fields, here and in
    /// messages within, with U+FFFD for each such surrogate.
    fn replace_surrogates(&mut self);
}

/// Implements [`Object`], `Serialize` and `Deserialize` for a message, member by member: the name
/// in JSON, the fields (one, for most members), and the [kind](super::members) of member.
///
/// ```ignore
/// object! {
///     ChatChoice, nulls: &["finish_reason"], fill_required: FillRequired::fill_required;
///     "index" => (index): members::Index;
///     "finish_reason" => (finish_reason): members::Text;
/// }
/// ```
macro_rules! object {
    (
        $message:ident $(, nulls: $nulls:expr)? $(, fill_required: $fill_required:path)?;
        $($name:literal => ($($field:ident),*): $member:expr;)*
    ) => {
        impl $crate::json::Object for $message {
            const NAMES: &'static [&'static str] = &[$($name),*];
            $(const NULLS: &'static [&'static str] = $nulls;)?

            fn read_member<'de, A: serde::de::MapAccess<'de>>(
                &mut self,
                name: $crate::json::Name<'de>,
                map: &mut A,
            ) -> Result<(), A::Error> {
                match name.as_str() {
                    $($name => $crate::json::members::Read::read(
                        $member,
                        $crate::json::members::Reader {
                            map,
                            name: $name,
                            extra: &mut self.extra,
                        },
                        ($(&mut self.$field),*),
                    ),)*
                    _ => $crate::json::read_extra(map, name, &mut self.extra),
                }
            }

            fn write_members<M: serde::ser::SerializeMap>(
                &self,
                map: &mut M,
                nulls: &[&str],
            ) -> Result<(), M::Error> {
                $($crate::json::members::Write::write(
                    $member,
                    $crate::json::members::Writer {
                        map,
                        name: $name,
                        extra: &self.extra,
                        nulls,
                    },
                    ($(&self.$field),*),
                )?;)*
                Ok(())
            }

            fn extra(&self) -> &std::collections::BTreeMap<String, String> {
                &self.extra
            }

            $(fn fill_required(&mut self) {
                $fill_required(self);
            })?

            fn has_field_in_extra(&self) -> bool {
                (!self.extra.is_empty()
                    && self.extra.keys().any(|name| Self::NAMES.contains(&name.as_str())))
                    $(|| $crate::json::members::Write::has_field_in_extra(
                        $member,
                        ($(&self.$field),*),
                    ))*
            }

            fn replace_surrogates(&mut self) {
                $($crate::json::members::Read::replace_surrogates(
                    $member,
                    $name,
                    &mut self.extra,
                    ($(&mut self.$field),*),
                );)*
            }
        }

        impl serde::Serialize for $message {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                let nulls = <Self as $crate::json::Object>::NULLS;
                $crate::json::write_object(self, nulls, serializer)
            }
        }

        impl<'de> serde::Deserialize<'de> for $message {
            fn deserialize<D: serde::Deserializer<'de>>(
                deserializer: D,
            ) -> Result<Self, D::Error> {
                $crate::json::read_object(deserializer)
            }
        }
    };
}
pub(crate) use object;

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

/// Keeps a member that the message has no field for, as JSON text.
pub(crate) fn read_extra<'de, A: MapAccess<'de>>(
    map: &mut A,
    name: Name<'de>,
    extra: &mut Extra,
) -> Result<(), A::Error> {
    let Text(text) = map.next_value::<Text<'de>>()?;
    keep_in_extra(extra, name.0.into_owned(), text)
}

/// The name of a member, borrowed unless it is escaped.
pub(crate) struct Name<'de>(pub Cow<'de, str>);

impl Name<'_> {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for Name<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // An unpaired surrogate can't be in a `str`. In a name of an answer it becomes U+FFFD, and
        // the answer goes on.
        if MODE.get() == Mode::Lenient {
            deserializer.deserialize_bytes(NameVisitor)
        } else {
            deserializer.deserialize_str(NameVisitor)
        }
    }
}

struct NameVisitor;

impl<'de> Visitor<'de> for NameVisitor {
    type Value = Name<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a member name")
    }

    fn visit_borrowed_str<E>(self, name: &'de str) -> Result<Name<'de>, E> {
        Ok(Name(Cow::Borrowed(name)))
    }

    fn visit_str<E>(self, name: &str) -> Result<Name<'de>, E> {
        Ok(Name(Cow::Owned(name.to_owned())))
    }

    fn visit_borrowed_bytes<E: Error>(self, name: &'de [u8]) -> Result<Name<'de>, E> {
        match std::str::from_utf8(name) {
            Ok(name) => Ok(Name(Cow::Borrowed(name))),
            Err(_) => self.visit_bytes(name),
        }
    }

    fn visit_bytes<E: Error>(self, name: &[u8]) -> Result<Name<'de>, E> {
        Ok(Name(Cow::Owned(replace_surrogates(name))))
    }
}

/// The name with U+FFFD for each unpaired surrogate. `serde_json` gives such a surrogate as the
/// three bytes that UTF-8 would have for it, the first of which is 0xED. The rest of the name is
/// UTF-8.
fn replace_surrogates(name: &[u8]) -> String {
    let mut text = String::with_capacity(name.len());
    for chunk in name.utf8_chunks() {
        text.push_str(chunk.valid());
        if chunk.invalid().starts_with(&[0xed]) {
            text.push(char::REPLACEMENT_CHARACTER);
        }
    }
    text
}
