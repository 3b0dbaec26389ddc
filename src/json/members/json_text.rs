//! Strings that hold JSON text, which is moved verbatim.

use serde::{de::MapAccess, ser::SerializeMap};

use super::{Read, Reader, Write, Writer};
use crate::json::{budget, write::Verbatim};

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
        member.optional(field.as_deref().map(Verbatim))
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
