//! `EmbeddingService` over gRPC.

use tonic::{Request, Response, Status, async_trait};

use super::{call, response};
use crate::{
    proto::v1::{
        CreateEmbeddingRequest, CreateEmbeddingResponse, embedding_service_server::EmbeddingService,
    },
    service::Embeddings,
};

#[async_trait]
impl EmbeddingService for Embeddings {
    async fn create_embedding(
        &self,
        request: Request<CreateEmbeddingRequest>,
    ) -> Result<Response<CreateEmbeddingResponse>, Status> {
        let (call, request) = call::split(request)?;
        Ok(response::unary(self.create(call, Box::new(request)).await?))
    }
}
