//! The routes, and the one layer around all of them: the `request-id` header.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use axum::{Extension, Router};
use http::{HeaderValue, Method, Uri};

use super::connection::ConnectionHandle;
use super::exchange::Exchange;
use super::refusal::{AccountRefusal, Refusal};
use super::state::Shared;
use super::{account, chat, completions, control, embeddings, feed, listing, tokenize};

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
        .route("/account/concurrency/stream", get(feed::watch))
        .route("/emulator/counts", get(control::counts))
        .route("/emulator/switches", get(control::show))
        .route("/emulator/switches/{name}", put(control::set))
        .fallback(unknown_path)
        .method_not_allowed_fallback(wrong_method)
        // Outermost, so that the router's own refusals have an id too.
        .layer(from_fn_with_state(Arc::clone(&emulator), set_request_id))
        .with_state(emulator)
}

async fn set_request_id(
    State(emulator): State<Shared>,
    Extension(connection): Extension<ConnectionHandle>,
    mut request: Request,
    next: Next,
) -> Response {
    let id = uuid(&emulator.unique_hex());
    request.extensions_mut().insert(Exchange {
        id: id.clone(),
        connection,
    });
    let mut response = next.run(request).await;
    if let Ok(value) = HeaderValue::from_str(&id) {
        response.headers_mut().insert("request-id", value);
    }
    response
}

/// Formats 32 hexadecimal digits as a version 4 UUID, with the fixed digits of version and variant.
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

async fn unknown_path(method: Method, uri: Uri) -> Response {
    error_response(&uri, Refusal::unknown_path(method.as_str(), uri.path()))
}

async fn wrong_method(method: Method, uri: Uri) -> Response {
    error_response(&uri, Refusal::wrong_method(method.as_str(), uri.path()))
}

/// The refusal in the format of the path. Paths under `/account` have their own format.
fn error_response(uri: &Uri, refusal: Refusal) -> Response {
    match uri.path().split('/').nth(1) {
        Some("account") => AccountRefusal(refusal).into_response(),
        _ => refusal.into_response(),
    }
}
