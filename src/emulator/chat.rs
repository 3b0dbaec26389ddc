//! `POST /v1/chat/completions`: the answer as one JSON object or as a stream of chunks.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use serde_json::{Value, json};

use super::admission::Admission;
use super::auth::Authenticated;
use super::body::JsonBody;
use super::chat_answer::{self, Choice};
use super::chat_request::ChatRequest;
use super::exchange::Exchange;
use super::faults::FaultId;
use super::logprobs;
use super::models::Model;
use super::reasoning::{self, ReasoningFormat};
use super::refusal::Refusal;
use super::state::{Emulator, Shared};
use super::steps::{Step, Steps, interleave};
use super::units::unix_s;

pub async fn create(
    _: Authenticated,
    State(emulator): State<Shared>,
    Extension(exchange): Extension<Exchange>,
    body: JsonBody,
) -> Result<Response, Refusal> {
    let request = ChatRequest::read(&body.members)?;
    let model = &*emulator.catalogue.usable(&request.model)?;
    model.check_generates_text()?;
    if request.images() > 0 {
        model.check_accepts_images()?;
    }
    let budget_tokens = budget_tokens(&request, model)?;

    let admitted = emulator.admit(model, exchange, body.fingerprint).await?;
    let delivery = match admitted {
        Admission::Granted(delivery) => delivery,
        Admission::Answered(answer) => return Ok(answer),
    };
    let reasoning_format = delivery.fault.as_ref().and_then(FaultId::reasoning_format);
    let reasoning_format =
        reasoning_format.or(request.enables_reasoning.then_some(reasoning::DEFAULT));
    let choices = chat_answer::choices(
        &request,
        model,
        reasoning_format,
        budget_tokens,
        emulator.config.seed,
    );
    let usage = chat_answer::usage(&request, &choices);
    let frame = Frame::new(&emulator, model, &request, reasoning_format);

    if request.streaming.is_on {
        let usage = request.streaming.includes_usage.then_some(usage);
        return Ok(delivery.stream(stream(frame, choices, usage)));
    }
    let slowest = choices.iter().map(Choice::tokens).max().unwrap_or(0);
    Ok(delivery.unary(frame.unary(&choices, usage), slowest).await)
}

/// The largest number of tokens of an answer. A request's limit above the model's own limit is
/// reduced to it. A prompt that fills the model's context is refused.
fn budget_tokens(request: &ChatRequest, model: &Model) -> Result<usize, Refusal> {
    let prompt = request.prompt_tokens();
    let left = model.context_length.saturating_sub(prompt);
    if left == 0 {
        return Err(Refusal::context_length(
            "messages",
            model.context_length,
            prompt,
        ));
    }
    let requested = request.sampling.max_tokens.unwrap_or(usize::MAX);
    Ok(requested.min(model.answer_tokens_max()).min(left))
}

/// The members that all chunks of one answer share.
struct Frame {
    id: String,
    created: u64,
    model: String,
    logprobs: Option<usize>,
    reasoning_format: ReasoningFormat,
    emulator: Shared,
}

impl Frame {
    fn new(
        emulator: &Shared,
        model: &Model,
        request: &ChatRequest,
        reasoning_format: Option<ReasoningFormat>,
    ) -> Arc<Self> {
        Arc::new(Self {
            id: format!("chatcmpl-{}", emulator.unique_hex()),
            created: unix_s(),
            model: model.id.clone(),
            logprobs: request.logprobs,
            reasoning_format: reasoning_format.unwrap_or(reasoning::DEFAULT),
            emulator: Arc::clone(emulator),
        })
    }

    fn unary(&self, choices: &[Choice], usage: Value) -> Value {
        let choices: Vec<Value> = choices
            .iter()
            .enumerate()
            .map(|(index, choice)| self.choice(index, choice))
            .collect();
        json!({
            "id": self.id, "object": "chat.completion", "created": self.created,
            "model": self.model,
            "system_fingerprint": "fp_emulator", "choices": choices, "usage": usage,
        })
    }

