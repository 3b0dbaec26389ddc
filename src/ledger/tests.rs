//! Records in a database, and what queries make of them.

use uuid::Uuid;

use super::{
    Block, CallFilter, Door, Ending, Grain, Grouping, Order, Queries, Record, Rpc, TokenSource,
    Tokens, UsageQuery, fixed_id, write,
};
use crate::{
    clock::{self, UnixMs},
    config::DatabaseLocation,
    store::Store,
};

const DAY: i64 = Grain::Day.ms();
const HOUR: i64 = Grain::Hour.ms();

/// A record of a call that ended at `ended_at`.
pub(super) fn record(key: &str, model: &str, ended_at: UnixMs) -> Record {
    Record {
        ended_at,
        id: Uuid::now_v7(),
        key_id: fixed_id(key),
        key_name: key.into(),
        door: Door::Rest,
        rpc: Rpc::StreamChatCompletion,
        model_asked: "alias".into(),
        model: model.into(),
        account: "".into(),
        ending: Ending::Finished,
        error_code: None,
        tokens: Tokens {
            prompt: 10,
            completion: 5,
            reasoning: 2,
            cached: 1,
            source: TokenSource::Upstream,
        },
        units: 2,
        unit_ms: 200,
        waited_ms: 7,
        first_token_ms: Some(30),
        duration_ms: 107,
        attempts: 1,
        request_id: Some("a-request".into()),
        upstream_request_id: None,
    }
}

/// Writes records, and tells how many were new.
async fn written(store: &Store, records: &[Record]) -> usize {
    let blocks = Block::divide(records.to_vec());
    write(store, &blocks).await.unwrap()
}

async fn memory() -> (Store, Queries) {
    let store = Store::open(&DatabaseLocation::Memory).await.unwrap();
    store.migrate().await.unwrap();
    (store.clone(), Queries::new(store))
}

#[tokio::test]
async fn a_block_that_is_written_twice_counts_once() {
    let (store, queries) = memory().await;
    let now = 1000 * (clock::now() / 1000);
    let records: Vec<_> = (0..150)
        .map(|number| record("env-1", "org/m", now + 1000 * (number / 50)))
        .collect();
    let blocks = Block::divide(records);
    assert_eq!(write(&store, &blocks[..2]).await.unwrap(), 100);
    // As after a commit whose answer was lost.
    assert_eq!(write(&store, &blocks).await.unwrap(), 50);
    let rows = queries.usage(&UsageQuery::default()).await.unwrap();
    assert_eq!(rows.len(), 1);
    let sums = rows[0].sums;
    assert_eq!((sums.calls, sums.prompt_tokens), (150, 1500));
    assert_eq!((sums.unit_ms, sums.waited_ms), (30_000, 1050));
    let p50 = sums.durations.percentile(0.5).unwrap();
    assert!((80..=128).contains(&p50), "{p50}");
    let all = CallFilter::default();
    let calls = queries.calls(&all, Order::OldestFirst, None, 1000);
    assert_eq!(calls.await.unwrap().len(), 150);
}

#[tokio::test]
async fn a_record_is_read_as_it_was_written() {
    let (store, queries) = memory().await;
    let mut failed = record("everyone", "", 5);
    failed.ending = Ending::Failed;
    failed.error_code = Some("queue_full".into());
    failed.tokens = Tokens::default();
    (failed.units, failed.first_token_ms) = (0, None);
    let records = [failed, record("env-2", "org/m", 6)];
    written(&store, &records).await;
    let calls = queries
        .calls(&CallFilter::default(), Order::OldestFirst, None, 10)
        .await
        .unwrap();
    assert_eq!(calls, records);
}

