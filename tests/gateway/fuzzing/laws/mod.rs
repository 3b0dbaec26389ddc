//! What holds for any bytes that come in from outside: one function for each place where they do,
//! which panics when its law is broken.
//!
//! They are here and not in the library, which neither needs them nor may panic: all they call is
//! public. The fuzz targets in `fuzz/` call the same functions with what libFuzzer thinks of.

mod json;
mod meaning;
mod sse;
mod standard;
mod upstream_error;

pub use json::{chunk, request};
pub use sse::sse;
pub use upstream_error::upstream_error;
