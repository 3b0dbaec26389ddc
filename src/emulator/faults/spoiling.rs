//! What a fault does to an answer: to its beats, or to the whole of it.

use std::iter::once;
use std::time::Duration;

use axum::response::Response;
use serde_json::Value;

use super::super::beats::{Beat, Beats};
use super::{FaultId, Trouble, ends};

pub const SLOW_TOKENS_PER_SECOND: f64 = 5.0;
const FIRST_TOKEN_AFTER: Duration = Duration::from_secs(3);

/// What becomes of a streamed answer.
pub fn stream(fault: Option<&FaultId>, beats: Beats) -> Beats {
    let Some(fault) = fault else {
        return beats;
    };
    match fault.trouble {
        Trouble::SlowFirstToken => {
            Box::new(once(Beat::Pause(fault.first_token_after())).chain(beats))
        }
        Trouble::Break(kind, usual) => {
            kind.stream(fault.tokens.unwrap_or(usual), fault.silence, beats)
        }
        Trouble::Finish => ends::stream(&fault.word, false, beats),
        Trouble::FinishWithError => ends::stream(&fault.word, true, beats),
        Trouble::Framing(framing) => framing.stream(beats),
        Trouble::Edit(edit) => edit.stream(beats),
        _ => beats,
    }
}

/// What becomes of an answer in one piece.
pub enum Whole {
    Answer(Value),
    /// 200 with this body, which says that it is JSON.
    Text(String),
    /// Another answer in its place.
    Instead(Response),
    Late(Duration, Value),
    /// These beats as the body, under this content length if one is promised.
    Bytes(Beats, Option<usize>),
    Never,
}

pub fn whole(fault: Option<&FaultId>, answer: Value) -> Whole {
    let Some(fault) = fault else {
        return Whole::Answer(answer);
    };
    match fault.trouble {
        Trouble::SlowFirstToken => Whole::Late(fault.first_token_after(), answer),
        Trouble::Break(kind, usual) => {
            kind.whole(fault.tokens.unwrap_or(usual), fault.silence, answer)
        }
        Trouble::Finish => Whole::Answer(ends::whole(&fault.word, false, answer)),
        Trouble::FinishWithError => Whole::Answer(ends::whole(&fault.word, true, answer)),
        Trouble::Framing(framing) => framing.whole(answer),
        Trouble::Edit(edit) => edit.whole(answer),
        _ => Whole::Answer(answer),
    }
}

impl FaultId {
    fn first_token_after(&self) -> Duration {
        self.silence.unwrap_or(FIRST_TOKEN_AFTER)
    }

    /// The `content-encoding` of the answer, if it has one.
    pub fn content_encoding(&self) -> Option<&'static str> {
        match self.trouble {
            Trouble::Framing(framing) => framing.content_encoding(),
            _ => None,
        }
    }
}
