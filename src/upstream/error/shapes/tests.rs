use super::*;

fn said(body: &str) -> (String, Option<String>, Option<u16>) {
    let said = ErrorBody::parse(body.as_bytes());
    (
        said.message.unwrap_or_default(),
        said.param,
        said.status.map(|status| status.as_u16()),
    )
}

#[test]
fn the_message_the_field_and_the_status_are_read_from_every_shape_of_an_error() {
    let param = |param: &str| Some(param.to_owned());
    for (body, expected) in [
        (
            r#"{"error":{"message":"a","type":"t","param":"p","code":null}}"#,
            ("a", param("p"), None),
        ),
        (
            r#"{"error":{"message":"a","code":429}}"#,
            ("a", None, Some(429)),
        ),
        (
            r#"{"error":{"message":"a","code":"429"}}"#,
            ("a", None, Some(429)),
        ),
        (
            r#"{"error":{"code":404,"message":"a","status":"NOT_FOUND"}}"#,
            ("a", None, Some(404)),
        ),
        (
            r#"{"error":{"errors":[{"message":"a","reason":"b"}]}}"#,
            ("a", None, None),
        ),
        (r#"{"error":[{"msg":"a"},"b"]}"#, ("a; b", None, None)),
        (
            r#"{"statusCode":401,"message":"a","code":"bad_key","error":"Unauthorized"}"#,
            ("a", None, Some(401)),
        ),
        (
            r#"{"statusCode":400,"message":["a","b"],"error":"Bad Request"}"#,
            ("a; b", None, Some(400)),
        ),
        (r#"{"error":"a"}"#, ("a", None, None)),
        (r#"{"error":true,"message":"a"}"#, ("a", None, None)),
        (r#"{"error":503,"reason":"a"}"#, ("a", None, Some(503))),
        (
            r#"{"object":"error","message":"a","type":"BadRequestError","param":null,"code":400}"#,
            ("a", None, Some(400)),
        ),
        (r#"{"detail":"a"}"#, ("a", None, None)),
        (
            r#"{"detail":{"message":"a","status_code":"409"}}"#,
            ("a", None, Some(409)),
        ),
        (
            r#"{"detail":[{"loc":["body","messages",0,"content"],"msg":"a","type":"missing"},{"loc":["query"],"msg":"b"}]}"#,
            (
                "messages[0].content: a; query: b",
                param("messages[0].content"),
                Some(422),
            ),
        ),
        (r#"{"errors":["a","b"]}"#, ("a; b", None, None)),
        (
            r##"{"errors":[{"detail":"a","pointer":"#/messages/0"}]}"##,
            ("messages[0]: a", param("messages[0]"), Some(422)),
        ),
        (
            r#"{"errors":{"top_p":["a","b"],"n":"c"}}"#,
            ("n: c; top_p: a; b", param("n"), None),
        ),
        (
            r#"{"type":"https://example.com/e","title":"t","detail":"a","status":422}"#,
            ("a", None, Some(422)),
        ),
        (
            r#"{"type":"about:blank","title":"a","status":404}"#,
            ("a", None, Some(404)),
        ),
        (
            r#"{"type":"error","error":{"type":"overloaded_error","message":"a"}}"#,
            ("a", None, None),
        ),
        (r#"{"msg":"a"}"#, ("a", None, None)),
        (r#""a""#, ("a", None, None)),
        (r#"["a",null,{"message":"b"}]"#, ("a; b", None, None)),
        ("[1,2,3,4,5,6,7]", ("and 2 more", None, None)),
        ("  a plain text.\n", ("a plain text", None, None)),
        ("\u{feff}{\"error\":\"a\"}", ("a", None, None)),
        (
            r#"{"error":{"message":"\ud83e","later":1e999}}"#,
            ("\u{fffd}\u{fffd}\u{fffd}", None, None),
        ),
        (
            r#"{"\ud800":1,"error":"first","error":"a"}"#,
            ("a", None, None),
        ),
        ("<html>a</html>", ("", None, None)),
        ("", ("", None, None)),
        ("{}", ("", None, None)),
        ("null", ("", None, None)),
        ("7", ("", None, None)),
    ] {
        let (message, param, status) = expected;
        assert_eq!(said(body), (message.to_owned(), param, status), "{body}");
    }
    let deep = format!(
        "{}\"a\"{}",
        r#"{"error":"#.repeat(50_000),
        "}".repeat(50_000)
    );
    assert_eq!(
        said(&deep).0,
        "",
        "an error with 100,000 nested brackets does not overflow the stack"
    );
}

#[test]
fn types_and_codes_are_words() {
    let words = |body: &str| {
        let said = ErrorBody::parse(body.as_bytes());
        (
            said.r#type.unwrap_or_default(),
            said.code.unwrap_or_default(),
        )
    };
    for (body, r#type, code) in [
        (
            r#"{"error":{"type":"rate_limit_error","code":"x_y"}}"#,
            "rate_limit_error",
            "x_y",
        ),
        (
            r#"{"type":"error","error":{"type":"overloaded_error"}}"#,
            "overloaded_error",
            "",
        ),
        (
            r#"{"error":{"status":"RESOURCE_EXHAUSTED"}}"#,
            "resource_exhausted",
            "",
        ),
        (
            r#"{"object":"error","type":"NotFoundError","code":404}"#,
            "not_found_error",
            "",
        ),
        (
            r#"{"error":{"code":"Not a word"},"code":"OuterCode"}"#,
            "",
            "outer_code",
        ),
    ] {
        assert_eq!(words(body), (r#type.to_owned(), code.to_owned()), "{body}");
    }
}

#[test]
fn a_success_is_an_error_only_if_it_says_so_and_has_nothing_of_an_answer() {
    let message = |event: &str| {
        ErrorBody::parse_success(event.as_bytes()).map(|said| said.message.unwrap_or_default())
    };
    for (event, expected) in [
        (r#"{"error":"a"}"#, "a"),
        (r#"{"error":"a","choices":[{"index":0}]}"#, "a"),
        (r#"{"error":true,"id":"x"}"#, ""),
        (r#"{"object":"error","message":"a"}"#, "a"),
        (r#"{"object":"error"}"#, ""),
        (r#"{"detail":"a"}"#, "a"),
        (r#"{"detail":[{"loc":["body"],"msg":"a"}]}"#, "a"),
        (r#"{"message":"a","statusCode":500}"#, "a"),
        (r#"{"choices":[],"message":"a"}"#, "a"),
        (r#"[{"error":{"message":"a","code":503}}]"#, "a"),
        (r#"[null,{"object":"error","message":"a"}]"#, "a"),
    ] {
        assert_eq!(message(event).as_deref(), Some(expected), "{event}");
    }
    for error in [
        "\"\"",
        "\" \"",
        "{}",
        "{ }",
        "false",
        "null",
        "[]",
        "0",
        "[null]",
        r#"{"message":"","code":0}"#,
    ] {
        assert_eq!(
            message(&format!(r#"{{"error":{error},"choices":[]}}"#)),
            None,
            "{error}"
        );
    }
    for event in [
        r#"{"choices":[{"index":0}],"message":"a"}"#,
        r#"{"object":"chat.completion.chunk","message":"a"}"#,
        r#"{"usage":{"total_tokens":1},"detail":"a"}"#,
        r#"{"used_cost":4,"message":"a"}"#,
        r#"{"type":"ping"}"#,
        r#"{"error":"first","error":null}"#,
        r#"["error"]"#,
        r#"[[{"error":"a"}]]"#,
        r#"[{"choices":[]}]"#,
        "error",
        "",
    ] {
        assert_eq!(message(event), None, "{event}");
    }
}
