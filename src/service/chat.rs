//! `ChatService`: chat completions, whole or streamed.

use futures_util::StreamExt;
use tonic::{Request, Response, Status, async_trait};

use super::{Answers, Call, GrpcAnswers, adder::Adder, encode, into_response, validate};
use crate::{
    error::Result,
    proto::v1::{
        CreateChatCompletionRequest, CreateChatCompletionResponse, StreamChatCompletionResponse, chat_service_server,
    },
    upstream::{Ask, Catalogue, Client, Reply, Whole},
};

const PATH: [&str; 2] = ["chat", "completions"];

/// Answers conversations.
#[derive(Clone, Debug)]
pub struct Chat {
    upstream: Client,
    catalogue: Catalogue,
    unary_via_stream: bool,
}

impl Chat {
    /// The service over this upstream; the catalogue knows names near those that there aren't.
    /// `unary_via_stream` is what a unary call does that doesn't say itself.
    pub fn new(upstream: Client, catalogue: Catalogue, unary_via_stream: bool) -> Self {
        Self { upstream, catalogue, unary_via_stream }
    }

    /// Answers a conversation with one complete message.
    ///
    /// # Errors
    /// Invalid for a bad field; otherwise what the upstream's reply means.
    pub async fn create(
        &self,
        call: Call,
        mut request: CreateChatCompletionRequest,
    ) -> Result<Reply<CreateChatCompletionResponse>> {
        if call.unary_via_stream.unwrap_or(self.unary_via_stream) {
            return self.create_via_stream(call, request).await;
        }
        let reply = async {
            let body = body(&mut request, false)?;
            let ask = Ask { deadline: call.deadline, model: Some(&request.model) };
            match self.upstream.post(&PATH, body, ask).await {
                Ok(reply) => Ok(reply),
                Err(error) => Err(self.catalogue.suggest(&request.model, error).await),
            }
        };
        call.logged(reply.await)
    }

    async fn create_via_stream(
        &self,
        call: Call,
        mut request: CreateChatCompletionRequest,
    ) -> Result<Reply<CreateChatCompletionResponse>> {
        // A unary answer has its usage; a stream has it only when asked.
        request.stream_options.get_or_insert_default().include_usage.get_or_insert(true);
        let Reply { request_id, answer: mut chunks } = self.stream(call, request).await?;
        let mut adder = Adder::default();
        while let Some(chunk) = chunks.next().await {
            adder.add(chunk?);
        }
        Ok(Reply { request_id, answer: adder.finish() })
    }

    /// Answers a conversation piece by piece.
    ///
    /// # Errors
    /// Invalid for a bad field; otherwise what the upstream's reply means. After that, the stream's own.
    pub async fn stream(
        &self,
        call: Call,
        mut request: CreateChatCompletionRequest,
    ) -> Result<Reply<Answers<StreamChatCompletionResponse>>> {
        let reply = async {
            let body = body(&mut request, true)?;
            let ask = Ask { deadline: call.deadline, model: Some(&request.model) };
            match self.upstream.stream(&PATH, body, ask).await {
                Ok(reply) => Ok(reply),
                Err(error) => Err(self.catalogue.suggest(&request.model, error).await),
            }
        };
        let reply = call.logged(reply.await)?;
        Ok(reply.map(|events| Answers::new(events, call)))
    }
}

/// The request as the upstream shall see it: what is ours left out, and `stream` as the caller's method says.
fn body(request: &mut CreateChatCompletionRequest, stream: bool) -> Result<Vec<u8>> {
    validate::chat(request)?;
    request.provider = None;
    request.extra.insert("stream".to_owned(), stream.to_string());
    encode(request)
}

impl Whole for CreateChatCompletionResponse {
    fn is_empty(&self) -> bool {
        // What came in a form that we don't know is in `extra`, and is an answer all the same.
        self.choices.is_empty() && !self.extra.contains_key("choices")
    }
}

#[async_trait]
impl chat_service_server::ChatService for Chat {
    async fn create_chat_completion(
        &self,
        request: Request<CreateChatCompletionRequest>,
    ) -> Result<Response<CreateChatCompletionResponse>, Status> {
        let call = Call::new(request.metadata().as_ref())?;
        Ok(into_response(self.create(call, request.into_inner()).await?))
    }

    type StreamChatCompletionStream = GrpcAnswers<StreamChatCompletionResponse>;

    async fn stream_chat_completion(
        &self,
        request: Request<CreateChatCompletionRequest>,
    ) -> Result<Response<Self::StreamChatCompletionStream>, Status> {
        let call = Call::new(request.metadata().as_ref())?;
        Ok(into_response(self.stream(call, request.into_inner()).await?.map(Answers::into_grpc)))
    }
}
