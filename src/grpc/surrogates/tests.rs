use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

/// Decodes a chunk from JSON. `<d83d>` in a text stands for a surrogate.
fn chunk<M: serde::de::DeserializeOwned>(value: &Value) -> M {
    let mut text = value.to_string();
    while let Some(at) = text.find('<') {
        text.replace_range(at..=at, "\\u");
        text.remove(at + 6);
    }
    json::decode_answer(text.as_bytes()).unwrap()
}

fn delta(choice: i32, delta: &Value, reason: Option<&str>) -> StreamChatCompletionResponse {
    chunk(&json!({"choices": [{"index": choice, "delta": delta, "finish_reason": reason}]}))
}

/// The deltas of one choice after joining. The last one ends the choice. Asserts that `extra` is
/// empty.
fn joined(deltas: &[Value]) -> Vec<ChatDelta> {
    let mut surrogates = SplitSurrogates::default();
    let chunks = deltas.iter().enumerate().map(|(place, value)| {
        let reason = (place + 1 == deltas.len()).then_some("stop");
        let chunk = surrogates.complete(delta(0, value, reason));
        let delta = chunk.choices[0].delta.clone().unwrap();
        assert!(
            !chunk.has_field_in_extra() && delta.extra.is_empty(),
            "{delta:?}"
        );
        delta
    });
    let deltas = chunks.collect();
    assert!(surrogates.0.is_empty());
    deltas
}

#[test]
fn surrogates_of_every_text_are_joined_across_deltas() {
    let in_call = |member: &str, name: &str| {
        let (member, name) = (member.to_owned(), name.to_owned());
        move |text: &str| json!({"tool_calls": [{"index": 3, &*member: {&*name: text}}]})
    };
    let plain = |name: &'static str| move |text: &str| json!({ name: text });
    type Say = Box<dyn Fn(&str) -> Value>;
    type Read = fn(&ChatDelta) -> Option<&String>;
    let texts: Vec<(Say, Read)> = vec![
        (Box::new(plain("content")), |delta| delta.content.as_ref()),
        (Box::new(plain("refusal")), |delta| delta.refusal.as_ref()),
        (Box::new(plain("reasoning")), |delta| {
            delta.reasoning.as_ref()
        }),
        (Box::new(plain("reasoning_content")), |delta| {
            delta.reasoning_content.as_ref()
        }),
        (
            Box::new(|text| json!({"function_call": {"arguments": text}})),
            |delta| delta.function_call.as_ref()?.arguments.as_ref(),
        ),
        (
            Box::new(|text| json!({"audio": {"transcript": text}})),
            |delta| delta.audio.as_ref()?.transcript.as_ref(),
        ),
        (Box::new(|text| json!({"audio": {"data": text}})), |delta| {
            delta.audio.as_ref()?.data.as_ref()
        }),
        (Box::new(in_call("function", "arguments")), |delta| {
            delta
                .tool_calls
                .first()?
                .function
                .as_ref()?
                .arguments
                .as_ref()
        }),
        (Box::new(in_call("custom", "input")), |delta| {
            delta.tool_calls.first()?.custom.as_ref()?.input.as_ref()
        }),
    ];
    for (delta_with, read) in texts {
        for (pieces, expected) in [
            (&["a<d83d>", "<de00>b", ""][..], &["a", "😀b", ""][..]),
            (&["<d83d>", "", "<de00>"], &["", "", "😀"]),
            (&["a<d83d>", "b", "c"], &["a", "\u{fffd}b", "c"]),
            (
                &["a<de00>", "<d83d><d83d>", "<de00>"],
                &["a\u{fffd}", "\u{fffd}", "😀"],
            ),
            (&["a", "b<d83d>"], &["a", "b\u{fffd}"]),
        ] {
            let deltas = joined(
                &pieces
                    .iter()
                    .map(|text| delta_with(text))
                    .collect::<Vec<_>>(),
            );
            let texts: Vec<_> = deltas
                .iter()
                .map(|delta| read(delta).map(String::as_str).unwrap())
                .collect();
            assert_eq!(texts, expected, "{pieces:?}: {deltas:?}");
        }
        // The choice ends with a delta that does not have the text.
        let deltas = joined(&[delta_with("a<d83d>"), json!({}), json!({})]);
        let texts: Vec<_> = deltas
            .iter()
            .map(|delta| read(delta).map(String::as_str))
            .collect();
        assert_eq!(texts, [Some("a"), None, Some("\u{fffd}")], "{deltas:?}");
    }
}

