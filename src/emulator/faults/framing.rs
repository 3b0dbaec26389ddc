//! The right JSON in unusual bytes.

use std::iter::once;

use bytes::Bytes;
use serde_json::Value;

use super::super::beats::{Beat, Beats};
use super::super::delivery::event_bytes;
use super::gzip::Gzip;
use super::spoiling::Whole;

const GIANT_BYTES: usize = 2 * 1024 * 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    NoDone,
    GiantLine,
    Crlf,
    /// Every byte in a segment of its own.
    Split,
    /// All events in one write.
    Burst,
    /// Compressed, though nobody asked for that.
    Gzip,
}

impl Framing {
    pub fn stream(self, beats: Beats) -> Beats {
        match self {
            Self::NoDone => Box::new(beats.filter(|beat| !matches!(beat, Beat::Done))),
            Self::GiantLine => giant_line(beats),
            Self::Crlf => Box::new(
                once(Beat::Raw(Bytes::from_static(b": hello\r\n\r\n"))).chain(beats.map(crlf)),
            ),
            Self::Split => Box::new(beats.flat_map(split)),
            Self::Burst => Box::new(once(Beat::Raw(
                beats
                    .filter_map(Beat::into_bytes)
                    .collect::<Vec<_>>()
                    .concat()
                    .into(),
            ))),
            Self::Gzip => gzip(beats),
        }
    }

    pub fn whole(self, mut answer: Value) -> Whole {
        match self {
            Self::Split => Whole::Bytes(Box::new(bytewise(answer.to_string().into())), None),
            Self::GiantLine => {
                set_text(&mut answer, "message");
                Whole::Answer(answer)
            }
            Self::Gzip => Whole::Bytes(
                gzip(Box::new(once(Beat::Raw(answer.to_string().into())))),
                None,
            ),
            Self::NoDone | Self::Crlf | Self::Burst => Whole::Answer(answer),
        }
    }
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
    let choice = answer
        .pointer_mut("/choices/0")
        .and_then(Value::as_object_mut);
    let Some(choice) = choice else { return };
    match choice.get_mut(holder).and_then(Value::as_object_mut) {
        Some(words) => words.insert("content".to_owned(), giant),
        None => choice.insert("text".to_owned(), giant),
    };
}

fn crlf(beat: Beat) -> Beat {
    let line = |data: &str| {
        Beat::Raw(format!(": still here\r\nevent: message\r\ndata:{data}\r\n\r\n").into())
    };
    match beat {
        Beat::Token(event) | Beat::Finish(event) | Beat::Event(event) => line(&event.to_string()),
        Beat::Done => line("[DONE]"),
        other => other,
    }
}

fn split(beat: Beat) -> Beats {
    match beat {
        wait @ (Beat::Tick | Beat::Pause(_)) => Box::new(once(wait)),
        other => Box::new(other.into_bytes().into_iter().flat_map(bytewise)),
    }
}

fn bytewise(bytes: Bytes) -> impl Iterator<Item = Beat> + Send {
    let singles = (0..bytes.len()).map(move |place| Beat::Raw(bytes.slice(place..=place)));
    singles.flat_map(|single| [single, Beat::Breath])
}

/// Each event in a block of its own, so that a client that decodes it sees the stream flow.
fn gzip(beats: Beats) -> Beats {
    let mut gzip = Some(Gzip::default());
    let mut beats = beats.map(Some).chain(once(None));
    let compressed = std::iter::from_fn(move || match beats.next()? {
        Some(wait @ (Beat::Tick | Beat::Pause(_))) => Some(wait),
        Some(beat) => {
            let block = beat
                .into_bytes()
                .zip(gzip.as_mut())
                .map(|(bytes, gzip)| gzip.block(&bytes));
            Some(Beat::Raw(block.unwrap_or_default()))
        }
        None => gzip.take().map(|gzip| Beat::Raw(gzip.end())),
    });
    // An empty piece would be nothing on the wire, but costs a turn of the connection's.
    Box::new(compressed.filter(|beat| !matches!(beat, Beat::Raw(bytes) if bytes.is_empty())))
}

impl Framing {
    /// The header that the bytes need, if they need one.
    pub fn content_encoding(self) -> Option<&'static str> {
        (self == Self::Gzip).then_some("gzip")
    }
}

/// A text event, for faults that change the text of an event rather than its JSON.
pub fn raw_event(text: &str) -> Beat {
    Beat::Raw(event_bytes(text))
}
