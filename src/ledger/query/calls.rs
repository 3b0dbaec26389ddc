//! Single calls, in the order in which they ended.

use std::{fmt, ops::Range, str::FromStr};

use sqlx::AssertSqlSafe;
use uuid::Uuid;

use super::{ALL_TIME, Queries};
use crate::{
    clock::UnixMs,
    ledger::{
        codec::decode,
        record::{Ending, Record},
        time::second_of,
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
    /// Only the calls of this account.
    pub account: Option<String>,
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
            account: None,
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

/// The largest number of blocks that are read at once: at most 14 MiB.
const BLOCKS_MAX: u32 = 64;

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
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let mut calls = Vec::new();
        let passes = |record: &Record| {
            filter.passes(record) && after.is_none_or(|after| order.follows(record.cursor(), after))
        };
        let mut place = Place::first(filter, order, after);
        // The calls of one second may be in several blocks.
        let mut of_second = Vec::new();
        while calls.len() < limit {
            let blocks = self.blocks(filter, order, place).await?;
            let is_last = u32::try_from(blocks.len()).is_ok_and(|length| length < BLOCKS_MAX);
            for (second, id, content) in blocks {
                if second != place.second {
                    order.append(&mut of_second, &mut calls);
                }
                place = Place { second, id };
                let Some((_, records)) = decode(&content) else {
                    let error = format!("the records of the calls of block {id} are damaged");
                    return Err(self.store.error(sqlx::Error::Decode(error.into())));
                };
                of_second.extend(records.into_iter().filter(passes));
            }
            if is_last {
                order.append(&mut of_second, &mut calls);
                break;
            }
        }
        calls.truncate(limit);
        Ok(calls)
    }

    /// The next blocks that follow `place`, at most [`BLOCKS_MAX`]. At least one record of each has
    /// a key that passes `filter`.
    async fn blocks(
        &self,
        filter: &CallFilter,
        order: Order,
        place: Place,
    ) -> Result<Vec<(i64, Uuid, Vec<u8>)>, StoreError> {
        let text = statement(filter, order);
        let run = async {
            on_each!(self.store, pool => {
                let mut statement = sqlx::query_as(AssertSqlSafe(text))
                    .bind(place.second)
                    .bind(place.id)
                    .bind(second_of(filter.range.start))
                    .bind(second_of(filter.range.end))
                    .bind(i64::from(BLOCKS_MAX));
                for id in &filter.keys {
                    statement = statement.bind(*id);
                }
                statement.fetch_all(pool).await
            })
        };
        run.await.map_err(|error| self.store.error(error))
    }
}

/// The place of a block among all blocks.
#[derive(Clone, Copy)]
struct Place {
    second: i64,
    id: Uuid,
}

impl Place {
    /// A place before the first block that may have calls after the cursor.
    fn first(filter: &CallFilter, order: Order, after: Option<Cursor>) -> Self {
        let after = after.map(|after| second_of(after.ended_at));
        match order {
            Order::NewestFirst => Self {
                second: after.unwrap_or_else(|| second_of(filter.range.end)),
                id: Uuid::max(),
            },
            Order::OldestFirst => Self {
                second: after.unwrap_or_else(|| second_of(filter.range.start)),
                id: Uuid::nil(),
            },
        }
    }
}

impl CallFilter {
    fn passes(&self, record: &Record) -> bool {
        let has_model = |model: &String| *model == *record.model_asked || *model == *record.model;
        self.range.contains(&record.ended_at)
            && (self.keys.is_empty() || self.keys.contains(&record.key_id))
            && self.model.as_ref().is_none_or(has_model)
            && self
                .account
                .as_ref()
                .is_none_or(|it| **it == *record.account)
            && self.ending.is_none_or(|ending| ending == record.ending)
    }
}

impl Order {
    /// Whether a call at `cursor` follows one at `after`.
    fn follows(self, cursor: Cursor, after: Cursor) -> bool {
        match self {
            Self::NewestFirst => cursor < after,
            Self::OldestFirst => cursor > after,
        }
    }

    /// Moves the calls of a second behind others, in this order.
    fn append(self, of_second: &mut Vec<Record>, calls: &mut Vec<Record>) {
        of_second.sort_unstable_by_key(Record::cursor);
        if self == Self::NewestFirst {
            of_second.reverse();
        }
        calls.append(of_second);
    }
}

/// The statement for blocks that follow a place. Its parameters are the place, the first and the
/// last second, the limit, and the keys.
fn statement(filter: &CallFilter, order: Order) -> String {
    let (after, direction) = match order {
        Order::NewestFirst => ("<", "DESC"),
        Order::OldestFirst => (">", "ASC"),
    };
    let keys: Vec<_> = (6..6 + filter.keys.len())
        .map(|number| format!("${number}"))
        .collect();
    let keys = keys.join(", ");
    // The places of the blocks of one key come from an index in their order. Those of several keys
    // would have to be sorted first.
    let (table, second, id, filter) = match filter.keys.len() {
        0 => (String::new(), "blocks.second", "blocks.id", String::new()),
        1 => (
            "featherwire_call_keys AS keys CROSS JOIN ".to_owned(),
            "keys.second",
            "keys.block",
            format!(
                "AND keys.key_id = {keys} AND blocks.second = keys.second AND blocks.id = \
                 keys.block"
            ),
        ),
        _ => (
            String::new(),
            "blocks.second",
            "blocks.id",
            format!(
                "AND EXISTS (SELECT 1 FROM featherwire_call_keys AS keys WHERE keys.second = \
                 blocks.second AND keys.block = blocks.id AND keys.key_id IN ({keys}))"
            ),
        ),
    };
    format!(
        "SELECT blocks.second, blocks.id, blocks.content FROM {table}featherwire_call_blocks AS \
         blocks WHERE ({second}, {id}) {after} ($1, $2) AND {second} >= $3 AND {second} <= $4 \
         {filter} ORDER BY {second} {direction}, {id} {direction} LIMIT $5"
    )
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
