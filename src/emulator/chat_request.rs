//! A chat request, parsed as strictly as Featherless parses it.

use serde_json::{Map, Value};

use super::members::Members;
use super::message::{Message, Role};
use super::refusal::Refusal;
use super::sampling::{Sampling, Streaming};
use super::seeded_rng;
use super::tokenizer;
use super::tools::Toolbox;

const TOP_LOGPROBS_MAX: i64 = 20;
/// The tokens of the chat template that open the answer.
const OPENING_TOKENS: usize = 3;
/// Prefixes are cached in blocks. Only complete blocks count as cached.
const CACHE_BLOCK_TOKENS: usize = 16;

pub struct ChatRequest {
    pub model: String,
    pub messages: Vec<Message>,
    pub sampling: Sampling,
    pub streaming: Streaming,
    pub toolbox: Toolbox,
    pub format: Format,
    /// The number of alternatives for each token. `None` if no log probabilities are requested.
    pub logprobs: Option<usize>,
    pub enables_reasoning: bool,
    /// A hash of the model and the messages. Options such as `stream` don't change it.
    pub prompt_fingerprint: u64,
    tool_tokens: usize,
}

pub enum Format {
    Text,
    Object,
    Schema(Value),
}

impl ChatRequest {
    pub fn read(body: &Map<String, Value>) -> Result<Self, Refusal> {
        let members = Members::of_body(body);
        let model = members.required_text("model")?.to_owned();
        let sampling = Sampling::read(&members)?;
        let messages = match members.list("messages")? {
            Some(items) if !items.is_empty() => items,
            _ => return Err(Refusal::missing("messages")),
        };
        let message = |(index, item)| Message::read(item, format!("messages[{index}]"));
        let text_of = |name| members.get(name).map(Value::to_string).unwrap_or_default();
        Ok(Self {
            messages: messages
                .iter()
                .enumerate()
                .map(message)
                .collect::<Result<_, _>>()?,
            streaming: Streaming::read(&members)?,
            toolbox: Toolbox::read(&members)?,
            format: Format::read(&members)?,
            logprobs: logprobs(&members)?,
            enables_reasoning: enables_reasoning(&members)?,
            prompt_fingerprint: seeded_rng::fingerprint(&[
                model.as_bytes(),
                text_of("messages").as_bytes(),
            ]),
            tool_tokens: tokenizer::count(&text_of("tools")),
            sampling,
            model,
        })
    }

    pub fn prompt_tokens(&self) -> usize {
        let messages: usize = self.messages.iter().map(Message::tokens).sum();
        messages + self.tool_tokens + OPENING_TOKENS
    }

    /// The tokens of the system messages at the start, in complete cache blocks: every system
    /// prompt counts as cached.
    pub fn cached_tokens(&self) -> usize {
        let system = self
            .messages
            .iter()
            .take_while(|message| message.role == Role::System);
        let tokens: usize = system.map(Message::tokens).sum();
        tokens - tokens % CACHE_BLOCK_TOKENS
    }

    pub fn prompt(&self) -> &str {
        let last = self
            .messages
            .iter()
            .rfind(|message| message.role == Role::User);
        last.map(|message| message.text.as_str())
            .unwrap_or_default()
    }

    /// The texts of all messages, in order.
    pub fn texts(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.messages.iter().map(|message| message.text.as_str())
    }

    pub fn images(&self) -> usize {
        self.messages.iter().map(|message| message.images).sum()
    }

    /// The result of a tool, if the last message is one.
    pub fn tool_result(&self) -> Option<&str> {
        let last = self
            .messages
            .last()
            .filter(|message| message.role == Role::Tool)?;
        Some(&last.text)
    }
}

impl Format {
    fn read(members: &Members<'_>) -> Result<Self, Refusal> {
        let Some(format) = members.object("response_format")? else {
            return Ok(Self::Text);
        };
        match format.required_text("type")? {
            "text" => Ok(Self::Text),
            "json_object" => Ok(Self::Object),
            "json_schema" => {
                let Some(wrapper) = format.object("json_schema")? else {
                    return Err(Refusal::missing(&format.path_of("json_schema")));
                };
                wrapper.required_text("name")?;
                wrapper.object("schema")?;
                let any_object = Value::from_iter([("type", "object")]);
                Ok(Self::Schema(
                    wrapper.get("schema").cloned().unwrap_or(any_object),
                ))
            }
            other => {
                let message =
                    format!("Invalid value for 'response_format.type': unknown type '{other}'.");
                Err(Refusal::invalid(
                    "response_format.type",
                    "invalid_value",
                    message,
                ))
            }
        }
    }
}

fn logprobs(members: &Members<'_>) -> Result<Option<usize>, Refusal> {
    let are_wanted = members.flag("logprobs")?.unwrap_or(false);
    let top = members.integer(
        "top_logprobs",
        |top| (0..=TOP_LOGPROBS_MAX).contains(&top),
        "from 0 to 20",
    )?;
    if top.is_some() && !are_wanted {
        let message = "'top_logprobs' is only allowed when 'logprobs' is true.";
        return Err(Refusal::invalid("top_logprobs", "invalid_value", message));
    }
    Ok(are_wanted.then(|| top.and_then(|top| usize::try_from(top).ok()).unwrap_or(0)))
}

fn enables_reasoning(members: &Members<'_>) -> Result<bool, Refusal> {
    let Some(options) = members.object("chat_template_kwargs")? else {
        return Ok(false);
    };
    let is_on = |name| options.flag(name).map(|flag| flag.unwrap_or(false));
    Ok(is_on("enable_thinking")? || is_on("thinking")?)
}
