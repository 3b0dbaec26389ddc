//! Whether the numbers of a request are in their ranges. The check is generated from the table in
//! `build/limits.rs`.

use std::fmt::Display;

use super::range::Range;

/// A message with numbers that have a range.
pub trait Ranged {
    /// Checks all of them.
    ///
    /// # Errors
    /// The first number that is out of its range.
    fn check_ranges(&self) -> Result<(), OutOfRange>;
}

/// A number that is out of its range.
#[derive(Debug, PartialEq, Eq)]
pub struct OutOfRange {
    /// The name of the field.
    pub field: &'static str,
    /// What is wrong, with the range.
    pub problem: String,
}

/// A type of number that a field has.
pub trait Number: Copy + Display {
    /// The same number as a double. A large one may be rounded, to another that is as large.
    fn as_f64(self) -> f64;
}

impl Number for f64 {
    fn as_f64(self) -> f64 {
        self
    }
}

impl Number for i32 {
    fn as_f64(self) -> f64 {
        self.into()
    }
}

impl Number for i64 {
    #[allow(
        clippy::cast_precision_loss,
        reason = "the bounds of all ranges are small, so rounding does not move a number over one"
    )]
    fn as_f64(self) -> f64 {
        self as f64
    }
}

/// Checks a number, if there is one.
///
/// # Errors
/// The number is out of its range.
pub fn check<T: Number>(
    field: &'static str,
    number: Option<T>,
    range: &Range,
) -> Result<(), OutOfRange> {
    match number {
        Some(number) if !is_in(range, number.as_f64()) => Err(OutOfRange {
            field,
            problem: format!("{number} is out of range: {}", range.words()),
        }),
        _ => Ok(()),
    }
}

/// Whether `number` is in the range. Infinity and NaN are in none.
fn is_in(range: &Range, number: f64) -> bool {
    number.is_finite()
        && range.min.is_none_or(|min| number >= min)
        && range.above.is_none_or(|above| number > above)
        && range.max.is_none_or(|max| number <= max)
}

#[cfg(test)]
mod tests {
    use super::{Range, is_in};

    #[test]
    fn a_ranges_edges_belong_to_it_but_for_the_one_that_numbers_are_above() {
        let in_range =
            |range: Range, numbers: [f64; 3]| numbers.map(|number| is_in(&range, number));
        let from_to = Range::from_to(-2.0, 2.0);
        assert_eq!(in_range(from_to, [-2.0, 0.0, 2.0]), [true; 3]);
        assert_eq!(in_range(from_to, [-2.1, 2.1, f64::NAN]), [false; 3]);
        assert_eq!(in_range(Range::at_least(1.0), [1.0, 2.0, 1e300]), [true; 3]);
        assert_eq!(
            in_range(Range::above_to(0.0, 1.0), [0.0, 0.1, 1.0]),
            [false, true, true]
        );
        assert_eq!(
            in_range(Range::above(0.0), [f64::MAX, f64::INFINITY, -0.0]),
            [true, false, false]
        );
    }
}
