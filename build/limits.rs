//! The limits of the contract's fields: the largest length of each list, and the range of each
//! number. Limits are defined only here. The codecs, the validation and the OpenAPI document are
//! generated from this table.
//!
//! The lengths of lists are far above those in real requests and answers. Without limits, many
//! small elements, such as `{},{},…`, would take many times the memory of their text.

use std::fmt::Write;

use super::range::Range;
use prost_types::{
    DescriptorProto, FieldDescriptorProto, FileDescriptorSet,
    field_descriptor_proto::{Label, Type},
};

/// The largest number of members without a field in one object.
pub const EXTRA_MAX: usize = 1024;

/// The size of the largest vocabularies, in tokens.
const VOCABULARY: usize = 262_144;

/// The choices of a completion. OpenAI's API allows 128 for each of 2048 prompts.
const COMPLETION_CHOICES: usize = 128 * 2048;

/// Each repeated field and map: its path, its largest number of elements, and the name of its
/// elements.
const LISTS: &[(&str, usize, &str)] = &[
    ("AllowedTools.tools", 2048, "tools"),
    ("CallReport.tried", 1024, "models"),
    ("ChatDelta.annotations", 16_384, "annotations"),
    ("ChatDelta.content_parts", 8192, "parts"),
    ("ChatDelta.tool_calls", 8192, "tool calls"),
    ("ChatMessage.annotations", 16_384, "annotations"),
    ("ChatMessage.content_parts", 8192, "parts"),
    ("ChatMessage.tool_calls", 8192, "tool calls"),
    ("Concurrency.accounts", 1024, "accounts"),
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
    ("GatewayUnits.circuits", 4096, "circuits"),
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

/// Each number of a request whose range is narrower than that of its type, in the order of the
/// checks. The error names the first number out of range.
pub const RANGES: &[(&str, Range)] = &[
    (
        "CreateChatCompletionRequest.temperature",
        Range::from_to(0.0, 2.0),
    ),
    (
        "CreateChatCompletionRequest.frequency_penalty",
        Range::from_to(-2.0, 2.0),
    ),
    (
        "CreateChatCompletionRequest.presence_penalty",
        Range::from_to(-2.0, 2.0),
    ),
    (
        "CreateChatCompletionRequest.min_p",
        Range::from_to(0.0, 1.0),
    ),
    (
        "CreateChatCompletionRequest.top_p",
        Range::above_to(0.0, 1.0),
    ),
    (
        "CreateChatCompletionRequest.repetition_penalty",
        Range::above(0.0),
    ),
    (
        "CreateChatCompletionRequest.max_tokens",
        Range::at_least(1.0),
    ),
    (
        "CreateChatCompletionRequest.max_completion_tokens",
        Range::at_least(1.0),
    ),
    (
        "CreateChatCompletionRequest.min_tokens",
        Range::at_least(0.0),
    ),
    ("CreateChatCompletionRequest.top_k", Range::at_least(-1.0)),
    ("CreateChatCompletionRequest.n", Range::from_to(1.0, 128.0)),
    (
        "CreateChatCompletionRequest.top_logprobs",
        Range::from_to(0.0, 20.0),
    ),
    (
        "CreateCompletionRequest.temperature",
        Range::from_to(0.0, 2.0),
    ),
    (
        "CreateCompletionRequest.frequency_penalty",
        Range::from_to(-2.0, 2.0),
    ),
    (
        "CreateCompletionRequest.presence_penalty",
        Range::from_to(-2.0, 2.0),
    ),
    ("CreateCompletionRequest.min_p", Range::from_to(0.0, 1.0)),
    ("CreateCompletionRequest.top_p", Range::above_to(0.0, 1.0)),
    (
        "CreateCompletionRequest.repetition_penalty",
        Range::above(0.0),
    ),
    ("CreateCompletionRequest.max_tokens", Range::at_least(0.0)),
    ("CreateCompletionRequest.min_tokens", Range::at_least(0.0)),
    ("CreateCompletionRequest.top_k", Range::at_least(-1.0)),
    ("CreateCompletionRequest.n", Range::from_to(1.0, 128.0)),
    ("CreateCompletionRequest.best_of", Range::from_to(0.0, 20.0)),
    ("CreateCompletionRequest.logprobs", Range::at_least(0.0)),
    ("CreateEmbeddingRequest.dimensions", Range::at_least(1.0)),
    ("GatewayOptions.timeout_ms", Range::at_least(1.0)),
];

/// The range of a field. `None` if every number of its type is allowed.
pub fn range_of(path: &str) -> Option<&'static Range> {
    RANGES
        .iter()
        .find(|(limited, _)| *limited == path)
        .map(|(_, range)| range)
}

/// The largest number of elements of a repeated field or a map.
pub fn max_of(path: &str) -> usize {
    let limit = LISTS.iter().find(|(limited, ..)| *limited == path);
    limit
        .unwrap_or_else(|| panic!("{path}: every list has a limit: give it one in build/limits.rs"))
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

/// The limits as Rust source for the module of the messages: constants for the lists, and the check
/// of the ranges.
pub fn generate(contract: &FileDescriptorSet) -> String {
    let mut code = String::from("pub(crate) mod limits {\n    use crate::proto::bounds::Limit;\n");
    let mut constant_of = |name: &str, max: usize, of: &str| {
        let limit = format!("Limit {{ max: {max}, of: {of:?} }}");
        writeln!(code, "    pub(crate) const {name}: Limit = {limit};").unwrap();
    };
    constant_of("EXTRA", EXTRA_MAX, "members without a field");
    let messages = || contract.file.iter().flat_map(|file| &file.message_type);
    let lists: Vec<String> = messages().flat_map(paths).collect();
    for (path, max, of) in LISTS {
        assert!(
            lists.iter().any(|list| list == path),
            "limit of {path}: no such list"
        );
        constant_of(&constant(path), *max, of);
    }
    code.push_str("}\n");
    for message in messages() {
        write_ranges(&mut code, message);
    }
    code
}

fn write_ranges(code: &mut String, message: &DescriptorProto) {
    let name = message.name();
    let ranges: Vec<(&str, &Range)> = RANGES
        .iter()
        .filter_map(|(path, range)| Some((path.strip_prefix(name)?.strip_prefix('.')?, range)))
        .collect();
    if ranges.is_empty() {
        return;
    }
    writeln!(
        code,
        "\nimpl crate::proto::ranges::Ranged for {name} {{\n    fn check_ranges(&self) -> \
         Result<(), crate::proto::ranges::OutOfRange> {{\n        use \
         crate::proto::{{range::Range, ranges::check}};"
    )
    .unwrap();
    for (field, range) in ranges {
        let is_optional_number = message.field.iter().any(|other| {
            other.name() == field
                && other.proto3_optional()
                && matches!(other.r#type(), Type::Double | Type::Int32 | Type::Int64)
        });
        assert!(
            is_optional_number,
            "range of {name}.{field}: no such optional number"
        );
        writeln!(code, "        check({field:?}, self.{field}, &{range:?})?;").unwrap();
    }
    code.push_str("        Ok(())\n    }\n}\n");
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
