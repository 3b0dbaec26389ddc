//! Old records are removed.

use featherwire::{
    ledger::{self, CallFilter, Ledger, Order, Queries, Record, Writer},
    store::Store,
};

use super::{location, send, settings, some_record, total};
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
async fn written(store: &Store, records: &[Record]) {
    poll::until("records are written", async || {
        ledger::write(store, records).await.is_ok()
    })
    .await;
}

#[tokio::test]
async fn old_records_are_removed_and_their_sums_stay() {
    const DAY_MS: i64 = 24 * 3600 * 1000;
    for database in Database::each().await {
        let store = Store::open(&location(&database)).await.unwrap();
        store.migrate().await.unwrap();
        let queries = Queries::new(store.clone());
        let now = featherwire::clock::now();
        let at = |ended_at| Record {
            ended_at,
            ..some_record(&Ledger::default())
        };
        let old: Vec<_> = (0..12_000).map(|_| at(now - 40 * DAY_MS)).collect();
        for part in old.chunks(1000) {
            written(&store, part).await;
        }
        // A row of each day, whether it has a partition or not.
        let days: Vec<_> = (0..29).map(|day| at(now - day * DAY_MS)).collect();
        written(&store, &days).await;
        let old_partition = "CREATE TABLE featherwire_calls_20200101 PARTITION OF \
                             featherwire_calls FOR VALUES FROM (1577836800000) TO (1577923200000)";
        let is_postgres = on_postgres(&store, old_partition).await.is_some();
        if is_postgres {
            let row = at(1_577_836_800_000);
            written(&store, &[row]).await;
        }
        let writer = Writer::start(store.clone(), settings(None)).await;
        poll::until("old records are gone", async || {
            let all = CallFilter::default();
            let left = queries.calls(&all, Order::OldestFirst, None, 100);
            left.await.unwrap().len() == 29
        })
        .await;
        let calls = total(&queries).await.calls;
        assert_eq!(calls, 12_029 + u64::from(is_postgres));
        if let featherwire::store::Pool::Postgres(pool) = store.pool() {
            let names = "SELECT relname::text FROM pg_class WHERE relname LIKE 'featherwire_calls_2%' \
                         AND relkind = 'r' ORDER BY 1";
            poll::until("there are partitions for a week", async || {
                let names: Vec<String> = sqlx::query_scalar(names).fetch_all(pool).await.unwrap();
                names.len() >= 7 && names.iter().all(|name| !name.contains("2020"))
            })
            .await;
        }
        let ledger = writer.ledger();
        send(&ledger, 5);
        writer.end().await;
        assert_eq!(total(&queries).await.calls, calls + 5);
    }
}
