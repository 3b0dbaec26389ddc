//! The content of a chat answer. It is complete before the first byte is sent, so that streamed and
//! unary answers have the same content.

use serde_json::{Value, json};

use super::chat_request::{ChatRequest, Format};
use super::models::Model;
use super::reasoning::ReasoningFormat;
use super::sampling::Padding;
use super::schema;
use super::schema_from_prompt;
use super::seeded_rng::SeededRng;
use super::tokenizer;
use super::writer::{self, AnswerContext};

/// The tokens of a tool call besides the tool's name and the arguments.
const CALL_TOKENS: usize = 3;

pub struct Choice {
    pub reasoning: Vec<String>,
    pub content: Vec<String>,
    pub calls: Vec<ToolCall>,
    pub finish: &'static str,
}

pub struct ToolCall {
    pub name: String,
    pub arguments: Vec<String>,
}

/// All choices of the answer. Each has at most `budget_tokens` tokens.
pub fn choices(
    request: &ChatRequest,
    model: &Model,
    format: Option<ReasoningFormat>,
    budget_tokens: usize,
    seed: u64,
) -> Vec<Choice> {
    let ask = AnswerContext {
        model: &model.id,
        prompt: request.prompt(),
        images: request.images(),
        tool_result: request.tool_result(),
    };
    let reasoning_pieces = format
        .map(|_| tokenizer::split(&writer::reasoning(&ask)))
        .unwrap_or_default();
    // Reasoning is in its own member, or at the start of the content.
    let mut inlined = format
        .map(|format| format.inlined(&reasoning_pieces))
        .unwrap_or_default();
    let mut reasoning = if inlined.is_empty() {
        reasoning_pieces
    } else {
        Vec::new()
    };
    reasoning.truncate(budget_tokens);
    inlined.truncate(budget_tokens);
    let left_tokens = budget_tokens - reasoning.len() - inlined.len();

    let choice = |index| {
        let calls = request.toolbox.calls(ask.prompt, ask.tool_result.is_some());
        if !calls.is_empty() {
            let calls = calls.into_iter().map(|call| ToolCall {
                arguments: tokenizer::split(&call.arguments),
                name: call.name,
            });
            return Choice::calling(reasoning.clone(), calls.collect(), left_tokens);
        }
        let mut rng =
            request
                .sampling
                .rng_for_choice(seed, &request.prompt_fingerprint.to_le_bytes(), index);
        let (text, padding) = text(request, &ask, &mut rng);
        let reasoning_tokens = reasoning.len() + inlined.len();
        let (mut content, finish) =
            request
                .sampling
                .cut(&text, reasoning_tokens, left_tokens, padding);
        content.splice(0..0, inlined.iter().cloned());
        Choice {
            reasoning: reasoning.clone(),
            content,
            calls: Vec::new(),
            finish,
        }
    };
    (0..request.sampling.choices).map(choice).collect()
}

impl Choice {
    /// A choice that calls tools. If `budget_tokens` cuts the arguments short, the finish reason is
    /// `length`.
    fn calling(reasoning: Vec<String>, mut calls: Vec<ToolCall>, budget_tokens: usize) -> Self {
        let mut left = budget_tokens;
        let mut finish = "tool_calls";
        for call in &mut calls {
            if call.arguments.len() > left {
                call.arguments.truncate(left);
                finish = "length";
            }
            left -= call.arguments.len();
        }
        Self {
            reasoning,
            content: Vec::new(),
            calls,
            finish,
        }
    }

    pub fn tokens(&self) -> usize {
        let calls = self.calls.iter();
        let call_tokens =
            calls.map(|call| tokenizer::count(&call.name) + call.arguments.len() + CALL_TOKENS);
        self.reasoning.len() + self.content.len() + call_tokens.sum::<usize>()
    }
}

pub fn usage(request: &ChatRequest, choices: &[Choice]) -> Value {
    let prompt = request.prompt_tokens();
    let completion: usize = choices.iter().map(Choice::tokens).sum();
    let reasoning: usize = choices.iter().map(|choice| choice.reasoning.len()).sum();
    json!({
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": request.cached_tokens()},
        "completion_tokens_details": {"reasoning_tokens": reasoning},
    })
}

/// The text of the answer, and the padding that extends it to `min_tokens`.
fn text(request: &ChatRequest, ask: &AnswerContext<'_>, rng: &mut SeededRng) -> (String, Padding) {
    match &request.format {
        Format::Text => (writer::answer(ask, rng), Padding::Words),
        Format::Object => {
            let object = request
                .texts()
                .rev()
                .find_map(|text| schema_from_prompt::object(text, ask.prompt));
            let usual = || json!({"answer": writer::answer(ask, rng), "emulated": true});
            (object.unwrap_or_else(usual).to_string(), Padding::Blanks)
        }
        Format::Schema(schema) => (
            schema::example(schema, ask.prompt).to_string(),
            Padding::Blanks,
        ),
    }
}