#[test]
fn surrogates_of_different_choices_and_calls_are_not_joined() {
    let mut surrogates = SplitSurrogates::default();
    let mut delta_with = |choice: i32, text: &str, reason: Option<&str>| {
        let chunk = surrogates.complete(delta(choice, &json!({ "content": text }), reason));
        chunk.choices[0]
            .delta
            .as_ref()
            .unwrap()
            .content
            .clone()
            .unwrap()
    };
    let texts = [
        delta_with(0, "<d83d>", None),
        delta_with(1, "<d83e>", None),
        delta_with(0, "<de00>", None),
        delta_with(1, "<dd8a>", Some("stop")),
    ];
    assert_eq!(texts, ["", "", "😀", "🦊"]);

    let call = |index: i32, id: &str, text: &str| {
        let function = json!({"arguments": text});
        json!({"tool_calls": [{"index": index, "id": id, "function": function}]})
    };
    let deltas = joined(&[
        call(0, "a", "<d83d>"),
        call(0, "b", "{}"),
        call(0, "b", "<d83d>"),
        call(0, "b", "<de00>"),
    ]);
    let texts: Vec<_> = deltas
        .iter()
        .map(|delta| {
            delta.tool_calls[0]
                .function
                .clone()
                .unwrap()
                .arguments
                .unwrap()
        })
        .collect();
    assert_eq!(
        texts,
        ["", "{}", "", "😀"],
        "a surrogate of one call is not added to the arguments of another"
    );
}

#[test]
fn surrogates_in_complete_texts_become_replacement_characters() {
    let mut surrogates = SplitSurrogates::default();
    let token = json!({
        "token": "<d83d>",
        "logprob": -1.0,
        "bytes": [1],
        "top_logprobs": [{"token": "x<de00>"}],
    });
    let part = json!({"type": "text", "text": "p<d83d>"});
    let choice = json!({
        "index": 0,
        "delta": {"content": [part], "role": "<d83d>"},
        "logprobs": {"content": [token]},
    });
    let chunk: StreamChatCompletionResponse =
        surrogates.complete(chunk(&json!({"id": "i<d83d>", "choices": [choice]})));
    let choice = &chunk.choices[0];
    let delta = choice.delta.as_ref().unwrap();
    let token = &choice.logprobs.as_ref().unwrap().content[0];
    let texts = [
        Some(&chunk.id),
        delta.role.as_ref(),
        delta.content_parts[0].text.as_ref(),
        token.token.as_ref(),
        token.top_logprobs[0].token.as_ref(),
    ];
    assert_eq!(
        texts.map(|text| text.unwrap().as_str()),
        [
            "i\u{fffd}",
            "\u{fffd}",
            "p\u{fffd}",
            "\u{fffd}",
            "x\u{fffd}"
        ]
    );
    assert!(!chunk.has_field_in_extra() && surrogates.0.is_empty());
}

#[test]
fn the_number_of_surrogates_held_back_is_bounded() {
    let mut surrogates = SplitSurrogates::default();
    for choice in 0..i32::try_from(HELD_BACK_MAX).unwrap() + 10 {
        let chunk = surrogates.complete(delta(choice, &json!({"content": "<d83d>"}), None));
        let content = chunk.choices[0]
            .delta
            .as_ref()
            .unwrap()
            .content
            .clone()
            .unwrap();
        assert_eq!(content.is_empty(), choice < HELD_BACK_MAX as i32);
    }
    assert_eq!(surrogates.0.len(), HELD_BACK_MAX);
}

proptest! {
    /// For every split of a text into pieces and for all surrogates in it, the result is the lossy
    /// decoding of UTF-16.
    #[test]
        fn a_split_text_is_joined_as_utf16_decodes_it(
        units in proptest::collection::vec(
            prop_oneof![Just(0xd83d_u16), Just(0xde00), Just(0x61), any::<u16>()],
            0..12,
        ),
        cuts in proptest::collection::vec(0_usize..12, 0..4),
    ) {
        let mut pieces = vec![String::new()];
        for (place, unit) in units.iter().enumerate() {
            cuts.iter()
                .filter(|cut| **cut == place)
                .for_each(|_| pieces.push(String::new()));
            pieces.last_mut().unwrap().push_str(&format!("<{unit:04x}>"));
        }
        let texts = pieces.iter().enumerate().map(|(place, text)| {
            let reason = (place + 1 == pieces.len()).then_some("stop");
            chunk(&json!({"choices": [{"index": 0, "text": text, "finish_reason": reason}]}))
        });
        let texts: Vec<StreamCompletionResponse> = texts.collect();
        let mut surrogates = SplitSurrogates::default();
        let completion: String = texts
            .into_iter()
            .map(|chunk| surrogates.complete(chunk).choices[0].text.clone())
            .collect();
        let contents: Vec<_> =
            pieces.iter().map(|text| json!({ "content": text })).collect();
        let content: String = joined(&contents)
            .iter()
            .map(|delta| delta.content.as_deref().unwrap())
            .collect();
        let expected = String::from_utf16_lossy(&units);
        prop_assert_eq!(&completion, &expected);
        prop_assert_eq!(&content, &expected);
    }
}
