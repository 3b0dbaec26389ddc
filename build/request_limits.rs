//! What requests must satisfy beyond their types, as the contract's comments say and
//! `src/service/validate.rs` enforces: for the OpenAPI document. A test holds this table to what
//! the gateway accepts and refuses at its edges.

/// The numbers that a member may be.
pub struct Range {
    /// The smallest.
    pub min: Option<f64>,
    /// What it must be more than.
    pub above: Option<f64>,
    /// The largest.
    pub max: Option<f64>,
}

impl Range {
    /// What a member must be, in words; `kind` is `a number` or `an integer`.
    pub fn words(&self, kind: &str) -> String {
        match (self.min, self.above, self.max) {
            (Some(min), None, Some(max)) => format!("{kind} from {min} to {max}"),
            (Some(min), None, None) => format!("{kind} of at least {min}"),
            (None, Some(above), Some(max)) => format!("{kind} above {above}, up to {max}"),
            (None, Some(above), None) => format!("{kind} above {above}"),
            _ => panic!("no words for this range"),
        }
    }
}

/// The range of a member; none if its type's own is all there is.
pub fn range_of(path: &str) -> Option<&'static Range> {
    RANGES
        .iter()
        .find(|(limited, _)| *limited == path)
        .map(|(_, range)| range)
}

const fn from_to(min: f64, max: f64) -> Range {
    Range {
        min: Some(min),
        above: None,
        max: Some(max),
    }
}

const fn at_least(min: f64) -> Range {
    Range {
        min: Some(min),
        above: None,
        max: None,
    }
}

const fn above(above: f64) -> Range {
    Range {
        min: None,
        above: Some(above),
        max: None,
    }
}

const fn above_to(above: f64, max: f64) -> Range {
    Range {
        min: None,
        above: Some(above),
        max: Some(max),
    }
}

/// Members whose numbers have a range narrower than their type's.
pub const RANGES: &[(&str, Range)] = &[
    ("CreateChatCompletionRequest.temperature", from_to(0.0, 2.0)),
    ("CreateChatCompletionRequest.top_p", above_to(0.0, 1.0)),
    ("CreateChatCompletionRequest.top_k", at_least(-1.0)),
    ("CreateChatCompletionRequest.min_p", from_to(0.0, 1.0)),
    (
        "CreateChatCompletionRequest.frequency_penalty",
        from_to(-2.0, 2.0),
    ),
    (
        "CreateChatCompletionRequest.presence_penalty",
        from_to(-2.0, 2.0),
    ),
    ("CreateChatCompletionRequest.repetition_penalty", above(0.0)),
    ("CreateChatCompletionRequest.max_tokens", at_least(1.0)),
    (
        "CreateChatCompletionRequest.max_completion_tokens",
        at_least(1.0),
    ),
    ("CreateChatCompletionRequest.min_tokens", at_least(0.0)),
    ("CreateChatCompletionRequest.n", from_to(1.0, 128.0)),
    (
        "CreateChatCompletionRequest.top_logprobs",
        from_to(0.0, 20.0),
    ),
    ("CreateCompletionRequest.temperature", from_to(0.0, 2.0)),
    ("CreateCompletionRequest.top_p", above_to(0.0, 1.0)),
    ("CreateCompletionRequest.top_k", at_least(-1.0)),
    ("CreateCompletionRequest.min_p", from_to(0.0, 1.0)),
    (
        "CreateCompletionRequest.frequency_penalty",
        from_to(-2.0, 2.0),
    ),
    (
        "CreateCompletionRequest.presence_penalty",
        from_to(-2.0, 2.0),
    ),
    ("CreateCompletionRequest.repetition_penalty", above(0.0)),
    ("CreateCompletionRequest.max_tokens", at_least(0.0)),
    ("CreateCompletionRequest.min_tokens", at_least(0.0)),
    ("CreateCompletionRequest.n", from_to(1.0, 128.0)),
    ("CreateCompletionRequest.best_of", from_to(0.0, 20.0)),
    ("CreateCompletionRequest.logprobs", at_least(0.0)),
    ("CreateEmbeddingRequest.dimensions", at_least(1.0)),
    ("GatewayOptions.timeout_ms", at_least(1.0)),
];

/// Strings with a closed set of words, which their fields' names are a name for: what they are, and
/// the words. There is one only, since it is our own: all others are the upstream's to judge.
pub const WORDS: &[(&str, (&str, &[&str]))] = &[
    ("CreateChatCompletionRequest.provider", PROVIDER),
    ("CreateCompletionRequest.provider", PROVIDER),
    ("CreateEmbeddingRequest.provider", PROVIDER),
];

const PROVIDER: (&str, &[&str]) = ("Who may answer.", &["featherless"]);

/// Required strings and lists that must not be empty, and lists of such strings: what they must
/// have, as a member of their schema.
pub const NOT_EMPTY: &[(&str, &str)] = &[
    ("ChatMessage.role", r#"{"minLength": 1}"#),
    ("CreateChatCompletionRequest.messages", r#"{"minItems": 1}"#),
    ("CreateChatCompletionRequest.model", r#"{"pattern": "\\S"}"#),
    ("CreateCompletionRequest.model", r#"{"pattern": "\\S"}"#),
    ("CreateEmbeddingRequest.model", r#"{"pattern": "\\S"}"#),
    (
        "GatewayOptions.fallbacks",
        r#"{"items": {"type": "string", "pattern": "\\S"}}"#,
    ),
    ("TokenizeRequest.model", r#"{"pattern": "\\S"}"#),
];

/// Members that need another one, or don't go with another one: keywords for their message's schema.
/// Beside its properties, and not in an `allOf`, of which generators of clients make types.
pub const NEEDED: &[(&str, &str)] = &[
    (
        "GatewayOptions",
        r#"{
            "not": {
                "required": ["fallbacks", "no_fallbacks"],
                "properties": { "fallbacks": { "type": "array", "minItems": 1 }, "no_fallbacks": { "const": true } }
            }
        }"#,
    ),
    // Only whole chat answers can be asked for as a stream.
    (
        "CreateCompletionRequest",
        r#"{
            "not": { "required": ["featherwire"], "properties": { "featherwire": {
                "type": "object",
                "required": ["unary_via_stream"],
                "properties": { "unary_via_stream": { "const": true } }
            } } }
        }"#,
    ),
    (
        "CreateEmbeddingRequest",
        r#"{
            "not": { "required": ["featherwire"], "properties": { "featherwire": {
                "type": "object",
                "anyOf": [
                    {
                        "required": ["unary_via_stream"],
                        "properties": { "unary_via_stream": { "const": true } }
                    },
                    {
                        "required": ["fallbacks"],
                        "properties": { "fallbacks": { "type": "array", "minItems": 1 } }
                    }
                ]
            } } }
        }"#,
    ),
    (
        "CreateChatCompletionRequest",
        r#"{
            "dependentSchemas": {
                "tool_choice": {
                    "if": { "properties": { "tool_choice": { "anyOf": [{ "const": "required" }, { "type": "object" }] } } },
                    "then": { "required": ["tools"], "properties": { "tools": { "type": "array", "minItems": 1 } } }
                },
                "function_call": {
                    "if": { "properties": { "function_call": { "type": "object" } } },
                    "then": { "required": ["functions"], "properties": { "functions": { "type": "array", "minItems": 1 } } }
                }
            }
        }"#,
    ),
];
