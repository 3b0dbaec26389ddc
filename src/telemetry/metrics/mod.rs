//! The metrics: what `GET /metrics` answers.
//!
//! - [`table`]: every name.
//! - `calls`: what is counted of calls, once at the end of each; `labels` and `series`: of those with
//!   the same labels. `views`: several metrics are made of the same numbers.
//! - [`Samples`]: the values of all metrics at one moment. What exists besides calls, such as the
//!   queue for units, adds its values when they are asked for.

mod calls;
mod histogram;
mod labels;
mod process;
mod samples;
mod series;
pub mod table;
mod views;

pub use calls::CallMetrics;
pub use process::add_process;
pub use samples::{Samples, TextFormat};
pub(super) use views::operation_of;
