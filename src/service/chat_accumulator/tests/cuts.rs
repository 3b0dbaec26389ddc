//! Answers that are cut into deltas in any way.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::raw_message;

/// How an engine writes the pieces of one call.
#[derive(Clone, Copy, Debug)]
struct Style {
    /// Whether each call has an index of its own; else all have 0, or none.
    index: Option<bool>,
    repeats_id: bool,
    repeats_name: bool,
    repeats_role: bool,
}

/// The JSON of a text, cut at these places of its UTF-16 form, which may be within a character.
fn cut(text: &str, places: &[prop::sample::Index]) -> Vec<String> {
    let units: Vec<u16> = text.encode_utf16().collect();
    let mut places: Vec<_> = places
        .iter()
        .map(|place| place.index(units.len() + 1))
        .collect();
    places.extend([0, units.len()]);
    places.sort_unstable();
    let escaped = |units: &[u16]| {
        units
            .iter()
            .map(|unit| format!("\\u{unit:04x}"))
            .collect::<String>()
    };
    places
        .windows(2)
        .map(|ends| format!("\"{}\"", escaped(&units[ends[0]..ends[1]])))
        .collect()
}

/// The texts of an answer, the arguments of its calls, where they are cut, the order of pieces, and
/// the style.
type CutAnswer = (
    Vec<Option<String>>,
    Vec<String>,
    Vec<prop::sample::Index>,
    Vec<u8>,
    Style,
);

fn cut_answer() -> impl Strategy<Value = CutAnswer> {
    let text = || {
        prop::collection::vec(prop_oneof!["[a-z\"{}]", "[😀é漢\n]"], 0..8)
            .prop_map(|words| words.concat())
    };
    let style = (
        any::<Option<bool>>(),
        any::<bool>(),
        any::<bool>(),
        any::<bool>(),
    );
    let style = style.prop_map(|(index, repeats_id, repeats_name, repeats_role)| Style {
        index,
        // Ids must be repeated where nothing else tells interleaved calls apart.
        repeats_id: repeats_id || index != Some(true),
        repeats_name,
        repeats_role,
    });
    (
        prop::collection::vec(prop::option::of(text()), 4),
        prop::collection::vec(text(), 0..4),
        prop::collection::vec(any::<prop::sample::Index>(), 0..5),
        prop::collection::vec(any::<u8>(), 1..40),
        style,
    )
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 300,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn an_answer_cut_into_deltas_in_any_way_adds_up_to_itself(
        (texts, arguments, places, order, style) in cut_answer()
    ) {
        const NAMES: [&str; 4] = ["content", "refusal", "reasoning", "reasoning_content"];
        let mut expected = json!({"role": "assistant", "content": null, "refusal": null});
        // One queue of deltas for each text and each call; pieces of one queue stay in order.
        let mut queues: Vec<std::collections::VecDeque<String>> = Vec::new();
        for (name, text) in NAMES.iter().zip(&texts) {
            let Some(text) = text else { continue };
            expected[name] = json!(text);
            let pieces = cut(text, &places).into_iter();
            queues.push(pieces.map(|piece| format!(r#""{name}":{piece}"#)).collect());
        }
        for (number, text) in arguments.iter().enumerate() {
            let pieces = cut(text, &places).into_iter().enumerate().map(|(at, piece)| {
                let index = match style.index {
                    Some(true) => format!(r#""index":{number},"#),
                    Some(false) => r#""index":0,"#.to_owned(),
                    None => String::new(),
                };
                let id = if at == 0 || style.repeats_id {
                    format!(r#""id":"call-{number}","#)
                } else {
                    String::new()
                };
                let name = if at == 0 || style.repeats_name { r#""name":"f","# } else { "" };
                format!(r#""tool_calls":[{{{index}{id}"function":{{{name}"arguments":{piece}}}}}]"#)
            });
            queues.push(pieces.collect());
        }
        if !arguments.is_empty() {
            let calls = arguments.iter().enumerate().map(|(number, text)| {
                json!({"id": format!("call-{number}"), "function": {"name": "f", "arguments": text}})
            });
            expected["tool_calls"] = calls.collect();
            if expected["content"] == json!("") {
                expected["content"] = Value::Null;
            }
        }
        // Calls that no index tells apart keep the order in which they begin.
        let mut deltas = vec![r#"{"role":"assistant"}"#.to_owned()];
        if style.index != Some(true) {
            let first = queues.len() - arguments.len();
            let fronts = queues[first..].iter_mut().filter_map(|queue| queue.pop_front());
            deltas.extend(fronts.map(|front| format!("{{{front}}}")));
        }
        for choice in order.iter().cycle() {
            queues.retain(|queue| !queue.is_empty());
            if queues.is_empty() {
                break;
            }
            let queue = usize::from(*choice) % queues.len();
            let role = if style.repeats_role { r#""role":"assistant","# } else { "" };
            deltas.push(format!("{{{role}{}}}", queues[queue].pop_front().unwrap()));
        }
        let deltas: Vec<&str> = deltas.iter().map(String::as_str).collect();
        prop_assert_eq!(raw_message(&deltas), expected, "{:?}", deltas);
    }
}
