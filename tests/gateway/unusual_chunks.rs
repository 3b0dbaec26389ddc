//! Streams with chunks that differ slightly from the API: their content is not lost, and is decoded
//! as in a unary answer.

use featherwire::error::Kind;
use serde_json::{Value, json};

use crate::support::{
    Door, Gateway, MODEL, Reply, Scripted,
    door::VIA_STREAM,
    prompt,
    scripted::{STREAM_HEAD, Then, chunk, chunked, done, event, finish, whole},
};

/// The exact text of the REST door.
async fn rest(gateway: &Gateway, is_stream: bool, headers: &[(&str, &str)]) -> (u16, String) {
    let mut request = prompt(MODEL, "hi");
    request["stream"] = json!(is_stream);
    let mut post = gateway.post_request("/v1/chat/completions", request);
    for (name, value) in headers {
        post = post.header(*name, *value);
    }
    let answer = post.send().await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

#[tokio::test]
async fn an_error_without_a_field_name_ends_the_stream_and_keeps_its_message() {
    let error = r#"{"error":{"message":"boo","type":"t","param":null,"code":null}}"#;
    let half = format!("data: {}\n\n", chunk("half"));
    for (events, end) in [
        (format!("{half}{error}\n\n"), Then::Silence),
        (format!("{half}{error}\n"), Then::Silence),
        (
            format!("{half}{error}\r\n\r\ndata: [DONE]\n\n"),
            Then::Silence,
        ),
        (format!("{half}event: error\n{error}\n\n"), Then::Silence),
        (format!("{half}[{error}]\n"), Then::Silence),
        (format!("{half}{error}"), Then::Next),
        (format!("{half}data: {}\n{error}", chunk("cut")), Then::Next),
    ] {
        let last = if matches!(end, Then::Next) {
            "0\r\n\r\n"
        } else {
            ""
        };
        let wire = format!("{STREAM_HEAD}{}{last}", chunked(&events));
        let upstream = Scripted::always(Reply::Wire(wire.into_bytes(), end)).await;
        let gateway = Gateway::to(upstream.address).await;
        for door in Door::ALL {
            let answer = gateway
                .ask_with(door, &prompt(MODEL, "hi"), &VIA_STREAM)
                .await;
            assert_eq!(
                answer.content,
                if door.is_stream() { "half" } else { "" },
                "{door:?} {events:?}"
            );
            let failure = answer.failed(Kind::Upstream, "upstream_stream_failed");
            assert!(
                failure.message.contains("boo"),
                "{door:?} {events:?}: {failure:?}"
            );
        }
        upstream.wait_until_idle().await;
    }
    // The same before the answer begins: a refusal keeps its meaning.
    let refusal = r#"{"error":{"message":"boo","code":"429"}}"#;
    let wire = format!("{STREAM_HEAD}{}0\r\n\r\n", chunked(&format!("{refusal}\n")));
    let upstream = Scripted::always(Reply::Wire(wire.into_bytes(), Then::Next)).await;
    let gateway = Gateway::to(upstream.address).await;
    for door in Door::STREAMS {
        let failure = gateway
            .ask(door, &prompt(MODEL, "hi"))
            .await
            .failure
            .unwrap();
        assert!(
            failure.kinds.contains(&Kind::Saturated) && failure.message.contains("boo"),
            "{door:?}: {failure:?}"
        );
    }
}

#[tokio::test]
async fn json_without_a_field_name_that_is_not_an_error_is_ignored() {
    let noise = "{\"type\":\"ping\"}\n\n[1]\n{broken\n\n";
    let event = |data: String| format!("data: {data}\n\n");
    let events = [
        noise.to_owned(),
        event(chunk("hi")),
        noise.to_owned(),
        event(finish()),
        event(done()),
    ]
    .concat();
    let wire = format!("{STREAM_HEAD}{}0\r\n\r\n", chunked(&events));
    let upstream = Scripted::always(Reply::Wire(wire.into_bytes(), Then::Next)).await;
    let gateway = Gateway::to(upstream.address).await;
    for door in Door::STREAMS {
        assert_eq!(
            gateway.ask(door, &prompt(MODEL, "hi")).await.ok().content,
            "hi",
            "{door:?}"
        );
    }
}

#[tokio::test]
async fn a_finish_reason_that_is_not_a_string_ends_streamed_and_whole_answers_unchanged() {
    for reason in ["7", "true", r#"{"type":"stop"}"#, r#"["stop"]"#] {
        let mut answer = whole("hi");
        answer["choices"][0]["finish_reason"] = serde_json::from_str(reason).unwrap();
        let upstream = Scripted::always(Reply::Json(200, answer)).await;
        let gateway = Gateway::to(upstream.address).await;
        let expected = format!(r#""finish_reason":{reason}"#);
        let (status, text) = rest(&gateway, false, &[]).await;
        assert!(status == 200 && text.contains(&expected), "{text}");
        for door in [Door::GrpcUnary, Door::WebUnary] {
            assert_eq!(
                gateway.ask(door, &prompt(MODEL, "hi")).await.content,
                "hi",
                "{door:?} {reason}"
            );
        }
        let last = finish().replace(r#""finish_reason":"stop""#, &expected);
        assert!(last.contains(&expected), "{last}");
        for events in [
            vec![chunk("hi"), last.clone(), done()],
            vec![chunk("hi"), last.clone()],
        ] {
            upstream.set_reply(Reply::Events(events));
            let (_, text) = rest(&gateway, true, &[]).await;
            assert!(
                text.contains(&expected) && text.ends_with("data: [DONE]\n\n"),
                "{text}"
            );
            let (status, text) = rest(&gateway, false, &VIA_STREAM).await;
            assert!(
                status == 200 && text.contains(&expected) && text.contains(r#""content":"hi""#),
                "{text}"
            );
            for door in Door::ALL {
                let answer = gateway
                    .ask_with(door, &prompt(MODEL, "hi"), &VIA_STREAM)
                    .await;
                assert!(
                    answer.failure.is_none() && answer.content == "hi",
                    "{door:?} {reason}: {answer:?}"
                );
            }
        }
        upstream.wait_until_idle().await;
    }
}

#[tokio::test]
async fn an_empty_finish_reason_of_any_type_does_not_end_a_stream() {
    for reason in ["false", "0", "[]", "{}", "null", "\"\""] {
        let piece = chunk("hi").replace(
            r#""finish_reason":null"#,
            &format!(r#""finish_reason":{reason}"#),
        );
        let upstream = Scripted::always(Reply::Events(vec![piece.clone(), piece])).await;
        let gateway = Gateway::to(upstream.address).await;
        for door in Door::STREAMS {
            gateway
                .ask(door, &prompt(MODEL, "hi"))
                .await
                .failed(Kind::Upstream, "upstream_stream_cut");
        }
    }
}

#[tokio::test]
async fn text_in_place_of_a_delta_is_accumulated_completely() {
    let piece = |text: &str, reason: Value| {
        let choice = json!({"index": 0, "text": text, "finish_reason": reason});
        json!({"id": "x", "object": "chat.completion.chunk", "created": 1, "model": MODEL,
            "choices": [choice]})
        .to_string()
    };
    let no = Value::Null;
    let pieces = vec![
        piece("ha", no.clone()),
        piece("ha", no.clone()),
        piece(" end", no),
        piece("", json!("stop")),
        done(),
    ];
    let same = vec![piece("ha", Value::Null), piece("ha", json!("stop")), done()];
    for (events, text) in [(pieces, "haha end"), (same, "haha")] {
        let upstream = Scripted::always(Reply::Events(events)).await;
        let gateway = Gateway::to(upstream.address).await;
        let (status, answer) = rest(&gateway, false, &VIA_STREAM).await;
        let answer: Value = serde_json::from_str(&answer).unwrap();
        assert_eq!(status, 200, "{answer}");
        assert_eq!(answer["choices"][0]["text"], json!(text), "{answer}");
        assert_eq!(
            answer["choices"][0]["finish_reason"],
            json!("stop"),
            "{answer}"
        );
    }
}

#[tokio::test]
async fn an_error_about_a_role_that_is_not_a_string_names_its_place_in_streamed_and_whole_answers()
{
    for role in [
        json!(7),
        json!({"name": "assistant"}),
        json!(["assistant"]),
        json!(false),
    ] {
        let mut answer = whole("hi");
        answer["choices"][0]["message"]["role"] = role.clone();
        let upstream = Scripted::always(Reply::Json(200, answer)).await;
        let gateway = Gateway::to(upstream.address).await;
        for door in [Door::RestUnary, Door::GrpcUnary, Door::WebUnary] {
            assert_eq!(
                gateway.ask(door, &prompt(MODEL, "hi")).await.ok().role,
                "assistant",
                "{door:?} {role}"
            );
        }
        let first = event(&json!({"role": role, "content": ""}), None);
        upstream.set_reply(Reply::Events(vec![first, chunk("hi"), finish(), done()]));
        for door in Door::ALL {
            let answer = gateway
                .ask_with(door, &prompt(MODEL, "hi"), &VIA_STREAM)
                .await
                .ok();
            assert_eq!(
                (answer.role.as_str(), answer.content.as_str()),
                ("assistant", "hi"),
                "{door:?} {role}"
            );
        }
        upstream.wait_until_idle().await;
    }
}
