//! Unusual JSON: members that are null, absent, additional, or of another type.

use serde_json::{Map, Value, json};

use super::super::steps::{Step, Steps};
use super::framing::raw_event;
use super::unary::UnaryAnswer;
use super::unusual_json;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edit {
    /// Unknown members, extreme numbers, empty choices.
    Odd,
    NullLogprob,
    UsageInPart,
    NoRole,
    NullRole,
    NoDelta,
    NullDelta,
    NoContent,
    NullContent,
    NoChoices,
    EmptyChoices,
    SameIndexCalls,
    CallsById,
    ObjectArguments,
    NumberIds,
    TextIndexes,
    LaterEmptyFinish,
    OddDelta,
    HalfEmoji,
    LoneSurrogate,
    SurrogateName,
    OtherObject,
    /// A member `error` beside the choices, with a value that means "no error".
    NoError(NoError),
}

/// Values of the member `error` that mean "no error".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoError {
    Null,
    False,
    Text,
    Object,
}

/// The two surrogates of U+1F98A (a fox), as JSON escapes.
const SURROGATES: [&str; 2] = ["\\ud83e", "\\udd8a"];
/// A placeholder for an escape that a `Value` cannot hold. It is replaced in the JSON text.
const PLACEHOLDER: &str = "\u{e000}";

impl Edit {
    pub fn stream(self, steps: Steps) -> Steps {
        match self {
            Self::Odd => unusual_json::stream(steps),
            Self::LaterEmptyFinish => Box::new(steps.flat_map(finish_twice)),
            Self::OddDelta => before_finish(steps, |event| {
                vec![Step::Event(with_content(event, json!(["odd"])))]
            }),
            Self::HalfEmoji => before_finish(steps, |event| {
                SURROGATES.map(|half| event_with_escape(event, half)).into()
            }),
            Self::LoneSurrogate => {
                before_finish(steps, |event| vec![event_with_escape(event, "\\ud83e")])
            }
            Self::SurrogateName => Box::new(steps.map(|step| match step {
                Step::Event(mut event) => {
                    add_member_with_surrogate(&mut event);
                    raw_event(&with_escape(&event, "\\ud83e"))
                }
                other => other,
            })),
            Self::NoChoices | Self::EmptyChoices => {
                Box::new(steps.filter_map(move |step| match step {
                    Step::Token(_) | Step::Finish(_) => None,
                    Step::Event(mut event) => {
                        self.edit(&mut event, "delta");
                        Some(Step::Event(event))
                    }
                    other => Some(other),
                }))
            }
            Self::SameIndexCalls | Self::CallsById => self.calls(steps),
            _ => Box::new(steps.map(move |step| step.map_json(|event| self.edit(event, "delta")))),
        }
    }

    pub fn unary(self, mut answer: Value) -> UnaryAnswer {
        match self {
            Self::Odd => return UnaryAnswer::Answer(unusual_json::unary(answer)),
            Self::HalfEmoji | Self::LoneSurrogate => {
                let escape = if self == Self::HalfEmoji {
                    SURROGATES.concat()
                } else {
                    SURROGATES[0].to_owned()
                };
                append(&mut answer, PLACEHOLDER);
                return UnaryAnswer::Text(with_escape(&answer, &escape));
            }
            Self::SurrogateName => {
                add_member_with_surrogate(&mut answer);
                return UnaryAnswer::Text(with_escape(&answer, SURROGATES[0]));
            }
            _ => self.edit(&mut answer, "message"),
        }
        UnaryAnswer::Answer(answer)
    }

    /// Edits an answer or an event in place. `holder` is the member of a chat choice that has the
    /// content: `message` or `delta`.
    fn edit(self, answer: &mut Value, holder: &str) {
        let Some(members) = answer.as_object_mut() else {
            return;
        };
        match self {
            Self::UsageInPart => {
                if let Some(usage) = members.get_mut("usage").and_then(Value::as_object_mut) {
                    usage.retain(|name, _| name == "completion_tokens");
                }
            }
            Self::NoChoices => drop(members.remove("choices")),
            Self::EmptyChoices => drop(members.insert("choices".to_owned(), json!([]))),
            Self::NumberIds => drop(members.insert("id".to_owned(), json!(7))),
            Self::OtherObject => drop(members.insert("object".to_owned(), json!("engine.answer"))),
            Self::NoError(value) => drop(members.insert("error".to_owned(), value.value())),
            _ => {}
        }
        let choices = members.get_mut("choices").and_then(Value::as_array_mut);
        for choice in choices
            .into_iter()
            .flatten()
            .filter_map(Value::as_object_mut)
        {
            self.edit_choice(choice, holder);
        }
    }

    fn edit_choice(self, choice: &mut Map<String, Value>, holder: &str) {
        match self {
            Self::NullLogprob => null_logprobs(choice),
            Self::TextIndexes => {
                if let Some(index) = choice.get_mut("index") {
                    *index = Value::String(index.to_string());
                }
            }
            Self::NoDelta | Self::NullDelta => {
                let is_empty = choice
                    .get("delta")
                    .and_then(Value::as_object)
                    .is_some_and(Map::is_empty);
                if is_empty && self == Self::NoDelta {
                    choice.remove("delta");
                } else if is_empty {
                    choice.insert("delta".to_owned(), Value::Null);
                }
            }
            _ => {}
        }
        if let Some(message) = choice.get_mut(holder).and_then(Value::as_object_mut) {
            self.edit_message(message);
        }
    }

