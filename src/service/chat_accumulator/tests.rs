//! What chunks add up to, told through JSON.

use serde_json::{Value, json};

use super::*;
use crate::json;

mod cuts;
mod tool_calls;

/// What these chunks add up to, as JSON.
fn sum(chunks: &[Value]) -> Value {
    let mut accumulator = ChatAccumulator::default();
    for chunk in chunks {
        accumulator.add(json::decode_answer(chunk.to_string().as_bytes()).unwrap());
    }
    let mut out = Vec::new();
    json::encode_answer(&accumulator.finish(), &mut out).unwrap();
    serde_json::from_slice(&out).unwrap()
}

fn delta(delta: &Value) -> Value {
    json!({
        "id": "x",
        "created": 1,
        "model": "m",
        "choices": [{"index": 0, "delta": delta, "finish_reason": null}],
    })
}

fn message(deltas: &[Value]) -> Value {
    sum(&deltas.iter().map(delta).collect::<Vec<_>>())["choices"][0]["message"].clone()
}

#[test]
fn text_of_every_kind_is_joined() {
    let message = message(&[
        json!({"role": "assistant", "content": ""}),
        json!({"reasoning": "a", "reasoning_content": "b", "refusal": "c"}),
        json!({"reasoning": "d", "reasoning_content": "e", "refusal": "f", "content": "g"}),
        json!({"content": "h", "new_member": [1]}),
        json!({"new_member": [2]}),
    ]);
    assert_eq!(
        message,
        json!({
            "role": "assistant",
            "content": "gh",
            "reasoning": "ad",
            "reasoning_content": "be",
            "refusal": "cf",
            "new_member": [1, 2],
        })
    );
}

