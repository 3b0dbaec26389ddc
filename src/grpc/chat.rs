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
    service::{Chat, UnaryOrStream},
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
            Ok(response::unary(self.unary(call, request).await?))
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
            let reply = UnaryOrStream::stream(self, call, request).await?;
            Ok(response::streamed(reply.map(GrpcStream::new)))
        })
    }
}
