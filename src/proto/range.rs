//! A range of numbers. `build.rs` includes this file, too, for the table in `build/limits.rs`.

/// The numbers that a field may have.
#[derive(Clone, Copy, Debug)]
pub struct Range {
    /// The smallest.
    pub min: Option<f64>,
    /// The limit that all of them are above.
    pub above: Option<f64>,
    /// The largest.
    pub max: Option<f64>,
}

impl Range {
    /// From `min` to `max`, both included.
    pub const fn from_to(min: f64, max: f64) -> Self {
        Self {
            min: Some(min),
            above: None,
            max: Some(max),
        }
    }

    /// `min` and more.
    pub const fn at_least(min: f64) -> Self {
        Self {
            min: Some(min),
            above: None,
            max: None,
        }
    }

    /// More than `above`.
    pub const fn above(above: f64) -> Self {
        Self {
            min: None,
            above: Some(above),
            max: None,
        }
    }

    /// More than `above`, up to `max`.
    pub const fn above_to(above: f64, max: f64) -> Self {
        Self {
            min: None,
            above: Some(above),
            max: Some(max),
        }
    }

    /// The range as the message of an error has it: `0 to 2`.
    pub fn words(&self) -> String {
        match (self.min, self.above, self.max) {
            (Some(min), _, Some(max)) => format!("{min} to {max}"),
            (Some(min), _, None) => format!("at least {min}"),
            (None, Some(above), Some(max)) => format!("above {above}, up to {max}"),
            (None, Some(above), None) => format!("above {above}"),
            (None, None, Some(max)) => format!("at most {max}"),
            (None, None, None) => "any number".to_owned(),
        }
    }
}
