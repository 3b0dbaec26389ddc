//! What chunks add up to, told through JSON.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::json;

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
    json!({"id": "x", "created": 1, "model": "m", "choices": [{"index": 0, "delta": delta, "finish_reason": null}]})
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
        json!({"role": "assistant", "content": "gh", "reasoning": "ad", "reasoning_content": "be", "refusal": "cf",
            "new_member": [1, 2]})
    );
}

#[test]
fn tool_calls_come_together_by_index_and_by_order_without_one() {
    let expected = json!([
        {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{\"a\":1}"}},
        {"id": "2", "type": "function", "function": {"name": "g", "arguments": "{}"}},
    ]);
    let call = |members: Value| json!({ "tool_calls": [members] });
    let by_index = message(&[
        call(json!({"index": 0, "id": "1", "type": "function", "function": {"name": "f", "arguments": ""}})),
        call(json!({"index": 1, "id": "2", "type": "function", "function": {"name": "g"}})),
        call(json!({"index": 0, "function": {"arguments": "{\"a\":"}})),
        call(json!({"index": 1, "function": {"arguments": "{}"}})),
        call(json!({"index": 0, "function": {"arguments": "1}"}})),
    ]);
    assert_eq!(by_index["tool_calls"], expected);
    assert_eq!(by_index["content"], Value::Null);
    let by_id = message(&[
        call(json!({"id": "1", "type": "function", "function": {"name": "f", "arguments": "{\"a\":"}})),
        call(json!({"id": "1", "function": {"name": "f", "arguments": "1"}})),
        call(json!({"function": {"arguments": "}"}})),
        call(json!({"id": "2", "type": "function", "function": {"name": "g", "arguments": "{}"}})),
    ]);
    assert_eq!(by_id["tool_calls"], expected);
    let by_name = message(&[
        call(json!({"function": {"name": "f", "arguments": "{}"}})),
        call(json!({"function": {"name": "f", "arguments": "{}"}})),
    ]);
    assert_eq!(by_name["tool_calls"].as_array().unwrap().len(), 2);
    let both_at_once = message(&[json!({"tool_calls": [
        {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{\"a\":1}"}},
        {"id": "2", "type": "function", "function": {"name": "g", "arguments": "{}"}},
    ]})]);
    assert_eq!(both_at_once["tool_calls"], expected);
}

#[test]
fn choices_logprobs_usage_and_unknown_members_add_up() {
    let logprob = |token: &str| json!({"token": token, "logprob": -0.5, "bytes": null, "top_logprobs": []});
    let piece = |index: i32, text: &str| {
        json!({"index": index, "delta": {"content": text}, "finish_reason": null,
            "logprobs": {"content": [logprob(text)], "refusal": null}})
    };
    let chunk = |choices: Value| json!({"id": "x", "created": 7, "model": "m", "choices": choices, "seen": 1});
    let end = |index: i32| json!({"index": index, "delta": {}, "finish_reason": "stop", "stop_reason": index});
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
        json!({"index": index, "message": {"role": "assistant", "content": texts.concat(), "refusal": null},
            "finish_reason": "stop", "stop_reason": index,
            "logprobs": {"content": texts.iter().map(|text| logprob(text)).collect::<Vec<_>>(), "refusal": null}})
    };
    assert_eq!(
        sum,
        json!({"id": "x", "object": "chat.completion", "created": 7, "model": "m", "usage": usage, "seen": 2,
            "choices": [choice(0, &["a"]), choice(1, &["b", "c"])]})
    );
}

fn call(members: Value) -> Value {
    json!({ "tool_calls": [members] })
}

/// Name and arguments of each call.
fn calls(deltas: &[Value]) -> Vec<(String, String, String)> {
    let message = message(deltas);
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let calls = message["tool_calls"].as_array().unwrap().iter();
    calls
        .map(|call| (text(&call["id"]), text(&call["function"]["name"]), text(&call["function"]["arguments"])))
        .collect()
}

