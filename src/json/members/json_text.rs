//! Strings that hold JSON text, which is moved verbatim.

use serde::{
    Serialize, Serializer,
    de::MapAccess,
    ser::{Error as _, SerializeMap},
};
use serde_json::value::RawValue;

use super::kind::{Read, Reader, Write, Writer};
use crate::{
    json::{budget, error::error_in_text, mode::Mode, verbatim::Verbatim},
    proto::bounds::TooLarge,
};

/// JSON text of any value. Null is the same as absence.
pub(crate) struct JsonText;

impl Read<&mut Option<String>> for JsonText {
    fn read<'de, A: MapAccess<'de>>(
        self,
        member: Reader<'_, A>,
        field: &mut Option<String>,
    ) -> Result<(), A::Error> {
        *field = member
            .map
            .next_value::<Option<budget::Text<'de>>>()?
            .map(|text| text.0.to_owned());
        Ok(())
    }
}

impl Write<&Option<String>> for JsonText {
    fn write<M: SerializeMap>(
        self,
        member: Writer<'_, M>,
        field: &Option<String>,
    ) -> Result<(), M::Error> {
        member.optional(field.as_deref().map(CheckedText))
    }
}

/// JSON text of an object. An empty list is the same as absence: PHP writes an empty map so.
pub(crate) struct JsonObjectText;

impl Read<&mut Option<String>> for JsonObjectText {
    fn read<'de, A: MapAccess<'de>>(
        self,
        member: Reader<'_, A>,
        field: &mut Option<String>,
    ) -> Result<(), A::Error> {
        JsonText.read(member, field)?;
        field.take_if(|text| is_empty_list(text));
        Ok(())
    }
}

fn is_empty_list(text: &str) -> bool {
    text.strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'))
        .is_some_and(|inside| inside.trim_ascii().is_empty())
}

impl Write<&Option<String>> for JsonObjectText {
    fn write<M: SerializeMap>(
        self,
        member: Writer<'_, M>,
        field: &Option<String>,
    ) -> Result<(), M::Error> {
        JsonText.write(member, field)
    }
}

/// JSON text, checked when it is written.
struct CheckedText<'a>(&'a str);

impl Serialize for CheckedText<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if Mode::current() == Mode::Strict && budget::is_too_deep(self.0) {
            return Err(S::Error::custom(TooLarge::Depth));
        }
        match serde_json::from_str::<&RawValue>(self.0) {
            Ok(text) => Verbatim(text).serialize(serializer),
            Err(error) => Err(S::Error::custom(error_in_text(&error))),
        }
    }
}
