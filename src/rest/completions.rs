//! `POST /v1/completions` and `POST /v1/completions:stream`.

use super::{request::StreamMember, unary_or_stream::UnaryOrStream};
use crate::{
    error::Result,
    proto::v1::{CreateCompletionRequest, CreateCompletionResponse, StreamCompletionResponse},
    service::{Call, Completions, Reply, ResponseStream, Services},
};

impl UnaryOrStream for Completions {
    type Request = CreateCompletionRequest;
    type Response = CreateCompletionResponse;
    type Chunk = StreamCompletionResponse;

    fn of(services: &Services) -> &Self {
        &services.completions
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

impl StreamMember for CreateCompletionRequest {
    fn take_stream(&mut self) -> Option<String> {
        self.extra.remove("stream")
    }
}
