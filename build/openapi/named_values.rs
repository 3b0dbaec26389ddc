//! Schemas that are written by hand because they are no messages of the contract: values that may
//! stand in place of a message, and JSON text whose structure is known.

use serde_json::{Value, json};

use super::names::reference;

/// A value that means that a request doesn't have an object. It has a name, so that generated
/// clients have one for it.
pub(super) const EMPTY_LIST: &str = "EmptyList";

/// A request's message that may be an earlier answer.
pub(super) const REPLAYED_MESSAGE: &str = "ReplayedMessage";

const LOGPROB_LISTS: &str = "LogprobLists";
const LIKELIEST_TOKENS: &str = "LikeliestTokens";

/// Members of answers that are JSON text of a known structure, and the name of its schema.
pub(super) const KNOWN_TEXTS: &[(&str, &str)] = &[("CompletionChoice.logprobs", LOGPROB_LISTS)];

/// All of these schemas, by name.
pub(super) fn named_values() -> [(String, Value); 4] {
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
        "description": "What PHP writes for an empty object. It means the same as leaving the \
            member out.",
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
    let top = json!({ "oneOf": [reference("schemas", LIKELIEST_TOKENS), { "type": "null" }] });
    let list = |description: &str, items: Value| {
        let kinds = ["array", "null"];
        json!({ "description": description, "type": kinds, "items": items })
    };
    json!({
        "description": "Log probabilities in the shape of the legacy API: lists of the same \
            length, one element for each token.",
        "type": "object",
        "properties": {
            "tokens": list("The tokens.", json!({ "type": "string" })),
            "token_logprobs": list(
                "Their log probabilities; null for a first token that nothing comes before.",
                json!({ "type": ["number", "null"], "format": "double" }),
            ),
            "top_logprobs": list("The likeliest tokens at each place.", top),
            "text_offset": list(
                "Where each token begins in the text.",
                json!({ "type": "integer" }),
            ),
        },
        "additionalProperties": true,
    })
}

fn replayed_message() -> Value {
    json!({
        "description": "A message of an answer, sent back as it came: any role but `system`, \
            `developer` and `user`. A member of an unexpected type goes upstream as it is.",
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
