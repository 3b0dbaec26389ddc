//! An answer, as it is written to the two outputs: text to standard output, and reasoning to
//! standard error.

use std::io;

use super::super::{failure::Failure, output, printable, style::Style};
use crate::proto::v1::{ChatDelta, ToolCall};

/// The state of the output, on which the next output depends.
pub(super) struct View {
    style: Style,
    reasoning: bool,
    needs_line_end: bool,
    was_too_long: bool,
}

impl View {
    pub(super) fn new() -> Self {
        Self {
            style: Style::of(&io::stderr()),
            reasoning: false,
            needs_line_end: false,
            was_too_long: false,
        }
    }

    pub(super) fn show(&mut self, delta: &ChatDelta) -> Result<(), Failure> {
        let reasoning = delta
            .reasoning_content
            .as_ref()
            .or(delta.reasoning.as_ref());
        if let Some(reasoning) = reasoning.filter(|text| !text.is_empty()) {
            self.reasoning = true;
            output::draw(self.style.dim(printable::text(reasoning)));
        }
        if let Some(text) = delta.content.as_ref().filter(|text| !text.is_empty()) {
            self.answer(text)?;
        }
        for ToolCall { function, .. } in &delta.tool_calls {
            let Some(function) = function else { continue };
            if let Some(name) = &function.name {
                self.answer(&format!("→ {name} "))?;
            }
            self.answer(function.arguments.as_deref().unwrap_or_default())?;
        }
        Ok(())
    }

    /// The answer has ended at its length limit.
    pub(super) fn was_too_long(&mut self) {
        self.was_too_long = true;
    }

    fn answer(&mut self, text: &str) -> Result<(), Failure> {
        if std::mem::take(&mut self.reasoning) {
            output::draw("\n\n");
        }
        if !text.is_empty() {
            self.needs_line_end = !text.ends_with('\n');
        }
        output::print(printable::text(text))
    }

    /// Ends the last line.
    pub(super) fn finish(&mut self) -> Result<(), Failure> {
        if std::mem::take(&mut self.reasoning) {
            output::draw("\n");
        }
        if std::mem::take(&mut self.needs_line_end) {
            output::print("\n")?;
        }
        if std::mem::take(&mut self.was_too_long) {
            output::tell("featherwire: the answer ended at its length limit (--max-tokens)\n");
        }
        Ok(())
    }
}
