//! `POST /v1/chat/completions` and `POST /v1/chat/completions:stream`.

use super::{request::StreamMember, unary_or_stream::UnaryOrStream};
use crate::{
    error::Result,
    proto::v1::{
        CreateChatCompletionRequest, CreateChatCompletionResponse, StreamChatCompletionResponse,
    },
    service::{Call, Chat, Reply, ResponseStream, Services},
};

impl UnaryOrStream for Chat {
    type Request = CreateChatCompletionRequest;
    type Response = CreateChatCompletionResponse;
    type Chunk = StreamChatCompletionResponse;

    fn of(services: &Services) -> &Self {
        &services.chat
    }

    async fn unary(
        &self,
        call: Call,
        request: Box<Self::Request>,
    ) -> Result<Reply<Self::Response>> {
        self.create(call, request).await
    }

    async fn stream(
        &self,
        call: Call,
        request: Box<Self::Request>,
    ) -> Result<Reply<ResponseStream<Self::Chunk>>> {
        Self::stream(self, call, request).await
    }
}

impl StreamMember for CreateChatCompletionRequest {
    fn take_stream(&mut self) -> Option<String> {
        self.extra.remove("stream")
    }
}
