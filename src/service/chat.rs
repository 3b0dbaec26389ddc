//! `ChatService`: chat completions, complete or streamed.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use super::{
    Services,
    call::Call,
    chat_accumulator::ChatAccumulator,
    choices::message_with_choices,
    dispatch::Dispatch,
    exchange::Accumulate,
    inferred_types,
    model_request::{IMAGE_TOKENS, ModelRequest, TEMPLATE_TOKENS, TextTokens},
    reply::Reply,
    report::Reported as _,
    stream::ResponseStream,
    unary_or_stream::UnaryOrStream,
    validate,
};
use crate::{
    config,
    error::Result,
    ledger::Rpc,
    proto::v1::{
        ChatMessage, CreateChatCompletionRequest, CreateChatCompletionResponse,
        StreamChatCompletionResponse,
    },
    upstream::{ANSWER_BYTES_MAX, UnaryMessage, has_items},
};

/// The service of chat completions.
#[derive(Clone, Debug)]
pub struct Chat {
    dispatch: Dispatch,
    /// Shared by all clones.
    unary_via_stream: Arc<AtomicBool>,
}

impl Chat {
    /// The service over `dispatch`. `unary_via_stream` is the default for unary calls that do not
    /// set the option.
    pub fn new(dispatch: Dispatch, unary_via_stream: bool) -> Self {
        Self {
            dispatch,
            unary_via_stream: Arc::new(AtomicBool::new(unary_via_stream)),
        }
    }

    /// Takes over what `config` says about calls, for those that begin from now on.
    pub(super) fn change(&self, config: &config::Serve) {
        self.unary_via_stream
            .store(config.unary_via_stream, Ordering::Relaxed);
        self.dispatch.change(config);
    }
}

impl UnaryOrStream for Chat {
    type Request = CreateChatCompletionRequest;
    type Response = CreateChatCompletionResponse;
    type Chunk = StreamChatCompletionResponse;

    fn of(services: &Services) -> &Self {
        &services.chat
    }

    /// Answers a conversation with one complete message.
    async fn unary(
        &self,
        mut call: Call,
        mut request: Box<CreateChatCompletionRequest>,
    ) -> Result<Reply<CreateChatCompletionResponse>> {
        call.rpc = Some(Rpc::CreateChatCompletion);
        call.apply_options(&mut *request)?;
        let configured = || self.unary_via_stream.load(Ordering::Relaxed);
        let via_stream = call.unary_via_stream.unwrap_or_else(configured);
        call.run(async {
            let request = self
                .dispatch
                .prepare(&call, request, Some(via_stream), prepare)
                .await?;
            if via_stream {
                // In memory of its own: it is larger than the rest, and rare.
                Box::pin(self.dispatch.accumulated::<_, _, ChatAccumulator>(
                    &call,
                    request,
                    ANSWER_BYTES_MAX,
                ))
                .await
            } else {
                self.dispatch.unary(&call, request).await
            }
        })
        .await
    }

    /// Answers a conversation with a stream of chunks.
    async fn stream(
        &self,
        mut call: Call,
        mut request: Box<CreateChatCompletionRequest>,
    ) -> Result<Reply<ResponseStream<StreamChatCompletionResponse>>> {
        call.rpc = Some(Rpc::StreamChatCompletion);
        call.apply_options(&mut *request)?;
        let request = call
            .run_part(self.dispatch.prepare(&call, request, Some(true), prepare))
            .await?;
        self.dispatch.stream(call, request).await
    }
}

/// Validates a request and removes what is not sent upstream.
fn prepare(request: &mut CreateChatCompletionRequest) -> Result<()> {
    validate::chat(request)?;
    inferred_types::infer(request);
    request.provider = None;
    Ok(())
}

