//! What requests must satisfy beyond their types, as the contract's comments say and `src/service/validate.rs` enforces:
//! for the OpenAPI document. A test holds this table to what the gateway accepts and refuses at its edges.

/// The numbers that a member may be.
pub struct Range {
    /// The smallest.
    pub min: Option<f64>,
    /// What it must be more than.
    pub above: Option<f64>,
    /// The largest.
    pub max: Option<f64>,
}

const fn from_to(min: f64, max: f64) -> Range {
    Range { min: Some(min), above: None, max: Some(max) }
}

const fn at_least(min: f64) -> Range {
    Range { min: Some(min), above: None, max: None }
}

const fn above(above: f64) -> Range {
    Range { min: None, above: Some(above), max: None }
}

const fn above_to(above: f64, max: f64) -> Range {
    Range { min: None, above: Some(above), max: Some(max) }
}

/// Members whose numbers have a range narrower than their type's.
pub const RANGES: &[(&str, Range)] = &[
    ("CreateChatCompletionRequest.temperature", from_to(0.0, 2.0)),
    ("CreateChatCompletionRequest.top_p", above_to(0.0, 1.0)),
    ("CreateChatCompletionRequest.top_k", at_least(-1.0)),
    ("CreateChatCompletionRequest.min_p", from_to(0.0, 1.0)),
    ("CreateChatCompletionRequest.frequency_penalty", from_to(-2.0, 2.0)),
    ("CreateChatCompletionRequest.presence_penalty", from_to(-2.0, 2.0)),
    ("CreateChatCompletionRequest.repetition_penalty", above(0.0)),
    ("CreateChatCompletionRequest.max_tokens", at_least(1.0)),
    ("CreateChatCompletionRequest.max_completion_tokens", at_least(1.0)),
    ("CreateChatCompletionRequest.min_tokens", at_least(0.0)),
    ("CreateChatCompletionRequest.n", from_to(1.0, 128.0)),
    ("CreateChatCompletionRequest.top_logprobs", from_to(0.0, 20.0)),
    ("CreateCompletionRequest.temperature", from_to(0.0, 2.0)),
    ("CreateCompletionRequest.top_p", above_to(0.0, 1.0)),
    ("CreateCompletionRequest.top_k", at_least(-1.0)),
    ("CreateCompletionRequest.min_p", from_to(0.0, 1.0)),
    ("CreateCompletionRequest.frequency_penalty", from_to(-2.0, 2.0)),
    ("CreateCompletionRequest.presence_penalty", from_to(-2.0, 2.0)),
    ("CreateCompletionRequest.repetition_penalty", above(0.0)),
    ("CreateCompletionRequest.max_tokens", at_least(0.0)),
    ("CreateCompletionRequest.min_tokens", at_least(0.0)),
    ("CreateCompletionRequest.n", from_to(1.0, 128.0)),
    ("CreateCompletionRequest.best_of", from_to(0.0, 20.0)),
    ("CreateCompletionRequest.logprobs", at_least(0.0)),
    ("CreateEmbeddingRequest.dimensions", at_least(1.0)),
];

/// Strings with a closed set of words. There is one only, since it is our own: all others are the upstream's to judge.
pub const WORDS: &[(&str, &[&str])] = &[
    ("CreateChatCompletionRequest.provider", &["featherless"]),
    ("CreateCompletionRequest.provider", &["featherless"]),
    ("CreateEmbeddingRequest.provider", &["featherless"]),
];

/// Required strings and lists that must not be empty: what they must have, as a member of their schema.
pub const NOT_EMPTY: &[(&str, &str)] = &[
    ("ChatMessage.role", r#"{"minLength": 1}"#),
    ("CreateChatCompletionRequest.messages", r#"{"minItems": 1}"#),
    ("CreateChatCompletionRequest.model", r#"{"pattern": "\\S"}"#),
    ("CreateCompletionRequest.model", r#"{"pattern": "\\S"}"#),
    ("CreateEmbeddingRequest.model", r#"{"pattern": "\\S"}"#),
    ("TokenizeRequest.model", r#"{"pattern": "\\S"}"#),
];
