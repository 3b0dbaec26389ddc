//! Members that are one word of a set: enums of the contract. In an answer, another word is kept
//! like every member of an unexpected type; in a request it is refused.

use std::fmt;

use serde::{
    Deserializer, Serialize, Serializer,
    de::{DeserializeSeed, Error, MapAccess, Visitor},
    ser::Error as _,
};

use super::{Extra, bounds::OrNull, read::read_by};

/// The words, each with its number.
type Words = &'static [(&'static str, i32)];

/// Reads a word into the field with its number. Null is the same as absence, which is 0.
pub(crate) fn read_word<'de, A: MapAccess<'de>>(
    map: &mut A,
    name: &str,
    extra: &mut Extra,
    field: &mut i32,
    words: Words,
) -> Result<(), A::Error> {
    let mut value = None;
    read_by(OrNull(Among(words)), map, name, extra, &mut value)?;
    *field = value.unwrap_or_default();
    Ok(())
}

/// One word among these.
struct Among(Words);

impl<'de> DeserializeSeed<'de> for Among {
    type Value = i32;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<i32, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Among {
    type Value = i32;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&listed(self.0))
    }

    fn visit_str<E: Error>(self, word: &str) -> Result<i32, E> {
        let known = self.0.iter().find(|(known, _)| *known == word);
        known
            .map(|(_, number)| *number)
            .ok_or_else(|| E::custom(format_args!("expected {}", listed(self.0))))
    }
}

/// `a, b or c`.
fn listed(words: Words) -> String {
    let names: Vec<_> = words.iter().map(|(word, _)| *word).collect();
    match names.split_last() {
        Some((last, [])) => (*last).to_owned(),
        Some((last, others)) => format!("{} or {last}", others.join(", ")),
        None => String::new(),
    }
}

/// A number of an enum, written as its word.
pub(crate) struct Word(i32, Words);

impl Word {
    /// The word of this number; none for 0, which is what an unset field has.
    pub(crate) fn of(number: i32, words: Words) -> Option<Self> {
        (number != 0).then_some(Self(number, words))
    }
}

impl Serialize for Word {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.1.iter().find(|(_, number)| *number == self.0) {
            Some((word, _)) => serializer.serialize_str(word),
            None => Err(S::Error::custom(unknown(self.0, self.1))),
        }
    }
}

/// The words for a number that the enum doesn't have.
pub(crate) fn unknown(number: i32, words: Words) -> String {
    let known: Vec<_> = words
        .iter()
        .map(|(word, number)| format!("{number} ({word})"))
        .collect();
    format!("no such value: {number}; there are {}", known.join(", "))
}
