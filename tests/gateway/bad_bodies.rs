//! Request bodies with mistakes: the error has the path of the mistake.

use featherwire::error::Kind;
use serde_json::{Value, json};

use crate::{
    bad_input::post,
    support::{Door, Emulator, Gateway, MODEL, Reply, Scripted, prompt},
};

#[tokio::test]
async fn an_error_about_an_invalid_body_has_the_problem_and_the_path() {
    let emulator = Emulator::start().await;
    let gateway = Gateway::to(emulator.address).await;
    let with = |change: Value| {
        let mut request = prompt(MODEL, "my secret prompt");
        request
            .as_object_mut()
            .unwrap()
            .extend(change.as_object().unwrap().clone());
        request.to_string()
    };
    let message = |message: Value| with(json!({ "messages": [message] }));
    // What `Value` can't hold.
    let raw = |name: &str, text: &str| with(json!({name: "HERE"})).replace("\"HERE\"", text);
    // Body, parameter, and a part of the message.
    let cases: Vec<(String, Option<&str>, &str)> = vec![
        (String::new(), None, "not valid JSON"),
        ("{\"model\": \"x\",".to_owned(), None, "line 1 column 14"),
        ("not json".to_owned(), None, "not valid JSON"),
        ("[]".to_owned(), None, "expected an object, found a list"),
        ("null".to_owned(), None, "expected an object, found null"),
        (
            format!("{} {{}}", with(json!({}))),
            None,
            "trailing characters",
        ),
        ("{}".to_owned(), Some("model"), "required"),
        (
            json!({"model": MODEL}).to_string(),
            Some("messages"),
            "at least one",
        ),
        (
            json!({"messages": [{"role": "user", "content": "x"}]}).to_string(),
            Some("model"),
            "required",
        ),
        (with(json!({"model": ""})), Some("model"), "required"),
        (
            with(json!({"model": 5})),
            Some("model"),
            "expected a string, found an integer",
        ),
        (
            with(json!({"messages": []})),
            Some("messages"),
            "at least one",
        ),
        (
            with(json!({"messages": "hi"})),
            Some("messages"),
            "expected a list, found a string",
        ),
        (
            message(json!("hi")),
            Some("messages[0]"),
            "expected an object, found a string",
        ),
        (
            message(json!({"content": "hi"})),
            Some("messages[0].role"),
            "required",
        ),
        (
            message(json!({"role": "user", "content": 7})),
            Some("messages[0].content"),
            "a string, a list of parts, or null",
        ),
        (
            message(json!({"role": "user", "content": {"a": 1}})),
            Some("messages[0].content"),
            "found an object",
        ),
        (
            message(json!({"role": "user", "content": ["x"]})),
            Some("messages[0].content[0]"),
            "expected an object",
        ),
        (
            message(json!({"role": "user", "content": [{"type": "text", "text": 1}]})),
            Some("messages[0].content[0].text"),
            "expected a string",
        ),
        (
            message(json!({"role": "user", "tool_calls": {}})),
            Some("messages[0].tool_calls"),
            "expected a list",
        ),
        (
            message(json!({"role": 5, "content": "hi"})),
            Some("messages[0].role"),
            "expected a string, found an integer",
        ),
        (
            message(json!({"role": ["assistant"], "content": "hi"})),
            Some("messages[0].role"),
            "found a list",
        ),
        (
            with(json!({"temperature": "hot secret"})),
            Some("temperature"),
            "expected a number, found a string",
        ),
        (
            with(json!({"temperature": 2.1})),
            Some("temperature"),
            "2.1 is out of range: 0 to 2",
        ),
        (
            with(json!({"temperature": -0.1})),
            Some("temperature"),
            "out of range",
        ),
        (with(json!({"top_p": 0})), Some("top_p"), "above 0, up to 1"),
        (
            with(json!({"top_p": 1.5})),
            Some("top_p"),
            "above 0, up to 1",
        ),
        (
            with(json!({"frequency_penalty": 2.5})),
            Some("frequency_penalty"),
            "-2 to 2",
        ),
        (
            with(json!({"presence_penalty": -3})),
            Some("presence_penalty"),
            "-2 to 2",
        ),
        (with(json!({"min_p": 2})), Some("min_p"), "0 to 1"),
        (
            with(json!({"repetition_penalty": 0})),
            Some("repetition_penalty"),
            "above 0",
        ),
        (with(json!({"top_k": -2})), Some("top_k"), "at least -1"),
        (with(json!({"n": 0})), Some("n"), "1 to 128"),
        (
            with(json!({"top_logprobs": 21})),
            Some("top_logprobs"),
            "0 to 20",
        ),
        (
            with(json!({"max_tokens": 0})),
            Some("max_tokens"),
            "at least 1",
        ),
        (
            with(json!({"max_tokens": 1.5})),
            Some("max_tokens"),
            "expected an integer of at least 1, found a number with a fraction",
        ),
        (
            with(json!({"max_tokens": 99_999_999_999_u64})),
            Some("max_tokens"),
            "too large: expected an integer of at least 1",
        ),
        (
            with(json!({"max_tokens": 1e30})),
            Some("max_tokens"),
            "too large: expected an integer of at least 1",
        ),
        (
            with(json!({"max_tokens": -99_999_999_999_i64})),
            Some("max_tokens"),
            "too small",
        ),
        (
            with(json!({"max_tokens": "50"})),
            Some("max_tokens"),
            "expected an integer of at least 1, found a string",
        ),
        (
            with(json!({"n": 99_999_999_999_u64})),
            Some("n"),
            "too large: expected an integer from 1 to 128",
        ),
        (
            with(json!({"seed": u64::MAX})),
            Some("seed"),
            "too large: expected a 64-bit integer",
        ),
        (
            raw("seed", "123456789012345678901234567890"),
            Some("seed"),
            "too large: expected a 64-bit integer",
        ),
        (
            raw("seed", "1.5"),
            Some("seed"),
            "found a number with a fraction",
        ),
        (
            raw("stop_token_ids", "[1, 1.5]"),
            Some("stop_token_ids[1]"),
            "found a number with a fraction",
        ),
        (
            raw("temperature", "NaN"),
            Some("temperature"),
            "NaN and Infinity are not JSON",
        ),
        (
            raw("temperature", "-Infinity"),
            Some("temperature"),
            "NaN and Infinity are not JSON",
        ),
        (
            raw("max_tokens", "Infinity"),
            Some("max_tokens"),
            "NaN and Infinity are not JSON",
        ),
        (
            raw("response_format", "{\"x\": {\"y\": NaN}}"),
            Some("response_format.x"),
            "NaN and Infinity are not JSON",
        ),
        (
            raw("temperature", "1e400"),
            Some("temperature"),
            "too large",
        ),
        (raw("max_tokens", "1e400"), Some("max_tokens"), "too large"),
        (
            raw("logit_bias", "{\"5\": -1e999}"),
            Some("logit_bias.5"),
            "too large",
        ),
        (
            raw("user", "\"\\ud83d\""),
            Some("user"),
            "half of a surrogate pair",
        ),
        (
            raw(
                "messages",
                "[{\"role\": \"user\", \"content\": \"x \\udc00\"}]",
            ),
            Some("messages[0].content"),
            "both halves",
        ),
        (
            raw("metadata", "[1]"),
            Some("metadata"),
            "expected an object, found a list",
        ),
        (
            raw("tool_choice", "[1]"),
            Some("tool_choice"),
            "expected a string or an object, found a list",
        ),
        (
            with(json!({"stop": 5})),
            Some("stop"),
            "a string or a list of strings",
        ),
        (
            with(json!({"stop": ["a", 5]})),
            Some("stop[1]"),
            "expected a string",
        ),
        (
            with(json!({"tools": [{"type": "function", "function": {"name": 1}}]})),
            Some("tools[0].function.name"),
            "expected a string",
        ),
        (
            with(json!({"tool_choice": 1})),
            Some("tool_choice"),
            "a string or an object",
        ),
        (
            with(json!({"stream": "yes"})),
            Some("stream"),
            "true, false or null",
        ),
        (
            with(json!({"provider": "openai"})),
            Some("provider"),
            "\"featherless\"",
        ),
        (
            with(json!({"provider": 1})),
            Some("provider"),
            "expected a string",
        ),
    ];
    for (body, param, words) in cases {
        let (status, error) = post(&gateway, "application/json", body.clone()).await;
        let error = &error["error"];
        assert_eq!(
            (status, &error["type"]),
            (400, &json!("invalid_request_error")),
            "{body}: {error}"
        );
        assert_eq!(error["param"].as_str(), param, "{body}: {error}");
        let message = error["message"].as_str().unwrap();
        assert!(message.contains(words), "{body}: {message}");
        assert!(
            !message.contains("secret"),
            "the error does not repeat the request: {message}"
        );
        if param == Some("provider") && words.contains("featherless") {
            assert_eq!(error["code"], "unknown_provider");
        }
    }
    let (status, _) = post(
        &gateway,
        "application/json",
        with(json!({"provider": null, "stop": null})),
    )
    .await;
    assert_eq!(status, 200, "null is the same as absence");
    emulator.wait_until_idle().await;
}

