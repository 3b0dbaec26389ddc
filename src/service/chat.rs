//! `ChatService`: chat completions, whole or streamed.

use std::{
    collections::BTreeMap,
    pin::Pin,
    task::{Context, Poll},
};

use futures_util::{Stream, StreamExt, stream::Map};
use tonic::{Request, Response, Status, async_trait};

use super::{Call, into_response, validate};
use crate::{
    error::{Error, Result},
    json,
    proto::v1::{
        CreateChatCompletionRequest, CreateChatCompletionResponse, StreamChatCompletionResponse, chat_service_server,
    },
    upstream::{Ask, Chunk, Client, Events, Reply},
};

const PATH: [&str; 2] = ["chat", "completions"];

/// Answers conversations.
#[derive(Clone, Debug)]
pub struct Chat {
    upstream: Client,
}

/// A streamed chat answer. Dropping it gives back all that it holds, the upstream connection first of all.
#[derive(Debug)]
pub struct ChatStream {
    events: Events<StreamChatCompletionResponse>,
    call: Call,
}

impl Chat {
    /// The service over this upstream.
    pub fn new(upstream: Client) -> Self {
        Self { upstream }
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
        let reply = async {
            let body = body(&mut request, false)?;
            let ask = Ask { deadline: call.deadline, model: Some(&request.model) };
            self.upstream.post(&PATH, body, ask).await
        };
        call.logged(reply.await)
    }

    /// Answers a conversation piece by piece.
    ///
    /// # Errors
    /// Invalid for a bad field; otherwise what the upstream's reply means. After that, the stream's own.
    pub async fn stream(&self, call: Call, mut request: CreateChatCompletionRequest) -> Result<Reply<ChatStream>> {
        let reply = async {
            let body = body(&mut request, true)?;
            let ask = Ask { deadline: call.deadline, model: Some(&request.model) };
            self.upstream.stream(&PATH, body, ask).await
        };
        let Reply { request_id, answer: events } = call.logged(reply.await)?;
        Ok(Reply { request_id, answer: ChatStream { events, call } })
    }
}

/// The request as the upstream shall see it: what is ours left out, and `stream` as the caller's method says.
fn body(request: &mut CreateChatCompletionRequest, stream: bool) -> Result<Vec<u8>> {
    validate::chat(request)?;
    request.provider = None;
    request.extra.insert("stream".to_owned(), stream.to_string());
    json::encode_request(request).map_err(|bad| match bad.path {
        Some(path) => Error::invalid(path, bad.problem),
        None => Error::invalid("request", bad.problem),
    })
}

impl Stream for ChatStream {
    type Item = Result<StreamChatCompletionResponse>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        let item = this.events.poll_next_unpin(context);
        if let Poll::Ready(Some(Err(error))) = &item {
            this.call.log(error);
        }
        item
    }
}

impl Chunk for StreamChatCompletionResponse {
    fn extra(&self) -> &BTreeMap<String, String> {
        &self.extra
    }

    fn choices(&self) -> impl Iterator<Item = (i32, bool)> {
        self.choices.iter().map(|choice| (choice.index, choice.finish_reason.is_some()))
    }
}

fn into_status<T>(item: Result<T>) -> Result<T, Status> {
    item.map_err(Status::from)
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

    type StreamChatCompletionStream =
        Map<ChatStream, fn(Result<StreamChatCompletionResponse>) -> Result<StreamChatCompletionResponse, Status>>;

    async fn stream_chat_completion(
        &self,
        request: Request<CreateChatCompletionRequest>,
    ) -> Result<Response<Self::StreamChatCompletionStream>, Status> {
        let call = Call::new(request.metadata().as_ref())?;
        let Reply { request_id, answer } = self.stream(call, request.into_inner()).await?;
        let answer = answer.map(into_status as fn(_) -> _);
        Ok(into_response(Reply { request_id, answer }))
    }
}
