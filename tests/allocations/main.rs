//! The memory that decoding takes, counted by the allocator. This is a separate program, because
//! the allocator counts all threads. The property is that of the fuzz target `memory`, tested here
//! with the documents that take the most memory.

#![allow(
    missing_docs,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

use std::{alloc::System, path::Path};

use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

mod law;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// The length of each document of small elements.
const BYTES: usize = 512 * 1024;

fn allocated() -> usize {
    ALLOCATOR.stats().bytes_allocated
}

#[test]
fn decoding_takes_a_bounded_multiple_of_the_input() {
    for target in ["request", "chunk", "memory"] {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("fuzz/corpus")
            .join(target);
        folder
            .read_dir()
            .unwrap()
            .for_each(|file| law::memory(&std::fs::read(file.unwrap().path()).unwrap(), allocated));
    }
    for (begin, element, end) in REQUESTS {
        law::requests(repeated(begin, element, end).as_bytes(), allocated);
    }
    for (begin, element, end) in ANSWERS {
        law::answers(repeated(begin, element, end).as_bytes(), allocated);
    }
    // Members of different names.
    for (begin, end) in [
        (r#"{"messages":[{"#, "}]}"),
        (r#"{"logit_bias":{"#, "}}"),
        (r#"{"metadata":{"#, "}}"),
        ("{", "}"),
    ] {
        let members: Vec<_> = (0..BYTES / 12)
            .map(|number| format!(r#""{number}":0"#))
            .collect();
        law::requests(
            format!("{begin}{}{end}", members.join(",")).as_bytes(),
            allocated,
        );
    }
    for path in PROTOBUF {
        law::protobufs(&nested(path, BYTES), allocated);
    }
}

fn repeated(begin: &str, element: &str, end: &str) -> String {
    format!(
        "{begin}{}{end}",
        vec![element; BYTES / (element.len() + 1)].join(",")
    )
}

/// Requests: the beginning, the element that is repeated, and the end.
const REQUESTS: &[(&str, &str, &str)] = &[
    (r#"{"messages":["#, "{}", "]}"),
    (r#"{"messages":["#, r#"{"content":[{}]}"#, "]}"),
    (r#"{"messages":["#, r#"{"tool_calls":[{}]}"#, "]}"),
    (
        r#"{"messages":["#,
        r#"{"role":"a","tool_calls":[{"custom":{}}],"x":0}"#,
        "]}",
    ),
    (
        r#"{"messages":["#,
        r#"{"audio":{},"function_call":{}}"#,
        "]}",
    ),
    (r#"{"messages":["#, r#"{"a":0}"#, "]}"),
    (r#"{"messages":["#, r#"{"content":null}"#, "]}"),
    (r#"{"messages":[{"content":["#, "{}", "]}]}"),
    (
        r#"{"messages":[{"content":["#,
        r#"{"image_url":{},"file":{},"input_audio":{}}"#,
        "]}]}",
    ),
    (r#"{"messages":[{"content":["#, r#"{"a":0}"#, "]}]}"),
    (r#"{"messages":[{"tool_calls":["#, "{}", "]}]}"),
    (
        r#"{"messages":[{"role":"assistant","tool_calls":["#,
        r#"{"function":7}"#,
        "]}]}",
    ),
    (r#"{"messages":[{"annotations":["#, "{}", "]}]}"),
    (r#"{"tools":["#, "{}", "]}"),
    (r#"{"tools":["#, r#"{"custom":{"format":{}}}"#, "]}"),
    (r#"{"functions":["#, "{}", "]}"),
    (r#"{"stop":["#, r#""""#, "]}"),
    (r#"{"stop_token_ids":["#, "1", "]}"),
    (r#"{"modalities":["#, r#""""#, "]}"),
    (r#"{"prompt":["#, r#""""#, "]}"),
    (r#"{"prompt":["#, "1", "]}"),
    (r#"{"prompt":["#, "[]", "]}"),
    (r#"{"prompt":["#, "[1]", "]}"),
    (r#"{"input":["#, r#""""#, "]}"),
    (r#"{"input":["#, "[1]", "]}"),
    (r#"{"x":["#, "{}", "]}"),
    ("{", r#""audio":{}"#, "}"),
    ("{", r#""featherwire":{}"#, "}"),
    (r#"{"featherwire":{"fallbacks":["#, r#""""#, "]}}"),
    (r#"{"featherwire":{"#, r#""a":0"#, "}}"),
    ("{", r#""messages":[{}]"#, "}"),
    (r#"{"x":["#, "[[[[[[[[]]]]]]]]", "]}"),
];

/// Answers, in the same form.
const ANSWERS: &[(&str, &str, &str)] = &[
    (r#"{"choices":["#, "{}", "]}"),
    (r#"{"choices":["#, r#"{"delta":{},"logprobs":{}}"#, "]}"),
    (r#"{"choices":["#, r#"{"message":{"content":null}}"#, "]}"),
    (r#"{"choices":["#, "7", "]}"),
    (r#"{"choices":[{"logprobs":{"content":["#, "{}", "]}}]}"),
    (
        r#"{"choices":[{"logprobs":{"content":[{"top_logprobs":["#,
        "{}",
        "]}]}}]}",
    ),
    (r#"{"choices":[{"delta":{"tool_calls":["#, "{}", "]}}]}"),
    (r#"{"data":["#, "{}", "]}"),
    (r#"{"data":["#, r#"{"embedding":[1]}"#, "]}"),
    (r#"{"data":[{"embedding":["#, "1", "]}]}"),
    (r#"{"tokens":["#, "1", "]}"),
    (r#"{"featherwire":{"tried":["#, "{}", "]}}"),
    (r#"{"requests":["#, "{}", "]}"),
];

/// Paths of nested fields, by their numbers. The innermost field is empty and is repeated.
const PROTOBUF: &[&[u8]] = &[
    // Messages, parts, tool calls, annotations and members without a field.
    &[2],
    &[2, 3, 1],
    &[2, 6],
    &[2, 10],
    &[2, 11],
    &[2, 12],
    // Texts and token ids of a prompt, and fields with the same number in other messages.
    &[3, 1],
    &[4],
    &[4, 1],
    &[4, 4, 1],
    &[5, 1],
    &[10],
    &[12],
    &[16],
    &[17],
    &[20],
    &[20, 3],
    &[21],
    &[22],
    &[26],
    &[36],
    &[44],
    // The options and the report, and their repeated fields.
    &[47],
    &[47, 1],
    &[28, 1],
    &[10, 1],
    &[10, 3],
    &[7, 3],
    &[4, 3],
    &[1],
];

/// About `bytes` bytes of nested empty fields.
fn nested(path: &[u8], bytes: usize) -> Vec<u8> {
    let (innermost, outer) = path.split_last().unwrap();
    let mut encoded: Vec<u8> = key(*innermost)
        .into_iter()
        .chain([0])
        .collect::<Vec<_>>()
        .repeat(bytes / 3);
    for number in outer.iter().rev() {
        let mut field = key(*number);
        prost::encoding::encode_varint(encoded.len() as u64, &mut field);
        field.append(&mut encoded);
        encoded = field;
    }
    encoded
}

fn key(number: u8) -> Vec<u8> {
    let mut key = Vec::new();
    prost::encoding::encode_key(
        number.into(),
        prost::encoding::WireType::LengthDelimited,
        &mut key,
    );
    key
}
