//! Old records are removed.

use featherwire::{
    ledger::{self, Block, CallFilter, Ledger, Order, Queries, Record, Writer},
    store::Store,
};

use super::{send, settings, some_record, total};
use crate::support::{Database, poll};

/// Runs a statement for PostgreSQL. `None` on SQLite.
async fn on_postgres(store: &Store, statement: &'static str) -> Option<()> {
    let featherwire::store::Pool::Postgres(pool) = store.pool() else {
        return None;
    };
    sqlx::raw_sql(statement).execute(pool).await.unwrap();
    Some(())
}

/// Writes records, however slow the machine is.
async fn written(store: &Store, records: Vec<Record>) {
    let blocks = Block::divide(records);
    poll::until("records are written", async || {
        ledger::write(store, &blocks).await.is_ok()
    })
    .await;
}

#[tokio::test]
async fn old_records_are_removed_and_their_sums_stay() {
    const DAY_MS: i64 = 24 * 3600 * 1000;
    for database in Database::each().await {
        let store = Store::open(&database.location()).await.unwrap();
        store.migrate().await.unwrap();
        let queries = Queries::new(store.clone());
        let now = featherwire::clock::now();
        let at = |ended_at| Record {
            ended_at,
            ..some_record(&Ledger::default())
        };
        // Each is a block, as their seconds are different: more than are removed at once.
        let old = |number: i64| at(now - 40 * DAY_MS + 1000 * number);
        written(&store, (0..1500).map(old).collect()).await;
        // A row of each day, whether it has a partition or not.
        let days = (0..29).map(|day: i64| at(now - day * DAY_MS));
        written(&store, days.collect()).await;
        let old_partitions = "CREATE TABLE featherwire_call_blocks_20200101 PARTITION OF \
                              featherwire_call_blocks FOR VALUES FROM (1577836800) TO \
                              (1577923200); CREATE TABLE featherwire_call_keys_20200101 PARTITION \
                              OF featherwire_call_keys FOR VALUES FROM (1577836800) TO \
                              (1577923200)";
        let is_postgres = on_postgres(&store, old_partitions).await.is_some();
        if is_postgres {
            written(&store, vec![at(1_577_836_800_000)]).await;
        }
        let writer = Writer::start(store.clone(), settings(None)).await;
        poll::until("old records are gone", async || {
            let all = CallFilter::default();
            let left = queries.calls(&all, Order::OldestFirst, None, 100);
            left.await.unwrap().len() == 29
        })
        .await;
        if let featherwire::store::Pool::Sqlite(pool) = store.pool() {
            let keys = "SELECT COUNT(*) FROM featherwire_call_keys";
            poll::until("their keys are gone", async || {
                let keys: i64 = sqlx::query_scalar(keys).fetch_one(pool).await.unwrap();
                keys == 29
            })
            .await;
        }
        let calls = total(&queries).await.calls;
        assert_eq!(calls, 1529 + u64::from(is_postgres));
        if let featherwire::store::Pool::Postgres(pool) = store.pool() {
            let names = "SELECT relname::text FROM pg_class WHERE relname LIKE 'featherwire_call_%_2%' \
                         AND relkind = 'r'";
            poll::until("there are partitions for a week", async || {
                let names: Vec<String> = sqlx::query_scalar(names).fetch_all(pool).await.unwrap();
                names.len() >= 14 && names.iter().all(|name| !name.contains("2020"))
            })
            .await;
        }
        let ledger = writer.ledger();
        send(&ledger, 5);
        writer.end().await;
        assert_eq!(total(&queries).await.calls, calls + 5);
    }
}
