//! The ledger: one record for each call of a model, through every door and at every end, and none
//! of them is lost or counted twice.

mod away;
mod commands;
mod doors;
mod retention;

use std::time::Duration;

use featherwire::{
    config::DatabaseLocation,
    ledger::{
        self, CallFilter, Ending, Ledger, Order, Queries, Record, Settings, TokenSource,
        UsageQuery, Writer,
    },
    store::Store,
};
use uuid::Uuid;

use crate::support::{MODEL, poll, program::Folder};

/// A ledger in memory, and what it knows.
pub struct Book {
    pub writer: Writer,
    pub queries: Queries,
}

impl Book {
    pub async fn new() -> Self {
        let store = Store::open(&DatabaseLocation::Memory).await.unwrap();
        store.migrate().await.unwrap();
        Self {
            writer: Writer::start(store.clone(), settings(None)).await,
            queries: Queries::new(store),
        }
    }

    /// All records, when there are so many.
    pub async fn records(&self, number: usize) -> Vec<Record> {
        records(&self.queries, number).await
    }
}

fn settings(spill: Option<&Folder>) -> Settings {
    Settings {
        spill_directory: spill.map(|folder| folder.0.clone()),
        spill_bytes_max: 1024 * 1024,
        retention: Duration::from_secs(30 * 24 * 3600),
    }
}

async fn all(queries: &Queries) -> Vec<Record> {
    let all = CallFilter::default();
    queries
        .calls(&all, Order::OldestFirst, None, 5000)
        .await
        .unwrap()
}

async fn records(queries: &Queries, number: usize) -> Vec<Record> {
    let what = format!("there are {number} records");
    poll::until(&what, async || all(queries).await.len() >= number).await;
    let records = all(queries).await;
    assert_eq!(records.len(), number);
    records
}

/// The sum of all calls.
async fn total(queries: &Queries) -> ledger::Sums {
    let rows = queries.usage(&UsageQuery::default()).await.unwrap();
    rows.first().map(|row| row.sums).unwrap_or_default()
}

/// Sends records to a ledger.
fn send(ledger: &Ledger, number: usize) {
    for _ in 0..number {
        ledger.send(some_record(ledger));
    }
}

fn some_record(ledger: &Ledger) -> Record {
    let (ended_at, id) = ledger.stamp();
    let id = if id.is_nil() { Uuid::now_v7() } else { id };
    Record {
        ended_at,
        id,
        key_id: ledger::fixed_id("env-1"),
        key_name: "env-1".into(),
        door: ledger::Door::Rest,
        rpc: ledger::Rpc::CreateChatCompletion,
        model_asked: MODEL.into(),
        model: MODEL.into(),
        account: "".into(),
        ending: Ending::Finished,
        error_code: None,
        tokens: ledger::Tokens {
            prompt: 3,
            completion: 4,
            source: TokenSource::Upstream,
            ..ledger::Tokens::default()
        },
        units: 1,
        unit_ms: 10,
        waited_ms: 0,
        first_token_ms: None,
        duration_ms: 10,
        attempts: 1,
        request_id: None,
        upstream_request_id: None,
    }
}

async fn until_calls(queries: &Queries, calls: u64) {
    let what = format!("{calls} calls are in the sums");
    poll::until(&what, async || total(queries).await.calls >= calls).await;
    assert_eq!(total(queries).await.calls, calls);
}
