//! The choices of a streamed answer. The answer is complete when each of them has a finish reason.

use std::collections::BTreeSet;

use crate::error::{Error, ErrorCode, Result};

/// The most choices of one answer: OpenAI's API allows 128 for each of 2048 prompts.
const CHOICES_MAX: usize = 128 * 2048;

/// Which choices have started, and which have finished.
#[derive(Debug, Default)]
pub(super) struct ChoiceTracker {
    /// The number of requested choices.
    expected: usize,
    unfinished: BTreeSet<i32>,
    finished: BTreeSet<i32>,
}

impl ChoiceTracker {
    /// For a request of `choices` choices. 0 means 1.
    pub(super) fn expecting(choices: usize) -> Self {
        Self {
            expected: choices.max(1),
            ..Self::default()
        }
    }

    /// Records a message of the choice `index`. `is_last` says whether it has the finish reason.
    ///
    /// # Errors
    /// [`Kind::Upstream`](crate::error::Kind::Upstream) for more choices than any answer has.
    pub(super) fn record(&mut self, index: i32, is_last: bool) -> Result<()> {
        if is_last {
            self.unfinished.remove(&index);
            self.finished.insert(index);
        } else if !self.finished.contains(&index) {
            self.unfinished.insert(index);
        }
        if self.unfinished.len() + self.finished.len() > CHOICES_MAX {
            let message = format!("Featherless's answer has more than {CHOICES_MAX} choices");
            return Err(Error::new(ErrorCode::UpstreamBadAnswer, message));
        }
        Ok(())
    }

    /// Whether every choice so far has finished. This is enough if upstream says that the answer is
    /// complete.
    pub(super) fn are_finished(&self) -> bool {
        self.unfinished.is_empty() && !self.finished.is_empty()
    }

    /// Whether all the requested choices have finished. This is enough even if upstream says
    /// nothing more.
    pub(super) fn are_complete(&self) -> bool {
        self.are_finished() && self.finished.len() >= self.expected
    }
}
