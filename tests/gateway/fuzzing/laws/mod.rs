//! Properties ("laws") that hold for any input from outside. There is one function for each place
//! where input arrives, and it panics if its law does not hold.
//!
//! The functions are not in the library, because the library must not panic. They use only public
//! items. The fuzz targets in `fuzz/` call the same functions with inputs from libFuzzer.

mod json;
mod meaning;
mod sse;
mod standard;
mod upstream_error;

pub use json::{chunk, request};
pub use sse::sse;
pub use upstream_error::upstream_error;
