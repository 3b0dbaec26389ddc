//! The members whose JSON changes its form, for each rule.

/// Members that get this value if the upstream omits them or sends null. Any other string is kept.
pub const CONSTANT_OBJECT: &[(&str, &str)] = &[
    ("CreateChatCompletionResponse", "chat.completion"),
    ("StreamChatCompletionResponse", "chat.completion.chunk"),
    ("CreateCompletionResponse", "text_completion"),
    ("StreamCompletionResponse", "text_completion"),
    ("CreateEmbeddingResponse", "list"),
    ("Embedding", "embedding"),
    ("ListModelsResponse", "list"),
    ("Model", "model"),
];

/// Required members that may be null. Absent, null and an empty list become null.
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

/// The same, but only for one field: the path of a message, and its member.
pub const NULL_WHEN_UNSET_IN: &[(&str, &str)] = &[
    ("ChatChoice.message", "content"),
    ("ChatChoice.message", "refusal"),
];

/// Members whose null differs from their absence.
pub const NULL_KEPT: &[&str] = &[
    "ChatMessage.content",
    "Concurrency.limit",
    "Plan.concurrency",
    "Plan.max_context_length",
    "Plan.max_model_size",
];

/// Required members of an answer that get this value if the upstream omits them: message, member,
/// value.
pub const PUT_IN: &[(&str, &str, &str)] = &[
    ("ChatChoice", "message", "{}"),
    ("ChatChunkChoice", "delta", "{}"),
];

/// Roles of messages that callers write themselves.
pub const CALLERS_ROLES: [&str; 3] = ["system", "developer", "user"];

/// Indices. In an answer, a string that contains an integer is that integer.
pub const INDEX: &[&str] = &[
    "ChatChoice.index",
    "ChatChunkChoice.index",
    "CompletionChoice.index",
    "Embedding.index",
    "ToolCall.index",
];

/// Required lists. Absent and null become the empty list. Any other empty list or map is omitted.
pub const EMPTY_LIST_WHEN_UNSET: &[&str] = &[
    "CallReport.tried",
    "Concurrency.requests",
    "CreateChatCompletionRequest.messages",
    "CreateChatCompletionResponse.choices",
    "CreateCompletionResponse.choices",
    "CreateEmbeddingResponse.data",
    "ListModelsResponse.data",
    "StreamChatCompletionResponse.choices",
    "StreamCompletionResponse.choices",
    "TokenLogprob.top_logprobs",
    "TokenizeResponse.tokens",
];

/// The names of an enum's values, and their numbers. Null and absence are 0.
pub const WORDS: &[(&str, &[(&str, i32)])] = &[
    (
        "CircuitState",
        &[("closed", 1), ("open", 2), ("half_open", 3)],
    ),
    (
        "ClusterRole",
        &[("leading", 1), ("following", 2), ("alone", 3)],
    ),
    (
        "Priority",
        &[("interactive", 1), ("default", 2), ("batch", 3)],
    ),
];

/// Required members that the upstream may omit or send as null. They become zero or the empty
/// string.
pub const ZERO_WHEN_UNSET: &[(&str, &str)] = &[
    ("CompletionChoice.index", "0"),
    ("CompletionChoice.text", "\"\""),
    ("CreateCompletionResponse.model", "\"\""),
    ("Model.created", "0"),
    ("Model.owned_by", "\"\""),
    ("StreamChatCompletionResponse.id", "\"\""),
    ("StreamCompletionResponse.created", "0"),
    ("StreamCompletionResponse.model", "\"\""),
];

/// Doubles for which protobuf does not distinguish unset from zero. -0 becomes 0.
pub const ZERO_WITHOUT_SIGN: &[&str] = &[
    "CreateChatCompletionRequest.logit_bias",
    "CreateCompletionRequest.logit_bias",
];

/// A single string that becomes a list with one item.
pub const LIST_OF_ONE: &[&str] = &[
    "CreateChatCompletionRequest.stop",
    "CreateCompletionRequest.stop",
];

/// JSON text, which is compared exactly.
pub const JSON_TEXT: &[&str] = &[
    "CompletionChoice.logprobs",
    "CreateChatCompletionRequest.chat_template_kwargs",
    "CreateChatCompletionRequest.moderation",
    "CreateChatCompletionResponse.moderation",
    "FunctionDefinition.parameters",
    "JsonSchemaFormat.schema",
    "StreamChatCompletionResponse.moderation",
];

/// JSON text of an object. An empty list means absence, as for members that are messages or maps.
pub const OBJECT_TEXT: &[&str] = &[
    "CreateChatCompletionRequest.chat_template_kwargs",
    "CreateChatCompletionRequest.moderation",
    "FunctionDefinition.parameters",
    "JsonSchemaFormat.schema",
];

/// Fields with another name in JSON.
pub const RENAMED: &[(&str, &str)] = &[
    ("ListModelsResponse.models", "data"),
    ("Embedding.base64", "embedding"),
];

/// Fields that JSON doesn't have.
pub const NOT_IN_JSON: &[&str] = &[
    "Concurrency.unlimited",
    "ListModelsResponse.age_ms",
    "Plan.unlimited_concurrency",
    "Plan.unlimited_context_length",
    "Plan.unlimited_model_size",
];

/// Members that are a text or a list, with two fields: the text, which has the name of the member,
/// and the list.
pub const TEXT_OR_LIST: &[(&str, &str)] = &[
    ("ChatDelta.content", "content_parts"),
    ("ChatMessage.content", "content_parts"),
    ("Prediction.content", "content_parts"),
];

/// The names of the enum's values.
pub fn words(kind: &str) -> &'static [(&'static str, i32)] {
    WORDS
        .iter()
        .find(|(name, _)| *name == kind)
        .unwrap_or_else(|| panic!("{kind}: no words for it"))
        .1
}
