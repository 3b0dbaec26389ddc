//! Validates requests before they are sent: the ranges that OpenAI and Featherless document, and
//! members that make no sense without each other. Words, such as roles and formats, are left to the
//! upstream, which knows its models.
//!
//! Validation first settles the request: it moves what a gRPC caller wrote into `extra` under a
//! field's name into that field.

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

/// Validates a chat request; the first invalid field counts. Removes what only has a meaning beside
/// tools if there are none.
///
/// # Errors
/// [`Kind::Invalid`](crate::error::Kind::Invalid) with the path of the field.
pub fn chat(request: &mut CreateChatCompletionRequest) -> Result<()> {
    json::move_extra_into_fields(request).map_err(invalid_json)?;
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
    check_tool_choice(request)?;
    in_range(request)
}

/// Validates a text completion request; the first invalid field counts.
///
/// # Errors
/// [`Kind::Invalid`](crate::error::Kind::Invalid) with the path of the field.
pub fn completion(request: &mut CreateCompletionRequest) -> Result<()> {
    json::move_extra_into_fields(request).map_err(invalid_json)?;
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

/// Validates an embedding request; the first invalid field counts.
///
/// # Errors
/// [`Kind::Invalid`](crate::error::Kind::Invalid) with the path of the field.
pub fn embedding(request: &mut CreateEmbeddingRequest) -> Result<()> {
    json::move_extra_into_fields(request).map_err(invalid_json)?;
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

/// Validates a request to tokenize; the first invalid field counts.
///
/// # Errors
/// [`Kind::Invalid`](crate::error::Kind::Invalid) with the path of the field.
pub fn tokenize(request: &mut TokenizeRequest) -> Result<()> {
    json::move_extra_into_fields(request).map_err(invalid_json)?;
    model(&request.model)?;
    if request.text.is_none() {
        return Err(Error::invalid("text", "required: the text to split"));
    }
    Ok(())
}

/// Validates the id of a model.
///
/// # Errors
/// [`Kind::Invalid`](crate::error::Kind::Invalid) if it is empty, too long, or has control
/// characters.
pub fn model(id: &str) -> Result<()> {
    if is_visible_ascii(id) && !id.is_empty() && id.len() <= MODEL_BYTES_MAX {
        return Ok(());
    }
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

/// Whether a text has only visible ASCII, as nearly all ids have. It looks at all bytes, because a
/// processor compares many of them at a time if none ends the loop.
pub(super) fn is_visible_ascii(text: &str) -> bool {
    let other = |byte: u8| u8::from(byte.wrapping_sub(b'!') > b'~' - b'!');
    text.bytes().fold(0, |others, byte| others | other(byte)) == 0
}

/// An empty list of tools is not sent upstream, and engines refuse a choice among tools that are
/// not in the request. So a choice that asks for no tool is removed, and one that asks for a tool
/// is refused. The same holds for functions.
fn check_tool_choice(request: &mut CreateChatCompletionRequest) -> Result<()> {
    if request.tools.is_empty() {
        request.parallel_tool_calls = None;
        match &request.tool_choice_kind {
            Some(ToolChoiceKind::ToolChoice(word)) if matches!(word.as_str(), "auto" | "none") => {
                request.tool_choice_kind = None;
            }
            Some(ToolChoiceKind::ToolChoice(word)) if word == "required" => {
                return Err(Error::invalid(
                    "tool_choice",
                    "\"required\" needs `tools`, but there are none",
                ));
            }
            Some(ToolChoiceKind::ToolChoiceObject(_)) => {
                return Err(Error::invalid(
                    "tool_choice",
                    "a named tool needs `tools`, but there are none",
                ));
            }
            // A word of an engine.
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
                    "a named function needs `functions`, but there are none",
                ));
            }
            Some(FunctionCallKind::FunctionCall(_)) | None => {}
        }
    }
    Ok(())
}

/// Validates a query parameter of the catalogue's search: which page, and how large.
///
/// # Errors
/// [`Kind::Invalid`](crate::error::Kind::Invalid) for a value that is not a page or a size.
pub fn search_parameter(name: &str, value: &str) -> Result<()> {
    let is_counted = matches!(name, "page" | "per_page");
    if is_counted && !value.parse().is_ok_and(|count: i32| count >= 1) {
        return Err(Error::invalid(
            name,
            format!("expected an integer from 1 to {}", i32::MAX),
        ));
    }
    Ok(())
}

/// The error for a message that is not valid as JSON.
pub(super) fn invalid_json(bad: json::JsonError) -> Error {
    Error::invalid(
        bad.path.unwrap_or_else(|| "request".to_owned()),
        bad.problem,
    )
}

/// The method says whether the answer is streamed, so `extra` may not.
fn stream_is_the_method(extra: &BTreeMap<String, String>) -> Result<()> {
    if extra.contains_key("stream") {
        let problem = "the method decides whether the answer is streamed: call the Stream… method \
                       for a stream";
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

/// Checks the numbers of a request that have a range.
fn in_range(request: &impl Ranged) -> Result<()> {
    request
        .check_ranges()
        .map_err(|number| Error::invalid(number.field, number.problem))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spaces_controls_and_other_scripts_are_not_visible_ascii() {
        for text in ["", "!", "~", "org/Model-3.1:8b", &"m".repeat(100)] {
            assert!(is_visible_ascii(text), "{text}");
        }
        for text in [
            "a b",
            "\u{7f}",
            "\n",
            "m\u{0}",
            "é",
            "モデル",
            "org/\u{80}m",
        ] {
            assert!(!is_visible_ascii(text), "{text:?}");
        }
    }
}
