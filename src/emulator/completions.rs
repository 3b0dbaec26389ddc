//! `POST /v1/completions`: the answer as one JSON object or as a stream of chunks.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use serde_json::{Value, json};

use super::admission::Admission;
use super::auth::Authenticated;
use super::body::JsonBody;
use super::completion_request::{CompletionRequest, TextOrTokens};
use super::exchange::Exchange;
use super::logprobs;
use super::models::Model;
use super::refusal::Refusal;
use super::sampling::Padding;
use super::state::Shared;
use super::steps::{Step, Steps, interleave};
use super::tokenizer;
use super::units::unix_s;
use super::writer::{self, AnswerContext};

/// The default of this endpoint. Chat completions have no such default.
const MAX_TOKENS_DEFAULT: usize = 16;

pub async fn create(
    _: Authenticated,
    State(emulator): State<Shared>,
    Extension(exchange): Extension<Exchange>,
    body: JsonBody,
) -> Result<Response, Refusal> {
    let request = CompletionRequest::read(&body.members)?;
    let model = &*emulator.catalogue.usable(&request.model)?;
    model.check_generates_text()?;
    let longest = request
        .prompts
        .iter()
        .map(TextOrTokens::tokens)
        .max()
        .unwrap_or(0);
    if longest >= model.context_length {
        return Err(Refusal::context_length(
            "prompt",
            model.context_length,
            longest,
        ));
    }

    let admitted = emulator.admit(model, exchange, body.fingerprint).await?;
    let delivery = match admitted {
        Admission::Granted(delivery) => delivery,
        Admission::Answered(answer) => return Ok(answer),
    };
    let choices = choices(&request, model, emulator.config.seed);
    let usage = usage(&request, &choices);
    let frame = Arc::new(Frame {
        id: format!("cmpl-{}", emulator.unique_hex()),
        created: unix_s(),
        model: model.id.clone(),
        logprobs: request.logprobs,
    });
    if request.streaming.is_on {
        let usage = request.streaming.includes_usage.then_some(usage);
        return Ok(delivery.stream(stream(frame, choices, usage)));
    }
    let slowest = choices
        .iter()
        .map(|choice| choice.generated)
        .max()
        .unwrap_or(0);
    let shown = choices.iter().enumerate();
    let shown =
        shown.map(|(index, choice)| frame.choice(index, &choice.pieces, 0, Some(choice.finish)));
    let mut answer = frame.answer(shown.collect());
    add_usage(&mut answer, usage);
    Ok(delivery.unary(answer, slowest).await)
}

struct Choice {
    /// The echo of the prompt, if `echo` is set, and the generated text.
    pieces: Vec<String>,
    generated: usize,
    finish: &'static str,
}

/// `n` choices for the first prompt, then `n` choices for the second prompt, and so on.
fn choices(request: &CompletionRequest, model: &Model, seed: u64) -> Vec<Choice> {
    let sampling = &request.sampling;
    let of_prompt = |prompt| {
        (0..sampling.choices).map(move |index| choice(request, model, prompt, index, seed))
    };
    request.prompts.iter().flat_map(of_prompt).collect()
}

fn choice(
    request: &CompletionRequest,
    model: &Model,
    prompt: &TextOrTokens,
    index: usize,
    seed: u64,
) -> Choice {
    let left = model.context_length.saturating_sub(prompt.tokens());
    let requested = request.sampling.max_tokens.unwrap_or(MAX_TOKENS_DEFAULT);
    let budget_tokens = requested.min(model.answer_tokens_max()).min(left);

    let ids: Vec<u8> = prompt
        .ids()
        .into_iter()
        .flat_map(u64::to_le_bytes)
        .collect();
    let mut rng = request.sampling.rng_for_choice(seed, &ids, index);
    let ask = AnswerContext {
        model: &model.id,
        prompt: prompt.text(),
        images: 0,
        tool_result: None,
    };
    let (generated, finish) = request.sampling.cut(
        &writer::answer(&ask, &mut rng),
        0,
        budget_tokens,
        Padding::Words,
    );
    let mut pieces = if request.includes_prompt {
        tokenizer::split(prompt.text())
    } else {
        Vec::new()
    };
    let tokens = generated.len();
    pieces.extend(generated);
    Choice {
        pieces,
        generated: tokens,
        finish,
    }
}

fn usage(request: &CompletionRequest, choices: &[Choice]) -> Value {
    let prompt = request.prompt_tokens();
    let completion: usize = choices.iter().map(|choice| choice.generated).sum();
    json!({"prompt_tokens": prompt, "completion_tokens": completion,
    "total_tokens": prompt + completion})
}

/// The members that all chunks of one answer share.
struct Frame {
    id: String,
    created: u64,
    model: String,
    logprobs: Option<usize>,
}

impl Frame {
    fn answer(&self, choices: Vec<Value>) -> Value {
        json!({
            "id": self.id, "object": "text_completion", "created": self.created,
            "model": self.model,
            "choices": choices,
        })
    }

    /// A choice with the text of `pieces`. The first piece starts `offset` characters into the text
    /// of the whole choice.
    fn choice(
        &self,
        index: usize,
        pieces: &[String],
        offset: usize,
        finish: Option<&str>,
    ) -> Value {
        json!({
            "index": index, "text": pieces.concat(), "finish_reason": finish,
            "logprobs": self.logprobs.map(|top| logprobs::text(pieces, top, offset)),
        })
    }
}

fn add_usage(answer: &mut Value, usage: Value) {
    answer
        .as_object_mut()
        .map(|answer| answer.insert("usage".to_owned(), usage));
}

fn stream(frame: Arc<Frame>, choices: Vec<Choice>, usage: Option<Value>) -> Steps {
    let last = usage.map(|usage| {
        let mut event = frame.answer(Vec::new());
        add_usage(&mut event, usage);
        Step::Event(event)
    });
    let continued = choices.into_iter().enumerate();
    let continued =
        continued.map(|(index, choice)| choice_steps(Arc::clone(&frame), index, choice));
    let continued = interleave(continued.collect());
    Box::new(continued.chain(last).chain([Step::Done]))
}

/// The steps of one choice, produced on demand.
fn choice_steps(frame: Arc<Frame>, index: usize, choice: Choice) -> Steps {
    let finish = frame.choice(index, &[], 0, Some(choice.finish));
    let finish = Step::Finish(frame.answer(vec![finish]));
    let mut offset = 0;
    let tokens = choice.pieces.into_iter().map(move |piece| {
        let at = offset;
        offset += piece.chars().count();
        let shown = frame.choice(index, std::slice::from_ref(&piece), at, None);
        Step::Token(frame.answer(vec![shown]))
    });
    Box::new(tokens.chain([finish]))
}
