//! `ChatService` over gRPC.

use tonic::{Request, Response, Status, async_trait};

use super::{call, response, stream::GrpcStream};
use crate::{
    proto::v1::{
        CreateChatCompletionRequest, CreateChatCompletionResponse, StreamChatCompletionResponse,
        chat_service_server::ChatService,
    },
    service::Chat,
};

#[async_trait]
impl ChatService for Chat {
    async fn create_chat_completion(
        &self,
        request: Request<CreateChatCompletionRequest>,
    ) -> Result<Response<CreateChatCompletionResponse>, Status> {
        let (call, request) = call::split(request)?;
        Ok(response::unary(self.create(call, Box::new(request)).await?))
    }

    type StreamChatCompletionStream = GrpcStream<StreamChatCompletionResponse>;

    async fn stream_chat_completion(
        &self,
        request: Request<CreateChatCompletionRequest>,
    ) -> Result<Response<Self::StreamChatCompletionStream>, Status> {
        let (call, request) = call::split(request)?;
        let reply = self.stream(call, Box::new(request)).await?;
        Ok(response::streamed(reply.map(GrpcStream::new)))
    }
}
