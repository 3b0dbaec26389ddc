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

    fn unary(
        &self,
        call: Call,
        request: Box<Self::Request>,
    ) -> impl Future<Output = Result<Reply<Self::Response>>> + Send {
        self.create(call, request)
    }

    fn stream(
        &self,
        call: Call,
        request: Box<Self::Request>,
    ) -> impl Future<Output = Result<Reply<ResponseStream<Self::Chunk>>>> + Send {
        Self::stream(self, call, request)
    }
}

impl StreamMember for CreateChatCompletionRequest {
    fn take_stream(&mut self) -> Option<String> {
        self.extra.remove("stream")
    }
}
