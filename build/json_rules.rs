//! The rules by which JSON and protobuf correspond, for all that is written from them: the codec
//! and the OpenAPI document. By default a field is the member of its name; the exceptions are the
//! constants below.

use prost_types::{
    DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, field_descriptor_proto::Type,
};

/// Messages with a constant `object` member, as OpenAI's answers have. Another word of the
/// upstream's is kept, in `extra`.
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

/// Strings that hold JSON text, moved verbatim.
pub const JSON_TEXT: &[&str] = &[
    "CompletionChoice.logprobs",
    "CreateChatCompletionRequest.chat_template_kwargs",
    "CreateChatCompletionRequest.moderation",
    "CreateChatCompletionResponse.moderation",
    "FunctionDefinition.parameters",
    "JsonSchemaFormat.schema",
    "StreamChatCompletionResponse.moderation",
];

/// Of these texts those that hold an object, where a caller's empty list is the same as absence: it
/// is what PHP makes of an empty map. Members that are messages or maps need no such rule, since it
/// holds for all of them.
pub const OBJECT_TEXT: &[&str] = &[
    "CreateChatCompletionRequest.chat_template_kwargs",
    "CreateChatCompletionRequest.moderation",
    "FunctionDefinition.parameters",
    "JsonSchemaFormat.schema",
];

// What an answer must have, and an upstream leaves out or says null for. OpenAI's schemas require
// these members; clients read them without looking. So each of them has one of these fates:
//
// - The true value is known: it is put in (`FILLED`). So are the names of what was answered,
//   `object` (`OBJECT_NAME`), and lists in which there is nothing (`WRITTEN_WHEN_EMPTY`).
// - It is not known, and the schema allows null, or nothing better can be said of it (a log
//   probability): null (`NULL_WHEN_UNSET`). A 0 would be a lie.
// - It is not known, and a client can do without it (a count of tokens): it stays absent.
// - It names or places the answer (`id`, `created`, `model`, `index`) or is a completion's text:
//   protobuf's own default, that is an empty string or 0, as far as the codec goes. What names and
//   places a whole answer or a stream is then put in by `src/upstream/identity.rs`, which knows
//   whose answer it is.

/// Messages of answers, and their members that are put in where the upstream leaves them out and
/// their value is known all the same; a member with a condition is not in the list.
/// `src/json/required.rs` does it:
///
/// - a choice's `message`, with the role `assistant`; that role also where a message lacks one;
/// - a chunk's `delta`, with nothing in it;
/// - of a usage, `total_tokens` if its parts are known: their sum.
pub const FILLED: &[(&str, &[&str])] = &[
    ("ChatChoice", &["message"]),
    ("ChatChunkChoice", &["delta"]),
    ("EmbeddingUsage", &[]),
    ("Usage", &[]),
];

/// Members that OpenAI's schemas require and let be null, or that null says more truly than 0:
/// written as null when unset.
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

/// Members whose null is not the same as their absence: it is kept in `extra`. Chat templates tell
/// the two apart.
pub const NULL_KEPT: &[&str] = &["ChatMessage.content"];

/// The same, for a message in one place only: an answer's message has `refusal`, a request's
/// messages need not.
pub const NULL_WHEN_UNSET_IN: &[(&str, &[&str])] =
    &[("ChatChoice.message", &["content", "refusal"])];

/// Integers of answers whose null means that there is no limit, and whose absence means that it
/// isn't told: the field that is true for null, and no member of its own.
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

/// Places of things among others, which some engines write as a text: `"0"`. In an answer that is
/// the number.
pub const INDEX: &[&str] = &[
    "ChatChoice.index",
    "ChatChunkChoice.index",
    "CompletionChoice.index",
    "Embedding.index",
    "ToolCall.index",
];

/// A request's list of messages, which may be answers that are given back: `src/json/replayed.rs`
/// says how they are read.
pub const HISTORY: &[&str] = &["CreateChatCompletionRequest.messages"];

/// Members that are a text or a list: the field with the text, which names the member, and the
/// field with the list. An empty list is kept in `extra`, since protobuf can't tell it from none.
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

/// Messages that never meet JSON: requests whose REST twin is a path or a query.
pub const WITHOUT_JSON: &[&str] = &[
    "GetConcurrencyRequest",
    "GetModelRequest",
    "GetPlanRequest",
    "ListModelsRequest",
    "ModelFilter",
    "WatchConcurrencyRequest",
];

/// Messages of the gateway's own in which a member without a field means nothing to anybody: the
/// service refuses it.
pub const CLOSED: &[&str] = &["GatewayOptions"];

/// The words that JSON has for the values of an enum, with their numbers: their names in lower
/// case, without that of the enum. The value 0 has none, for it is what an unset field says.
pub fn words(kind: &EnumDescriptorProto) -> Vec<(String, i32)> {
    let prefix = super::json_codec::snake(kind.name()).to_uppercase() + "_";
    let said = kind.value.iter().filter(|value| value.number() != 0);
    said.map(|value| {
        let word = value
            .name()
            .strip_prefix(&prefix)
            .unwrap_or_else(|| panic!("{}: not {prefix}…", value.name()));
        (word.to_lowercase(), value.number())
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
