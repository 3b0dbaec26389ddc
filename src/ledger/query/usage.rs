//! Sums of calls by key, model, account and time.

use std::{
    collections::{BTreeMap, HashMap},
    fmt::{self, Write as _},
    ops::Range,
    sync::Arc,
};

use futures_util::{TryStreamExt, future::try_join_all};
use sqlx::{AssertSqlSafe, ColumnIndex, Database, Decode, Row, Type};
use uuid::Uuid;

use super::{ALL_TIME, Queries, name_of};
use crate::{
    clock::{self, UnixMs},
    ledger::{
        sums::{SUM_COLUMNS, Sums},
        time::{Grain, rows},
    },
    store::{Store, StoreError, on_each},
};

/// The largest number of groups.
const GROUPS_MAX: usize = 10_000;

/// By what calls are added up. By nothing, there is one sum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Grouping {
    /// A sum for each key.
    pub by_key: bool,
    /// A sum for each model.
    pub by_model: bool,
    /// A sum for each account of a gateway with several.
    pub by_account: bool,
    /// A sum for each hour or for each day.
    pub by_time: Option<Grain>,
}

/// Which calls are added up, and by what.
#[derive(Clone, Debug)]
pub struct UsageQuery {
    /// By what they are added up.
    pub grouping: Grouping,
    /// Only the calls of these keys. Empty: of all keys.
    pub keys: Vec<Uuid>,
    /// Only the calls of these models. Empty: of all models.
    pub models: Vec<String>,
    /// Only the calls of these accounts. Empty: of all accounts, and those that asked none.
    pub accounts: Vec<String>,
    /// When they ended. An hour that is in the range in part counts as a whole.
    pub range: Range<UnixMs>,
}

impl Default for UsageQuery {
    fn default() -> Self {
        Self {
            grouping: Grouping::default(),
            keys: Vec::new(),
            models: Vec::new(),
            accounts: Vec::new(),
            range: ALL_TIME,
        }
    }
}

/// The sums of one group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageRow {
    /// The key, if the sums are by key.
    pub key_id: Option<Uuid>,
    /// Its present name.
    pub key_name: Option<String>,
    /// The model, if the sums are by model. Empty for calls that no known model was asked for.
    pub model: Option<String>,
    /// The account, if the sums are by account. Empty for calls that asked none, and for those of a
    /// gateway with one account.
    pub account: Option<String>,
    /// When the hour or the day begins, if the sums are by time.
    pub start: Option<UnixMs>,
    /// The sums.
    pub sums: Sums,
}

/// Why calls cannot be added up. `Display` says what to do.
#[derive(Debug)]
pub enum UsageError {
    /// There are more than [`GROUPS_MAX`] groups.
    TooManyGroups,
    /// The database failed.
    Store(StoreError),
}

