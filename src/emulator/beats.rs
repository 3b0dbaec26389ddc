//! A streamed answer as a series of moments, before it is bytes.
//!
//! Endpoints make beats lazily, faults rearrange them, and [`delivery`](super::delivery) plays them.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;

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
    /// The connection breaks.
    Cut,
}

pub type Beats = Box<dyn Iterator<Item = Beat> + Send>;

/// Says the choices side by side, a token of each per tick, as a batch of them is generated upstream.
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
    beats.take_while(|beat| !matches!(beat, Beat::Finish(_) | Beat::Done)).map_while(move |beat| {
        let is_over = left == 0;
        left = left.saturating_sub(usize::from(matches!(beat, Beat::Token(_))));
        (!is_over).then_some(beat)
    })
}
