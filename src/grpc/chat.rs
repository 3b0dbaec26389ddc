//! `ChatService` over gRPC.

use tonic::Request;

use super::{
    call::{self, Answering},
    response,
    stream::GrpcStream,
};
use crate::{
    proto::v1::{
        CreateChatCompletionRequest, CreateChatCompletionResponse, StreamChatCompletionResponse,
        chat_service_server::ChatService,
    },
    service::Chat,
};

impl ChatService for Chat {
    fn create_chat_completion<'service, 'call>(
        &'service self,
        request: Request<CreateChatCompletionRequest>,
    ) -> Answering<'call, CreateChatCompletionResponse>
    where
        'service: 'call,
        Self: 'call,
    {
        call::answer(request, async |call, request| {
            Ok(response::unary(self.create(call, request).await?))
        })
    }

    type StreamChatCompletionStream = GrpcStream<StreamChatCompletionResponse>;

    fn stream_chat_completion<'service, 'call>(
        &'service self,
        request: Request<CreateChatCompletionRequest>,
    ) -> Answering<'call, Self::StreamChatCompletionStream>
    where
        'service: 'call,
        Self: 'call,
    {
        call::answer(request, async |call, request| {
            let reply = self.stream(call, request).await?;
            Ok(response::streamed(reply.map(GrpcStream::new)))
        })
    }
}
