//! A unary answer after a fault has changed it.

use std::time::Duration;

use axum::response::Response;
use serde_json::Value;

use super::super::steps::Steps;

/// A unary answer after a fault has changed it.
pub enum UnaryAnswer {
    Answer(Value),
    /// Status 200 with this body and the content type of JSON.
    Text(String),
    /// Another response.
    Response(Response),
    Delayed(Duration, Value),
    /// These steps as the body, and the value of `content-length`, if it is sent.
    Bytes(Steps, Option<usize>),
    Never,
}
