use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::proto::v1::{StreamChatCompletionResponse, StreamCompletionResponse};

/// Decodes a stream with templates: its messages, and how many of them matched.
fn read<M: SingleText + DeserializeOwned>(events: &[String]) -> (Vec<Chunk<M>>, usize) {
    let mut reader = TemplateReader::default();
    let mut matched = 0;
    let messages = events.iter().map(|event| {
        if let Some(repeat) = reader.read(event.as_bytes()) {
            matched += 1;
            return Chunk::Repeat(repeat);
        }
        let mut message: M = decode_answer(event.as_bytes()).unwrap();
        if reader.is_learning(&mut message) {
            reader.learn(event.as_bytes(), message.clone(), message.clone());
        }
        message.into()
    });
    let messages = messages.collect();
    (messages, matched)
}

/// Checks that a stream is decoded and encoded as without templates. Returns how many of its
/// messages matched.
fn check<M>(events: &[String]) -> usize
where
    M: SingleText + Serialize + DeserializeOwned + std::fmt::Debug,
{
    let (messages, matched) = read::<M>(events);
    let mut writer = TemplateWriter::default();
    let mut repeats = RepeatBuffer::default();
    for (event, chunk) in events.iter().zip(messages) {
        let expected: M = decode_answer(event.as_bytes()).unwrap();
        assert_eq!(chunk.clone().into_message(), expected, "{event}");
        if let Chunk::Repeat(repeat) = chunk.clone() {
            assert_eq!(*repeats.complete(repeat), expected, "{event}");
        }
        let (mut written, mut in_full) = (b"data: ".to_vec(), b"data: ".to_vec());
        writer.write(chunk, &mut written).unwrap();
        encode_answer(&expected, &mut in_full).unwrap();
        assert_eq!(
            String::from_utf8(written).unwrap(),
            String::from_utf8(in_full).unwrap()
        );
    }
    matched
}

fn chunk(choice: &Value) -> String {
    let chunk = json!({"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 7,
        "model": "org/model", "choices": [choice]});
    chunk.to_string()
}

fn delta(delta: &Value) -> String {
    chunk(&json!({"index": 0, "delta": delta, "logprobs": null, "finish_reason": null}))
}

const WORDS: [&str; 6] = ["Hello", " wörld", "🦀", " a", "b", " {}[]:,"];

#[test]
fn the_chunks_of_a_normal_stream_match_after_its_first_words() {
    let call = |text: &str| json!({"tool_calls": [{"index": 0, "function": {"arguments": text}}]});
    let ways: [&dyn Fn(&str) -> Value; 4] = [
        &|text| json!({ "content": text }),
        &|text| json!({"content": "", "reasoning_content": text}),
        &|text| json!({"role": "assistant", "content": null, "reasoning": text}),
        &call,
    ];
    for way in ways {
        let mut events = vec![delta(&json!({"role": "assistant", "content": ""}))];
        events.extend(WORDS.map(|word| delta(&way(word))));
        events.push(chunk(
            &json!({"index": 0, "delta": {}, "finish_reason": "stop"}),
        ));
        let matched = check::<StreamChatCompletionResponse>(&events);
        assert_eq!(matched, WORDS.len() - 1, "{events:?}");
    }
    let text = |text| chunk(&json!({"index": 0, "text": text, "finish_reason": null}));
    let matched = check::<StreamCompletionResponse>(&WORDS.map(text));
    assert_eq!(matched, WORDS.len() - 1);
}

#[test]
fn a_member_that_changes_sometimes_costs_one_template_each_time() {
    let of_second = |second: usize| {
        let events = (0..20).map(move |n| {
            delta(&json!({"content": format!("word {n}")}))
                .replace("\"created\":7", &format!("\"created\":{second}"))
        });
        events.collect::<Vec<_>>()
    };
    let events: Vec<_> = (1..=20).flat_map(of_second).collect();
    assert_eq!(
        check::<StreamChatCompletionResponse>(&events),
        events.len() - 20
    );
}

#[test]
fn a_stream_that_always_changes_is_soon_decoded_completely() {
    let mut reader = TemplateReader::<StreamChatCompletionResponse>::default();
    let mut learns = 0;
    for n in 0..100 {
        let event = delta(&json!({"content": "word", "n": n}));
        assert!(reader.read(event.as_bytes()).is_none());
        let mut message: StreamChatCompletionResponse = decode_answer(event.as_bytes()).unwrap();
        if reader.is_learning(&mut message) {
            reader.learn(event.as_bytes(), message.clone(), message);
            learns += 1;
        }
    }
    assert_eq!(learns, LEARNS_MAX);
}

