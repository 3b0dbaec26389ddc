//! `CompletionService` over gRPC.

use tonic::Request;

use super::{
    call::{self, Answering},
    response,
    stream::GrpcStream,
};
use crate::{
    proto::v1::{
        CreateCompletionRequest, CreateCompletionResponse, StreamCompletionResponse,
        completion_service_server::CompletionService,
    },
    service::{Completions, UnaryOrStream},
};

impl CompletionService for Completions {
    fn create_completion<'service, 'call>(
        &'service self,
        request: Request<CreateCompletionRequest>,
    ) -> Answering<'call, CreateCompletionResponse>
    where
        'service: 'call,
        Self: 'call,
    {
        call::answer(request, async |call, request| {
            Ok(response::unary(self.unary(call, request).await?))
        })
    }

    type StreamCompletionStream = GrpcStream<StreamCompletionResponse>;

    fn stream_completion<'service, 'call>(
        &'service self,
        request: Request<CreateCompletionRequest>,
    ) -> Answering<'call, Self::StreamCompletionStream>
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
