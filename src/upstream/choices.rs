//! The choices of a streamed answer: it is complete when each of them has said why it finished.

use std::collections::BTreeSet;

use crate::error::{Error, ErrorCode, Result};

/// How many choices one answer may have: OpenAI's API allows 128 for each of 2048 prompts.
const CHOICES_MAX: usize = 128 * 2048;

/// Which choices have begun, and which have finished.
#[derive(Debug, Default)]
pub(super) struct Choices {
    /// How many were asked for.
    expected: usize,
    unfinished: BTreeSet<i32>,
    finished: BTreeSet<i32>,
}

impl Choices {
    /// For an answer that was asked for with this number of choices; 0 is taken as 1.
    pub(super) fn expecting(choices: usize) -> Self {
        Self {
            expected: choices.max(1),
            ..Self::default()
        }
    }

    /// A piece of this choice has come, and perhaps its last one.
    ///
    /// # Errors
    /// Upstream for more choices than any answer has.
    pub(super) fn note(&mut self, index: i32, is_last: bool) -> Result<()> {
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

    /// Whether every choice there is has said why it finished: enough if upstream says that this is
    /// all.
    pub(super) fn are_finished(&self) -> bool {
        self.unfinished.is_empty() && !self.finished.is_empty()
    }

    /// Whether that is so of as many as were asked for: enough if upstream says nothing more.
    pub(super) fn are_complete(&self) -> bool {
        self.are_finished() && self.finished.len() >= self.expected
    }
}