fn expected(calls: &[(&str, &str, &str)]) -> Vec<(String, String, String)> {
    calls.iter().map(|(id, name, arguments)| ((*id).into(), (*name).into(), (*arguments).into())).collect()
}

/// google-deepmind/amplio PR 3, ai-dynamo/dynamo PR 4723, LibreChat-AI/agents PR 260.
#[test]
fn calls_with_one_index_and_different_ids_stay_apart() {
    let whole = |id: &str, name: &str, arguments: &str| json!({"index": 0, "id": id, "type": "function", "function": {"name": name, "arguments": arguments}});
    let two = expected(&[("a", "f", "{\"x\":1}"), ("b", "g", "{\"y\":2}")]);
    let (a, b) = (whole("a", "f", "{\"x\":1}"), whole("b", "g", "{\"y\":2}"));
    assert_eq!(calls(&[json!({ "tool_calls": [a, b] })]), two);
    assert_eq!(calls(&[call(a), call(b)]), two);
    let piece = |id: &str, arguments: &str| call(json!({"index": 0, "id": id, "function": {"arguments": arguments}}));
    let interleaved = [
        call(whole("a", "f", "")),
        call(whole("b", "g", "")),
        piece("a", "{\"x\":"),
        piece("b", "{\"y\":"),
        piece("a", "1}"),
        piece("b", "2}"),
    ];
    assert_eq!(calls(&interleaved), two);
    let without_id = |arguments: &str| call(json!({"index": 0, "function": {"arguments": arguments}}));
    let in_succession = [
        call(whole("a", "f", "")),
        without_id("{\"x\":"),
        without_id("1}"),
        call(whole("b", "g", "{")),
        without_id("\"y\":2}"),
    ];
    assert_eq!(calls(&in_succession), two);
    let same_function = [call(whole("a", "f", "{}")), call(whole("b", "f", "{}"))];
    assert_eq!(calls(&same_function), expected(&[("a", "f", "{}"), ("b", "f", "{}")]));
}

#[test]
fn a_known_id_continues_its_call_without_an_index_and_with_another_one() {
    let two = expected(&[("a", "f", "{\"x\":1}"), ("b", "g", "{}")]);
    for indexes in [[None; 5], [Some(0), Some(1), Some(1), Some(0), Some(7)], [Some(0), None, None, None, Some(0)]] {
        let piece = |at: usize, id: &str, function: Value| {
            let mut piece = json!({"id": id, "function": function});
            if let Some(index) = indexes[at] {
                piece["index"] = json!(index);
            }
            call(piece)
        };
        let deltas = [
            piece(0, "a", json!({"name": "f"})),
            piece(1, "b", json!({"name": "g", "arguments": "{"})),
            piece(2, "a", json!({"name": "f", "arguments": "{\"x\":"})),
            piece(3, "b", json!({"arguments": "}"})),
            piece(4, "a", json!({"name": "f", "arguments": "1}"})),
        ];
        assert_eq!(calls(&deltas), two, "{indexes:?}");
    }
}

#[test]
fn an_empty_id_is_none_and_a_number_is_one() {
    let piece = |id: Value, function: Value| call(json!({"index": 0, "id": id, "function": function}));
    let empty = [
        piece(json!("a"), json!({"name": "f"})),
        piece(json!(""), json!({"name": "", "arguments": "{"})),
        piece(json!(null), json!({"arguments": "}"})),
    ];
    assert_eq!(calls(&empty), expected(&[("a", "f", "{}")]));
    let numbers = message(&[
        piece(json!(1), json!({"name": "f", "arguments": "{"})),
        piece(json!(2), json!({"name": "g", "arguments": "{"})),
        piece(json!(1), json!({"arguments": "}"})),
        piece(json!(2), json!({"arguments": " }"})),
    ]);
    assert_eq!(
        numbers["tool_calls"],
        json!([
            {"id": 1, "function": {"name": "f", "arguments": "{}"}},
            {"id": 2, "function": {"name": "g", "arguments": "{ }"}}
        ])
    );
    let late = [
        call(json!({"index": 0, "function": {"name": "f", "arguments": "{"}})),
        call(json!({"index": 0, "id": "a", "function": {"arguments": "}"}})),
    ];
    assert_eq!(calls(&late), expected(&[("a", "f", "{}")]));
}

