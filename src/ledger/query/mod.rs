//! What the database knows of calls: sums by key, model, account and time, and single calls.

mod calls;
mod usage;

pub use calls::{CallFilter, Cursor, Order};
pub use usage::{Grouping, UsageError, UsageQuery, UsageRow};

use std::{
    collections::{BTreeSet, HashMap},
    fmt,
    ops::Range,
    sync::Arc,
};

use sqlx::AssertSqlSafe;
use tokio::sync::Semaphore;
use uuid::Uuid;

use super::key_names::{fixed_id, fixed_name};
use crate::{
    clock::UnixMs,
    store::{Store, StoreError, on_each},
};

/// All time.
pub const ALL_TIME: Range<UnixMs> = 0..UnixMs::MAX;

/// The largest number of statements that add up calls at the same time. They take long, and the
/// database has four connections, which keys and records need too.
const SUMS_AT_ONCE: usize = 2;

/// Reads the ledger of a database. Cheap to clone; all clones wait for the same turns.
#[derive(Clone, Debug)]
pub struct Queries {
    store: Store,
    /// The turns of statements that add up calls.
    turns: Arc<Semaphore>,
}

/// Why keys cannot be found by their ids or names.
#[derive(Debug)]
pub enum KeysNamedError {
    /// There is no key with this id or name.
    Unknown(String),
    /// The database failed.
    Store(StoreError),
}

impl fmt::Display for KeysNamedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(name) => write!(
                f,
                "there is no key with the id or the name {name:?}: `featherwire keys list` shows \
                 all keys"
            ),
            Self::Store(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for KeysNamedError {}

const NAMES: &str = "SELECT id, name FROM featherwire_keys";

impl Queries {
    /// Reads the ledger in `store`, which has the present tables.
    pub fn new(store: Store) -> Self {
        let turns = Arc::new(Semaphore::new(SUMS_AT_ONCE));
        Self { store, turns }
    }

    /// Whether the database was reached when it was last asked.
    pub fn database_is_up(&self) -> bool {
        self.store.is_up()
    }

    /// Ends the connections to the database.
    pub async fn close(&self) {
        self.store.close().await;
    }

    /// The ids of the keys with these ids or names, also of those that are deleted or are not in
    /// the database. Several keys may have the same name.
    ///
    /// # Errors
    /// [`KeysNamedError::Unknown`] for the first name that no key has, and those of the database.
    pub async fn keys_named(&self, names: &[String]) -> Result<Vec<Uuid>, KeysNamedError> {
        let wanted: Vec<_> = names.iter().map(Wanted::new).collect();
        let stored = self.stored(&wanted).await.map_err(KeysNamedError::Store)?;
        let mut ids = BTreeSet::new();
        for wanted in wanted {
            let stored = stored.iter().filter(|(id, name)| wanted.is(*id, name));
            let named: Vec<_> = stored
                .map(|(id, _)| *id)
                .chain(wanted.is_fixed.then_some(wanted.id))
                .collect();
            if named.is_empty() {
                return Err(KeysNamedError::Unknown(wanted.name.to_owned()));
            }
            ids.extend(named);
        }
        Ok(ids.into_iter().collect())
    }

    /// The keys of the database that are wanted, with their names.
    async fn stored(&self, wanted: &[Wanted<'_>]) -> Result<Vec<(Uuid, String)>, StoreError> {
        // PostgreSQL refuses texts with this character, and no name has it.
        let wanted = wanted.iter().filter(|key| !key.name.contains('\0'));
        let wanted: Vec<_> = wanted.collect();
        if wanted.is_empty() {
            return Ok(Vec::new());
        }
        let list = |numbers: Range<usize>| {
            let parameters: Vec<_> = numbers.map(|number| format!("${number}")).collect();
            parameters.join(", ")
        };
        let (ids, names) = (1..wanted.len() + 1, wanted.len() + 1..2 * wanted.len() + 1);
        let text = format!(
            "{NAMES} WHERE id IN ({}) OR name IN ({})",
            list(ids),
            list(names)
        );
        let run = async {
            on_each!(self.store, pool => {
                let mut statement = sqlx::query_as(AssertSqlSafe(text));
                for key in &wanted {
                    statement = statement.bind(key.id);
                }
                for key in &wanted {
                    statement = statement.bind(key.name.to_owned());
                }
                statement.fetch_all(pool).await
            })
        };
        run.await.map_err(|error| self.store.error(error))
    }

    /// The present names of all keys that the database has, also of those that are deleted.
    async fn names(&self) -> Result<HashMap<Uuid, String>, StoreError> {
        let run =
            async { on_each!(self.store, pool => sqlx::query_as(NAMES).fetch_all(pool).await) };
        let rows: Vec<(Uuid, String)> = run.await.map_err(|error| self.store.error(error))?;
        Ok(rows.into_iter().collect())
    }
}

/// A key that is wanted by its id or its name.
struct Wanted<'a> {
    name: &'a str,
    /// The id that `name` is, or that a key with this name has which is not in the database.
    id: Uuid,
    /// Whether this is the id of a key that is not in the database.
    is_fixed: bool,
}

impl<'a> Wanted<'a> {
    fn new(name: &'a String) -> Self {
        let written = Uuid::try_parse(name).ok();
        let id = written.unwrap_or_else(|| fixed_id(name));
        let fixed = fixed_name(id);
        Self {
            name,
            id,
            is_fixed: fixed.is_some_and(|fixed| written.is_some() || fixed == *name),
        }
    }

    fn is(&self, id: Uuid, name: &str) -> bool {
        self.id == id || self.name == name
    }
}

/// The name of a key: its present one, or that of its fixed id, or else its id.
fn name_of(id: Uuid, names: &HashMap<Uuid, String>) -> String {
    let known = names.get(&id).cloned();
    known
        .or_else(|| fixed_name(id))
        .unwrap_or_else(|| id.to_string())
}
