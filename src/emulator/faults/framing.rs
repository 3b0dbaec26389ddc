//! Valid JSON in unusual framing.

use std::iter::once;

use bytes::Bytes;
use serde_json::Value;

use super::super::steps::event_bytes;
use super::super::steps::{Step, Steps};
use super::gzip::Gzip;
use super::unary::UnaryAnswer;

const GIANT_BYTES: usize = 2 * 1024 * 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    NoDone,
    GiantLine,
    Crlf,
    /// Every byte in its own segment.
    Split,
    /// All events in one write.
    Burst,
    /// Compressed with gzip, although the request does not accept it.
    Gzip,
}

impl Framing {
    pub fn stream(self, steps: Steps) -> Steps {
        match self {
            Self::NoDone => Box::new(steps.filter(|step| !matches!(step, Step::Done))),
            Self::GiantLine => giant_line(steps),
            Self::Crlf => Box::new(
                once(Step::Raw(Bytes::from_static(b": hello\r\n\r\n"))).chain(steps.map(crlf)),
            ),
            Self::Split => Box::new(steps.flat_map(split)),
            Self::Burst => Box::new(once(Step::Raw(
                steps
                    .filter_map(Step::into_bytes)
                    .collect::<Vec<_>>()
                    .concat()
                    .into(),
            ))),
            Self::Gzip => gzip(steps),
        }
    }

    pub fn unary(self, mut answer: Value) -> UnaryAnswer {
        match self {
            Self::Split => UnaryAnswer::Bytes(Box::new(bytewise(answer.to_string().into())), None),
            Self::GiantLine => {
                set_text(&mut answer, "message");
                UnaryAnswer::Answer(answer)
            }
            Self::Gzip => UnaryAnswer::Bytes(
                gzip(Box::new(once(Step::Raw(answer.to_string().into())))),
                None,
            ),
            Self::NoDone | Self::Crlf | Self::Burst => UnaryAnswer::Answer(answer),
        }
    }
}

/// The first token has 2 MB of text, and the others are left out.
fn giant_line(steps: Steps) -> Steps {
    let mut is_first = true;
    Box::new(steps.filter_map(move |step| match step {
        Step::Token(mut event) => std::mem::take(&mut is_first).then(|| {
            set_text(&mut event, "delta");
            Step::Token(event)
        }),
        Step::Tick => None,
        other => Some(other),
    }))
}

/// Replaces the text of the first choice by the giant text. In a chat choice, the text is in the
/// member `holder`.
fn set_text(answer: &mut Value, holder: &str) {
    const PATTERN: &str = "giant line ";
    let giant = Value::String(PATTERN.repeat(GIANT_BYTES / PATTERN.len() + 1));
    let choice = answer
        .pointer_mut("/choices/0")
        .and_then(Value::as_object_mut);
    let Some(choice) = choice else { return };
    match choice.get_mut(holder).and_then(Value::as_object_mut) {
        Some(message) => message.insert("content".to_owned(), giant),
        None => choice.insert("text".to_owned(), giant),
    };
}

fn crlf(step: Step) -> Step {
    let line = |data: &str| {
        Step::Raw(format!(": still here\r\nevent: message\r\ndata:{data}\r\n\r\n").into())
    };
    match step {
        Step::Token(event) | Step::Finish(event) | Step::Event(event) => line(&event.to_string()),
        Step::Done => line("[DONE]"),
        other => other,
    }
}

fn split(step: Step) -> Steps {
    match step {
        wait @ (Step::Tick | Step::Pause(_)) => Box::new(once(wait)),
        other => Box::new(other.into_bytes().into_iter().flat_map(bytewise)),
    }
}

fn bytewise(bytes: Bytes) -> impl Iterator<Item = Step> + Send {
    let singles = (0..bytes.len()).map(move |index| Step::Raw(bytes.slice(index..=index)));
    singles.flat_map(|single| [single, Step::Yield])
}

/// Each event is its own block, so that a client can decode each event when it arrives.
fn gzip(steps: Steps) -> Steps {
    let mut gzip = Some(Gzip::default());
    let mut steps = steps.map(Some).chain(once(None));
    let compressed = std::iter::from_fn(move || match steps.next()? {
        Some(wait @ (Step::Tick | Step::Pause(_))) => Some(wait),
        Some(step) => {
            let block = step
                .into_bytes()
                .zip(gzip.as_mut())
                .map(|(bytes, gzip)| gzip.block(&bytes));
            Some(Step::Raw(block.unwrap_or_default()))
        }
        None => gzip.take().map(|gzip| Step::Raw(gzip.end())),
    });
    // An empty piece sends nothing, but makes the connection poll the body once more.
    Box::new(compressed.filter(|step| !matches!(step, Step::Raw(bytes) if bytes.is_empty())))
}

impl Framing {
    /// The `content-encoding` header of this framing. `None` if it has none.
    pub fn content_encoding(self) -> Option<&'static str> {
        (self == Self::Gzip).then_some("gzip")
    }
}

/// An event with `text` as data, for faults that change the text of an event and not its JSON.
pub fn raw_event(text: &str) -> Step {
    Step::Raw(event_bytes(text))
}
