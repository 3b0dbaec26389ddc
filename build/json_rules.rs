//! The rules by which JSON and protobuf correspond. The codec and the OpenAPI document are
//! generated from them. By default a field is the member of the same name; the constants here are
//! the exceptions.

use prost_types::{
    DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, field_descriptor_proto::Type,
};

use super::names::snake;

/// Messages with a constant `object` member, as OpenAI's answers have. If the upstream sends
/// another value, it is kept in `extra`.
pub const OBJECT_NAME: &[(&str, &str)] = &[
    ("CreateCompletionResponse", "text_completion"),
    ("CreateEmbeddingResponse", "list"),
    ("Embedding", "embedding"),
    ("StreamCompletionResponse", "text_completion"),
    ("CreateChatCompletionResponse", "chat.completion"),
    ("StreamChatCompletionResponse", "chat.completion.chunk"),
    ("ListModelsResponse", "list"),
    ("Model", "model"),
];

/// Strings that hold JSON text, which is passed on unchanged.
pub const JSON_TEXT: &[&str] = &[
    "CompletionChoice.logprobs",
    "CreateChatCompletionRequest.chat_template_kwargs",
    "CreateChatCompletionRequest.moderation",
    "CreateChatCompletionResponse.moderation",
    "FunctionDefinition.parameters",
    "JsonSchemaFormat.schema",
    "StreamChatCompletionResponse.moderation",
];

/// The JSON text that is an object. In a request, an empty list means absence there, because PHP
/// writes an empty map as a list. Members that are messages or maps need no entry: the rule applies
/// to all of them.
pub const OBJECT_TEXT: &[&str] = &[
    "CreateChatCompletionRequest.chat_template_kwargs",
    "CreateChatCompletionRequest.moderation",
    "FunctionDefinition.parameters",
    "JsonSchemaFormat.schema",
];

// OpenAI's schemas require some members of answers, and clients read them without checks. If the
// upstream omits such a member or sends null, one of these rules applies:
//
// - The value is known: it is filled in (`FILLED`, `OBJECT_NAME` for `object`, `WRITTEN_WHEN_EMPTY`
//   for empty lists).
// - The value is unknown, and the schema allows null, or any other value would be wrong (a log
//   probability): the member is null (`NULL_WHEN_UNSET`).
// - The value is unknown, and clients do not need it (a count of tokens): the member stays absent.
// - The member identifies the answer (`id`, `created`, `model`, `index`) or is a completion's text:
//   the codec writes protobuf's default, an empty string or 0. `src/upstream/identity.rs`, which
//   knows the request, fills in the values of a unary answer or a stream.

/// Messages of answers, and their members with a known value, which are filled in if the upstream
/// omits them. Members that are filled in under a condition are not in the list.
/// `src/json/fill_required.rs` fills in:
///
/// - a choice's `message`, and the role `assistant` of a message without one;
/// - a chunk's `delta`, empty;
/// - `total_tokens` of a usage, as the sum of its parts, if both are known.
pub const FILLED: &[(&str, &[&str])] = &[
    ("ChatChoice", &["message"]),
    ("ChatChunkChoice", &["delta"]),
    ("EmbeddingUsage", &[]),
    ("Usage", &[]),
];

/// Members that are written as null when unset: OpenAI's schemas require them and allow null, or a
/// 0 would be wrong.
pub const NULL_WHEN_UNSET: &[&str] = &[
    "ChatChoice.finish_reason",
    "ChatChoice.logprobs",
    "ChatChunkChoice.finish_reason",
    "CompletionChoice.finish_reason",
    "CompletionChoice.logprobs",
    "Logprobs.content",
    "Logprobs.refusal",
    "TokenLogprob.bytes",
    "TokenLogprob.logprob",
    "TokenLogprob.token",
    "TopLogprob.bytes",
    "TopLogprob.logprob",
    "TopLogprob.token",
];

/// Members whose null differs from their absence, because chat templates treat the two differently.
/// Null is kept in `extra`.
pub const NULL_KEPT: &[&str] = &["ChatMessage.content"];

/// Members that are written as null when unset, but only in the messages of one field: the message
/// of an answer must have `refusal`, the messages of a request need not.
pub const NULL_WHEN_UNSET_IN: &[(&str, &[&str])] =
    &[("ChatChoice.message", &["content", "refusal"])];

/// Integers of answers whose null means that there is no limit, and whose absence means that the
/// limit is unknown. The second field is true for null, and has no JSON member.
pub const NULL_FLAG: &[(&str, &str)] = &[
    ("Concurrency.limit", "unlimited"),
    ("Plan.concurrency", "unlimited_concurrency"),
    ("Plan.max_context_length", "unlimited_context_length"),
    ("Plan.max_model_size", "unlimited_model_size"),
];

/// Lists that are written when empty, because the member is required.
pub const WRITTEN_WHEN_EMPTY: &[&str] = &[
    "Concurrency.requests",
    "CallReport.tried",
    "CreateCompletionResponse.choices",
    "CreateEmbeddingResponse.data",
    "StreamCompletionResponse.choices",
    "TokenizeResponse.tokens",
    "CreateChatCompletionRequest.messages",
    "CreateChatCompletionResponse.choices",
    "ListModelsResponse.models",
    "StreamChatCompletionResponse.choices",
    "TokenLogprob.top_logprobs",
];

