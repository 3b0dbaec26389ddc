//! The client of [`Door`] for Connect with JSON, over HTTP/1.1.

use reqwest::RequestBuilder;
use serde_json::Value;
use tonic::Code;

use super::{Answer, Door, Gateway, grpc_failure, message};
use crate::support::connect::{CODES, envelope, envelopes, from_json, status, to_json};

impl Gateway {
    /// A request for a chat completion by Connect, not yet sent.
    pub fn connect_request(&self, door: Door, request: &Value) -> RequestBuilder {
        let json = to_json("CreateChatCompletionRequest", &message(request)).to_string();
        let (method, body) = match door.is_stream() {
            true => ("StreamChatCompletion", envelope(0, json.as_bytes())),
            false => ("CreateChatCompletion", json.into_bytes()),
        };
        let path = format!("/featherwire.v1.ChatService/{method}");
        let post = self.http().post(self.url(&path)).body(body);
        post.header("content-type", media_type(door))
            .header("connect-protocol-version", "1")
    }
}

fn media_type(door: Door) -> &'static str {
    match door.is_stream() {
        true => "application/connect+json",
        false => "application/json",
    }
}

pub(super) async fn ask(
    gateway: &Gateway,
    door: Door,
    request: &Value,
    headers: &[(&'static str, &str)],
) -> Answer {
    let mut post = gateway.connect_request(door, request);
    for (name, value) in headers {
        post = post.header(*name, *value);
    }
    let response = post.send().await.unwrap();
    let (http_status, head) = (response.status().as_u16(), response.headers().clone());
    assert_eq!(head["content-type"], media_type(door));
    let mut answer = Answer::default().with_ids(&head);
    let body = response.bytes().await.unwrap();
    let error = if door.is_stream() {
        assert_eq!(http_status, 200);
        let (messages, end) = envelopes(&body);
        for message in messages {
            answer.take_piece(from_json("StreamChatCompletionResponse", &message));
        }
        end.get("error").cloned()
    } else if http_status == 200 {
        answer.take_whole(from_json("CreateChatCompletionResponse", &body));
        None
    } else {
        Some(serde_json::from_slice(&body).unwrap())
    };
    if let Some(error) = error {
        let status = status(&error);
        let is_of =
            |(_, http, code): &(&str, u16, Code)| *code == status.code() && *http == http_status;
        assert!(
            door.is_stream() || CODES.iter().any(is_of),
            "{http_status}: {error}"
        );
        answer.failure = Some(grpc_failure(&status));
    }
    answer
}
