//! A member that always has the same value, such as `"object": "chat.completion"`.

use serde::{de::MapAccess, ser::SerializeMap};

use super::kind::{Read, Reader, Write, Writer};
use crate::json::{budget::Text, extra::keep_in_extra};

/// A member with this string, which needs no field. Another value of the upstream's is kept in
/// `extra`.
pub(crate) struct Constant(pub &'static str);

impl Read<()> for Constant {
    fn read<'de, A: MapAccess<'de>>(self, member: Reader<'_, A>, (): ()) -> Result<(), A::Error> {
        let Text(text) = member.map.next_value::<Text<'de>>()?;
        let is_constant = text
            .strip_prefix('"')
            .and_then(|text| text.strip_suffix('"'))
            == Some(self.0);
        if is_constant || text == "null" {
            member.extra.remove(member.name);
            Ok(())
        } else {
            keep_in_extra(member.extra, member.name.to_owned(), text)
        }
    }
}

impl Write<()> for Constant {
    fn write<M: SerializeMap>(self, member: Writer<'_, M>, (): ()) -> Result<(), M::Error> {
        member.required(false, self.0)
    }
}