#[tokio::test]
async fn bytes_that_are_not_text_are_refused() {
    let emulator = Emulator::start().await;
    let gateway = Gateway::to(emulator.address).await;
    let (status, error) = post(
        &gateway,
        "application/json",
        b"{\"model\": \"\xff\"}".to_vec(),
    )
    .await;
    assert_eq!(
        (status, &error["error"]["code"]),
        (400, &json!("invalid_json"))
    );
    assert!(
        error["error"]["message"]
            .as_str()
            .unwrap()
            .contains("byte 11"),
        "{error}"
    );
    let deep = format!("{{\"messages\":{}", "[".repeat(100_000));
    assert_eq!(
        post(&gateway, "application/json", deep).await.0,
        400,
        "deep nesting does not overflow the stack"
    );
    let deep = format!(
        "{{\"unknown\":{}{}}}",
        "[".repeat(100_000),
        "]".repeat(100_000)
    );
    assert_eq!(
        post(&gateway, "application/json", deep).await.1["error"]["param"],
        "unknown"
    );
    gateway
        .ask(Door::RestUnary, &prompt(MODEL, "hi"))
        .await
        .ok();
}

#[tokio::test]
async fn a_number_without_a_fraction_is_an_integer_in_each_notation() {
    let upstream = Scripted::always(Reply::Json(
        200,
        json!({"choices": [{"message": {"content": "x"}}]}),
    ))
    .await;
    let gateway = Gateway::to(upstream.address).await;
    let body = format!(
        r#"{{"model": "{MODEL}", "messages": [{{"role": "user", "content": "hi"}}], "max_tokens": 100.0, "top_k": 4e1,
            "n": 1.0, "seed": 5.0, "stop_token_ids": [1.0, 2e3], "logit_bias": [], "metadata": [],
            "response_format": []}}"#
    );
    // With a byte order mark, as some editors write it.
    let (status, error) = post(
        &gateway,
        "application/json",
        [b"\xef\xbb\xbf", body.as_bytes()].concat(),
    )
    .await;
    assert_eq!(status, 200, "{error}");
    let sent = String::from_utf8(upstream.only_request().body).unwrap();
    for member in [
        "\"max_tokens\":100,",
        "\"top_k\":40,",
        "\"n\":1,",
        "\"seed\":5,",
        "\"stop_token_ids\":[1,2000],",
    ] {
        assert!(sent.contains(member), "{member}: {sent}");
    }
    for name in ["logit_bias", "metadata", "response_format"] {
        assert!(!sent.contains(name), "{name}: {sent}");
    }
}

