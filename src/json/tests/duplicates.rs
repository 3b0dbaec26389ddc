//! Members that come twice in one object. The last one counts, as in JavaScript, Python and the
//! engines: for a field, for `extra`, for an object within, and for a list, which is replaced.

use serde::{Serialize, de::DeserializeOwned};

use crate::{
    json::{decode_answer, decode_request, encode_answer, encode_request, move_extra_into_fields},
    proto::v1::{
        ChatMessage, CompletionChoice, Concurrency, ContentPart, CreateChatCompletionRequest,
        CreateChatCompletionResponse, CreateCompletionRequest, Embedding, GatewayOptions,
        ListModelsResponse, StreamChatCompletionResponse, Tool,
    },
};

/// Decodes both documents as a request and as an answer, and checks that the messages are equal.
fn same<M>(twice: &str, once: &str)
where
    M: DeserializeOwned + Serialize + PartialEq + std::fmt::Debug,
{
    let request: M = decode_request(twice.as_bytes()).unwrap();
    assert_eq!(request, decode_request(once.as_bytes()).unwrap(), "{twice}");
    let answer: M = decode_answer(twice.as_bytes()).unwrap();
    assert_eq!(answer, decode_answer(once.as_bytes()).unwrap(), "{twice}");
    let mut out = Vec::new();
    encode_answer(&answer, &mut out).unwrap();
    assert_eq!(decode_answer(&out), Ok(answer), "{twice}");
}

