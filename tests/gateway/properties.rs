//! The law of lossless conversion, checked with generated documents and messages. They are
//! generated from the contract's descriptors, so that new fields are covered automatically. They
//! are the same in every run.

use std::collections::BTreeMap;

use featherwire::proto::v1::{
    ChatMessage, Concurrency, CreateChatCompletionRequest, CreateChatCompletionResponse,
    CreateCompletionRequest, CreateCompletionResponse, CreateEmbeddingRequest,
    CreateEmbeddingResponse, Model, Plan, StreamChatCompletionResponse, StreamCompletionResponse,
};
use proptest::{
    prelude::*,
    test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner},
};
use prost_reflect::DynamicMessage;

use crate::support::law::{self, Author};

mod json;
mod messages;
mod scalars;

use json::document;
use messages::generated;

/// The number of generated documents, and of generated messages, of each type.
const CASES: u32 = 100;

macro_rules! for_each_message {
    ($check:ident) => {
        $check::<CreateChatCompletionRequest>("CreateChatCompletionRequest", Author::Caller);
        $check::<CreateCompletionRequest>("CreateCompletionRequest", Author::Caller);
        $check::<CreateEmbeddingRequest>("CreateEmbeddingRequest", Author::Caller);
        $check::<CreateChatCompletionResponse>("CreateChatCompletionResponse", Author::Upstream);
        $check::<StreamChatCompletionResponse>("StreamChatCompletionResponse", Author::Upstream);
        $check::<CreateCompletionResponse>("CreateCompletionResponse", Author::Upstream);
        $check::<StreamCompletionResponse>("StreamCompletionResponse", Author::Upstream);
        $check::<CreateEmbeddingResponse>("CreateEmbeddingResponse", Author::Upstream);
        $check::<Model>("Model", Author::Upstream);
        $check::<Plan>("Plan", Author::Upstream);
        $check::<Concurrency>("Concurrency", Author::Upstream);
    };
}

#[test]
fn generated_json_is_encoded_as_it_was_decoded() {
    for_each_message!(json_comes_back);
}

#[test]
fn generated_messages_are_decoded_as_they_were_encoded() {
    for_each_message!(message_comes_back);
}

fn json_comes_back<M>(message: &str, author: Author)
where
    M: prost::Message
        + Default
        + PartialEq
        + std::fmt::Debug
        + serde::Serialize
        + serde::de::DeserializeOwned,
{
    let check = |text: String| law::hold::<M>(message, &text, author).map_err(TestCaseError::fail);
    runner()
        .run(&document(&law::descriptor(message), author), check)
        .unwrap_or_else(|problem| fail(message, problem));
}

fn message_comes_back<M>(message: &str, author: Author)
where
    M: prost::Message
        + Default
        + PartialEq
        + std::fmt::Debug
        + serde::Serialize
        + serde::de::DeserializeOwned,
{
    let check = |generated: DynamicMessage| {
        use featherwire::json;
        use prost::Message as _;
        let sent = M::decode(&*generated.encode_to_vec())
            .map_err(|bad| TestCaseError::fail(bad.to_string()))?;
        let mut text = Vec::new();
        let written = match author {
            Author::Caller => json::encode_request(&sent).map(|bytes| text = bytes),
            Author::Upstream => json::encode_answer(&sent, &mut text),
        };
        written.map_err(|bad| TestCaseError::fail(bad.to_string()))?;
        let read: Result<M, _> = match author {
            Author::Caller => json::decode_request(&text),
            Author::Upstream => json::decode_answer(&text),
        };
        let text = String::from_utf8_lossy(&text);
        let came = read.map_err(|bad| TestCaseError::fail(format!("{bad}: {text}")))?;
        prop_assert!(came == sent, "{text}");
        // The bytes distinguish 0 from -0, but equality does not.
        prop_assert!(came.encode_to_vec() == sent.encode_to_vec(), "{text}");
        Ok(())
    };
    runner()
        .run(&generated(&law::descriptor(message)), check)
        .unwrap_or_else(|problem| fail(message, problem));
}

/// Therefore a member for which a field is added later still works for callers that send it in
/// `extra`.
#[test]
fn a_member_in_extra_means_the_same_as_the_field() {
    in_extra::<CreateChatCompletionRequest>("CreateChatCompletionRequest", |request| {
        &mut request.extra
    });
    in_extra::<CreateCompletionRequest>("CreateCompletionRequest", |request| &mut request.extra);
    in_extra::<CreateEmbeddingRequest>("CreateEmbeddingRequest", |request| &mut request.extra);
    in_extra::<ChatMessage>("ChatMessage", |message| &mut message.extra);
}

fn in_extra<M>(message: &str, extra: fn(&mut M) -> &mut BTreeMap<String, String>)
where
    M: serde::Serialize + serde::de::DeserializeOwned,
{
    use featherwire::json;
    let check = |(text, chosen): (String, u64)| {
        let failed = |bad: json::JsonError| TestCaseError::fail(format!("{bad}: {text}"));
        let members: BTreeMap<String, &str> = law::members(&text).unwrap().into_iter().collect();
        let mut kept = Vec::new();
        let mut moved = BTreeMap::new();
        for (place, (name, raw)) in members.into_iter().enumerate() {
            if chosen >> (place % 64) & 1 == 1 {
                moved.insert(name, raw.to_owned());
            } else {
                kept.push(format!("{}:{raw}", serde_json::to_string(&name).unwrap()));
            }
        }
        let mut split: M =
            json::decode_request(format!("{{{}}}", kept.join(",")).as_bytes()).map_err(failed)?;
        // Members that decoding puts into `extra` (a null, an empty list) stay there.
        extra(&mut split).extend(moved);
        let split = json::encode_request(&split).map_err(failed)?;
        let whole: M = json::decode_request(text.as_bytes()).map_err(failed)?;
        let whole = json::encode_request(&whole).map_err(failed)?;
        let [whole, split] =
            [whole, split].map(|json| law::tree(message, std::str::from_utf8(&json).unwrap()));
        prop_assert!(
            whole == split,
            "{}\n{text}",
            law::difference(&whole, &split, "$")
        );
        Ok(())
    };
    let documents = (
        document(&law::descriptor(message), Author::Caller),
        any::<u64>(),
    );
    runner()
        .run(&documents, check)
        .unwrap_or_else(|problem| fail(message, problem));
}

/// The reason contains the smallest failing case as JSON. The debug output of a message with
/// descriptors would fill pages.
fn fail<T>(message: &str, problem: TestError<T>) {
    match problem {
        TestError::Fail(reason, _) | TestError::Abort(reason) => panic!("{message}: {reason}"),
    }
}

fn runner() -> TestRunner {
    let config = Config {
        cases: CASES,
        failure_persistence: None,
        max_shrink_iters: 2000,
        ..Config::default()
    };
    TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha))
}
