//! What the gateway does, once for all doors: one file per gRPC service. A service validates a request, asks the
//! upstream and hands the answer up; tonic calls it for gRPC and gRPC-Web, `rest` calls the same methods for JSON.

pub mod account;
pub mod adder;
pub mod call;
pub mod chat;
pub mod completions;
pub mod embeddings;
pub mod feed;
pub mod models;
mod stream;
mod validate;

pub use account::Account;
pub use call::Call;
pub use chat::Chat;
pub use completions::Completions;
pub use embeddings::Embeddings;
pub use models::Models;
pub use stream::{Answers, GrpcAnswers};
use tonic::Response;

use crate::{
    error::{Error, Result},
    json,
    upstream::{Catalogue, Client, Reply},
};

/// All of them, over one upstream.
#[derive(Clone, Debug)]
pub struct Services {
    /// Chat completions.
    pub chat: Chat,
    /// Text completions.
    pub completions: Completions,
    /// Embeddings.
    pub embeddings: Embeddings,
    /// Models.
    pub models: Models,
    /// The account.
    pub account: Account,
}

impl Services {
    /// All services over this upstream. `unary_via_stream` is what a unary chat call does that doesn't say itself.
    pub fn new(upstream: Client, unary_via_stream: bool) -> Self {
        let catalogue = Catalogue::new(upstream.clone());
        Self {
            chat: Chat::new(upstream.clone(), catalogue.clone(), unary_via_stream),
            completions: Completions::new(upstream.clone(), catalogue.clone()),
            embeddings: Embeddings::new(upstream.clone(), catalogue.clone()),
            models: Models::new(upstream.clone(), catalogue),
            account: Account::new(upstream),
        }
    }
}

/// The name under which the upstream's `request-id` goes to callers, at both doors.
pub const UPSTREAM_REQUEST_ID: &str = "x-featherless-request-id";

/// A request as the JSON that the upstream gets.
///
/// # Errors
/// Invalid, for what only a gRPC caller can get wrong.
fn encode(request: &impl serde::Serialize) -> Result<Vec<u8>> {
    json::encode_request(request).map_err(|bad| match bad.path {
        Some(path) => Error::invalid(path, bad.problem),
        None => Error::invalid("request", bad.problem),
    })
}

/// An answer as tonic wants it, with the upstream's `request-id` in its metadata.
fn into_response<T>(reply: Reply<T>) -> Response<T> {
    let mut response = Response::new(reply.answer);
    if let Some(id) = reply.request_id {
        response.metadata_mut().as_mut().insert(UPSTREAM_REQUEST_ID, id);
    }
    response
}
