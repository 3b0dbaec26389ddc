//! `AccountService`: the account's plan and its concurrency units.

use std::{collections::BTreeMap, time::Duration};

use futures_util::{Stream, StreamExt};

use tokio::time::Instant;

use super::{
    call::Call,
    circuit::{self, Circuits},
    feed::{self, Feed},
    reply::Reply,
    units::Units,
};
use crate::{
    error::Result,
    proto::v1::{CircuitState, Concurrency, ModelCircuit, Plan},
    upstream::{self, Client, RequestOptions, UnaryMessage},
};

/// More circuits than this are not listed. Callers choose the ids of models, so there can be many.
const CIRCUITS_LISTED_MAX: usize = 100;

/// The service of the account.
#[derive(Clone, Debug)]
pub struct Account {
    upstream: Client,
    feed: Feed,
    own: Own,
}

/// The gateway's own view of the account.
#[derive(Clone, Debug)]
struct Own {
    units: Units,
    circuits: Circuits,
}

impl Account {
    /// The service over `upstream` and its `feed`. `units` and `circuits` are the gateway's own
    /// view of the units and the models.
    pub fn new(upstream: Client, feed: Feed, units: Units, circuits: Circuits) -> Self {
        Self {
            upstream,
            feed,
            own: Own { units, circuits },
        }
    }

    /// The account's plan.
    ///
    /// # Errors
    /// The meaning of the upstream's reply.
    pub async fn plan(&self, call: Call) -> Result<Reply<Plan>> {
        call.note_rpc("GetPlan");
        let ask = RequestOptions {
            deadline: call.deadline,
            ..RequestOptions::default()
        };
        let reply = call.run(self.upstream.get_with_key(&["plan"], ask)).await?;
        Ok(reply.into())
    }

    /// The requests that use the account's units now.
    ///
    /// # Errors
    /// The meaning of the upstream's reply.
    pub async fn concurrency(&self, call: Call) -> Result<Reply<Concurrency>> {
        call.note_rpc("GetConcurrency");
        let ask = RequestOptions {
            deadline: call.deadline,
            ..RequestOptions::default()
        };
        let mut reply: upstream::Reply<Concurrency> = call
            .run(self.upstream.get_account(&["account", "concurrency"], ask))
            .await?;
        self.own.complete(&mut reply.answer, Instant::now());
        Ok(reply.into())
    }

    /// Ends every watch, also one that begins later. A watch never ends by itself.
    pub fn end_watches(&self) {
        self.feed.end();
    }

    /// The requests that use the account's units: now and at each change. All watches share one
    /// upstream connection.
    pub fn watch(&self, call: Call) -> impl Stream<Item = Result<Concurrency>> + Send + use<> {
        call.note_rpc("WatchConcurrency");
        let own = self.own.clone();
        self.feed.watch(call).map(move |snapshot| {
            snapshot.map(
                |feed::Snapshot {
                     mut message,
                     arrived_at,
                 }| {
                    own.complete(&mut message, arrived_at);
                    message
                },
            )
        })
    }
}

impl Own {
    /// Adds the gateway's own view to a snapshot of the upstream.
    fn complete(&self, snapshot: &mut Concurrency, arrived_at: Instant) {
        self.units.complete(snapshot, arrived_at);
        let circuits = self.circuits.list(Instant::now(), CIRCUITS_LISTED_MAX);
        if let Some(gateway) = &mut snapshot.gateway {
            gateway.circuits = circuits.into_iter().map(describe).collect();
        }
    }
}

fn describe(status: circuit::Status) -> ModelCircuit {
    let state = match status.state {
        circuit::State::Closed => CircuitState::Closed,
        circuit::State::Open => CircuitState::Open,
        circuit::State::HalfOpen => CircuitState::HalfOpen,
    };
    let milliseconds = |time: Duration| i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
    ModelCircuit {
        model: status.model.as_ref().to_owned(),
        state: state.into(),
        failures: i32::try_from(status.failures).unwrap_or(i32::MAX),
        error_code: status.error_code.into(),
        open_for_ms: status.open_for.map(milliseconds),
        ..ModelCircuit::default()
    }
}

impl UnaryMessage for Plan {
    fn extra(&self) -> &BTreeMap<String, String> {
        &self.extra
    }

    fn extra_mut(&mut self) -> &mut BTreeMap<String, String> {
        &mut self.extra
    }

    fn is_empty(&self) -> bool {
        let is_named = !self.id.is_empty() || !self.name.is_empty();
        let is_limited = self.concurrency.is_some()
            || self.max_context_length.is_some()
            || self.max_model_size.is_some();
        let is_unlimited = self.unlimited_concurrency
            || self.unlimited_context_length
            || self.unlimited_model_size;
        // A member in an unknown form is in `extra`, and is an answer too.
        let names = [
            "id",
            "name",
            "max_context_length",
            "max_model_size",
            "concurrency",
        ];
        let has_unknown_form = || names.iter().any(|name| self.extra.contains_key(*name));
        !(is_named || is_limited || is_unlimited || has_unknown_form())
    }
}

impl UnaryMessage for Concurrency {
    // No request uses the units.
    const MAY_BE_EMPTY: &'static [&'static str] = &["requests"];

    fn extra(&self) -> &BTreeMap<String, String> {
        &self.extra
    }

    fn extra_mut(&mut self) -> &mut BTreeMap<String, String> {
        &mut self.extra
    }

    fn is_empty(&self) -> bool {
        let has_numbers = self.used_cost.is_some()
            || self.request_count.is_some()
            || self.limit.is_some()
            || self.unlimited;
        // A member in an unknown form is in `extra`, and is an answer too.
        let has_unknown_form = || {
            ["limit", "used_cost", "request_count", "requests"]
                .iter()
                .any(|name| self.extra.contains_key(*name))
        };
        !(has_numbers || !self.requests.is_empty() || has_unknown_form())
    }
}
