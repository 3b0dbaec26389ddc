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

impl StreamMember for CreateCompletionRequest {
    fn take_stream(&mut self) -> Option<String> {
        self.extra.remove("stream")
    }
}
