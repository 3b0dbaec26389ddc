//! The paths of the REST door.

use http::Method;

/// Every method and path of this door. Tests compare the router, the contract's `google.api.http`
/// rules and the OpenAPI document with this list.
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

/// The suffix of the path of a method that always streams its answer.
pub(super) const STREAM_SUFFIX: &str = ":stream";