#[tokio::test]
async fn groups_are_by_what_is_asked_for() {
    let (store, queries) = memory().await;
    let day = 20_000 * DAY;
    let records = [
        record("env-1", "a", day - 1),
        record("env-1", "b", day),
        record("env-2", "a", day + HOUR),
        record("env-2", "a", day + DAY - 1),
        record("env-2", "a", day + DAY),
    ];
    written(&store, &records).await;
    let ask = async |grouping, range| {
        let query = UsageQuery {
            grouping,
            range,
            ..UsageQuery::default()
        };
        let rows = queries.usage(&query).await.unwrap();
        let row = |row: super::UsageRow| {
            let name = row.key_name.or(row.model).unwrap_or_default();
            (row.start.map(|at| at - day), name, row.sums.calls)
        };
        rows.into_iter().map(row).collect::<Vec<_>>()
    };
    let by_key = Grouping {
        by_key: true,
        ..Grouping::default()
    };
    let named = |name: &str, calls| (None, name.to_owned(), calls);
    let all = vec![named("env-1", 2), named("env-2", 3)];
    assert_eq!(ask(by_key, super::ALL_TIME).await, all);
    let one_day = vec![named("env-1", 1), named("env-2", 2)];
    assert_eq!(ask(by_key, day..day + DAY).await, one_day);
    // Hours at both edges, and a day between them.
    let edges = day - HOUR..day + DAY + HOUR;
    assert_eq!(ask(by_key, edges.clone()).await, all);
    let by_model = Grouping {
        by_model: true,
        ..Grouping::default()
    };
    let models = vec![named("a", 4), named("b", 1)];
    assert_eq!(ask(by_model, edges.clone()).await, models);
    let by = |grain| Grouping {
        by_time: Some(grain),
        ..Grouping::default()
    };
    let at = |at, calls| (Some(at), String::new(), calls);
    let days = vec![at(-DAY, 1), at(0, 3), at(DAY, 1)];
    assert_eq!(ask(by(Grain::Day), edges.clone()).await, days);
    let hours = vec![
        at(-HOUR, 1),
        at(0, 1),
        at(HOUR, 1),
        at(DAY - HOUR, 1),
        at(DAY, 1),
    ];
    assert_eq!(ask(by(Grain::Hour), edges).await, hours);
    assert_eq!(ask(Grouping::default(), 0..DAY).await, vec![]);
}

#[tokio::test]
async fn calls_of_several_accounts_are_added_up_by_account_and_the_sums_of_all_stay() {
    let (store, queries) = memory().await;
    let day = 20_000 * DAY;
    let of = |account: &str, model, at| Record {
        account: account.into(),
        ..record("env-1", model, at)
    };
    let records = [
        of("one", "a", day),
        of("one", "b", day + 1),
        of("two", "a", day + HOUR),
        of("two", "a", day + DAY),
        of("", "a", day),
        of("", "c", day + DAY),
    ];
    written(&store, &records).await;
    let ask = async |grouping, accounts: &[&str]| {
        let query = UsageQuery {
            grouping,
            accounts: accounts.iter().map(|it| (*it).to_owned()).collect(),
            range: day..day + DAY + HOUR,
            ..UsageQuery::default()
        };
        let rows = queries.usage(&query).await.unwrap();
        let row = |row: super::UsageRow| {
            // The histograms are subtracted too.
            let median = row.sums.durations.percentile(0.5);
            assert!(
                median.is_some_and(|ms| (91..=128).contains(&ms)),
                "{median:?}"
            );
            assert_eq!(row.sums.prompt_tokens, 10 * row.sums.calls);
            let day = row.start.map(|at| (at - day) / DAY);
            (day, row.account, row.model, row.sums.calls)
        };
        rows.into_iter().map(row).collect::<Vec<_>>()
    };
    let name = |name: &str| Some(name.to_owned());
    let by_account = Grouping {
        by_account: true,
        ..Grouping::default()
    };
    let of_account = |account, calls| (None, name(account), None, calls);
    assert_eq!(
        ask(by_account, &[]).await,
        [
            of_account("", 2),
            of_account("one", 2),
            of_account("two", 2)
        ]
    );
    assert_eq!(
        ask(by_account, &["two", "three"]).await,
        [of_account("two", 2)]
    );
    let by_model = Grouping {
        by_model: true,
        by_account: true,
        by_time: Some(Grain::Day),
        ..Grouping::default()
    };
    let of_model = |day, model, account| (Some(day), name(account), name(model), 1);
    assert_eq!(
        ask(by_model, &[]).await,
        [
            of_model(0, "a", ""),
            of_model(0, "a", "one"),
            of_model(0, "a", "two"),
            of_model(0, "b", "one"),
            of_model(1, "a", "two"),
            of_model(1, "c", ""),
        ]
    );
    assert_eq!(ask(Grouping::default(), &[]).await, [(None, None, None, 6)]);
    assert_eq!(
        ask(Grouping::default(), &["one"]).await,
        [(None, None, None, 2)]
    );
    assert_eq!(ask(Grouping::default(), &["three"]).await, []);
    let filter = CallFilter {
        account: name("two"),
        ..CallFilter::default()
    };
    let calls = queries.calls(&filter, Order::OldestFirst, None, 10).await;
    assert_eq!(calls.unwrap(), records[2..4]);
}

