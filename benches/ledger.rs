//! Measures queries of the ledger of an SQLite database with 10 million calls in 30 days, by 50 keys
//! of 5 models, and how fast they are written. It takes minutes.
//!
//! `cargo bench --bench ledger -- CALLS`

#![allow(
    missing_docs,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a benchmark prints, and fails by panicking"
)]

use std::{
    env, fs,
    sync::Arc,
    time::{Duration, Instant},
};

use featherwire::{
    clock,
    config::DatabaseLocation,
    ledger::{
        Block, CallFilter, Door, Ending, Grain, Grouping, Order, Queries, Record, Rpc, TokenSource,
        Tokens, UsageQuery, fixed_id, write,
    },
    store::Store,
};
use uuid::Uuid;

const CALLS: u64 = 10_000_000;
const KEYS: u64 = 50;
const MODELS: u64 = 5;
const DAYS: i64 = 30;
const BATCH: u64 = 1000;

/// How often each query is measured. The middle time counts.
const TIMES: usize = 9;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(run());
}

async fn run() {
    let calls = env::args().find_map(|argument| argument.parse().ok());
    let calls = calls.unwrap_or(CALLS);
    let folder = env::temp_dir().join(format!("featherwire-bench-{}", std::process::id()));
    let location = DatabaseLocation::File(folder.join("ledger.db"));
    let store = Store::open(&location).await.unwrap();
    store.migrate().await.unwrap();
    let now = clock::now();
    let from = now - DAYS * Grain::Day.ms();

    let began = Instant::now();
    let names = Names::new();
    for first in (0..calls).step_by(usize::try_from(BATCH).unwrap()) {
        let last = (first + BATCH).min(calls);
        let records: Vec<_> = (first..last)
            .map(|number| {
                let part = i128::from(number) * i128::from(now - from) / i128::from(calls);
                names.record(number, from + i64::try_from(part).unwrap())
            })
            .collect();
        write(&store, &Block::divide(records)).await.unwrap();
    }
    let rate = calls as f64 / began.elapsed().as_secs_f64();
    println!("written: {calls} calls, {rate:.0} in a second");

    let queries = Queries::new(store.clone());
    for (name, by_key, by_model, by_time) in [
        ("all", false, false, None),
        ("by key", true, false, None),
        ("by model", false, true, None),
        ("by day", false, false, Some(Grain::Day)),
        ("by hour", false, false, Some(Grain::Hour)),
        ("by key and day", true, false, Some(Grain::Day)),
    ] {
        let query = UsageQuery {
            grouping: Grouping {
                by_key,
                by_model,
                by_account: false,
                by_time,
            },
            range: from..now + 1,
            ..UsageQuery::default()
        };
        let time = measured(async || {
            let rows = queries.usage(&query).await.unwrap();
            let sum: u64 = rows.iter().map(|row| row.sums.calls).sum();
            assert_eq!(sum, calls);
        })
        .await;
        println!("usage {name}, {DAYS} days: {time:.1?}");
    }
    let filter = CallFilter {
        keys: vec![fixed_id("env-7")],
        ..CallFilter::default()
    };
    let time = measured(async || {
        let order = Order::NewestFirst;
        let page = queries.calls(&filter, order, None, 100).await.unwrap();
        assert!(!page.is_empty());
    })
    .await;
    println!("the last 100 calls of a key: {time:.1?}");
    store.close().await;
    fs::remove_dir_all(folder).unwrap();
}

async fn measured(mut work: impl AsyncFnMut()) -> Duration {
    let mut times = Vec::new();
    for _ in 0..TIMES {
        let began = Instant::now();
        work().await;
        times.push(began.elapsed());
    }
    times.sort();
    times.get(TIMES / 2).copied().unwrap_or_default()
}

struct Names {
    keys: Vec<(Uuid, Arc<str>)>,
    models: Vec<Arc<str>>,
}

impl Names {
    fn new() -> Self {
        let key = |number: u64| {
            let name = format!("env-{number}");
            (fixed_id(&name), name.into())
        };
        let model = |number: u64| format!("organisation/A-Model-{number}B-Instruct").into();
        Self {
            keys: (0..KEYS).map(key).collect(),
            models: (0..MODELS).map(model).collect(),
        }
    }

    fn record(&self, number: u64, ended_at: i64) -> Record {
        // Spreads the numbers over keys, models and times.
        let spread = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20;
        let at = |length: usize, number: u64| usize::try_from(number).unwrap() % length;
        let (key_id, key_name) = self.keys.get(at(self.keys.len(), spread)).unwrap();
        let model = self
            .models
            .get(at(self.models.len(), spread / KEYS))
            .unwrap();
        Record {
            ended_at,
            id: Uuid::from_u64_pair(number, spread),
            key_id: *key_id,
            key_name: Arc::clone(key_name),
            door: Door::Rest,
            rpc: Rpc::StreamChatCompletion,
            model_asked: Arc::clone(model),
            model: Arc::clone(model),
            account: Arc::default(),
            ending: Ending::Finished,
            error_code: None,
            tokens: Tokens {
                prompt: spread % 5000,
                completion: spread % 900,
                reasoning: 0,
                cached: 0,
                source: TokenSource::Upstream,
            },
            units: 1,
            unit_ms: spread % 30_000,
            waited_ms: spread % 50,
            first_token_ms: Some(100 + spread % 2000),
            duration_ms: 500 + spread % 40_000,
            attempts: 1,
            request_id: Some("0198c0de-0000-7000-8000-000000000000".into()),
            upstream_request_id: Some("upstream-request".into()),
        }
    }
}
