//! What the gateway does, once for all doors: one file per gRPC service. A service validates a
//! request, asks the upstream and hands the answer up; tonic calls it for gRPC and gRPC-Web, `rest`
//! calls the same methods for JSON.

pub mod account;
pub mod active_calls;
pub mod call;
pub mod chat;
pub mod chat_accumulator;
pub mod circuit;
pub mod completions;
pub mod dispatch;
pub mod drain;
pub mod embeddings;
pub mod feed;
mod inferred_types;
pub mod inflight_bytes;
mod learning;
pub mod models;
mod options;
mod prepared;
pub mod reply;
mod report;
pub mod route;
mod stream;
pub mod units;
mod validate;

use crate::{
    config,
    error::Error,
    json,
    upstream::{Catalogue, Client, ModelNames},
};
// The doors name these, and know nothing else of `admission`.
pub use crate::admission::{Caller, KeyId, QueuePosition};
pub use account::Account;
pub use active_calls::ActiveCalls;
pub use call::{Arrival, Call};
pub use chat::Chat;
pub use completions::Completions;
pub use dispatch::Dispatch;
pub use drain::{Drain, DrainStarted};
pub use embeddings::Embeddings;
use feed::Feed;
pub use models::Models;
pub use reply::{Reply, UPSTREAM_REQUEST_ID};
pub use report::Reported;
pub use stream::{ResponseStream, StreamedMessage, has_ended};
pub use units::Units;

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
    /// All services over this upstream, as the configuration has it. Must be called within a
    /// runtime.
    pub fn new(upstream: Client, config: &config::Serve) -> Self {
        let catalogue = Catalogue::new(upstream.clone(), ModelNames::new(&config.models));
        let feed = Feed::new(upstream.clone());
        let units = Units::new(
            upstream.clone(),
            catalogue.clone(),
            feed.clone(),
            config.api_keys.len(),
            &config.units,
        );
        let dispatch = Dispatch::new(
            upstream.clone(),
            catalogue.clone(),
            units.clone(),
            &config.models,
        );
        Self {
            chat: Chat::new(dispatch.clone(), config.unary_via_stream),
            completions: Completions::new(dispatch.clone()),
            embeddings: Embeddings::new(dispatch),
            models: Models::new(upstream.clone(), catalogue),
            account: Account::new(upstream, feed, units),
        }
    }
}

fn invalid(bad: json::JsonError) -> Error {
    Error::invalid(
        bad.path.unwrap_or_else(|| "request".to_owned()),
        bad.problem,
    )
}
