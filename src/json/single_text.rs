//! Messages of streams in which usually only one text changes, and where this text is.

use crate::proto::v1::{StreamChatCompletionResponse, StreamCompletionResponse};

/// A message in which usually only one text changes.
pub trait SingleText: Clone + PartialEq + Send + Sync + Unpin {
    /// The number of fields that may hold this text.
    const FIELDS: u8 = 0;

    /// The field with this number, if it is set.
    fn field(&mut self, _number: u8) -> Option<&mut String> {
        None
    }

    /// The first of these fields that is set and not empty, with its number.
    fn text(&mut self) -> Option<(u8, &mut String)> {
        let number = (0..Self::FIELDS)
            .find(|&number| self.field(number).is_some_and(|text| !text.is_empty()))?;
        Some((number, self.field(number)?))
    }
}

impl SingleText for StreamChatCompletionResponse {
    const FIELDS: u8 = 5;

    fn field(&mut self, number: u8) -> Option<&mut String> {
        let [choice] = self.choices.as_mut_slice() else {
            return None;
        };
        // 0.0 and -0.0 are equal, but JSON writes them differently.
        if choice.logprobs.is_some() {
            return None;
        }
        let delta = choice.delta.as_mut()?;
        match number {
            0 => delta.content.as_mut(),
            1 => delta.reasoning_content.as_mut(),
            2 => delta.reasoning.as_mut(),
            3 => delta.refusal.as_mut(),
            _ => match delta.tool_calls.as_mut_slice() {
                [call] => call.function.as_mut()?.arguments.as_mut(),
                _ => None,
            },
        }
    }
}

impl SingleText for StreamCompletionResponse {
    const FIELDS: u8 = 1;

    fn field(&mut self, _number: u8) -> Option<&mut String> {
        match self.choices.as_mut_slice() {
            [choice] => Some(&mut choice.text),
            _ => None,
        }
    }
}

/// For tests of streams.
#[cfg(test)]
impl SingleText for i32 {}
