//! Tests of the codec's rules that need no door.

mod duplicates;

use super::{error::PATH_CHARS_MAX, *};
use crate::proto::v1::{
    ChatMessage, CreateChatCompletionRequest, CreateCompletionRequest,
    StreamChatCompletionResponse, TokenList, create_completion_request::PromptKind,
};

/// serde_json's fast parser for numbers can be wrong in the last digit.
#[test]
fn a_double_is_read_exactly() {
    for text in [
        "99.99999999999999",
        "1.9999999999999998",
        "123456789.12345679",
        "1.234e-30",
        "5e-324",
    ] {
        let body = format!(r#"{{"model":"m","logit_bias":{{"1":{text}}}}}"#);
        let request: CreateChatCompletionRequest = decode_request(body.as_bytes()).unwrap();
        assert_eq!(
            request.logit_bias["1"].to_bits(),
            text.parse::<f64>().unwrap().to_bits(),
            "{text}"
        );
    }
}

/// The property of the fuzz target for requests.
#[test]
fn the_path_of_an_invalid_member_has_a_length_limit() {
    let path_of = |name: &str| {
        let body = format!(r#"{{"model":"m","logit_bias":{{"{name}":"much"}}}}"#);
        decode_request::<CreateChatCompletionRequest>(body.as_bytes())
            .unwrap_err()
            .path
            .unwrap()
    };
    assert_eq!(path_of("50256"), "logit_bias.50256");
    let path = format!("logit_bias.{}", "ü".repeat(PATH_CHARS_MAX - 11));
    assert_eq!(path_of(&"ü".repeat(PATH_CHARS_MAX - 11)), path);
    assert_eq!(path_of(&"ü".repeat(1_000_000)), format!("{path}…"));
}

/// Found by the fuzz target for chunks: the first member, in `extra`, hid the second one.
#[test]
fn the_last_of_two_members_with_the_same_name_counts_for_all_types() {
    let read = |usage: &str| {
        let body = format!(r#"{{"choices":[],{usage}}}"#);
        let chunk: StreamChatCompletionResponse = decode_answer(body.as_bytes()).unwrap();
        let mut out = Vec::new();
        encode_answer(&chunk, &mut out).unwrap();
        assert_eq!(decode_answer(&out), Ok(chunk.clone()));
        (
            chunk.usage.and_then(|usage| usage.total_tokens),
            chunk.extra.get("usage").cloned(),
        )
    };
    assert_eq!(
        read(r#""usage":"none","usage":{"total_tokens":3}"#),
        (Some(3), None)
    );
    assert_eq!(
        read(r#""usage":{"total_tokens":3},"usage":"none""#),
        (None, Some(r#""none""#.to_owned()))
    );
    assert_eq!(read(r#""usage":"none","usage":null"#), (None, None));
}

#[test]
fn every_token_id_is_a_32_bit_integer_even_the_first() {
    let read = |prompt: &str| {
        let body = format!(r#"{{"model":"m","prompt":{prompt}}}"#);
        decode_request::<CreateCompletionRequest>(body.as_bytes())
            .map(|request| request.prompt_kind.unwrap())
    };
    let tokens = |values: &[i32]| {
        Ok(PromptKind::PromptTokens(TokenList {
            values: values.to_vec(),
        }))
    };
    assert_eq!(read("[-1, 2]"), tokens(&[-1, 2]));
    assert_eq!(read("[1, -2]"), tokens(&[1, -2]));
    assert_eq!(read("[-2147483648]"), tokens(&[i32::MIN]));
    for prompt in [
        "[2147483648]",
        "[-2147483649]",
        "[18446744073709551615]",
        "[1, 2147483648]",
    ] {
        assert!(read(prompt).is_err(), "{prompt}");
    }
}

#[test]
fn an_integer_is_never_rounded_to_another_one() {
    let read = |seed: &str| {
        let body = format!(r#"{{"model":"m","seed":{seed}}}"#);
        decode_request::<CreateChatCompletionRequest>(body.as_bytes())
            .map(|request| request.seed.unwrap())
    };
    for (written, integer) in [
        ("9007199254740991.0", 9_007_199_254_740_991),
        ("9007199254740993", 9_007_199_254_740_993),
        ("-9007199254740991e0", -9_007_199_254_740_991),
        ("9223372036854775807", i64::MAX),
    ] {
        assert_eq!(read(written), Ok(integer), "{written}");
    }
    for written in ["9007199254740993.0", "-9007199254740993.0", "1e18"] {
        let bad = read(written).unwrap_err();
        let problem =
            "so large an integer is exact only in digits: write it without a point and an exponent";
        assert_eq!(
            (bad.path.as_deref(), bad.problem.as_str()),
            (Some("seed"), problem),
            "{written}"
        );
    }
    for written in ["1e19", "9223372036854775808", "9223372036854775808.0"] {
        assert_eq!(
            read(written).unwrap_err().problem,
            "the integer is too large: expected a 64-bit integer"
        );
    }
}

#[test]
fn the_error_for_an_incomplete_document_is_in_plain_words() {
    let problem = |body: &str| {
        decode_request::<CreateChatCompletionRequest>(body.as_bytes())
            .unwrap_err()
            .to_string()
    };
    assert_eq!(
        problem(""),
        "not valid JSON: it is empty; send a JSON object"
    );
    assert_eq!(
        problem("\u{feff} \n"),
        "not valid JSON: it is empty; send a JSON object"
    );
    assert_eq!(
        problem(r#"{"a":"#),
        "not valid JSON: it ends before a value at line 1 column 5"
    );
    assert_eq!(
        problem(r#"{"a":1"#),
        "not valid JSON: it ends inside an object at line 1 column 6"
    );
    assert_eq!(
        problem(r#"{"a":[1"#),
        "not valid JSON: it ends inside a list at line 1 column 7"
    );
    assert_eq!(
        problem(r#"{"a":"x"#),
        "not valid JSON: it ends inside a string at line 1 column 7"
    );
}

#[test]
fn the_error_for_half_a_surrogate_pair_in_a_name_has_the_path_of_the_object() {
    let bad = |body: &str| {
        let bad = decode_request::<CreateChatCompletionRequest>(body.as_bytes()).unwrap_err();
        (
            bad.path.unwrap_or_default(),
            bad.problem
                .starts_with("the name of a member has half of a surrogate pair"),
        )
    };
    assert_eq!(bad(r#"{"model":"m","x\ud83d":1}"#), (String::new(), true));
    assert_eq!(
        bad(r#"{"messages":[{"role":"user","\udc00":1}]}"#),
        ("messages[0]".to_owned(), true)
    );
    assert_eq!(
        bad(r#"{"metadata":{"a\ud83d":"b"}}"#),
        ("metadata".to_owned(), true)
    );
    // The path of the value itself is kept, even below a member with such a name.
    assert_eq!(
        bad(r#"{"metadata":{"?":"\ud83d"}}"#),
        ("metadata.?".to_owned(), false)
    );
}

#[test]
fn the_error_for_invalid_json_text_explains_json_text() {
    let problem = |text: &str| {
        let chat_template_kwargs = Some(text.to_owned());
        let request = CreateChatCompletionRequest {
            chat_template_kwargs,
            ..CreateChatCompletionRequest::default()
        };
        encode_request(&request).unwrap_err().to_string()
    };
    let hint = "write one JSON value, a string with its quotes";
    assert_eq!(
        problem("alloy"),
        format!("chat_template_kwargs: not valid JSON text: expected value; {hint}")
    );
    assert_eq!(
        problem("{"),
        format!("chat_template_kwargs: not valid JSON text: it ends inside an object; {hint}")
    );
    assert_eq!(
        problem(""),
        format!("chat_template_kwargs: not valid JSON text: it ends before a value; {hint}")
    );
    let mut request = CreateChatCompletionRequest::default();
    request.extra.insert("new".to_owned(), "NaN".to_owned());
    let bad = encode_request(&request).unwrap_err().to_string();
    assert_eq!(
        bad,
        format!("extra[\"new\"]: not valid JSON text: expected value; {hint}")
    );
}

#[test]
fn brackets_in_texts_do_not_count_as_nesting() {
    let deep = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    assert!(!budget::is_too_deep(&deep(128)) && budget::is_too_deep(&deep(129)));
    assert!(budget::is_too_deep(&format!(r#"{{"\"":{}}}"#, deep(128))));
    assert!(!budget::is_too_deep(&format!(
        r#"["{}\"{}"]"#,
        "[".repeat(300),
        "{".repeat(300)
    )));
    assert!(!budget::is_too_deep(&format!("[{}]", "[],".repeat(300))));
}

#[test]
fn the_last_of_two_contents_in_different_forms_counts() {
    let read = |members: &str| {
        let body = format!(r#"{{"role":"user",{members}}}"#);
        let message: ChatMessage = decode_request(body.as_bytes()).unwrap();
        let mut out = Vec::new();
        encode_answer(&message, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    };
    let written = |content: &str| format!(r#"{{"role":"user","content":{content}}}"#);
    for contents in [
        &["\"a\"", r#"[{"text":"b"}]"#],
        &["[]", "null"],
        &["\"a\"", "[]"],
        &["[]", "\"\""],
        &["null", "\"a\""],
    ] {
        for [first, last] in [*contents, [contents[1], contents[0]]] {
            assert_eq!(
                read(&format!(r#""content":{first},"content":{last}"#)),
                written(last),
                "{first}"
            );
        }
    }
    let odd =
        decode_answer::<ChatMessage>(br#"{"role":"user","content":"a","content":7}"#).unwrap();
    assert_eq!((odd.content, odd.extra["content"].as_str()), (None, "7"));
}

#[test]
fn a_too_large_value_is_an_error_in_answers_too() {
    let body = format!(r#"{{"choices":[{}{{}}],"id":7}}"#, "{},".repeat(4096));
    let bad = decode_answer::<StreamChatCompletionResponse>(body.as_bytes()).unwrap_err();
    assert!(bad.is_too_large, "{bad}");
    // The same for an answer that is sent back.
    let calls = "{},".repeat(8192);
    let body = format!(
        r#"{{"messages":[{{"role":"assistant","content":7,"tool_calls":[{calls}{{}}]}}]}}"#
    );
    let bad = decode_request::<CreateChatCompletionRequest>(body.as_bytes()).unwrap_err();
    assert!(bad.is_too_large, "{bad}");
    assert_eq!(bad.path.as_deref(), Some("messages[0]"));
    // The next document is decoded normally.
    let body = r#"{"model":"m","messages":[{"role":"assistant","content":7}]}"#;
    decode_request::<CreateChatCompletionRequest>(body.as_bytes()).unwrap();
}
