//! `CompletionService` over gRPC.

use tonic::{Request, Response, Status, async_trait};

use super::{call, response, stream::GrpcStream};
use crate::{
    proto::v1::{
        CreateCompletionRequest, CreateCompletionResponse, StreamCompletionResponse,
        completion_service_server::CompletionService,
    },
    service::Completions,
};

#[async_trait]
impl CompletionService for Completions {
    async fn create_completion(
        &self,
        request: Request<CreateCompletionRequest>,
    ) -> Result<Response<CreateCompletionResponse>, Status> {
        let (call, request) = call::split(request)?;
        Ok(response::unary(self.create(call, Box::new(request)).await?))
    }

    type StreamCompletionStream = GrpcStream<StreamCompletionResponse>;

    async fn stream_completion(
        &self,
        request: Request<CreateCompletionRequest>,
    ) -> Result<Response<Self::StreamCompletionStream>, Status> {
        let (call, request) = call::split(request)?;
        let reply = self.stream(call, Box::new(request)).await?;
        Ok(response::streamed(reply.map(GrpcStream::new)))
    }
}
