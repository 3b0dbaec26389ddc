//! Featherless over HTTP: [`Client`] sends requests and returns a [`Reply`] with a
//! [`UnaryMessage`] or a [`StartedStream`]; [`Catalogue`] keeps the list of models.
//!
//! From top to bottom:
//!
//! - [`catalogue`]: the list of models, kept and refreshed.
//! - [`client`]: requests. `sender` sends them, with timeouts and retries (`timeouts`, `retry`).
//! - `unary` and `started`: the two types of answers. `event_stream` makes messages of the events
//!   that [`sse`] finds in a body. `event_meaning` says what an event means, with the help of
//!   `choices`, `finish_reason` and `identity`.
//! - `transport`: HTTP, by a `pool` of connections for each worker (`connection`, `connector`). A
//!   `response_body` holds its connection.
//! - [`error`](mod@error): what Featherless says when it fails.
//!
//! Nothing here knows the caller, or the door by which the request came. Nothing here depends on
//! axum or on tonic's server.

mod address;
mod body;
pub mod catalogue;
mod choices;
pub mod client;
mod connection;
mod connector;
pub mod error;
mod event_meaning;
mod event_stream;
mod finish_reason;
mod identity;
mod limits;
mod model_names;
mod options;
mod pool;
mod pools;
mod reply;
mod response_body;
mod retry;
mod sender;
pub mod sse;
mod started;
mod stream_message;
mod timeouts;
mod transport;
mod unary;
mod wakes;

pub use catalogue::{Catalogue, CatalogueSource};
pub use client::Client;
pub use error::too_large;
pub use event_stream::EventStream;
pub use finish_reason::{ChoiceEnd, FAILURE_MEMBERS};
pub use identity::{Identity, IdentityFields};
pub use limits::ANSWER_BYTES_MAX;
pub use model_names::ModelNames;
pub use options::{RequestOptions, SentRequests};
pub use reply::Reply;
pub use retry::Attempts;
pub use started::StartedStream;
pub use stream_message::StreamMessage;
pub use unary::{UnaryMessage, has_items};