    fn edit_message(self, message: &mut Map<String, Value>) {
        let is_empty = message
            .get("content")
            .is_some_and(|content| content.as_str().is_none_or(str::is_empty));
        match self {
            Self::NoRole => drop(message.remove("role")),
            Self::NullRole if message.contains_key("role") => {
                drop(message.insert("role".to_owned(), Value::Null))
            }
            Self::NoContent if is_empty => drop(message.remove("content")),
            Self::NullContent if is_empty => {
                drop(message.insert("content".to_owned(), Value::Null))
            }
            Self::NumberIds | Self::ObjectArguments => {
                let calls = message.get_mut("tool_calls").and_then(Value::as_array_mut);
                let calls = calls.into_iter().flatten().filter_map(Value::as_object_mut);
                calls
                    .enumerate()
                    .for_each(|(index, call)| self.edit_call(index, call));
            }
            _ => {}
        }
    }

    fn edit_call(self, index: usize, call: &mut Map<String, Value>) {
        if self == Self::NumberIds && call.contains_key("id") {
            call.insert("id".to_owned(), json!(index + 1));
        }
        // A fragment of arguments is not valid JSON and stays a string.
        let arguments = call
            .get_mut("function")
            .and_then(|function| function.get_mut("arguments"));
        if let Some(arguments) = arguments.filter(|_| self == Self::ObjectArguments)
            && let Some(Ok(object @ Value::Object(_))) =
                arguments.as_str().map(serde_json::from_str)
        {
            *arguments = object;
        }
    }

    /// Tool calls that only their ids distinguish: all have the same index, or no piece has an
    /// index and every piece has the id.
    fn calls(self, steps: Steps) -> Steps {
        let mut last_id = Value::Null;
        Box::new(steps.map(move |mut step| {
            let call = match &mut step {
                Step::Token(event) => event.pointer_mut("/choices/0/delta/tool_calls/0"),
                _ => None,
            };
            if let Some(call) = call.and_then(Value::as_object_mut) {
                if let Some(id) = call.get("id") {
                    last_id = id.clone();
                }
                if self == Self::SameIndexCalls {
                    call.insert("index".to_owned(), json!(0));
                } else {
                    call.remove("index");
                    call.insert("id".to_owned(), last_id.clone());
                }
            }
            step
        }))
    }
}

impl NoError {
    fn value(self) -> Value {
        match self {
            Self::Null => Value::Null,
            Self::False => json!(false),
            Self::Text => json!(""),
            Self::Object => json!({}),
        }
    }
}

/// Inserts steps before the end of each choice. `more` makes them from the event that ends the
/// choice.
fn before_finish(steps: Steps, more: impl Fn(&Value) -> Vec<Step> + Send + 'static) -> Steps {
    Box::new(steps.flat_map(move |step| {
        let mut all = if let Step::Finish(event) = &step {
            more(event)
        } else {
            Vec::new()
        };
        all.push(step);
        all
    }))
}

fn finish_twice(step: Step) -> Vec<Step> {
    let again = if let Step::Finish(event) = &step {
        let mut event = event.clone();
        if let Some(reason) = event.pointer_mut("/choices/0/finish_reason") {
            *reason = json!("");
        }
        Some(Step::Event(event))
    } else {
        None
    };
    std::iter::once(step).chain(again).collect()
}

/// A copy of `event` with `content` and without a finish reason.
fn with_content(event: &Value, content: Value) -> Value {
    let mut event = event.clone();
    if let Some(choice) = event
        .pointer_mut("/choices/0")
        .and_then(Value::as_object_mut)
    {
        choice.insert("finish_reason".to_owned(), Value::Null);
        if choice.contains_key("delta") {
            choice.insert("delta".to_owned(), json!({ "content": content }));
        } else {
            choice.insert("text".to_owned(), content);
        }
    }
    event
}

fn event_with_escape(event: &Value, escape: &str) -> Step {
    raw_event(&with_escape(
        &with_content(event, json!(PLACEHOLDER)),
        escape,
    ))
}

fn with_escape(answer: &Value, escape: &str) -> String {
    answer.to_string().replace(PLACEHOLDER, escape)
}

fn add_member_with_surrogate(answer: &mut Value) {
    answer.as_object_mut().map(|members| {
        members.insert(format!("x_{PLACEHOLDER}"), json!("a name with half a pair"))
    });
}

fn append(answer: &mut Value, more: &str) {
    for pointer in ["/choices/0/message/content", "/choices/0/text"] {
        if let Some(Value::String(text)) = answer.pointer_mut(pointer) {
            text.push_str(more);
        }
    }
}

fn null_logprobs(choice: &mut Map<String, Value>) {
    let Some(logprobs) = choice.get_mut("logprobs") else {
        return;
    };
    let entries = logprobs.get_mut("content").and_then(Value::as_array_mut);
    for entry in entries
        .into_iter()
        .flatten()
        .filter_map(Value::as_object_mut)
    {
        entry.insert("logprob".to_owned(), Value::Null);
    }
    let of_texts = logprobs
        .get_mut("token_logprobs")
        .and_then(Value::as_array_mut);
    of_texts
        .into_iter()
        .flatten()
        .for_each(|logprob| *logprob = Value::Null);
}
