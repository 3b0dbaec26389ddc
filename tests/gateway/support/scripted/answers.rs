//! The parts of scripts: answers, chunks and errors in the shape of the Featherless API.

use serde_json::{Value, json};

use super::script::Reply;
use crate::support::{door::Door, requests::MODEL};

/// The head of a streamed answer.
pub const STREAM_HEAD: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nrequest-id: \
                               scripted-1\r\ntransfer-encoding: chunked\r\n\r\n";

/// A piece of a body with chunked encoding.
pub fn chunked(text: &str) -> String {
    format!("{:x}\r\n{text}\r\n", text.len())
}

/// A whole answer with this content.
pub fn whole(content: &str) -> Value {
    json!({
        "id": "chatcmpl-1", "object": "chat.completion", "created": 1_700_000_000, "model": MODEL,
        "choices": [{"index": 0, "message": {"role": "assistant", "content": content},
        "finish_reason": "stop"}]
    })
}

/// A whole answer with this message.
pub fn answer_with(message: &Value) -> Reply {
    let choice = json!({"index": 0, "finish_reason": "stop", "message": message});
    Reply::Json(
        200,
        json!({"id": "x", "created": 1, "model": MODEL, "choices": [choice]}),
    )
}

/// A chunk with this content, as an event.
pub fn chunk(content: &str) -> String {
    event(&json!({"content": content}), None)
}

/// The chunk that finishes an answer.
pub fn finish() -> String {
    event(&json!({}), Some("stop"))
}

/// A chunk with this delta.
pub fn event(delta: &Value, finish_reason: Option<&str>) -> String {
    json!({
        "id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1_700_000_000,
        "model": MODEL,
        "choices": [{"index": 0, "delta": delta, "finish_reason": finish_reason}]
    })
    .to_string()
}

/// The event that ends a stream.
pub fn done() -> String {
    "[DONE]".to_owned()
}

/// An answer with the content "b", in the form that this door asks upstream for.
pub fn answer_for(door: Door) -> Reply {
    if door.is_stream() {
        Reply::Events(vec![chunk("b"), finish()])
    } else {
        Reply::Json(200, whole("b"))
    }
}

/// An error in the shape of the Featherless API.
pub fn refused(status: u16, code: &str, message: &str) -> Reply {
    Reply::Json(
        status,
        json!({"error": {"message": message, "type": "x", "param": null, "code": code}}),
    )
}

/// The refusal because no machine has the model.
pub fn no_capacity() -> Reply {
    refused(503, "", "No valid Executor")
}
