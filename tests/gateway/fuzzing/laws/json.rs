//! The law of the JSON codec, which decodes requests and answers.

use std::{collections::BTreeMap, fmt::Debug};

use featherwire::{
    json::{self, JsonError},
    proto::v1::{
        Concurrency, CreateChatCompletionRequest, CreateChatCompletionResponse,
        CreateCompletionRequest, CreateCompletionResponse, CreateEmbeddingRequest,
        CreateEmbeddingResponse, StreamChatCompletionResponse, StreamCompletionResponse,
    },
    upstream::StreamMessage,
};
use serde::{
    Serialize,
    de::{DeserializeOwned, IgnoredAny},
};
use serde_json::Value;

use super::{meaning, upstream_error};

/// The longest description of invalid JSON: the path of a member and a sentence about it.
const PROBLEM_BYTES_MAX: usize = 1024;

pub trait Message:
    prost::Message + Default + PartialEq + Debug + Serialize + DeserializeOwned
{
}

impl<M> Message for M where
    M: prost::Message + Default + PartialEq + Debug + Serialize + DeserializeOwned
{
}

/// A request is unchanged after a round trip through JSON and through protobuf, or is refused with
/// a short error. A request in protobuf is encoded to JSON that can be decoded again.
pub fn request(input: &[u8]) {
    requested(input, |request: &CreateChatCompletionRequest| {
        &request.extra
    });
    requested(input, |request: &CreateCompletionRequest| &request.extra);
    requested(input, |request: &CreateEmbeddingRequest| &request.extra);
}

/// A chunk, and any other answer, is unchanged after a round trip through JSON and through
/// protobuf. A chunk that is an error becomes an error.
pub fn chunk(input: &[u8]) {
    chunked::<StreamChatCompletionResponse>(input);
    chunked::<StreamCompletionResponse>(input);
    chunked::<Concurrency>(input);
    answered::<CreateChatCompletionResponse>(input);
    answered::<CreateCompletionResponse>(input);
    answered::<CreateEmbeddingResponse>(input);
    upstream_error::event(input);
}

fn requested<M: Message>(input: &[u8], extra: fn(&M) -> &BTreeMap<String, String>) {
    let write = |message: &M| json::encode_request(message);
    match json::decode_request::<M>(input) {
        Ok(message) => comes_back(input, &message, write, json::decode_request),
        Err(problem) => is_short(&problem),
    }
    // The same bytes as a protobuf message of a gRPC caller.
    let Ok(message) = M::decode(input) else {
        return;
    };
    let sent = match write(&message) {
        Ok(sent) => sent,
        Err(problem) => return is_short(&problem),
    };
    let is_json = |text: &String| serde_json::from_str::<IgnoredAny>(text).is_ok();
    assert!(
        extra(&message).values().all(is_json),
        "sent on, but not JSON: {message:?}"
    );
    // Values that JSON cannot distinguish may change, but only once.
    let read: M =
        json::decode_request(&sent).unwrap_or_else(|problem| panic!("{problem}: {}", lossy(&sent)));
    comes_back(&sent, &read, write, json::decode_request);
}

fn chunked<M: Message + StreamMessage>(input: &[u8]) {
    if let Some(chunk) = answered::<M>(input) {
        let choices = chunk.choices().count();
        assert!(choices <= input.len(), "{choices} choices");
        upstream_error::event(input);
        let has_end = chunk.choices().any(|(_, is_last)| is_last);
        assert!(
            chunk.has_content() || !has_end,
            "an answer with an end has started: {}",
            lossy(input)
        );
    }
}

fn answered<M: Message>(input: &[u8]) -> Option<M> {
    let write = |message: &M| {
        let mut out = Vec::new();
        json::encode_answer(message, &mut out).map(|()| out)
    };
    match json::decode_answer::<M>(input) {
        Ok(message) => {
            comes_back(input, &message, write, json::decode_answer);
            Some(message)
        }
        Err(problem) => {
            is_short(&problem);
            None
        }
    }
}

fn comes_back<M: Message>(
    input: &[u8],
    message: &M,
    write: impl Fn(&M) -> Result<Vec<u8>, JsonError>,
    read: impl Fn(&[u8]) -> Result<M, JsonError>,
) {
    let write =
        |message: &M| write(message).unwrap_or_else(|problem| panic!("{problem}: {message:?}"));
    let written = write(message);
    let again = read(&written).unwrap_or_else(|problem| panic!("{problem}: {}", lossy(&written)));
    assert!(
        again == *message,
        "read, written and read again: {message:?}\n{again:?}"
    );
    assert_eq!(lossy(&write(&again)), lossy(&written), "written twice");
    let names = meaning::names(&written).unwrap();
    assert!(
        names.is_sorted_by(|a, b| a < b),
        "a duplicate name: {names:?}"
    );

    // The bytes distinguish 0 from -0, but equality does not.
    let wire = message.encode_to_vec();
    assert!(
        again.encode_to_vec() == wire,
        "read, written and read again: {message:?}\n{again:?}"
    );
    let travelled = M::decode(&*wire).unwrap();
    assert!(
        travelled == *message,
        "through protobuf: {message:?}\n{travelled:?}"
    );
    assert!(
        travelled.encode_to_vec() == wire,
        "through protobuf twice: {message:?}"
    );

    // `Value` refuses text that the codec passes on unparsed: deep nesting, half a surrogate pair,
    // 1e999.
    let value = |text: &[u8]| serde_json::from_slice::<Value>(text);
    let Ok(before) = value(input) else { return };
    for out in [written, write(&travelled)] {
        let after = value(&out).unwrap_or_else(|problem| panic!("{problem}: {}", lossy(&out)));
        meaning::same(&before, &after)
            .unwrap_or_else(|difference| panic!("{difference}\n{}", lossy(input)));
    }
}

fn is_short(problem: &JsonError) {
    let problem = problem.to_string();
    assert!(!problem.is_empty());
    assert!(
        problem.len() <= PROBLEM_BYTES_MAX,
        "{} bytes: {problem}",
        problem.len()
    );
}

fn lossy(text: &[u8]) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(text)
}
