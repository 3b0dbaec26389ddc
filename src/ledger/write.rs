//! Writes blocks of records and their sums, in one transaction.

use std::{collections::BTreeMap, sync::LazyLock, time::Duration};

use sqlx::{Arguments as _, Database, SqlSafeStr as _, SqlStr};
use uuid::Uuid;

use super::{
    block::Block,
    sums::{SUM_COLUMNS, Sums},
    time::Grain,
};
use crate::{
    clock::UnixMs,
    store::{BeginWrite, Store, StoreError, begin_on, end_if_late, on_each},
};

/// The longest time for a connection, and for a statement. A database that takes longer counts as
/// away.
pub(super) const STEP_TIMEOUT: Duration = Duration::from_secs(5);

/// What is added up in one row of `featherwire_usage`. The order is that of its primary key: two
/// gateways that write the same rows lock them in the same order, and cannot wait for each other.
type SumKey<'a> = (i64, UnixMs, Uuid, &'a str);

/// What is added up in one row of `featherwire_account_usage`, in the order of its primary key.
type AccountSumKey<'a> = (i64, UnixMs, &'a str, Uuid, &'a str);

/// The largest number of keys, and of sums, in one statement. Statements with 1, 2, 4 and so on
/// rows are prepared once.
const STATEMENT_ROWS_MAX: usize = 256;

/// The number of different statements.
const STATEMENTS: usize = STATEMENT_ROWS_MAX.ilog2() as usize + 1;

/// Statements with 1, 2, 4, … rows: with `?` for parameters, and with `$1` and so on.
struct Statements([[String; STATEMENTS]; 2]);

impl Statements {
    fn new(text: impl Fn(usize, bool) -> String) -> Self {
        let of = |has_numbers| std::array::from_fn(|size| text(1 << size, has_numbers));
        Self([false, true].map(of))
    }

    /// The statement for this number of rows, which is a power of two.
    fn get<P: BeginWrite>(&'static self, _: &P, rows: usize) -> SqlStr {
        let Self([plain, numbered]) = self;
        let of = if P::NEEDS_NUMBERS { numbered } else { plain };
        let size = rows.max(1).ilog2() as usize;
        of.get(size).map_or("", String::as_str).into_sql_str()
    }
}

/// A block that is there already, because the answer to its commit was lost, stays as it is.
const INSERT_BLOCK: &str = "INSERT INTO featherwire_call_blocks (second, id, calls, content) \
                            VALUES ($1, $2, $3, $4) ON CONFLICT (second, id) DO NOTHING";

/// `INSERT` for the keys of a block.
static INSERT_KEYS: LazyLock<Statements> = LazyLock::new(|| {
    let columns = ["second", "block", "key_id"].map(str::to_owned);
    Statements::new(|rows, has_numbers| {
        insert("featherwire_call_keys", &columns, rows, has_numbers, "")
    })
});

/// `INSERT` for sums, which are added to those that are there.
static ADD_SUMS: LazyLock<Statements> =
    LazyLock::new(|| add_sums("featherwire_usage", &["grain", "start", "key_id", "model"]));

/// The same for sums by account.
static ADD_ACCOUNT_SUMS: LazyLock<Statements> = LazyLock::new(|| {
    let keys = ["grain", "start", "account", "key_id", "model"];
    add_sums("featherwire_account_usage", &keys)
});

fn add_sums(table: &'static str, keys: &[&str]) -> Statements {
    let sums: Vec<_> = Sums::columns()
        .map(|column| format!("{column} = {table}.{column} + excluded.{column}"))
        .collect();
    let end = format!(
        "ON CONFLICT ({}) DO UPDATE SET {}",
        keys.join(", "),
        sums.join(", ")
    );
    let keys = keys.iter().map(|key| (*key).to_owned());
    let columns: Vec<_> = keys.chain(Sums::columns()).collect();
    Statements::new(|rows, has_numbers| insert(table, &columns, rows, has_numbers, &end))
}

fn insert(table: &str, columns: &[String], rows: usize, has_numbers: bool, end: &str) -> String {
    let row = |row: usize| {
        let first = row * columns.len() + 1;
        let places: Vec<_> = (first..first + columns.len())
            .map(|place| match has_numbers {
                true => format!("${place}"),
                false => "?".to_owned(),
            })
            .collect();
        format!("({})", places.join(", "))
    };
    let rows: Vec<_> = (0..rows).map(row).collect();
    format!(
        "INSERT INTO {table} ({}) VALUES {} {end}",
        columns.join(", "),
        rows.join(", ")
    )
}

/// Splits rows into parts for which there is a statement.
fn parts<T>(mut rows: &[T]) -> impl Iterator<Item = &[T]> {
    std::iter::from_fn(move || {
        let largest = 1_usize.checked_shl(rows.len().checked_ilog2()?)?;
        let (part, rest) = rows.split_at_checked(largest.min(STATEMENT_ROWS_MAX))?;
        rows = rest;
        Some(part)
    })
}

