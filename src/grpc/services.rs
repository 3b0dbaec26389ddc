//! The gRPC services that need a key. The path of a request names its service, and tonic's server for
//! this service answers it. There is no router between: axum's clones and boxes a service for each of
//! its layers.

use std::{convert::Infallible, future::ready};

use axum::BoxError;
use bytes::Bytes;
use http::{HeaderMap, Request};
use http_body::Body as HttpBody;
use tonic::codegen::BoxFuture;
use tower::Service;

use super::{compression::response::compress, response};
use crate::{
    error::Error,
    proto::v1::{
        account_service_server::{self, AccountServiceServer},
        chat_service_server::{self, ChatServiceServer},
        completion_service_server::{self, CompletionServiceServer},
        embedding_service_server::{self, EmbeddingServiceServer},
        model_service_server::{self, ModelServiceServer},
    },
    service::{Account, Chat, Completions, Embeddings, Models, Services},
};

/// The answer to a gRPC request, as tonic gives it.
pub(crate) type GrpcAnswer = BoxFuture<http::Response<tonic::body::Body>, Infallible>;

/// The services.
pub(crate) struct GrpcServices {
    chat: ChatServiceServer<Chat>,
    completions: CompletionServiceServer<Completions>,
    embeddings: EmbeddingServiceServer<Embeddings>,
    models: ModelServiceServer<Models>,
    account: AccountServiceServer<Account>,
}

impl GrpcServices {
    /// A message has at most `bytes_max` bytes.
    pub(crate) fn new(services: Services, bytes_max: usize) -> Self {
        let Services {
            chat,
            completions,
            embeddings,
            models,
            account,
        } = services;
        Self {
            chat: ChatServiceServer::new(chat).max_decoding_message_size(bytes_max),
            completions: CompletionServiceServer::new(completions)
                .max_decoding_message_size(bytes_max),
            embeddings: EmbeddingServiceServer::new(embeddings)
                .max_decoding_message_size(bytes_max),
            models: ModelServiceServer::new(models).max_decoding_message_size(bytes_max),
            account: AccountServiceServer::new(account).max_decoding_message_size(bytes_max),
        }
    }

    /// Whether `path` is below one of these services.
    pub(crate) fn have(path: &str) -> bool {
        matches!(
            service_name(path),
            Some(
                chat_service_server::SERVICE_NAME
                    | completion_service_server::SERVICE_NAME
                    | embedding_service_server::SERVICE_NAME
                    | model_service_server::SERVICE_NAME
                    | account_service_server::SERVICE_NAME
            )
        )
    }

    /// Answers a request to one of these services.
    pub(crate) fn answer<B>(&self, request: Request<B>) -> GrpcAnswer
    where
        B: HttpBody<Data = Bytes, Error = BoxError> + Send + 'static,
    {
        match service_name(request.uri().path()) {
            Some(chat_service_server::SERVICE_NAME) => call(&self.chat, request),
            Some(completion_service_server::SERVICE_NAME) => call(&self.completions, request),
            Some(embedding_service_server::SERVICE_NAME) => call(&self.embeddings, request),
            Some(account_service_server::SERVICE_NAME) => call(&self.account, request),
            Some(model_service_server::SERVICE_NAME) => {
                let models = self.models.clone();
                // Only the answers of this service are worth compressing.
                Box::pin(compress(request, move |request| call(&models, request)))
            }
            _ => {
                let error = Error::internal("a path without a service");
                refused(error, request.headers())
            }
        }
    }
}

/// The answer that refuses a request with these `headers`.
pub(crate) fn refused(error: Error, headers: &HeaderMap) -> GrpcAnswer {
    Box::pin(ready(Ok(response::refuse(error, headers))))
}

/// The service in a path `/package.Service/Method`.
fn service_name(path: &str) -> Option<&str> {
    let (service, method) = path.strip_prefix('/')?.split_once('/')?;
    (!method.is_empty()).then_some(service)
}

fn call<S, B>(service: &S, request: Request<B>) -> GrpcAnswer
where
    S: Service<Request<B>, Future = GrpcAnswer> + Clone,
{
    // The clone counts one more owner of the service.
    service.clone().call(request)
}

#[cfg(test)]
mod tests {
    use http_body_util::{BodyExt, Empty};

    use super::*;
    use crate::{
        proto::v1::{CreateChatCompletionRequest, chat_service_server::ChatService},
        service::tests::{FUTURE_BYTES_MAX, services},
    };

    #[tokio::test]
    async fn the_futures_of_this_door_are_small() {
        let chat = services().chat;
        let request = || tonic::Request::new(CreateChatCompletionRequest::default());
        let whole = size_of_val(&*chat.create_chat_completion(request()));
        let streamed = size_of_val(&*chat.stream_chat_completion(request()));
        let mut tonics = ChatServiceServer::new(chat);
        let request = |method| {
            let path = format!("/{}/{method}", chat_service_server::SERVICE_NAME);
            let body = Empty::<Bytes>::new().map_err(BoxError::from);
            Request::post(path).body(body).unwrap()
        };
        let tonics_whole = size_of_val(&*tonics.call(request("CreateChatCompletion")));
        let tonics_streamed = size_of_val(&*tonics.call(request("StreamChatCompletion")));
        let sizes = [whole, streamed, tonics_whole, tonics_streamed];
        assert!(
            sizes.iter().all(|size| *size <= FUTURE_BYTES_MAX),
            "{sizes:?}"
        );
    }
}