#[test]
fn a_chunk_that_only_looks_similar_is_decoded_completely() {
    let usual = delta(&json!({"content": "Hello"}));
    let with = |text: &str| usual.replace("Hello", text);
    let odd = [
        // Escapes, and the end of the text before the end of what looks like it.
        with(r"\u0041"),
        with(r"\n"),
        with(r#"a","content":"b"#),
        with(r#"a","refusal":"b"#),
        with(r#"a","n":{"a":"b"},"m":"c"#),
        with(""),
        usual.replace(r#""content":"Hello""#, r#""content":null"#),
        usual.replace("7", "8"),
        format!(" {usual}"),
    ];
    let mut events = vec![usual.clone(), usual];
    events.extend(odd);
    assert_eq!(check::<StreamChatCompletionResponse>(&events), 1);
}

#[test]
fn a_text_that_occurs_twice_makes_no_template() {
    for text in ["org/model", "content", "id", "index"] {
        let event = delta(&json!({ "content": text }));
        assert_eq!(
            check::<StreamChatCompletionResponse>(&[event.clone(), event]),
            0
        );
    }
    // Of two members with one name the last counts, so the first is none that may change.
    let twice = delta(&json!({"content": "Hello"}))
        .replace(r#""content""#, r#""content":"Good","content""#);
    let other = twice.replace("Good", "Bad");
    let events = [twice.clone(), twice.replace("Hello", "Bye"), other];
    assert_eq!(check::<StreamChatCompletionResponse>(&events), 1);
}

#[test]
fn the_sign_of_a_log_probability_of_zero_is_kept() {
    let event = |logprob: &str| {
        delta(&json!({"content": "Hello"})).replace(
            "\"logprobs\":null",
            &format!(r#""logprobs":{{"content":[{{"token":"x","logprob":{logprob}}}]}}"#),
        )
    };
    let events = ["0.0", "0.0", "-0.0"].map(event);
    assert!(events[2].contains("-0.0"));
    check::<StreamChatCompletionResponse>(&events);
}

#[test]
fn bytes_that_are_not_utf8_do_not_match() {
    let mut reader = TemplateReader::<StreamChatCompletionResponse>::default();
    let event = delta(&json!({"content": "Hello"}));
    let message: StreamChatCompletionResponse = decode_answer(event.as_bytes()).unwrap();
    reader.learn(event.as_bytes(), message.clone(), message);
    assert!(reader.read(event.as_bytes()).is_some());
    let [before, after] = event.split("Hello").collect::<Vec<_>>()[..] else {
        panic!("{event}");
    };
    let broken = [before.as_bytes(), b"\xff", after.as_bytes()].concat();
    assert!(reader.read(&broken).is_none());
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => "[ a-z]{1,8}",
        1 => any::<String>(),
        1 => Just(String::new()),
        1 => Just("\"},{\"content\":\"".to_owned()),
    ]
}

fn deltas() -> impl Strategy<Value = Value> {
    prop_oneof![
        6 => text().prop_map(|text| json!({ "content": text })),
        2 => text().prop_map(|text| json!({"content": null, "reasoning_content": text})),
        1 => (text(), text()).prop_map(|(a, b)| json!({"content": a, "reasoning": b})),
        1 => (text(), text()).prop_map(|(a, b)| json!({"reasoning": b, "content": a})),
        1 => text().prop_map(|text| json!({"content": "a", "later": text})),
        1 => text().prop_map(|text| json!({"tool_calls": [{"function": {"arguments": text}}]})),
        1 => text().prop_map(|text| json!({"content": [text]})),
        1 => Just(json!({})),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_stream_is_decoded_and_encoded_as_without_templates(
        deltas in proptest::collection::vec((deltas(), 0..12, 0..12), 1..40),
    ) {
        let events: Vec<_> = deltas.iter().map(|(value, created, more)| {
            // Usually the same, and now and then not.
            let created = format!("\"created\":{}", *created / 11);
            let event = delta(value).replace("\"created\":7", &created);
            if *more == 0 {
                event.replace("\"finish_reason\":null", "\"finish_reason\":\"stop\"")
            } else {
                event
            }
        }).collect();
        check::<StreamChatCompletionResponse>(&events);
    }
}
