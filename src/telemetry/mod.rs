//! What the operator sees: the log, the metrics and the traces. All are views of one value for each
//! request.
//!
//! In reading order:
//!
//! - [`Observation`]: what is seen of a request from its arrival to its end; `finished` is what is
//!   known of it then.
//! - `log`: the log of the process. `filter`: which lines are logged; `line`: their form; `writer`:
//!   the thread that writes them.
//! - [`metrics`]: what `/metrics` answers.
//! - [`traces`]: the spans of calls, for a collector of OpenTelemetry.

mod door;
mod filter;
mod finished;
mod line;
mod log;
pub mod metrics;
mod observation;
mod shard;
pub mod traces;
mod writer;

pub use door::is_connect;
pub use filter::Filter;
pub use finished::{CallEnd, End, ModelEnd, TokenCounts};
pub use line::Format;
pub use log::{change, flush, log_panics, lost_lines, start, write_sentences};
pub use observation::{Observation, Observer, REQUEST_ID};
pub use traces::{CallTrace, ContextHeaders, TraceEvent};
