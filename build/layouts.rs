//! Generates a `Layout` for each message from the descriptors. With it, the protobuf codec computes
//! the memory that a message will take before decoding the message. The fields that are boxed are
//! here too: boxing them makes a message without these fields small.

use std::fmt::Write;

use prost_types::{
    DescriptorProto, FieldDescriptorProto, FileDescriptorSet, field_descriptor_proto::Type,
};

use super::{
    json_rules::map_value,
    limits::{constant, is_list},
};

/// Fields that are unset in most messages. They are boxed.
pub const BOXED: &[&str] = &[
    "CallReport.queue",
    "ChatChoice.logprobs",
    "ChatChunkChoice.logprobs",
    "ChatDelta.audio",
    "ChatDelta.function_call",
    "ChatMessage.audio",
    "ChatMessage.function_call",
    "ContentPart.file",
    "ContentPart.image_url",
    "ContentPart.input_audio",
    "ContentPart.prompt_cache_breakpoint",
    "CreateChatCompletionRequest.featherwire",
    "CreateChatCompletionResponse.featherwire",
    "CreateCompletionRequest.featherwire",
    "CreateCompletionResponse.featherwire",
    "CreateEmbeddingRequest.featherwire",
    "CreateEmbeddingResponse.featherwire",
    "Model.pricing",
    "StreamChatCompletionResponse.featherwire",
    "StreamCompletionResponse.featherwire",
    "Tool.custom",
    "ToolCall.custom",
    "Usage.completion_tokens_details",
    "Usage.prompt_tokens_details",
];

pub fn is_boxed(path: &str) -> bool {
    BOXED.contains(&path)
}

/// The layouts of all messages, as Rust source for the module of the messages.
pub fn generate(contract: &FileDescriptorSet) -> String {
    let messages: Vec<_> = contract
        .file
        .iter()
        .flat_map(|file| &file.message_type)
        .collect();
    for path in BOXED {
        let (owner, field) = path.split_once('.').unwrap();
        let is_there = messages.iter().any(|message| {
            message.name() == owner
                && message.field.iter().any(|other| {
                    other.name() == field && other.r#type() == Type::Message && !is_list(other)
                })
        });
        assert!(
            is_there,
            "{path}: only a field with a message type can be boxed"
        );
    }
    let mut code = String::new();
    for message in messages {
        let fields: String = message
            .field
            .iter()
            .filter_map(|field| shape_of(message, field))
            .collect();
        let name = message.name();
        write!(
            code,
            r#"
const _: () = assert!(
    <{name} as crate::proto::bounds::HasLayout>::LAYOUT.fields.len()
        <= crate::proto::bounds::FIELDS_MAX
);

impl crate::proto::bounds::HasLayout for {name} {{
    const LAYOUT: &'static crate::proto::bounds::Layout = &crate::proto::bounds::Layout {{
        bytes: std::mem::size_of::<{name}>(),
        fields: &[
{fields}        ],
    }};
}}
"#
        )
        .unwrap();
    }
    code
}

/// The entry of a field in the layout. `None` for a field that takes no more memory than its
/// encoding.
fn shape_of(message: &DescriptorProto, field: &FieldDescriptorProto) -> Option<String> {
    let path = format!("{}.{}", message.name(), field.name());
    let is_extra = field.name() == "extra";
    let limit = match () {
        () if is_extra => "Some(limits::EXTRA)".to_owned(),
        () if is_list(field) => format!("Some(limits::{})", constant(&path)),
        () => "None".to_owned(),
    };
    let inner_type = || field.type_name().rsplit('.').next().unwrap();
    let kind = match field.r#type() {
        Type::Message if map_value(message, field).is_some() => {
            let value = if map_value(message, field) == Some(Type::Double) {
                "f64"
            } else {
                "String"
            };
            format!("Map(crate::proto::bounds::entry::<{value}>())")
        }
        Type::Message => {
            let boxed = is_boxed(&path);
            format!(
                "Message {{ layout: <{} as crate::proto::bounds::HasLayout>::LAYOUT, is_boxed: \
                 {boxed} }}",
                inner_type()
            )
        }
        Type::String | Type::Bytes if is_list(field) => "Text".to_owned(),
        Type::Int32 if is_list(field) => "Varints(4)".to_owned(),
        Type::Double if is_list(field) => "Doubles".to_owned(),
        _ if is_list(field) => panic!("{path}: no rule for the layout of such a list"),
        _ => return None,
    };
    Some(format!(
        "            crate::proto::bounds::Field {{ number: {}, name: {:?}, limit: {limit}, kind: \
         crate::proto::bounds::Kind::{kind} }},\n",
        field.number(),
        field.name(),
    ))
}
