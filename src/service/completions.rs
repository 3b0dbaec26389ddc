//! `CompletionService`: text completions, whole or streamed.

use tonic::{Request, Response, Status, async_trait};

use super::{Answers, Call, GrpcAnswers, encode, into_response, validate};
use crate::{
    error::Result,
    proto::v1::{
        CreateCompletionRequest, CreateCompletionResponse, StreamCompletionResponse, completion_service_server,
    },
    upstream::{Ask, Catalogue, Client, Reply, Whole},
};

const PATH: [&str; 1] = ["completions"];

/// Continues texts.
#[derive(Clone, Debug)]
pub struct Completions {
    upstream: Client,
    catalogue: Catalogue,
}

impl Completions {
    /// The service over this upstream; the catalogue knows names near those that there aren't.
    pub fn new(upstream: Client, catalogue: Catalogue) -> Self {
        Self { upstream, catalogue }
    }

    /// Continues a text, whole.
    ///
    /// # Errors
    /// Invalid for a bad field; otherwise what the upstream's reply means.
    pub async fn create(
        &self,
        call: Call,
        mut request: CreateCompletionRequest,
    ) -> Result<Reply<CreateCompletionResponse>> {
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

    /// Continues a text, piece by piece.
    ///
    /// # Errors
    /// Invalid for a bad field; otherwise what the upstream's reply means. After that, the stream's own.
    pub async fn stream(
        &self,
        call: Call,
        mut request: CreateCompletionRequest,
    ) -> Result<Reply<Answers<StreamCompletionResponse>>> {
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
fn body(request: &mut CreateCompletionRequest, stream: bool) -> Result<Vec<u8>> {
    validate::completion(request)?;
    request.provider = None;
    request.extra.insert("stream".to_owned(), stream.to_string());
    encode(request)
}

impl Whole for CreateCompletionResponse {
    fn is_empty(&self) -> bool {
        // What came in a form that we don't know is in `extra`, and is an answer all the same.
        self.choices.is_empty() && !self.extra.contains_key("choices")
    }
}

#[async_trait]
impl completion_service_server::CompletionService for Completions {
    async fn create_completion(
        &self,
        request: Request<CreateCompletionRequest>,
    ) -> Result<Response<CreateCompletionResponse>, Status> {
        let call = Call::new(request.metadata().as_ref())?;
        Ok(into_response(self.create(call, request.into_inner()).await?))
    }

    type StreamCompletionStream = GrpcAnswers<StreamCompletionResponse>;

    async fn stream_completion(
        &self,
        request: Request<CreateCompletionRequest>,
    ) -> Result<Response<Self::StreamCompletionStream>, Status> {
        let call = Call::new(request.metadata().as_ref())?;
        Ok(into_response(self.stream(call, request.into_inner()).await?.map(Answers::into_grpc)))
    }
}
