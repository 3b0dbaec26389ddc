//! Connect, held to the bytes of its specification, over HTTP/1.1 and HTTP/2. Stories that are the
//! same for all doors are in the other files, by [`Door`](crate::support::Door).

mod coded;
mod conformance;
mod errors;
mod lifetime;
mod messages;
mod queries;

use crate::support::{
    Gateway,
    raw::{self, Answer},
};

const CHAT: &str = "/featherwire.v1.ChatService/CreateChatCompletion";
const STREAM: &str = "/featherwire.v1.ChatService/StreamChatCompletion";
const MODELS: &str = "/featherwire.v1.ModelService/ListModels";
const CHECK: &str = "/grpc.health.v1.Health/Check";
const WATCH: &str = "/grpc.health.v1.Health/Watch";

/// Posts this body over HTTP/1.1 or HTTP/2.
async fn post(
    gateway: &Gateway,
    is_http2: bool,
    (path, media_type): (&str, &str),
    headers: &[(&str, &str)],
    body: impl Into<bytes::Bytes>,
) -> Answer {
    let headers = [&[("content-type", media_type)], headers].concat();
    raw::send(gateway, path, is_http2, &headers, body).await
}

/// The error in the body of a unary answer with this HTTP status: its code, its reason and its
/// message.
#[track_caller]
fn error_of(answer: &Answer, http_status: u16) -> (String, String, String) {
    assert_eq!(answer.http_status, http_status, "{answer:?}");
    assert_eq!(answer.head["content-type"], "application/json");
    let error = serde_json::from_slice(&answer.body).unwrap();
    told(&error)
}

/// The code, the reason and the message of an error of Connect.
#[track_caller]
fn told(error: &serde_json::Value) -> (String, String, String) {
    let status = crate::support::connect::status(error);
    let failure = crate::support::door::grpc_failure(&status);
    let code = error["code"].as_str().unwrap();
    (code.to_owned(), failure.code, failure.message)
}
