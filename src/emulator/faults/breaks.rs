//! Answers that break off after a number of tokens.

use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;

use super::super::connection::Disconnect;
use super::super::steps::event_bytes;
use super::super::steps::{Step, Steps, first_tokens, insert_after};
use super::replacements::WrongBody;
use super::stream_errors::StreamError;
use super::unary::UnaryAnswer;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Break {
    /// The connection stays open, and no more bytes are sent.
    Stall,
    /// The connection ends.
    Disconnect(Disconnect),
    /// The body ends cleanly before the answer is complete.
    Eof,
    /// Half an event.
    BrokenJson,
    /// A web page.
    Page,
    Error(StreamError),
}

impl Break {
    /// The first `tokens` tokens of the answer, and then the break. After a stall with a `silence`,
    /// the answer continues.
    pub fn stream(self, tokens: usize, silence: Option<Duration>, steps: Steps) -> Steps {
        let end = match (self, silence) {
            (Self::Stall, Some(silence)) => {
                return insert_after(steps, tokens, vec![Step::Pause(silence)]);
            }
            (Self::Stall, None) => vec![Step::Hang],
            (Self::Disconnect(how), _) => vec![Step::Disconnect(how)],
            (Self::Eof, _) => vec![],
            (Self::BrokenJson, _) => {
                vec![
                    Step::Raw(event_bytes(r#"{"id":"chatcmpl-0","choices":[{"del"#)),
                    Step::Done,
                ]
            }
            (Self::Page, _) => vec![Step::Raw(Bytes::from_static(
                super::error_bodies::PAGE.as_bytes(),
            ))],
            (Self::Error(StreamError::BesideChoices), _) => {
                return StreamError::beside(tokens, steps);
            }
            (Self::Error(error), _) => error.steps(),
        };
        Box::new(first_tokens(steps, tokens).chain(end))
    }

    pub fn unary(self, tokens: usize, silence: Option<Duration>, answer: Value) -> UnaryAnswer {
        match (self, silence) {
            (Self::Stall, None) => UnaryAnswer::Never,
            (Self::Stall, Some(silence)) => UnaryAnswer::Delayed(silence, answer),
            (Self::Disconnect(how), _) => {
                let text = answer.to_string();
                UnaryAnswer::Bytes(
                    Box::new([half(&text), Step::Disconnect(how)].into_iter()),
                    Some(text.len()),
                )
            }
            (Self::Eof, _) if tokens == 0 => UnaryAnswer::Text(String::new()),
            (Self::Eof | Self::BrokenJson, _) => {
                UnaryAnswer::Bytes(Box::new(std::iter::once(half(&answer.to_string()))), None)
            }
            (Self::Page, _) => UnaryAnswer::Response(WrongBody::Page.response()),
            (Self::Error(error), _) => error.unary(answer),
        }
    }
}

fn half(text: &str) -> Step {
    let bytes = Bytes::copy_from_slice(text.as_bytes());
    Step::Raw(bytes.slice(..bytes.len() / 2))
}
