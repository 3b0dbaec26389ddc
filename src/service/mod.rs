//! What the gateway does, once for all doors: one file per gRPC service. A service validates a request, asks the
//! upstream and hands the answer up; tonic calls it for gRPC and gRPC-Web, `rest` calls the same methods for JSON.

mod call;
pub mod chat;
pub mod models;
mod validate;

pub use call::Call;
pub use chat::Chat;
pub use models::Models;
use tonic::Response;

use crate::upstream::Reply;

/// The name under which the upstream's `request-id` goes to callers, at both doors.
pub const UPSTREAM_REQUEST_ID: &str = "x-featherless-request-id";

/// An answer as tonic wants it, with the upstream's `request-id` in its metadata.
fn into_response<T>(reply: Reply<T>) -> Response<T> {
    let mut response = Response::new(reply.answer);
    if let Some(id) = reply.request_id {
        response.metadata_mut().as_mut().insert(UPSTREAM_REQUEST_ID, id);
    }
    response
}