    fn choice(&self, index: usize, choice: &Choice) -> Value {
        let mut message =
            json!({"role": "assistant", "content": choice.content.concat(), "refusal": null});
        if let Some(message) = message.as_object_mut() {
            message.extend(self.reasoning_member(choice.reasoning.concat()));
            if !choice.calls.is_empty() {
                let calls = choice.calls.iter().map(|call| {
                    let arguments = call.arguments.concat();
                    json!({
                        "id": call_id(&self.emulator), "type": "function",
                        "function": {"name": call.name, "arguments": arguments},
                    })
                });
                message.insert("tool_calls".to_owned(), calls.collect());
                message.insert("content".to_owned(), Value::Null);
            }
        }
        json!({
            "index": index, "message": message, "finish_reason": choice.finish,
            "logprobs": self.logprobs.map(|top| logprobs::chat(&choice.content, top)),
        })
    }

    /// The member that carries the reasoning `text`. `None` if `text` is empty or if the format
    /// puts reasoning into the content.
    fn reasoning_member(&self, text: String) -> Option<(String, Value)> {
        let has_reasoning = !text.is_empty();
        let (name, value) = self
            .reasoning_format
            .member(text)
            .filter(|_| has_reasoning)?;
        Some((name.to_owned(), value))
    }

    fn event(&self, choices: Value) -> Value {
        json!({
            "id": self.id, "object": "chat.completion.chunk", "created": self.created,
            "model": self.model,
            "system_fingerprint": "fp_emulator", "choices": choices,
        })
    }

    fn delta(&self, index: usize, delta: Value) -> Value {
        self.event(
            json!([{"index": index, "delta": delta, "logprobs": null, "finish_reason": null}]),
        )
    }

    fn content(&self, index: usize, piece: String) -> Value {
        let logprobs = self
            .logprobs
            .map(|top| logprobs::chat(std::slice::from_ref(&piece), top));
        let delta = json!({ "content": piece });
        self.event(
            json!([{"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": null}]),
        )
    }

    fn finish(&self, index: usize, reason: &str) -> Value {
        self.event(
            json!([{"index": index, "delta": {}, "logprobs": null, "finish_reason": reason}]),
        )
    }
}

fn stream(frame: Arc<Frame>, choices: Vec<Choice>, usage: Option<Value>) -> Steps {
    let role = |(index, choice): (usize, &Choice)| {
        // A choice with tool calls starts with `content: null`, any other with `content: ""`.
        let content = choice.calls.is_empty().then_some("");
        Step::Event(frame.delta(index, json!({"role": "assistant", "content": content})))
    };
    let roles: Vec<Step> = choices.iter().enumerate().map(role).collect();
    let last = usage.map(|usage| {
        let mut event = frame.event(json!([]));
        event
            .as_object_mut()
            .map(|event| event.insert("usage".to_owned(), usage));
        Step::Event(event)
    });
    let choice_steps = choices
        .into_iter()
        .enumerate()
        .map(|(index, choice)| choice_steps(Arc::clone(&frame), index, choice));
    let choice_steps = interleave(choice_steps.collect());
    Box::new(
        roles
            .into_iter()
            .chain(choice_steps)
            .chain(last)
            .chain([Step::Done]),
    )
}

/// The steps of one choice, produced on demand.
fn choice_steps(frame: Arc<Frame>, index: usize, choice: Choice) -> Steps {
    let finish = Step::Finish(frame.finish(index, choice.finish));
    let reasoning_frame = Arc::clone(&frame);
    let reasoning_pieces = choice.reasoning.into_iter();
    let reasoning = reasoning_pieces.map(move |piece| {
        reasoning_frame.delta(
            index,
            reasoning_frame
                .reasoning_member(piece)
                .into_iter()
                .collect(),
        )
    });
    let content_frame = Arc::clone(&frame);
    let content = choice
        .content
        .into_iter()
        .map(move |piece| content_frame.content(index, piece));
    let calls = choice
        .calls
        .into_iter()
        .enumerate()
        .flat_map(move |(call_index, call)| {
            let first = json!({
                "index": call_index, "id": call_id(&frame.emulator), "type": "function",
                "function": {"name": call.name, "arguments": ""},
            });
            let rest = call.arguments.into_iter();
            let rest = rest
                .map(move |piece| json!({"index": call_index, "function": {"arguments": piece}}));
            let frame = Arc::clone(&frame);
            std::iter::once(first)
                .chain(rest)
                .map(move |call| frame.delta(index, json!({"tool_calls": [call]})))
        });
    Box::new(
        reasoning
            .chain(content)
            .chain(calls)
            .map(Step::Token)
            .chain([finish]),
    )
}

fn call_id(emulator: &Emulator) -> String {
    let hex = emulator.unique_hex();
    format!("call_{}", hex.get(8..).unwrap_or(&hex))
}
