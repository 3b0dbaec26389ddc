//! What the gateway must know of a request that a model answers.

use serde::{Serialize, de::DeserializeOwned};

/// A request that a model answers, as it is sent upstream.
pub trait ModelRequest: Serialize + DeserializeOwned + Send + 'static {
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

    /// The tokens of the prompt, estimated rather too high.
    fn prompt_tokens(&self) -> usize;

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
}

impl Size {
    /// The size of a request that is valid: before, `extra` may have its fields.
    pub(super) fn of(request: &impl ModelRequest) -> Self {
        let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
        let max_tokens = request.max_tokens();
        Self {
            prompt_tokens: count(request.prompt_tokens()),
            generations: count(request.generations()),
            max_tokens: max_tokens.and_then(|tokens| u64::try_from(tokens).ok()),
        }
    }
}

/// How many bytes of text are at least one token. Tokens of English text have about four. Tokens of
/// other text have less, and a prompt that is estimated too low would exceed a budget.
const TOKEN_BYTES: usize = 2;

/// What a chat template adds to a message, and to a prompt, at most, in tokens.
pub(super) const TEMPLATE_TOKENS: usize = 16;

/// The tokens of an image, about as many as models use at most for one.
pub(super) const IMAGE_TOKENS: usize = 2048;

/// The estimated tokens of a text of this length.
pub(super) fn tokens_of(bytes: usize) -> usize {
    bytes.div_ceil(TOKEN_BYTES)
}
