//! Integers as JSON Schema has them: numbers without a fraction, in any notation. `100.0` and `1e2`
//! are integers.

use std::marker::PhantomData;

use serde::{
    Deserialize, Deserializer, Serialize,
    de::{DeserializeSeed, Error, MapAccess, SeqAccess, Unexpected, Visitor},
    ser::SerializeMap,
};

use super::kind::{Read, Reader, Write, Writer};
use crate::{
    json::{
        budget::{OrNull, push},
        mode::Mode,
    },
    proto::bounds::Limit,
};

/// From this double on, a double may not be the integer that was written: the next integer is
/// rounded to this one.
const ROUNDED_MIN: f64 = 9_007_199_254_740_992.0; // 2^53

/// A type of field that is an integer.
pub(crate) trait IntegerField: TryFrom<i64> + Default + PartialEq + Serialize {
    /// What a member of this type must be.
    const EXPECTED: &'static str;
    /// The largest value.
    const MAX: i64;
}

impl IntegerField for i32 {
    const EXPECTED: &'static str = "an integer between -2147483648 and 2147483647";
    const MAX: i64 = i32::MAX as i64;
}

impl IntegerField for i64 {
    const EXPECTED: &'static str = "a 64-bit integer";
    const MAX: i64 = i64::MAX;
}

impl IntegerField for u8 {
    const EXPECTED: &'static str = "a byte (0 to 255)";
    const MAX: i64 = 255;
}

/// An integer. The string says what the member must be, with its range; it is empty where the
/// range is the type's.
pub(crate) struct Integer(pub &'static str);

impl<T: IntegerField> Read<&mut Option<T>> for Integer {
    fn read<'de, A: MapAccess<'de>>(
        self,
        mut member: Reader<'_, A>,
        field: &mut Option<T>,
    ) -> Result<(), A::Error> {
        *field = member.read(IntegerOrNone::document_error(self.0))?;
        Ok(())
    }
}

impl<T: IntegerField> Write<&Option<T>> for Integer {
    fn write<M: SerializeMap>(
        self,
        member: Writer<'_, M>,
        field: &Option<T>,
    ) -> Result<(), M::Error> {
        member.optional(field.as_ref())
    }
}

impl<T: IntegerField> Read<&mut T> for Integer {
    fn read<'de, A: MapAccess<'de>>(
        self,
        mut member: Reader<'_, A>,
        field: &mut T,
    ) -> Result<(), A::Error> {
        *field = member
            .read(IntegerOrNone::document_error(self.0))?
            .unwrap_or_default();
        Ok(())
    }
}

impl<T: IntegerField> Write<&T> for Integer {
    fn write<M: SerializeMap>(self, member: Writer<'_, M>, field: &T) -> Result<(), M::Error> {
        member.required(*field != T::default(), field)
    }
}

/// An integer whose null does not mean absence: for null the second field is true.
pub(crate) struct IntegerOrNull;

impl<T: IntegerField> Read<(&mut Option<T>, &mut bool)> for IntegerOrNull {
    fn read<'de, A: MapAccess<'de>>(
        self,
        mut member: Reader<'_, A>,
        (field, is_null): (&mut Option<T>, &mut bool),
    ) -> Result<(), A::Error> {
        *field = member.read(IntegerOrNone::document_error(""))?;
        // A value of another type is in `extra`.
        *is_null = field.is_none() && !member.extra.contains_key(member.name);
        Ok(())
    }
}

impl<T: IntegerField> Write<(&Option<T>, &bool)> for IntegerOrNull {
    fn write<M: SerializeMap>(
        self,
        member: Writer<'_, M>,
        (field, is_null): (&Option<T>, &bool),
    ) -> Result<(), M::Error> {
        let name = [member.name];
        let nulls: &[&str] = if *is_null { &name } else { &[] };
        Writer { nulls, ..member }.optional(field.as_ref())
    }
}

/// The position of an element in a list. Some engines write it as a string, `"0"`. That is an
/// integer in an answer, and an error in a request.
pub(crate) struct Index;

impl Index {
    fn value<'de, A: MapAccess<'de>>(member: &mut Reader<'_, A>) -> Result<Option<i32>, A::Error> {
        member.read(IntegerOrNone::<i32> {
            expected: i32::EXPECTED,
            may_be_string: Mode::current() == Mode::Lenient,
            integer: PhantomData,
        })
    }
}

impl Read<&mut Option<i32>> for Index {
    fn read<'de, A: MapAccess<'de>>(
        self,
        mut member: Reader<'_, A>,
        field: &mut Option<i32>,
    ) -> Result<(), A::Error> {
        *field = Self::value(&mut member)?;
        Ok(())
    }
}

impl Write<&Option<i32>> for Index {
    fn write<M: SerializeMap>(
        self,
        member: Writer<'_, M>,
        field: &Option<i32>,
    ) -> Result<(), M::Error> {
        member.optional(*field)
    }
}

impl Read<&mut i32> for Index {
    fn read<'de, A: MapAccess<'de>>(
        self,
        mut member: Reader<'_, A>,
        field: &mut i32,
    ) -> Result<(), A::Error> {
        *field = Self::value(&mut member)?.unwrap_or_default();
        Ok(())
    }
}

impl Write<&i32> for Index {
    fn write<M: SerializeMap>(self, member: Writer<'_, M>, field: &i32) -> Result<(), M::Error> {
        member.required(*field != 0, field)
    }
}

/// A list of integers, which may be as long as `Limit` says.
pub(crate) struct Integers(pub &'static Limit);

impl<T: IntegerField> Read<&mut Vec<T>> for Integers {
    fn read<'de, A: MapAccess<'de>>(
        self,
        mut member: Reader<'_, A>,
        field: &mut Vec<T>,
    ) -> Result<(), A::Error> {
        let list = member.read(OrNull(IntegerList::new(self.0)))?;
        *field = list.unwrap_or_default();
        Ok(())
    }
}

impl<T: IntegerField> Write<&Vec<T>> for Integers {
    fn write<M: SerializeMap>(self, member: Writer<'_, M>, field: &Vec<T>) -> Result<(), M::Error> {
        member.optional((!field.is_empty()).then_some(field))
    }
}

/// Bytes, which are a list of integers. They take less memory than their text, so the list may be
/// as long as the longest answer can hold.
pub(crate) struct Bytes;

const BYTES: Limit = Limit {
    max: usize::MAX,
    of: "bytes",
};

impl Read<&mut Option<Vec<u8>>> for Bytes {
    fn read<'de, A: MapAccess<'de>>(
        self,
        mut member: Reader<'_, A>,
        field: &mut Option<Vec<u8>>,
    ) -> Result<(), A::Error> {
        *field = member.read(OrNull(IntegerList::new(&BYTES)))?;
        Ok(())
    }
}

impl Write<&Option<Vec<u8>>> for Bytes {
    fn write<M: SerializeMap>(
        self,
        member: Writer<'_, M>,
        field: &Option<Vec<u8>>,
    ) -> Result<(), M::Error> {
        member.optional(field.as_ref())
    }
}

/// Reads a list of integers, which may be as long as `Limit` says.
pub(in crate::json) struct IntegerList<'a, T>(&'a Limit, PhantomData<T>);

impl<'a, T> IntegerList<'a, T> {
    pub(in crate::json) fn new(limit: &'a Limit) -> Self {
        Self(limit, PhantomData)
    }
}

impl<'de, T: IntegerField> DeserializeSeed<'de> for IntegerList<'_, T> {
    type Value = Vec<T>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Vec<T>, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de, T: IntegerField> Visitor<'de> for IntegerList<'_, T> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<T>, A::Error> {
        let mut integers = Vec::new();
        while let Some(Element(integer)) = list.next_element()? {
            push(&mut integers, self.0, integer)?;
        }
        Ok(integers)
    }
}

