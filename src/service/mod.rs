//! What each RPC means, once for all doors. A service validates a request, asks the upstream and
//! returns a [`Reply`]. The doors call the services: [`grpc`](crate::grpc) and
//! [`rest`](crate::rest). Nothing here names tonic or axum.
//!
//! In reading order:
//!
//! - [`call`]: the life cycle of a call; [`headers`], `options`, [`active_calls`] and
//!   [`inflight_bytes`] are what it consists of.
//! - `chat`, `completions`, `embeddings`, [`models`] and `account`: one file per gRPC service.
//!   `unary_or_stream` is what the first two have in common; `model_search` searches for models.
//! - `prepared`: the request as it is sent upstream, after `validate` and `inferred_types`.
//! - `accounts`: the accounts that are asked, at their `upstreams`.
//! - [`dispatch`]: sends a request to a model. `route` chooses among its fallbacks, [`circuit`]
//!   avoids a model that fails, `attempt` asks one model, [`units`] waits for units, `exchange`
//!   sends and receives.
//!   `fallbacks` are those of the configuration; `trace_notes`: what the trace is told.
//! - `stream`: a streamed answer on its way to a door; `queued`: what it says before it begins, if
//!   the call waits for units; `report`: what the caller is told of the
//!   call; `record`: what the ledger keeps of it.
//! - `admin`: the administration of keys and the reports of usage; `caller`: the same for the
//!   caller's own key.
//! - [`feed`] and `unit_monitor`: what the upstream tells about the account's units.
//!   `concurrency_sum` adds up what several accounts say.
//! - `gauges`: what the metrics are told when they are asked for.

mod account;
mod accounts;
pub mod active_calls;
mod admin;
mod attempt;
pub mod body_timeout;
pub mod call;
mod caller;
mod chat;
pub mod chat_accumulator;
mod choices;
mod chunks;
pub mod circuit;
mod completions;
mod concurrency_sum;
mod described;
pub mod dispatch;
pub mod drain;
mod embeddings;
mod exchange;
mod fallbacks;
pub mod feed;
mod gauges;
pub mod headers;
mod inferred_types;
pub mod inflight_bytes;
mod model_request;
mod model_search;
pub mod models;
mod options;
mod prepared;
mod queued;
mod record;
mod reply;
mod report;
mod reservation;
mod route;
mod stats;
mod stream;
mod trace_notes;
mod unary_or_stream;
mod unit_monitor;
pub mod units;
mod upstreams;
mod usage;
mod validate;
mod work;

// The doors name these, and nothing else of `admission` and `ledger`.
pub use crate::admission::QueuePosition;
pub use crate::ledger::{Door, Rpc};
pub use account::Account;
pub use accounts::Accounts;
pub use active_calls::{ActiveCalls, ConnectionCut};
pub use admin::{AdminKeys, AdminUsage};
pub(crate) use admin::{key_messages, usage_messages};
pub use call::{Arrival, Call};
pub use caller::Caller;
pub use chat::Chat;
pub use choices::has_ended;
pub use circuit::SharedCircuits;
pub use completions::Completions;
pub use dispatch::Dispatch;
pub use drain::{Drain, DrainStarted};
pub use embeddings::Embeddings;
pub use gauges::Gauges;
pub use models::Models;
pub use reply::{LateHeaders, Reply};
pub use stream::{AnswerChunk, ResponseStream};
pub use unary_or_stream::UnaryOrStream;
pub use units::Units;
pub use upstreams::Upstreams;

use crate::{
    config,
    keys::{Directory, Manager},
    ledger::Queries,
    upstream::{Catalogue, ModelNames},
};

/// All services.
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
    /// The administration of keys.
    pub admin_keys: AdminKeys,
    /// What calls have used.
    pub admin_usage: AdminUsage,
    /// The caller's own key.
    pub caller: Caller,
    /// What the metrics are told.
    pub gauges: Gauges,
}

impl Services {
    /// All services over `upstreams`, for the gateway keys of `keys`, with what `administration`
    /// manages and reads. Call it within a Tokio runtime: it spawns the tasks that all callers
    /// share.
    pub fn new(
        upstreams: impl Into<Upstreams>,
        config: &config::Serve,
        keys: Directory,
        administration: Option<(Manager, Queries)>,
    ) -> Self {
        let (manager, queries) = administration.unzip();
        let upstreams = upstreams.into();
        let (sources, of_accounts) = upstreams.sources();
        let catalogue = Catalogue::of(sources, ModelNames::new(&config.models));
        let accounts = Accounts::new(upstreams, &catalogue, &of_accounts, &keys, config);
        let dispatch = Dispatch::new(accounts.clone(), catalogue.clone(), &config.models);
        let gauges = Gauges {
            accounts: accounts.clone(),
            catalogue: catalogue.clone(),
        };
        Self {
            gauges,
            chat: Chat::new(dispatch.clone(), config.unary_via_stream),
            completions: Completions::new(dispatch.clone()),
            embeddings: Embeddings::new(dispatch),
            models: Models::new(accounts.clone(), catalogue),
            account: Account::new(accounts.clone()),
            admin_keys: AdminKeys::new(manager, accounts),
            admin_usage: AdminUsage::new(queries.clone()),
            caller: Caller::new(queries),
        }
    }
}

impl Services {
    /// Leaves the clusters of all accounts, if there are some. Call it when all calls have ended.
    pub async fn leave_cluster(&self) {
        self.gauges.accounts.leave_cluster().await;
    }

    /// Takes over what `config` says about calls, for those that begin from now on.
    pub fn change(&self, config: &config::Serve) {
        // All services share one way to the upstream.
        self.chat.change(config);
    }

    /// The circuits of models, as other gateways with the same accounts share them through the Redis
    /// of `config`. None without a Redis.
    pub fn share_circuits(&self, config: &config::Serve) -> Vec<SharedCircuits> {
        self.gauges.accounts.share_circuits(config)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use clap::Parser;

    use super::*;
    use crate::upstream::Client;

    /// The largest future of a call, in bytes. It is moved into memory of its own for each call.
    pub(crate) const FUTURE_BYTES_MAX: usize = 6 * 1024 + 768;

    #[derive(Parser)]
    struct Options {
        #[command(flatten)]
        serve: config::Serve,
    }

    /// The default configuration.
    pub(crate) fn config() -> config::Serve {
        Options::parse_from(["test"]).serve
    }

    /// Services for tests that ask no upstream.
    pub(crate) fn services() -> Services {
        let config = config();
        let keys = Directory::new(&[], &[]);
        Services::new(Client::new(&config.upstream).unwrap(), &config, keys, None)
    }
}
