//! The macros that make `Serialize` and `Deserialize` of what `build/json_codec.rs` writes: of the
//! members of a message, of a message that is nothing but a list, and of a oneof.

/// Implements [`Object`](super::object::Object), `Serialize` and `Deserialize` for a message,
/// member by member: the name in JSON, the fields (one, for most members), and the
/// [kind](super::members) of member.
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
        impl $crate::json::object::Object for $message {
            const NAMES: &'static [&'static str] = &[$($name),*];
            $(const NULLS: &'static [&'static str] = $nulls;)?

            fn read_member<'de, A: serde::de::MapAccess<'de>>(
                &mut self,
                name: $crate::json::name::Name<'de>,
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
                    _ => $crate::json::extra::read_extra(map, name, &mut self.extra),
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
                let nulls = <Self as $crate::json::object::Object>::NULLS;
                $crate::json::object::write_object(self, nulls, serializer)
            }
        }

        impl<'de> serde::Deserialize<'de> for $message {
            fn deserialize<D: serde::Deserializer<'de>>(
                deserializer: D,
            ) -> Result<Self, D::Error> {
                $crate::json::object::read_object(deserializer)
            }
        }
    };
}
pub(crate) use object;

/// Implements `Serialize` and `Deserialize` for a message with one list, of this kind.
macro_rules! list {
    ($message:ident($field:ident): $list:expr) => {
        impl serde::Serialize for $message {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                $crate::json::members::WholeList::write($list, &self.$field, serializer)
            }
        }

        impl<'de> serde::Deserialize<'de> for $message {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let $field = $crate::json::members::WholeList::read($list, deserializer)?;
                Ok(Self { $field })
            }
        }
    };
}
pub(crate) use list;

/// Implements [`Union`](super::members::Union), `Serialize` and `Deserialize` for a oneof of a
/// string and an object, of a string and one list, or of a string and the three lists of a prompt.
macro_rules! union {
    ($union:ty { $text:ident, object $object:ident }) => {
        impl $crate::json::members::Union for $union {
            const EXPECTED: &'static str = "a string or an object";

            fn from_text(text: String) -> Self {
                Self::$text(text)
            }

            fn from_object<'de, A: serde::de::MapAccess<'de>>(object: A) -> Result<Self, A::Error> {
                let object = serde::de::value::MapAccessDeserializer::new(object);
                serde::Deserialize::deserialize(object).map(Self::$object)
            }

            fn has_field_in_extra(&self) -> bool {
                match self {
                    Self::$text(_) => false,
                    Self::$object(object) => $crate::json::object::Object::has_field_in_extra(object),
                }
            }

            fn replace_surrogates(&mut self) {
                match self {
                    Self::$text(_) => {}
                    Self::$object(object) => $crate::json::object::Object::replace_surrogates(object),
                }
            }
        }

        $crate::json::macros::union!(@serde $union { $text, $object });
    };
    ($union:ty { $text:ident, list $list:ident }) => {
        impl $crate::json::members::Union for $union {
            const EXPECTED: &'static str = "a string or a list";

            fn from_text(text: String) -> Self {
                Self::$text(text)
            }

            fn from_list<'de, A: serde::de::SeqAccess<'de>>(list: A) -> Result<Self, A::Error> {
                let list = serde::de::value::SeqAccessDeserializer::new(list);
                serde::Deserialize::deserialize(list).map(Self::$list)
            }
        }

        $crate::json::macros::union!(@serde $union { $text, $list });
    };
    ($union:ty {
        $text:ident, strings $strings:ident, tokens $tokens:ident, token_lists $lists:ident
    }) => {
        impl $crate::json::members::Union for $union {
            const EXPECTED: &'static str = "a string, a list of strings, a list of token ids, or a \
                                            list of lists of token ids";

            fn from_text(text: String) -> Self {
                Self::$text(text)
            }

            fn from_list<'de, A: serde::de::SeqAccess<'de>>(list: A) -> Result<Self, A::Error> {
                use $crate::json::members::PromptLists;
                let list = serde::de::value::SeqAccessDeserializer::new(list);
                Ok(match serde::Deserialize::deserialize(list)? {
                    PromptLists::Strings(values) => Self::$strings(StringList { values }),
                    PromptLists::Tokens(values) => Self::$tokens(TokenList { values }),
                    PromptLists::TokenLists(lists) => Self::$lists(TokenLists {
                        values: lists.into_iter().map(|values| TokenList { values }).collect(),
                    }),
                })
            }
        }

        $crate::json::macros::union!(@serde $union { $text, $strings, $tokens, $lists });
    };
    (@serde $union:ty { $text:ident, $($other:ident),* }) => {
        impl serde::Serialize for $union {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                match self {
                    Self::$text(text) => serializer.serialize_str(text),
                    $(Self::$other(value) => serde::Serialize::serialize(value, serializer),)*
                }
            }
        }

        impl<'de> serde::Deserialize<'de> for $union {
            fn deserialize<D: serde::Deserializer<'de>>(
                deserializer: D,
            ) -> Result<Self, D::Error> {
                $crate::json::members::read_union(deserializer)
            }
        }
    };
}
pub(crate) use union;