/// Positions in lists, which some engines write as a string: `"0"`. Accepted in answers only.
pub const INDEX: &[&str] = &[
    "ChatChoice.index",
    "ChatChunkChoice.index",
    "CompletionChoice.index",
    "Embedding.index",
    "ToolCall.index",
];

/// The messages of a request, some of which may be earlier answers. `src/json/history.rs` decodes
/// them.
pub const HISTORY: &[&str] = &["CreateChatCompletionRequest.messages"];

/// Members that are a text or a list: the field with the text, which has the name of the member,
/// and the field with the list. An empty list is kept in `extra`, because protobuf cannot
/// distinguish it from absence.
pub const TEXT_OR_LIST: &[(&str, &str)] = &[
    ("ChatDelta.content", "content_parts"),
    ("ChatMessage.content", "content_parts"),
    ("Prediction.content", "content_parts"),
];

/// Lists of strings that in JSON may be a single string.
pub const ONE_OR_MANY: &[&str] = &[
    "CreateChatCompletionRequest.stop",
    "CreateCompletionRequest.stop",
];

/// Messages whose only field, a list, is the complete JSON value.
pub const LIST_MESSAGES: &[&str] = &["StringList", "TokenList", "TokenLists", "FloatVector"];

/// Members whose JSON name differs from the name of the field.
pub const RENAMED: &[(&str, &str)] = &[
    ("ListModelsResponse.models", "data"),
    ("Embedding.base64", "embedding"),
];

/// Fields that are not in JSON.
pub const NOT_IN_JSON: &[&str] = &["ListModelsResponse.age_ms"];

/// Messages without JSON: requests that are a path or a query in REST.
pub const WITHOUT_JSON: &[&str] = &[
    "GetConcurrencyRequest",
    "GetModelRequest",
    "GetPlanRequest",
    "ListModelsRequest",
    "ModelFilter",
    "WatchConcurrencyRequest",
];

/// Messages for the gateway itself, in which the service refuses a member without a field.
pub const CLOSED: &[&str] = &["GatewayOptions"];

/// The JSON names of an enum's values, with their numbers: in lower case, and without the name of
/// the enum. The value 0 has no name, because it means unset.
pub fn enum_names(kind: &EnumDescriptorProto) -> Vec<(String, i32)> {
    let prefix = snake(kind.name()).to_uppercase() + "_";
    let named = kind.value.iter().filter(|value| value.number() != 0);
    named
        .map(|value| {
            let name = value
                .name()
                .strip_prefix(&prefix)
                .unwrap_or_else(|| panic!("{}: not {prefix}…", value.name()));
            (name.to_lowercase(), value.number())
        })
        .collect()
}

/// The field with the list, if `path` is the text of a member that is a text or a list.
pub fn list_of_pair(path: &str) -> Option<&'static str> {
    TEXT_OR_LIST
        .iter()
        .find(|(text, _)| *text == path)
        .map(|(_, list)| *list)
}

/// Whether this field is the list of a member that is a text or a list. Such a field has no JSON
/// member of its own.
pub fn is_list_of_pair(message: &str, field: &str) -> bool {
    TEXT_OR_LIST.iter().any(|(text, list)| {
        *list == field
            && text
                .split_once('.')
                .is_some_and(|(owner, _)| owner == message)
    })
}

/// The field that is true if the member `path` is null.
pub fn null_flag_of(path: &str) -> Option<&'static str> {
    NULL_FLAG
        .iter()
        .find(|(limit, _)| *limit == path)
        .map(|(_, flag)| *flag)
}

/// Whether this field is true for the null of another member. Such a field has no JSON member.
pub fn is_null_flag(message: &str, field: &str) -> bool {
    NULL_FLAG.iter().any(|(limit, flag)| {
        *flag == field
            && limit
                .split_once('.')
                .is_some_and(|(owner, _)| owner == message)
    })
}

/// The JSON name of a field, if it differs from the field's name.
pub fn renamed(path: &str) -> Option<&'static str> {
    RENAMED
        .iter()
        .find(|(renamed, _)| *renamed == path)
        .map(|(_, name)| *name)
}

/// The oneof of which a field is a variant. The oneofs that proto3 declares for `optional` fields
/// do not count.
pub fn real_oneof(field: &FieldDescriptorProto) -> Option<usize> {
    field
        .oneof_index
        .filter(|_| !field.proto3_optional())
        .and_then(|index| usize::try_from(index).ok())
}

/// The type of a map's values, if the field is a map.
pub fn map_value(message: &DescriptorProto, field: &FieldDescriptorProto) -> Option<Type> {
    let entry = field.type_name().rsplit('.').next()?;
    let nested = message
        .nested_type
        .iter()
        .find(|nested| nested.name() == entry)?;
    nested
        .options
        .as_ref()?
        .map_entry()
        .then(|| nested.field.get(1).map(FieldDescriptorProto::r#type))?
}
