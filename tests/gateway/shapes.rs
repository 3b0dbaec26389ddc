//! Converts documents in the style of many engines from JSON to a message to protobuf bytes and
//! back. Nothing is lost.
//!
//! The documents are in `shapes/`, in one directory for each message. The name of a file has its
//! kind, the engine whose style it follows, and its special property.

use std::{fs, path::PathBuf};

use featherwire::proto::v1::{
    Concurrency, CreateChatCompletionRequest, CreateChatCompletionResponse,
    CreateCompletionRequest, CreateCompletionResponse, CreateEmbeddingRequest,
    CreateEmbeddingResponse, ListModelsResponse, Model, Plan, StreamChatCompletionResponse,
    StreamCompletionResponse, TokenizeRequest, TokenizeResponse,
};

use crate::support::law::{self, Author};

/// One document.
#[derive(Clone, Debug)]
pub struct Shape {
    pub message: String,
    pub name: String,
    pub text: String,
}

/// All documents, in the order of their names.
pub fn shapes() -> Vec<Shape> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/gateway/shapes");
    let mut shapes = Vec::new();
    for directory in fs::read_dir(root).unwrap().map(Result::unwrap) {
        for file in fs::read_dir(directory.path()).unwrap().map(Result::unwrap) {
            shapes.push(Shape {
                message: directory.file_name().into_string().unwrap(),
                name: file.file_name().into_string().unwrap(),
                text: fs::read_to_string(file.path()).unwrap(),
            });
        }
    }
    shapes.sort_by(|a, b| (&a.message, &a.name).cmp(&(&b.message, &b.name)));
    shapes
}

/// The documents of one message.
pub fn shapes_of(message: &str) -> Vec<Shape> {
    shapes()
        .into_iter()
        .filter(|shape| shape.message == message)
        .collect()
}

#[test]
fn every_document_is_encoded_as_it_was_decoded() {
    let shapes = shapes();
    assert!(shapes.len() >= 60, "{} shapes", shapes.len());
    let mut broken = Vec::new();
    for Shape {
        message,
        name,
        text,
    } in shapes
    {
        macro_rules! held_to_the_law {
            ($($author:ident: $($known:ident)+;)+) => {
                match message.as_str() {
                    $($(
                        stringify!($known) => {
                            law::hold::<$known>(&message, &text, Author::$author)
                        }
                    )+)+
                    _ => panic!("{message}: a directory for no message"),
                }
            };
        }
        let held = held_to_the_law! {
            Caller: CreateChatCompletionRequest CreateCompletionRequest CreateEmbeddingRequest
                TokenizeRequest;
            Upstream: CreateChatCompletionResponse StreamChatCompletionResponse
                CreateCompletionResponse StreamCompletionResponse CreateEmbeddingResponse
                ListModelsResponse Model Plan Concurrency TokenizeResponse;
        };
        broken.extend(held.err().map(|problem| format!("{name}: {problem}")));
    }
    assert!(broken.is_empty(), "{}", broken.join("\n\n"));
}
