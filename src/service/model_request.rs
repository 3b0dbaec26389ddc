//! What the gateway must know of a request that a model answers.

use prost::Message;
use serde::{Serialize, de::DeserializeOwned};

/// A request that a model answers, as it is sent upstream.
pub trait ModelRequest: Serialize + DeserializeOwned + Send + 'static {
    /// The largest number of tokens of each choice upstream, if the request sets none. `None` if it
    /// depends on the model.
    const MAX_TOKENS_DEFAULT: Option<u64> = None;

    /// The path below the upstream's base URL.
    const PATH: &'static [&'static str];

    /// Whether another model may answer instead. Texts of two models mean the same; vectors of two
    /// models do not.
    const MAY_FALL_BACK: bool;

    /// The requested model.
    fn model(&mut self) -> &mut String;

    /// How many choices the answer must have.
    fn choices(&self) -> usize;

    /// How many choices are generated. It can be more than the answer has.
    fn generations(&self) -> usize {
        self.choices()
    }

    /// The tokens of the prompt. `text` estimates those of its text.
    fn prompt_tokens(&self, text: TextTokens) -> usize;

    /// The largest number of tokens of each choice, if the request sets it.
    fn max_tokens(&self) -> Option<i32>;

    /// Sets the largest number of tokens of each choice.
    fn set_max_tokens(&mut self, tokens: i32);

    /// Asks for the usage at the end of a stream. Returns whether the caller has not asked for it.
    fn ask_for_usage(&mut self) -> bool;
}

/// How much a request asks for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Size {
    /// The tokens of the prompt, estimated rather too high.
    pub(super) prompt_tokens: u64,
    /// How many choices are generated.
    pub(super) generations: u64,
    /// The largest number of tokens of each choice, if the request sets it.
    pub(super) max_tokens: Option<u64>,
    /// The same upstream, if the request sets none. `None` if it depends on the model.
    pub(super) max_tokens_default: Option<u64>,
}

impl Size {
    /// The size of a request that is valid: before, `extra` may have its fields.
    pub(super) fn of<R: ModelRequest>(request: &R, text: TextTokens) -> Self {
        let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
        let max_tokens = request.max_tokens();
        Self {
            prompt_tokens: count(request.prompt_tokens(text)),
            generations: count(request.generations()),
            max_tokens: max_tokens.and_then(|tokens| u64::try_from(tokens).ok()),
            max_tokens_default: R::MAX_TOKENS_DEFAULT,
        }
    }
}

/// What a chat template adds to a message, and to a prompt, at most, in tokens.
pub(super) const TEMPLATE_TOKENS: usize = 16;

/// The tokens of an image, about as many as models use at most for one.
pub(super) const IMAGE_TOKENS: usize = 2048;

/// How the tokens of a text are estimated: rather too high, because a prompt that is estimated too
/// low would exceed a budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextTokens {
    /// By its length.
    ByLength,
    /// By its letters, which all must be read: for keys with a limit of tokens.
    ByLetters,
}

/// How many letters of ASCII are at least one token, as long as they are words. Tokens of English
/// text have about four.
const TOKEN_BYTES: usize = 2;

impl TextTokens {
    /// The tokens of a message, which has texts.
    pub(super) fn of(self, message: &impl Message) -> usize {
        match self {
            Self::ByLength => message.encoded_len().div_ceil(TOKEN_BYTES),
            Self::ByLetters => by_letters(&message.encode_to_vec()),
        }
    }

    /// The tokens of a text.
    pub(super) fn of_text(self, text: &str) -> usize {
        match self {
            Self::ByLength => text.len().div_ceil(TOKEN_BYTES),
            Self::ByLetters => by_letters(text.as_bytes()),
        }
    }
}

/// Many models have a token for each digit, and for each byte of a letter that they do not know.
fn by_letters(text: &[u8]) -> usize {
    let singles = text
        .iter()
        .filter(|byte| byte.is_ascii_digit() || !byte.is_ascii());
    let singles = singles.count();
    singles + (text.len() - singles).div_ceil(TOKEN_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_and_bytes_that_are_not_ascii_may_be_a_token_each() {
        for (text, tokens) in [
            ("", 0),
            ("word", 2),
            ("words", 3),
            ("2026", 4),
            ("in 2026.", 6),
            ("größe", 6),
            ("漢字", 6),
        ] {
            assert_eq!(TextTokens::ByLetters.of_text(text), tokens, "{text}");
        }
        assert_eq!(TextTokens::ByLength.of_text("2026"), 2);
    }
}
