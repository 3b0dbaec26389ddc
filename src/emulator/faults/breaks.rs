//! Answers that break after a number of tokens.

use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;

use super::super::beats::{Beat, Beats, first_tokens, insert_after};
use super::super::delivery::event_bytes;
use super::super::line::HangUp;
use super::spoiling::Whole;
use super::stream_errors::StreamError;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Break {
    /// Silence on an open connection.
    Stall,
    /// The connection ends.
    HangUp(HangUp),
    /// A clean end of the body, before the answer's.
    Eof,
    /// Half an event.
    BrokenJson,
    /// A web page.
    Page,
    Error(StreamError),
}

impl Break {
    /// The answer as far as `tokens`, and the break. A silence of a known length ends, and the
    /// answer goes on.
    pub fn stream(self, tokens: usize, silence: Option<Duration>, beats: Beats) -> Beats {
        let end = match (self, silence) {
            (Self::Stall, Some(silence)) => {
                return insert_after(beats, tokens, vec![Beat::Pause(silence)]);
            }
            (Self::Stall, None) => vec![Beat::Hang],
            (Self::HangUp(how), _) => vec![Beat::HangUp(how)],
            (Self::Eof, _) => vec![],
            (Self::BrokenJson, _) => {
                vec![
                    Beat::Raw(event_bytes(r#"{"id":"chatcmpl-0","choices":[{"del"#)),
                    Beat::Done,
                ]
            }
            (Self::Page, _) => vec![Beat::Raw(Bytes::from_static(
                super::error_bodies::PAGE.as_bytes(),
            ))],
            (Self::Error(StreamError::Beside), _) => return StreamError::beside(tokens, beats),
            (Self::Error(error), _) => error.beats(),
        };
        Box::new(first_tokens(beats, tokens).chain(end))
    }

    pub fn whole(self, tokens: usize, silence: Option<Duration>, answer: Value) -> Whole {
        match (self, silence) {
            (Self::Stall, None) => Whole::Never,
            (Self::Stall, Some(silence)) => Whole::Late(silence, answer),
            (Self::HangUp(how), _) => {
                let text = answer.to_string();
                Whole::Bytes(
                    Box::new([half(&text), Beat::HangUp(how)].into_iter()),
                    Some(text.len()),
                )
            }
            (Self::Eof, _) if tokens == 0 => Whole::Text(String::new()),
            (Self::Eof | Self::BrokenJson, _) => {
                Whole::Bytes(Box::new(std::iter::once(half(&answer.to_string()))), None)
            }
            (Self::Page, _) => Whole::Instead(super::WrongBody::Page.response()),
            (Self::Error(error), _) => error.whole(answer),
        }
    }
}

fn half(text: &str) -> Beat {
    let bytes = Bytes::copy_from_slice(text.as_bytes());
    Beat::Raw(bytes.slice(..bytes.len() / 2))
}
