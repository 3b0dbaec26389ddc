//! Strings, booleans and doubles.

use std::marker::PhantomData;

use serde::{
    Serialize, Serializer,
    de::{DeserializeOwned, MapAccess},
    ser::{Error as _, SerializeMap},
};

use super::kind::{Read, Reader, Write, Writer};
use crate::json::{
    extra::Extra,
    large_text::LargeText,
    surrogates::{replace_unpaired, take_string},
};

/// A string.
pub(crate) struct Text;

impl Read<&mut Option<String>> for Text {
    fn read<'de, A: MapAccess<'de>>(
        self,
        mut member: Reader<'_, A>,
        field: &mut Option<String>,
    ) -> Result<(), A::Error> {
        *field = member.read(LargeText(PhantomData))?;
        Ok(())
    }

    fn replace_surrogates(self, name: &str, extra: &mut Extra, field: &mut Option<String>) {
        if let Some(text) = take_string(extra, name) {
            *field = Some(replace_unpaired(&text));
        }
    }
}

impl Write<&Option<String>> for Text {
    fn write<M: SerializeMap>(
        self,
        member: Writer<'_, M>,
        field: &Option<String>,
    ) -> Result<(), M::Error> {
        member.optional(field.as_deref())
    }
}

impl Read<&mut String> for Text {
    fn read<'de, A: MapAccess<'de>>(
        self,
        mut member: Reader<'_, A>,
        field: &mut String,
    ) -> Result<(), A::Error> {
        *field = member
            .read(LargeText(PhantomData::<Option<String>>))?
            .unwrap_or_default();
        Ok(())
    }

    fn replace_surrogates(self, name: &str, extra: &mut Extra, field: &mut String) {
        if let Some(text) = take_string(extra, name) {
            *field = replace_unpaired(&text);
        }
    }
}

impl Write<&String> for Text {
    fn write<M: SerializeMap>(self, member: Writer<'_, M>, field: &String) -> Result<(), M::Error> {
        member.required(!field.is_empty(), field)
    }
}

/// A boolean or a double.
pub(crate) struct Scalar;

/// A type of field that is a [`Scalar`].
pub(crate) trait ScalarField: DeserializeOwned + Default {
    /// Whether it is not the value of an unset field.
    fn is_set(&self) -> bool;

    /// What is written.
    fn written(&self) -> impl Serialize;
}

impl ScalarField for bool {
    fn is_set(&self) -> bool {
        *self
    }

    fn written(&self) -> impl Serialize {
        *self
    }
}

impl ScalarField for f64 {
    fn is_set(&self) -> bool {
        *self != 0.0
    }

    fn written(&self) -> impl Serialize {
        Number(*self)
    }
}

impl<T: ScalarField> Read<&mut Option<T>> for Scalar {
    fn read<'de, A: MapAccess<'de>>(
        self,
        mut member: Reader<'_, A>,
        field: &mut Option<T>,
    ) -> Result<(), A::Error> {
        *field = member.read(PhantomData)?;
        Ok(())
    }
}

impl<T: ScalarField> Write<&Option<T>> for Scalar {
    fn write<M: SerializeMap>(
        self,
        member: Writer<'_, M>,
        field: &Option<T>,
    ) -> Result<(), M::Error> {
        member.optional(field.as_ref().map(T::written))
    }
}

impl<T: ScalarField> Read<&mut T> for Scalar {
    fn read<'de, A: MapAccess<'de>>(
        self,
        mut member: Reader<'_, A>,
        field: &mut T,
    ) -> Result<(), A::Error> {
        *field = member.read(PhantomData::<Option<T>>)?.unwrap_or_default();
        Ok(())
    }
}

impl<T: ScalarField> Write<&T> for Scalar {
    fn write<M: SerializeMap>(self, member: Writer<'_, M>, field: &T) -> Result<(), M::Error> {
        member.required(field.is_set(), &field.written())
    }
}

/// A double as JSON writes it: as an integer if it is one, `1` and not `1.0`, as JavaScript and the
/// callers themselves write it.
#[derive(Clone, Copy)]
pub(crate) struct Number(pub f64);

impl Serialize for Number {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // 2^53: above it not every integer is a double.
        const EXACT_MAX: f64 = 9_007_199_254_740_992.0;
        let is_negative_zero = self.0 == 0.0 && self.0.is_sign_negative();
        match self.0 {
            number if !number.is_finite() => {
                Err(S::Error::custom("NaN and infinity are not numbers in JSON"))
            }
            #[allow(
                clippy::cast_possible_truncation,
                reason = "checked to be an integer within ±2^53"
            )]
            number if number.fract() == 0.0 && number.abs() <= EXACT_MAX && !is_negative_zero => {
                serializer.serialize_i64(number as i64)
            }
            number => serializer.serialize_f64(number),
        }
    }
}
