//! Answers with another `finish_reason`, with or without an error in the choice.

use serde_json::{Value, json};

use super::super::steps::{Step, Steps};

pub fn stream(reason: &str, has_error: bool, steps: Steps) -> Steps {
    let reason = reason.to_owned();
    Box::new(steps.map(move |step| match step {
        Step::Finish(mut event) => {
            end(&mut event, &reason, has_error);
            Step::Finish(event)
        }
        other => other,
    }))
}

pub fn unary(reason: &str, has_error: bool, mut answer: Value) -> Value {
    end(&mut answer, reason, has_error);
    answer
}

fn end(answer: &mut Value, reason: &str, has_error: bool) {
    let choices = answer.get_mut("choices").and_then(Value::as_array_mut);
    for choice in choices
        .into_iter()
        .flatten()
        .filter_map(Value::as_object_mut)
    {
        choice.insert("finish_reason".to_owned(), json!(reason));
        if has_error {
            let error = json!({"message": "the engine aborted the request", "code": 500});
            choice.insert("error".to_owned(), error);
        }
    }
}
