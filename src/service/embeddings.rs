//! `EmbeddingService`: texts as vectors.

use tonic::{Request, Response, Status, async_trait};

use super::{Call, encode, into_response, validate};
use crate::{
    error::Result,
    proto::v1::{CreateEmbeddingRequest, CreateEmbeddingResponse, embedding_service_server},
    upstream::{Ask, Catalogue, Client, Reply, Whole},
};

/// Turns texts into vectors.
#[derive(Clone, Debug)]
pub struct Embeddings {
    upstream: Client,
    catalogue: Catalogue,
}

impl Embeddings {
    /// The service over this upstream; the catalogue knows names near those that there aren't.
    pub fn new(upstream: Client, catalogue: Catalogue) -> Self {
        Self { upstream, catalogue }
    }

    /// Turns texts into vectors.
    ///
    /// # Errors
    /// Invalid for a bad field; otherwise what the upstream's reply means.
    pub async fn create(
        &self,
        call: Call,
        mut request: CreateEmbeddingRequest,
    ) -> Result<Reply<CreateEmbeddingResponse>> {
        let reply = async {
            validate::embedding(&request)?;
            request.provider = None;
            let body = encode(&request)?;
            let ask = Ask { deadline: call.deadline, model: Some(&request.model) };
            match self.upstream.post(&["embeddings"], body, ask).await {
                Ok(reply) => Ok(reply),
                Err(error) => Err(self.catalogue.suggest(&request.model, error).await),
            }
        };
        call.logged(reply.await)
    }
}

impl Whole for CreateEmbeddingResponse {
    fn is_empty(&self) -> bool {
        // What came in a form that we don't know is in `extra`, and is an answer all the same.
        self.data.is_empty() && !self.extra.contains_key("data")
    }
}

#[async_trait]
impl embedding_service_server::EmbeddingService for Embeddings {
    async fn create_embedding(
        &self,
        request: Request<CreateEmbeddingRequest>,
    ) -> Result<Response<CreateEmbeddingResponse>, Status> {
        let call = Call::new(request.metadata().as_ref())?;
        Ok(into_response(self.create(call, request.into_inner()).await?))
    }
}
