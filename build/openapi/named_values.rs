//! Schemas that are written by hand, because the contract has no message for them: values that may
//! replace a message, and JSON text with a known structure.

use serde_json::{Value, json};

use super::names::reference;

/// A value that means an absent object in a request. It has a name, so that generated clients have
/// a name for its type.
pub(super) const EMPTY_LIST: &str = "EmptyList";

/// A message of a request that may be an earlier answer.
pub(super) const REPLAYED_MESSAGE: &str = "ReplayedMessage";

const LOGPROB_LISTS: &str = "LogprobLists";
const MOST_LIKELY_TOKENS: &str = "LikeliestTokens";

/// Members of answers that are JSON text with a known structure, and the name of its schema.
pub(super) const KNOWN_JSON_TEXTS: &[(&str, &str)] =
    &[("CompletionChoice.logprobs", LOGPROB_LISTS)];

/// All of these schemas, by name.
pub(super) fn named_values() -> [(String, Value); 4] {
    [
        (EMPTY_LIST, empty_list()),
        (MOST_LIKELY_TOKENS, most_likely_tokens()),
        (LOGPROB_LISTS, logprob_lists()),
        (REPLAYED_MESSAGE, replayed_message()),
    ]
    .map(|(name, schema)| (name.to_owned(), schema))
}

fn empty_list() -> Value {
    json!({
        "description": "The value that PHP writes for an empty object. It means the same as an \
                        absent member.",
        "type": "array",
        "items": { "type": "null" },
        "maxItems": 0,
    })
}

fn most_likely_tokens() -> Value {
    json!({
        "description": "The most likely tokens at one position, with their log \
                        probabilities.",
        "type": "object",
        "additionalProperties": { "type": ["number", "null"], "format": "double" },
    })
}

fn logprob_lists() -> Value {
    let top = json!({ "oneOf": [reference("schemas", MOST_LIKELY_TOKENS), { "type": "null" }] });
    let list = |description: &str, items: Value| {
        let kinds = ["array", "null"];
        json!({ "description": description, "type": kinds, "items": items })
    };
    json!({
        "description": "Log probabilities in the format of the legacy API: lists of the same \
            length, with one element for each token.",
        "type": "object",
        "properties": {
            "tokens": list("The tokens.", json!({ "type": "string" })),
            "token_logprobs": list(
                                "The log probabilities of the tokens. Null for the first token of \
                                 the prompt.",
                json!({ "type": ["number", "null"], "format": "double" }),
            ),
                        "top_logprobs": list("The most likely tokens at each position.", top),
            "text_offset": list(
                                "The position of each token in the text.",
                json!({ "type": "integer" }),
            ),
        },
        "additionalProperties": true,
    })
}

fn replayed_message() -> Value {
    json!({
        "description": "A message of an answer, sent back unchanged: any role except `system`, \
            `developer` and `user`. A member of an unexpected type is sent upstream unchanged.",
        "type": "object",
        "properties": {
            "role": {
                "description": "The role of the author, such as `assistant` or \
                                `tool`.",
                "type": "string",
                "minLength": 1,
                "not": { "enum": ["system", "developer", "user"] },
            },
        },
        "required": ["role"],
        "additionalProperties": true,
    })
}
