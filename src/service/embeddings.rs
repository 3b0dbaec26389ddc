//! `EmbeddingService`: texts as vectors.

use std::collections::BTreeMap;

use super::{Call, Dispatch, Reply, Reported as _, dispatch, validate};
use crate::{
    error::Result,
    proto::v1::{CreateEmbeddingRequest, CreateEmbeddingResponse},
    upstream::{IdentityFields, UnaryMessage},
};

/// Turns texts into vectors.
#[derive(Clone, Debug)]
pub struct Embeddings {
    dispatch: Dispatch,
}

impl Embeddings {
    /// The service over this way to the upstream.
    pub fn new(dispatch: Dispatch) -> Self {
        Self { dispatch }
    }

    /// Turns texts into vectors.
    ///
    /// # Errors
    /// Invalid for a bad field; otherwise what the upstream's reply means.
    pub async fn create(
        &self,
        mut call: Call,
        mut request: CreateEmbeddingRequest,
    ) -> Result<Reply<CreateEmbeddingResponse>> {
        call.obey(&mut request)?;
        call.run(async {
            let request = self.dispatch.prepare(&call, request, prepare).await?;
            self.dispatch.whole(&call, request).await
        })
        .await
    }
}

/// Checks the request and leaves out what is ours.
fn prepare(request: &mut CreateEmbeddingRequest) -> Result<()> {
    validate::embedding(request)?;
    request.provider = None;
    Ok(())
}

impl dispatch::Request for CreateEmbeddingRequest {
    const PATH: &'static [&'static str] = &["embeddings"];
    const MAY_FALL_BACK: bool = false;

    fn model(&mut self) -> &mut String {
        &mut self.model
    }

    fn choices(&self) -> usize {
        1
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
        // What came in a form that we don't know is in `extra`, and is an answer all the same.
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
        self.leave_out_foreign();
    }
}
