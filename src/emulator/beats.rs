//! A streamed answer as a series of moments, before it is bytes.
//!
//! Endpoints make beats lazily, faults rearrange them, and [`delivery`](super::delivery) plays
//! them.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;

use super::delivery::event_bytes;
use super::line::HangUp;

pub enum Beat {
    /// The time it takes to make one token.
    Tick,
    /// An event that carries a generated token.
    Token(Value),
    /// The event that ends a choice.
    Finish(Value),
    /// Any other event: roles, usage, errors.
    Event(Value),
    /// The event that says there are no more.
    Done,
    /// These bytes, as they are.
    Raw(Bytes),
    Pause(Duration),
    /// Let what was said so far go out before the next thing is said.
    Breath,
    /// Silence, with the connection open.
    Hang,
    /// The connection ends.
    HangUp(HangUp),
}

impl Beat {
    /// The bytes of a beat that has any.
    pub fn into_bytes(self) -> Option<Bytes> {
        match self {
            Self::Token(event) | Self::Finish(event) | Self::Event(event) => {
                Some(event_bytes(&event.to_string()))
            }
            Self::Done => Some(event_bytes("[DONE]")),
            Self::Raw(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// Changes the JSON of a beat that has any.
    pub fn map_json(mut self, edit: impl FnOnce(&mut Value)) -> Self {
        if let Self::Token(event) | Self::Finish(event) | Self::Event(event) = &mut self {
            edit(event);
        }
        self
    }
}

pub type Beats = Box<dyn Iterator<Item = Beat> + Send>;

/// Says the choices side by side, a token of each per tick, as a batch of them is generated
/// upstream.
pub fn interleave(choices: Vec<Beats>) -> impl Iterator<Item = Beat> + Send {
    let mut choices: VecDeque<Beats> = choices.into();
    let mut round: VecDeque<Beat> = VecDeque::new();
    std::iter::from_fn(move || {
        if round.is_empty() && !choices.is_empty() {
            round.push_back(Beat::Tick);
            for mut choice in std::mem::take(&mut choices) {
                let beat = choice.next();
                let goes_on = !matches!(beat, None | Some(Beat::Finish(_)));
                round.extend(beat);
                if goes_on {
                    choices.push_back(choice);
                }
            }
        }
        round.pop_front()
    })
}

/// The beats up to and including token number `tokens`, and nothing of the end.
pub fn first_tokens(beats: Beats, tokens: usize) -> impl Iterator<Item = Beat> + Send {
    let mut left = tokens;
    beats
        .take_while(|beat| !matches!(beat, Beat::Finish(_) | Beat::Done))
        .map_while(move |beat| {
            let is_over = left == 0;
            left = left.saturating_sub(usize::from(matches!(beat, Beat::Token(_))));
            (!is_over).then_some(beat)
        })
}

/// All beats, and `more` right after token number `tokens` (0: before everything), or before the
/// end if that comes first.
pub fn insert_after(beats: Beats, tokens: usize, more: Vec<Beat>) -> Beats {
    let mut left = tokens;
    let mut more = Some(more);
    let first = if tokens == 0 {
        more.take().unwrap_or_default()
    } else {
        Vec::new()
    };
    let rest = beats.flat_map(move |beat| {
        left = left.saturating_sub(usize::from(matches!(beat, Beat::Token(_))));
        let is_end = matches!(beat, Beat::Finish(_) | Beat::Done);
        let due = if left == 0 || is_end {
            more.take().unwrap_or_default()
        } else {
            Vec::new()
        };
        let mut all = vec![beat];
        let place = usize::from(!is_end);
        all.splice(place..place, due);
        all
    });
    Box::new(first.into_iter().chain(rest))
}
