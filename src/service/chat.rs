//! `ChatService`: chat completions, whole or streamed.

use std::collections::BTreeMap;

use super::{
    Call, Dispatch, Reply, Reported as _, ResponseStream, chat_accumulator::ChatAccumulator,
    dispatch, inferred_types, validate,
};
use crate::{
    error::Result,
    proto::v1::{
        ChatMessage, CreateChatCompletionRequest, CreateChatCompletionResponse,
        StreamChatCompletionResponse,
    },
    upstream::{ANSWER_BYTES_MAX, ChoiceEnd, IdentityFields, UnaryMessage, has_items},
};

/// Answers conversations.
#[derive(Clone, Debug)]
pub struct Chat {
    dispatch: Dispatch,
    unary_via_stream: bool,
}

impl Chat {
    /// The service over this way to the upstream. `unary_via_stream` is what a unary call does that
    /// doesn't say itself.
    pub fn new(dispatch: Dispatch, unary_via_stream: bool) -> Self {
        Self {
            dispatch,
            unary_via_stream,
        }
    }

    /// Answers a conversation with one complete message.
    ///
    /// # Errors
    /// Invalid for a bad field; otherwise what the upstream's reply means.
    pub async fn create(
        &self,
        mut call: Call,
        mut request: CreateChatCompletionRequest,
    ) -> Result<Reply<CreateChatCompletionResponse>> {
        call.obey(&mut request)?;
        let via_stream = call.unary_via_stream.unwrap_or(self.unary_via_stream);
        call.run(async {
            if via_stream {
                // A unary answer has its usage; a stream has it only when asked.
                request
                    .stream_options
                    .get_or_insert_default()
                    .include_usage
                    .get_or_insert(true);
            }
            let check =
                move |request: &mut CreateChatCompletionRequest| prepare(request, via_stream);
            let request = self.dispatch.prepare(&call, request, check).await?;
            if via_stream {
                self.dispatch
                    .whole_via_stream::<_, _, ChatAccumulator>(&call, request, ANSWER_BYTES_MAX)
                    .await
            } else {
                self.dispatch.whole(&call, request).await
            }
        })
        .await
    }

    /// Answers a conversation piece by piece.
    ///
    /// # Errors
    /// Invalid for a bad field; otherwise what the upstream's reply means. After that, the stream's
    /// own.
    pub async fn stream(
        &self,
        mut call: Call,
        mut request: CreateChatCompletionRequest,
    ) -> Result<Reply<ResponseStream<StreamChatCompletionResponse>>> {
        call.obey(&mut request)?;
        let request = call
            .begin(
                self.dispatch
                    .prepare(&call, request, |request| prepare(request, true)),
            )
            .await?;
        self.dispatch.stream(call, request).await
    }
}

/// Checks the request and makes it what the upstream shall see: what is ours left out, and `stream`
/// as the caller's method says.
fn prepare(request: &mut CreateChatCompletionRequest, stream: bool) -> Result<()> {
    validate::chat(request)?;
    inferred_types::infer(request);
    request.provider = None;
    request
        .extra
        .insert("stream".to_owned(), stream.to_string());
    Ok(())
}

impl dispatch::Request for CreateChatCompletionRequest {
    const PATH: &'static [&'static str] = &["chat", "completions"];
    const MAY_FALL_BACK: bool = true;

    fn model(&mut self) -> &mut String {
        &mut self.model
    }

    fn choices(&self) -> usize {
        usize::try_from(self.n.unwrap_or(1)).unwrap_or(1)
    }
}

impl dispatch::Sum<StreamChatCompletionResponse> for ChatAccumulator {
    type Whole = CreateChatCompletionResponse;

    fn add(&mut self, piece: StreamChatCompletionResponse) {
        self.add(piece);
    }

    fn is_too_large(&self) -> bool {
        self.is_too_large()
    }

    fn finish(self) -> Self::Whole {
        let mut whole = self.finish();
        whole.fill_in();
        whole
    }
}

impl UnaryMessage for CreateChatCompletionResponse {
    fn extra(&self) -> &BTreeMap<String, String> {
        &self.extra
    }

    fn extra_mut(&mut self) -> &mut BTreeMap<String, String> {
        &mut self.extra
    }

    fn choice_ends(&self) -> impl Iterator<Item = ChoiceEnd<'_>> {
        self.choices.iter().map(|choice| ChoiceEnd {
            reason: choice.finish_reason.as_deref(),
            extra: &choice.extra,
        })
    }

    fn is_empty(&self) -> bool {
        // A list in a form that we don't know is in `extra`, and is an answer all the same.
        self.choices.is_empty() && !has_items(&self.extra, "choices")
    }

    fn identity_fields(&mut self) -> Option<IdentityFields<'_>> {
        let Self {
            id,
            created,
            model,
            extra,
            ..
        } = self;
        Some(IdentityFields {
            id: Some(("chatcmpl-", id)),
            created: Some(created),
            model,
            extra,
        })
    }

    fn indexes(&mut self) -> impl Iterator<Item = &mut i32> {
        self.choices.iter_mut().map(|item| &mut item.index)
    }

    fn fill_in(&mut self) {
        self.leave_out_foreign();
        for message in self
            .choices
            .iter_mut()
            .filter_map(|choice| choice.message.as_mut())
        {
            name_role(message);
            name_types(message);
        }
    }
}

/// Puts in the role that an answer's message has by its place, for one that is no text: nothing
/// else can be said of it, and the message could not be given back.
fn name_role(message: &mut ChatMessage) {
    if message.extra.remove("role").is_some() {
        "assistant".clone_into(&mut message.role);
    }
}

/// Puts in the types of the calls that are of functions. A delta may leave them out; a whole call
/// must have one.
fn name_types(message: &mut ChatMessage) {
    for call in &mut message.tool_calls {
        let is_unset =
            call.r#type.as_ref().is_none_or(String::is_empty) && !call.extra.contains_key("type");
        if is_unset && call.function.is_some() {
            call.r#type = Some("function".to_owned());
        }
    }
}
