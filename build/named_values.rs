//! Schemas that are no message of the contract, and are written here by hand: what may stand in a
//! place of a message's, and JSON text of which the shape is known.

use serde_json::{Value, json};

/// A reference to the schema of this name.
pub fn reference(name: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{name}") })
}

/// What a request may have in place of an object that it doesn't have. Of a name, so that clients
/// that are generated say what it is.
pub const EMPTY_LIST: &str = "EmptyList";

/// A request's message that may be an answer given back.
pub const REPLAYED_MESSAGE: &str = "ReplayedMessage";

const LOGPROB_LISTS: &str = "LogprobLists";
const LIKELIEST_TOKENS: &str = "LikeliestTokens";

/// Members of answers that are JSON text of a known shape, and the shape's name.
pub const SHAPES: &[(&str, &str)] = &[("CompletionChoice.logprobs", LOGPROB_LISTS)];

/// All of them, by name.
pub fn by_hand() -> [(String, Value); 4] {
    [
        (EMPTY_LIST, empty_list()),
        (LIKELIEST_TOKENS, likeliest_tokens()),
        (LOGPROB_LISTS, logprob_lists()),
        (REPLAYED_MESSAGE, replayed_message()),
    ]
    .map(|(name, schema)| (name.to_owned(), schema))
}

fn empty_list() -> Value {
    json!({
        "description": "What PHP writes for an empty object. It means the same as leaving the member out.",
        "type": "array",
        "items": { "type": "null" },
        "maxItems": 0,
    })
}

fn likeliest_tokens() -> Value {
    json!({
        "description": "The likeliest tokens at one place, with their log probabilities.",
        "type": "object",
        "additionalProperties": { "type": ["number", "null"], "format": "double" },
    })
}

fn logprob_lists() -> Value {
    let tops = json!({ "oneOf": [reference(LIKELIEST_TOKENS), { "type": "null" }] });
    let list = |description: &str, items: Value| json!({ "description": description, "type": ["array", "null"], "items": items });
    json!({
        "description": "Log probabilities in the shape of the legacy API: lists of the same length, one element \
            for each token.",
        "type": "object",
        "properties": {
            "tokens": list("The tokens.", json!({ "type": "string" })),
            "token_logprobs": list(
                "Their log probabilities; null for a first token that nothing comes before.",
                json!({ "type": ["number", "null"], "format": "double" }),
            ),
            "top_logprobs": list("The likeliest tokens at each place.", tops),
            "text_offset": list("Where each token begins in the text.", json!({ "type": "integer" })),
        },
        "additionalProperties": true,
    })
}

fn replayed_message() -> Value {
    json!({
        "description": "An answer's message, given back as it is: any role but those that never answer. A member of an \
            unexpected type goes upstream as it is.",
        "type": "object",
        "properties": {
            "role": {
                "description": "Who speaks, such as `assistant` or `tool`.",
                "type": "string",
                "minLength": 1,
                "not": { "enum": ["system", "developer", "user"] },
            },
        },
        "required": ["role"],
        "additionalProperties": true,
    })
}
