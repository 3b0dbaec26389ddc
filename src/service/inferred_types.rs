//! Infers a `type` that the request leaves out. If exactly one of the fields is set among which the
//! type chooses, the field's name is the type. A caller with typed messages need not say it twice,
//! and engines need it.

use std::collections::BTreeMap;

use crate::proto::v1::{
    ChatMessage, ContentPart, CreateChatCompletionRequest, Tool, ToolChoice,
    create_chat_completion_request::ToolChoiceKind,
};

/// Sets each missing `type` of the request that follows from its fields.
pub(super) fn infer(request: &mut CreateChatCompletionRequest) {
    request.messages.iter_mut().for_each(infer_in_message);
    request.tools.iter_mut().for_each(infer_in_tool);
    if let Some(ToolChoiceKind::ToolChoiceObject(choice)) = &mut request.tool_choice_kind {
        infer_in_tool_choice(choice);
    }
    if let Some(format) = &mut request.response_format {
        infer_type(
            &mut format.r#type,
            &format.extra,
            &[("json_schema", format.json_schema.is_some())],
        );
    }
    if let Some(prediction) = &mut request.prediction {
        let has_content = prediction.content.is_some() || !prediction.content_parts.is_empty();
        infer_type(
            &mut prediction.r#type,
            &prediction.extra,
            &[("content", has_content)],
        );
        prediction.content_parts.iter_mut().for_each(infer_in_part);
    }
    let location = request
        .web_search_options
        .as_mut()
        .and_then(|options| options.user_location.as_mut());
    if let Some(location) = location {
        infer_type(
            &mut location.r#type,
            &location.extra,
            &[("approximate", location.approximate.is_some())],
        );
    }
}

fn infer_in_message(message: &mut ChatMessage) {
    message.content_parts.iter_mut().for_each(infer_in_part);
    for call in &mut message.tool_calls {
        let fields = [
            ("function", call.function.is_some()),
            ("custom", call.custom.is_some()),
        ];
        infer_type(&mut call.r#type, &call.extra, &fields);
    }
    for annotation in &mut message.annotations {
        let fields = [("url_citation", annotation.url_citation.is_some())];
        infer_type(&mut annotation.r#type, &annotation.extra, &fields);
    }
}

fn infer_in_part(part: &mut ContentPart) {
    let fields = [
        ("text", part.text.is_some()),
        ("image_url", part.image_url.is_some()),
        ("input_audio", part.input_audio.is_some()),
        ("file", part.file.is_some()),
        ("refusal", part.refusal.is_some()),
    ];
    infer_type(&mut part.r#type, &part.extra, &fields);
}

fn infer_in_tool(tool: &mut Tool) {
    infer_type(
        &mut tool.r#type,
        &tool.extra,
        &[
            ("function", tool.function.is_some()),
            ("custom", tool.custom.is_some()),
        ],
    );
    if let Some(format) = tool
        .custom
        .as_mut()
        .and_then(|custom| custom.format.as_mut())
    {
        infer_type(
            &mut format.r#type,
            &format.extra,
            &[("grammar", format.grammar.is_some())],
        );
    }
}

fn infer_in_tool_choice(choice: &mut ToolChoice) {
    let fields = [
        ("function", choice.function.is_some()),
        ("custom", choice.custom.is_some()),
        ("allowed_tools", choice.allowed_tools.is_some()),
    ];
    infer_type(&mut choice.r#type, &choice.extra, &fields);
    for tool in choice
        .allowed_tools
        .iter_mut()
        .flat_map(|allowed| &mut allowed.tools)
    {
        let fields = [
            ("function", tool.function.is_some()),
            ("custom", tool.custom.is_some()),
        ];
        infer_type(&mut tool.r#type, &tool.extra, &fields);
    }
}

/// Sets the type to the name of the only field that is set. A type that the request has stays,
/// whatever it is.
fn infer_type(
    kind: &mut Option<String>,
    extra: &BTreeMap<String, String>,
    fields: &[(&str, bool)],
) {
    if kind.is_some() || extra.contains_key("type") {
        return;
    }
    let mut set = fields.iter().filter(|(_, is_set)| *is_set);
    if let (Some((name, _)), None) = (set.next(), set.next()) {
        *kind = Some((*name).to_owned());
    }
}