/// Adds values to the arguments of a statement. `Query::bind` does the same, but moves the whole
/// query for each value.
macro_rules! add {
    ($arguments:ident, $($value:expr),+ $(,)?) => {
        $($arguments.add($value).map_err(sqlx::Error::Encode)?;)+
    };
}

/// Writes `blocks`, and adds their records to the sums. Those that are there already are not added
/// again. Returns how many records were new.
///
/// # Errors
/// Those of the database, and a statement that took too long. Then the blocks may be there or not.
pub async fn write(store: &Store, blocks: &[Block]) -> Result<usize, StoreError> {
    let run = async {
        on_each!(store, pool => {
            let mut connection = store.within(STEP_TIMEOUT, pool.acquire()).await?;
            let written = async {
                let begun = begin_on(pool, &mut connection);
                let mut transaction = store.within(STEP_TIMEOUT, begun).await?;
                let mut new = Vec::new();
                for block in blocks {
                    let calls = i64::try_from(block.records().len()).unwrap_or(i64::MAX);
                    let query = sqlx::query(INSERT_BLOCK)
                        .bind(block.second())
                        .bind(block.id())
                        .bind(calls)
                        .bind(block.bytes().to_vec());
                    let inserted = store.within(STEP_TIMEOUT, query.execute(&mut *transaction)).await?;
                    if inserted.rows_affected() == 0 {
                        continue;
                    }
                    new.push(block);
                    let keys: Vec<_> = block.keys().into_iter().collect();
                    for part in parts(&keys) {
                        let mut arguments = arguments(pool, part.len() * 3);
                        for key in part {
                            add!(arguments, block.second(), block.id(), *key);
                        }
                        let query = sqlx::query_with(INSERT_KEYS.get(pool, part.len()), arguments);
                        store.within(STEP_TIMEOUT, query.execute(&mut *transaction)).await?;
                    }
                }
                let sums: Vec<_> = add_up(&new).into_iter().collect();
                for part in parts(&sums) {
                    let mut arguments = arguments(pool, part.len() * (4 + SUM_COLUMNS));
                    for ((hours, start, key, model), sums) in part {
                        add!(arguments, *hours, *start, *key, *model);
                        for value in sums.values() {
                            add!(arguments, value);
                        }
                    }
                    let query = sqlx::query_with(ADD_SUMS.get(pool, part.len()), arguments);
                    store.within(STEP_TIMEOUT, query.execute(&mut *transaction)).await?;
                }
                // After all sums of the other table, on every gateway.
                let sums: Vec<_> = add_up_by_account(&new).into_iter().collect();
                for part in parts(&sums) {
                    let mut arguments = arguments(pool, part.len() * (5 + SUM_COLUMNS));
                    for ((hours, start, account, key, model), sums) in part {
                        add!(arguments, *hours, *start, *account, *key, *model);
                        for value in sums.values() {
                            add!(arguments, value);
                        }
                    }
                    let text = ADD_ACCOUNT_SUMS.get(pool, part.len());
                    let query = sqlx::query_with(text, arguments);
                    store.within(STEP_TIMEOUT, query.execute(&mut *transaction)).await?;
                }
                store.within(STEP_TIMEOUT, transaction.commit()).await?;
                Ok(new.iter().map(|block| block.records().len()).sum())
            };
            let written = written.await;
            end_if_late(connection, &written);
            written
        })
    };
    run.await.map_err(|error| store.error(error))
}

/// The arguments of a statement, with room for `number`.
fn arguments<P: BeginWrite>(_: &P, number: usize) -> <P::Database as Database>::Arguments {
    let mut arguments = <P::Database as Database>::Arguments::default();
    arguments.reserve(number, 0);
    arguments
}

/// The sums of the records of `blocks`.
fn add_up<'a>(blocks: &[&'a Block]) -> BTreeMap<SumKey<'a>, Sums> {
    let mut sums = BTreeMap::<SumKey<'a>, Sums>::new();
    for record in blocks.iter().flat_map(|block| block.records()) {
        for grain in Grain::ALL {
            let start = grain.start(record.ended_at);
            let key = (grain.hours(), start, record.key_id, &*record.model);
            sums.entry(key).or_default().add(record);
        }
    }
    sums
}

/// The sums of those records of `blocks` that have an account.
fn add_up_by_account<'a>(blocks: &[&'a Block]) -> BTreeMap<AccountSumKey<'a>, Sums> {
    let mut sums = BTreeMap::<AccountSumKey<'a>, Sums>::new();
    let records = blocks.iter().flat_map(|block| block.records());
    for record in records.filter(|record| !record.account.is_empty()) {
        for grain in Grain::ALL {
            let start = grain.start(record.ended_at);
            let account = &*record.account;
            let key = (grain.hours(), start, account, record.key_id, &*record.model);
            sums.entry(key).or_default().add(record);
        }
    }
    sums
}
