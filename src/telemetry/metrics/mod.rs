//! The metrics: what `GET /metrics` answers.
//!
//! - [`table`]: every name.
//! - `calls`: what is counted of calls, once at the end of each. Several metrics are views of the
//!   same numbers.
//! - [`Samples`]: the values of all metrics at one moment. What exists besides calls, such as the
//!   queue for units, adds its values when they are asked for.

mod calls;
mod histogram;
mod process;
mod samples;
pub mod table;

pub use calls::CallMetrics;
pub(super) use calls::operation_of;
pub use process::add_process;
pub use samples::{Samples, TextFormat};
