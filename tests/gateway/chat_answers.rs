//! What `featherwire chat` shows of answers that are not plain text.

use serde_json::{Value, json};

use crate::support::{
    Gateway, MODEL, Reply, Scripted,
    program::{Ended, Folder, featherwire, run},
    scripted::{chunk, done, event},
};

/// The chunk of another answer than the first.
fn of_another(delta: &Value) -> String {
    json!({
        "id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1_700_000_000,
        "model": MODEL, "choices": [{"index": 1, "delta": delta, "finish_reason": "stop"}]
    })
    .to_string()
}

/// Asks for an answer of these chunks. Its output is not a terminal.
async fn asked(mut events: Vec<String>) -> Ended {
    events.push(done());
    let upstream = Scripted::always(Reply::Events(events)).await;
    let gateway = Gateway::to(upstream.address).await;
    run(&mut featherwire(&[
        "chat",
        "--gateway",
        &gateway.url(""),
        "hello",
    ]))
    .await
}

#[tokio::test]
async fn each_shape_of_an_answer_is_shown_or_named() {
    let end = |reason: &str| event(&json!({}), Some(reason));
    let delta = |delta: Value| event(&delta, None);
    let call = |index: i32, id: Option<&str>, name: Option<&str>, arguments: &str| {
        let mut call = json!({"index": index, "function": {"arguments": arguments}});
        if let Some(id) = id {
            call["id"] = json!(id);
            call["type"] = json!("function");
        }
        if let Some(name) = name {
            call["function"]["name"] = json!(name);
        }
        call
    };
    let custom = json!({"index": 2, "id": "c", "type": "custom",
        "custom": {"name": "shell", "input": "ls"}});
    for (name, events, out, err) in [
        (
            "a refusal",
            vec![
                delta(json!({"role": "assistant", "refusal": "I will"})),
                delta(json!({"refusal": " not"})),
                end("stop"),
            ],
            "I will not\n",
            "featherwire: the model refuses to answer\n",
        ),
        (
            "content parts",
            vec![
                delta(json!({"content": [{"type": "text", "text": "two "}]})),
                delta(json!({"content": [{"type": "text", "text": "parts"},
                    {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}},
                    {"type": "refusal", "refusal": "!"}]})),
                end("stop"),
            ],
            "two parts!\n",
            "featherwire: the model refuses to answer\n\
             featherwire: the answer has more than text: a part of the kind `image_url` \
             (--json prints all)\n",
        ),
        (
            "alternating pieces of calls",
            vec![
                chunk("I look."),
                delta(
                    json!({"tool_calls": [call(0, Some("a"), Some("weather"), "{\"city\":"),
                    call(1, Some("b"), Some("time"), "{")]}),
                ),
                delta(json!({"tool_calls": [call(1, None, None, "}"),
                    call(0, None, None, "\"Oslo\"}"), custom]})),
                end("tool_calls"),
            ],
            "I look.\n→ weather {\"city\":\"Oslo\"}\n→ time {}\n→ shell ls\n",
            "",
        ),
        (
            "a call in the form before there were tools",
            vec![
                delta(json!({"function_call": {"name": "weather", "arguments": ""}})),
                delta(json!({"function_call": {"arguments": "{}"}})),
                end("function_call"),
            ],
            "→ weather {}\n",
            "",
        ),
        (
            "audio",
            vec![
                delta(json!({"audio": {"id": "x", "transcript": "spoken", "data": "AA=="}})),
                end("stop"),
            ],
            "spoken\n",
            "featherwire: the answer has more than text: audio (--json prints all)\n",
        ),
        (
            "sources, and another answer",
            vec![
                chunk("read"),
                of_another(&json!({"content": "other"})),
                delta(json!({"annotations": [{"type": "url_citation"}]})),
                end("stop"),
            ],
            "read\n",
            "featherwire: the answer has more than text: other answers, sources \
             (--json prints all)\n",
        ),
        (
            "a content filter",
            vec![chunk("half"), end("content_filter")],
            "half\n",
            "featherwire: a content filter ended the answer\n",
        ),
        (
            "another end",
            vec![chunk("half"), end("out_of\u{1b}[2Jpages")],
            "half\n",
            "featherwire: the answer ended with the reason `out_of[2Jpages`\n",
        ),
        (
            "nothing",
            vec![
                delta(json!({"role": "assistant", "content": ""})),
                end("stop"),
            ],
            "",
            "featherwire: the answer has no text\n",
        ),
        (
            "a member that the contract does not name",
            vec![delta(json!({"images": [1]})), end("stop")],
            "",
            "featherwire: the answer has more than text: the member `images` \
             (--json prints all)\n",
        ),
        (
            "both names of the reasoning, of which one is empty",
            vec![
                delta(json!({"reasoning_content": "", "reasoning": "hm"})),
                chunk("yes"),
                end("stop"),
            ],
            "yes\n",
            "hm\n\n",
        ),
    ] {
        let ended = asked(events).await;
        assert_eq!(
            (ended.code, ended.out.as_str(), ended.err.as_str()),
            (Some(0), out, err),
            "{name}"
        );
    }
}

#[tokio::test]
async fn log_probabilities_that_a_saved_conversation_asks_for_are_named() {
    let mut one = serde_json::from_str::<Value>(&chunk("yes")).unwrap();
    one["choices"][0]["logprobs"] = json!({"content": [{"token": "yes", "logprob": -0.5}]});
    let events = vec![one.to_string(), event(&json!({}), Some("stop")), done()];
    let upstream = Scripted::always(Reply::Events(events)).await;
    let gateway = Gateway::to(upstream.address).await;
    let folder = Folder::new();
    let file = folder.0.join("saved.json");
    let saved = json!({"model": MODEL, "messages": [], "logprobs": true});
    std::fs::write(&file, saved.to_string()).unwrap();
    let file = file.to_str().unwrap();
    let arguments = [
        "chat",
        "--load",
        file,
        "--gateway",
        &gateway.url(""),
        "hello",
    ];
    let ended = run(&mut featherwire(&arguments)).await;
    assert_eq!((ended.code, ended.out.as_str()), (Some(0), "yes\n"));
    assert!(ended.err.contains("log probabilities"), "{}", ended.err);
}

/// Only a terminal must be protected from a text.
#[tokio::test]
async fn a_redirected_answer_is_the_text_of_the_model() {
    let text = "a\u{202e}b\u{2066}c\r\n\u{1b}[1md\u{9b}\u{7}";
    let reasoning = event(&json!({"reasoning_content": "hm\u{1b}[2J"}), None);
    let ended = asked(vec![
        reasoning,
        chunk(text),
        event(&json!({}), Some("stop")),
    ])
    .await;
    let (out, err) = (ended.out, ended.err);
    assert_eq!(
        (out.as_str(), err.as_str()),
        (&*format!("{text}\n"), "hm\u{1b}[2J\n\n")
    );
}
