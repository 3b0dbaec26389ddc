//! What a fault makes of a unary answer.

use std::time::Duration;

use axum::response::Response;
use serde_json::Value;

use super::super::steps::Steps;

/// What a fault makes of a unary answer.
pub enum UnaryAnswer {
    Answer(Value),
    /// 200 with this body, and the content type of JSON.
    Text(String),
    /// Another response in its place.
    Instead(Response),
    Late(Duration, Value),
    /// These steps as the body, with this content length if there is one.
    Bytes(Steps, Option<usize>),
    Never,
}