impl ModelRequest for CreateChatCompletionRequest {
    const PATH: &'static [&'static str] = &["chat", "completions"];
    const MAY_FALL_BACK: bool = true;

    fn model(&mut self) -> &mut String {
        &mut self.model
    }

    fn choices(&self) -> usize {
        usize::try_from(self.n.unwrap_or(1)).unwrap_or(1)
    }

    fn prompt_tokens(&self, text: TextTokens) -> usize {
        let parts = self
            .messages
            .iter()
            .flat_map(|message| &message.content_parts);
        // The data of an image stands in its URL, and is no text for the model.
        let images = parts.filter_map(|part| part.image_url.as_ref());
        let (count, data) = images.fold((0, 0), |(count, data), image| {
            let url = image.url.as_deref().unwrap_or_default();
            (count + 1, data + text.of_text(url))
        });
        text.of(self).saturating_sub(data)
            + TEMPLATE_TOKENS * (1 + self.messages.len())
            + IMAGE_TOKENS * count
    }

    fn max_tokens(&self) -> Option<i32> {
        match (self.max_tokens, self.max_completion_tokens) {
            // Engines differ in which of the two counts.
            (Some(one), Some(other)) => Some(one.max(other)),
            (one, other) => one.or(other),
        }
    }

    fn set_max_tokens(&mut self, tokens: i32) {
        if self.max_completion_tokens.is_some() {
            self.max_completion_tokens = Some(tokens);
        }
        if self.max_completion_tokens.is_none() || self.max_tokens.is_some() {
            self.max_tokens = Some(tokens);
        }
    }

    fn ask_for_usage(&mut self) -> bool {
        let asked = &mut self.stream_options.get_or_insert_default().include_usage;
        asked.replace(true) != Some(true)
    }
}

impl Accumulate<StreamChatCompletionResponse> for ChatAccumulator {
    type Answer = CreateChatCompletionResponse;

    fn add(&mut self, chunk: StreamChatCompletionResponse) {
        self.add(chunk);
    }

    fn is_too_large(&self) -> bool {
        self.is_too_large()
    }

    fn finish(self) -> Self::Answer {
        let mut answer = self.finish();
        answer.fill_in();
        answer
    }
}

impl UnaryMessage for CreateChatCompletionResponse {
    message_with_choices!("chatcmpl-");

    fn extra_mut(&mut self) -> &mut BTreeMap<String, String> {
        &mut self.extra
    }

    fn is_empty(&self) -> bool {
        // A list in an unknown form is in `extra`, and is an answer too.
        self.choices.is_empty() && !has_items(&self.extra, "choices")
    }

    fn fill_in(&mut self) {
        self.remove_upstream_report();
        for message in self
            .choices
            .iter_mut()
            .filter_map(|choice| choice.message.as_mut())
        {
            set_role(message);
            set_types(message);
        }
    }
}

/// Sets the role that the message has by its position, if the upstream's role is not text. Nothing
/// else is possible here, and a caller could not send the message back without it.
fn set_role(message: &mut ChatMessage) {
    if message.extra.remove("role").is_some() {
        "assistant".clone_into(&mut message.role);
    }
}

/// Sets the missing types of tool calls that are functions. A delta may leave them out; a complete
/// call must have one.
fn set_types(message: &mut ChatMessage) {
    for call in &mut message.tool_calls {
        let is_unset =
            call.r#type.as_ref().is_none_or(String::is_empty) && !call.extra.contains_key("type");
        if is_unset && call.function.is_some() {
            call.r#type = Some("function".to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::tests::{FUTURE_BYTES_MAX, services};

    #[tokio::test]
    async fn the_futures_of_calls_are_small() {
        let chat = services().chat;
        let request = Box::<CreateChatCompletionRequest>::default;
        let whole = size_of_val(&chat.unary(Call::internal(), request()));
        let streamed = size_of_val(&chat.stream(Call::internal(), request()));
        assert!(
            whole.max(streamed) <= FUTURE_BYTES_MAX,
            "whole {whole}, streamed {streamed}"
        );
    }
}
