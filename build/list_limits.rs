//! How long each list of the contract may be: for both codecs, which refuse a longer one while they
//! read it, and for the OpenAPI document.
//!
//! The numbers are far above what people send and what models answer. They are there so that small
//! elements without end, such as `{},{},…`, can't take many times the memory of the text that they
//! came as.

use std::fmt::Write;

use prost_types::{
    DescriptorProto, FieldDescriptorProto, FileDescriptorSet, field_descriptor_proto::Label,
};

/// How many members without a field one object may have.
pub const EXTRA_MAX: usize = 1024;

/// The vocabulary of the largest tokenizers, in tokens.
const VOCABULARY: usize = 262_144;

/// Choices of a completion: OpenAI's API allows 128 for each of 2048 prompts.
const COMPLETION_CHOICES: usize = 128 * 2048;

/// Each repeated field and map: its path, the most elements it may have, and what they are called.
const LISTS: &[(&str, usize, &str)] = &[
    ("AllowedTools.tools", 2048, "tools"),
    ("CallReport.tried", 1024, "models"),
    ("ChatDelta.annotations", 16_384, "annotations"),
    ("ChatDelta.content_parts", 8192, "parts"),
    ("ChatDelta.tool_calls", 8192, "tool calls"),
    ("ChatMessage.annotations", 16_384, "annotations"),
    ("ChatMessage.content_parts", 8192, "parts"),
    ("ChatMessage.tool_calls", 8192, "tool calls"),
    ("Concurrency.requests", 65_536, "requests"),
    ("CreateChatCompletionRequest.functions", 2048, "functions"),
    (
        "CreateChatCompletionRequest.logit_bias",
        VOCABULARY,
        "entries",
    ),
    ("CreateChatCompletionRequest.messages", 16_384, "messages"),
    ("CreateChatCompletionRequest.metadata", 1024, "entries"),
    ("CreateChatCompletionRequest.modalities", 64, "modalities"),
    ("CreateChatCompletionRequest.stop", 1024, "texts"),
    (
        "CreateChatCompletionRequest.stop_token_ids",
        VOCABULARY,
        "token ids",
    ),
    ("CreateChatCompletionRequest.tools", 2048, "tools"),
    ("CreateChatCompletionResponse.choices", 4096, "choices"),
    ("CreateChatCompletionResponse.metadata", 1024, "entries"),
    ("CreateCompletionRequest.logit_bias", VOCABULARY, "entries"),
    ("CreateCompletionRequest.stop", 1024, "texts"),
    (
        "CreateCompletionRequest.stop_token_ids",
        VOCABULARY,
        "token ids",
    ),
    (
        "CreateCompletionResponse.choices",
        COMPLETION_CHOICES,
        "choices",
    ),
    ("CreateEmbeddingResponse.data", 65_536, "vectors"),
    ("GatewayOptions.fallbacks", 8, "models"),
    ("GatewayUnits.keys", 65_536, "keys"),
    ("ListModelsResponse.models", 262_144, "models"),
    ("Logprobs.content", 1_048_576, "tokens"),
    ("Logprobs.refusal", 1_048_576, "tokens"),
    ("Prediction.content_parts", 8192, "parts"),
    ("StreamChatCompletionResponse.choices", 4096, "choices"),
    (
        "StreamCompletionResponse.choices",
        COMPLETION_CHOICES,
        "choices",
    ),
    ("StringList.values", 65_536, "texts"),
    ("TokenList.values", 4_194_304, "token ids"),
    ("TokenLists.values", 65_536, "lists of token ids"),
    ("TokenLogprob.top_logprobs", VOCABULARY, "tokens"),
    ("TokenizeResponse.tokens", 33_554_432, "tokens"),
    ("FloatVector.values", 65_536, "numbers"),
];

/// The most elements that a repeated field or a map may have.
pub fn max_of(path: &str) -> usize {
    let limit = LISTS.iter().find(|(limited, ..)| *limited == path);
    limit
        .unwrap_or_else(|| {
            panic!("{path}: every list has a limit: give it one in build/list_limits.rs")
        })
        .1
}

/// The name of the constant with a list's limit, in the module `limits` of the generated code.
pub fn constant(path: &str) -> String {
    let mut name = String::new();
    for letter in path.chars() {
        match letter {
            '.' => name.push('_'),
            _ if letter.is_uppercase() && !name.is_empty() && !name.ends_with('_') => {
                name.push('_');
                name.push(letter);
            }
            _ => name.extend(letter.to_uppercase()),
        }
    }
    name
}

/// The limits as Rust source, to be included where the messages are.
pub fn generate(contract: &FileDescriptorSet) -> String {
    let mut code =
        String::from("\npub(crate) mod limits {\n    use crate::proto::bounds::Limit;\n");
    writeln!(
        code,
        "    pub(crate) const EXTRA: Limit = Limit {{ max: {EXTRA_MAX}, of: \"members without a \
         field\" }};"
    )
    .unwrap();
    let lists: Vec<String> = contract
        .file
        .iter()
        .flat_map(|file| &file.message_type)
        .flat_map(paths)
        .collect();
    for (path, max, of) in LISTS {
        assert!(
            lists.iter().any(|list| list == path),
            "limit of {path}: no such list"
        );
        let name = constant(path);
        writeln!(
            code,
            "    pub(crate) const {name}: Limit = Limit {{ max: {max}, of: {of:?} }};"
        )
        .unwrap();
    }
    code.push_str("}\n");
    code
}

/// The lists of a message, without `extra`.
fn paths(message: &DescriptorProto) -> Vec<String> {
    let lists = message
        .field
        .iter()
        .filter(|field| is_list(field) && field.name() != "extra");
    lists
        .map(|field| format!("{}.{}", message.name(), field.name()))
        .collect()
}

/// Whether a field is repeated, or a map.
pub fn is_list(field: &FieldDescriptorProto) -> bool {
    field.label() == Label::Repeated
}
