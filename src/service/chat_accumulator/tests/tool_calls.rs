//! Tool calls: which pieces belong to which call.

use serde_json::{Value, json};

use super::{
    super::{message::TOOL_CALLS_MAX, *},
    message,
};

fn call(members: Value) -> Value {
    json!({ "tool_calls": [members] })
}

/// Name and arguments of each call.
fn calls(deltas: &[Value]) -> Vec<(String, String, String)> {
    let message = message(deltas);
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let calls = message["tool_calls"].as_array().unwrap().iter();
    calls
        .map(|call| {
            (
                text(&call["id"]),
                text(&call["function"]["name"]),
                text(&call["function"]["arguments"]),
            )
        })
        .collect()
}

fn expected(calls: &[(&str, &str, &str)]) -> Vec<(String, String, String)> {
    calls
        .iter()
        .map(|(id, name, arguments)| ((*id).into(), (*name).into(), (*arguments).into()))
        .collect()
}

#[test]
fn tool_calls_come_together_by_index_and_by_order_without_one() {
    let expected = json!([
        {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{\"a\":1}"}},
        {"id": "2", "type": "function", "function": {"name": "g", "arguments": "{}"}},
    ]);
    let call = |members: Value| json!({ "tool_calls": [members] });
    let by_index = message(&[
        call(json!({
            "index": 0,
            "id": "1",
            "type": "function",
            "function": {"name": "f", "arguments": ""},
        })),
        call(json!({"index": 1, "id": "2", "type": "function", "function": {"name": "g"}})),
        call(json!({"index": 0, "function": {"arguments": "{\"a\":"}})),
        call(json!({"index": 1, "function": {"arguments": "{}"}})),
        call(json!({"index": 0, "function": {"arguments": "1}"}})),
    ]);
    assert_eq!(by_index["tool_calls"], expected);
    assert_eq!(by_index["content"], Value::Null);
    let by_id = message(&[
        call(json!({
            "id": "1",
            "type": "function",
            "function": {"name": "f", "arguments": "{\"a\":"},
        })),
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

/// google-deepmind/amplio PR 3, ai-dynamo/dynamo PR 4723, LibreChat-AI/agents PR 260.
#[test]
fn calls_with_one_index_and_different_ids_stay_apart() {
    let whole = |id: &str, name: &str, arguments: &str| {
        let function = json!({"name": name, "arguments": arguments});
        json!({"index": 0, "id": id, "type": "function", "function": function})
    };
    let two = expected(&[("a", "f", "{\"x\":1}"), ("b", "g", "{\"y\":2}")]);
    let (a, b) = (whole("a", "f", "{\"x\":1}"), whole("b", "g", "{\"y\":2}"));
    assert_eq!(calls(&[json!({ "tool_calls": [a, b] })]), two);
    assert_eq!(calls(&[call(a), call(b)]), two);
    let piece = |id: &str, arguments: &str| {
        call(json!({"index": 0, "id": id, "function": {"arguments": arguments}}))
    };
    let interleaved = [
        call(whole("a", "f", "")),
        call(whole("b", "g", "")),
        piece("a", "{\"x\":"),
        piece("b", "{\"y\":"),
        piece("a", "1}"),
        piece("b", "2}"),
    ];
    assert_eq!(calls(&interleaved), two);
    let without_id =
        |arguments: &str| call(json!({"index": 0, "function": {"arguments": arguments}}));
    let in_succession = [
        call(whole("a", "f", "")),
        without_id("{\"x\":"),
        without_id("1}"),
        call(whole("b", "g", "{")),
        without_id("\"y\":2}"),
    ];
    assert_eq!(calls(&in_succession), two);
    let same_function = [call(whole("a", "f", "{}")), call(whole("b", "f", "{}"))];
    assert_eq!(
        calls(&same_function),
        expected(&[("a", "f", "{}"), ("b", "f", "{}")])
    );
}

#[test]
fn a_known_id_continues_its_call_without_an_index_and_with_another_one() {
    let two = expected(&[("a", "f", "{\"x\":1}"), ("b", "g", "{}")]);
    for indexes in [
        [None; 5],
        [Some(0), Some(1), Some(1), Some(0), Some(7)],
        [Some(0), None, None, None, Some(0)],
    ] {
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
    let piece =
        |id: Value, function: Value| call(json!({"index": 0, "id": id, "function": function}));
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
        vec![
            piece(Some(0), Some("f"), "{}"),
            piece(Some(0), Some("g"), "[]"),
        ],
        vec![
            piece(None, Some("f"), "{"),
            piece(None, None, "}"),
            piece(None, Some("g"), "[]"),
        ],
        vec![
            piece(Some(1), Some("g"), "["),
            piece(Some(0), Some("f"), "{}"),
            piece(Some(1), None, "]"),
        ],
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
    let repeated = [
        piece(Some(0), Some("f"), "{"),
        piece(Some(0), Some("f"), "}"),
    ];
    assert_eq!(calls(&repeated), expected(&[("", "f", "{}")]));
    let bit_by_bit = [
        piece(Some(0), Some("get_"), ""),
        piece(Some(0), Some("time"), ""),
        piece(Some(0), None, "{}"),
    ];
    assert_eq!(calls(&bit_by_bit), expected(&[("", "get_time", "{}")]));
}

#[test]
fn thousands_of_interleaved_calls_add_up() {
    let count = 5000;
    let piece = |number: i32, arguments: &str| {
        let id = format!("call-{number}");
        json!({"index": 0, "id": id, "function": {"arguments": arguments}})
    };
    let deltas: Vec<_> = ["{", "}"]
        .iter()
        .map(|arguments| {
            let calls = (0..count).map(|number| piece(number, arguments));
            json!({"tool_calls": calls.collect::<Vec<_>>()})
        })
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
        accumulator.add(
            json::decode_answer(br#"{"choices":[{"index":0,"delta":{"content":"x"}}]}"#).unwrap(),
        );
        accumulator.is_too_large()
    };
    assert!(!is_too_large(TOOL_CALLS_MAX));
    assert!(is_too_large(TOOL_CALLS_MAX + 1));
}

#[test]
fn arguments_as_an_object_stay_when_they_are_all_there_is_and_never_displace_text() {
    let arguments = |arguments: Value| {
        call(json!({"index": 0, "function": {"name": "f", "arguments": arguments}}))
    };
    let sum = |pieces: &[Value]| {
        let deltas: Vec<_> = pieces.iter().cloned().map(arguments).collect();
        message(&deltas)["tool_calls"][0]["function"]["arguments"].clone()
    };
    assert_eq!(sum(&[json!({"a": 1})]), json!({"a": 1}));
    assert_eq!(
        sum(&[json!(""), json!({"a": 1}), json!("")]),
        json!({"a": 1})
    );
    assert_eq!(
        sum(&[json!({}), json!("{\"a\":"), json!({"b": 2}), json!("1}")]),
        json!("{\"a\":1}")
    );
}

#[test]
fn whole_calls_of_one_function_at_one_index_without_ids_stay_apart() {
    let call =
        |arguments: &str| json!({"index": 0, "function": {"name": "f", "arguments": arguments}});
    let arguments = |deltas: &[Value]| -> Vec<Value> {
        let calls = message(deltas)["tool_calls"].as_array().unwrap().clone();
        calls
            .into_iter()
            .map(|call| call["function"]["arguments"].clone())
            .collect()
    };
    let (a, b) = ("{\"a\":1}", " {\"b\":[2]}");
    assert_eq!(
        arguments(&[json!({"tool_calls": [call(a), call(b)]})]),
        [a, b]
    );
    assert_eq!(
        arguments(&[
            json!({"tool_calls": [call(a)]}),
            json!({"tool_calls": [call(b)]})
        ]),
        [a, b]
    );
    // An engine that repeats the name in each piece of one call.
    let pieces = ["{\"a\":", "{", "}", "}", "\n"].map(|piece| json!({"tool_calls": [call(piece)]}));
    assert_eq!(arguments(&pieces), ["{\"a\":{}}\n"]);
}
