//! Applies a fault to the steps of a stream or to a unary answer.

use std::iter::once;
use std::time::Duration;

use serde_json::Value;

use super::super::steps::{Step, Steps};
use super::{finish_reasons, id::FaultId, kind::FaultKind, unary::UnaryAnswer};

pub const SLOW_TOKENS_PER_SECOND: f64 = 5.0;
const FIRST_TOKEN_AFTER: Duration = Duration::from_secs(3);

/// The steps of a streamed answer, changed by `fault`.
pub fn stream(fault: Option<&FaultId>, steps: Steps) -> Steps {
    let Some(fault) = fault else {
        return steps;
    };
    match fault.kind {
        FaultKind::SlowFirstToken => {
            Box::new(once(Step::Pause(fault.first_token_after())).chain(steps))
        }
        FaultKind::Break(kind, usual) => {
            kind.stream(fault.tokens.unwrap_or(usual), fault.silence, steps)
        }
        FaultKind::Finish => finish_reasons::stream(&fault.word, false, steps),
        FaultKind::FinishWithError => finish_reasons::stream(&fault.word, true, steps),
        FaultKind::Framing(framing) => framing.stream(steps),
        FaultKind::Edit(edit) => edit.stream(steps),
        _ => steps,
    }
}

/// A unary answer, changed by `fault`.
pub fn whole(fault: Option<&FaultId>, answer: Value) -> UnaryAnswer {
    let Some(fault) = fault else {
        return UnaryAnswer::Answer(answer);
    };
    match fault.kind {
        FaultKind::SlowFirstToken => UnaryAnswer::Late(fault.first_token_after(), answer),
        FaultKind::Break(kind, usual) => {
            kind.whole(fault.tokens.unwrap_or(usual), fault.silence, answer)
        }
        FaultKind::Finish => UnaryAnswer::Answer(finish_reasons::whole(&fault.word, false, answer)),
        FaultKind::FinishWithError => {
            UnaryAnswer::Answer(finish_reasons::whole(&fault.word, true, answer))
        }
        FaultKind::Framing(framing) => framing.whole(answer),
        FaultKind::Edit(edit) => edit.whole(answer),
        _ => UnaryAnswer::Answer(answer),
    }
}

impl FaultId {
    fn first_token_after(&self) -> Duration {
        self.silence.unwrap_or(FIRST_TOKEN_AFTER)
    }

    /// The `content-encoding` of the answer. `None` if the fault sets none.
    pub fn content_encoding(&self) -> Option<&'static str> {
        match self.kind {
            FaultKind::Framing(framing) => framing.content_encoding(),
            _ => None,
        }
    }
}
