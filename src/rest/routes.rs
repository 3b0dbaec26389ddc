//! The paths of the REST door.

use http::Method;

/// Every method and path of this door that has a handler of its own. Tests compare the router, the contract's `google.api.http`
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

/// The methods and paths that are answered by their `google.api.http` rules alone.
pub const TRANSCODED_ROUTES: [(Method, &str); 13] = [
    (Method::GET, "/v1/key"),
    (Method::GET, "/v1/usage"),
    (Method::POST, "/admin/v1/keys"),
    (Method::GET, "/admin/v1/keys"),
    (Method::GET, "/admin/v1/keys/{id}"),
    (Method::PATCH, "/admin/v1/keys/{id}"),
    (Method::POST, "/admin/v1/keys/{id}:rotate"),
    (Method::POST, "/admin/v1/keys/{id}:revoke"),
    (Method::DELETE, "/admin/v1/keys/{id}"),
    (Method::GET, "/admin/v1/audit"),
    (Method::GET, "/admin/v1/usage"),
    (Method::GET, "/admin/v1/calls"),
    (Method::GET, "/admin/v1/calls:export"),
];

/// The suffix of the path of a method that always streams its answer.
pub(super) const STREAM_SUFFIX: &str = ":stream";