impl fmt::Display for UsageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooManyGroups => write!(
                f,
                "the answer has more than {GROUPS_MAX} rows: ask for a shorter time, or add calls \
                 up by less, such as by day instead of by hour"
            ),
            Self::Store(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for UsageError {}

impl From<StoreError> for UsageError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// What a group is found by, in the order of the result.
type Group = (Option<UnixMs>, Option<Uuid>, Option<String>, Option<String>);

impl Queries {
    /// Adds up calls, from the sums by hour and by day. The groups are in the order of their time,
    /// then of the name of their key, then of their model and account. Without calls there is no group.
    ///
    /// # Errors
    /// [`UsageError::TooManyGroups`], and those of the database.
    pub async fn usage(&self, query: &UsageQuery) -> Result<Vec<UsageRow>, UsageError> {
        let smallest = query.grouping.by_time.unwrap_or(Grain::Day);
        let mut groups = BTreeMap::<Group, Sums>::new();
        // At the same time: adding up takes longer than reading.
        let spans = rows(query.range.clone(), smallest, clock::now()).into_iter();
        let parts = spans.map(|(grain, span)| self.sums(query, grain, span));
        for (group, sums) in try_join_all(parts).await?.into_iter().flatten() {
            groups.entry(group).or_default().merge(&sums);
        }
        if groups.len() > GROUPS_MAX {
            return Err(UsageError::TooManyGroups);
        }
        let names = if query.grouping.by_key {
            self.names().await?
        } else {
            HashMap::new()
        };
        let row = |((start, key_id, model, account), sums): (Group, Sums)| UsageRow {
            key_id,
            key_name: key_id.map(|id| name_of(id, &names)),
            model,
            account,
            start,
            sums,
        };
        let mut rows: Vec<_> = groups.into_iter().map(row).collect();
        rows.sort_by(|one, other| {
            let place = |row: &UsageRow| (row.start, row.key_name.clone(), row.key_id);
            place(one).cmp(&place(other))
        });
        Ok(rows)
    }

    /// Adds up calls in its turn. The database goes on with a statement whose caller has left, so
    /// the statement keeps its turn and its connection until its end.
    async fn sums(
        &self,
        query: &UsageQuery,
        grain: Grain,
        span: Range<UnixMs>,
    ) -> Result<Vec<(Group, Sums)>, StoreError> {
        // Never closed.
        let turn = Arc::clone(&self.turns).acquire_owned().await.ok();
        let (store, query) = (self.store.clone(), query.clone());
        let task = tokio::spawn(async move {
            let sums = sums(&store, &query, grain, span).await;
            drop(turn);
            sums.map_err(|error| store.error(error))
        });
        let ended = task.await;
        ended.unwrap_or_else(|_| Err(self.store.error(sqlx::Error::WorkerCrashed)))
    }
}

async fn sums(
    store: &Store,
    query: &UsageQuery,
    grain: Grain,
    span: Range<UnixMs>,
) -> sqlx::Result<Vec<(Group, Sums)>> {
    on_each!(store, pool => {
        let mut statement = sqlx::query(AssertSqlSafe(statement(query)))
            .bind(grain.hours())
            .bind(span.start)
            .bind(span.end);
        for id in &query.keys {
            statement = statement.bind(*id);
        }
        for name in query.models.iter().chain(&query.accounts) {
            statement = statement.bind(name.clone());
        }
        let rows = statement.fetch(pool);
        // Read one by one: a row of the database takes ten times the memory.
        rows.and_then(async |row| read(&row, query.grouping)).try_collect().await
    })
}

/// The statement for `query`: its parameters are the grain, the beginning and the end of the span,
/// the keys, the models and the accounts.
fn statement(query: &UsageQuery) -> String {
    let Grouping {
        by_key,
        by_model,
        by_account,
        by_time,
    } = query.grouping;
    let mut groups = Vec::new();
    if let Some(grain) = by_time {
        groups.push(format!("start - start % {}", grain.ms()));
    }
    let names = [
        (by_key, "key_id"),
        (by_model, "model"),
        (by_account, "account"),
    ];
    let names = names.into_iter().filter(|(is_chosen, _)| *is_chosen);
    groups.extend(names.map(|(_, name)| name.to_owned()));
    let columns = Sums::columns().map(|column| format!("CAST(SUM({column}) AS BIGINT)"));
    let selected: Vec<_> = groups.iter().cloned().chain(columns).collect();
    let mut text = format!(
        "SELECT {} FROM {}",
        selected.join(", "),
        source(query, &passing(query))
    );
    if !groups.is_empty() {
        let places: Vec<_> = (1..=groups.len()).map(|place| place.to_string()).collect();
        // Writing to a String can't fail.
        let _ = write!(text, " GROUP BY {}", places.join(", "));
    }
    // With one more there are too many. Without calls there is no row.
    let limit = GROUPS_MAX + 1;
    let _ = write!(text, " HAVING SUM(calls) > 0 LIMIT {limit}");
    text
}

/// The rows that are added up, those that are `passing`.
///
/// One table has all calls, the other one those of accounts. A call without an account is one of the
/// first table that the second does not have, so the second is subtracted there.
fn source(query: &UsageQuery, passing: &str) -> String {
    if !query.accounts.is_empty() {
        return format!("featherwire_account_usage WHERE {passing}");
    }
    if !query.grouping.by_account {
        return format!("featherwire_usage WHERE {passing}");
    }
    let part = |account: &str, sign: &str, table: &str| {
        let columns = Sums::columns().map(|column| format!("{sign}{column} AS {column}"));
        let columns: Vec<_> = columns.collect();
        format!(
            "SELECT start, key_id, model, {account} AS account, {} FROM {table} WHERE {passing}",
            columns.join(", ")
        )
    };
    let parts = [
        part("account", "", "featherwire_account_usage"),
        part("''", "", "featherwire_usage"),
        part("''", "-", "featherwire_account_usage"),
    ];
    format!("({}) AS parts", parts.join(" UNION ALL "))
}

/// The condition for rows that `query` asks for.
fn passing(query: &UsageQuery) -> String {
    let mut text = "grain = $1 AND start >= $2 AND start < $3".to_owned();
    let mut parameters = 4..;
    for (column, count) in [
        ("key_id", query.keys.len()),
        ("model", query.models.len()),
        ("account", query.accounts.len()),
    ] {
        let names = parameters.by_ref().take(count);
        let names: Vec<_> = names.map(|number| format!("${number}")).collect();
        if !names.is_empty() {
            // Writing to a String can't fail.
            let _ = write!(text, " AND {column} IN ({})", names.join(", "));
        }
    }
    text
}

fn read<R: Row>(row: &R, grouping: Grouping) -> sqlx::Result<(Group, Sums)>
where
    usize: ColumnIndex<R>,
    for<'r> i64: Decode<'r, R::Database> + Type<R::Database>,
    for<'r> Uuid: Decode<'r, R::Database> + Type<R::Database>,
    for<'r> String: Decode<'r, R::Database> + Type<R::Database>,
    R::Database: Database,
{
    let mut places = 0_usize..;
    let mut next = || places.next().unwrap_or_default();
    let start = match grouping.by_time {
        Some(_) => Some(row.try_get(next())?),
        None => None,
    };
    let key = match grouping.by_key {
        true => Some(row.try_get(next())?),
        false => None,
    };
    let model = match grouping.by_model {
        true => Some(row.try_get(next())?),
        false => None,
    };
    let account = match grouping.by_account {
        true => Some(row.try_get(next())?),
        false => None,
    };
    let values = places.take(SUM_COLUMNS).map(|place| row.try_get(place));
    let values = values.collect::<sqlx::Result<Vec<i64>>>()?;
    Ok(((start, key, model, account), Sums::from_values(values)))
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;
    use crate::{
        config::DatabaseLocation,
        ledger::query::{CallFilter, Order, SUMS_AT_ONCE},
        store::Pool,
    };

    async fn memory() -> (Store, Queries) {
        let store = Store::open(&DatabaseLocation::Memory).await.unwrap();
        store.migrate().await.unwrap();
        (store.clone(), Queries::new(store))
    }

    #[tokio::test]
    async fn sums_wait_for_their_turn_and_leave_connections_to_others() {
        let (_, queries) = memory().await;
        let all = u32::try_from(SUMS_AT_ONCE).unwrap();
        let turns = queries.turns.acquire_many(all).await.unwrap();
        let query = UsageQuery::default();
        let mut waiting = Box::pin(queries.usage(&query));
        let (calls, other) = (CallFilter::default(), queries.clone());
        tokio::select! {
            biased;
            rows = &mut waiting => panic!("{rows:?}"),
            calls = other.calls(&calls, Order::NewestFirst, None, 1) => {
                assert_eq!(calls.unwrap(), []);
            }
        }
        drop(turns);
        assert_eq!(waiting.await.unwrap(), []);
        assert_eq!(queries.turns.available_permits(), SUMS_AT_ONCE);
    }

    #[tokio::test]
    async fn a_statement_keeps_its_turn_until_its_end_though_its_caller_leaves() {
        let (store, queries) = memory().await;
        let Pool::Sqlite(pool) = store.pool() else {
            panic!("{store:?}")
        };
        // The only one, so that the statement goes on for as long as this is held.
        let connection = pool.acquire().await.unwrap();
        let query = UsageQuery::default();
        let mut asked = Box::pin(queries.usage(&query));
        assert!((&mut asked).now_or_never().is_none());
        drop(asked);
        assert_eq!(queries.turns.available_permits(), SUMS_AT_ONCE - 1);
        drop(connection);
        let all = u32::try_from(SUMS_AT_ONCE).unwrap();
        drop(queries.turns.acquire_many(all).await.unwrap());
        assert_eq!(queries.usage(&query).await.unwrap(), []);
    }
}
