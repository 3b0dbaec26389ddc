//! Doubles as JSON writes them.

use std::collections::BTreeMap;

use serde::{Serialize, Serializer, ser::Error as _};

/// A double, written as an integer if it is one: `1`, not `1.0`, as JavaScript and the callers
/// themselves write it.
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

/// A list of doubles.
pub(crate) struct NumberList<'a>(pub &'a [f64]);

impl Serialize for NumberList<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(|number| Number(*number)))
    }
}

/// A map of doubles.
pub(crate) struct Numbers<'a>(pub &'a BTreeMap<String, f64>);

impl Serialize for Numbers<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, number)| (name, Number(*number))))
    }
}