#[tokio::test]
async fn a_filter_leaves_out_other_keys_and_models() {
    let (store, queries) = memory().await;
    let mut cancelled = record("env-1", "a", 9);
    cancelled.ending = Ending::Cancelled;
    let records = [record("env-1", "b", 7), record("env-2", "a", 8), cancelled];
    written(&store, &records).await;
    let query = UsageQuery {
        keys: queries.keys_named(&["env-1".to_owned()]).await.unwrap(),
        models: vec!["a".to_owned(), "c".to_owned()],
        ..UsageQuery::default()
    };
    let rows = queries.usage(&query).await.unwrap();
    assert_eq!((rows[0].sums.calls, rows[0].sums.cancelled), (1, 1));
    let filter = CallFilter {
        keys: query.keys,
        model: Some("alias".to_owned()),
        account: None,
        ending: Some(Ending::Cancelled),
        range: 0..10,
    };
    let calls = queries
        .calls(&filter, Order::NewestFirst, None, 10)
        .await
        .unwrap();
    assert_eq!(calls, records[2..]);
}

#[tokio::test]
async fn calls_of_many_blocks_follow_each_other_in_both_orders() {
    let (store, queries) = memory().await;
    // Three gateways write calls of the same seconds, of which some end in the same millisecond,
    // and the clock of one goes back.
    let mut all = Vec::new();
    for gateway in 0..3 {
        for batch in 0..100 {
            let at = |number: i64| 400 * ((batch + 7 * gateway) % 90) + number / 2;
            let key = format!("env-{}", 1 + (batch + gateway) % 40);
            let records: Vec<_> = (0..5).map(|n| record(&key, "m", at(n))).collect();
            assert_eq!(written(&store, &records).await, 5);
            all.extend(records);
        }
    }
    all.sort_by_key(Record::cursor);
    let filter = |keys: &[&str], range| CallFilter {
        keys: keys.iter().map(|key| fixed_id(key)).collect(),
        range,
        ..CallFilter::default()
    };
    for filter in [
        CallFilter::default(),
        filter(&["env-7"], super::ALL_TIME),
        filter(&["env-7", "env-9"], super::ALL_TIME),
        filter(&[], 1999..30_001),
        filter(&["env-7"], 400..8000),
        filter(&["env-50"], super::ALL_TIME),
    ] {
        let passes = |record: &&Record| {
            (filter.keys.is_empty() || filter.keys.contains(&record.key_id))
                && filter.range.contains(&record.ended_at)
        };
        let expected: Vec<_> = all.iter().filter(passes).cloned().collect();
        for (order, limit) in [
            (Order::NewestFirst, 7),
            (Order::OldestFirst, 7),
            (Order::NewestFirst, 2000),
            (Order::OldestFirst, 300),
        ] {
            let (mut read, mut after) = (Vec::new(), None);
            loop {
                let page = queries.calls(&filter, order, after, limit).await.unwrap();
                let Some(last) = page.last() else { break };
                after = Some(last.cursor());
                read.extend(page);
            }
            if order == Order::NewestFirst {
                read.reverse();
            }
            assert!(read == expected, "{filter:?} {order:?} {limit}");
        }
    }
}
