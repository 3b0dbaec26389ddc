//! A streamed answer as a series of steps, before it is encoded to bytes.
//!
//! Endpoints produce steps lazily, faults change them, and [`delivery`](super::delivery) sends
//! them.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;

use super::connection::Disconnect;

pub enum Step {
    /// The time to generate one token.
    Tick,
    /// An event that carries a generated token.
    Token(Value),
    /// The event that ends a choice.
    Finish(Value),
    /// Any other event: roles, usage, errors.
    Event(Value),
    /// The event `[DONE]`.
    Done,
    /// These bytes, as they are.
    Raw(Bytes),
    Pause(Duration),
    /// Yields to the runtime, so that the bytes before this step are sent on their own.
    Yield,
    /// Nothing more is sent, and the connection stays open.
    Hang,
    /// The connection ends.
    Disconnect(Disconnect),
}

impl Step {
    /// The bytes of the step. `None` for steps without bytes.
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

    /// Changes the JSON of the step. Steps without JSON stay as they are.
    pub fn map_json(mut self, edit: impl FnOnce(&mut Value)) -> Self {
        if let Self::Token(event) | Self::Finish(event) | Self::Event(event) = &mut self {
            edit(event);
        }
        self
    }
}

/// A server-sent event with `data`.
pub fn event_bytes(data: &str) -> Bytes {
    Bytes::from(format!("data: {data}\n\n"))
}

pub type Steps = Box<dyn Iterator<Item = Step> + Send>;

/// Merges the steps of all choices: one tick, then one token of each choice. Featherless generates
/// several choices in the same way, as a batch.
pub fn interleave(choices: Vec<Steps>) -> impl Iterator<Item = Step> + Send {
    let mut choices: VecDeque<Steps> = choices.into();
    let mut round: VecDeque<Step> = VecDeque::new();
    std::iter::from_fn(move || {
        if round.is_empty() && !choices.is_empty() {
            round.push_back(Step::Tick);
            for mut choice in std::mem::take(&mut choices) {
                let step = choice.next();
                let goes_on = !matches!(step, None | Some(Step::Finish(_)));
                round.extend(step);
                if goes_on {
                    choices.push_back(choice);
                }
            }
        }
        round.pop_front()
    })
}

/// The steps up to and including token number `tokens`, without finish or `[DONE]` events.
pub fn first_tokens(steps: Steps, tokens: usize) -> impl Iterator<Item = Step> + Send {
    let mut left = tokens;
    steps
        .take_while(|step| !matches!(step, Step::Finish(_) | Step::Done))
        .map_while(move |step| {
            let is_over = left == 0;
            left = left.saturating_sub(usize::from(matches!(step, Step::Token(_))));
            (!is_over).then_some(step)
        })
}

/// Inserts `more` right after token number `tokens` (0: before everything), or before the end of a
/// shorter answer.
pub fn insert_after(steps: Steps, tokens: usize, more: Vec<Step>) -> Steps {
    let mut left = tokens;
    let mut more = Some(more);
    let first = if tokens == 0 {
        more.take().unwrap_or_default()
    } else {
        Vec::new()
    };
    let rest = steps.flat_map(move |step| {
        left = left.saturating_sub(usize::from(matches!(step, Step::Token(_))));
        let is_end = matches!(step, Step::Finish(_) | Step::Done);
        let due = if left == 0 || is_end {
            more.take().unwrap_or_default()
        } else {
            Vec::new()
        };
        let mut all = vec![step];
        let position = usize::from(!is_end);
        all.splice(position..position, due);
        all
    });
    Box::new(first.into_iter().chain(rest))
}
