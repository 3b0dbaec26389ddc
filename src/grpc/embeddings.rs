//! `EmbeddingService` over gRPC.

use tonic::Request;

use super::{
    call::{self, Answering},
    response,
};
use crate::{
    proto::v1::{
        CreateEmbeddingRequest, CreateEmbeddingResponse, embedding_service_server::EmbeddingService,
    },
    service::Embeddings,
};

impl EmbeddingService for Embeddings {
    fn create_embedding<'service, 'call>(
        &'service self,
        request: Request<CreateEmbeddingRequest>,
    ) -> Answering<'call, CreateEmbeddingResponse>
    where
        'service: 'call,
        Self: 'call,
    {
        call::answer(request, async |call, request| {
            Ok(response::unary(self.create(call, request).await?))
        })
    }
}
