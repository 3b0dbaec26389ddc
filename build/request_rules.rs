//! The rules for requests besides types, lengths and ranges, as schemas for the OpenAPI document.
//! `src/service/validate.rs` enforces the same rules, and a test compares the two.

/// Strings with a closed set of values: a description and the values. The schema of the set has the
/// field's name. Only the gateway checks `provider`. The upstream checks the values of all other
/// strings.
pub const CLOSED_STRINGS: &[(&str, (&str, &[&str]))] = &[
    ("CreateChatCompletionRequest.provider", PROVIDER),
    ("CreateCompletionRequest.provider", PROVIDER),
    ("CreateEmbeddingRequest.provider", PROVIDER),
];

const PROVIDER: (&str, &[&str]) = ("The provider.", &["featherless"]);

/// Required strings and lists that must not be empty, and lists of such strings: the schema
/// keywords that require this.
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

/// Members that require or exclude another member: keywords for the schema of their message. They
/// are beside its properties and not in an `allOf`, because generators of clients generate types
/// from an `allOf`.
pub const DEPENDENCIES: &[(&str, &str)] = &[
    (
        "GatewayOptions",
        r#"{
            "not": {
                "required": ["fallbacks", "no_fallbacks"],
                "properties": {
                    "fallbacks": { "type": "array", "minItems": 1 },
                    "no_fallbacks": { "const": true }
                }
            }
        }"#,
    ),
    // Only a unary chat completion can be streamed upstream.
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
                    "if": { "properties": { "tool_choice": {
                        "anyOf": [{ "const": "required" }, { "type": "object" }]
                    } } },
                    "then": {
                        "required": ["tools"],
                        "properties": { "tools": { "type": "array", "minItems": 1 } }
                    }
                },
                "function_call": {
                    "if": { "properties": { "function_call": { "type": "object" } } },
                    "then": {
                        "required": ["functions"],
                        "properties": { "functions": { "type": "array", "minItems": 1 } }
                    }
                }
            }
        }"#,
    ),
];
