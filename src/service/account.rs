//! `AccountService`: the account's plan and its concurrency units.

use std::{collections::BTreeMap, time::Duration};

use futures_util::{
    Stream, StreamExt,
    future::{OptionFuture, join_all},
};
use tokio::time::Instant;

use super::{
    accounts::{Accounts, Allowed, UpstreamAccount},
    call::Call,
    circuit,
    concurrency_sum::{CIRCUITS_LISTED_MAX, sum},
    feed::Feed,
    reply::Reply,
};
use crate::{
    error::Result,
    proto::v1::{AccountUnits, CircuitState, Concurrency, GetPlanRequest, ModelCircuit, Plan},
    upstream::{self, RequestOptions, UnaryMessage},
};

/// The service of the accounts.
#[derive(Clone, Debug)]
pub struct Account {
    accounts: Accounts,
}

impl Account {
    /// The service of `accounts`.
    pub fn new(accounts: Accounts) -> Self {
        Self { accounts }
    }

    /// The plan of the account that is named, or else of the first one.
    ///
    /// # Errors
    /// [`Kind::Invalid`](crate::error::Kind::Invalid) for a name that no account has; or the
    /// meaning of the upstream's reply.
    pub async fn plan(&self, call: Call, request: GetPlanRequest) -> Result<Reply<Plan>> {
        call.note_rpc("GetPlan");
        let allowed = self.accounts.allowed(&call.identity);
        let account = allowed.and_then(|allowed| self.accounts.named(allowed, &request.account));
        let plan = async {
            account?
                .client
                .get_with_key(&["plan"], options(&call))
                .await
        };
        Ok(call.run(plan).await?.into())
    }

    /// The requests that use the units of all accounts of the caller's key now. An account of
    /// several that does not answer is shown as the gateway sees it.
    ///
    /// # Errors
    /// The meaning of the upstream's reply, if each account has a feed and none answers;
    /// [`Kind::Misconfigured`](crate::error::Kind::Misconfigured) if the gateway has no account of
    /// the key.
    pub async fn concurrency(&self, call: Call) -> Result<Reply<Concurrency>> {
        call.note_rpc("GetConcurrency");
        let allowed = self.accounts.allowed(&call.identity);
        let asking = async {
            let allowed = allowed?;
            let snapshots = self.accounts.visible(allowed).map(|account| {
                let snapshot = account
                    .client
                    .get_account(&["account", "concurrency"], options(&call));
                OptionFuture::from(account.has_feed().then_some(snapshot))
            });
            let (mut failure, mut answers) = (None, Vec::new());
            let (mut request_id, mut are_shown) = (None, false);
            for snapshot in join_all(snapshots).await {
                let reply: Option<Result<upstream::Reply<Concurrency>>> = snapshot;
                match reply.transpose() {
                    Ok(reply) => {
                        are_shown = true;
                        let (id, answer) = reply.map(|it| (it.request_id, it.answer)).unzip();
                        request_id = request_id.or(id.flatten());
                        answers.push(answer.unwrap_or_default());
                    }
                    Err(error) => {
                        failure = failure.or(Some(error));
                        answers.push(Concurrency::default());
                    }
                }
            }
            match failure {
                Some(error) if !are_shown => Err(error),
                _ => Ok((allowed, request_id, answers)),
            }
        };
        let (allowed, request_id, answers) = call.run(asking).await?;
        let now = Instant::now();
        let answers = answers.into_iter().map(|message| (message, now));
        let answer = self.all(allowed, answers);
        Ok(upstream::Reply { request_id, answer }.into())
    }

    /// Ends every watch, also one that begins later. A watch never ends by itself.
    pub fn end_watches(&self) {
        for account in self.accounts.list() {
            account.feed.end();
        }
    }

    /// The requests that use the units of all accounts of the caller's key: now and at each change.
    /// All watches share one upstream connection for each account.
    ///
    /// # Errors
    /// As for [`concurrency`](Self::concurrency). The watch ends if the feed of one account breaks.
    pub fn watch(&self, call: Call) -> impl Stream<Item = Result<Concurrency>> + Send + use<> {
        call.note_rpc("WatchConcurrency");
        let allowed = self.accounts.allowed(&call.identity);
        let shown = allowed.as_ref().ok();
        let accounts = shown
            .into_iter()
            .flat_map(|allowed| self.accounts.visible(*allowed));
        let accounts: Vec<_> = accounts.collect();
        let feeds = accounts.iter().map(|account| &account.feed);
        let mut last = vec![(Concurrency::default(), Instant::now()); accounts.len()];
        let mut snapshots = Feed::watch_all(feeds.enumerate(), call);
        if let Err(error) = &allowed {
            snapshots.refuse(error.clone());
        }
        let this = self.clone();
        snapshots.map(move |snapshot| {
            let (index, snapshot) = snapshot?;
            let allowed = allowed.clone()?;
            if let Some(last) = last.get_mut(index) {
                *last = (snapshot.message, snapshot.arrived_at);
            }
            Ok(this.all(allowed, last.iter().cloned()))
        })
    }

    /// The snapshots of the allowed accounts and when each arrived, with the gateway's own view of
    /// each, as one.
    fn all(
        &self,
        allowed: Allowed,
        snapshots: impl Iterator<Item = (Concurrency, Instant)>,
    ) -> Concurrency {
        let list = self.accounts.visible(allowed);
        let accounts = list.zip(snapshots);
        let accounts = accounts.map(|(account, (mut snapshot, arrived_at))| {
            complete(account, &mut snapshot, arrived_at);
            snapshot
        });
        if !self.accounts.are_several() {
            return sum(accounts);
        }
        let snapshots: Vec<_> = accounts.collect();
        let number = self.accounts.list().len();
        let refused = self.accounts.circuits().list(Instant::now(), number);
        let list = self.accounts.visible(allowed);
        let of_each = list.zip(&snapshots).map(|(account, snapshot)| {
            let status = refused.iter().find(|status| status.model == account.name);
            AccountUnits {
                name: account.name.as_ref().to_owned(),
                gateway: snapshot.gateway.clone(),
                refused: status
                    .map_or(CircuitState::Unspecified, |it| state(it.state))
                    .into(),
                error_code: status.map_or_else(String::new, |it| it.error_code.to_string()),
                open_for_ms: status.and_then(|it| it.open_for).map(milliseconds),
                ..AccountUnits::default()
            }
        });
        let accounts = of_each.collect();
        Concurrency {
            accounts,
            ..sum(snapshots)
        }
    }
}

fn options(call: &Call) -> RequestOptions<'_> {
    RequestOptions {
        deadline: call.deadline,
        ..RequestOptions::default()
    }
}

/// Adds the gateway's own view to a snapshot of the upstream.
fn complete(account: &UpstreamAccount, snapshot: &mut Concurrency, arrived_at: Instant) {
    account.units.complete(snapshot, arrived_at);
    let circuits = account.circuits.list(Instant::now(), CIRCUITS_LISTED_MAX);
    if let Some(gateway) = &mut snapshot.gateway {
        gateway.circuits = circuits.into_iter().map(describe).collect();
    }
}

fn state(state: circuit::State) -> CircuitState {
    match state {
        circuit::State::Closed => CircuitState::Closed,
        circuit::State::Open => CircuitState::Open,
        circuit::State::HalfOpen => CircuitState::HalfOpen,
    }
}

fn milliseconds(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

fn describe(status: circuit::Status) -> ModelCircuit {
    ModelCircuit {
        model: status.model.as_ref().to_owned(),
        state: state(status.state).into(),
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