#[tokio::test]
async fn ranges_hold_at_every_door() {
    let emulator = Emulator::start().await;
    let gateway = Gateway::to(emulator.address).await;
    for door in Door::ALL {
        for (name, bad, good) in [
            ("temperature", json!(2.01), json!(2)),
            ("top_p", json!(1.01), json!(1)),
            ("frequency_penalty", json!(-2.01), json!(-2)),
            ("presence_penalty", json!(2.01), json!(2)),
            ("max_tokens", json!(0), json!(1)),
        ] {
            let mut request = prompt(MODEL, "hi");
            request[name] = bad;
            let failure = gateway
                .ask(door, &request)
                .await
                .failed(Kind::Invalid, "invalid_value");
            assert_eq!(failure.param.as_deref(), Some(name), "{door:?}");
            request[name] = good;
            gateway.ask(door, &request).await.ok();
        }
        let mut request = prompt(MODEL, "hi");
        request["provider"] = json!("other");
        gateway
            .ask(door, &request)
            .await
            .failed(Kind::Invalid, "unknown_provider");
        let empty = json!({"model": MODEL, "messages": []});
        assert_eq!(
            gateway
                .ask(door, &empty)
                .await
                .failed(Kind::Invalid, "invalid_value")
                .param
                .as_deref(),
            Some("messages")
        );
        let answer = gateway
            .ask_with(
                door,
                &prompt(MODEL, "hi"),
                &[("x-request-timeout-ms", "soon")],
            )
            .await;
        answer.failed(Kind::Invalid, "invalid_value");
    }
}
