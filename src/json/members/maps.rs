//! Maps: objects whose member names are the caller's own.

use std::collections::BTreeMap;

use serde::{
    Serialize, Serializer,
    de::{DeserializeOwned, MapAccess},
    ser::SerializeMap,
};

use super::{
    kind::{Read, Reader, Write, Writer},
    messages::OrEmptyList,
    scalars::Number,
};
use crate::json::budget::Entries;

/// A map of at most `MAX` strings.
pub(crate) struct StringMap<const MAX: usize>;

impl<const MAX: usize> Read<&mut BTreeMap<String, String>> for StringMap<MAX> {
    fn read<'de, A: MapAccess<'de>>(
        self,
        member: Reader<'_, A>,
        field: &mut BTreeMap<String, String>,
    ) -> Result<(), A::Error> {
        *field = read::<_, _, MAX>(member)?;
        Ok(())
    }
}

impl<const MAX: usize> Write<&BTreeMap<String, String>> for StringMap<MAX> {
    fn write<M: SerializeMap>(
        self,
        member: Writer<'_, M>,
        field: &BTreeMap<String, String>,
    ) -> Result<(), M::Error> {
        member.optional((!field.is_empty()).then_some(field))
    }
}

/// A map of at most `MAX` doubles.
pub(crate) struct DoubleMap<const MAX: usize>;

impl<const MAX: usize> Read<&mut BTreeMap<String, f64>> for DoubleMap<MAX> {
    fn read<'de, A: MapAccess<'de>>(
        self,
        member: Reader<'_, A>,
        field: &mut BTreeMap<String, f64>,
    ) -> Result<(), A::Error> {
        *field = read::<_, _, MAX>(member)?;
        Ok(())
    }
}

impl<const MAX: usize> Write<&BTreeMap<String, f64>> for DoubleMap<MAX> {
    fn write<M: SerializeMap>(
        self,
        member: Writer<'_, M>,
        field: &BTreeMap<String, f64>,
    ) -> Result<(), M::Error> {
        member.optional((!field.is_empty()).then_some(Numbers(field)))
    }
}

fn read<'de, A: MapAccess<'de>, V: DeserializeOwned, const MAX: usize>(
    mut member: Reader<'_, A>,
) -> Result<BTreeMap<String, V>, A::Error> {
    let entries: Option<Entries<V, MAX>> = member.read(OrEmptyList::new())?;
    Ok(entries.map(|entries| entries.0).unwrap_or_default())
}

struct Numbers<'a>(&'a BTreeMap<String, f64>);

impl Serialize for Numbers<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, number)| (name, Number(*number))))
    }
}
