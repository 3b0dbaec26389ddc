//! `EmbeddingService`: texts as vectors.

use std::collections::BTreeMap;

use super::{
    call::Call,
    dispatch::Dispatch,
    model_request::{ModelRequest, TEMPLATE_TOKENS, TextTokens},
    reply::Reply,
    report::Reported as _,
    validate,
};
use crate::{
    error::Result,
    ledger::Rpc,
    proto::v1::{
        CreateEmbeddingRequest, CreateEmbeddingResponse, create_embedding_request::InputKind,
    },
    upstream::{IdentityFields, UnaryMessage},
};

/// The service of embeddings.
#[derive(Clone, Debug)]
pub struct Embeddings {
    dispatch: Dispatch,
}

impl Embeddings {
    /// The service over `dispatch`.
    pub fn new(dispatch: Dispatch) -> Self {
        Self { dispatch }
    }

    /// Turns texts into vectors.
    ///
    /// # Errors
    /// [`Kind::Invalid`](crate::error::Kind::Invalid) for an invalid field; otherwise the meaning
    /// of the upstream's reply.
    pub async fn create(
        &self,
        mut call: Call,
        mut request: Box<CreateEmbeddingRequest>,
    ) -> Result<Reply<CreateEmbeddingResponse>> {
        call.rpc = Some(Rpc::CreateEmbedding);
        call.apply_options(&mut *request)?;
        call.run(async {
            let request = self.dispatch.prepare(&call, request, None, prepare).await?;
            self.dispatch.unary(&call, request).await
        })
        .await
    }
}

/// Validates a request and removes what is not sent upstream.
fn prepare(request: &mut CreateEmbeddingRequest) -> Result<()> {
    validate::embedding(request)?;
    request.provider = None;
    Ok(())
}

impl ModelRequest for CreateEmbeddingRequest {
    const PATH: &'static [&'static str] = &["embeddings"];
    const MAY_FALL_BACK: bool = false;

    fn model(&mut self) -> &mut String {
        &mut self.model
    }

    fn choices(&self) -> usize {
        1
    }

    fn generations(&self) -> usize {
        0
    }

    fn prompt_tokens(&self, text: TextTokens) -> usize {
        // Token ids are no text.
        let (ids, encoded) = match &self.input_kind {
            Some(InputKind::InputTokens(ids)) => (ids.values.len(), text.of(ids)),
            Some(InputKind::InputTokenLists(lists)) => {
                let ids = lists.values.iter().map(|ids| ids.values.len()).sum();
                (ids, text.of(lists))
            }
            _ => (0, 0),
        };
        text.of(self).saturating_sub(encoded) + ids + TEMPLATE_TOKENS
    }

    fn max_tokens(&self) -> Option<i32> {
        None
    }

    fn set_max_tokens(&mut self, _: i32) {}

    fn ask_for_usage(&mut self) -> bool {
        false
    }
}

impl UnaryMessage for CreateEmbeddingResponse {
    fn extra(&self) -> &BTreeMap<String, String> {
        &self.extra
    }

    fn extra_mut(&mut self) -> &mut BTreeMap<String, String> {
        &mut self.extra
    }

    fn is_empty(&self) -> bool {
        // A list in an unknown form is in `extra`, and is an answer too.
        self.data.is_empty() && !self.extra.contains_key("data")
    }

    fn identity_fields(&mut self) -> Option<IdentityFields<'_>> {
        let Self { model, extra, .. } = self;
        Some(IdentityFields {
            id: None,
            created: None,
            model,
            extra,
        })
    }

    fn indexes(&mut self) -> impl Iterator<Item = &mut i32> {
        self.data.iter_mut().map(|item| &mut item.index)
    }

    fn fill_in(&mut self) {
        self.remove_upstream_report();
    }
}
