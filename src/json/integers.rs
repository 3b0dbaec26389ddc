//! Integers as JSON Schema has them: a number without a fractional part, however it is written.
//! `100.0` and `1e2` are one.

use std::marker::PhantomData;

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, Error, MapAccess, SeqAccess, Unexpected, Visitor},
};

use super::{Extra, MODE, Mode, bounds::push, read::read_by};
use crate::proto::bounds::Limit;

/// The first double that need not be the integer that was written: from here on, doubles have gaps,
/// and the integer after this one is rounded to it.
const ROUNDED_MIN: f64 = 9_007_199_254_740_992.0; // 2^53

/// An integer type of the contract.
pub(crate) trait Integer: TryFrom<i64> + Default {
    /// What a member of this type must be, in words.
    const WORDS: &'static str;
    /// The largest one.
    const MAX: i64;
}

impl Integer for i32 {
    const WORDS: &'static str = "an integer between -2147483648 and 2147483647";
    const MAX: i64 = i32::MAX as i64;
}

impl Integer for i64 {
    const WORDS: &'static str = "a 64-bit integer";
    const MAX: i64 = i64::MAX;
}

impl Integer for u8 {
    const WORDS: &'static str = "a byte (0 to 255)";
    const MAX: i64 = 255;
}

/// Reads an integer into its field. `words` say what it must be, range included; they are the
/// type's own if empty.
pub(crate) fn read_integer<'de, A: MapAccess<'de>, T: Integer>(
    map: &mut A,
    name: &str,
    extra: &mut Extra,
    field: &mut Option<T>,
    words: &'static str,
) -> Result<(), A::Error> {
    read_by(Wanted::<T>::described(words), map, name, extra, field)
}

/// The same for a member whose null means something else than its absence: then the second field is
/// true.
pub(crate) fn read_integer_or_null<'de, A: MapAccess<'de>, T: Integer>(
    map: &mut A,
    name: &str,
    extra: &mut Extra,
    (field, is_null): (&mut Option<T>, &mut bool),
) -> Result<(), A::Error> {
    read_integer(map, name, extra, field, "")?;
    // What is of another type is in `extra`.
    *is_null = field.is_none() && !extra.contains_key(name);
    Ok(())
}

/// The same for a field that can't be unset.
pub(crate) fn read_plain_integer<'de, A: MapAccess<'de>, T: Integer>(
    map: &mut A,
    name: &str,
    extra: &mut Extra,
    field: &mut T,
    words: &'static str,
) -> Result<(), A::Error> {
    let mut value = None;
    read_integer(map, name, extra, &mut value, words)?;
    *field = value.unwrap_or_default();
    Ok(())
}

/// The same for the place of something among others, which some engines write as a text: `"0"`.
/// Such a text is no integer in a request.
pub(crate) fn read_index<'de, A: MapAccess<'de>, F: From<i32> + Default>(
    map: &mut A,
    name: &str,
    extra: &mut Extra,
    field: &mut F,
) -> Result<(), A::Error> {
    let mut value = None;
    let wanted = Wanted::<i32> {
        words: i32::WORDS,
        may_be_text: MODE.get() == Mode::Lenient,
        integer: PhantomData,
    };
    read_by(wanted, map, name, extra, &mut value)?;
    *field = value.map(F::from).unwrap_or_default();
    Ok(())
}

/// A list of at most this many integers.
pub(crate) struct Integers<'a, T>(&'a Limit, PhantomData<T>);

impl<'a, T> Integers<'a, T> {
    pub(crate) fn new(limit: &'a Limit) -> Self {
        Self(limit, PhantomData)
    }
}

impl<'de, T: Integer> DeserializeSeed<'de> for Integers<'_, T> {
    type Value = Vec<T>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Vec<T>, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de, T: Integer> Visitor<'de> for Integers<'_, T> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<T>, A::Error> {
        let mut integers = Vec::new();
        while let Some(One(integer)) = list.next_element()? {
            push(&mut integers, self.0, integer)?;
        }
        Ok(integers)
    }
}

/// One integer of a list.
pub(super) struct One<T>(pub T);

impl<'de, T: Integer> Deserialize<'de> for One<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let wanted = Wanted::<T>::described("");
        let integer = wanted.deserialize(deserializer)?;
        integer
            .map(One)
            .ok_or_else(|| D::Error::invalid_type(Unexpected::Other("null"), &T::WORDS))
    }
}

/// A double as the integer that it is.
pub(super) fn whole<T: Integer, E: Error>(number: f64, words: &str) -> Result<T, E> {
    if number.fract() != 0.0 {
        return Err(E::invalid_type(Unexpected::Float(number), &words));
    }
    #[allow(
        clippy::cast_possible_truncation,
        reason = "saturates, which no comparison here minds"
    )]
    let integer = number as i64;
    let is_exact = number.abs() < ROUNDED_MIN;
    match T::try_from(integer) {
        Ok(integer) if is_exact => Ok(integer),
        // It fits, but another integer may have been meant.
        Ok(_) if (i64::MIN + 1..i64::MAX).contains(&integer) => Err(E::custom(
            "so large an integer is exact only in digits: write it without a point and an exponent",
        )),
        _ => Err(out_of_range::<T, E>(number < 0.0, words)),
    }
}

pub(super) fn out_of_range<T: Integer, E: Error>(is_negative: bool, words: &str) -> E {
    let side = if is_negative { "small" } else { "large" };
    // Of a range that has no end in words, the type has one.
    let most = if words.contains("at least") {
        format!(", at most {}", T::MAX)
    } else {
        String::new()
    };
    E::custom(format_args!(
        "the integer is too {side}: expected {words}{most}"
    ))
}

/// Reads an integer, or null for none.
struct Wanted<T> {
    words: &'static str,
    /// Whether a text with the integer in it is the integer.
    may_be_text: bool,
    integer: PhantomData<T>,
}

impl<T: Integer> Wanted<T> {
    fn described(words: &'static str) -> Self {
        let words = if words.is_empty() { T::WORDS } else { words };
        Self {
            words,
            may_be_text: false,
            integer: PhantomData,
        }
    }
}

impl<'de, T: Integer> DeserializeSeed<'de> for Wanted<T> {
    type Value = Option<T>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Option<T>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<T: Integer> Visitor<'_> for Wanted<T> {
    type Value = Option<T>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.words)
    }

    fn visit_unit<E>(self) -> Result<Option<T>, E> {
        Ok(None)
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Option<T>, E> {
        T::try_from(number)
            .map(Some)
            .map_err(|_| out_of_range::<T, E>(number < 0, self.words))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Option<T>, E> {
        match i64::try_from(number) {
            Ok(number) => self.visit_i64(number),
            Err(_) => Err(out_of_range::<T, E>(false, self.words)),
        }
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Option<T>, E> {
        whole(number, self.words).map(Some)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Option<T>, E> {
        match text.parse::<i64>() {
            // Not `+1` and not `01`: those are no integers in JSON either.
            Ok(number) if self.may_be_text && number.to_string() == text => self.visit_i64(number),
            _ => Err(E::invalid_type(Unexpected::Str(text), &self)),
        }
    }
}
