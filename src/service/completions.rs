//! `CompletionService`: text completions, whole or streamed.

use std::collections::BTreeMap;

use super::{Call, Dispatch, Reply, Reported as _, ResponseStream, dispatch, validate};
use crate::{
    error::Result,
    proto::v1::{
        CreateCompletionRequest, CreateCompletionResponse, StreamCompletionResponse,
        create_completion_request::PromptKind,
    },
    upstream::{ChoiceEnd, IdentityFields, UnaryMessage, has_items},
};

/// Continues texts.
#[derive(Clone, Debug)]
pub struct Completions {
    dispatch: Dispatch,
}

impl Completions {
    /// The service over this way to the upstream.
    pub fn new(dispatch: Dispatch) -> Self {
        Self { dispatch }
    }

    /// Continues a text, whole.
    ///
    /// # Errors
    /// Invalid for a bad field; otherwise what the upstream's reply means.
    pub async fn create(
        &self,
        mut call: Call,
        mut request: CreateCompletionRequest,
    ) -> Result<Reply<CreateCompletionResponse>> {
        call.obey(&mut request)?;
        call.run(async {
            let request = self
                .dispatch
                .prepare(&call, request, |request| prepare(request, false))
                .await?;
            self.dispatch.whole(&call, request).await
        })
        .await
    }

    /// Continues a text, piece by piece.
    ///
    /// # Errors
    /// Invalid for a bad field; otherwise what the upstream's reply means. After that, the stream's
    /// own.
    pub async fn stream(
        &self,
        mut call: Call,
        mut request: CreateCompletionRequest,
    ) -> Result<Reply<ResponseStream<StreamCompletionResponse>>> {
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
fn prepare(request: &mut CreateCompletionRequest, stream: bool) -> Result<()> {
    validate::completion(request)?;
    request.provider = None;
    request
        .extra
        .insert("stream".to_owned(), stream.to_string());
    Ok(())
}

impl dispatch::Request for CreateCompletionRequest {
    const PATH: &'static [&'static str] = &["completions"];
    const MAY_FALL_BACK: bool = true;

    fn model(&mut self) -> &mut String {
        &mut self.model
    }

    fn choices(&self) -> usize {
        let prompts = match &self.prompt_kind {
            Some(PromptKind::PromptStrings(texts)) => texts.values.len(),
            Some(PromptKind::PromptTokenLists(lists)) => lists.values.len(),
            _ => 1,
        };
        prompts.saturating_mul(usize::try_from(self.n.unwrap_or(1)).unwrap_or(1))
    }
}

impl UnaryMessage for CreateCompletionResponse {
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
            id: Some(("cmpl-", id)),
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
    }
}
