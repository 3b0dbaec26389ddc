//! Single calls, in the order in which they ended.

use std::{fmt, ops::Range, str::FromStr};

use sqlx::{AssertSqlSafe, ColumnIndex, Database, Decode, Row, Type};
use uuid::Uuid;

use super::{ALL_TIME, Queries};
use crate::{
    clock::UnixMs,
    ledger::{
        record::{Door, Ending, Record, Rpc, TokenSource, Tokens},
        rows::CALL_COLUMNS,
    },
    store::{StoreError, on_each},
};

/// Which calls are read.
#[derive(Clone, Debug)]
pub struct CallFilter {
    /// Only the calls of these keys. Empty: of all keys.
    pub keys: Vec<Uuid>,
    /// Only the calls of this model, as it was asked for or as it answered.
    pub model: Option<String>,
    /// Only calls that ended so.
    pub ending: Option<Ending>,
    /// When they ended.
    pub range: Range<UnixMs>,
}

impl Default for CallFilter {
    fn default() -> Self {
        Self {
            keys: Vec::new(),
            model: None,
            ending: None,
            range: ALL_TIME,
        }
    }
}

/// The order of calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Those that ended last are first.
    NewestFirst,
    /// Those that ended first are first.
    OldestFirst,
}

/// The place of a call among all calls. As text it is opaque, and may be part of a URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cursor {
    /// When the call ended.
    pub ended_at: UnixMs,
    /// Its id.
    pub id: Uuid,
}

impl Record {
    /// The place of this call among all calls.
    pub fn cursor(&self) -> Cursor {
        Cursor {
            ended_at: self.ended_at,
            id: self.id,
        }
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}-{}", self.ended_at, self.id.simple())
    }
}

/// A text is not a cursor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoCursor;

impl FromStr for Cursor {
    type Err = NoCursor;

    fn from_str(text: &str) -> Result<Self, NoCursor> {
        let (ended_at, id) = text.split_once('-').ok_or(NoCursor)?;
        Ok(Self {
            ended_at: i64::from_str_radix(ended_at, 16).map_err(|_| NoCursor)?,
            id: Uuid::try_parse(id).map_err(|_| NoCursor)?,
        })
    }
}

impl Queries {
    /// At most `limit` calls that pass `filter` and follow `after` in this order. Their keys have
    /// the names of the time of the call.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn calls(
        &self,
        filter: &CallFilter,
        order: Order,
        after: Option<Cursor>,
        limit: u32,
    ) -> Result<Vec<Record>, StoreError> {
        let text = statement(filter, order);
        let after = after.unwrap_or(match order {
            Order::NewestFirst => Cursor {
                ended_at: UnixMs::MAX,
                id: Uuid::max(),
            },
            Order::OldestFirst => Cursor {
                ended_at: UnixMs::MIN,
                id: Uuid::nil(),
            },
        });
        let run = async {
            on_each!(self.store, pool => {
                let mut statement = sqlx::query(AssertSqlSafe(text))
                    .bind(after.ended_at)
                    .bind(after.id)
                    .bind(filter.range.start)
                    .bind(filter.range.end)
                    .bind(i64::from(limit));
                for id in &filter.keys {
                    statement = statement.bind(*id);
                }
                if let Some(model) = &filter.model {
                    statement = statement.bind(model.clone());
                }
                if let Some(ending) = filter.ending {
                    statement = statement.bind(ending.name());
                }
                let rows = statement.fetch_all(pool).await?;
                rows.iter().map(read).collect::<sqlx::Result<_>>()
            })
        };
        run.await.map_err(|error| self.store.error(error))
    }
}

/// The statement for calls that pass `filter`. Its parameters are the cursor, the range, the limit,
/// and what the filter has of the others.
fn statement(filter: &CallFilter, order: Order) -> String {
    let (after, direction) = match order {
        Order::NewestFirst => ("<", "DESC"),
        Order::OldestFirst => (">", "ASC"),
    };
    let mut text = format!(
        "SELECT {} FROM featherwire_calls WHERE (ended_at, id) {after} ($1, $2) AND ended_at >= \
         $3 AND ended_at < $4",
        CALL_COLUMNS.join(", ")
    );
    let mut parameters = 6..;
    let mut next = || format!("${}", parameters.next().unwrap_or_default());
    if !filter.keys.is_empty() {
        let names: Vec<_> = filter.keys.iter().map(|_| next()).collect();
        text.push_str(&format!(" AND key_id IN ({})", names.join(", ")));
    }
    if filter.model.is_some() {
        let name = next();
        text.push_str(&format!(" AND (model_asked = {name} OR model = {name})"));
    }
    if filter.ending.is_some() {
        text.push_str(&format!(" AND ending = {}", next()));
    }
    text.push_str(&format!(
        " ORDER BY ended_at {direction}, id {direction} LIMIT $5"
    ));
    text
}

/// Reads a row with [`CALL_COLUMNS`]. A name that this version does not know counts as the first one
/// of its list.
fn read<R: Row>(row: &R) -> sqlx::Result<Record>
where
    usize: ColumnIndex<R>,
    for<'r> i64: Decode<'r, R::Database> + Type<R::Database>,
    for<'r> Option<i64>: Decode<'r, R::Database> + Type<R::Database>,
    for<'r> Uuid: Decode<'r, R::Database> + Type<R::Database>,
    for<'r> String: Decode<'r, R::Database> + Type<R::Database>,
    for<'r> Option<String>: Decode<'r, R::Database> + Type<R::Database>,
    R::Database: Database,
{
    let text = |place: usize| row.try_get::<String, _>(place);
    let optional = |place: usize| -> sqlx::Result<_> {
        let text: Option<String> = row.try_get(place)?;
        Ok(text.map(Into::into))
    };
    let number = |place: usize| -> sqlx::Result<_> {
        let number: i64 = row.try_get(place)?;
        Ok(u64::try_from(number).unwrap_or_default())
    };
    let small =
        |place: usize| number(place).map(|number| u32::try_from(number).unwrap_or(u32::MAX));
    let first_token_ms: Option<i64> = row.try_get(18)?;
    Ok(Record {
        ended_at: row.try_get(0)?,
        id: row.try_get(1)?,
        key_id: row.try_get(2)?,
        key_name: text(3)?.into(),
        door: Door::from_name(&text(4)?).unwrap_or(Door::Grpc),
        rpc: Rpc::from_name(&text(5)?).unwrap_or(Rpc::CreateChatCompletion),
        model_asked: text(6)?.into(),
        model: text(7)?.into(),
        ending: Ending::from_name(&text(8)?).unwrap_or(Ending::Finished),
        error_code: optional(9)?,
        tokens: Tokens {
            prompt: number(10)?,
            completion: number(11)?,
            reasoning: number(12)?,
            cached: number(13)?,
            source: TokenSource::from_name(&text(14)?).unwrap_or_default(),
        },
        units: small(15)?,
        unit_ms: number(16)?,
        waited_ms: number(17)?,
        first_token_ms: first_token_ms.and_then(|ms| u64::try_from(ms).ok()),
        duration_ms: number(19)?,
        attempts: small(20)?,
        request_id: optional(21)?,
        upstream_request_id: optional(22)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_read_from_its_text() {
        let cursor = Cursor {
            ended_at: 1_800_000_000_000,
            id: Uuid::now_v7(),
        };
        assert_eq!(cursor.to_string().parse(), Ok(cursor));
        for bad in ["", "-", "1-", "-1", "x-00000000000000000000000000000000"] {
            assert_eq!(bad.parse::<Cursor>(), Err(NoCursor), "{bad}");
        }
    }
}
