//! The error of the gateway.
//!
//! There is one error type, [`Error`]. It is created where something fails and knows its gRPC and
//! its HTTP status. Its files `grpc` and `openai` turn it into a `tonic::Status` and into OpenAI's
//! error body, for the doors. [`upstream::error`](crate::upstream::error) creates it from what
//! Featherless answers.
//!
//! Code that must choose what to do asks the error: [`Error::retry`], [`Error::allows_fallback`],
//! [`Error::health`], [`Error::is_draining`] and so on, all in `recovery` and `account`. The gateway's
//! codes are compared only here.

mod account;
mod code;
mod grpc;
mod openai;
pub mod rate_state;
mod recovery;
mod table;
mod throttle;
mod told;
mod value;

pub use account::AccountFault;
pub use code::ErrorCode;
pub use grpc::REQUEST_ID_BYTES_MAX;
pub use openai::Body;
pub use rate_state::{RateState, RateUnit};
pub use recovery::{Health, Retry};
pub use table::{Kind, Row, TABLE};
pub use throttle::{Throttle, UnitRefusal};
pub use told::Refusal;
pub use value::{Error, Result};