#[test]
fn without_ids_the_index_the_name_and_the_order_tell_calls_apart() {
    let piece = |index: Option<i32>, name: Option<&str>, arguments: &str| {
        call(json!({"index": index, "function": {"name": name, "arguments": arguments}}))
    };
    let two = expected(&[("", "f", "{}"), ("", "g", "[]")]);
    for deltas in [
        vec![piece(Some(0), Some("f"), "{}"), piece(Some(0), Some("g"), "[]")],
        vec![piece(None, Some("f"), "{"), piece(None, None, "}"), piece(None, Some("g"), "[]")],
        vec![piece(Some(1), Some("g"), "["), piece(Some(0), Some("f"), "{}"), piece(Some(1), None, "]")],
        // Some engines count the pieces.
        vec![
            piece(Some(0), Some("f"), ""),
            piece(Some(1), None, "{"),
            piece(Some(2), None, "}"),
            piece(Some(3), Some("g"), "[]"),
        ],
    ] {
        assert_eq!(calls(&deltas), two);
    }
    let repeated = [piece(Some(0), Some("f"), "{"), piece(Some(0), Some("f"), "}")];
    assert_eq!(calls(&repeated), expected(&[("", "f", "{}")]));
    let bit_by_bit = [piece(Some(0), Some("get_"), ""), piece(Some(0), Some("time"), ""), piece(Some(0), None, "{}")];
    assert_eq!(calls(&bit_by_bit), expected(&[("", "get_time", "{}")]));
}

#[test]
fn thousands_of_interleaved_calls_add_up() {
    let count = 5000;
    let piece = |number: i32, arguments: &str| json!({"index": 0, "id": format!("call-{number}"), "function": {"arguments": arguments}});
    let deltas: Vec<_> = ["{", "}"]
        .iter()
        .map(|arguments| json!({"tool_calls": (0..count).map(|number| piece(number, arguments)).collect::<Vec<_>>()}))
        .collect();
    let calls = calls(&deltas);
    assert_eq!(calls.len(), 5000);
    assert!(calls.iter().all(|(_, _, arguments)| arguments == "{}"));
}

#[test]
fn calls_in_another_form_than_a_list_of_objects_are_read_as_far_as_they_can() {
    let whole = json!({"id": "a", "function": {"name": "f", "arguments": "{}"}});
    for deltas in [
        vec![json!({ "tool_calls": whole })],
        vec![json!({"tool_calls": [null, whole]})],
        vec![call(whole.clone()), json!({"tool_calls": "none"})],
    ] {
        assert_eq!(calls(&deltas), expected(&[("a", "f", "{}")]));
    }
}