#[test]
fn the_last_value_of_a_field_counts_for_all_kinds() {
    for (twice, once) in [
        (r#""model":"a","model":"b""#, r#""model":"b""#),
        (r#""model":"a","model":null"#, ""),
        (
            r#""temperature":1,"temperature":0.5"#,
            r#""temperature":0.5"#,
        ),
        (r#""temperature":1,"temperature":null"#, ""),
        (r#""seed":1,"seed":2"#, r#""seed":2"#),
        (r#""logprobs":true,"logprobs":false"#, r#""logprobs":false"#),
        (r#""stop":"a","stop":["b","c"]"#, r#""stop":["b","c"]"#),
        (r#""stop":["a","b"],"stop":"c""#, r#""stop":["c"]"#),
        (r#""stop":["a","b"],"stop":null"#, ""),
        (
            r#""stop_token_ids":[1,2],"stop_token_ids":[3]"#,
            r#""stop_token_ids":[3]"#,
        ),
        (
            r#""logit_bias":{"1":1,"2":2},"logit_bias":{"3":3,"3":4}"#,
            r#""logit_bias":{"3":4}"#,
        ),
        (r#""logit_bias":{"1":1},"logit_bias":[]"#, ""),
        (
            r#""metadata":{"a":"x"},"metadata":{"b":"y","b":"z"}"#,
            r#""metadata":{"b":"z"}"#,
        ),
        (
            r#""tools":[{"type":"a"},{"type":"b"}],"tools":[{"type":"c"}]"#,
            r#""tools":[{"type":"c"}]"#,
        ),
        (
            r#""tool_choice":"auto","tool_choice":{"type":"function"}"#,
            r#""tool_choice":{"type":"function"}"#,
        ),
        (
            r#""tool_choice":{"type":"function"},"tool_choice":"none""#,
            r#""tool_choice":"none""#,
        ),
        (
            r#""chat_template_kwargs":{"a":1},"chat_template_kwargs":{"b":1,"b":2}"#,
            r#""chat_template_kwargs":{"b":1,"b":2}"#,
        ),
        (
            r#""chat_template_kwargs":{"a":1},"chat_template_kwargs":[]"#,
            "",
        ),
        // The same name in two notations.
        (r#""m\u006fdel":"a","model":"b""#, r#""model":"b""#),
        (r#""model":"a","m\u006fdel":"b""#, r#""model":"b""#),
    ] {
        let document = |members: &str| format!("{{{members}}}");
        same::<CreateChatCompletionRequest>(&document(twice), &document(once));
    }
    same::<CreateCompletionRequest>(
        r#"{"prompt":"a","prompt":["b","c"],"prompt":[[1],[2,3]]}"#,
        r#"{"prompt":[[1],[2,3]]}"#,
    );
    same::<CreateCompletionRequest>(r#"{"prompt":[1,2],"prompt":"a"}"#, r#"{"prompt":"a"}"#);
    same::<GatewayOptions>(
        r#"{"priority":"batch","priority":"default"}"#,
        r#"{"priority":"default"}"#,
    );
    same::<Concurrency>(r#"{"limit":4,"limit":null}"#, r#"{"limit":null}"#);
    same::<Concurrency>(r#"{"limit":null,"limit":4}"#, r#"{"limit":4}"#);
    same::<CompletionChoice>(r#"{"index":1,"index":2}"#, r#"{"index":2}"#);
    same::<Embedding>(
        r#"{"embedding":"AAAA","embedding":[1,2],"embedding":[3]}"#,
        r#"{"embedding":[3]}"#,
    );
    same::<ListModelsResponse>(
        r#"{"object":"list","data":[{"id":"a"},{"id":"b"}],"data":[{"id":"c"}]}"#,
        r#"{"data":[{"id":"c"}]}"#,
    );
    same::<CreateChatCompletionResponse>(
        r#"{"object":"other","object":"chat.completion"}"#,
        r#"{"object":"chat.completion"}"#,
    );
    same::<CreateChatCompletionResponse>(
        r#"{"object":"chat.completion","object":"other"}"#,
        r#"{"object":"other"}"#,
    );
}

#[test]
fn a_duplicate_object_is_replaced_and_not_merged() {
    same::<StreamChatCompletionResponse>(
        r#"{"usage":{"prompt_tokens":1,"new":1},"usage":{"completion_tokens":2}}"#,
        r#"{"usage":{"completion_tokens":2}}"#,
    );
    same::<StreamChatCompletionResponse>(
        r#"{"choices":[{"index":7},{}],
            "choices":[{"delta":{"content":"a","new":1},"delta":{"content":"b","content":"c"}}]}"#,
        r#"{"choices":[{"delta":{"content":"c"}}]}"#,
    );
    same::<Tool>(
        r#"{"function":{"name":"a","strict":true},"function":{"name":"b"}}"#,
        r#"{"function":{"name":"b"}}"#,
    );
    same::<ContentPart>(
        r#"{"image_url":{"url":"a","detail":"low"},"image_url":{"url":"b"}}"#,
        r#"{"image_url":{"url":"b"}}"#,
    );
    same::<CreateChatCompletionRequest>(
        r#"{"messages":[{"role":"user","content":"a"},{"role":"user","content":"b"}],
            "messages":[{"role":"user","role":"system","content":"a","content":[{"text":"c"}]}]}"#,
        r#"{"messages":[{"role":"system","content":[{"text":"c"}]}]}"#,
    );
}

#[test]
fn the_last_value_of_a_member_without_a_field_counts_and_keeps_its_text() {
    let message: ChatMessage =
        decode_request(br#"{"new":1,"role":"user","new":{"a": 1.0,"a":2}}"#).unwrap();
    assert_eq!(message.extra.len(), 1);
    assert_eq!(message.extra["new"], r#"{"a": 1.0,"a":2}"#);
    let written = encode_request(&message).unwrap();
    assert_eq!(
        String::from_utf8(written).unwrap(),
        r#"{"role":"user","new":{"a": 1.0,"a":2}}"#
    );
}

/// A value of an unexpected type is in `extra`, so the earlier value may be in the field.
#[test]
fn the_last_value_of_an_answer_counts_even_if_one_has_an_unexpected_type() {
    for (name, odd, usual) in [
        ("id", "7", r#""x""#),
        ("created", r#""x""#, "7"),
        ("choices", "7", r#"[{"delta":{"content":"a"}}]"#),
        ("usage", r#""none""#, r#"{"total_tokens":3}"#),
    ] {
        let read = |first: &str, last: &str| {
            let text = format!(r#"{{"{name}":{first},"{name}":{last}}}"#);
            decode_answer::<StreamChatCompletionResponse>(text.as_bytes()).unwrap()
        };
        let once = |value: &str| {
            let text = format!(r#"{{"{name}":{value}}}"#);
            decode_answer::<StreamChatCompletionResponse>(text.as_bytes()).unwrap()
        };
        assert_eq!(read(odd, usual), once(usual), "{name}");
        assert_eq!(read(usual, odd), once(odd), "{name}");
        assert_eq!(read(odd, "null"), once("null"), "{name}");
    }
    let index = |first: &str, last: &str| {
        let text = format!(r#"{{"index":{first},"index":{last}}}"#);
        let choice: CompletionChoice = decode_answer(text.as_bytes()).unwrap();
        (choice.index, choice.extra.get("index").cloned())
    };
    assert_eq!(index(r#""3""#, "4"), (4, None));
    assert_eq!(index("[]", r#""3""#), (3, None));
    assert_eq!(index("4", "[]"), (0, Some("[]".to_owned())));
}

/// The earlier members are decoded too, so their types are checked.
#[test]
fn a_wrong_type_in_a_request_is_an_error_even_if_a_right_one_follows() {
    let bad = decode_request::<CreateChatCompletionRequest>(br#"{"seed":"x","seed":1}"#);
    assert_eq!(bad.unwrap_err().path.as_deref(), Some("seed"));
}

#[test]
fn a_member_in_extra_of_a_grpc_caller_is_decoded_like_json_in_rest() {
    let mut request = CreateChatCompletionRequest::default();
    for (name, text) in [
        ("seed", "2"),
        ("audio", r#"{"voice":"a","voice":"b","format":"wav"}"#),
        (
            "tools",
            r#"[{"type":"a","type":"b","function":{"name":"a"},"function":{"name":"b"}}]"#,
        ),
        ("new", r#"{"a":1,"a":2}"#),
    ] {
        request.extra.insert(name.to_owned(), text.to_owned());
    }
    move_extra_into_fields(&mut request).unwrap();
    let once = r#"{"seed":2,"audio":{"voice":"b","format":"wav"},
        "tools":[{"type":"b","function":{"name":"b"}}],"new":{"a":1,"a":2}}"#;
    assert_eq!(decode_request(once.as_bytes()), Ok(request));
}