/// One integer of a list.
pub(super) struct Element<T>(pub T);

impl<'de, T: IntegerField> Deserialize<'de> for Element<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let wanted = IntegerOrNone::<T>::document_error("");
        let integer = wanted.deserialize(deserializer)?;
        integer
            .map(Element)
            .ok_or_else(|| D::Error::invalid_type(Unexpected::Other("null"), &T::EXPECTED))
    }
}

/// Converts a double without a fraction to an integer.
pub(super) fn from_double<T: IntegerField, E: Error>(number: f64, expected: &str) -> Result<T, E> {
    if number.fract() != 0.0 {
        return Err(E::invalid_type(Unexpected::Float(number), &expected));
    }
    #[allow(
        clippy::cast_possible_truncation,
        reason = "saturates, and the comparisons below take that into account"
    )]
    let integer = number as i64;
    let is_exact = number.abs() < ROUNDED_MIN;
    match T::try_from(integer) {
        Ok(integer) if is_exact => Ok(integer),
        // It fits, but another integer may have been written.
        Ok(_) if (i64::MIN + 1..i64::MAX).contains(&integer) => Err(E::custom(
            "so large an integer is exact only in digits: write it without a point and an exponent",
        )),
        _ => Err(out_of_range::<T, E>(number < 0.0, expected)),
    }
}

pub(super) fn out_of_range<T: IntegerField, E: Error>(is_negative: bool, expected: &str) -> E {
    let side = if is_negative { "small" } else { "large" };
    // Where `expected` has no upper end, the type's is added.
    let most = if expected.contains("at least") {
        format!(", at most {}", T::MAX)
    } else {
        String::new()
    };
    E::custom(format_args!(
        "the integer is too {side}: expected {expected}{most}"
    ))
}

/// Reads an integer, or null for none.
struct IntegerOrNone<T> {
    expected: &'static str,
    /// Whether a string that holds an integer is that integer.
    may_be_string: bool,
    integer: PhantomData<T>,
}

impl<T: IntegerField> IntegerOrNone<T> {
    fn document_error(expected: &'static str) -> Self {
        let expected = if expected.is_empty() {
            T::EXPECTED
        } else {
            expected
        };
        Self {
            expected,
            may_be_string: false,
            integer: PhantomData,
        }
    }
}

impl<'de, T: IntegerField> DeserializeSeed<'de> for IntegerOrNone<T> {
    type Value = Option<T>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Option<T>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<T: IntegerField> Visitor<'_> for IntegerOrNone<T> {
    type Value = Option<T>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.expected)
    }

    fn visit_unit<E>(self) -> Result<Option<T>, E> {
        Ok(None)
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Option<T>, E> {
        T::try_from(number)
            .map(Some)
            .map_err(|_| out_of_range::<T, E>(number < 0, self.expected))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Option<T>, E> {
        match i64::try_from(number) {
            Ok(number) => self.visit_i64(number),
            Err(_) => Err(out_of_range::<T, E>(false, self.expected)),
        }
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Option<T>, E> {
        from_double(number, self.expected).map(Some)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Option<T>, E> {
        match text.parse::<i64>() {
            // Not `+1` and not `01`: JSON has no such integers either.
            Ok(number) if self.may_be_string && number.to_string() == text => {
                self.visit_i64(number)
            }
            _ => Err(E::invalid_type(Unexpected::Str(text), &self)),
        }
    }
}
