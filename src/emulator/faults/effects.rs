//! Applies a fault to the steps of a stream or to a unary answer.

use std::iter::once;
use std::time::Duration;

use serde_json::Value;

use super::super::steps::{Step, Steps};
use super::{finish_reasons, id::FaultId, kind::FaultKind, unary::UnaryAnswer};

pub const SLOW_TOKENS_PER_SECOND: f64 = 5.0;
const FIRST_TOKEN_AFTER: Duration = Duration::from_secs(3);

/// The steps of a streamed answer, changed by `fault`.
pub fn change_stream(fault: Option<&FaultId>, steps: Steps) -> Steps {
    let Some(fault) = fault else {
        return steps;
    };
    match fault.kind {
        FaultKind::SlowFirstToken => {
            Box::new(once(Step::Pause(fault.first_token_after())).chain(steps))
        }
        FaultKind::Break(kind, default_tokens) => {
            kind.stream(fault.tokens.unwrap_or(default_tokens), fault.silence, steps)
        }
        FaultKind::Finish => finish_reasons::stream(&fault.finish_reason, false, steps),
        FaultKind::FinishWithError => finish_reasons::stream(&fault.finish_reason, true, steps),
        FaultKind::Framing(framing) => framing.stream(steps),
        FaultKind::Edit(edit) => edit.stream(steps),
        _ => steps,
    }
}

/// A unary answer, changed by `fault`.
pub fn change_unary(fault: Option<&FaultId>, answer: Value) -> UnaryAnswer {
    let Some(fault) = fault else {
        return UnaryAnswer::Answer(answer);
    };
    match fault.kind {
        FaultKind::SlowFirstToken => UnaryAnswer::Delayed(fault.first_token_after(), answer),
        FaultKind::Break(kind, default_tokens) => kind.unary(
            fault.tokens.unwrap_or(default_tokens),
            fault.silence,
            answer,
        ),
        FaultKind::Finish => {
            UnaryAnswer::Answer(finish_reasons::unary(&fault.finish_reason, false, answer))
        }
        FaultKind::FinishWithError => {
            UnaryAnswer::Answer(finish_reasons::unary(&fault.finish_reason, true, answer))
        }
        FaultKind::Framing(framing) => framing.unary(answer),
        FaultKind::Edit(edit) => edit.unary(answer),
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
