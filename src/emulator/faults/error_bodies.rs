//! The bodies that APIs, inference engines and proxies send with an error status.

use axum::response::{Html, IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde_json::{Value, json};

use super::super::refusal::json_type;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// `{"error": {"message", "type", "param", "code"}}`.
    OpenAi,
    /// `{"error": "…"}`.
    Bare,
    /// `{"detail": "…"}`, as sent by FastAPI.
    Detail,
    /// `{"detail": [{"loc", "msg", "type"}]}`, as sent by FastAPI for an invalid body.
    DetailList,
    /// `{"errors": ["…"]}`.
    Errors,
    /// `{"statusCode", "message": ["…", "…"], "error"}`, as sent by NestJS.
    Nest,
    /// `{"object": "error", "message", …}`, as sent by vLLM.
    Unwrapped,
    Text,
    Empty,
    /// The HTML page of a content delivery network.
    Html,
}

/// The name of each shape in the ids of faults.
const NAMES: &[(&str, Shape)] = &[
    ("openai", Shape::OpenAi),
    ("bare", Shape::Bare),
    ("detail", Shape::Detail),
    ("detail-list", Shape::DetailList),
    ("errors", Shape::Errors),
    ("nest", Shape::Nest),
    ("unwrapped", Shape::Unwrapped),
    ("text", Shape::Text),
    ("empty", Shape::Empty),
    ("html", Shape::Html),
];

pub const PAGE: &str = "<!DOCTYPE html>\n<html><head><title>Just a \
                        moment...</title></head><body><h1>A page, not an \
                        answer</h1></body></html>\n";

impl Shape {
    pub fn named(name: &str) -> Option<Self> {
        NAMES
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, shape)| *shape)
    }

    pub fn response(self, status: u16) -> Response {
        let mut response = match self.json(status) {
            Some(body) => (json_type(), body.to_string()).into_response(),
            None => self.page(status),
        };
        *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY);
        response
    }

    fn json(self, status: u16) -> Option<Value> {
        let message = message(status);
        Some(match self {
            Self::OpenAi => {
                let kind = if status < 500 {
                    "invalid_request_error"
                } else {
                    "server_error"
                };
                json!({"error": {"message": message, "type": kind, "param": null, "code": null}})
            }
            Self::Bare => json!({ "error": message }),
            Self::Detail => json!({ "detail": message }),
            Self::DetailList => json!({"detail": [
                {"type": "int_parsing", "loc": ["body", "max_tokens"], "msg": message,
                "input": "many"},
                {"type": "missing", "loc": ["body", "messages", 0, "content"],
                "msg": "Field required"},
            ]}),
            Self::Errors => json!({"errors": [message, "max_tokens must be an integer"]}),
            Self::Nest => json!({
                "statusCode": status, "message": [message, "max_tokens must be an integer"],
                "error": reason(status),
            }),
            Self::Unwrapped => json!({
                "object": "error", "message": message, "type": "EngineError", "param": null,
                "code": status,
            }),
            Self::Text | Self::Empty | Self::Html => return None,
        })
    }

    fn page(self, status: u16) -> Response {
        match self {
            Self::Empty => ().into_response(),
            Self::Html => {
                let mut response = Html(PAGE).into_response();
                response
                    .headers_mut()
                    .insert(header::SERVER, HeaderValue::from_static("cloudflare"));
                response
            }
            _ => message(status).into_response(),
        }
    }
}

fn message(status: u16) -> String {
    format!(
        "The emulator was asked for status {status}: {}",
        reason(status)
    )
}

fn reason(status: u16) -> &'static str {
    let known = StatusCode::from_u16(status)
        .ok()
        .and_then(|status| status.canonical_reason());
    known.unwrap_or("no standard reason")
}
