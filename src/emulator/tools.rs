//! The tools of a request, and the tool calls of the answer.

use serde_json::Value;

use super::members::{Members, wrong_type};
use super::refusal::Refusal;
use super::schema;

/// Shorter words in a name (`get`, `set`) or in a description (`with`, `from`) are ignored, because
/// they don't describe the topic.
const NAME_WORD_CHARS_MIN: usize = 4;
const DESCRIPTION_WORD_CHARS_MIN: usize = 6;

#[derive(Debug)]
pub struct Toolbox {
    tools: Vec<Tool>,
    choice: Choice,
    allows_several: bool,
}

#[derive(Debug)]
struct Tool {
    name: String,
    description: String,
    parameters: Value,
}

#[derive(Debug, PartialEq)]
enum Choice {
    None,
    Auto,
    Required,
    Named(String),
}

pub struct Call {
    pub name: String,
    /// JSON, as text.
    pub arguments: String,
}

impl Toolbox {
    pub fn read(members: &Members<'_>) -> Result<Self, Refusal> {
        let items = members
            .list("tools")?
            .map(Vec::as_slice)
            .unwrap_or_default();
        let tool = |(index, item)| Tool::read(item, format!("tools[{index}]"));
        let tools: Vec<Tool> = items
            .iter()
            .enumerate()
            .map(tool)
            .collect::<Result<_, _>>()?;
        Ok(Self {
            choice: Choice::read(members, &tools)?,
            allows_several: members.flag("parallel_tool_calls")?.unwrap_or(true),
            tools,
        })
    }

    /// The tool calls that answer `prompt`. Empty if the answer is text.
    pub fn calls(&self, prompt: &str, has_tool_result: bool) -> Vec<Call> {
        let lower = prompt.to_lowercase();
        let mut chosen: Vec<&Tool> = match &self.choice {
            Choice::None => Vec::new(),
            Choice::Named(name) => self
                .tools
                .iter()
                .filter(|tool| tool.name == *name)
                .collect(),
            Choice::Auto if has_tool_result => Vec::new(),
            Choice::Auto | Choice::Required => self.mentioned(&lower),
        };
        if chosen.is_empty() && self.choice == Choice::Required {
            chosen.extend(self.tools.first());
        }
        if !self.allows_several {
            chosen.truncate(1);
        }
        chosen.into_iter().map(|tool| tool.call(prompt)).collect()
    }

    /// All tools whose names are in the prompt or, if there are none, the first tool whose
    /// description shares a word with the prompt.
    fn mentioned(&self, lower: &str) -> Vec<&Tool> {
        let named: Vec<&Tool> = self
            .tools
            .iter()
            .filter(|tool| tool.is_named_in(lower))
            .collect();
        if !named.is_empty() {
            return named;
        }
        self.tools
            .iter()
            .find(|tool| tool.is_described_in(lower))
            .into_iter()
            .collect()
    }
}

impl Tool {
    fn read(item: &Value, path: String) -> Result<Self, Refusal> {
        let tool = Members::of(item, path)?;
        let kind = tool.required_text("type")?;
        if kind != "function" {
            let message = format!("Invalid value: '{kind}'. Supported values are: 'function'.");
            return Err(Refusal::invalid(
                &tool.path_of("type"),
                "invalid_value",
                message,
            ));
        }
        let Some(function) = tool.object("function")? else {
            return Err(Refusal::missing(&tool.path_of("function")));
        };
        function.object("parameters")?;
        Ok(Self {
            name: function.required_text("name")?.to_owned(),
            description: function.text("description")?.unwrap_or_default().to_owned(),
            parameters: function.get("parameters").cloned().unwrap_or_default(),
        })
    }

    fn call(&self, prompt: &str) -> Call {
        let arguments = match &self.parameters {
            Value::Null => "{}".to_owned(),
            parameters => match schema::example(parameters, prompt) {
                Value::Object(members) => Value::Object(members).to_string(),
                // The schema `{}` accepts any value, but arguments must be an object.
                _ => "{}".to_owned(),
            },
        };
        Call {
            name: self.name.clone(),
            arguments,
        }
    }

    fn is_named_in(&self, lower: &str) -> bool {
        let name = self.name.to_lowercase();
        let mut words = name.split(['_', '-', '.']);
        lower.contains(&name)
            || words.any(|word| word.chars().count() >= NAME_WORD_CHARS_MIN && lower.contains(word))
    }

    fn is_described_in(&self, lower: &str) -> bool {
        let description = self.description.to_lowercase();
        let mut words = description.split(|c: char| !c.is_alphanumeric());
        words.any(|word| word.chars().count() >= DESCRIPTION_WORD_CHARS_MIN && lower.contains(word))
    }
}

impl Choice {
    fn read(members: &Members<'_>, tools: &[Tool]) -> Result<Self, Refusal> {
        let choice = match members.get("tool_choice") {
            None => return Ok(Self::Auto),
            Some(Value::String(word)) => match word.as_str() {
                "none" => Self::None,
                "auto" => Self::Auto,
                "required" => Self::Required,
                other => return Err(refused(&format!("unknown choice '{other}'"))),
            },
            Some(object @ Value::Object(_)) => Self::read_named(object)?,
            Some(other) => return Err(wrong_type("tool_choice", "a string or an object", other)),
        };
        match &choice {
            Self::Required if tools.is_empty() => Err(refused("there are no tools to choose from")),
            Self::Named(name) if !tools.iter().any(|tool| tool.name == *name) => {
                Err(refused(&format!("there is no tool '{name}'")))
            }
            _ => Ok(choice),
        }
    }

    fn read_named(value: &Value) -> Result<Self, Refusal> {
        let named = Members::of(value, "tool_choice".to_owned())?;
        let Some(function) = named.object("function")? else {
            return Err(Refusal::missing("tool_choice.function"));
        };
        Ok(Self::Named(function.required_text("name")?.to_owned()))
    }
}

fn refused(why: &str) -> Refusal {
    let message = format!("Invalid value for 'tool_choice': {why}.");
    Refusal::invalid("tool_choice", "invalid_value", message)
}