#[test]
fn choices_logprobs_usage_and_unknown_members_add_up() {
    let logprob =
        |token: &str| json!({"token": token, "logprob": -0.5, "bytes": null, "top_logprobs": []});
    let piece = |index: i32, text: &str| {
        json!({"index": index, "delta": {"content": text}, "finish_reason": null,
            "logprobs": {"content": [logprob(text)], "refusal": null}})
    };
    let chunk = |choices: Value| {
        json!({
            "id": "x",
            "created": 7,
            "model": "m",
            "choices": choices,
            "seen": 1,
        })
    };
    let end = |index: i32| {
        json!({
            "index": index,
            "delta": {},
            "finish_reason": "stop",
            "stop_reason": index,
        })
    };
    let usage = json!({"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3});
    let mut last = chunk(json!([]));
    last["usage"] = usage.clone();
    last["seen"] = json!(2);
    let sum = sum(&[
        chunk(json!([piece(1, "b")])),
        chunk(json!([piece(0, "a"), piece(1, "c")])),
        chunk(json!([end(1), end(0)])),
        last,
    ]);
    let choice = |index: i32, texts: &[&str]| {
        let logprobs: Vec<_> = texts.iter().map(|text| logprob(text)).collect();
        json!({
            "index": index,
            "message": {"role": "assistant", "content": texts.concat(), "refusal": null},
            "finish_reason": "stop",
            "stop_reason": index,
            "logprobs": {"content": logprobs, "refusal": null},
        })
    };
    assert_eq!(
        sum,
        json!({
            "id": "x",
            "object": "chat.completion",
            "created": 7,
            "model": "m",
            "usage": usage,
            "seen": 2,
            "choices": [choice(0, &["a"]), choice(1, &["b", "c"])],
        })
    );
}

#[test]
fn a_piece_of_another_type_never_displaces_the_text_joined_so_far() {
    let odd = [
        json!(["odd"]),
        json!({"a": 1}),
        json!(5),
        json!(true),
        json!([]),
        json!([[1]]),
        json!(null),
    ];
    for name in ["content", "reasoning", "reasoning_content", "refusal"] {
        for odd in &odd {
            for place in 0..3 {
                let mut pieces = vec![json!("a"), json!("b")];
                pieces.insert(place, odd.clone());
                let deltas: Vec<_> = pieces.iter().map(|piece| json!({ name: piece })).collect();
                assert_eq!(message(&deltas)[name], json!("ab"), "{name} {pieces:?}");
            }
        }
        let only = message(&[
            json!({ name: "" }),
            json!({ name: ["odd"] }),
            json!({ name: ["even"] }),
        ]);
        assert_eq!(only[name], json!(["odd", "even"]));
    }
}

#[test]
fn content_in_parts_among_text_makes_parts_of_the_text() {
    let parts = |parts: Value| json!({ "content": parts });
    let thinking = json!({"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]});
    let text = |text: &str| json!({"type": "text", "text": text});
    let sum = message(&[
        parts(json!("")),
        parts(json!([thinking])),
        parts(json!("a")),
        parts(json!("b")),
        parts(json!([text("c")])),
        parts(json!("d")),
    ]);
    assert_eq!(
        sum["content"],
        json!([thinking, text("ab"), text("c"), text("d")])
    );
}

/// Chunks as JSON text: `json!` can't write half a character.
fn raw_message(deltas: &[&str]) -> Value {
    let mut accumulator = ChatAccumulator::default();
    for delta in deltas {
        let chunk = format!(
            r#"{{"id":"x","created":1,"model":"m","choices":[{{"index":0,"delta":{delta}}}]}}"#
        );
        accumulator.add(json::decode_answer(chunk.as_bytes()).unwrap());
    }
    let mut out = Vec::new();
    json::encode_answer(&accumulator.finish(), &mut out).unwrap();
    serde_json::from_slice::<Value>(&out).unwrap()["choices"][0]["message"].clone()
}

/// elie222/rakazo#416.
#[test]
fn halves_of_a_character_in_two_deltas_join_in_every_text() {
    let cases: [(&[&str], &str); 10] = [
        (&[r"\ud83d", r"\ude00"], "😀"),
        (&[r"Hi \ud83d", r"\ude00 there"], "Hi 😀 there"),
        (&["a", r"\uD83D", "", r"\uDE00", "b"], "a😀b"),
        (&[r"\ud83d", r"\ude00\ud83d", r"\ude01"], "😀😁"),
        (&[r"\ud83d"], "\u{fffd}"),
        (&[r"\ude00"], "\u{fffd}"),
        (&[r"a\ud83d", "b"], "a\u{fffd}b"),
        (&[r"\ud83d", r"\ud83d\ude00"], "\u{fffd}😀"),
        (&[r"\ud83d", r"\ud83d", r"\ude00"], "\u{fffd}😀"),
        (&[r"\ude00\ud83d"], "\u{fffd}\u{fffd}"),
    ];
    type Member = (&'static str, fn(&str) -> String);
    let members: [Member; 8] = [
        ("/content", |text| format!(r#"{{"content":"{text}"}}"#)),
        ("/refusal", |text| format!(r#"{{"refusal":"{text}"}}"#)),
        ("/reasoning", |text| format!(r#"{{"reasoning":"{text}"}}"#)),
        ("/reasoning_content", |text| {
            format!(r#"{{"reasoning_content":"{text}"}}"#)
        }),
        ("/audio/transcript", |text| {
            format!(r#"{{"audio":{{"transcript":"{text}"}}}}"#)
        }),
        ("/function_call/arguments", |text| {
            format!(r#"{{"function_call":{{"arguments":"{text}"}}}}"#)
        }),
        ("/tool_calls/0/function/arguments", |text| {
            format!(r#"{{"tool_calls":[{{"index":0,"function":{{"arguments":"{text}"}}}}]}}"#)
        }),
        ("/tool_calls/0/custom/input", |text| {
            format!(r#"{{"tool_calls":[{{"index":0,"custom":{{"input":"{text}"}}}}]}}"#)
        }),
    ];
    for (pieces, joined) in cases {
        for (pointer, delta) in members {
            let deltas: Vec<String> = pieces.iter().map(|text| delta(text)).collect();
            let deltas: Vec<&str> = deltas.iter().map(String::as_str).collect();
            assert_eq!(
                raw_message(&deltas).pointer(pointer).unwrap(),
                joined,
                "{pointer} {pieces:?}"
            );
        }
    }
    let crossed = raw_message(&[
        r#"{"content":"\ud83d","refusal":"\ud83d"}"#,
        r#"{"content":"x"}"#,
        r#"{"refusal":"\ude00"}"#,
    ]);
    assert_eq!(
        (&crossed["content"], &crossed["refusal"]),
        (&json!("\u{fffd}x"), &json!("😀"))
    );
}

#[test]
fn the_first_real_reason_to_finish_counts() {
    let sum = |reasons: &[Value]| {
        let chunks: Vec<_> = reasons
            .iter()
            .map(|reason| json!({"choices": [{"index": 0, "delta": {}, "finish_reason": reason}]}))
            .collect();
        sum(&chunks)["choices"][0]["finish_reason"].clone()
    };
    assert_eq!(sum(&[json!("stop"), json!("")]), "stop");
    assert_eq!(sum(&[json!("stop"), json!(null)]), "stop");
    assert_eq!(sum(&[json!("stop"), json!(5)]), "stop");
    assert_eq!(
        sum(&[json!(""), json!(""), json!("length"), json!("")]),
        "length"
    );
    assert_eq!(sum(&[json!("tool_calls"), json!("stop")]), "tool_calls");
}

#[test]
fn unknown_members_are_joined_where_that_is_plain() {
    let deltas = |values: &[Value]| {
        let deltas: Vec<_> = values.iter().map(|value| json!({ "new": value })).collect();
        message(&deltas)["new"].clone()
    };
    assert_eq!(deltas(&[json!("a"), json!("b"), json!("b")]), "abb");
    assert_eq!(deltas(&[json!("x"), json!("x"), json!("x")]), "x");
    assert_eq!(
        deltas(&[json!([{"a": 1}]), json!([]), json!([2, "]"])]),
        json!([{"a": 1}, 2, "]"])
    );
    assert_eq!(deltas(&[json!([1]), json!([1])]), json!([1, 1]));
    assert_eq!(deltas(&[json!(1), json!(null), json!(2), json!(null)]), 2);
    assert_eq!(deltas(&[json!({"a": 1}), json!({"b": 1})]), json!({"b": 1}));
    assert_eq!(
        deltas(&[json!("a"), json!({"b": 1}), json!([1]), json!("c")]),
        "ac"
    );
    assert_eq!(deltas(&[json!([1]), json!("a"), json!(3)]), json!([1]));
    assert_eq!(deltas(&[json!(""), json!([1])]), json!([1]));
    assert_eq!(deltas(&[json!(null)]), json!(null));
    let choices = |values: &[Value]| {
        let chunks: Vec<_> = values
            .iter()
            .map(|value| json!({"choices": [{"index": 0, "delta": {}, "new": value}]}))
            .collect();
        sum(&chunks)["choices"][0]["new"].clone()
    };
    assert_eq!(
        choices(&[json!([1]), json!([1]), json!([2])]),
        json!([1, 1, 2])
    );
    assert_eq!(
        choices(&[json!(null), json!("a"), json!("b"), json!(null)]),
        "b"
    );
    let chunks = |values: &[Value]| {
        let chunks: Vec<_> = values
            .iter()
            .map(|value| json!({"choices": [], "new": value}))
            .collect();
        sum(&chunks)["new"].clone()
    };
    assert_eq!(chunks(&[json!("x"), json!("x"), json!("y")]), "y");
    assert_eq!(
        chunks(&[json!(["u"]), json!(["u"]), json!(["u"])]),
        json!(["u"])
    );
    assert_eq!(chunks(&[json!([1]), json!([2])]), json!([1, 2]));
}

#[test]
fn the_parts_of_the_usage_may_come_in_different_chunks() {
    let chunk = |usage: Value| {
        json!({
            "choices": [],
            "usage": usage,
            "service_tier": null,
            "system_fingerprint": "f",
        })
    };
    let sum = sum(&[
        chunk(json!({"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4})),
        chunk(json!({
            "completion_tokens": 2,
            "total_tokens": 5,
            "prompt_tokens_details": {"cached_tokens": 1},
        })),
        chunk(json!("none")),
        chunk(json!(null)),
        json!({"choices": []}),
    ]);
    assert_eq!(
        sum["usage"],
        json!({"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5,
            "prompt_tokens_details": {"cached_tokens": 1}})
    );
    assert_eq!(sum["system_fingerprint"], "f");
}

#[test]
fn a_whole_message_instead_of_deltas_is_the_message() {
    let whole = json!({"role": "assistant", "content": "hi", "refusal": null});
    let chunk = |choice: Value| json!({ "choices": [choice] });
    let only = sum(&[chunk(
        json!({"index": 0, "message": whole, "finish_reason": "stop"}),
    )]);
    assert_eq!(only["choices"][0]["message"], whole);
    let after = sum(&[
        chunk(json!({"index": 0, "delta": {"content": "hello"}})),
        chunk(json!({"index": 0, "message": whole, "finish_reason": "stop"})),
    ]);
    assert_eq!(after["choices"][0]["message"]["content"], "hello");
}

#[test]
fn a_made_up_sum_of_tokens_does_not_outlive_its_parts() {
    let usage = |pieces: &[Value]| {
        let chunks: Vec<_> = pieces
            .iter()
            .map(|usage| json!({"choices": [], "usage": usage}))
            .collect();
        sum(&chunks)["usage"].clone()
    };
    assert_eq!(
        usage(&[json!({"prompt_tokens": 3}), json!({"completion_tokens": 4})]),
        json!({"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7})
    );
    // Engines that count on: the gateway's own sum of the first piece is not the answer's.
    assert_eq!(
        usage(&[
            json!({"prompt_tokens": 3, "completion_tokens": 1}),
            json!({"completion_tokens": 4})
        ]),
        json!({"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7})
    );
    // Upstream's own total that isn't the sum stays.
    assert_eq!(
        usage(&[
            json!({"prompt_tokens": 3, "total_tokens": 9}),
            json!({"completion_tokens": 4})
        ]),
        json!({"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 9})
    );
    assert_eq!(
        usage(&[
            json!({"prompt_tokens": 3, "completion_tokens": 1}),
            json!({"completion_tokens": 4, "total_tokens": 9})
        ]),
        json!({"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 9})
    );
}
