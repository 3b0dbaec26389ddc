//! Answers that are valid but unusual.

use serde_json::{Map, Value, json};

use super::super::steps::{Step, Steps};

/// The smallest positive integer that a double cannot represent.
const BIG_INTEGER: i64 = 9_007_199_254_740_993;
const TINY_NUMBER: f64 = 1e-12;

/// Unknown members at every level, null usage, tool-call deltas without index, and an empty event
/// first.
pub fn stream(steps: Steps) -> Steps {
    let mut is_first = true;
    Box::new(steps.flat_map(move |step| match step {
        Step::Event(event) => {
            let event = odd(event, "delta");
            let empty = std::mem::take(&mut is_first).then(|| Step::Event(without_choices(&event)));
            empty
                .into_iter()
                .chain([Step::Event(event)])
                .collect::<Vec<_>>()
        }
        Step::Token(event) => vec![Step::Token(odd(event, "delta"))],
        Step::Finish(event) => vec![Step::Finish(odd(event, "delta"))],
        other => vec![other],
    }))
}

pub fn unary(answer: Value) -> Value {
    odd(answer, "message")
}

/// Adds the unusual members to an answer or a chunk. `holder` is the member of a choice that has
/// the content: `message` or `delta`.
fn odd(mut answer: Value, holder: &str) -> Value {
    let Some(members) = answer.as_object_mut() else {
        return answer;
    };
    add_unknown(members);
    members.entry("usage").or_insert(Value::Null);
    if let Some(usage) = members.get_mut("usage").and_then(Value::as_object_mut) {
        add_unknown(usage);
    }
    let choices = members.get_mut("choices").and_then(Value::as_array_mut);
    for choice in choices
        .into_iter()
        .flatten()
        .filter_map(Value::as_object_mut)
    {
        add_unknown(choice);
        let message = choice.get_mut(holder).and_then(Value::as_object_mut);
        for message in message.into_iter() {
            add_unknown(message);
            let calls = message.get_mut("tool_calls").and_then(Value::as_array_mut);
            for call in calls.into_iter().flatten().filter_map(Value::as_object_mut) {
                call.remove("index");
                add_unknown(call);
            }
        }
    }
    answer
}

fn add_unknown(members: &mut Map<String, Value>) {
    members.insert("x_big_integer".to_owned(), json!(BIG_INTEGER));
    members.insert("x_tiny_number".to_owned(), json!(TINY_NUMBER));
    members.insert(
        "x_nested".to_owned(),
        json!({"list": [1, null, "ü"], "empty": {}}),
    );
}

fn without_choices(event: &Value) -> Value {
    let mut event = event.clone();
    if let Some(choices) = event.get_mut("choices") {
        *choices = json!([]);
    }
    event
}
