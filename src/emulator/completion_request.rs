//! A text completion request, parsed as strictly as Featherless parses it.

use serde_json::{Map, Value};

use super::members::{Members, wrong_type};
use super::refusal::Refusal;
use super::sampling::{Sampling, Streaming};
use super::tokenizer;

const PROMPTS_MAX: usize = 1024;
const LOGPROBS_MAX: i64 = 20;

pub struct CompletionRequest {
    pub model: String,
    pub prompts: Vec<TextOrTokens>,
    pub sampling: Sampling,
    pub streaming: Streaming,
    pub includes_prompt: bool,
    /// The number of alternatives for each token. `None` if no log probabilities are requested.
    pub logprobs: Option<usize>,
}

impl CompletionRequest {
    pub fn read(body: &Map<String, Value>) -> Result<Self, Refusal> {
        let members = Members::of_body(body);
        if members
            .text("suffix")?
            .is_some_and(|suffix| !suffix.is_empty())
        {
            return Err(Refusal::invalid(
                "suffix",
                "invalid_value",
                "'suffix' is not supported.",
            ));
        }
        let logprobs = members.integer(
            "logprobs",
            |top| (0..=LOGPROBS_MAX).contains(&top),
            "from 0 to 20",
        )?;
        Ok(Self {
            model: members.required_text("model")?.to_owned(),
            prompts: texts_or_tokens(&members, "prompt")?,
            sampling: Sampling::read(&members)?,
            streaming: Streaming::read(&members)?,
            includes_prompt: members.flag("echo")?.unwrap_or(false),
            logprobs: logprobs.and_then(|top| usize::try_from(top).ok()),
        })
    }

    pub fn prompt_tokens(&self) -> usize {
        self.prompts.iter().map(TextOrTokens::tokens).sum()
    }
}

/// An input, given as text or as token ids.
#[derive(Debug)]
pub enum TextOrTokens {
    Text(String),
    Tokens(Vec<u64>),
}

impl TextOrTokens {
    pub fn tokens(&self) -> usize {
        match self {
            Self::Text(text) => tokenizer::count(text),
            Self::Tokens(ids) => ids.len(),
        }
    }

    /// The text, or `""` for token ids: an id is a hash, and its text cannot be restored.
    pub fn text(&self) -> &str {
        match self {
            Self::Text(text) => text,
            Self::Tokens(_) => "",
        }
    }

    pub fn ids(&self) -> Vec<u64> {
        match self {
            Self::Text(text) => tokenizer::ids(text),
            Self::Tokens(ids) => ids.clone(),
        }
    }
}

/// A string, a list of strings, a list of tokens, or a list of lists of tokens.
pub fn texts_or_tokens(members: &Members<'_>, name: &str) -> Result<Vec<TextOrTokens>, Refusal> {
    const EXPECTED: &str =
        "a string, an array of strings, an array of tokens, or an array of token arrays";
    let path = members.path_of(name);
    let refused = |value: &Value| wrong_type(&path, EXPECTED, value);
    let items = match members.get(name) {
        None => return Err(Refusal::missing(&path)),
        Some(Value::String(text)) => return Ok(vec![TextOrTokens::Text(text.clone())]),
        Some(Value::Array(items)) => items,
        Some(other) => return Err(refused(other)),
    };
    if items.is_empty() || items.len() > PROMPTS_MAX && !items.iter().all(Value::is_u64) {
        let message =
            format!("Invalid value for '{path}': must have from 1 to {PROMPTS_MAX} items.");
        return Err(Refusal::invalid(&path, "invalid_value", message));
    }
    if let Some(tokens) = token_ids(items) {
        return Ok(vec![TextOrTokens::Tokens(tokens)]);
    }
    let text_or_tokens = |item: &Value| match item {
        Value::String(text) => Ok(TextOrTokens::Text(text.clone())),
        Value::Array(tokens) => token_ids(tokens)
            .map(TextOrTokens::Tokens)
            .ok_or_else(|| refused(item)),
        other => Err(refused(other)),
    };
    items.iter().map(text_or_tokens).collect()
}

fn token_ids(items: &[Value]) -> Option<Vec<u64>> {
    items.iter().map(Value::as_u64).collect()
}
