//! The codec's own rules, where no door is needed to see them.

use super::{problems::PATH_CHARS_MAX, *};
use crate::proto::v1::{
    CreateChatCompletionRequest, CreateCompletionRequest, StreamChatCompletionResponse, TokenList,
    create_completion_request::PromptKind,
};

/// serde_json's quick way of reading a number is off by one in the last place now and then.
#[test]
fn a_double_is_read_exactly() {
    for text in ["99.99999999999999", "1.9999999999999998", "123456789.12345679", "1.234e-30", "5e-324"] {
        let body = format!(r#"{{"model":"m","logit_bias":{{"1":{text}}}}}"#);
        let request: CreateChatCompletionRequest = decode_request(body.as_bytes()).unwrap();
        assert_eq!(request.logit_bias["1"].to_bits(), text.parse::<f64>().unwrap().to_bits(), "{text}");
    }
}

/// As the fuzz target for requests asks.
#[test]
fn the_path_of_a_bad_member_is_told_up_to_a_bound() {
    let path_of = |name: &str| {
        let body = format!(r#"{{"model":"m","logit_bias":{{"{name}":"much"}}}}"#);
        decode_request::<CreateChatCompletionRequest>(body.as_bytes()).unwrap_err().path.unwrap()
    };
    assert_eq!(path_of("50256"), "logit_bias.50256");
    let told = format!("logit_bias.{}", "ü".repeat(PATH_CHARS_MAX - 11));
    assert_eq!(path_of(&"ü".repeat(PATH_CHARS_MAX - 11)), told);
    assert_eq!(path_of(&"ü".repeat(1_000_000)), format!("{told}…"));
}

/// As the fuzz target for chunks found: the first of them, in `extra`, hid the second.
#[test]
fn of_two_members_with_the_same_name_the_last_counts_whatever_their_types() {
    let read = |usage: &str| {
        let body = format!(r#"{{"choices":[],{usage}}}"#);
        let chunk: StreamChatCompletionResponse = decode_answer(body.as_bytes()).unwrap();
        let mut out = Vec::new();
        encode_answer(&chunk, &mut out).unwrap();
        assert_eq!(decode_answer(&out), Ok(chunk.clone()));
        (chunk.usage.and_then(|usage| usage.total_tokens), chunk.extra.get("usage").cloned())
    };
    assert_eq!(read(r#""usage":"none","usage":{"total_tokens":3}"#), (Some(3), None));
    assert_eq!(read(r#""usage":{"total_tokens":3},"usage":"none""#), (None, Some(r#""none""#.to_owned())));
    assert_eq!(read(r#""usage":"none","usage":null"#), (None, None));
}

#[test]
fn every_token_id_is_a_32_bit_integer_the_first_too() {
    let read = |prompt: &str| {
        let body = format!(r#"{{"model":"m","prompt":{prompt}}}"#);
        decode_request::<CreateCompletionRequest>(body.as_bytes()).map(|request| request.prompt_kind.unwrap())
    };
    let tokens = |values: &[i32]| Ok(PromptKind::PromptTokens(TokenList { values: values.to_vec() }));
    assert_eq!(read("[-1, 2]"), tokens(&[-1, 2]));
    assert_eq!(read("[1, -2]"), tokens(&[1, -2]));
    assert_eq!(read("[-2147483648]"), tokens(&[i32::MIN]));
    for prompt in ["[2147483648]", "[-2147483649]", "[18446744073709551615]", "[1, 2147483648]"] {
        assert!(read(prompt).is_err(), "{prompt}");
    }
}
