//! The REST door: JSON in, a method of the services, JSON or server-sent events out, in the shape
//! of OpenAI's API. It knows the services and the JSON codec, and nothing of the upstream's client.
//!
//! It is built like the [gRPC door](crate::grpc), with the same names for the same things. Which
//! layers a request passes, and in which order, [`server`](crate::server) says.

use std::sync::Arc;

use axum::{
    Router,
    extract::DefaultBodyLimit,
    routing::{get, post},
};

use crate::service::{Chat, Completions, Services};

mod account;
mod call;
pub(crate) mod compression;
pub(crate) mod docs;
mod embedded_file;
mod embeddings;
pub(crate) mod home;
mod limit;
mod models;
mod paging;
mod request;
mod response;
mod routes;
mod shortcut;
mod sse;
mod state;
mod stream;
pub(crate) mod transcode;
mod unary_or_stream;
mod unknown;

pub use routes::{ROUTES, TRANSCODED_ROUTES};
pub(crate) use shortcut::Shortcut;
pub(crate) use state::RestState;
pub(crate) use unknown::unknown_path;

use self::{limit::BodyLimit, unary_or_stream::create, unknown::wrong_method};

/// The state of the REST door. A request body has at most `body_bytes_max` bytes.
pub(crate) fn state(services: Services, body_bytes_max: usize) -> RestState {
    RestState {
        services: Arc::new(services),
        body_limit: BodyLimit(body_bytes_max),
    }
}

/// The routes of the REST door.
pub(crate) fn routes(state: RestState) -> Router {
    Router::new()
        .route("/v1/chat/completions", post(create::<Chat>))
        .route("/v1/chat/completions:stream", post(create::<Chat>))
        .route("/v1/completions", post(create::<Completions>))
        .route("/v1/completions:stream", post(create::<Completions>))
        .route("/v1/embeddings", post(embeddings::create))
        .route("/v1/tokenize", post(models::tokenize))
        .route("/v1/models", get(models::list))
        .route("/v1/models/{name}", get(models::get_by_name))
        .route("/v1/models/{org}/{name}", get(models::get))
        .route("/v1/plan", get(account::plan))
        .route("/v1/concurrency", get(account::concurrency))
        .route("/v1/concurrency/stream", get(account::watch))
        .with_state(state)
        .method_not_allowed_fallback(wrong_method)
        // `BodyLimit` is the limit; its error names the option.
        .layer(DefaultBodyLimit::disable())
}
