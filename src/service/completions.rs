//! `CompletionService`: text completions, complete or streamed.

use std::collections::BTreeMap;

use super::{
    Services,
    call::Call,
    choices::message_with_choices,
    dispatch::Dispatch,
    model_request::{ModelRequest, TEMPLATE_TOKENS, TextTokens},
    reply::Reply,
    report::Reported as _,
    stream::ResponseStream,
    unary_or_stream::UnaryOrStream,
    validate,
};
use crate::{
    error::Result,
    ledger::Rpc,
    proto::v1::{
        CreateCompletionRequest, CreateCompletionResponse, StreamCompletionResponse,
        create_completion_request::PromptKind,
    },
    upstream::{UnaryMessage, has_items},
};

/// The service of text completions.
#[derive(Clone, Debug)]
pub struct Completions {
    dispatch: Dispatch,
}

impl Completions {
    /// The service over `dispatch`.
    pub fn new(dispatch: Dispatch) -> Self {
        Self { dispatch }
    }
}

impl UnaryOrStream for Completions {
    type Request = CreateCompletionRequest;
    type Response = CreateCompletionResponse;
    type Chunk = StreamCompletionResponse;

    fn of(services: &Services) -> &Self {
        &services.completions
    }

    /// Continues a text, with one complete answer.
    async fn unary(
        &self,
        mut call: Call,
        mut request: Box<CreateCompletionRequest>,
    ) -> Result<Reply<CreateCompletionResponse>> {
        call.rpc = Some(Rpc::CreateCompletion);
        call.apply_options(&mut *request)?;
        call.run(async {
            let request = self
                .dispatch
                .prepare(&call, request, Some(false), prepare)
                .await?;
            self.dispatch.unary(&call, request).await
        })
        .await
    }

    /// Continues a text, with a stream of chunks.
    async fn stream(
        &self,
        mut call: Call,
        mut request: Box<CreateCompletionRequest>,
    ) -> Result<Reply<ResponseStream<StreamCompletionResponse>>> {
        call.rpc = Some(Rpc::StreamCompletion);
        call.apply_options(&mut *request)?;
        let request = call
            .run_part(self.dispatch.prepare(&call, request, Some(true), prepare))
            .await?;
        self.dispatch.stream(call, request).await
    }
}

/// Validates a request and removes what is not sent upstream.
fn prepare(request: &mut CreateCompletionRequest) -> Result<()> {
    validate::completion(request)?;
    request.provider = None;
    Ok(())
}

impl ModelRequest for CreateCompletionRequest {
    const MAX_TOKENS_DEFAULT: Option<u64> = Some(16);
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

    fn generations(&self) -> usize {
        let (shown, best_of) = (self.n.unwrap_or(1), self.best_of.unwrap_or(1));
        let (choices, shown) = (self.choices(), usize::try_from(shown).unwrap_or(1).max(1));
        let best_of = usize::try_from(best_of).unwrap_or(1);
        (choices / shown).saturating_mul(best_of.max(shown))
    }

    fn prompt_tokens(&self, text: TextTokens) -> usize {
        // Token ids are no text.
        let (ids, encoded) = match &self.prompt_kind {
            Some(PromptKind::PromptTokens(ids)) => (ids.values.len(), text.of(ids)),
            Some(PromptKind::PromptTokenLists(lists)) => {
                let ids = lists.values.iter().map(|ids| ids.values.len()).sum();
                (ids, text.of(lists))
            }
            _ => (0, 0),
        };
        text.of(self).saturating_sub(encoded) + ids + TEMPLATE_TOKENS
    }

    fn max_tokens(&self) -> Option<i32> {
        self.max_tokens
    }

    fn set_max_tokens(&mut self, tokens: i32) {
        self.max_tokens = Some(tokens);
    }

    fn ask_for_usage(&mut self) -> bool {
        let asked = &mut self.stream_options.get_or_insert_default().include_usage;
        asked.replace(true) != Some(true)
    }
}

impl UnaryMessage for CreateCompletionResponse {
    message_with_choices!("cmpl-");

    fn extra_mut(&mut self) -> &mut BTreeMap<String, String> {
        &mut self.extra
    }

    fn is_empty(&self) -> bool {
        // A list in an unknown form is in `extra`, and is an answer too.
        self.choices.is_empty() && !has_items(&self.extra, "choices")
    }

    fn fill_in(&mut self) {
        self.remove_upstream_report();
    }
}
