//! The names of members.

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{Error, Visitor},
};

use super::mode::Mode;

/// The name of a member, borrowed unless it is escaped.
pub(crate) struct Name<'de>(pub Cow<'de, str>);

impl Name<'_> {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for Name<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // A `str` can't contain an unpaired surrogate. In a name of an answer the surrogate becomes
        // U+FFFD, and the rest of the answer is read.
        if Mode::current() == Mode::Lenient {
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
