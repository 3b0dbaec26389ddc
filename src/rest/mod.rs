//! The OpenAI door: JSON in, the same service method as gRPC, JSON or server-sent events out. It
//! knows the services and the codec, and nothing of the upstream's client.

use std::sync::Arc;

use axum::{
    Router,
    body::Body,
    extract::DefaultBodyLimit,
    middleware::from_fn,
    response::Response,
    routing::{get, post},
};
use http::{HeaderMap, HeaderValue, Method, header};
use serde::Serialize;

use crate::{
    error::Error,
    json, offload,
    service::{Reply, Services},
};

mod account;
mod completions;
mod compression;
pub mod docs;
mod embeddings;
pub mod home;
mod models;
mod paging;
mod request;
mod sse;
mod stream;
mod unknown;

pub use unknown::unknown_path;
use unknown::wrong_method;

/// Every path of this door and its methods. Tests hold the router, the contract's `google.api.http`
/// and the OpenAPI document to it.
pub const ROUTES: [(Method, &str); 12] = [
    (Method::POST, "/v1/chat/completions"),
    (Method::POST, "/v1/chat/completions:stream"),
    (Method::POST, "/v1/completions"),
    (Method::POST, "/v1/completions:stream"),
    (Method::POST, "/v1/embeddings"),
    (Method::POST, "/v1/tokenize"),
    (Method::GET, "/v1/models"),
    (Method::GET, "/v1/models/{name}"),
    (Method::GET, "/v1/models/{org}/{name}"),
    (Method::GET, "/v1/plan"),
    (Method::GET, "/v1/concurrency"),
    (Method::GET, "/v1/concurrency/stream"),
];

/// The door's routes, in front of these services.
pub fn routes(services: Services, request_bytes_max: usize) -> Router {
    Router::new()
        .route("/v1/chat/completions", post(completions::chat))
        .route(
            "/v1/chat/completions:stream",
            post(completions::stream_chat),
        )
        .route("/v1/completions", post(completions::text))
        .route("/v1/completions:stream", post(completions::stream_text))
        .route("/v1/embeddings", post(embeddings::create))
        .route("/v1/tokenize", post(models::tokenize))
        .route("/v1/models", get(models::list))
        .route("/v1/models/{name}", get(models::get_by_name))
        .route("/v1/models/{org}/{name}", get(models::get))
        .route("/v1/plan", get(account::plan))
        .route("/v1/concurrency", get(account::concurrency))
        .route("/v1/concurrency/stream", get(account::watch))
        .with_state((Arc::new(services), request::Limit(request_bytes_max)))
        .method_not_allowed_fallback(wrong_method)
        .layer(from_fn(compression::negotiate))
        // The limit is ours, in `request`, with an error that names it.
        .layer(DefaultBodyLimit::disable())
}

/// What every handler is given.
type Inside = (Arc<Services>, request::Limit);

/// A message as a JSON answer.
fn answer<M: Serialize + prost::Message>(reply: impl Into<Reply<M>>) -> Response {
    let Reply { answer, headers } = reply.into();
    let mut body = Vec::with_capacity(1024);
    if let Err(problem) = offload::run_in_place(answer.encoded_len(), || {
        json::encode_answer(&answer, &mut body)
    }) {
        return Error::internal(problem).into_response();
    }
    respond(body.into(), "application/json", headers)
}

/// A body as an answer, with what goes beside it.
fn respond(body: Body, media_type: &'static str, headers: HeaderMap) -> Response {
    let mut response = Response::new(body);
    *response.headers_mut() = headers;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    response
}
