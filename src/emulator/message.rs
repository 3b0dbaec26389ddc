//! One message of a chat request: its role, its text and its tokens.

use serde_json::Value;

use super::members::{Members, wrong_type};
use super::refusal::Refusal;
use super::tokenizer;

const IMAGE_TOKENS: usize = 256;
/// The tokens that a chat template adds around each message.
const TEMPLATE_TOKENS: usize = 4;

pub struct Message {
    pub role: Role,
    pub text: String,
    pub images: usize,
    /// The tokens of the tool calls in an assistant's message.
    call_tokens: usize,
}

#[derive(Clone, Copy, PartialEq)]
pub enum Role {
    System,
    User,
    Assistant,
    Tool,
}

impl Message {
    pub fn read(item: &Value, path: String) -> Result<Self, Refusal> {
        let message = Members::of(item, path)?;
        let role = Role::read(&message)?;
        let (text, images) = content(&message)?;
        if message.get("content").is_none() && role != Role::Assistant {
            return Err(Refusal::missing(&message.path_of("content")));
        }
        if role == Role::Tool {
            message.required_text("tool_call_id")?;
        }
        message.text("name")?;
        Ok(Self {
            call_tokens: call_tokens(&message)?,
            role,
            text,
            images,
        })
    }

    pub fn tokens(&self) -> usize {
        tokenizer::count(&self.text)
            + self.images * IMAGE_TOKENS
            + self.call_tokens
            + TEMPLATE_TOKENS
    }
}

impl Role {
    fn read(message: &Members<'_>) -> Result<Self, Refusal> {
        match message.required_text("role")? {
            "system" | "developer" => Ok(Self::System),
            "user" => Ok(Self::User),
            "assistant" => Ok(Self::Assistant),
            "tool" | "function" => Ok(Self::Tool),
            other => {
                let path = message.path_of("role");
                let message = format!("Invalid value for '{path}': unknown role '{other}'.");
                Err(Refusal::invalid(&path, "invalid_value", message))
            }
        }
    }
}

/// The text and the number of images of a message. Parts of an unknown type are ignored.
fn content(message: &Members<'_>) -> Result<(String, usize), Refusal> {
    let path = message.path_of("content");
    let parts = match message.get("content") {
        None => return Ok((String::new(), 0)),
        Some(Value::String(text)) => return Ok((text.clone(), 0)),
        Some(Value::Array(parts)) => parts,
        Some(other) => return Err(wrong_type(&path, "a string or an array of parts", other)),
    };
    let mut texts = Vec::new();
    let mut images = 0;
    for (index, part) in parts.iter().enumerate() {
        let part = Members::of(part, format!("{path}[{index}]"))?;
        match part.required_text("type")? {
            "text" => match part.text("text")? {
                Some(text) => texts.push(text),
                None => return Err(Refusal::missing(&part.path_of("text"))),
            },
            "image_url" => {
                check_image(&part)?;
                images += 1;
            }
            _ => {}
        }
    }
    Ok((texts.join("\n"), images))
}

fn check_image(part: &Members<'_>) -> Result<(), Refusal> {
    let Some(image) = part.object("image_url")? else {
        return Err(Refusal::missing(&part.path_of("image_url")));
    };
    let url = image.required_text("url")?;
    if ["https://", "http://", "data:image/"]
        .iter()
        .any(|start| url.starts_with(start))
    {
        return Ok(());
    }
    let path = image.path_of("url");
    let message =
        format!("Invalid value for '{path}': must be an http(s) URL or a data URI of an image.");
    Err(Refusal::invalid(&path, "invalid_value", message))
}

fn call_tokens(message: &Members<'_>) -> Result<usize, Refusal> {
    let path = message.path_of("tool_calls");
    let calls = match message.raw("tool_calls") {
        None => return Ok(0),
        Some(Value::Array(calls)) => calls,
        // Null is refused too: here the API distinguishes it from an absent member.
        Some(other) => return Err(wrong_type(&path, "an array", other)),
    };
    let mut tokens = 0;
    for (index, call) in calls.iter().enumerate() {
        let call = Members::of(call, format!("{path}[{index}]"))?;
        call.required_text("id")?;
        let Some(function) = call.object("function")? else {
            return Err(Refusal::missing(&call.path_of("function")));
        };
        let Some(arguments) = function.text("arguments")? else {
            return Err(Refusal::missing(&function.path_of("arguments")));
        };
        tokens += tokenizer::count(function.required_text("name")?) + tokenizer::count(arguments);
    }
    Ok(tokens)
}
