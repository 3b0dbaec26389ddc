//! The rules by which JSON and protobuf correspond, for all that is written from them: the codec and the OpenAPI document.
//! By default a field is the member of its name; the exceptions are the constants below.

use prost_types::{DescriptorProto, FieldDescriptorProto, field_descriptor_proto::Type};

/// Messages with a constant `object` member, as OpenAI's answers have.
pub const OBJECT: &[(&str, &str)] = &[
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
    "AllowedTools.tools",
    "AudioOptions.voice",
    "CompletionChoice.logprobs",
    "CreateChatCompletionRequest.chat_template_kwargs",
    "CreateChatCompletionRequest.moderation",
    "CreateChatCompletionResponse.moderation",
    "FunctionDefinition.parameters",
    "JsonSchemaFormat.schema",
    "Model.pricing",
    "StreamChatCompletionResponse.moderation",
];

/// Members that OpenAI's schemas require and let be null: written as null when unset.
pub const NULL_WHEN_UNSET: &[&str] = &[
    "ChatChoice.finish_reason",
    "ChatChoice.logprobs",
    "ChatChunkChoice.finish_reason",
    "ChatMessage.content",
    "CompletionChoice.finish_reason",
    "CompletionChoice.logprobs",
    "Concurrency.limit",
    "Logprobs.content",
    "Logprobs.refusal",
    "TokenLogprob.bytes",
    "TopLogprob.bytes",
];

/// The same, for a message in one place only: an answer's message has `refusal`, a request's messages need not.
pub const NULL_WHEN_UNSET_IN: &[(&str, &[&str])] = &[("ChatChoice.message", &["content", "refusal"])];

/// Members of answers that are null when the upstream sends null, and absent when it sends nothing: there the two mean different
/// things. The service keeps such a null in `extra`.
pub const NULL_WHEN_SENT: &[&str] = &["Plan.concurrency", "Plan.max_context_length", "Plan.max_model_size"];

/// Lists that are written when empty, because the member is required.
pub const ALWAYS: &[&str] = &[
    "Concurrency.requests",
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

/// Lists of strings that in JSON may be a single string.
pub const ONE_OR_MANY: &[&str] = &["CreateChatCompletionRequest.stop", "CreateCompletionRequest.stop"];

/// Messages whose one repeated field is the whole JSON value.
pub const LIST: &[&str] = &["ContentParts", "StringList", "TokenList", "TokenLists", "Vector"];

/// Members whose JSON name is not the field's.
pub const RENAMED: &[(&str, &str)] = &[("ListModelsResponse.models", "data"), ("Embedding.base64", "embedding")];

/// Fields that JSON doesn't have.
pub const NOT_IN_JSON: &[&str] =
    &["ListModelsResponse.age_seconds", "ListModelsResponse.next_page_token", "ListModelsResponse.total_size"];

/// Messages that never meet JSON: requests whose REST twin is a path or a query.
pub const WITHOUT_JSON: &[&str] = &[
    "GetConcurrencyRequest",
    "GetModelRequest",
    "GetPlanRequest",
    "ListModelsRequest",
    "ModelFilter",
    "WatchConcurrencyRequest",
];

/// The JSON name of a field that has another one.
pub fn renamed(path: &str) -> Option<&'static str> {
    RENAMED.iter().find(|(renamed, _)| *renamed == path).map(|(_, name)| *name)
}

/// The oneof that a field is a variant of; proto3's `optional` is declared as a oneof of one, which doesn't count.
pub fn real_oneof(field: &FieldDescriptorProto) -> Option<usize> {
    field.oneof_index.filter(|_| !field.proto3_optional()).and_then(|index| usize::try_from(index).ok())
}

/// The type of a map's values, if the field is a map.
pub fn map_value(message: &DescriptorProto, field: &FieldDescriptorProto) -> Option<Type> {
    let entry = field.type_name().rsplit('.').next()?;
    let nested = message.nested_type.iter().find(|nested| nested.name() == entry)?;
    nested.options.as_ref()?.map_entry().then(|| nested.field.get(1).map(FieldDescriptorProto::r#type))?
}
