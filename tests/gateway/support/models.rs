//! The model names that several tests share.

pub const FIRST: &str = "org/first";
pub const SECOND: &str = "org/second";
pub const THIRD: &str = "org/third";

/// The header that names fallbacks.
pub const FALLBACK: &str = "x-featherwire-fallback";