#[test]
fn an_odd_list_of_calls_without_end_is_too_large_and_none_of_it_is_read() {
    let is_too_large = |calls: usize| {
        let mut accumulator = ChatAccumulator::default();
        let list = format!("[7{}]", ",{}".repeat(calls - 1));
        let chunk = format!(r#"{{"choices":[{{"index":0,"delta":{{"tool_calls":{list}}}}}]}}"#);
        accumulator.add(json::decode_answer(chunk.as_bytes()).unwrap());
        accumulator.add(json::decode_answer(br#"{"choices":[{"index":0,"delta":{"content":"x"}}]}"#).unwrap());
        accumulator.is_too_large()
    };
    assert!(!is_too_large(TOOL_CALLS_MAX));
    assert!(is_too_large(TOOL_CALLS_MAX + 1));
}

#[test]
fn arguments_as_an_object_stay_when_they_are_all_there_is_and_never_displace_text() {
    let arguments = |arguments: Value| call(json!({"index": 0, "function": {"name": "f", "arguments": arguments}}));
    let sum = |pieces: &[Value]| {
        let deltas: Vec<_> = pieces.iter().cloned().map(arguments).collect();
        message(&deltas)["tool_calls"][0]["function"]["arguments"].clone()
    };
    assert_eq!(sum(&[json!({"a": 1})]), json!({"a": 1}));
    assert_eq!(sum(&[json!(""), json!({"a": 1}), json!("")]), json!({"a": 1}));
    assert_eq!(sum(&[json!({}), json!("{\"a\":"), json!({"b": 2}), json!("1}")]), json!("{\"a\":1}"));
}

#[test]
fn a_piece_of_another_type_never_displaces_the_text_joined_so_far() {
    let odd = [json!(["odd"]), json!({"a": 1}), json!(5), json!(true), json!([]), json!([[1]]), json!(null)];
    for name in ["content", "reasoning", "reasoning_content", "refusal"] {
        for odd in &odd {
            for place in 0..3 {
                let mut pieces = vec![json!("a"), json!("b")];
                pieces.insert(place, odd.clone());
                let deltas: Vec<_> = pieces.iter().map(|piece| json!({ name: piece })).collect();
                assert_eq!(message(&deltas)[name], json!("ab"), "{name} {pieces:?}");
            }
        }
        let only = message(&[json!({ name: "" }), json!({ name: ["odd"] }), json!({ name: ["even"] })]);
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
    assert_eq!(sum["content"], json!([thinking, text("ab"), text("c"), text("d")]));
}

/// Chunks as JSON text: `json!` can't write half a character.
fn raw_message(deltas: &[&str]) -> Value {
    let mut accumulator = ChatAccumulator::default();
    for delta in deltas {
        let chunk = format!(r#"{{"id":"x","created":1,"model":"m","choices":[{{"index":0,"delta":{delta}}}]}}"#);
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
        ("/reasoning_content", |text| format!(r#"{{"reasoning_content":"{text}"}}"#)),
        ("/audio/transcript", |text| format!(r#"{{"audio":{{"transcript":"{text}"}}}}"#)),
        ("/function_call/arguments", |text| format!(r#"{{"function_call":{{"arguments":"{text}"}}}}"#)),
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
            assert_eq!(raw_message(&deltas).pointer(pointer).unwrap(), joined, "{pointer} {pieces:?}");
        }
    }
    let crossed =
        raw_message(&[r#"{"content":"\ud83d","refusal":"\ud83d"}"#, r#"{"content":"x"}"#, r#"{"refusal":"\ude00"}"#]);
    assert_eq!((&crossed["content"], &crossed["refusal"]), (&json!("\u{fffd}x"), &json!("😀")));
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
    assert_eq!(sum(&[json!(""), json!(""), json!("length"), json!("")]), "length");
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
    assert_eq!(deltas(&[json!([{"a": 1}]), json!([]), json!([2, "]"])]), json!([{"a": 1}, 2, "]"]));
    assert_eq!(deltas(&[json!([1]), json!([1])]), json!([1, 1]));
    assert_eq!(deltas(&[json!(1), json!(null), json!(2), json!(null)]), 2);
    assert_eq!(deltas(&[json!({"a": 1}), json!({"b": 1})]), json!({"b": 1}));
    assert_eq!(deltas(&[json!("a"), json!({"b": 1}), json!([1]), json!("c")]), "ac");
    assert_eq!(deltas(&[json!([1]), json!("a"), json!(3)]), json!([1]));
    assert_eq!(deltas(&[json!(""), json!([1])]), json!([1]));
    assert_eq!(deltas(&[json!(null)]), json!(null));
    let choices = |values: &[Value]| {
        let chunks: Vec<_> =
            values.iter().map(|value| json!({"choices": [{"index": 0, "delta": {}, "new": value}]})).collect();
        sum(&chunks)["choices"][0]["new"].clone()
    };
    assert_eq!(choices(&[json!([1]), json!([1]), json!([2])]), json!([1, 1, 2]));
    assert_eq!(choices(&[json!(null), json!("a"), json!("b"), json!(null)]), "b");
    let chunks = |values: &[Value]| {
        let chunks: Vec<_> = values.iter().map(|value| json!({"choices": [], "new": value})).collect();
        sum(&chunks)["new"].clone()
    };
    assert_eq!(chunks(&[json!("x"), json!("x"), json!("y")]), "y");
    assert_eq!(chunks(&[json!(["u"]), json!(["u"]), json!(["u"])]), json!(["u"]));
    assert_eq!(chunks(&[json!([1]), json!([2])]), json!([1, 2]));
}

#[test]
fn the_parts_of_the_usage_may_come_in_different_chunks() {
    let chunk = |usage: Value| json!({"choices": [], "usage": usage, "service_tier": null, "system_fingerprint": "f"});
    let sum = sum(&[
        chunk(json!({"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4})),
        chunk(json!({"completion_tokens": 2, "total_tokens": 5, "prompt_tokens_details": {"cached_tokens": 1}})),
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
    let only = sum(&[chunk(json!({"index": 0, "message": whole, "finish_reason": "stop"}))]);
    assert_eq!(only["choices"][0]["message"], whole);
    let after = sum(&[
        chunk(json!({"index": 0, "delta": {"content": "hello"}})),
        chunk(json!({"index": 0, "message": whole, "finish_reason": "stop"})),
    ]);
    assert_eq!(after["choices"][0]["message"]["content"], "hello");
}

/// How an engine writes the pieces of one call.
#[derive(Clone, Copy, Debug)]
struct Style {
    /// Whether each call has an index of its own; else all have 0, or none.
    index: Option<bool>,
    repeats_id: bool,
    repeats_name: bool,
    repeats_role: bool,
}

/// The JSON of a text, cut at these places of its UTF-16 form, which may be within a character.
fn cut(text: &str, places: &[prop::sample::Index]) -> Vec<String> {
    let units: Vec<u16> = text.encode_utf16().collect();
    let mut places: Vec<_> = places.iter().map(|place| place.index(units.len() + 1)).collect();
    places.extend([0, units.len()]);
    places.sort_unstable();
    let escaped = |units: &[u16]| units.iter().map(|unit| format!("\\u{unit:04x}")).collect::<String>();
    places.windows(2).map(|ends| format!("\"{}\"", escaped(&units[ends[0]..ends[1]]))).collect()
}

/// The texts of an answer, the arguments of its calls, where they are cut, the order of pieces, and the style.
type CutAnswer = (Vec<Option<String>>, Vec<String>, Vec<prop::sample::Index>, Vec<u8>, Style);

fn cut_answer() -> impl Strategy<Value = CutAnswer> {
    let text = || prop::collection::vec(prop_oneof!["[a-z\"{}]", "[😀é漢\n]"], 0..8).prop_map(|words| words.concat());
    let style = (any::<Option<bool>>(), any::<bool>(), any::<bool>(), any::<bool>());
    let style = style.prop_map(|(index, repeats_id, repeats_name, repeats_role)| Style {
        index,
        // Ids must be repeated where nothing else tells interleaved calls apart.
        repeats_id: repeats_id || index != Some(true),
        repeats_name,
        repeats_role,
    });
    (
        prop::collection::vec(prop::option::of(text()), 4),
        prop::collection::vec(text(), 0..4),
        prop::collection::vec(any::<prop::sample::Index>(), 0..5),
        prop::collection::vec(any::<u8>(), 1..40),
        style,
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn an_answer_cut_into_deltas_in_any_way_adds_up_to_itself(
        (texts, arguments, places, order, style) in cut_answer()
    ) {
        const NAMES: [&str; 4] = ["content", "refusal", "reasoning", "reasoning_content"];
        let mut expected = json!({"role": "assistant", "content": null, "refusal": null});
        // One queue of deltas for each text and each call; pieces of one queue stay in order.
        let mut queues: Vec<std::collections::VecDeque<String>> = Vec::new();
        for (name, text) in NAMES.iter().zip(&texts) {
            let Some(text) = text else { continue };
            expected[name] = json!(text);
            queues.push(cut(text, &places).into_iter().map(|piece| format!(r#""{name}":{piece}"#)).collect());
        }
        for (number, text) in arguments.iter().enumerate() {
            let pieces = cut(text, &places).into_iter().enumerate().map(|(at, piece)| {
                let index = match style.index {
                    Some(true) => format!(r#""index":{number},"#),
                    Some(false) => r#""index":0,"#.to_owned(),
                    None => String::new(),
                };
                let id = if at == 0 || style.repeats_id { format!(r#""id":"call-{number}","#) } else { String::new() };
                let name = if at == 0 || style.repeats_name { r#""name":"f","# } else { "" };
                format!(r#""tool_calls":[{{{index}{id}"function":{{{name}"arguments":{piece}}}}}]"#)
            });
            queues.push(pieces.collect());
        }
        if !arguments.is_empty() {
            let calls = arguments.iter().enumerate().map(|(number, text)| {
                json!({"id": format!("call-{number}"), "function": {"name": "f", "arguments": text}})
            });
            expected["tool_calls"] = calls.collect();
            if expected["content"] == json!("") {
                expected["content"] = Value::Null;
            }
        }
        // Calls that no index tells apart keep the order in which they begin.
        let mut deltas = vec![r#"{"role":"assistant"}"#.to_owned()];
        if style.index != Some(true) {
            let first = queues.len() - arguments.len();
            deltas.extend(queues[first..].iter_mut().filter_map(|queue| Some(format!("{{{}}}", queue.pop_front()?))));
        }
        for choice in order.iter().cycle() {
            queues.retain(|queue| !queue.is_empty());
            if queues.is_empty() {
                break;
            }
            let queue = usize::from(*choice) % queues.len();
            let role = if style.repeats_role { r#""role":"assistant","# } else { "" };
            deltas.push(format!("{{{role}{}}}", queues[queue].pop_front().unwrap()));
        }
        let deltas: Vec<&str> = deltas.iter().map(String::as_str).collect();
        prop_assert_eq!(raw_message(&deltas), expected, "{:?}", deltas);
    }
}

#[test]
fn a_made_up_sum_of_tokens_does_not_outlive_its_parts() {
    let usage = |pieces: &[Value]| {
        let chunks: Vec<_> = pieces.iter().map(|usage| json!({"choices": [], "usage": usage})).collect();
        sum(&chunks)["usage"].clone()
    };
    assert_eq!(
        usage(&[json!({"prompt_tokens": 3}), json!({"completion_tokens": 4})]),
        json!({"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7})
    );
    // Engines that count on: the gateway's own sum of the first piece is not the answer's.
    assert_eq!(
        usage(&[json!({"prompt_tokens": 3, "completion_tokens": 1}), json!({"completion_tokens": 4})]),
        json!({"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7})
    );
    // Upstream's own total that isn't the sum stays.
    assert_eq!(
        usage(&[json!({"prompt_tokens": 3, "total_tokens": 9}), json!({"completion_tokens": 4})]),
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

#[test]
fn whole_calls_of_one_function_at_one_index_without_ids_stay_apart() {
    let call = |arguments: &str| json!({"index": 0, "function": {"name": "f", "arguments": arguments}});
    let arguments = |deltas: &[Value]| -> Vec<Value> {
        let calls = message(deltas)["tool_calls"].as_array().unwrap().clone();
        calls.into_iter().map(|call| call["function"]["arguments"].clone()).collect()
    };
    let (a, b) = ("{\"a\":1}", " {\"b\":[2]}");
    assert_eq!(arguments(&[json!({"tool_calls": [call(a), call(b)]})]), [a, b]);
    assert_eq!(arguments(&[json!({"tool_calls": [call(a)]}), json!({"tool_calls": [call(b)]})]), [a, b]);
    // An engine that repeats the name in each piece of one call.
    let pieces = ["{\"a\":", "{", "}", "}", "\n"].map(|piece| json!({"tool_calls": [call(piece)]}));
    assert_eq!(arguments(&pieces), ["{\"a\":{}}\n"]);
}
