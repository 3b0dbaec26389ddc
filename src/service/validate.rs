//! What a request must satisfy before it is worth sending: the ranges that OpenAI and Featherless
//! document, and members that make no sense without each other. Words (roles, formats, efforts) are
//! left to the upstream, which knows its models.
//!
//! A check begins by settling the request: what a gRPC caller says of a field in `extra` moves into
//! that field.

use std::collections::BTreeMap;

use crate::{
    config::MODEL_BYTES_MAX,
    error::{Error, ErrorCode, Result},
    json,
    proto::{
        ranges::Ranged,
        v1::{
            CreateChatCompletionRequest, CreateCompletionRequest, CreateEmbeddingRequest,
            TokenizeRequest,
            create_chat_completion_request::{FunctionCallKind, ToolChoiceKind},
        },
    },
};

/// Checks a chat request, the first bad field first, and leaves out what only has a meaning beside
/// tools if there are none.
///
/// # Errors
/// Invalid, with the field's path.
pub fn chat(request: &mut CreateChatCompletionRequest) -> Result<()> {
    json::move_extra_into_fields(request).map_err(super::invalid)?;
    provider(request.provider.as_deref())?;
    stream_is_the_method(&request.extra)?;
    model(&request.model)?;
    if request.messages.is_empty() {
        return Err(Error::invalid(
            "messages",
            "required: a list of at least one message",
        ));
    }
    for (index, message) in request.messages.iter().enumerate() {
        if message.role.is_empty() {
            let problem = "required: system, developer, user, assistant or tool";
            return Err(Error::invalid(format!("messages[{index}].role"), problem));
        }
    }
    choice_among_none(request)?;
    in_range(request)
}

/// Checks a text completion's request, the first bad field first.
///
/// # Errors
/// Invalid, with the field's path.
pub fn completion(request: &mut CreateCompletionRequest) -> Result<()> {
    json::move_extra_into_fields(request).map_err(super::invalid)?;
    provider(request.provider.as_deref())?;
    stream_is_the_method(&request.extra)?;
    model(&request.model)?;
    if request.prompt_kind.is_none() {
        return Err(Error::invalid(
            "prompt",
            "required: a string, or a list of strings or token ids",
        ));
    }
    in_range(request)
}

/// Checks an embedding's request, the first bad field first.
///
/// # Errors
/// Invalid, with the field's path.
pub fn embedding(request: &mut CreateEmbeddingRequest) -> Result<()> {
    json::move_extra_into_fields(request).map_err(super::invalid)?;
    provider(request.provider.as_deref())?;
    model(&request.model)?;
    if request.input_kind.is_none() {
        return Err(Error::invalid(
            "input",
            "required: a string, or a list of strings or token ids",
        ));
    }
    in_range(request)
}

/// Checks a request for tokens, the first bad field first.
///
/// # Errors
/// Invalid, with the field's path.
pub fn tokenize(request: &mut TokenizeRequest) -> Result<()> {
    json::move_extra_into_fields(request).map_err(super::invalid)?;
    model(&request.model)?;
    if request.text.is_none() {
        return Err(Error::invalid("text", "required: the text to split"));
    }
    Ok(())
}

/// Checks the model's id.
///
/// # Errors
/// Invalid, if there is none.
pub fn model(id: &str) -> Result<()> {
    if id.trim().is_empty() {
        return Err(Error::invalid(
            "model",
            "required: a model id such as meta-llama/Meta-Llama-3.1-8B-Instruct",
        ));
    }
    if id.len() > MODEL_BYTES_MAX || id.chars().any(char::is_control) {
        let problem =
            format!("not a model id: at most {MODEL_BYTES_MAX} bytes, without control characters");
        return Err(Error::invalid("model", problem));
    }
    Ok(())
}

/// An empty list of tools is not sent upstream, and engines refuse a choice among tools that aren't
/// there. So a choice that asks for nothing is left out with them, and one that asks for a tool is
/// refused. The same holds for functions.
fn choice_among_none(request: &mut CreateChatCompletionRequest) -> Result<()> {
    if request.tools.is_empty() {
        request.parallel_tool_calls = None;
        match &request.tool_choice_kind {
            Some(ToolChoiceKind::ToolChoice(word)) if matches!(word.as_str(), "auto" | "none") => {
                request.tool_choice_kind = None;
            }
            Some(ToolChoiceKind::ToolChoice(word)) if word == "required" => {
                return Err(Error::invalid(
                    "tool_choice",
                    "\"required\" needs `tools`, and there are none",
                ));
            }
            Some(ToolChoiceKind::ToolChoiceObject(_)) => {
                return Err(Error::invalid(
                    "tool_choice",
                    "a named tool needs `tools`, and there are none",
                ));
            }
            // An engine's own word.
            Some(ToolChoiceKind::ToolChoice(_)) | None => {}
        }
    }
    if request.functions.is_empty() {
        match &request.function_call_kind {
            Some(FunctionCallKind::FunctionCall(word))
                if matches!(word.as_str(), "auto" | "none") =>
            {
                request.function_call_kind = None;
            }
            Some(FunctionCallKind::FunctionCallObject(_)) => {
                return Err(Error::invalid(
                    "function_call",
                    "a named function needs `functions`, and there are none",
                ));
            }
            Some(FunctionCallKind::FunctionCall(_)) | None => {}
        }
    }
    Ok(())
}

/// Checks a query parameter of the catalogue: which page, and how large.
///
/// # Errors
/// Invalid, for what is no page or size.
pub fn models_query(name: &str, value: &str) -> Result<()> {
    let is_counted = matches!(name, "page" | "per_page");
    if is_counted && !value.parse().is_ok_and(|count: i32| count >= 1) {
        return Err(Error::invalid(
            name,
            format!("expected an integer from 1 to {}", i32::MAX),
        ));
    }
    Ok(())
}

fn stream_is_the_method(extra: &BTreeMap<String, String>) -> Result<()> {
    if extra.contains_key("stream") {
        let problem =
            "the method says whether the answer is streamed: call the Stream… method for a stream";
        return Err(Error::invalid("extra[\"stream\"]", problem));
    }
    Ok(())
}

fn provider(provider: Option<&str>) -> Result<()> {
    match provider {
        None | Some("featherless") => Ok(()),
        Some(_) => {
            let message = "provider: unknown; this gateway has one, \"featherless\": send that or \
                           leave the member out";
            Err(Error::new(ErrorCode::UnknownProvider, message).with_param("provider"))
        }
    }
}

fn in_range(request: &impl Ranged) -> Result<()> {
    request
        .check_ranges()
        .map_err(|number| Error::invalid(number.field, number.problem))
}
