//! The faults that strike while an answer is given: what they do to its beats, or to the whole of it.

use std::iter::once;
use std::time::Duration;

use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde_json::{Value, json};

use super::beats::{Beat, Beats, first_tokens};
use super::delivery::event_bytes;
use super::faults::{Trouble, bare_error};
use super::oddities;
use super::refusal::Refusal;

pub const SLOW_TOKENS_PER_SECOND: f64 = 5.0;
const FIRST_TOKEN_AFTER: Duration = Duration::from_secs(3);
const GIANT_BYTES: usize = 2 * 1024 * 1024;
const TIMEOUT_MESSAGE: &str = "no data in 30000ms";

/// What becomes of a streamed answer.
pub fn stream(trouble: Option<Trouble>, beats: Beats) -> Beats {
    let then = |tokens, end: Vec<Beat>, beats| Box::new(first_tokens(beats, tokens).chain(end));
    let Some(trouble) = trouble else {
        return beats;
    };
    match trouble {
        Trouble::Silent => Box::new(once(Beat::Hang)),
        Trouble::SlowFirstToken => Box::new(once(Beat::Pause(FIRST_TOKEN_AFTER)).chain(beats)),
        Trouble::Stall => then(5, vec![Beat::Hang], beats),
        Trouble::Cut => then(5, vec![Beat::Cut], beats),
        Trouble::Eof => then(5, vec![], beats),
        Trouble::NoDone => Box::new(beats.filter(|beat| !matches!(beat, Beat::Done))),
        Trouble::ErrorInStream => then(3, vec![Beat::Event(json!({"error": TIMEOUT_MESSAGE}))], beats),
        Trouble::ErrorObjectInStream => then(3, vec![Beat::Event(Refusal::internal().body())], beats),
        Trouble::ConcurrencyInStream => then(3, vec![Beat::Event(no_units().body())], beats),
        Trouble::BrokenJson => {
            then(3, vec![Beat::Raw(event_bytes(r#"{"id":"chatcmpl-0","choices":[{"del"#)), Beat::Done], beats)
        }
        Trouble::GiantLine => giant_line(beats),
        Trouble::Crlf => Box::new(once(Beat::Raw(Bytes::from_static(b": hello\r\n\r\n"))).chain(beats.map(crlf))),
        Trouble::Split => Box::new(beats.flat_map(split)),
        Trouble::Burst => Box::new(once(Beat::Raw(beats.filter_map(bytes_of).collect::<Vec<_>>().concat().into()))),
        Trouble::Odd => oddities::stream(beats),
        _ => beats,
    }
}

/// What becomes of an answer in one piece.
pub enum Whole {
    Answer(Value),
    Refused(Response),
    Late(Duration, Value),
    /// These beats as the body, under this content length if one is promised.
    Bytes(Beats, Option<usize>),
    Never,
}

pub fn whole(trouble: Option<Trouble>, mut answer: Value) -> Whole {
    let Some(trouble) = trouble else {
        return Whole::Answer(answer);
    };
    match trouble {
        Trouble::Silent | Trouble::Stall => Whole::Never,
        Trouble::SlowFirstToken => Whole::Late(FIRST_TOKEN_AFTER, answer),
        Trouble::Cut => {
            let text = answer.to_string();
            Whole::Bytes(Box::new([half(&text), Beat::Cut].into_iter()), Some(text.len()))
        }
        Trouble::Eof | Trouble::BrokenJson => Whole::Bytes(Box::new(once(half(&answer.to_string()))), None),
        Trouble::ErrorInStream => Whole::Refused(bare_error(TIMEOUT_MESSAGE)),
        Trouble::ErrorObjectInStream => Whole::Refused(Refusal::internal().into_response()),
        Trouble::ConcurrencyInStream => Whole::Refused(no_units().into_response()),
        Trouble::Split => Whole::Bytes(Box::new(bytewise(answer.to_string().into())), None),
        Trouble::GiantLine => {
            set_text(&mut answer, "message");
            Whole::Answer(answer)
        }
        Trouble::Odd => Whole::Answer(oddities::whole(answer)),
        _ => Whole::Answer(answer),
    }
}

fn no_units() -> Refusal {
    Refusal::concurrency("emulator/429-in-stream", 8, 1, 8)
}

fn half(text: &str) -> Beat {
    let bytes = Bytes::copy_from_slice(text.as_bytes());
    Beat::Raw(bytes.slice(..bytes.len() / 2))
}

/// The first token grows to 2 MB and the others vanish.
fn giant_line(beats: Beats) -> Beats {
    let mut is_first = true;
    Box::new(beats.filter_map(move |beat| match beat {
        Beat::Token(mut event) => std::mem::take(&mut is_first).then(|| {
            set_text(&mut event, "delta");
            Beat::Token(event)
        }),
        Beat::Tick => None,
        other => Some(other),
    }))
}

/// Puts the giant text where a chat choice (in `holder`) or a text choice has its own.
fn set_text(answer: &mut Value, holder: &str) {
    const PATTERN: &str = "giant line ";
    let giant = Value::String(PATTERN.repeat(GIANT_BYTES / PATTERN.len() + 1));
    let choice = answer.pointer_mut("/choices/0").and_then(Value::as_object_mut);
    let Some(choice) = choice else { return };
    match choice.get_mut(holder).and_then(Value::as_object_mut) {
        Some(words) => words.insert("content".to_owned(), giant),
        None => choice.insert("text".to_owned(), giant),
    };
}

/// The bytes of a beat that has any.
fn bytes_of(beat: Beat) -> Option<Bytes> {
    match beat {
        Beat::Token(event) | Beat::Finish(event) | Beat::Event(event) => Some(event_bytes(&event.to_string())),
        Beat::Done => Some(event_bytes("[DONE]")),
        Beat::Raw(bytes) => Some(bytes),
        _ => None,
    }
}

fn crlf(beat: Beat) -> Beat {
    let line = |data: &str| Beat::Raw(format!(": still here\r\nevent: message\r\ndata:{data}\r\n\r\n").into());
    match beat {
        Beat::Token(event) | Beat::Finish(event) | Beat::Event(event) => line(&event.to_string()),
        Beat::Done => line("[DONE]"),
        other => other,
    }
}

fn split(beat: Beat) -> Beats {
    match beat {
        wait @ (Beat::Tick | Beat::Pause(_)) => Box::new(once(wait)),
        other => Box::new(bytes_of(other).into_iter().flat_map(bytewise)),
    }
}

fn bytewise(bytes: Bytes) -> impl Iterator<Item = Beat> + Send {
    let singles = (0..bytes.len()).map(move |place| Beat::Raw(bytes.slice(place..=place)));
    singles.flat_map(|single| [single, Beat::Breath])
}
