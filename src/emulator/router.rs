//! Which path leads where, and the one layer around all of them: the `request-id` header.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use axum::routing::{get, post};
use http::{HeaderValue, Method, Uri};

use super::refusal::Refusal;
use super::{Shared, account, chat, completions, embeddings, listing, tokenize};

pub fn routes(emulator: Shared) -> Router {
    Router::new()
        .route("/v1/chat/completions", post(chat::create))
        .route("/v1/completions", post(completions::create))
        .route("/v1/embeddings", post(embeddings::create))
        .route("/v1/tokenize", post(tokenize::create))
        .route("/v1/models", get(listing::list))
        // A wildcard, because an id contains a slash, plain or percent-encoded.
        .route("/v1/models/{*id}", get(listing::get))
        .route("/v1/plan", get(account::plan))
        .route("/account/concurrency", get(account::concurrency))
        .route("/account/concurrency/stream", get(account::watch_concurrency))
        .fallback(unknown_path)
        .method_not_allowed_fallback(wrong_method)
        // Outermost, so that refusals of the router itself carry an id too.
        .layer(from_fn_with_state(Arc::clone(&emulator), label))
        .with_state(emulator)
}

/// The id of the request being answered, for the units it holds and for the `request-id` header.
#[derive(Clone)]
pub struct RequestId(pub String);

async fn label(State(emulator): State<Shared>, mut request: Request, next: Next) -> Response {
    let id = uuid(&emulator.unique_hex());
    request.extensions_mut().insert(RequestId(id.clone()));
    let mut response = next.run(request).await;
    if let Ok(value) = HeaderValue::from_str(&id) {
        response.headers_mut().insert("request-id", value);
    }
    response
}

/// Lays 32 hexadecimal digits out as a version 4 UUID: a fixed digit for the version, one of four for the variant.
fn uuid(hex: &str) -> String {
    let mut digits = hex.chars();
    "xxxxxxxx-xxxx-4xxx-axxx-xxxxxxxxxxxx"
        .chars()
        .map(|form| match form {
            'x' => digits.next_back().unwrap_or('0'),
            fixed => fixed,
        })
        .collect()
}

async fn unknown_path(method: Method, uri: Uri) -> Refusal {
    Refusal::unknown_path(method.as_str(), uri.path())
}

async fn wrong_method(method: Method, uri: Uri) -> Refusal {
    Refusal::wrong_method(method.as_str(), uri.path())
}
