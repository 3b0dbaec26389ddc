//! The gRPC door: protobuf in, a method of the services, protobuf out. It serves gRPC and gRPC-Web,
//! and the protocols of health and reflection.
//!
//! It is built like the [REST door](crate::rest), with the same names for the same things:
//!
//! | file | this door | the REST door |
//! |---|---|---|
//! | `account` … `models` | tonic's traits for the services | handlers for the services |
//! | `call` | a [`Call`](crate::service::Call) from metadata | the same from headers |
//! | `request` | limits and framing of messages | media type, limits and decoding of a body |
//! | `response` | statuses and replies | JSON bodies |
//! | `stream` | the stream that tonic sends | the response of a stream; `sse` has its events |
//! | `compression` | `grpc-encoding` | `Content-Encoding` |
//! | `unknown` | methods that don't exist | paths that don't exist |
//!
//! Which layers a request passes, and in which order, [`server`](crate::server) says.

mod account;
mod call;
mod chat;
mod completions;
pub(crate) mod compression;
mod content_type;
pub(crate) mod descriptor_set;
mod embeddings;
pub(crate) mod health;
pub(crate) mod large_message;
mod message_rules;
mod message_scanner;
pub(crate) mod methods;
mod models;
mod only_grpc;
pub(crate) mod read_timeout;
pub(crate) mod reflection;
pub(crate) mod request;
mod response;
mod stream;
mod surrogates;
mod unknown;

pub(crate) use content_type::is_grpc;
pub(crate) use only_grpc::only_grpc;
pub(crate) use response::refuse;
pub(crate) use unknown::unknown_method;

use axum::Router;
use tonic::service::Routes;

use crate::{
    proto::v1::{
        account_service_server::AccountServiceServer, chat_service_server::ChatServiceServer,
        completion_service_server::CompletionServiceServer,
        embedding_service_server::EmbeddingServiceServer, model_service_server::ModelServiceServer,
    },
    service::{Models, Services},
};

/// The routes of all services but `ModelService`. A message has at most `bytes_max` bytes.
pub(crate) fn routes(services: Services, bytes_max: usize) -> Router {
    let Services {
        chat,
        completions,
        embeddings,
        models: _,
        account,
    } = services;
    Routes::new(ChatServiceServer::new(chat).max_decoding_message_size(bytes_max))
        .add_service(CompletionServiceServer::new(completions).max_decoding_message_size(bytes_max))
        .add_service(EmbeddingServiceServer::new(embeddings).max_decoding_message_size(bytes_max))
        .add_service(AccountServiceServer::new(account).max_decoding_message_size(bytes_max))
        .into_axum_router()
        .reset_fallback()
}

/// The routes of `ModelService`, whose answers are worth compressing.
pub(crate) fn model_routes(models: Models, bytes_max: usize) -> Router {
    Routes::new(ModelServiceServer::new(models).max_decoding_message_size(bytes_max))
        .into_axum_router()
        .reset_fallback()
}
