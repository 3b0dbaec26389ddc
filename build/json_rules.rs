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

/// Strings that hold JSON text, which is moved verbatim.
pub const JSON_TEXT: &[&str] = &[
    "CompletionChoice.logprobs",
    "CreateChatCompletionRequest.chat_template_kwargs",
    "CreateChatCompletionRequest.moderation",
    "CreateChatCompletionResponse.moderation",
    "FunctionDefinition.parameters",
    "JsonSchemaFormat.schema",
    "StreamChatCompletionResponse.moderation",
];

/// Those of these strings that hold an object. A caller's empty list is the same as absence there,
/// because PHP writes an empty map so. Members that are messages or maps need no rule: it holds for
/// all of them.
pub const OBJECT_TEXT: &[&str] = &[
    "CreateChatCompletionRequest.chat_template_kwargs",
    "CreateChatCompletionRequest.moderation",
    "FunctionDefinition.parameters",
    "JsonSchemaFormat.schema",
];

// OpenAI's schemas require some members of answers, and clients read them without checking. Where
// an upstream leaves one out or sends null, one of these rules applies:
//
// - The true value is known: it is filled in (`FILLED`). So are `object` (`OBJECT_NAME`) and empty
//   lists (`WRITTEN_WHEN_EMPTY`).
// - It is unknown, and the schema allows null, or any other value would be wrong (a log
//   probability): null (`NULL_WHEN_UNSET`).
// - It is unknown, and a client can do without it (a count of tokens): it stays absent.
// - It identifies the answer (`id`, `created`, `model`, `index`) or is a completion's text: the
//   codec writes protobuf's default, an empty string or 0. `src/upstream/identity.rs`, which knows
//   the request, fills in the values of a whole answer or a stream.

/// Messages of answers, and their members that are filled in where the upstream leaves them out and
/// their value is known. Members that are filled in under a condition are not in the list.
/// `src/json/fill_required.rs` does it:
///
/// - a choice's `message`, and the role `assistant` of a message without one;
/// - a chunk's `delta`, empty;
/// - a usage's `total_tokens`, as the sum of its parts, if these are known.
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

/// Members whose null is not the same as their absence, because chat templates treat the two
/// differently: null is kept in `extra`.
pub const NULL_KEPT: &[&str] = &["ChatMessage.content"];

/// Members that are written as null when unset, in messages in one place only: an answer's message
/// must have `refusal`, a request's messages need not.
pub const NULL_WHEN_UNSET_IN: &[(&str, &[&str])] =
    &[("ChatChoice.message", &["content", "refusal"])];

/// Integers of answers whose null means that there is no limit, and whose absence means that the
/// limit is unknown. The second field is true for null, and is no member of its own.
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

/// Positions in lists, which some engines write as a string: `"0"`. An answer may have such a
/// string.
pub const INDEX: &[&str] = &[
    "ChatChoice.index",
    "ChatChunkChoice.index",
    "CompletionChoice.index",
    "Embedding.index",
    "ToolCall.index",
];

/// A request's list of messages, which may be earlier answers: `src/json/history.rs` says how they
/// are read.
pub const HISTORY: &[&str] = &["CreateChatCompletionRequest.messages"];

/// Members that are a text or a list: the field with the text, which names the member, and the
/// field with the list. An empty list is kept in `extra`, because protobuf can't tell it from
/// absence.
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

/// Messages whose one repeated field is the whole JSON value.
pub const LIST_MESSAGES: &[&str] = &["StringList", "TokenList", "TokenLists", "FloatVector"];

/// Members whose JSON name is not the field's.
pub const RENAMED: &[(&str, &str)] = &[
    ("ListModelsResponse.models", "data"),
    ("Embedding.base64", "embedding"),
];

/// Fields that JSON doesn't have.
pub const NOT_IN_JSON: &[&str] = &["ListModelsResponse.age_ms"];

/// Messages that have no JSON: requests that are a path or a query in REST.
pub const WITHOUT_JSON: &[&str] = &[
    "GetConcurrencyRequest",
    "GetModelRequest",
    "GetPlanRequest",
    "ListModelsRequest",
    "ModelFilter",
    "WatchConcurrencyRequest",
];

/// Messages of the gateway's own, in which the service refuses a member without a field.
pub const CLOSED: &[&str] = &["GatewayOptions"];

/// The JSON names of an enum's values, with their numbers: in lower case, and without the name of
/// the enum. The value 0 has none, because an unset field has it.
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

/// The field with the list, if this one is the text of a member that is a text or a list.
pub fn list_of_pair(path: &str) -> Option<&'static str> {
    TEXT_OR_LIST
        .iter()
        .find(|(text, _)| *text == path)
        .map(|(_, list)| *list)
}

/// Whether this field is the list of a member that is a text or a list, and so no member of its
/// own.
pub fn is_list_of_pair(message: &str, field: &str) -> bool {
    TEXT_OR_LIST.iter().any(|(text, list)| {
        *list == field
            && text
                .split_once('.')
                .is_some_and(|(owner, _)| owner == message)
    })
}

/// The field that is true if this member is null.
pub fn null_flag_of(path: &str) -> Option<&'static str> {
    NULL_FLAG
        .iter()
        .find(|(limit, _)| *limit == path)
        .map(|(_, flag)| *flag)
}

/// Whether this field is true for another member's null, and so no member of its own.
pub fn is_null_flag(message: &str, field: &str) -> bool {
    NULL_FLAG.iter().any(|(limit, flag)| {
        *flag == field
            && limit
                .split_once('.')
                .is_some_and(|(owner, _)| owner == message)
    })
}

/// The JSON name of a field that has another one.
pub fn renamed(path: &str) -> Option<&'static str> {
    RENAMED
        .iter()
        .find(|(renamed, _)| *renamed == path)
        .map(|(_, name)| *name)
}

/// The oneof that a field is a variant of; proto3's `optional` is declared as a oneof of one, which
/// doesn't count.
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
