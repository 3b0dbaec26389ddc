//! Members that may be one thing or a list of it.

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, MapAccess},
};

use super::{
    Extra,
    bounds::{OrNull, push},
    integers::{Integer, Integers, One, out_of_range, whole},
    read::read_by,
};
use crate::proto::{bounds::Limit, v1::limits};

/// Reads a string as a list of one, or a list of strings.
pub(crate) fn read_one_or_many<'de, A: MapAccess<'de>>(
    map: &mut A,
    name: &str,
    extra: &mut Extra,
    field: &mut Vec<String>,
    limit: &Limit,
) -> Result<(), A::Error> {
    let mut strings = None;
    read_by(OrNull(OneOrMany(limit)), map, name, extra, &mut strings)?;
    *field = strings.unwrap_or_default();
    Ok(())
}

/// Reads a list of integers.
pub(crate) fn read_integers<'de, A: MapAccess<'de>, T: Integer>(
    map: &mut A,
    name: &str,
    extra: &mut Extra,
    field: &mut Vec<T>,
    limit: &Limit,
) -> Result<(), A::Error> {
    let mut integers = None;
    read_by(
        OrNull(Integers::new(limit)),
        map,
        name,
        extra,
        &mut integers,
    )?;
    *field = integers.unwrap_or_default();
    Ok(())
}

/// Reads a message that is nothing but a list of integers.
pub(crate) fn integers<'de, D: Deserializer<'de>, T: Integer>(
    deserializer: D,
    limit: &Limit,
) -> Result<Vec<T>, D::Error> {
    Integers::new(limit).deserialize(deserializer)
}

/// A string, or a list of at most this many strings.
struct OneOrMany<'a>(&'a Limit);

impl<'de> DeserializeSeed<'de> for OneOrMany<'_> {
    type Value = Vec<String>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Vec<String>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> serde::de::Visitor<'de> for OneOrMany<'_> {
    type Value = Vec<String>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a string or a list of strings")
    }

    fn visit_str<E>(self, text: &str) -> Result<Vec<String>, E> {
        Ok(vec![text.to_owned()])
    }

    fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut list: A) -> Result<Vec<String>, A::Error> {
        let mut strings = Vec::new();
        while let Some(text) = list.next_element()? {
            push(&mut strings, self.0, text)?;
        }
        Ok(strings)
    }
}

/// Several texts, as text or as token ids: which of them, their first element tells.
pub(crate) enum Texts {
    Strings(Vec<String>),
    Tokens(Vec<i32>),
    TokenLists(Vec<Vec<i32>>),
}

impl<'de> Deserialize<'de> for Texts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Texts;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a list")
            }

            fn visit_seq<A: serde::de::SeqAccess<'de>>(
                self,
                mut list: A,
            ) -> Result<Texts, A::Error> {
                let mut texts = match list.next_element()? {
                    None => return Ok(Texts::Strings(Vec::new())),
                    Some(Input::String(text)) => Texts::Strings(vec![text]),
                    Some(Input::Token(token)) => Texts::Tokens(vec![token]),
                    Some(Input::Tokens(tokens)) => Texts::TokenLists(vec![tokens]),
                };
                // The others must be of the same kind.
                match &mut texts {
                    Texts::Strings(texts) => {
                        while let Some(text) = list.next_element()? {
                            push(texts, &limits::STRING_LIST_VALUES, text)?;
                        }
                    }
                    Texts::Tokens(tokens) => {
                        while let Some(One(token)) = list.next_element()? {
                            push(tokens, &limits::TOKEN_LIST_VALUES, token)?;
                        }
                    }
                    Texts::TokenLists(lists) => {
                        while let Some(tokens) =
                            list.next_element_seed(Integers::new(&limits::TOKEN_LIST_VALUES))?
                        {
                            push(lists, &limits::TOKEN_LISTS_VALUES, tokens)?;
                        }
                    }
                }
                Ok(texts)
            }
        }
        deserializer.deserialize_seq(Visitor)
    }
}

enum Input {
    String(String),
    Token(i32),
    Tokens(Vec<i32>),
}

impl<'de> Deserialize<'de> for Input {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Input;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a string, a token id or a list of token ids")
            }

            fn visit_str<E>(self, text: &str) -> Result<Input, E> {
                Ok(Input::String(text.to_owned()))
            }

            fn visit_i64<E: serde::de::Error>(self, token: i64) -> Result<Input, E> {
                let id = i32::try_from(token);
                id.map(Input::Token)
                    .map_err(|_| out_of_range::<i32, E>(token < 0, i32::WORDS))
            }

            fn visit_u64<E: serde::de::Error>(self, token: u64) -> Result<Input, E> {
                self.visit_i64(i64::try_from(token).unwrap_or(i64::MAX))
            }

            fn visit_f64<E: serde::de::Error>(self, token: f64) -> Result<Input, E> {
                whole(token, i32::WORDS).map(Input::Token)
            }

            fn visit_seq<A: serde::de::SeqAccess<'de>>(self, list: A) -> Result<Input, A::Error> {
                let list = serde::de::value::SeqAccessDeserializer::new(list);
                Integers::new(&limits::TOKEN_LIST_VALUES)
                    .deserialize(list)
                    .map(Input::Tokens)
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}
