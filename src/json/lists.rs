//! Members that may be one thing or a list of it.

use serde::{Deserialize, Deserializer, de::MapAccess};

use super::{
    Extra,
    integers::{Integer as _, Integers, One, out_of_range, whole},
    read,
};

/// Reads a string as a list of one, or a list of strings.
pub(crate) fn read_one_or_many<'de, A: MapAccess<'de>>(
    map: &mut A,
    name: &str,
    extra: &mut Extra,
    field: &mut Vec<String>,
) -> Result<(), A::Error> {
    let mut strings = OneOrMany::default();
    read(map, name, extra, &mut strings)?;
    *field = strings.0;
    Ok(())
}

/// Reads a list of integers.
pub(crate) fn read_integers<'de, A: MapAccess<'de>, T: super::integers::Integer>(
    map: &mut A,
    name: &str,
    extra: &mut Extra,
    field: &mut Vec<T>,
) -> Result<(), A::Error> {
    let mut integers = Integers(Vec::new());
    read(map, name, extra, &mut integers)?;
    *field = integers.0;
    Ok(())
}

#[derive(Default)]
struct OneOrMany(Vec<String>);

impl<'de> Deserialize<'de> for OneOrMany {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = OneOrMany;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a string or a list of strings")
            }

            fn visit_str<E>(self, text: &str) -> Result<OneOrMany, E> {
                Ok(OneOrMany(vec![text.to_owned()]))
            }

            fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut list: A) -> Result<OneOrMany, A::Error> {
                let mut strings = Vec::new();
                while let Some(text) = list.next_element()? {
                    strings.push(text);
                }
                Ok(OneOrMany(strings))
            }
        }
        deserializer.deserialize_any(Visitor)
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

            fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut list: A) -> Result<Texts, A::Error> {
                let mut texts = match list.next_element()? {
                    None => return Ok(Texts::Strings(Vec::new())),
                    Some(Input::String(text)) => Texts::Strings(vec![text]),
                    Some(Input::Token(token)) => Texts::Tokens(vec![token]),
                    Some(Input::Tokens(tokens)) => Texts::TokenLists(vec![tokens]),
                };
                // The others must be of the same kind.
                match &mut texts {
                    Texts::Strings(texts) => rest(&mut list, texts, |text: String| text),
                    Texts::Tokens(tokens) => rest(&mut list, tokens, |One(token)| token),
                    Texts::TokenLists(lists) => rest(&mut list, lists, |tokens: Integers<i32>| tokens.0),
                }?;
                Ok(texts)
            }
        }

        fn rest<'de, A: serde::de::SeqAccess<'de>, R: Deserialize<'de>, T>(
            list: &mut A,
            values: &mut Vec<T>,
            value: impl Fn(R) -> T,
        ) -> Result<(), A::Error> {
            while let Some(read) = list.next_element()? {
                values.push(value(read));
            }
            Ok(())
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
                id.map(Input::Token).map_err(|_| out_of_range::<i32, E>(token < 0, i32::WORDS))
            }

            fn visit_u64<E: serde::de::Error>(self, token: u64) -> Result<Input, E> {
                self.visit_i64(i64::try_from(token).unwrap_or(i64::MAX))
            }

            fn visit_f64<E: serde::de::Error>(self, token: f64) -> Result<Input, E> {
                whole(token, i32::WORDS).map(Input::Token)
            }

            fn visit_seq<A: serde::de::SeqAccess<'de>>(self, list: A) -> Result<Input, A::Error> {
                let tokens = Integers::deserialize(serde::de::value::SeqAccessDeserializer::new(list))?;
                Ok(Input::Tokens(tokens.0))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}
